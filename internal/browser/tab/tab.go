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
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"

	"lastmile/internal/browser/chromium"
	"lastmile/internal/browser/traffic"
	"lastmile/internal/browser/vitals"
	"lastmile/internal/runs"
)

// Tab is the run's page. It follows what happens to the page, and to every frame, worker and popup below it, from the events
// alone. It is safe for concurrent use.
type Tab struct {
	user    User
	trace   Trace
	context cdp.BrowserContextID // of the run; set by Open
	browser *chromium.Browser    // set by Open, before any event

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced at each event
	identity emulation.SetUserAgentOverrideParams
	pages    map[target.ID]target.SessionID // attached page targets
	main     target.SessionID               // the run's page; "" until adopted
	doc      *Document                      // what its main frame shows
	gone     bool                           // the page has been closed
	traffic  *traffic.Log
	console  console
	vitals   vitals.Log
	spent    spent

	mainFrame cdp.FrameID            // of the run's page
	frames    map[cdp.FrameID]*frame // of all pages
	tops      []*frame               // the main frames of all pages, in order of opening
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

// New returns a tab that is still to be opened, of the user, whose requests are to be a part of the trace. Its Event method must get every
// event of the browser that Open is given. It owns the account of requests.
func New(user User, account *traffic.Log, trace Trace) *Tab {
	return &Tab{
		user: user, trace: trace, changed: make(chan struct{}), pages: map[target.ID]target.SessionID{}, traffic: account,
		doc: &Document{}, frames: map[cdp.FrameID]*frame{},
	}
}

// ErrGone is the error of a wait whose page has been closed.
var ErrGone = errors.New("the page was closed")

// Wait blocks until the document is as wanted.
func (t *Tab) Wait(ctx context.Context, wanted func(Document) bool) error {
	return t.wait(ctx, func() bool { return wanted(*t.doc) })
}

// wait blocks until cond, which is called with the lock held, is true.
func (t *Tab) wait(ctx context.Context, cond func() bool) error {
	return t.await(ctx, func() (bool, error) {
		ok := cond()
		if !ok && t.gone {
			return false, ErrGone
		}
		return ok, nil
	})
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
		t.main, t.mainFrame = session, cdp.FrameID(id) // Chromium names a page's target after its main frame
		t.doc = &t.frames[t.mainFrame].doc
		t.traffic.Attach(session, traffic.Party{From: "page", Frame: t.mainFrame})
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
	return *t.doc, t.gone
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
	defer t.meter(msg)
	switch msg.Method.Domain() {
	case "Target":
		t.targetEvent(msg)
	case "Network":
		t.traffic.Event(msg)
	case "Page":
		t.pageEvent(msg)
	case "Fetch":
		t.paused(msg)
		return
	case "Log", "Runtime":
		if msg.Method != cdproto.EventRuntimeBindingCalled {
			t.consoleEvent(msg)
			return // nobody waits for what a console says
		}
		t.bindingCalled(msg)
	case "Inspector":
		t.crashed(msg)
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
			t.attached(msg.SessionID, ev)
		}
	case cdproto.EventTargetDetachedFromTarget:
		if ev, ok := traffic.Decode[target.EventDetachedFromTarget](msg); ok {
			t.left(ev.SessionID)
		}
	}
}

// attached sets a new target up before it runs: its requests are seen from the first, and what it opens is attached in turn. A
// domain that a kind of target lacks answers with an error that nobody reads.
func (t *Tab) attached(parent target.SessionID, ev target.EventAttachedToTarget) {
	e := t.browser.Endpoint(ev.SessionID)
	t.traffic.Attach(ev.SessionID, t.party(parent, ev.TargetInfo))
	chromium.Post(e, network.Enable, network.EnableParams{
		// Bodies are never fetched, so none is kept.
		MaxTotalBufferSize: new(int64(1)), MaxResourceBufferSize: new(int64(1)), MaxPostDataSize: new(int64(0)),
	})
	if ev.TargetInfo.Type == "page" || ev.TargetInfo.Type == "iframe" {
		chromium.Post(e, page.Enable, page.EnableParams{})
	}
	chromium.Post(e, emulation.SetUserAgentOverride, t.identity)
	t.user.settle(e)
	chromium.Post(e, log.Enable, cdp.Empty{})
	chromium.Post(e, runtime.Enable, cdp.Empty{})
	chromium.Post(e, target.SetAutoAttach, autoAttach(branches()))
	t.trace.follow(e)
	t.entered(ev)
	t.crashes(ev)
	chromium.Post(e, runtime.RunIfWaitingForDebugger, cdp.Empty{})
	if ev.TargetInfo.Type == "page" {
		t.pages[ev.TargetInfo.TargetID] = ev.SessionID
		t.closeExcess(ev.TargetInfo.TargetID)
	}
}

// party says who speaks in the session of a new target.
func (t *Tab) party(parent target.SessionID, info *target.Info) traffic.Party {
	switch above := t.traffic.Party(parent).From; {
	case info.Type == "page":
		return traffic.Party{From: "popup"} // the run's own page becomes one when it is adopted
	case info.Type == "service_worker":
		return traffic.Party{From: "service-worker"}
	case info.Type != "iframe":
		return traffic.Party{From: "worker"}
	case above == "popup":
		return traffic.Party{From: above}
	}
	return traffic.Party{From: "frame"}
}

func (t *Tab) pageEvent(msg *cdproto.Message) {
	if msg.Method == cdproto.EventPageJavascriptDialogOpening {
		if ev, ok := traffic.Decode[page.EventJavascriptDialogOpening](msg); ok { // a page waits for ever behind an open dialog
			chromium.Post(t.browser.Endpoint(msg.SessionID), page.HandleJavaScriptDialog,
				page.HandleJavaScriptDialogParams{Accept: ev.Type == page.DialogTypeBeforeunload})
		}
		return
	}
	t.frameEvent(msg)
	if t.main == "" || msg.SessionID != t.main || msg.Method != cdproto.EventPageFrameNavigated {
		return
	}
	if ev, ok := traffic.Decode[page.EventFrameNavigated](msg); ok && ev.Frame.ParentID == "" {
		t.traffic.Forget(ev.Frame.LoaderID)
		t.navigated(ev)
	}
}

// Begin books the requests that start from now on to the step.
func (t *Tab) Begin(step string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.traffic.Begin(step)
	t.console.begin(step)
	t.vitals.Begin(step, time.Now())
	t.spent.notes = nil
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

// Tainted says why the times of the run are not to be trusted: see traffic.Log.Tainted.
func (t *Tab) Tainted() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.traffic.Tainted()
}
