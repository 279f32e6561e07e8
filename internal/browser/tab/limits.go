package tab

import (
	"fmt"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/inspector"
	"github.com/chromedp/cdproto/target"

	"lastmile/internal/browser/chromium"
	"lastmile/internal/browser/traffic"
)

// spent counts what the run's pages have done that is bounded (see chromium.Limits). The zero value has counted nothing.
type spent struct {
	dialogs, targets, refused int
	notes                     []string // of the step, one of each kind
}

// maxNotes bounds what is noted of a step.
const maxNotes = 20

// note keeps what a person should know of the step.
func (s *spent) note(format string, args ...any) {
	if len(s.notes) < maxNotes {
		s.notes = append(s.notes, cut(fmt.Sprintf(format, args...), maxText))
	}
}

// Notes returns what the pages wanted in the current step and did not get: downloads, and windows over the limit.
func (t *Tab) Notes() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.spent.notes
}

// meter holds what an event tells against the limits. A page that goes beyond one is at its end: the browser is condemned. The lock is
// held.
func (t *Tab) meter(msg *cdproto.Message) {
	if t.main == "" {
		return // the pages are still our own
	}
	limits := t.browser.Limits()
	switch msg.Method {
	case cdproto.EventNetworkRequestWillBeSent:
		if n, _ := t.traffic.Volume(); n > limits.Requests {
			t.browser.Condemn("requests: the pages sent more than %d", limits.Requests)
		}
	case cdproto.EventNetworkDataReceived, cdproto.EventNetworkWebSocketFrameReceived:
		if _, n := t.traffic.Volume(); n > int64(limits.Bytes) {
			t.browser.Condemn("bytes: the pages received more than %s", limits.Bytes)
		}
	case cdproto.EventPageJavascriptDialogOpening:
		if t.spent.dialogs++; t.spent.dialogs > limits.Dialogs {
			t.browser.Condemn("dialogs: the pages opened more than %d (alert, confirm, prompt)", limits.Dialogs)
		}
	case cdproto.EventTargetAttachedToTarget, cdproto.EventPageFrameAttached:
		if t.spent.targets++; t.spent.targets > limits.Targets {
			t.browser.Condemn("targets: the pages opened more than %d windows, frames and workers", limits.Targets)
		}
	case cdproto.EventBrowserDownloadWillBegin:
		if ev, ok := traffic.Decode[browser.EventDownloadWillBegin](msg); ok {
			t.spent.note("download of %s from %s: denied", ev.SuggestedFilename, traffic.PlainURL(ev.URL))
		}
	}
}

// maxRefused is how many windows over the limit are closed before the page that opens them is at its end.
const maxRefused = 30

// closeExcess closes a window that is one too many. It has been set up and let go like any other: one that is held keeps the page that
// opens it waiting, and cannot be closed. The lock is held.
func (t *Tab) closeExcess(id target.ID) {
	limit := t.browser.Limits().Windows
	if t.main == "" || len(t.tops) <= limit+1 { // the browser's first window is there, too
		return
	}
	if t.spent.refused++; t.spent.refused == 1 {
		t.spent.note("windows: the pages opened more than %d at once: more were closed", limit)
	}
	if t.spent.refused > maxRefused {
		t.browser.Condemn("windows: the pages opened more than %d at once, and went on when %d were closed", limit, maxRefused)
	}
	chromium.Post(t.browser.Endpoint(""), target.CloseTarget, target.CloseTargetParams{TargetID: id})
}

// crashes makes the renderer of a new target tell when it crashes. The run's page and popups are set up elsewhere.
func (t *Tab) crashes(ev target.EventAttachedToTarget) {
	if ev.TargetInfo.Type == "iframe" {
		chromium.Post(t.browser.Endpoint(ev.SessionID), inspector.Enable, cdp.Empty{})
	}
}

// crashed ends the run's browser where any renderer of its pages has crashed: what is seen after that is not the target. Of a shared
// worker or a service worker it is also said that it crashed when it has merely come to its end.
func (t *Tab) crashed(msg *cdproto.Message) {
	from := t.traffic.Party(msg.SessionID).From
	if msg.Method == cdproto.EventInspectorTargetCrashed && t.main != "" && from != "worker" && from != "service-worker" {
		t.browser.Crashed(fmt.Sprintf("the %s's renderer", from))
	}
}
