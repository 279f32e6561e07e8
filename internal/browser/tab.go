package browser

import (
	"context"
	"errors"
	"sync"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// tab follows what happens to the run's page, and to every frame, worker and popup below it, from the events alone.
type tab struct {
	wire *wire
	fail func(runs.Class, error)

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced at each event
	identity emulation.SetUserAgentOverrideParams
	slowdown float64
	pages    map[target.ID]target.SessionID // attached page targets
	main     target.SessionID               // the run's page; "" until adopted
	frame    cdp.FrameID                    // its main frame
	doc      document
	gone     bool // the page has been closed
	traffic  traffic
}

// document is what the main frame shows.
type document struct {
	moves   int // navigations so far, those within a document included
	commits int // new documents so far
	loader  cdp.LoaderID
	loaded  cdp.LoaderID // the last document whose load event has fired
	url     string
	failed  bool // it is Chromium's own error page
}

func (d *document) complete() bool { return d.loader != "" && d.loaded == d.loader }

func newTab(sc *scenario.Scenario, fail func(runs.Class, error)) *tab {
	return &tab{
		fail: fail, changed: make(chan struct{}), pages: map[target.ID]target.SessionID{}, traffic: newTraffic(sc),
	}
}

// errGone is the error of a wait whose page has been closed.
var errGone = errors.New("the page was closed")

// wait blocks until cond, which is called with the lock held, is true.
func (t *tab) wait(ctx context.Context, cond func() bool) error {
	for {
		t.mu.Lock()
		ok, gone, changed := cond(), t.gone, t.changed
		t.mu.Unlock()
		switch {
		case ok:
			return nil
		case gone:
			return errGone
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-t.wire.lost:
			return errLost
		}
	}
}

// anyPage returns the session of a page; only the start page is there before the run's is made. The lock is held.
func (t *tab) anyPage() target.SessionID {
	for _, session := range t.pages {
		return session
	}
	return ""
}

// adopt makes the target the run's page once it is attached. The lock is held.
func (t *tab) adopt(id target.ID) bool {
	session, ok := t.pages[id]
	if ok {
		t.main, t.frame = session, cdp.FrameID(id) // Chromium names a page's target after its main frame
	}
	return ok
}

func (t *tab) endpoint() endpoint {
	t.mu.Lock()
	defer t.mu.Unlock()
	return endpoint{wire: t.wire, id: t.main}
}

func (t *tab) document() document {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.doc
}

// handle takes one event. It runs on the goroutine that reads the pipe, so it posts commands but never calls one.
func (t *tab) handle(msg *cdproto.Message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch msg.Method.Domain() {
	case "Target":
		t.targetEvent(msg)
	case "Network":
		t.traffic.event(msg)
	case "Page":
		t.pageEvent(msg)
	case "Inspector":
		if msg.Method == cdproto.EventInspectorTargetCrashed && msg.SessionID == t.main {
			t.fail(runs.ClassBrowserCrash, errors.New("the page's renderer crashed"))
		}
	default:
		return
	}
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *tab) targetEvent(msg *cdproto.Message) {
	switch msg.Method {
	case cdproto.EventTargetAttachedToTarget:
		if ev, ok := decode[target.EventAttachedToTarget](msg); ok {
			t.attached(ev)
		}
	case cdproto.EventTargetDetachedFromTarget:
		if ev, ok := decode[target.EventDetachedFromTarget](msg); ok && ev.SessionID == t.main {
			t.gone = true
		}
	}
}

// attached sets a new target up before it runs: its requests are seen from the first, and what it opens is attached in turn. A
// domain that a kind of target lacks answers with an error that nobody reads.
func (t *tab) attached(ev target.EventAttachedToTarget) {
	post := func(method string, params any) { t.wire.post(ev.SessionID, method, params) }
	post(network.Enable.Method, network.EnableParams{
		// Bodies are never fetched, so none is kept.
		MaxTotalBufferSize: new(int64(1)), MaxResourceBufferSize: new(int64(1)), MaxPostDataSize: new(int64(0)),
	})
	if ev.TargetInfo.Type == "page" || ev.TargetInfo.Type == "iframe" {
		post(page.Enable.Method, page.EnableParams{})
	}
	if t.identity.UserAgent != "" {
		post(emulation.SetUserAgentOverride.Method, t.identity)
	}
	if t.slowdown > 1 {
		post(emulation.SetCPUThrottlingRate.Method, emulation.SetCPUThrottlingRateParams{Rate: t.slowdown})
	}
	post(target.SetAutoAttach.Method, autoAttach(nil))
	post(runtime.RunIfWaitingForDebugger.Method, cdp.Empty{})
	if ev.TargetInfo.Type == "page" {
		t.pages[ev.TargetInfo.TargetID] = ev.SessionID
	}
}

func (t *tab) pageEvent(msg *cdproto.Message) {
	if msg.Method == cdproto.EventPageJavascriptDialogOpening {
		if ev, ok := decode[page.EventJavascriptDialogOpening](msg); ok { // a page waits for ever behind an open dialog
			t.wire.post(msg.SessionID, page.HandleJavaScriptDialog.Method,
				page.HandleJavaScriptDialogParams{Accept: ev.Type == page.DialogTypeBeforeunload})
		}
		return
	}
	if t.main == "" || msg.SessionID != t.main {
		return
	}
	switch msg.Method {
	case cdproto.EventPageFrameNavigated:
		if ev, ok := decode[page.EventFrameNavigated](msg); ok && ev.Frame.ParentID == "" {
			t.committed(ev)
		}
	case cdproto.EventPageNavigatedWithinDocument:
		if ev, ok := decode[page.EventNavigatedWithinDocument](msg); ok && ev.FrameID == t.frame {
			t.doc.moves++
			t.doc.url = ev.URL
		}
	case cdproto.EventPageLifecycleEvent:
		if ev, ok := decode[page.EventLifecycleEvent](msg); ok && ev.FrameID == t.frame && ev.Name == "load" {
			t.doc.loaded = ev.LoaderID
		}
	}
}

func (t *tab) committed(ev page.EventFrameNavigated) {
	t.frame = ev.Frame.ID
	t.doc.moves++
	t.doc.commits++
	t.doc.loader = ev.Frame.LoaderID
	t.doc.url = ev.Frame.URL + ev.Frame.URLFragment
	t.doc.failed = ev.Frame.UnreachableURL != ""
	if ev.Type == page.NavigationTypeBackForwardCacheRestore { // comes back complete, without a second load event
		t.doc.loaded = t.doc.loader
	}
	t.traffic.forget(ev.Frame.LoaderID)
}

// begin starts the account of a step.
func (t *tab) begin(step string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.traffic.begin(step)
}

// requests returns the run's requests in order of start, and how many more there were.
func (t *tab) requests() (kept []runs.Request, dropped int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.traffic.requests()
}
