// Package tab opens a run's page in a primed browser and follows it: what the main frame shows and how far it has loaded, which
// requests are under way, and what else has opened. It answers dialogs and sets up every frame, worker and popup before it runs.
package tab

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"

	"lastmile/internal/browser/chromium"
	"lastmile/internal/browser/traffic"
	"lastmile/internal/runs"
)

// Tab is the run's page. It follows what happens to the page, and to every frame, worker and popup below it, from the events
// alone. It is safe for concurrent use.
type Tab struct {
	device  Device
	browser *chromium.Browser // set by Open, before any event

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced at each event
	identity emulation.SetUserAgentOverrideParams
	pages    map[target.ID]target.SessionID // attached page targets
	main     target.SessionID               // the run's page; "" until adopted
	doc      Document
	gone     bool // the page has been closed
	traffic  *traffic.Log
}

// Document is what the main frame shows.
type Document struct {
	Frame   cdp.FrameID
	Loader  cdp.LoaderID // names the document; "" before the first navigation
	URL     string
	Moves   int  // navigations so far, those within a document included
	Commits int  // new documents so far
	Failed  bool // it is Chromium's own error page
	loaded  cdp.LoaderID
}

// Complete reports whether the document's load event has fired.
func (d *Document) Complete() bool { return d.Loader != "" && d.loaded == d.Loader }

// New returns a tab that is still to be opened, as the device. Its Event method must get every event of the browser that Open is
// given. It owns the account of requests.
func New(device Device, account *traffic.Log) *Tab {
	return &Tab{device: device, changed: make(chan struct{}), pages: map[target.ID]target.SessionID{}, traffic: account}
}

// ErrGone is the error of a wait whose page has been closed.
var ErrGone = errors.New("the page was closed")

// Wait blocks until the document is as wanted.
func (t *Tab) Wait(ctx context.Context, wanted func(Document) bool) error {
	return t.wait(ctx, func() bool { return wanted(t.doc) })
}

// wait blocks until cond, which is called with the lock held, is true.
func (t *Tab) wait(ctx context.Context, cond func() bool) error {
	for {
		t.mu.Lock()
		ok, gone, changed := cond(), t.gone, t.changed
		t.mu.Unlock()
		switch {
		case ok:
			return nil
		case gone:
			return ErrGone
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-t.browser.Lost():
			return chromium.ErrLost
		}
	}
}

// Settle waits until no request has been in flight for the quiet time, and returns when the last one ended. ok is false where ctx
// ends first.
func (t *Tab) Settle(ctx context.Context, quiet time.Duration) (last time.Time, ok bool) {
	for {
		t.mu.Lock()
		active, last := t.traffic.Active()
		changed := t.changed
		t.mu.Unlock()
		var calm <-chan time.Time
		if active == 0 {
			left := quiet - time.Since(last)
			if left <= 0 {
				return last, true
			}
			calm = time.After(left)
		}
		select {
		case <-changed:
		case <-calm:
		case <-ctx.Done():
			return time.Time{}, false
		case <-t.browser.Lost():
			return time.Time{}, false
		}
	}
}

// anyPage returns the session of a page; only the start page is there before the run's is made. The lock is held.
func (t *Tab) anyPage() target.SessionID {
	for _, session := range t.pages {
		return session
	}
	return ""
}

// adopt makes the target the run's page once it is attached. The lock is held.
func (t *Tab) adopt(id target.ID) bool {
	session, ok := t.pages[id]
	if ok {
		t.main, t.doc.Frame = session, cdp.FrameID(id) // Chromium names a page's target after its main frame
	}
	return ok
}

// Endpoint is the protocol session of the run's page.
func (t *Tab) Endpoint() chromium.Endpoint {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.browser.Endpoint(t.main)
}

// Document returns what the main frame shows now; gone is true when the page has been closed.
func (t *Tab) Document() (doc Document, gone bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.doc, t.gone
}

// Response returns the request for a document after its redirects; ok is false where there was none (about:blank, data:).
func (t *Tab) Response(loader cdp.LoaderID) (hop traffic.Hop, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if found := t.traffic.Document(loader); found != nil {
		return *found, true
	}
	return traffic.Hop{}, false
}

// Explain says what a network error of the navigation to a document means: see traffic.Log.Explain.
func (t *Tab) Explain(loader cdp.LoaderID, url, text string) runs.Cause {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.traffic.Explain(loader, url, text)
}

// Event takes one event of the browser. It runs on the goroutine that reads the pipe, so it posts commands but never calls one.
func (t *Tab) Event(msg *cdproto.Message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch msg.Method.Domain() {
	case "Target":
		t.targetEvent(msg)
	case "Network":
		t.traffic.Event(msg)
	case "Page":
		t.pageEvent(msg)
	case "Inspector":
		if msg.Method == cdproto.EventInspectorTargetCrashed && msg.SessionID == t.main {
			t.browser.Fail(runs.ClassBrowserCrash, errors.New("the page's renderer crashed"))
		}
	default:
		return
	}
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *Tab) targetEvent(msg *cdproto.Message) {
	switch msg.Method {
	case cdproto.EventTargetAttachedToTarget:
		if ev, ok := traffic.Decode[target.EventAttachedToTarget](msg); ok {
			t.attached(ev)
		}
	case cdproto.EventTargetDetachedFromTarget:
		if ev, ok := traffic.Decode[target.EventDetachedFromTarget](msg); ok && ev.SessionID == t.main {
			t.gone = true
		}
	}
}

// attached sets a new target up before it runs: its requests are seen from the first, and what it opens is attached in turn. A
// domain that a kind of target lacks answers with an error that nobody reads.
func (t *Tab) attached(ev target.EventAttachedToTarget) {
	e := t.browser.Endpoint(ev.SessionID)
	chromium.Post(e, network.Enable, network.EnableParams{
		// Bodies are never fetched, so none is kept.
		MaxTotalBufferSize: new(int64(1)), MaxResourceBufferSize: new(int64(1)), MaxPostDataSize: new(int64(0)),
	})
	if ev.TargetInfo.Type == "page" || ev.TargetInfo.Type == "iframe" {
		chromium.Post(e, page.Enable, page.EnableParams{})
	}
	chromium.Post(e, emulation.SetUserAgentOverride, t.identity)
	if t.device.slowdown > 1 {
		chromium.Post(e, emulation.SetCPUThrottlingRate, emulation.SetCPUThrottlingRateParams{Rate: t.device.slowdown})
	}
	chromium.Post(e, target.SetAutoAttach, autoAttach(nil))
	chromium.Post(e, runtime.RunIfWaitingForDebugger, cdp.Empty{})
	if ev.TargetInfo.Type == "page" {
		t.pages[ev.TargetInfo.TargetID] = ev.SessionID
	}
}

func (t *Tab) pageEvent(msg *cdproto.Message) {
	if msg.Method == cdproto.EventPageJavascriptDialogOpening {
		if ev, ok := traffic.Decode[page.EventJavascriptDialogOpening](msg); ok { // a page waits for ever behind an open dialog
			chromium.Post(t.browser.Endpoint(msg.SessionID), page.HandleJavaScriptDialog,
				page.HandleJavaScriptDialogParams{Accept: ev.Type == page.DialogTypeBeforeunload})
		}
		return
	}
	if t.main == "" || msg.SessionID != t.main {
		return
	}
	switch msg.Method {
	case cdproto.EventPageFrameNavigated:
		if ev, ok := traffic.Decode[page.EventFrameNavigated](msg); ok && ev.Frame.ParentID == "" {
			t.committed(ev)
		}
	case cdproto.EventPageNavigatedWithinDocument:
		if ev, ok := traffic.Decode[page.EventNavigatedWithinDocument](msg); ok && ev.FrameID == t.doc.Frame {
			t.doc.Moves++
			t.doc.URL = ev.URL
		}
	case cdproto.EventPageLifecycleEvent:
		if ev, ok := traffic.Decode[page.EventLifecycleEvent](msg); ok && ev.FrameID == t.doc.Frame && ev.Name == "load" {
			t.doc.loaded = ev.LoaderID
		}
	}
}

func (t *Tab) committed(ev page.EventFrameNavigated) {
	t.doc.Frame = ev.Frame.ID
	t.doc.Moves++
	t.doc.Commits++
	t.doc.Loader = ev.Frame.LoaderID
	t.doc.URL = ev.Frame.URL + ev.Frame.URLFragment
	t.doc.Failed = ev.Frame.UnreachableURL != ""
	if ev.Type == page.NavigationTypeBackForwardCacheRestore { // comes back complete, without a second load event
		t.doc.loaded = t.doc.Loader
	}
	t.traffic.Forget(ev.Frame.LoaderID)
}

// Begin books the requests that start from now on to the step.
func (t *Tab) Begin(step string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.traffic.Begin(step)
}

// Tally returns how many requests the step has started, the bytes received for them so far, and the first host outside allowHosts
// that it has tried to reach.
func (t *Tab) Tally() (requests int, bytes int64, forbidden string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	requests, bytes = t.traffic.Tally()
	return requests, bytes, t.traffic.Forbidden()
}

// Lost says how the run's own network failed, nil while it has not: see traffic.Log.Lost.
func (t *Tab) Lost() *runs.Cause {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.traffic.Lost()
}

// Requests returns the run's requests in order of start, and how many more there were than are kept.
func (t *Tab) Requests() (kept []runs.Request, dropped int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.traffic.Requests()
}
