package browser

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/chromedp/cdproto"

	"lastmile/internal/browser/chromium"
	"lastmile/internal/browser/elements"
	"lastmile/internal/browser/picture"
	"lastmile/internal/browser/steps"
	"lastmile/internal/browser/tab"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// Session is one run's browser. Step must not be called concurrently; Close may be called more than once.
type Session struct {
	log      *slog.Logger
	browser  *chromium.Browser
	tab      *tab.Tab
	elements *elements.Engine
	player   *steps.Player

	launchCPU float64 // seconds, until then
	launchMS  float64 // from the start of the process until the page could take the first step

	camera *picture.Camera

	patience time.Duration // what the page gets to become quiet when the run ends
	acted    time.Time     // when the last step ended

	given []*http.Cookie // by SetCookies

	closed sync.Once
	trail  runs.Trail
}

// event takes one event of the browser.
func (s *Session) event(msg *cdproto.Message) {
	if !s.camera.Film.Event(msg) {
		s.tab.Event(msg)
	}
}

// Step executes one step. What is wrong with the target is in the returned step; an error means that we could not measure and
// wraps a *runs.Fault. ctx ends at the step's limit. Not safe for concurrent use.
func (s *Session) Step(ctx context.Context, step *scenario.Step, scope *vars.Scope) (runs.Step, error) {
	s.roll(step, scope)
	out, err := s.player.Step(ctx, step, scope)
	s.acted = time.Now()
	return out, err
}

// linger is how long a page is watched after the last step at least: what that has set off, such as the request of a click, would
// else be cut off, unseen by the run and perhaps by the target.
const linger = 100 * time.Millisecond

// finishLimit bounds how long it is watched, however long a scenario lets it settle elsewhere.
const finishLimit = 2 * time.Second

// finish lets what the last step has set off come to its end.
func (s *Session) finish() {
	if s.acted.IsZero() || s.patience == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), min(s.patience, finishLimit))
	defer cancel()
	select {
	case <-time.After(time.Until(s.acted.Add(linger))):
		s.tab.Settle(ctx, linger)
	case <-s.browser.Lost():
	}
}

// Close lets the page finish what it is at for a moment, kills the browser, waits until no process of it is left, removes its directory and returns what came of the run.
func (s *Session) Close() runs.Trail {
	s.closed.Do(func() {
		s.finish()
		s.trail.Film = s.camera.Film.Stop()
		s.browser.Close()
		used := s.browser.Usage()
		s.trail.Load = &runs.Load{LaunchMS: s.launchMS, CPUSeconds: used.CPU.Seconds(), LaunchCPU: s.launchCPU, PeakMemory: used.Memory}
		s.trail.Tainted = s.tab.Tainted()
		s.trail.Navigations, s.trail.Vitals, s.trail.Console = s.tab.Navigations(), s.tab.LateVitals(), s.tab.Console()
		s.trail.Requests, s.trail.Dropped = s.tab.Requests()
		if s.trail.Dropped > 0 {
			s.log.Warn("requests over the limit were only counted", "kept", len(s.trail.Requests), "dropped", s.trail.Dropped)
		}
	})
	return s.trail
}
