// Package traffic makes the account of a run's requests from Chromium's Network events: each redirect hop by itself, with its
// phases, its size, and who answered it (the network, or one of the browser's own caches).
//
// The package does no I/O; the times of requests are Chromium's, and the one clock it needs, to tell when the page has become
// quiet, is passed in.
package traffic

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/cdp/jsonv2"
	"github.com/chromedp/cdproto/network"

	"lastmile/internal/cachestate"
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
	proxy     *Proxy // nil = none
	step      string
	hops      []*Hop // in order of start
	total     int
	documents int // over the limit
	stepFrom  int // total at the start of the step
	exchanges map[network.RequestID]*exchange
	active    int         // exchanges under way that a page waits for
	lastEvent time.Time   // when active last changed or data came
	forbidden string      // the first host outside allowHosts that the step tried to reach
	lost      *runs.Cause // what the first request said to which the proxy gave no answer
}

// exchange is what shares one request id: a request and the redirects before it. ExtraInfo events come in the order of the hops,
// each before or after its main event.
type exchange struct {
	hops   []*Hop
	loader cdp.LoaderID
	extras []network.EventResponseReceivedExtraInfo
	joined int
	active bool
	memory bool
}

// Hop is one request on its way. Status is what was on the wire.
type Hop struct {
	runs.Request
	PageStatus int         // as the page sees it: 200 where the network said 304
	Headers    http.Header // nil before there is a response
	timing     *network.ResourceTiming
	target     string  // host and port
	connection float64 // Chromium's number of it
	wantsExtra bool
	answered   bool
	ended      bool
	endedAt    float64 // or failed, seconds of Chromium's clock
	size       float64 // bytes received
}

// New returns an empty account. now is the clock; proxy is nil where Chromium connects by itself, so that it knows all there is to
// know.
func New(sc *scenario.Scenario, now func() time.Time, proxy *Proxy) *Log {
	return &Log{sc: sc, now: now, proxy: proxy, exchanges: map[network.RequestID]*exchange{}, lastEvent: now()}
}

// Begin books the requests that start from now on to the step.
func (t *Log) Begin(step string) {
	t.step, t.stepFrom, t.forbidden = step, t.total, ""
}

// Event takes one event of the Network domain, from whichever session.
func (t *Log) Event(msg *cdproto.Message) {
	switch msg.Method {
	case cdproto.EventNetworkRequestWillBeSent:
		if ev, ok := Decode[network.EventRequestWillBeSent](msg); ok && ev.Request != nil {
			t.willBeSent(&ev)
		}
	case cdproto.EventNetworkResponseReceived:
		if ev, ok := Decode[network.EventResponseReceived](msg); ok && ev.Response != nil {
			if x := t.exchanges[ev.RequestID]; x != nil {
				x.answer(ev.Response, ev.HasExtraInfo)
				if ev.Type == network.ResourceTypeFetch {
					t.deactivate(x) // a script that never reads the body would keep it from ending
				}
			}
		}
	case cdproto.EventNetworkDataReceived:
		if ev, ok := Decode[network.EventDataReceived](msg); ok && t.exchanges[ev.RequestID] != nil {
			t.lastEvent = t.now()
		}
	case cdproto.EventNetworkResponseReceivedExtraInfo:
		if ev, ok := Decode[network.EventResponseReceivedExtraInfo](msg); ok {
			if x := t.exchanges[ev.RequestID]; x != nil {
				x.extras = append(x.extras, ev)
				x.join()
			}
		}
	case cdproto.EventNetworkRequestServedFromCache:
		if ev, ok := Decode[network.EventRequestServedFromCache](msg); ok {
			if x := t.exchanges[ev.RequestID]; x != nil {
				x.memory = true
			}
		}
	case cdproto.EventNetworkLoadingFinished, cdproto.EventNetworkLoadingFailed:
		t.ended(msg)
	case cdproto.EventNetworkWebSocketCreated, cdproto.EventNetworkWebSocketHandshakeResponseReceived:
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
			x.last().fail(ev.ErrorText, ev.Timestamp.Float64())
			t.deactivate(x)
			if t.lost == nil && t.proxy != nil {
				t.lost = t.proxy.fault(x.last(), t.now())
			}
		}
	}
}

func (t *Log) willBeSent(ev *network.EventRequestWillBeSent) {
	x := t.exchanges[ev.RequestID]
	if x != nil && ev.RedirectResponse == nil {
		return // the same request seen by a second session
	}
	if x != nil {
		x.answer(ev.RedirectResponse, ev.RedirectHasExtraInfo)
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
	if x == nil {
		x = &exchange{loader: ev.LoaderID}
		t.exchanges[ev.RequestID] = x
		switch ev.Type {
		case network.ResourceTypeEventSource, network.ResourceTypePing, network.ResourceTypeCSPViolationReport:
		default:
			x.active = true
			t.active++
			t.lastEvent = t.now()
		}
	}
	x.hops = append(x.hops, h)
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
	h := &Hop{Request: runs.Request{Step: t.step, URL: PlainURL(raw), Method: method}, target: targetOf(u)}
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

// socket keeps account of a WebSocket's handshake.
func (t *Log) socket(msg *cdproto.Message) {
	if msg.Method == cdproto.EventNetworkWebSocketCreated {
		if ev, ok := Decode[network.EventWebSocketCreated](msg); ok && t.exchanges[ev.RequestID] == nil {
			if h := t.start(ev.URL, http.MethodGet, false); h != nil {
				t.exchanges[ev.RequestID] = &exchange{hops: []*Hop{h}}
			}
		}
		return
	}
	if ev, ok := Decode[network.EventWebSocketHandshakeResponseReceived](msg); ok && ev.Response != nil {
		if x := t.exchanges[ev.RequestID]; x != nil {
			h := x.last()
			h.answered, h.PageStatus, h.Status, h.Headers = true, int(ev.Response.Status), int(ev.Response.Status), headersOf(ev.Response.Headers)
		}
	}
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

// Active returns how many requests are under way that a page waits for (beacons, event streams and the bodies of fetches are not),
// and when that or the data received last changed.
func (t *Log) Active() (n int, since time.Time) { return t.active, t.lastEvent }

// Forbidden returns the first host outside allowHosts that the step has tried to reach, "" where there is none.
func (t *Log) Forbidden() string { return t.forbidden }

// Lost says what went wrong when the run's own proxy first failed a request; nil while it has not.
// Nothing that the page did without that request is the target's doing.
func (t *Log) Lost() *runs.Cause { return t.lost }

// Tally counts the requests that the step has started, and the bytes received for them so far.
func (t *Log) Tally() (requests int, bytes int64) {
	for _, h := range t.hops[min(t.stepFrom, len(t.hops)):] {
		bytes += h.Bytes
	}
	return t.total - t.stepFrom, bytes
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
		if r.Error != "" && t.proxy != nil {
			if cause := t.proxy.cause(h.target, r.Error, t.proxy.at(h.endedAt)); cause != nil {
				r.Error = string(cause.Class) + ": " + cause.Detail
			}
		}
		kept = append(kept, r)
	}
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

func (x *exchange) last() *Hop { return x.hops[len(x.hops)-1] }

// answer records the response to the last hop.
func (x *exchange) answer(r *network.Response, hasExtra bool) {
	h := x.last()
	h.answered, h.wantsExtra = true, hasExtra
	h.PageStatus, h.Status = int(r.Status), int(r.Status)
	h.Protocol, h.connection = r.Protocol, r.ConnectionID
	if r.RemoteIPAddress != "" {
		h.RemoteAddr = net.JoinHostPort(strings.Trim(r.RemoteIPAddress, "[]"), strconv.FormatInt(r.RemotePort, 10))
	}
	h.Headers = headersOf(r.Headers)
	switch {
	case r.FromServiceWorker:
		h.BrowserCache = "service-worker"
	case r.FromPrefetchCache:
		h.BrowserCache = "prefetch"
	case x.memory:
		h.BrowserCache = "memory"
	case r.FromDiskCache:
		h.BrowserCache = "disk"
	default:
		h.Bytes = int64(r.EncodedDataLength) // what has come so far
	}
	h.timing = r.Timing
	h.measure()
	x.join()
}

// join gives ExtraInfo, which has what was really on the wire, to the hops that have one coming, in order.
func (x *exchange) join() {
	for _, h := range x.hops[x.joined:] {
		switch {
		case !h.answered || h.wantsExtra && len(x.extras) == 0:
			return
		case h.wantsExtra:
			h.Status = int(x.extras[0].StatusCode) // 304 where a stored response was revalidated
			h.Headers = headersOf(x.extras[0].Headers)
			if h.Status == http.StatusNotModified && h.BrowserCache == "disk" {
				h.BrowserCache = ""
				h.measure()
			}
			x.extras = x.extras[1:]
		}
		x.joined++
	}
}

// finish records the end of the response; at is in seconds of Chromium's clock.
func (h *Hop) finish(at, bytes float64) {
	h.ended, h.endedAt, h.size = true, at, bytes
	h.measure()
}

// fail records what ended the request instead of a response, or of the rest of one.
func (h *Hop) fail(text string, at float64) { h.Error, h.endedAt = text, at }

// measure fills in what is known so far of the size and the phases.
func (h *Hop) measure() {
	if h.BrowserCache != "" {
		return // sizes and times are those of the first delivery
	}
	if h.ended {
		h.Bytes = int64(h.size)
	}
	if h.timing == nil {
		return
	}
	h.Phases = phasesOf(h.timing, h.endedAt)
	if !h.ended {
		h.Phases.Receive = nil
	}
}

// classify fills in what the response's headers say.
func (h *Hop) classify(routing *scenario.Routing) {
	if h.Headers == nil || h.BrowserCache != "" {
		return
	}
	h.Cache = cachestate.Classify(h.Headers)
	if routing != nil && routing.Header != "" {
		h.ServedRegion = h.Headers.Get(routing.Header)
	}
}

// phasesOf splits a request's time; t counts milliseconds from t.RequestTime (seconds), -1 for what did not happen.
func phasesOf(t *network.ResourceTiming, end float64) runs.Phases {
	span := func(from, to float64) *float64 {
		if from < 0 || to < from {
			return nil
		}
		return new(to - from)
	}
	firstByte := t.ReceiveHeadersStart
	if firstByte <= 0 {
		firstByte = t.ReceiveHeadersEnd
	}
	p := runs.Phases{
		DNS: span(t.DNSStart, t.DNSEnd), Connect: span(t.ConnectStart, t.ConnectEnd), TLS: span(t.SslStart, t.SslEnd),
		Send: span(t.SendStart, t.SendEnd), Wait: span(t.SendEnd, firstByte),
		Receive: span(t.ReceiveHeadersEnd, (end-t.RequestTime)*1000),
	}
	for _, start := range []float64{t.DNSStart, t.ConnectStart, t.SendStart} {
		if start >= 0 {
			p.Blocked = new(start)
			break
		}
	}
	return p
}

// headersOf converts the protocol's headers, in which several values of a name are lines of one.
func headersOf(in network.Headers) http.Header {
	out := make(http.Header, len(in))
	for name, value := range in {
		if text, ok := value.(string); ok {
			out[http.CanonicalHeaderKey(name)] = strings.Split(text, "\n")
		}
	}
	return out
}

// parseURL reads a URL as Chromium does, which takes a % that escapes nothing for itself.
func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		u, err = url.Parse(strings.ReplaceAll(raw, "%", "%25"))
	}
	return u, err
}

// PlainURL removes from a URL what may be private: query, fragment and userinfo.
func PlainURL(raw string) string {
	u, err := parseURL(raw)
	if err != nil {
		raw, _, _ = strings.Cut(raw, "#")
		raw, _, _ = strings.Cut(raw, "?")
		return raw
	}
	u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment, u.User = "", false, "", "", nil
	return u.String()
}

// Decode reads an event's parameters. Callers pass over what does not decode: the protocol adds fields and values at will.
func Decode[E any](msg *cdproto.Message) (event E, ok bool) {
	err := jsonv2.Unmarshal(msg.Params, &event, jsonv2.DefaultOptionsV2(), jsonv2.AllowInvalidUTF8(true))
	return event, err == nil
}
