package traffic

import (
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"

	"lastmile/internal/cachestate"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// exchange is what shares one request id: a request and the redirects before it. ExtraInfo events come in the order of the hops,
// each before or after its main event.
type exchange struct {
	hops     []*Hop
	loader   cdp.LoaderID
	extras   []network.EventResponseReceivedExtraInfo
	asked    int // hops that have their request's ExtraInfo
	joined   int // hops that have their response's
	active   bool
	memory   bool
	sent     float64 // WebSocket: when its handshake was, seconds of Chromium's clock
	hopsSeen sightings
	askSeen  sightings
	gotSeen  sightings
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
	document   bool
	cancelled  bool    // by the page, or because it went away
	endedAt    float64 // or failed, seconds of Chromium's clock
	size       float64 // bytes received

	// For the HAR.
	raw            string // URL
	statusText     string
	requestHeaders http.Header
	mime           string
	body           int64 // bytes, decoded
	priority       string
	initiator      string
}

func (x *exchange) last() *Hop { return x.hops[len(x.hops)-1] }

// early keeps ExtraInfo events that come before the request itself.
type early map[network.RequestID][]*cdproto.Message

// maxEarly bounds how many requests may have ExtraInfo events ahead of them, and how many of them each.
const maxEarly = 100

func (e early) put(id network.RequestID, msg *cdproto.Message) {
	if kept := e[id]; len(kept) < maxEarly && (len(kept) > 0 || len(e) < maxEarly) {
		e[id] = append(kept, msg)
	}
}

func (e early) take(id network.RequestID) []*cdproto.Message {
	kept := e[id]
	delete(e, id)
	return kept
}

// extra takes what is told of a request beside its main events: what was really on the wire, and changes of its priority.
func (t *Log) extra(msg *cdproto.Message) {
	switch msg.Method {
	case cdproto.EventNetworkRequestWillBeSentExtraInfo:
		if ev, ok := Decode[network.EventRequestWillBeSentExtraInfo](msg); ok {
			x := t.exchanges[ev.RequestID]
			switch {
			case x == nil:
				t.early.put(ev.RequestID, msg)
			case x.asked >= len(x.hops): // that of a redirect of which we have not been told yet
			case x.askSeen.next(msg.SessionID):
				h := x.hops[x.asked]
				h.requestHeaders = t.keep(h.requestHeaders, headersOf(ev.Headers))
				x.asked++
			}
		}
	case cdproto.EventNetworkResponseReceivedExtraInfo:
		if ev, ok := Decode[network.EventResponseReceivedExtraInfo](msg); ok {
			x := t.exchanges[ev.RequestID]
			switch {
			case x == nil:
				t.early.put(ev.RequestID, msg)
			case x.gotSeen.next(msg.SessionID):
				x.extras = append(x.extras, ev)
				t.join(x)
			}
		}
	case cdproto.EventNetworkResourceChangedPriority:
		if ev, ok := Decode[network.EventResourceChangedPriority](msg); ok {
			if x := t.exchanges[ev.RequestID]; x != nil {
				x.last().priority = string(ev.NewPriority)
			}
		}
	}
}

// answer records the response to the last hop.
func (t *Log) answer(x *exchange, r *network.Response, hasExtra bool) {
	h := x.last()
	if h.answered {
		return // told of by a second session
	}
	h.answered, h.wantsExtra = true, hasExtra
	h.PageStatus, h.Status, h.statusText, h.mime = int(r.Status), int(r.Status), clip(r.StatusText), clip(r.MimeType)
	h.Protocol, h.connection = r.Protocol, r.ConnectionID
	if r.RemoteIPAddress != "" {
		h.RemoteAddr = net.JoinHostPort(strings.Trim(r.RemoteIPAddress, "[]"), strconv.FormatInt(r.RemotePort, 10))
	}
	h.Headers = t.keepFor(h, headersOf(r.Headers))
	switch {
	case r.FromServiceWorker:
		h.BrowserCache = "service-worker"
	case r.FromPrefetchCache && (h.Type != "prefetch" || r.FromDiskCache): // it is said of some prefetches themselves too
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
	t.join(x)
}

// join gives ExtraInfo, which has what was really on the wire, to the hops that have one coming, in order.
func (t *Log) join(x *exchange) {
	for _, h := range x.hops[x.joined:] {
		switch {
		case !h.answered || h.wantsExtra && len(x.extras) == 0:
			return
		case h.wantsExtra:
			h.Status = int(x.extras[0].StatusCode) // 304 where a stored response was revalidated
			h.Headers = t.keepFor(h, headersOf(x.extras[0].Headers))
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

// fail records what ended the request instead of a response, or of the rest of one. A page that has no use for the rest of a
// response, or goes away before it has all come, makes no error of it.
func (h *Hop) fail(text string, at float64, cancelled bool) {
	h.endedAt, h.cancelled = at, cancelled
	if !cancelled || !h.answered {
		h.Error = text
	}
}

// measure fills in what is known so far of the size and the phases.
func (h *Hop) measure() {
	if h.BrowserCache != "" {
		return // sizes and times are those of the first delivery
	}
	if h.ended {
		h.Bytes = int64(h.size)
		if h.size == 0 { // what service workers import has none
			h.Bytes = contentLength(h.Headers)
		}
	}
	if h.timing == nil {
		return
	}
	h.Phases = phasesOf(h.timing, h.endedAt)
	if !h.ended {
		h.Phases.Receive = nil
	}
}

// classify fills in what the response's headers say, and the address it came from.
func (h *Hop) classify(routing *scenario.Routing) {
	if h.Headers == nil || h.BrowserCache != "" {
		return
	}
	h.Cache, h.PoP = cachestate.Classify(h.Headers), cachestate.PoP(h.Headers)
	h.Exposed = cachestate.Exposed(h.requestHeaders, h.Headers, h.Cache)
	if routing.Concerns(h.URL) {
		h.ServedRegion = routing.OfHeader(h.Headers) + routing.OfAddress(h.RemoteAddr) // by one of the two
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
	sent := t.SendEnd
	if firstByte >= t.SendStart { // over HTTP/2 the answer may overtake Chromium's note that the request is sent
		sent = min(sent, firstByte)
	}
	p := runs.Phases{
		DNS: span(t.DNSStart, t.DNSEnd), Connect: span(t.ConnectStart, t.ConnectEnd), TLS: span(t.SslStart, t.SslEnd),
		Send: span(t.SendStart, sent), Wait: span(sent, firstByte),
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
