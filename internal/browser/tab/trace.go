package tab

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/network"

	"lastmile/internal/browser/chromium"
	"lastmile/internal/browser/traffic"
)

// Trace is the trace that the requests of pages are to be a part of (W3C Trace Context). The zero value is none.
//
// Each request that goes to an allowed host bears a traceparent with a span of its own, those of frames, workers and service workers
// included; one that the page itself has put into a trace keeps that. Only WebSockets and the script of a service worker are asked for
// without, and preflights. It takes Fetch interception: what Network.setExtraHTTPHeaders adds is for Chromium a header of the page's, so that each
// cross-origin request that was simple is preceded by a preflight, which servers refuse; what an interception adds comes below CORS. It
// holds every request for a moment, some milliseconds where the machine is busy.
type Trace struct {
	ID     string                 // 32 hexadecimal digits; "" = none
	Allows func(host string) bool // the hosts that are told
}

// follow makes a new target's requests stop until they are a part of the trace.
func (tr Trace) follow(e chromium.Endpoint) {
	if tr.ID != "" {
		chromium.Post(e, fetch.Enable, fetch.EnableParams{Patterns: []*fetch.RequestPattern{{URLPattern: "http*"}}})
	}
}

// pausedRequest is the part of fetch.EventRequestPaused that matters, with the headers in their order: some servers look at it.
type pausedRequest struct {
	RequestID  fetch.RequestID   `json:"requestId"`
	NetworkID  network.RequestID `json:"networkId"`
	Redirected fetch.RequestID   `json:"redirectedRequestId"`
	Request    struct {
		URL     string          `json:"url"`
		Headers json.RawMessage `json:"headers"`
	} `json:"request"`
}

// paused lets a request go on, as a part of the trace if its host is to know.
func (t *Tab) paused(msg *cdproto.Message) {
	ev, _ := traffic.Decode[pausedRequest](msg) // as far as it can be read, which the id is
	headers, span := t.trace.mark(ev.Request.URL, ev.Request.Headers)
	if span != "" {
		t.traffic.Traced(ev.NetworkID, span, ev.Redirected != "")
	}
	chromium.Post(t.browser.Endpoint(msg.SessionID), fetch.ContinueRequest, fetch.ContinueRequestParams{RequestID: ev.RequestID, Headers: headers})
}

// mark returns a request's headers with its place in the trace, which is a new span; nil where they are to stay as they are.
func (tr Trace) mark(raw string, object json.RawMessage) (headers []*fetch.HeaderEntry, span string) {
	u, err := url.Parse(raw)
	if err != nil || !tr.Allows(u.Hostname()) {
		return nil, ""
	}
	headers, ok := entries(object)
	if !ok || slices.ContainsFunc(headers, settled) {
		return nil, ""
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	span = hex.EncodeToString(id[:])
	return append(headers, &fetch.HeaderEntry{Name: "traceparent", Value: "00-" + tr.ID + "-" + span + "-01"}), span
}

// settled reports whether a header means that a request is to stay as it is: it is a part of a trace already, or a preflight, which is
// Chromium's own.
func settled(h *fetch.HeaderEntry) bool {
	return strings.EqualFold(h.Name, "traceparent") || strings.EqualFold(h.Name, "Access-Control-Request-Method")
}

// entries reads an object of strings in its order.
func entries(object json.RawMessage) (out []*fetch.HeaderEntry, ok bool) {
	tokens := json.NewDecoder(bytes.NewReader(object))
	if start, err := tokens.Token(); err != nil || start != json.Delim('{') {
		return nil, false
	}
	for tokens.More() {
		name, err := tokens.Token()
		if err != nil {
			return nil, false
		}
		value, err := tokens.Token()
		text, isText := value.(string)
		if err != nil || !isText {
			return nil, false
		}
		out = append(out, &fetch.HeaderEntry{Name: name.(string), Value: text})
	}
	return out, true
}
