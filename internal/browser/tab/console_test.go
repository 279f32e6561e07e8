package tab

import (
	"slices"
	"strings"
	"testing"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

func TestConsole(t *testing.T) {
	for _, engine := range []scenario.Engine{scenario.EngineShell, scenario.EngineFull} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			o := open(t, &scenario.Scenario{Engine: engine})
			o.Begin("noise")
			o.navigate(s.url("localhost", "/noisy.html"))
			o.titled("done")
			heard := func(text string) bool {
				return slices.ContainsFunc(o.Console(), func(m runs.ConsoleMessage) bool { return strings.Contains(m.Text, text) })
			}
			ctx, cancel := contextOf(t)
			defer cancel()
			for ctx.Err() == nil && (!heard("from the worker") || !heard("from the frame")) { // which have processes and threads of their own
				o.eval("new Promise((done) => setTimeout(done, 20))")
			}
			said := func(level, text, page string) {
				t.Helper()
				if !slices.ContainsFunc(o.Console(), func(m runs.ConsoleMessage) bool {
					return m.Level == level && strings.Contains(m.Text, text) && strings.Contains(m.URL, page) && m.Step == "noise" && (m.Line > 0 || page == "")
				}) {
					t.Errorf("got %+v, want %s %q from %s", o.Console(), level, text, page)
				}
			}
			said("warning", "a warning 1 true undefined null", "/noisy.html")
			said("error", "an error with Object and more", "/noisy.html")
			said("error", "assertion failed: sums", "/noisy.html")
			said("exception", "Uncaught TypeError: thrown", "/noisy.html")
			said("exception", "Uncaught (in promise) Error: rejected", "/noisy.html")
			said("error", "from the frame", "/noisy-frame.html")
			said("error", "from the worker", "")
			said("error", "the server responded with a status of 503", "")
			for _, m := range o.Console() {
				if len(m.Text) > maxText || strings.Contains(m.Text, "not kept") || strings.Contains(m.Text, "nor this") {
					t.Errorf("got %+v, want warnings and errors, and not all of their text", m)
				}
			}
			// Not among them: what the browser says because a request failed, and the request that the page gave up.
			if errors, failed := o.Problems(); errors != 7 || failed != 2 {
				t.Errorf("problems: got %d errors and %d requests, want 7 and 2: %+v", errors, failed, o.Console())
			}
			o.Begin("quiet")
			if errors, failed := o.Problems(); errors != 0 || failed != 0 {
				t.Errorf("problems of the next step: got %d and %d, want none", errors, failed)
			}
		})
	}
}

func TestConsoleStorm(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	o := open(t, &scenario.Scenario{})
	o.Begin("storm")
	o.navigate(s.url("localhost", "/storm.html"))
	o.titled("done")
	if n := len(o.Console()); n != maxMessages {
		t.Errorf("kept: got %d messages, want %d", n, maxMessages)
	}
	if errors, _ := o.Problems(); errors < maxMessages {
		t.Errorf("errors: got %d, want those that are not kept counted too", errors)
	}
}
