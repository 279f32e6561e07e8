package browser

import (
	"context"
	"net/http"

	"lastmile/internal/browser/tab"
	"lastmile/internal/runs"
)

// traceOf is the trace that a run's pages take part in: where the scenario says whose hosts are a part of it. Without allowHosts a page
// may talk to anybody, and nobody has said who is to know.
func traceOf(a *runs.Assignment) tab.Trace {
	if len(a.Scenario.AllowHosts) == 0 {
		return tab.Trace{}
	}
	return tab.Trace{ID: a.TraceID, Allows: a.Scenario.AllowsHost}
}

// Cookies returns the cookies that the run's pages have: see tab.Tab.Cookies. They are the caller's. Of a browser that was ended for what
// its pages did these are those that it was given. An error wraps a *runs.Fault.
func (s *Session) Cookies(ctx context.Context) ([]*http.Cookie, error) {
	cookies, err := s.tab.Cookies(ctx)
	switch {
	case err != nil && s.browser.Condemned() != nil:
		return s.given, nil
	case err != nil:
		return nil, s.player.Fault(ctx, err)
	}
	return cookies, nil
}

// SetCookies makes the run's pages have just these cookies, which are as Cookies returns them. An error wraps a *runs.Fault.
func (s *Session) SetCookies(ctx context.Context, cookies []*http.Cookie) error {
	s.given = cookies
	if err := s.tab.SetCookies(ctx, cookies); err != nil && s.browser.Condemned() == nil {
		return s.player.Fault(ctx, err)
	}
	return nil
}
