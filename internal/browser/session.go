package browser

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/chromedp/cdproto/cdp"

	"lastmile/internal/browser/chromium"
	"lastmile/internal/browser/tab"
	"lastmile/internal/runs"
)

// Session is one run's browser. Step must not be called concurrently; Close may be called more than once.
type Session struct {
	log     *slog.Logger
	device  tab.Device
	quiet   time.Duration
	browser *chromium.Browser
	tab     *tab.Tab
	world   world        // where our scripts live in the current document
	failed  cdp.LoaderID // the last navigation that failed: its error page may come late, in the next step

	closed sync.Once
	trail  runs.Trail
}

// Close kills the browser, waits until no process of it is left, removes its directory and returns what came of the run.
func (s *Session) Close() runs.Trail {
	s.closed.Do(func() {
		s.browser.Close()
		var dropped int
		s.trail.Requests, dropped = s.tab.Requests()
		if dropped > 0 {
			s.log.Warn("requests over the limit were only counted", "kept", len(s.trail.Requests), "dropped", dropped)
		}
	})
	return s.trail
}

// faultOf makes a fault of an error: what broke the browser if something did, else a fault of the probe's.
func (s *Session) faultOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		s.browser.Ping()
	}
	if fault := s.browser.Fault(err); fault != nil {
		return fault
	}
	return &runs.Fault{Class: runs.ClassProbe, Err: err}
}
