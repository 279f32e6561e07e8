// Package traffic makes the account of a run's requests from Chromium's Network events: each redirect hop by itself, with its
// phases, its size, and who answered it (the network, or one of the browser's own caches).
//
// The package does no I/O; the times of requests are Chromium's, and the one clock it needs, to tell when the page has become
// quiet, is passed in.
package traffic

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/cdp/jsonv2"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/target"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// maxRequests bounds the requests that are kept of a run; more are only counted. The answers to some documents more are looked at,
// as they decide over steps.
const (
	maxRequests  = 2000
	maxDocuments = 200
)

// Log is the account of one run's requests. It is not safe for concurrent use.
type Log struct {
	sc        *scenario.Scenario
	now       func() time.Time
	clock     Clock
	proxy     *Proxy // nil = none
	parties   map[target.SessionID]Party
	step      string
	hops      []*Hop // in order of start
	total     int
	received  int64
	documents int // over the limit
	stepFrom  int // total at the start of the step
	exchanges map[network.RequestID]*exchange
	early     early
	spans     map[network.RequestID]string // of hops that have not begun yet
	room      int                          // bytes of headers that may yet be kept
	active    int                          // exchanges under way that a page waits for
	lastEvent time.Time                    // when active last changed or data came
	forbidden string                       // the first host outside allowHosts that the step tried to reach
	lost      *runs.Cause                  // what the first request said to which the proxy gave no answer
}

// Clock ties Chromium's clock, which is CLOCK_MONOTONIC, to Go's: the same instant on both. The zero value is of use where nobody
// asks when requests began.
type Clock struct {
	Monotonic time.Duration
	Now       time.Time // with its monotonic reading
}

// At converts seconds of Chromium's clock.
func (c Clock) At(seconds float64) time.Time {
	return c.Now.Add(time.Duration(seconds*float64(time.Second)) - c.Monotonic)
}

// New returns an empty account. now is the clock; proxy is nil where Chromium connects by itself, so that it knows all there is to
// know.
func New(sc *scenario.Scenario, now func() time.Time, clock Clock, proxy *Proxy) *Log {
	return &Log{
		sc: sc, now: now, clock: clock, proxy: proxy, room: maxHeadersOfRun, lastEvent: now(),
		parties: map[target.SessionID]Party{}, exchanges: map[network.RequestID]*exchange{}, early: early{}, spans: map[network.RequestID]string{},
	}
}

// Begin books the requests that start from now on to the step.
func (t *Log) Begin(step string) {
	t.step, t.stepFrom, t.forbidden = step, t.total, ""
}

// Event takes one event of the Network domain, from whichever session.
func (t *Log) Event(msg *cdproto.Message) {
	t.receive(msg)
	switch msg.Method {
	case cdproto.EventNetworkRequestWillBeSent:
		if ev, ok := Decode[network.EventRequestWillBeSent](msg); ok && ev.Request != nil {
			t.willBeSent(msg.SessionID, &ev)
		}
	case cdproto.EventNetworkResponseReceived:
		if ev, ok := Decode[network.EventResponseReceived](msg); ok && ev.Response != nil {
			if x := t.exchanges[ev.RequestID]; x != nil {
				t.answer(x, ev.Response, ev.HasExtraInfo)
				x.last().refine(ev.Type, ev.Response.MimeType)
				if ev.Type == network.ResourceTypeFetch {
					t.deactivate(x) // a script that never reads the body would keep it from ending
				}
			}
		}
	case cdproto.EventNetworkDataReceived:
		if ev, ok := Decode[network.EventDataReceived](msg); ok {
			if x := t.exchanges[ev.RequestID]; x != nil {
				t.lastEvent = t.now()
				x.last().body += ev.DataLength
			}
		}
	case cdproto.EventNetworkRequestServedFromCache:
		if ev, ok := Decode[network.EventRequestServedFromCache](msg); ok {
			if x := t.exchanges[ev.RequestID]; x != nil {
				x.memory = true
			}
		}
	case cdproto.EventNetworkRequestWillBeSentExtraInfo, cdproto.EventNetworkResponseReceivedExtraInfo, cdproto.EventNetworkResourceChangedPriority:
		t.extra(msg)
	case cdproto.EventNetworkLoadingFinished, cdproto.EventNetworkLoadingFailed:
		t.ended(msg)
	case cdproto.EventNetworkWebSocketCreated, cdproto.EventNetworkWebSocketWillSendHandshakeRequest,
		cdproto.EventNetworkWebSocketHandshakeResponseReceived, cdproto.EventNetworkWebSocketFrameError:
		t.socket(msg)
	}
}

func (t *Log) ended(msg *cdproto.Message) {
	if ev, ok := Decode[network.EventLoadingFinished](msg); ok && msg.Method == cdproto.EventNetworkLoadingFinished {
		if x := t.exchanges[ev.RequestID]; x != nil {
			x.last().finish(ev.Timestamp.Float64(), ev.EncodedDataLength)
			t.deactivate(x)
		}
	}
	if ev, ok := Decode[network.EventLoadingFailed](msg); ok && msg.Method == cdproto.EventNetworkLoadingFailed {
		if x := t.exchanges[ev.RequestID]; x != nil {
			x.last().fail(ev.ErrorText, ev.Timestamp.Float64(), ev.Canceled)
			t.deactivate(x)
			if t.lost == nil && t.proxy != nil {
				t.lost = t.proxy.fault(x.last(), t.now())
			}
		}
	}
}

func (t *Log) willBeSent(session target.SessionID, ev *network.EventRequestWillBeSent) {
	x := t.exchanges[ev.RequestID]
	if x != nil {
		if ev.RedirectResponse == nil {
			x.hopsSeen.next(session)
			return // the same request seen by a second session
		}
		if x.hopsSeen.join(session); !x.hopsSeen.next(session) {
			return
		}
		t.answer(x, ev.RedirectResponse, ev.RedirectHasExtraInfo)
		x.last().finish(ev.Timestamp.Float64(), ev.RedirectResponse.EncodedDataLength)
	}
	h := t.start(ev.Request.URL, ev.Request.Method, ev.Type == network.ResourceTypeDocument)
	if h == nil {
		if x != nil { // redirected to where no account is kept
			t.deactivate(x)
			delete(t.exchanges, ev.RequestID)
		}
		return
	}
	if x != nil {
		x.last().RedirectedTo = h.URL
	}
	t.describe(h, session, ev)
	if x == nil {
		x = &exchange{loader: ev.LoaderID}
		x.hopsSeen.next(session)
		t.exchanges[ev.RequestID] = x
		if !patient(h, ev) {
			x.active = true
			t.active++
			t.lastEvent = t.now()
		}
	}
	x.hops = append(x.hops, h)
	h.SpanID = t.spans[ev.RequestID]
	delete(t.spans, ev.RequestID)
	for _, msg := range t.early.take(ev.RequestID) {
		t.extra(msg)
	}
}

// Traced says which span the hop of a request is in the run's trace, before or after Chromium tells of the hop. One that is begun anew, as
// fonts are, has the last.
func (t *Log) Traced(id network.RequestID, span string, redirected bool) {
	switch x := t.exchanges[id]; {
	case x != nil && (!redirected || x.last().SpanID == ""):
		x.last().SpanID = span
	case len(t.spans) < maxEarly:
		t.spans[id] = span
	}
}

// patient reports whether nobody who looks at the page waits for the request.
func patient(h *Hop, ev *network.EventRequestWillBeSent) bool {
	return h.Type == "eventsource" || h.Type == "beacon" || h.Type == "prefetch" || ev.Type == network.ResourceTypeCSPViolationReport
}

// start opens the account of a request; nil where it is not one of the network's, or over the limit.
func (t *Log) start(raw, method string, document bool) *Hop {
	u, err := parseURL(raw)
	if err != nil || u.Host == "" {
		return nil // data:, blob:, about:
	}
	switch u.Scheme {
	case "http", "https", "ws", "wss":
	default:
		return nil
	}
	if host := u.Hostname(); t.forbidden == "" && !t.sc.AllowsHost(host) {
		t.forbidden = host
	}
	t.total++
	h := &Hop{Request: runs.Request{Step: t.step, URL: PlainURL(raw), Method: method}, target: targetOf(u), document: document, raw: raw}
	switch {
	case len(t.hops) < maxRequests:
		t.hops = append(t.hops, h)
	case document && t.documents < maxDocuments:
		t.documents++
	default:
		return nil
	}
	return h
}

func (t *Log) deactivate(x *exchange) {
	if x.active {
		x.active = false
		t.active--
		t.lastEvent = t.now()
	}
}

// Forget stops waiting for what documents before the loader's had under way: not every such request gets an end of its own.
func (t *Log) Forget(loader cdp.LoaderID) {
	for _, x := range t.exchanges {
		if x.active && x.loader != loader {
			t.deactivate(x)
		}
	}
}

// Document returns the last hop of the request for a document, whose id is that of its loader; nil where there is none.
func (t *Log) Document(loader cdp.LoaderID) *Hop {
	if x := t.exchanges[network.RequestID(loader)]; x != nil && len(x.hops) > 0 {
		return x.last()
	}
	return nil
}

// Began returns when the request for a document began, its redirects included; ok is false where there was none.
func (t *Log) Began(loader cdp.LoaderID) (at time.Time, ok bool) {
	if x := t.exchanges[network.RequestID(loader)]; x != nil && len(x.hops) > 0 {
		return x.hops[0].StartedAt, true
	}
	return time.Time{}, false
}

// Active returns how many requests are under way that a page waits for (beacons, event streams, prefetches, WebSockets and the bodies
// of fetches are not), and when that or the data received last changed.
func (t *Log) Active() (n int, since time.Time) { return t.active, t.lastEvent }

// Forbidden returns the first host outside allowHosts that the step has tried to reach, "" where there is none.
func (t *Log) Forbidden() string { return t.forbidden }

// Lost says what went wrong when the run's own proxy first failed a request; nil while it has not.
// Nothing that the page did without that request is the target's doing.
func (t *Log) Lost() *runs.Cause { return t.lost }

// ofStep returns the requests that the step has started, as far as they are kept.
func (t *Log) ofStep() []*Hop { return t.hops[min(t.stepFrom, len(t.hops)):] }

// Tally counts the requests that the step has started, and the bytes received for them so far.
func (t *Log) Tally() (requests int, bytes int64) {
	for _, h := range t.ofStep() {
		bytes += h.Bytes
	}
	return t.total - t.stepFrom, bytes
}

// Failures counts the requests that the step has started and that came to nothing: no answer, or one of status 400 and over. What
// the page itself gave up is none.
func (t *Log) Failures() (n int) {
	for _, h := range t.ofStep() {
		if h.Error != "" && !h.cancelled || h.PageStatus >= http.StatusBadRequest {
			n++
		}
	}
	return n
}

// Requests returns the run's requests in order of start, and how many more there were than are kept.
func (t *Log) Requests() (kept []runs.Request, dropped int) {
	kept = make([]runs.Request, 0, len(t.hops))
	if t.proxy != nil {
		t.proxy.join(t.hops)
	}
	for _, h := range t.hops {
		h.classify(t.sc.Routing)
		r := h.Request
		if r.BrowserCache != "" {
			r.SpanID = "" // it went nowhere
		}
		if r.Error != "" && t.proxy != nil {
			if cause := t.proxy.cause(h.target, r.Error, t.clock.At(h.endedAt)); cause != nil {
				r.Error = string(cause.Class) + ": " + cause.Detail
			}
		}
		r.Exchange = h.exchange()
		kept = append(kept, r)
	}
	slices.SortStableFunc(kept, func(a, b runs.Request) int { return a.StartedAt.Compare(b.StartedAt) }) // sessions tell in turn
	return kept, t.total - len(t.hops)
}

// Explain says what a network error, such as net::ERR_NAME_NOT_RESOLVED, of the navigation to a document means. The URL is that of
// the navigation; where it was redirected, the error is of the last hop. Class probe is a fault of this machine or of the run's own
// network.
func (t *Log) Explain(loader cdp.LoaderID, raw, text string) runs.Cause {
	h := t.Document(loader)
	if h == nil {
		h = &Hop{Request: runs.Request{URL: PlainURL(raw)}}
		if u, err := parseURL(raw); err == nil {
			h.target = targetOf(u)
		}
	}
	cause := runs.Cause{Class: ClassOfNetError(text), Detail: text}
	if t.proxy != nil {
		cause = *cmp.Or(t.proxy.cause(h.target, text, t.now()), &cause)
	}
	cause.Detail = fmt.Sprintf("load %s: %s", h.URL, cause.Detail)
	return cause
}

// Decode reads an event's parameters. Callers pass over what does not decode: the protocol adds fields and values at will.
func Decode[E any](msg *cdproto.Message) (event E, ok bool) {
	err := jsonv2.Unmarshal(msg.Params, &event, jsonv2.DefaultOptionsV2(), jsonv2.AllowInvalidUTF8(true))
	return event, err == nil
}
