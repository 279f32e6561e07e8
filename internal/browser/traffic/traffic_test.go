package traffic

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

func newLog() *Log {
	log := New(&scenario.Scenario{Routing: &scenario.Routing{Header: "X-Region"}, AllowHosts: []string{"a.example"}}, time.Now, Clock{}, nil)
	log.Begin("home")
	return log
}

// feed sends events, each written as its method, a space and its parameters.
func feed(log *Log, events ...string) {
	for _, event := range events {
		method, params, _ := strings.Cut(event, " ")
		log.Event(&cdproto.Message{Method: cdproto.MethodType("Network." + method), Params: []byte(params)})
	}
}

const (
	sent     = `requestWillBeSent {"requestId":"1","loaderId":"1","timestamp":10,"type":"Document","request":{"url":"https://u:p@a.example/x?q=1#f","method":"GET"}}`
	redirect = `requestWillBeSent {"requestId":"1","loaderId":"1","timestamp":10.1,"type":"Document","request":{"url":"https://a.example/y","method":"GET"},` +
		`"redirectHasExtraInfo":true,"redirectResponse":{"url":"","status":302,"headers":{},"encodedDataLength":200,"timing":` + timing + `}}`
	timing   = `{"requestTime":10,"dnsStart":1,"dnsEnd":3,"connectStart":3,"connectEnd":20,"sslStart":10,"sslEnd":19,"sendStart":20,"sendEnd":21,"receiveHeadersStart":50,"receiveHeadersEnd":51}`
	received = `responseReceived {"requestId":"1","hasExtraInfo":true,"response":{"status":200,"headers":{"x-region":"page"},"remoteIPAddress":"[::1]","remotePort":443,"protocol":"h2","timing":` + timing + `}}`
	extra1   = `responseReceivedExtraInfo {"requestId":"1","statusCode":302,"headers":{"X-Region":"us"}}`
	extra2   = `responseReceivedExtraInfo {"requestId":"1","statusCode":304,"headers":{"X-Region":"eu"}}`
	finished = `loadingFinished {"requestId":"1","timestamp":10.2,"encodedDataLength":1234}`
)

// An answer over HTTP/2 may come before Chromium notes that the request is sent: what is waited for is nothing then, but it is there.
func TestAnswerBeforeTheRequestIsNotedAsSent(t *testing.T) {
	log := newLog()
	feed(log, sent, strings.Replace(received, `"sendEnd":21`, `"sendEnd":70`, 1), finished)
	got, _ := log.Requests()
	want := `{"blocked_ms":1,"dns_ms":2,"connect_ms":17,"tls_ms":9,"send_ms":30,"wait_ms":0,"receive_ms":149}`
	if phases := rounded(t, got[0].Phases); phases != want {
		t.Errorf("phases: got %s, want %s", phases, want)
	}
}

func TestHopsAndLateExtraInfo(t *testing.T) {
	for name, order := range map[string][]string{
		"extra first":    {sent, extra1, redirect, extra2, received, finished},
		"extra late":     {sent, redirect, extra1, received, finished, extra2},
		"extra all late": {sent, redirect, received, finished, extra1, extra2},
		"seen twice":     {sent, sent, extra1, redirect, extra2, received, finished},
	} {
		t.Run(name, func(t *testing.T) {
			log := newLog()
			feed(log, order...)
			got, dropped := log.Requests()
			if len(got) != 2 || dropped != 0 {
				t.Fatalf("requests: got %+v and %d dropped, want both hops", got, dropped)
			}
			if r := got[0]; r.URL != "https://a.example/x" || r.Status != 302 || r.ServedRegion != "us" || r.Bytes != 200 || r.Step != "home" {
				t.Errorf("first hop: got %+v, want the plain URL, 302 from us, 200 bytes", r)
			}
			r := got[1]
			if r.Status != 304 || r.ServedRegion != "eu" || r.Bytes != 1234 || r.RemoteAddr != "[::1]:443" || r.Protocol != "h2" {
				t.Errorf("second hop: got %+v, want 304 from eu, 1234 bytes", r)
			}
			want := `{"blocked_ms":1,"dns_ms":2,"connect_ms":17,"tls_ms":9,"send_ms":1,"wait_ms":29,"receive_ms":149}`
			if phases := rounded(t, r.Phases); phases != want {
				t.Errorf("phases: got %s, want %s", phases, want)
			}
			if hop := log.Document("1"); hop == nil || hop.PageStatus != 200 {
				t.Errorf("document: got %+v, want the last hop as the page sees it", hop)
			}
			if active, _ := log.Active(); active != 0 {
				t.Errorf("active: got %d, want 0", active)
			}
		})
	}
}

func rounded(t *testing.T, p runs.Phases) string {
	t.Helper()
	for _, phase := range []*float64{p.Blocked, p.DNS, p.Connect, p.TLS, p.Send, p.Wait, p.Receive} {
		if phase != nil {
			*phase = float64(int(*phase + 0.5))
		}
	}
	body, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestReusedConnection(t *testing.T) {
	log := newLog()
	feed(log, sent, strings.NewReplacer(`"dnsStart":1,"dnsEnd":3,"connectStart":3,"connectEnd":20,"sslStart":10,"sslEnd":19`,
		`"dnsStart":-1,"dnsEnd":-1,"connectStart":-1,"connectEnd":-1,"sslStart":-1,"sslEnd":-1`, `"hasExtraInfo":true`, `"hasExtraInfo":false`).Replace(received), finished)
	got, _ := log.Requests()
	if phases, want := rounded(t, got[0].Phases), `{"blocked_ms":20,"send_ms":1,"wait_ms":29,"receive_ms":149}`; phases != want {
		t.Errorf("phases on a reused connection: got %s, want %s", phases, want)
	}
}

func TestBrowserCaches(t *testing.T) {
	for want, events := range map[string][]string{
		"memory":         {`requestServedFromCache {"requestId":"1"}`, received},
		"disk":           {strings.Replace(received, `"status":200`, `"status":200,"fromDiskCache":true`, 1)},
		"prefetch":       {strings.Replace(received, `"status":200`, `"status":200,"fromDiskCache":true,"fromPrefetchCache":true`, 1)},
		"service-worker": {strings.Replace(received, `"status":200`, `"status":200,"fromServiceWorker":true`, 1)},
	} {
		log := newLog()
		feed(log, append(append([]string{sent}, events...), finished)...)
		got, _ := log.Requests()
		if r := got[0]; r.BrowserCache != want || r.Bytes != 0 || r.Phases != (runs.Phases{}) || r.Cache.State != "" {
			t.Errorf("%s: got %+v, want no bytes, no phases and no CDN state", want, r)
		}
	}
}

func TestLimitsAndHosts(t *testing.T) {
	log := newLog()
	for i := range maxRequests + 10 {
		feed(log, strings.NewReplacer(`"1"`, fmt.Sprintf(`"r%d"`, i)).Replace(sent))
	}
	kept, dropped := log.Requests()
	if len(kept) != maxRequests || dropped != 10 {
		t.Errorf("got %d kept and %d dropped, want %d and 10", len(kept), dropped, maxRequests)
	}
	if n, _ := log.Tally(); n != maxRequests+10 {
		t.Errorf("tally: got %d, want all of them", n)
	}
	if host := log.Forbidden(); host != "" {
		t.Errorf("forbidden: got %q, want none", host)
	}
	feed(log, `webSocketCreated {"requestId":"ws","url":"wss://b.example/live"}`, `requestWillBeSent {"requestId":"d","request":{"url":"data:text/html,x"}}`)
	if host := log.Forbidden(); host != "b.example" {
		t.Errorf("forbidden: got %q, want b.example", host)
	}
	log.Begin("next")
	if host := log.Forbidden(); host != "" {
		t.Errorf("forbidden in the next step: got %q, want none", host)
	}
}

func TestClassOfNetError(t *testing.T) {
	for text, want := range map[string]runs.Class{
		"net::ERR_NAME_NOT_RESOLVED":      runs.ClassDNS,
		"net::ERR_CONNECTION_RESET":       runs.ClassConnect,
		"net::ERR_ADDRESS_UNREACHABLE":    runs.ClassConnect,
		"net::ERR_CONNECTION_TIMED_OUT":   runs.ClassTimeout,
		"net::ERR_CERT_DATE_INVALID":      runs.ClassTLS,
		"net::ERR_SSL_PROTOCOL_ERROR":     runs.ClassTLS,
		"net::ERR_INTERNET_DISCONNECTED":  runs.ClassProbe,
		"net::ERR_NETWORK_CHANGED":        runs.ClassProbe,
		"net::ERR_INSUFFICIENT_RESOURCES": runs.ClassProbe,
		"net::ERR_HTTP2_PROTOCOL_ERROR":   runs.ClassScript,
		"net::ERR_TOO_MANY_REDIRECTS":     runs.ClassScript,
		"something Chromium never said !": runs.ClassScript,
	} {
		if got := ClassOfNetError(text); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

// FuzzEvents feeds events in any order and with any content: pages choose much of what is in them.
func FuzzEvents(f *testing.F) {
	f.Add(strings.Join([]string{sent, redirect, extra1, received, extra2, finished}, "\n"))
	f.Add(`webSocketHandshakeResponseReceived {"requestId":"1"}`)
	f.Fuzz(func(t *testing.T, script string) {
		log := newLog()
		behind := proxied(record("a.example", 0, 100), failed(record("a.example", 0, 100), runs.ClassDNS, "no such host"))
		feed(log, strings.Split(script, "\n")...)
		feed(behind, strings.Split(script, "\n")...)
		log.Forget("2")
		got, _ := log.Requests()
		if joined, _ := behind.Requests(); len(joined) != len(got) {
			t.Errorf("behind a proxy: got %d requests, want %d", len(joined), len(got))
		}
		if slices.ContainsFunc(got, func(r runs.Request) bool { return strings.ContainsAny(r.URL, "?#") }) {
			t.Errorf("got %+v, want no query or fragment in a URL", got)
		}
	})
}

func TestRevalidationKnownLate(t *testing.T) {
	log := newLog()
	feed(log, sent, strings.Replace(received, `"status":200`, `"status":200,"fromDiskCache":true`, 1), finished, extra2)
	got, _ := log.Requests()
	if r := got[0]; r.Status != 304 || r.BrowserCache != "" || r.Bytes != 1234 || r.Phases.Wait == nil || r.Phases.Receive == nil {
		t.Errorf("revalidated: got %+v, want the bytes and phases of the answer", r)
	}
}

func TestBodyThatNeverEnds(t *testing.T) {
	for name, end := range map[string][]string{
		"under way": nil,
		"broken":    {`loadingFailed {"requestId":"1","timestamp":10.2,"errorText":"net::ERR_CONNECTION_RESET"}`},
	} {
		log := newLog()
		feed(log, append([]string{sent, received}, end...)...)
		got, _ := log.Requests()
		if p := got[0].Phases; p.Connect == nil || p.Wait == nil || p.Receive != nil {
			t.Errorf("%s: got %+v, want all phases but receive", name, p)
		}
	}
}

func TestOddURLs(t *testing.T) {
	log := newLog()
	feed(log, strings.Replace(sent, "a.example/x", "b.example/100%/x", 1))
	got, _ := log.Requests()
	if len(got) != 1 || got[0].URL != "https://b.example/100%25/x" || log.Forbidden() != "b.example" {
		t.Errorf("bare per cent sign: got %+v, forbidden %q, want an account of it", got, log.Forbidden())
	}
}

func TestDocumentsOverTheLimit(t *testing.T) {
	log := newLog()
	for i := range maxRequests {
		feed(log, strings.NewReplacer(`"1"`, fmt.Sprintf(`"r%d"`, i), "Document", "Image").Replace(sent))
	}
	feed(log, sent, received)
	if kept, dropped := log.Requests(); len(kept) != maxRequests || dropped != 1 {
		t.Errorf("got %d kept and %d dropped, want %d and 1", len(kept), dropped, maxRequests)
	}
	if hop := log.Document("1"); hop == nil || hop.PageStatus != 200 {
		t.Errorf("document over the limit: got %+v, want its status: it decides over the step", hop)
	}
}

func TestUnreadFetchIsQuiet(t *testing.T) {
	log := newLog()
	feed(log, sent, finished, `requestWillBeSent {"requestId":"2","timestamp":11,"type":"Fetch","request":{"url":"https://a.example/beacon","method":"GET"}}`)
	if active, _ := log.Active(); active != 1 {
		t.Errorf("fetch without an answer: got %d active, want 1", active)
	}
	feed(log, `responseReceived {"requestId":"2","type":"Fetch","response":{"status":200,"headers":{}}}`)
	active, answered := log.Active()
	if active != 0 {
		t.Errorf("fetch whose body nobody reads: got %d active, want 0", active)
	}
	feed(log, `dataReceived {"requestId":"2","dataLength":5}`)
	if _, since := log.Active(); !since.After(answered) {
		t.Errorf("fetch whose body comes: got quiet since %s, want later than %s", since, answered)
	}
}
