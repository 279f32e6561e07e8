package tab

import (
	"context"
	"time"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"

	"lastmile/internal/browser/traffic"
	"lastmile/internal/browser/vitals"
	"lastmile/internal/runs"
)

// navigated takes the commit of a document in the main frame of the run's page. The lock is held.
func (t *Tab) navigated(ev page.EventFrameNavigated) {
	if ev.Frame.UnreachableURL != "" || ev.Frame.URL == "about:blank" {
		t.vitals.Left()
		return
	}
	at, restored := time.Now(), ev.Type == page.NavigationTypeBackForwardCacheRestore
	if began, ok := t.traffic.Began(ev.Frame.LoaderID); ok && !restored {
		at = began
	}
	t.vitals.Navigated(ev.Frame.URL, at, restored)
}

// bindingCalled takes what the script of package vitals tells. The lock is held.
func (t *Tab) bindingCalled(msg *cdproto.Message) {
	if ev, ok := traffic.Decode[runtime.EventBindingCalled](msg); ok && ev.Name == vitals.Binding && msg.SessionID == t.main {
		t.vitals.Hear(ev.Payload)
	}
}

// Painted waits until the first and the largest paint of the current document are known; ctx bounds the wait.
func (t *Tab) Painted(ctx context.Context) {
	_ = t.wait(ctx, t.vitals.Painted) // whatever ends the wait, what is there will do
}

// Answered waits until it is known how long the page took to answer what was done in the current step; ctx bounds the wait.
func (t *Tab) Answered(ctx context.Context) {
	_ = t.wait(ctx, t.vitals.Answered) // whatever ends the wait, what is there will do
}

// Vitals returns those of the current step so far, nil where there are none.
func (t *Tab) Vitals() *runs.Vitals {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.vitals.Step()
}

// Navigations returns the run's, in order.
func (t *Tab) Navigations() []runs.Navigation {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := t.vitals.Navigations()
	for i := range out {
		out[i].URL = cut(traffic.PlainURL(out[i].URL), maxURL)
	}
	return out
}

// LateVitals returns those of steps that led to no document, by the step's id: what was done in them may have been told of after
// their end.
func (t *Tab) LateVitals() map[string]runs.Vitals {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.vitals.Late()
}
