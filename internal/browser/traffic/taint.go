package traffic

import (
	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/network"
)

// Volume returns how many requests the run has started, and how many bytes its pages have been given: bodies, decoded, from caches
// too, and the messages of WebSockets.
func (t *Log) Volume() (requests int, bytes int64) { return t.total, t.received }

// receive counts the bytes that an event tells of.
func (t *Log) receive(msg *cdproto.Message) {
	switch msg.Method {
	case cdproto.EventNetworkDataReceived:
		if ev, ok := Decode[network.EventDataReceived](msg); ok {
			t.received += ev.DataLength
		}
	case cdproto.EventNetworkWebSocketFrameReceived:
		t.received += int64(len(msg.Params))
	}
}

// Tainted says why the times of the run's requests are not what a user's would be: Chromium opened a connection before there was a
// request for it, so that the first request to a host seems to have needed no look-up and no handshakes. A user's Chrome does that
// too, now and then; a measurement that includes it or not by chance measures nothing.
//
// The first request to a host and port must have opened its connection, or found one that another request of the run opened: HTTP/2
// serves several hosts on one connection, and what is asked for at the same time gets connections in any order.
func (t *Log) Tainted() (reasons []string) {
	opened, seen := map[float64]bool{}, map[string]bool{}
	for _, h := range t.hops {
		if h.timing != nil && h.timing.ConnectStart >= 0 && h.BrowserCache == "" {
			opened[h.connection] = true
		}
	}
	for _, h := range t.hops {
		first := !seen[h.target]
		seen[h.target] = true
		if first && h.timing != nil && h.BrowserCache == "" && h.connection != 0 && !opened[h.connection] {
			reasons = append(reasons, "speculative connection to "+h.target)
		}
	}
	return reasons
}
