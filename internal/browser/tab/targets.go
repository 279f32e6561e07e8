package tab

import (
	"context"
	"fmt"
	"slices"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/inspector"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/target"

	"lastmile/internal/browser/chromium"
	"lastmile/internal/browser/traffic"
	"lastmile/internal/scenario"
)

// frame is what is known of one frame, whichever process draws it.
type frame struct {
	parent   *frame // nil = the main frame of a page
	children []*frame
	session  target.SessionID // of the process that draws it
	context  cdp.BrowserContextID
	doc      Document
}

// Frame is one frame of the run's pages, as it is at a moment.
type Frame struct {
	ID       cdp.FrameID
	Parent   cdp.FrameID       // "" = it is the main frame of its page
	Page     cdp.FrameID       // the main frame of its page
	Endpoint chromium.Endpoint // of the process that draws it
	Input    chromium.Endpoint // of its page, which takes all input
	Document Document
}

// Frame returns what a frame is now; ok is false where it has gone.
func (t *Tab) Frame(id cdp.FrameID) (f Frame, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.snapshot(t.frames[id])
}

// snapshot copies what is known of a frame. The lock is held.
func (t *Tab) snapshot(f *frame) (Frame, bool) {
	if f == nil {
		return Frame{}, false
	}
	root := f
	for root.parent != nil {
		root = root.parent
	}
	s := Frame{ID: f.doc.Frame, Page: root.doc.Frame, Endpoint: t.browser.Endpoint(f.session), Input: t.browser.Endpoint(root.session),
		Document: f.doc}
	if f.parent != nil {
		s.Parent = f.parent.doc.Frame
	}
	return s, true
}

// Find waits for a frame: of the target, which is scenario.MainTarget or the URL of a page or of a frame, the child with the numbers
// of the path, one level after another. Where ctx ends first, missing says what was not there. ErrGone means that the run's page is
// wanted and has been closed.
func (t *Tab) Find(ctx context.Context, name string, path []int) (found Frame, missing string, err error) {
	err = t.await(ctx, func() (bool, error) {
		var f *frame
		f, missing = t.named(name)
		for depth, child := range path {
			if f == nil {
				break
			}
			if child < 0 || child >= len(f.children) {
				missing = fmt.Sprintf("frame %v: there are %d at level %d", path, len(f.children), depth+1)
				f = nil
				break
			}
			f = f.children[child]
		}
		if f == nil && t.gone && ours(name) {
			return false, ErrGone
		}
		var ok bool
		found, ok = t.snapshot(f)
		return ok, nil
	})
	return found, missing, err
}

func ours(name string) bool { return name == "" || name == scenario.MainTarget }

// named returns the main frame of the run's page, or the first page, else the first frame of a page, with the URL. The lock is held.
func (t *Tab) named(name string) (f *frame, missing string) {
	if ours(name) {
		return t.frames[t.mainFrame], "the page is not open"
	}
	home := cdp.BrowserContextID("")
	if main := t.frames[t.mainFrame]; main != nil {
		home = main.context
	}
	level := slices.DeleteFunc(slices.Clone(t.tops), func(f *frame) bool { return home != "" && f.context != home })
	for len(level) > 0 {
		var below []*frame
		for _, f := range level {
			if f.doc.URL == name {
				return f, ""
			}
			below = append(below, f.children...)
		}
		level = below
	}
	return nil, fmt.Sprintf("no page or frame shows %s", traffic.PlainURL(name))
}

// WaitAny blocks until the document of one of the frames is as wanted, and returns it. It is ErrGone when all of them go first.
func (t *Tab) WaitAny(ctx context.Context, frames []cdp.FrameID, wanted func(Document) bool) (doc Document, err error) {
	err = t.await(ctx, func() (bool, error) {
		gone := ErrGone
		for _, id := range frames {
			if f := t.frames[id]; f != nil {
				doc, gone = f.doc, nil
				if wanted(doc) {
					return true, nil
				}
			}
		}
		return false, gone
	})
	return doc, err
}

// ClosePage closes a page and waits until it has gone.
func (t *Tab) ClosePage(ctx context.Context, f Frame) error {
	if _, err := chromium.Call(ctx, t.browser.Endpoint(""), target.CloseTarget,
		target.CloseTargetParams{TargetID: target.ID(f.Page)}); err != nil {
		return err
	}
	return t.await(ctx, func() (bool, error) { return t.frames[f.Page] == nil, nil })
}

// await blocks until cond, which is called with the lock held, is true or fails.
func (t *Tab) await(ctx context.Context, cond func() (bool, error)) error {
	for {
		t.mu.Lock()
		ok, err := cond()
		changed := t.changed
		t.mu.Unlock()
		if ok || err != nil {
			return err
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

// entered makes room for a page or a frame that is drawn by a process of its own. The lock is held.
func (t *Tab) entered(ev target.EventAttachedToTarget) {
	id, e := cdp.FrameID(ev.TargetInfo.TargetID), t.browser.Endpoint(ev.SessionID)
	switch ev.TargetInfo.Type {
	case "page":
		f := &frame{session: ev.SessionID, context: ev.TargetInfo.BrowserContextID, doc: Document{Frame: id, URL: ev.TargetInfo.URL}}
		t.frames[id] = f
		t.tops = append(t.tops, f)
		if t.main != "" { // the run's page has been set up: this is a popup
			chromium.Post(e, emulation.SetDeviceMetricsOverride, t.user.metrics())
			chromium.Post(e, emulation.SetTouchEmulationEnabled, TouchScreen(t.user.Touch))
			chromium.Post(e, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
			chromium.Post(e, inspector.Enable, cdp.Empty{})
		}
	case "iframe": // which takes its screen from the machine
		chromium.Post(e, emulation.SetTouchEmulationEnabled, TouchScreen(t.user.Touch))
		if f := t.frames[id]; f != nil {
			f.session = ev.SessionID
		}
	default:
		return
	}
	chromium.Post(e, page.SetLifecycleEventsEnabled, page.SetLifecycleEventsEnabledParams{Enabled: true})
}

// left forgets the page of a session that has ended. The lock is held.
func (t *Tab) left(session target.SessionID) {
	for _, f := range slices.Clone(t.tops) {
		if f.session == session {
			t.forget(f)
			t.tops = slices.DeleteFunc(t.tops, func(other *frame) bool { return other == f })
			delete(t.pages, target.ID(f.doc.Frame))
		}
	}
	t.traffic.Detach(session)
	t.gone = t.gone || session == t.main
}

// forget drops a frame and all below it. The lock is held.
func (t *Tab) forget(f *frame) {
	for _, child := range f.children {
		t.forget(child)
	}
	f.children = nil
	delete(t.frames, f.doc.Frame)
}

// frameEvent follows the frames of all pages. The lock is held.
func (t *Tab) frameEvent(msg *cdproto.Message) {
	switch msg.Method {
	case cdproto.EventPageFrameAttached:
		if ev, ok := traffic.Decode[page.EventFrameAttached](msg); ok {
			t.frameAttached(ev, msg.SessionID)
		}
	case cdproto.EventPageFrameDetached:
		// A frame that only moves to another process comes back by its navigation there.
		if ev, ok := traffic.Decode[page.EventFrameDetached](msg); ok && ev.Reason != page.FrameDetachedReasonSwap {
			if f := t.frames[ev.FrameID]; f != nil && f.parent != nil {
				f.parent.children = slices.DeleteFunc(f.parent.children, func(child *frame) bool { return child == f })
				t.forget(f)
			}
		}
	case cdproto.EventPageFrameNavigated:
		if ev, ok := traffic.Decode[page.EventFrameNavigated](msg); ok {
			if f := t.frames[ev.Frame.ID]; f != nil {
				f.session = msg.SessionID
				for _, child := range f.children {
					t.forget(child)
				}
				f.children = nil
				f.doc.commit(ev)
			}
		}
	case cdproto.EventPageNavigatedWithinDocument:
		if ev, ok := traffic.Decode[page.EventNavigatedWithinDocument](msg); ok && t.frames[ev.FrameID] != nil {
			doc := &t.frames[ev.FrameID].doc
			doc.Moves++
			doc.URL = ev.URL
		}
	case cdproto.EventPageLifecycleEvent:
		if ev, ok := traffic.Decode[page.EventLifecycleEvent](msg); ok && ev.Name == "load" && t.frames[ev.FrameID] != nil {
			t.frames[ev.FrameID].doc.loaded = ev.LoaderID
		}
	}
}

func (t *Tab) frameAttached(ev page.EventFrameAttached, session target.SessionID) {
	parent := t.frames[ev.ParentFrameID]
	if parent == nil {
		return
	}
	f := t.frames[ev.FrameID]
	if f == nil {
		f = &frame{parent: parent, doc: Document{Frame: ev.FrameID}}
		t.frames[ev.FrameID] = f
		parent.children = append(parent.children, f)
	}
	f.session = session
}

// commit records that a frame shows another document.
func (d *Document) commit(ev page.EventFrameNavigated) {
	d.Moves++
	d.Commits++
	d.Loader = ev.Frame.LoaderID
	d.URL = ev.Frame.URL + ev.Frame.URLFragment
	d.Failed = ev.Frame.UnreachableURL != ""
	if ev.Type == page.NavigationTypeBackForwardCacheRestore { // comes back complete, without a second load event
		d.loaded = d.Loader
	}
}
