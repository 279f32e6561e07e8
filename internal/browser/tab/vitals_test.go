package tab

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"

	"lastmile/internal/browser/chromium"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// press clicks at a point of the page.
func (o *opened) press(x, y float64) {
	o.t.Helper()
	ctx, cancel := contextOf(o.t)
	defer cancel()
	for _, ev := range []input.DispatchMouseEventParams{
		{Type: input.DispatchMouseEventTypeMouseMoved},
		{Type: input.DispatchMouseEventTypeMousePressed, Button: input.MouseButtonLeft, Buttons: 1, ClickCount: 1},
		{Type: input.DispatchMouseEventTypeMouseReleased, Button: input.MouseButtonLeft, ClickCount: 1},
	} {
		ev.X, ev.Y = x, y
		if _, err := chromium.Call(ctx, o.Endpoint(), input.DispatchMouseEvent, ev); err != nil {
			o.t.Fatal(err)
		}
	}
}

// until waits until the run's navigations and the vitals of its steps are as wanted.
func (o *opened) until(what string, wanted func([]runs.Navigation, map[string]runs.Vitals) bool) {
	o.t.Helper()
	ctx, cancel := contextOf(o.t)
	defer cancel()
	for ctx.Err() == nil {
		o.mu.Lock()
		changed := o.changed
		o.mu.Unlock()
		if wanted(o.Navigations(), o.LateVitals()) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	o.t.Fatalf("%s: never came; got %s", what, tale(o.Navigations()))
}

// tale is a line for each navigation.
func tale(navigations []runs.Navigation) string {
	var lines []string
	for _, n := range navigations {
		v := n.Vitals
		lines = append(lines, fmt.Sprintf("%s %s soft %v: ttfb %v fcp %v lcp %v cls %v inp %v", n.Step, n.URL, n.Soft,
			number(v.TTFB), number(v.FCP), number(v.LCP), number(v.CLS), number(v.INP)))
	}
	return strings.Join(lines, "\n")
}

func number(p *float64) any {
	if p == nil {
		return "-"
	}
	return *p
}

func TestVitals(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	o := open(t, &scenario.Scenario{})
	ctx, cancel := contextOf(t)
	defer cancel()
	o.Begin("open")
	o.navigate(s.url("localhost", "/vitals.html"))
	o.Painted(ctx)
	o.until("the late heading", func(n []runs.Navigation, _ map[string]runs.Vitals) bool {
		return *n[0].Vitals.CLS > 0 && *n[0].Vitals.LCP >= 300
	})
	opened := o.Vitals()
	if opened == nil || opened.TTFB == nil || opened.FCP == nil || *opened.FCP <= *opened.TTFB || opened.INP != nil {
		t.Errorf("open: got %+v, want all but an interaction", opened)
	}
	o.Begin("click")
	o.press(20, 20)
	o.Answered(ctx)
	clicked := o.Vitals()
	if clicked == nil || clicked.INP == nil || *clicked.INP < 144 || clicked.LCP != nil || clicked.CLS == nil || *clicked.CLS != 0 {
		t.Errorf("click: got %+v, want 150 ms until the page answered, no shift, and no paint", clicked)
	}
	o.Begin("leave")
	o.navigate(s.url("localhost", "/late.html"))
	o.Painted(ctx)
	got := o.Navigations()
	if len(got) != 2 || got[0].Step != "open" || !strings.HasSuffix(got[0].URL, "/vitals.html") || got[1].Step != "leave" || got[0].Soft || got[1].Soft {
		t.Fatalf("navigations: got\n%s\nwant the two", tale(got))
	}
	if v := got[0].Vitals; v.INP == nil || *v.INP != *clicked.INP || *v.LCP < 300 || *v.CLS <= 0 || *v.FCP > *v.LCP {
		t.Errorf("first page: got\n%s\nwant its vitals as it was left", tale(got))
	}
	if v := got[1].Vitals; v.LCP == nil || v.INP != nil || *v.CLS != 0 {
		t.Errorf("second page: got\n%s\nwant vitals of its own", tale(got))
	}
	if !got[0].StartedAt.Before(got[1].StartedAt) {
		t.Errorf("times: got %s and %s, want them in order", got[0].StartedAt, got[1].StartedAt)
	}
}

// A single-page application shows its views without a document of their own.
func TestSoftNavigations(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	o := open(t, &scenario.Scenario{})
	o.Begin("open")
	o.navigate(s.url("localhost", "/soft.html"))
	ctx, cancel := contextOf(t)
	defer cancel()
	o.Painted(ctx)
	o.Begin("click")
	o.press(20, 20) // and on with the next step: what the click did shows later
	o.Begin("wait")
	o.until("a soft navigation with a late shift", func(n []runs.Navigation, _ map[string]runs.Vitals) bool {
		return len(n) == 2 && n[1].Vitals.CLS != nil && *n[1].Vitals.CLS > 0
	})
	got := o.Navigations()
	if n := got[1]; !n.Soft || n.Step != "click" || !strings.HasSuffix(n.URL, "/soft.html") || *n.Vitals.FCP < 50 || *n.Vitals.LCP < *n.Vitals.FCP {
		t.Errorf("got\n%s\nwant the view that the click led to, 50 ms after it at least", tale(got))
	}
	if v := got[0].Vitals; v.INP == nil || *v.INP < 56 || *v.CLS != 0 {
		t.Errorf("got\n%s\nwant the click with the first view, and the shift with the second", tale(got))
	}
	late := o.LateVitals()["click"]
	if late.LCP == nil || late.INP == nil || *late.INP != *got[0].Vitals.INP {
		t.Errorf("step: got %+v, want the paints of its view, and its own click", late)
	}
}

// A page that comes back from Chromium's cache of whole pages begins anew.
func TestVitalsOfRestoredPage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	o := open(t, &scenario.Scenario{Engine: scenario.EngineFull}) // the shell has no such cache
	ctx, cancel := contextOf(t)
	defer cancel()
	o.Begin("open")
	o.navigate(s.url("localhost", "/cacheable/prefetched.html"))
	o.Painted(ctx)
	o.navigate(s.url("localhost", "/cacheable/other.html"))
	o.Painted(ctx)
	o.Begin("back")
	began := time.Now()
	o.eval("setTimeout(() => history.back(), 0)")
	o.until("the restored page", func(n []runs.Navigation, _ map[string]runs.Vitals) bool { return len(n) == 3 && n[2].Vitals.LCP != nil })
	got := o.Navigations()
	if n := got[2]; n.Step != "back" || !strings.HasSuffix(n.URL, "/prefetched.html") || *n.Vitals.TTFB != 0 || n.StartedAt.Before(began) || n.Vitals.INP != nil {
		t.Errorf("got\n%s\nwant the page again, at once", tale(got))
	}
}
