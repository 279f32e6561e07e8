package traffic

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/target"

	"lastmile/internal/scenario"
)

// tell sends an event from a session.
func tell(log *Log, session target.SessionID, event string) {
	method, params, _ := strings.Cut(event, " ")
	log.Event(&cdproto.Message{SessionID: session, Method: cdproto.MethodType("Network." + method), Params: []byte(params)})
}

// A frame with a process of its own and the page above it may both tell of the frame's document, or the one may go on where the other
// ended.
func TestTwoSessionsTellOfOneRequest(t *testing.T) {
	for name, events := range map[string][][2]string{
		"both of all": {{"page", sent}, {"frame", sent}, {"page", extra1}, {"frame", extra1}, {"page", redirect}, {"frame", redirect},
			{"frame", extra2}, {"page", extra2}, {"page", received}, {"frame", received}, {"page", finished}, {"frame", finished}},
		"the second from the redirect": {{"page", sent}, {"page", extra1}, {"frame", redirect}, {"page", extra2}, {"frame", received}, {"frame", finished}},
	} {
		log := newLog()
		log.Attach("page", Party{From: "page", Frame: "top"})
		log.Attach("frame", Party{From: "frame"})
		for _, e := range events {
			tell(log, target.SessionID(e[0]), e[1])
		}
		got, _ := log.Requests()
		if len(got) != 2 || got[0].Status != 302 || got[1].Status != 304 || got[0].RedirectedTo != "https://a.example/y" || got[1].Bytes != 1234 {
			t.Errorf("%s: got %+v, want the two hops once", name, got)
		}
	}
}

func TestHeadersAheadOfTheirRequest(t *testing.T) {
	log := newLog()
	feed(log, `requestWillBeSentExtraInfo {"requestId":"1","headers":{"Cookie":"a=b","Host":"a.example"}}`, extra1, sent, redirect,
		`requestWillBeSentExtraInfo {"requestId":"1","headers":{"Cookie":"c=d"}}`, extra2, received, finished)
	got, _ := log.Requests()
	if h := got[0].Exchange.RequestHeaders; h.Get("Cookie") != "a=b" || h.Get("Host") != "a.example" || got[0].Status != 302 {
		t.Errorf("first hop: got %v and status %d, want what was on the wire", h, got[0].Status)
	}
	if h := got[1].Exchange.RequestHeaders; h.Get("Cookie") != "c=d" {
		t.Errorf("second hop: got %v, want its own headers", h)
	}
	if e := got[0].Exchange; e.URL != "https://u:p@a.example/x?q=1#f" || got[0].URL != "https://a.example/x" {
		t.Errorf("URLs: got %s for the HAR and %s for the result, want only the first whole", e.URL, got[0].URL)
	}
	for i := range 10_000 { // of requests that never come
		feed(log, fmt.Sprintf(`responseReceivedExtraInfo {"requestId":"x%d","statusCode":200,"headers":{}}`, i))
	}
	if len(log.early) > maxEarly {
		t.Errorf("kept headers of %d requests that never came, want at most %d", len(log.early), maxEarly)
	}
}

func TestHeadersAreBounded(t *testing.T) {
	log := newLog()
	const request = `requestWillBeSent {"requestId":"1","timestamp":10,"type":"Image","request":{"url":"https://a.example/x","method":"GET"}}`
	huge := fmt.Sprintf(`"X-Cache":"HIT","X-Region":"eu","Set-Cookie":%q,"Csp":%q`, strings.Repeat("c", 5000), strings.Repeat("d", 9000))
	feed(log, request, strings.Replace(received, `"x-region":"page"`, huge, 1))
	got, _ := log.Requests()
	h := got[0].Exchange.ResponseHeaders
	if h.Get("Csp") != "" || h.Get("Set-Cookie") == "" || h.Get("X-Region") != "eu" {
		t.Errorf("got %d headers, want the longest left out alone", len(h))
	}
	room := log.room
	for range 100 { // told again, the room is that of one
		feed(log, strings.Replace(received, `"x-region":"page"`, huge, 1))
	}
	if log.room != room {
		t.Errorf("room: got %d, want %d as before", log.room, room)
	}
	for i := range maxRequests - 1 {
		next := strings.NewReplacer(`"requestId":"1"`, fmt.Sprintf(`"requestId":"r%d"`, i), `"x-region":"page"`, `"X-Long":"`+strings.Repeat("l", 8000)+`"`)
		feed(log, next.Replace(request), next.Replace(received))
	}
	if log.room < 0 {
		t.Errorf("room: got %d, want no more kept than the run may", log.room)
	}
}

func TestFailures(t *testing.T) {
	log := newLog()
	request := func(id string) string { return strings.ReplaceAll(sent, `"1"`, `"`+id+`"`) }
	response := func(id string, status int) string {
		return fmt.Sprintf(`responseReceived {"requestId":%q,"response":{"status":%d,"headers":{}}}`, id, status)
	}
	failed := func(id string, cancelled bool) string {
		return fmt.Sprintf(`loadingFailed {"requestId":%q,"timestamp":11,"errorText":"net::ERR_ABORTED","canceled":%v}`, id, cancelled)
	}
	feed(log, request("1"), response("1", 200), request("2"), response("2", 404), failed("2", true), request("3"), failed("3", false),
		request("4"), failed("4", true), request("5"), response("5", 200), failed("5", true), request("6"))
	if n := log.Failures(); n != 2 {
		t.Errorf("failures: got %d, want the 404 and the one without an answer", n)
	}
	got, _ := log.Requests()
	for i, want := range []string{"", "", "net::ERR_ABORTED", "net::ERR_ABORTED", "", ""} {
		if got[i].Error != want {
			t.Errorf("request %d: got error %q, want %q", i+1, got[i].Error, want)
		}
	}
	log.Begin("next")
	feed(log, failed("6", false))
	if n := log.Failures(); n != 0 {
		t.Errorf("failures of the next step: got %d, want none: the request is not its own", n)
	}
}

// What a page may keep open for ever, and what it only may need, is not waited for.
func TestNobodyWaitsFor(t *testing.T) {
	for name, event := range map[string]string{
		"WebSocket":        `webSocketCreated {"requestId":"1","url":"wss://a.example/live"}`,
		"EventSource":      strings.Replace(sent, "Document", "EventSource", 1),
		"beacon":           strings.Replace(sent, "Document", "Ping", 1),
		"prefetch":         strings.Replace(sent, "Document", "Prefetch", 1),
		"prefetch by hint": strings.NewReplacer("Document", "Other", `"method":"GET"`, `"method":"GET","headers":{"Sec-Purpose":"prefetch;prerender"}`).Replace(sent),
	} {
		log := newLog()
		feed(log, event)
		if n, _ := log.Active(); n != 0 {
			t.Errorf("%s: got %d requests waited for, want none", name, n)
		}
		if got, _ := log.Requests(); len(got) != 1 {
			t.Errorf("%s: got %d requests, want it kept", name, len(got))
		}
	}
}

func TestSockets(t *testing.T) {
	log := newLog()
	log.Attach("w", Party{From: "worker"})
	tell(log, "w", `webSocketCreated {"requestId":"1","url":"wss://a.example/live?t=1","initiator":{"type":"script","stack":{"callFrames":[{"url":""},{"url":"https://a.example/w.js"}]}}}`)
	feed(log, `webSocketWillSendHandshakeRequest {"requestId":"1","timestamp":10,"wallTime":1,"request":{"headers":{"Upgrade":"websocket"}}}`,
		`webSocketHandshakeResponseReceived {"requestId":"1","timestamp":10.05,"response":{"status":101,"statusText":"Switching Protocols","headers":{}}}`,
		`webSocketFrameError {"requestId":"1","timestamp":12,"errorMessage":"later"}`,
		`webSocketCreated {"requestId":"2","url":"wss://a.example/live"}`,
		`webSocketFrameError {"requestId":"2","timestamp":12,"errorMessage":"Error during WebSocket handshake: Unexpected response code: 403"}`)
	got, _ := log.Requests()
	r := got[0]
	if r.Type != "websocket" || r.From != "worker" || r.Status != 101 || r.Error != "" || r.Phases.Wait == nil || *r.Phases.Wait < 49 || *r.Phases.Wait > 51 {
		t.Errorf("got %+v, want a handshake of 50 ms", r)
	}
	if r.Exchange.Initiator != "https://a.example/w.js" || r.Exchange.RequestHeaders.Get("Upgrade") == "" || r.Exchange.StatusText != "Switching Protocols" {
		t.Errorf("got %+v, want what the HAR needs", r.Exchange)
	}
	if got[1].Status != 403 || got[1].Error == "" {
		t.Errorf("refused: got %+v, want its status", got[1])
	}
	if n := log.Failures(); n != 1 {
		t.Errorf("failures: got %d, want the one refused", n)
	}
}

func TestStartsInOrder(t *testing.T) {
	now := time.Now()
	log := New(&scenario.Scenario{}, time.Now, Clock{Now: now, Monotonic: 10 * time.Second}, nil)
	feed(log, strings.Replace(strings.ReplaceAll(sent, `"1"`, `"late"`), `"timestamp":10`, `"timestamp":11`, 1), sent)
	got, _ := log.Requests()
	if !got[0].StartedAt.Equal(now) || got[1].StartedAt.Sub(now) != time.Second {
		t.Errorf("got starts at %s and %s, want %s and a second later", got[0].StartedAt, got[1].StartedAt, now)
	}
	if at, ok := log.Began("1"); !ok || !at.Equal(now) {
		t.Errorf("document: got %s, %v, want %s", at, ok, now)
	}
}
