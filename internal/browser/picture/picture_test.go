package picture_test

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"

	"lastmile/internal/browser/chromium"
	"lastmile/internal/browser/picture"
	"lastmile/internal/browser/tab"
	"lastmile/internal/browser/traffic"
	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// shown is a page in a browser of its own, and a site for it.
type shown struct {
	*tab.Tab
	t    testing.TB
	port string
}

// show opens a page of testdata on the device, where it begins with full in the full browser, which draws each site in a process of its own.
func show(t testing.TB, device, path string) *shown {
	t.Helper()
	in, err := chromium.New(slog.New(slog.DiscardHandler), chromium.Options{NoSandbox: os.Getuid() == 0})
	if errors.Is(err, chromium.ErrNotFound) {
		t.Fatalf("these tests need Chromium: %s", chromium.InstallCommand)
	}
	if err != nil {
		t.Fatal(err)
	}
	device, full := strings.CutPrefix(device, "full ")
	engine := scenario.EngineShell
	if full {
		engine = scenario.EngineFull
	}
	as, err := tab.UserOf(&scenario.Scenario{Device: device})
	if err != nil {
		t.Fatal(err)
	}
	s := &shown{Tab: tab.New(as, traffic.New(&scenario.Scenario{}, time.Now, traffic.Clock{Now: time.Now()}, nil), tab.Trace{}), t: t, port: site(t)}
	browser, err := in.Start(chromium.Spec{Engine: engine, Width: as.Width, Height: as.Height, Network: chromium.Network{Start: (*exec.Cmd).Start}}, s.Event)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(browser.Close)
	if err := s.Open(s.soon(), browser); err != nil {
		t.Fatal(err)
	}
	s.navigate(path)
	return s
}

// site serves testdata on two addresses, which to Chromium are two sites.
func site(t testing.TB) (port string) {
	t.Helper()
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ = net.SplitHostPort(first.Addr().String())
	second, err := net.Listen("tcp", "127.0.0.2:"+port)
	if err != nil {
		t.Fatal(err)
	}
	server := http.Server{Handler: http.FileServer(http.Dir("testdata"))}
	ended := make(chan error, 2)
	for _, l := range []net.Listener{first, second} {
		go func() { ended <- server.Serve(l) }()
	}
	t.Cleanup(func() {
		_ = server.Close()
		for range 2 {
			if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
				t.Errorf("serve: got %v, want it closed", err)
			}
		}
	})
	return port
}

func (s *shown) soon() context.Context {
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	s.t.Cleanup(cancel)
	return ctx
}

func (s *shown) navigate(path string) {
	s.t.Helper()
	before, _ := s.Document()
	if _, err := chromium.Call(s.soon(), s.Endpoint(), page.Navigate, page.NavigateParams{URL: "http://127.0.0.1:" + s.port + path}); err != nil {
		s.t.Fatal(err)
	}
	if err := s.Wait(s.soon(), func(d tab.Document) bool { return d.Complete() && d.Commits > before.Commits }); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shown) eval(script string) {
	s.t.Helper()
	got, err := chromium.Call(s.soon(), s.Endpoint(), runtime.Evaluate, runtime.EvaluateParams{Expression: script, AwaitPromise: new(true)})
	if err != nil || got.ExceptionDetails != nil {
		s.t.Fatalf("evaluate %s: %v %+v", script, err, got.ExceptionDetails)
	}
}

func (s *shown) page() picture.Page {
	return picture.Page{Endpoint: s.Endpoint(), Frames: func() []picture.Frame {
		doc, _ := s.Document()
		var out []picture.Frame
		for _, f := range s.PageFrames(doc.Frame) {
			out = append(out, picture.Frame{ID: f.ID, Parent: f.Parent, Endpoint: f.Endpoint})
		}
		return out
	}}
}

// mask has the secret and the selectors of the page guarded.html.
var mask = picture.Mask{
	Secrets: []vars.Secret{"correct horse"},
	Selectors: [][]picture.Part{
		{{Kind: "css", Text: "#account"}}, {{Kind: "xpath", Text: "//span[contains(.,'balance')]"}}, {{Kind: "aria", Text: "My name"}},
	},
}

// take takes a picture, decodes it, and leaves a copy for people where LASTMILE_PICTURES says.
func (s *shown) take(m picture.Mask) image.Image {
	s.t.Helper()
	body, err := picture.Take(s.soon(), s.page(), &m)
	if err != nil {
		s.t.Fatal(err)
	}
	if dir := os.Getenv("LASTMILE_PICTURES"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(s.t.Name())+".jpg"), body, 0o600); err != nil {
			s.t.Error(err)
		}
	}
	got, err := jpeg.Decode(bytes.NewReader(body))
	if err != nil || len(body) > 300<<10 || got.Bounds().Dx() > 1280 {
		s.t.Fatalf("got %d bytes and %v (%v), want a JPEG of at most 300 KiB and 1280 pixels", len(body), got.Bounds(), err)
	}
	return got
}

// count counts the pixels that are nearly of a colour: all, or those of a grid.
func count(in image.Image, want color.RGBA, grid ...int) (n int) {
	step := 1
	if len(grid) > 0 {
		step = grid[0]
	}
	near := func(got uint32, want uint8) bool { return max(int(got>>8), int(want))-min(int(got>>8), int(want)) < 60 }
	for y := 0; y < in.Bounds().Dy(); y += step {
		for x := 0; x < in.Bounds().Dx(); x += step {
			if r, g, b, _ := in.At(x, y).RGBA(); near(r, want.R) && near(g, want.G) && near(b, want.B) {
				n++
			}
		}
	}
	return n
}

var (
	forbidden = color.RGBA{R: 0xff, B: 0xff, A: 0xff}
	allowed   = color.RGBA{G: 0xcc, A: 0xff}
	covered   = color.RGBA{R: 0x60, G: 0x60, B: 0x68, A: 0xff}
)

// ready waits for the frames, whose contents come by processes of their own.
func (s *shown) ready(frames int) {
	s.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		complete := 0
		doc, _ := s.Document()
		for _, f := range s.PageFrames(doc.Frame) {
			if f.Document.Complete() {
				complete++
			}
		}
		if complete == frames {
			break
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("got %d complete frames, want %d", complete, frames)
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.eval("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
}

func TestNothingSecretShows(t *testing.T) {
	for _, device := range []string{"desktop", "moto-g-power", "full desktop"} {
		t.Run(device, func(t *testing.T) {
			s := show(t, device, "/guarded.html")
			s.ready(5)
			got := s.take(mask)
			if n := count(got, forbidden); n > 0 {
				t.Errorf("got %d pixels of what must not show", n)
			}
			if n := count(got, allowed); n < 1000 {
				t.Errorf("got %d pixels of what may show, want more", n)
			}
			s.eval("scrollTo(0, 150)")
			if n := count(s.take(mask), forbidden); n > 0 {
				t.Errorf("scrolled: got %d pixels of what must not show", n)
			}
		})
	}
}

// The test itself: without a mask all of it is in the picture, but for what browsers guard.
func TestWithoutMask(t *testing.T) {
	s := show(t, "desktop", "/guarded.html")
	s.ready(5)
	if n := count(s.take(picture.Mask{}), forbidden); n < 3000 {
		t.Errorf("got %d pixels, want the page to be full of secrets", n)
	}
}

func BenchmarkTake(b *testing.B) { // what a screenshot of an ordinary page takes, which is nobody's waiting
	s := show(b, "desktop", "/guarded.html")
	for b.Loop() {
		if _, err := picture.Take(s.soon(), s.page(), &mask); err != nil {
			b.Fatal(err)
		}
	}
}

// The page cannot tell that it was looked at.
func TestPageDoesNotNotice(t *testing.T) {
	s := show(t, "desktop", "/guarded.html")
	s.ready(5)
	s.eval(`globalThis.noticed = 0; const notice = () => noticed++;
		new MutationObserver(notice).observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
		for (const event of ["resize", "scroll", "focus", "blur", "visibilitychange", "freeze"]) addEventListener(event, notice, true);
		new ResizeObserver(() => noticed++).observe(document.documentElement); noticed = -1;`)
	s.take(mask)
	s.eval(`new Promise((done) => setTimeout(done, 50))`)
	s.eval(`if (noticed > 0) throw new Error("noticed " + noticed + " times")`)
	s.eval(`if (Object.keys(globalThis).some((name) => name.startsWith("lastmile"))) throw new Error("found us")`)
}

func TestHungPageHasNoPicture(t *testing.T) {
	s := show(t, "desktop", "/guarded.html")
	s.ready(5)
	chromium.Post(s.Endpoint(), runtime.Evaluate, runtime.EvaluateParams{Expression: "for (;;) ;"})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	p := s.page()
	if got, err := picture.Take(ctx, p, &mask); err == nil {
		t.Errorf("got a picture of %d bytes, want none", len(got))
	}
}

// A frame whose process hangs is covered whole.
func TestHungFrameIsCovered(t *testing.T) {
	s := show(t, "full desktop", "/guarded.html")
	s.ready(5)
	frames := s.PageFrames(s.page().Frames()[0].ID)
	hung := 0
	for _, f := range frames {
		if f.Endpoint != s.Endpoint() && f.Parent == frames[0].ID {
			chromium.Post(f.Endpoint, runtime.Evaluate, runtime.EvaluateParams{Expression: "for (;;) ;"})
			hung++
		}
	}
	if hung == 0 {
		t.Fatal("got no frame in a process of its own")
	}
	got := s.take(mask)
	if n := count(got, forbidden); n > 0 {
		t.Errorf("got %d pixels of what must not show", n)
	}
	if n := count(got, covered); n < 300*60+240*48 {
		t.Errorf("got %d covered pixels, want both frames covered", n)
	}
}

// What moves is caught, or there is no picture.
func TestMovingSecret(t *testing.T) {
	s := show(t, "desktop", "/moving.html")
	for range 5 {
		body, err := picture.Take(s.soon(), s.page(), &mask)
		if errors.Is(err, picture.ErrMoving) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := jpeg.Decode(bytes.NewReader(body))
		if n := count(got, forbidden); err != nil || n > 0 {
			t.Errorf("got %d pixels of what must not show (%v)", n, err)
		}
	}
}

// A field that was filled with a secret stays covered, whatever the page makes of its value.
func TestFilledFieldIsCovered(t *testing.T) {
	s := show(t, "moto-g-power", "/filled.html") // without a viewport of its own, so that the page is zoomed
	doc, _ := s.Document()
	world, err := chromium.Call(s.soon(), s.Endpoint(), page.CreateIsolatedWorld, page.CreateIsolatedWorldParams{FrameID: doc.Frame, WorldName: picture.WorldName})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := chromium.Call(s.soon(), s.Endpoint(), runtime.Evaluate, runtime.EvaluateParams{
		Expression: `(globalThis.lastmile ??= {}).secret = new WeakSet([document.querySelector("input")])`, ContextID: world.ExecutionContextID,
	}); err != nil {
		t.Fatal(err)
	}
	if got := s.take(mask); count(got, forbidden) > 0 || count(got, allowed) == 0 {
		t.Errorf("got %d pixels of the field, want none, and %d of the other, want some", count(got, forbidden), count(got, allowed))
	}
}

func TestHugePage(t *testing.T) {
	s := show(t, "desktop", "/filled.html")
	s.eval(`document.body.innerHTML = Array.from({ length: 12000 }, (_, i) => "<p class='x' title='row " + i + "'>row number " + i + "</p>").join("") + "<p class=no>correct horse"; scrollTo(0, 1e9)`)
	began := time.Now()
	got := s.take(mask)
	t.Logf("a picture of 24,000 nodes took %s", time.Since(began).Round(time.Millisecond))
	if n := count(got, covered); n == 0 {
		t.Error("got nothing covered, want the last line to be")
	}
}
