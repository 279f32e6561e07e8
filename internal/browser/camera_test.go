package browser

import (
	"bytes"
	"context"
	"image/jpeg"
	"os"
	"path/filepath"
	"testing"
	"time"

	"lastmile/internal/browser/elements"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// magenta counts the pixels of what testdata/secret.html has in magenta: all that must not show.
func magenta(t *testing.T, body []byte) (n int) {
	t.Helper()
	got, err := jpeg.Decode(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for y := range got.Bounds().Dy() {
		for x := range got.Bounds().Dx() {
			if r, g, b, _ := got.At(x, y).RGBA(); r>>8 > 180 && g>>8 < 100 && b>>8 > 180 {
				n++
			}
		}
	}
	return n
}

// green counts the pixels of what may show.
func green(t *testing.T, body []byte) (n int) {
	t.Helper()
	got, err := jpeg.Decode(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for y := range got.Bounds().Dy() {
		for x := range got.Bounds().Dx() {
			if r, g, b, _ := got.At(x, y).RGBA(); r>>8 < 100 && g>>8 > 150 && b>>8 < 100 {
				n++
			}
		}
	}
	return n
}

// keep leaves a picture for people where LASTMILE_PICTURES says.
func keep(t *testing.T, name string, body []byte) {
	t.Helper()
	if dir := os.Getenv("LASTMILE_PICTURES"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, name+".jpg"), body, 0o600); err != nil {
			t.Error(err)
		}
	}
}

var secretScenario = scenario.Scenario{
	Secrets:   []string{"PASSWORD"},
	Artefacts: scenario.Artefacts{Mask: scenario.Strings{"#account"}, Filmstrip: scenario.WhenAlways},
	Steps:     []scenario.Step{change("${secrets.PASSWORD}", "#code")},
}

// A secret is typed into a plain field that shows it otherwise than it was typed, and the page repeats it; a popup does too.
func TestPicture(t *testing.T) {
	j := open(t, secretScenario, Options{})
	base := site(t)
	j.pass(navigate(base + "/secret.html"))
	j.pass(change("${secrets.PASSWORD}", "#code"))
	got, err := j.s.Picture(t.Context(), j.scope)
	if err != nil {
		t.Fatal(err)
	}
	keep(t, "typed", got.JPEG)
	typed := got.JPEG
	if n := magenta(t, got.JPEG); n > 0 || green(t, got.JPEG) < 500 || got.Kind != runs.ArtefactScreenshot {
		t.Errorf("got %d pixels of what must not show, %d of what may; want none and many", n, green(t, got.JPEG))
	}
	j.pass(click("#open"))
	popup := base + "/secret.html?popup"
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, missing, err := j.s.tab.Find(ctx, popup, nil); err != nil {
		t.Fatal(missing, err)
	}
	in := with(scenario.Step{Type: scenario.StepWaitForElement, Selectors: alternatives([]string{"#echo"}), Target: popup}, 5*time.Second)
	if _, err := j.do(in); err != nil {
		t.Fatal(err)
	}
	if got, err = j.s.Picture(t.Context(), j.scope); err != nil {
		t.Fatal(err)
	}
	keep(t, "popup", got.JPEG)
	if green(t, got.JPEG) < 2*green(t, typed) {
		t.Error("got the picture of the page that opened the popup")
	}
	if n := magenta(t, got.JPEG); n > 0 || green(t, got.JPEG) < 500 {
		t.Errorf("popup: got %d pixels of what must not show, %d of what may; want none and many", n, green(t, got.JPEG))
	}
	film := j.s.Close().Film
	if len(film) == 0 || len(film) > 60 {
		t.Fatalf("got a film of %d pictures, want some", len(film))
	}
	for i, p := range film {
		keep(t, "film-"+string(rune('a'+i%26)), p.JPEG)
		config, err := jpeg.DecodeConfig(bytes.NewReader(p.JPEG))
		if err != nil || config.Width > 320 || p.Kind != runs.ArtefactFilmstrip || p.Step == "" {
			t.Errorf("picture %d: got %+v %s of step %q (%v), want at most 320 pixels", i, config, p.Kind, p.Step, err)
		}
		if n := magenta(t, p.JPEG); n > 0 {
			t.Errorf("picture %d of the film, in step %s: got %d pixels of what must not show", i, p.Step, n)
		}
		if i > 0 && p.At.Before(film[i-1].At) {
			t.Errorf("picture %d: got it before the one before", i)
		}
	}
	last := film[len(film)-1].JPEG
	if green(t, last) < 50 {
		t.Error("the film does not end with the page")
	}
}

// A page that does not answer has no picture, in time, and the run goes on.
func TestPictureOfHungPage(t *testing.T) {
	j := open(t, secretScenario, Options{})
	j.pass(navigate(site(t) + "/secret.html"))
	j.pass(click("#hang"))
	for hangs := false; !hangs; { // the page begins with it a moment after the click
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		doc, _ := j.s.tab.Document()
		_, err := elements.Evaluate[bool](ctx, j.s.elements, doc.Frame, `() => true`)
		cancel()
		hangs = err != nil
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if got, err := j.s.Picture(ctx, j.scope); err == nil {
		t.Errorf("got a picture of %d bytes, want none", len(got.JPEG))
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("got no picture after %s, want it given up in time", took)
	}
}
