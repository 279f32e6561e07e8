package traffic

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/target"
)

// socket keeps account of a WebSocket's handshake. Nobody waits for it: a page may keep one open for as long as it is there.
func (t *Log) socket(msg *cdproto.Message) {
	switch msg.Method {
	case cdproto.EventNetworkWebSocketCreated:
		if ev, ok := Decode[network.EventWebSocketCreated](msg); ok && t.exchanges[ev.RequestID] == nil {
			t.dialled(msg.SessionID, &ev)
		}
	case cdproto.EventNetworkWebSocketWillSendHandshakeRequest:
		if ev, ok := Decode[network.EventWebSocketWillSendHandshakeRequest](msg); ok && ev.Request != nil {
			if x := t.exchanges[ev.RequestID]; x != nil {
				x.sent = ev.Timestamp.Float64()
				x.last().requestHeaders = t.keep(x.last().requestHeaders, headersOf(ev.Request.Headers))
			}
		}
	case cdproto.EventNetworkWebSocketHandshakeResponseReceived:
		if ev, ok := Decode[network.EventWebSocketHandshakeResponseReceived](msg); ok && ev.Response != nil {
			if x := t.exchanges[ev.RequestID]; x != nil {
				t.upgraded(x, &ev)
			}
		}
	case cdproto.EventNetworkWebSocketFrameError:
		if ev, ok := Decode[network.EventWebSocketFrameError](msg); ok {
			if x := t.exchanges[ev.RequestID]; x != nil && !x.last().answered {
				x.last().fail(ev.ErrorMessage, ev.Timestamp.Float64(), false)
				x.last().refused(ev.ErrorMessage)
			}
		}
	}
}

func (t *Log) dialled(session target.SessionID, ev *network.EventWebSocketCreated) {
	h := t.start(ev.URL, http.MethodGet, false)
	if h == nil {
		return
	}
	t.exchanges[ev.RequestID] = &exchange{hops: []*Hop{h}}
	h.From, h.Type, h.StartedAt = t.parties[session].From, "websocket", t.now() // the event does not say when
	h.initiator = clip(initiatorOf(ev.Initiator))
}

// upgraded records the answer to a handshake. Of its phases Chromium tells when it was sent and when it was answered.
func (t *Log) upgraded(x *exchange, ev *network.EventWebSocketHandshakeResponseReceived) {
	h, r := x.last(), ev.Response
	h.answered, h.PageStatus, h.Status, h.statusText = true, int(r.Status), int(r.Status), clip(r.StatusText)
	h.Protocol = "websocket"
	h.Headers = t.keep(h.Headers, headersOf(r.Headers))
	if len(r.RequestHeaders) > 0 {
		h.requestHeaders = t.keep(h.requestHeaders, headersOf(r.RequestHeaders))
	}
	if wait := ev.Timestamp.Float64() - x.sent; x.sent > 0 && wait >= 0 {
		h.Phases.Wait = new(wait * 1000)
	}
}

// refused takes the status of an answer that is no handshake from what Chromium says of it, which is all that it tells.
func (h *Hop) refused(text string) {
	_, code, _ := strings.Cut(text, "Unexpected response code: ")
	if status, err := strconv.Atoi(code); err == nil && status >= 100 && status <= 999 {
		h.Status, h.PageStatus = status, status
	}
}
