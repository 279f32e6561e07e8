package journey

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"html"
	"log/slog"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lastmile/internal/har/hartest"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// filmed is an executor with a camera.
type filmed struct {
	script
	picture func(ctx context.Context, scope *vars.Scope) (runs.Picture, error)
	taken   int
}

func (f *filmed) Picture(ctx context.Context, scope *vars.Scope) (runs.Picture, error) {
	f.taken++
	return f.picture(ctx, scope)
}

func (f *filmed) Close() runs.Trail {
	trail := f.script.Close()
	trail.Requests = []runs.Request{{Step: "home", URL: "http://shop/?", Method: "GET", Status: 200, Exchange: &runs.Exchange{URL: "http://shop/?pw=hunter2-abc", BodyBytes: -1}}}
	for i := range 3 {
		trail.Film = append(trail.Film, runs.Picture{Kind: runs.ArtefactFilmstrip, Step: "home", At: time.Now().Add(time.Duration(i) * time.Second), JPEG: []byte("frame")})
	}
	return trail
}

// shows returns a picture of so many bytes.
func shows(size int) func(context.Context, *vars.Scope) (runs.Picture, error) {
	return func(context.Context, *vars.Scope) (runs.Picture, error) {
		return runs.Picture{Kind: runs.ArtefactScreenshot, At: time.Now(), JPEG: make([]byte, size)}, nil
	}
}

// shelf keeps files as a store does.
type shelf struct {
	files []runs.File
	err   error
}

func (s *shelf) Keep(_ context.Context, _ *runs.Assignment, files []runs.File) ([]runs.Artefact, error) {
	s.files = files
	var out []runs.Artefact
	for _, f := range files {
		out = append(out, runs.Artefact{Kind: f.Kind, Name: f.Name})
	}
	return out, s.err
}

func (s *shelf) names() (out []string) {
	for _, f := range s.files {
		out = append(out, f.Name)
	}
	slices.Sort(out)
	return out
}

func browserStep(id string) scenario.Step { return scenario.Step{ID: id, Type: scenario.StepClick} }

// keeping runs steps with a camera and a shelf.
func keeping(t *testing.T, f *filmed, s *shelf, change func(*runs.Assignment), steps ...scenario.Step) runs.Result {
	t.Helper()
	a := assignment(steps...)
	a.Scenario.Secrets = []string{"PW"}
	if change != nil {
		change(a)
	}
	access := &access{browser: f, http: &script{}, link: runs.Link{Profile: "none", Mode: runs.LinkDirect}}
	options := Options{Version: "v1"}
	if s != nil {
		options.Keeper = s
	}
	secret := func(string) (vars.Secret, error) { return "hunter2-abc", nil }
	return New(slog.New(slog.DiscardHandler), "probe-1", access.connect, secret, options).Run(t.Context(), a)
}

func TestWhatIsKept(t *testing.T) {
	failing := map[string]func(context.Context) (runs.Step, error){"pay": fails("no"), "a/b ü": fails("no")}
	always := scenario.Artefacts{Screenshot: scenario.WhenAlways, HAR: scenario.WhenAlways, Filmstrip: scenario.WhenAlways}
	never := scenario.Artefacts{Screenshot: scenario.WhenNever, HAR: scenario.WhenNever, Filmstrip: scenario.WhenNever}
	for name, test := range map[string]struct {
		change func(*runs.Assignment)
		step   string
		want   []string
	}{
		"a run that passed":              {nil, "home", nil},
		"a run that failed":              {nil, "pay", []string{"pay.screenshot.jpg", "run.har"}},
		"a step's odd name":              {nil, "a/b ü", []string{"a-b---2.screenshot.jpg", "run.har"}},
		"a confirmation":                 {func(a *runs.Assignment) { a.Trigger = runs.TriggerConfirm }, "home", []string{"run.filmstrip.json"}},
		"a confirmation of a failure":    {func(a *runs.Assignment) { a.Trigger = runs.TriggerConfirm }, "pay", []string{"pay.screenshot.jpg", "run.filmstrip.json", "run.har"}},
		"always, of one that passed":     {func(a *runs.Assignment) { a.Scenario.Artefacts = always }, "home", []string{"first.screenshot.jpg", "home.screenshot.jpg", "run.filmstrip.json", "run.har"}},
		"never, of one that failed":      {func(a *runs.Assignment) { a.Scenario.Artefacts = never }, "pay", nil},
		"screenshots when confirming":    {func(a *runs.Assignment) { a.Scenario.Artefacts.Screenshot = scenario.WhenConfirming }, "pay", []string{"run.har"}},
		"an optional step that failed":   {func(a *runs.Assignment) { a.Scenario.Steps[1].Optional = true }, "pay", []string{"pay.screenshot.jpg", "run.har"}},
		"a step that failed without one": {func(a *runs.Assignment) { a.Scenario.Steps[1].Type = scenario.StepHTTP }, "home", nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := &shelf{}
			r := keeping(t, &filmed{script: script{answers: failing}, picture: shows(10)}, s, test.change, browserStep("first"), browserStep(test.step))
			if !slices.Equal(s.names(), test.want) || len(r.Artefacts) != len(test.want) || r.ArtefactError != "" {
				t.Errorf("got %v, %q; want %v", s.names(), r.ArtefactError, test.want)
			}
			for _, q := range r.Requests {
				if q.Exchange != nil {
					t.Error("got a result that holds on to what only the har needs")
				}
			}
		})
	}
}

func TestNothingIsMadeForNobody(t *testing.T) {
	f := &filmed{script: script{answers: map[string]func(context.Context) (runs.Step, error){"pay": fails("no")}}, picture: shows(10)}
	r := keeping(t, f, nil, nil, browserStep("pay"))
	if f.taken != 0 || len(r.Artefacts) != 0 || r.State != runs.StateFailed {
		t.Errorf("got %d pictures taken, %+v, %s; want none where nobody keeps them", f.taken, r.Artefacts, r.State)
	}
}

// Whatever goes wrong with artefacts changes no verdict, no duration and takes nothing of the run's time.
func TestArtefactsNeverChangeTheVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := func(ctx context.Context, _ *vars.Scope) (runs.Picture, error) {
			<-ctx.Done()
			return runs.Picture{}, ctx.Err()
		}
		answers := map[string]func(context.Context) (runs.Step, error){"slow": func(ctx context.Context) (runs.Step, error) {
			select {
			case <-time.After(19 * time.Second): // of the 20 that the run has
				return runs.Step{State: runs.StepPassed, DurationMS: 19_000}, nil
			case <-ctx.Done():
				return waits(ctx)
			}
		}}
		slow := browserStep("slow")
		slow.Timeout = scenario.Duration(20 * time.Second)
		s := &shelf{err: errors.New("the disk is full: hunter2-abc")}
		r := keeping(t, &filmed{script: script{answers: answers}, picture: hangs}, s, func(a *runs.Assignment) {
			a.Deadline = a.Deadline.Add(time.Hour)
			a.Scenario.Artefacts = scenario.Artefacts{Screenshot: scenario.WhenAlways, HAR: scenario.WhenAlways}
		}, browserStep("first"), slow, browserStep("last"))
		if r.State != runs.StatePassed || r.DurationMS != 19_020 {
			t.Errorf("got %s %+v in %v ms, want passed in 19020 ms", r.State, r.Cause, r.DurationMS)
		}
		if !strings.Contains(r.ArtefactError, "screenshot of step first: context deadline exceeded") || !strings.Contains(r.ArtefactError, "the disk is full: <redacted>") {
			t.Errorf("got %q, want both reasons", r.ArtefactError)
		}
		if len(r.Artefacts) != 1 {
			t.Errorf("got %+v, want what could be kept all the same", r.Artefacts)
		}
	})
}

func TestHowMuchIsKept(t *testing.T) {
	s := &shelf{}
	steps := make([]scenario.Step, 30)
	for i := range steps {
		steps[i] = browserStep("")
	}
	steps[2].ID = "pay"
	steps[2].Optional = true
	answers := map[string]func(context.Context) (runs.Step, error){"pay": fails("no")}
	r := keeping(t, &filmed{script: script{answers: answers}, picture: shows(300 << 10)}, s, func(a *runs.Assignment) {
		a.Scenario.Artefacts.Screenshot = scenario.WhenAlways
	}, steps...)
	size := 0
	for _, f := range s.files {
		size += len(f.Data)
	}
	if size > 4<<20 || size < 3<<20 {
		t.Errorf("got %d bytes kept, want at most 4 MiB, and most of that", size)
	}
	for _, want := range []string{"pay.screenshot.jpg", "30.screenshot.jpg", "run.har"} {
		if !slices.Contains(s.names(), want) {
			t.Errorf("got %v, want %s: failures, the har and the last ones first", s.names(), want)
		}
	}
	if !strings.Contains(r.ArtefactError, "1.screenshot.jpg: left out") {
		t.Errorf("got %q, want what was left out", r.ArtefactError)
	}
}

func TestKeptFiles(t *testing.T) {
	s := &shelf{}
	answers := map[string]func(context.Context) (runs.Step, error){"pay": fails("no")}
	keeping(t, &filmed{script: script{answers: answers}, picture: shows(10)}, s, func(a *runs.Assignment) { a.Trigger = runs.TriggerConfirm }, browserStep("pay"))
	for _, f := range s.files {
		switch f.Kind {
		case runs.ArtefactHAR:
			archive := hartest.Check(t, f.Data)
			if len(archive.Entries) != 1 || archive.Entries[0].Request.URL != "http://shop/?pw=<redacted>" || strings.Contains(string(f.Data), "hunter2") {
				t.Errorf("got %s, want the request without the secret", f.Data)
			}
		case runs.ArtefactFilmstrip:
			var film []frame
			if err := json.Unmarshal(f.Data, &film); err != nil || len(film) != 3 || film[1].AtMS < 900 || film[1].Step != "home" || string(film[0].JPEG) != "frame" {
				t.Errorf("got %s (%v), want three frames", f.Data, err)
			}
		case runs.ArtefactScreenshot:
			if f.Step != "pay" || f.ContentType != "image/jpeg" {
				t.Errorf("got %+v, want the picture of pay", f)
			}
		}
	}
}

// A run that began as late as it may has no time to spare for pictures, and none is taken off the service's.
func TestPicturesOfALateRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := func(ctx context.Context, _ *vars.Scope) (runs.Picture, error) {
			<-ctx.Done()
			return runs.Picture{}, ctx.Err()
		}
		takes := func(d time.Duration) func(context.Context) (runs.Step, error) {
			return func(ctx context.Context) (runs.Step, error) {
				select {
				case <-time.After(d):
					return runs.Step{State: runs.StepPassed, DurationMS: runs.Milliseconds(d)}, nil
				case <-ctx.Done():
					return waits(ctx)
				}
			}
		}
		for _, spare := range []time.Duration{0, time.Second, 12 * time.Second} {
			answers := map[string]func(context.Context) (runs.Step, error){
				"first": fails("no"), "slow": takes(18 * time.Second), "last": fails("no"), "logout": takes(time.Second), "goodbye": takes(time.Second),
			}
			slow, first, logout, goodbye := browserStep("slow"), browserStep("first"), browserStep("logout"), browserStep("goodbye")
			slow.Timeout, first.Optional, logout.Always, goodbye.Always = scenario.Duration(20*time.Second), true, true, true
			f := &filmed{script: script{answers: answers}, picture: hangs}
			r := keeping(t, f, &shelf{}, func(a *runs.Assignment) {
				a.Deadline = time.Now().Add(20*time.Second + spare)
				a.Scenario.Artefacts = scenario.Artefacts{Screenshot: scenario.WhenAlways}
			}, first, slow, browserStep("last"), logout, goodbye)
			var got []string
			for _, step := range r.Steps {
				got = append(got, string(step.State))
			}
			if want := "failed passed failed passed passed"; strings.Join(got, " ") != want {
				t.Errorf("%s to spare: got %v, want %s", spare, got, want)
			}
			if !strings.Contains(r.ArtefactError, "screenshot of step last: context deadline exceeded") {
				t.Errorf("%s to spare: got %q, want a try at the failed step's picture", spare, r.ArtefactError)
			}
		}
	})
}

// Two pictures never have one name: not that of the second step and one called 2, nor what is left of odd ids.
func TestNamesOfPictures(t *testing.T) {
	s := &shelf{}
	long := strings.Repeat("a", 63)
	r := keeping(t, &filmed{picture: shows(10)}, s, func(a *runs.Assignment) {
		a.Scenario.Artefacts.Screenshot = scenario.WhenAlways
	}, browserStep("2"), browserStep(""), browserStep("../../x"), browserStep("x-3"), browserStep("x.3"), browserStep(long), browserStep(long+"b"))
	names := s.names()
	if len(names) != 7 || len(slices.Compact(slices.Clone(names))) != 7 || r.ArtefactError != "" {
		t.Errorf("got %v (%s), want seven names", names, r.ArtefactError)
	}
	for _, name := range names {
		if strings.ContainsAny(name, "/\\") || strings.HasPrefix(name, ".") {
			t.Errorf("got name %q, want a plain one", name)
		}
	}
}

// leaky is an executor whose target repeats the secret wherever it can.
type leaky struct {
	script
	form string
}

func (l *leaky) Close() runs.Trail {
	l.script.Close()
	f := l.form
	return runs.Trail{
		Requests: []runs.Request{
			{Step: "home", URL: "https://shop/" + f, Method: "GET", Status: 302, RedirectedTo: "https://shop/" + f, ServedRegion: f, Exchange: &runs.Exchange{URL: "https://shop/?" + f, StatusText: f}},
			{Step: "home", URL: "wss://shop/" + f, Method: f, Error: "open wss://shop/" + f, Type: "websocket"},
		},
		Navigations: []runs.Navigation{{Step: "home", URL: "https://shop/" + f}},
		Console: []runs.ConsoleMessage{
			{Step: "home", Level: "error", Text: "it is " + f, URL: "https://shop/" + f + ".js"}, {Step: "home", Level: "error", Text: (strings.Repeat("x", 1990) + f)[:2000]},
			{Step: "home", Level: "error", Text: strings.Repeat("x", 490) + f, URL: (strings.Repeat("u", 290) + f)[:300]},
		},
	}
}

// Nothing that leaves the process has a secret in it, in whatever form the target repeats it.
func TestNoSecretLeaves(t *testing.T) {
	const secret = `hunter2-"abc"&<def>`
	quoted, err := json.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	for name, form := range map[string]string{
		"raw": secret, "json": string(quoted), "go in json": strconv.Quote(string(quoted)), "html": html.EscapeString(secret), "query": url.QueryEscape(secret),
		"twice": url.PathEscape(url.PathEscape(secret)), "base64": base64.StdEncoding.EncodeToString([]byte(secret)), "user:pass": base64.URLEncoding.EncodeToString([]byte("bob:" + secret)),
	} {
		t.Run(name, func(t *testing.T) {
			l := &leaky{form: form, script: script{answers: map[string]func(context.Context) (runs.Step, error){
				"first": func(context.Context) (runs.Step, error) {
					return runs.Step{State: runs.StepDegraded, Warnings: []string{"got " + form}, Selector: "text/" + form}, nil
				},
				"pay": fails("got " + form + ", want " + form),
			}}}
			a := assignment(browserStep("first"), browserStep("pay"))
			a.Scenario.Secrets = []string{"PW"}
			s := &shelf{err: errors.New("keep: " + form)}
			access := &access{browser: l, http: &script{}, link: runs.Link{Profile: "none", Mode: runs.LinkDirect, Blocked: 1, BlockedHosts: []string{form + ".example.com"}}}
			look := func(string) (vars.Secret, error) { return secret, nil }
			r := New(slog.New(slog.DiscardHandler), "probe-1", access.connect, look, Options{Keeper: s}).Run(t.Context(), a)
			body, err := json.Marshal(r)
			if err != nil || len(s.files) != 1 || len(r.Requests) != 2 {
				t.Fatalf("got %s, %d files, %v", body, len(s.files), err)
			}
			s.files = append(s.files, runs.File{Name: "result", Data: body})
			for _, f := range s.files {
				text := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&", `\"`, `"`, `\\`, `\`).Replace(string(f.Data))
				for _, leak := range []string{"hunter", form, "aHVudGVy"} {
					if strings.Contains(text, leak) {
						t.Errorf("%s: got %q in %s", f.Name, leak, text)
					}
				}
			}
		})
	}
}
