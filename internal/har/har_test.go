package har_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"lastmile/internal/cachestate"
	"lastmile/internal/har"
	"lastmile/internal/har/hartest"
	"lastmile/internal/runs"
	"lastmile/internal/vars"
)

const secret = `hunter2 "&<é>`

var start = time.Date(2026, 11, 20, 12, 0, 0, 123456789, time.UTC)

// result is a run with requests of every kind.
func result() *runs.Result {
	ms := func(v float64) *float64 { return &v }
	basic := base64.StdEncoding.EncodeToString([]byte("alice:" + secret))
	return &runs.Result{
		RunID: "shop.eu.3g.1763640000", State: runs.StateFailed, Region: "eu", Network: "3g", StartedAt: start,
		Navigations: []runs.Navigation{
			{Step: "home", URL: "https://shop.example.com/", StartedAt: start.Add(10 * time.Millisecond), Vitals: runs.Vitals{FCP: ms(120), LCP: ms(300)}},
			{Step: "pay", URL: "https://shop.example.com/pay", Soft: true, StartedAt: start.Add(2 * time.Second)},
		},
		Requests: []runs.Request{
			{
				Step: "home", URL: "https://shop.example.com/", Method: "GET", Status: 302, Protocol: "h2", RemoteAddr: "203.0.113.7:443",
				Phases:       runs.Phases{Blocked: ms(1.25), DNS: ms(20), Connect: ms(300.5), TLS: ms(150), Send: ms(0.1), Wait: ms(150.0004), Receive: ms(3)},
				RedirectedTo: "https://shop.example.com/home", Type: "document", From: "page", StartedAt: start.Add(10 * time.Millisecond), Bytes: 512,
				Cache: cachestate.Result{State: cachestate.Miss},
				Exchange: &runs.Exchange{
					URL: "https://alice:" + url.QueryEscape(secret) + "@shop.example.com/?q=shoes&access_token=abc123&pw=" + url.QueryEscape(secret) + "#id_token=xyz",
					RequestHeaders: http.Header{
						"Cookie": {"sid=tasty; theme=dark"}, "Authorization": {"Basic " + basic}, "X-Api-Key": {"k3y"}, "X-Echo": {"it is " + secret},
						"Referer": {"https://other.example.com/?session=42"}, "Accept": {"text/html"}, "X-Basic": {basic},
					},
					ResponseHeaders: http.Header{
						"Set-Cookie": {"sid=tasty; Path=/; HttpOnly; Secure; Expires=Fri, 20 Nov 2026 12:00:00 GMT", "=;;broken"},
						"Location":   {"/home?code=1234&lang=de"}, "Etag": {`"1"`}, "Refresh-Token": {"r"}, "X-Amz-Security-Token": {"s"},
					},
					StatusText: "Found", MIME: "text/html", BodyBytes: -1, Priority: "VeryHigh",
				},
			},
			{
				Step: "home", URL: "https://cdn.example.com/a.js", Method: "GET", Status: 200, BrowserCache: "memory", Type: "script", From: "page",
				StartedMS: 500, Exchange: &runs.Exchange{URL: "https://cdn.example.com/a.js", BodyBytes: 1000, MIME: "text/javascript", Initiator: "https://shop.example.com/?token=t"},
			},
			{Step: "pay", URL: "https://shop.example.com/api", Method: "POST", Error: "reading " + secret, From: "worker", StartedMS: 2100, RemoteAddr: "[2001:db8::1]:443"},
			{Step: "order", URL: "http://shop.example.com/api/order", Method: "GET", Status: 200, Protocol: "http/1.1", StartedMS: 3000},
		},
	}
}

func encode(t *testing.T, r *runs.Result, limit int) (hartest.Archive, []byte, bool) {
	t.Helper()
	scope := vars.NewScope(map[string]string{}, map[string]vars.Secret{"PW": secret})
	body, truncated, err := har.Encode(r, har.Options{Version: "1.0", Redact: scope.Redact, Limit: limit})
	if err != nil {
		t.Fatal(err)
	}
	return hartest.Check(t, body), body, truncated
}

func TestEncode(t *testing.T) {
	archive, body, truncated := encode(t, result(), 0)
	if len(archive.Pages) != 2 || len(archive.Entries) != 4 || truncated {
		t.Fatalf("got %s, want two pages and four entries", body)
	}
	first := archive.Entries[0]
	if want := start.Add(10 * time.Millisecond).Round(time.Microsecond); !first.Started.Equal(want) || first.Time != 474.85 || first.ServerIP != "203.0.113.7" {
		t.Errorf("got start %s, %v ms, %s; want %s, 474.85 ms, 203.0.113.7", first.Started, first.Time, first.ServerIP, want)
	}
	want := map[string]float64{"blocked": 1.25, "dns": 20, "connect": 300.5, "ssl": 150, "send": 0.1, "wait": 150, "receive": 3}
	for name, ms := range want {
		if first.Timings[name] != ms {
			t.Errorf("%s: got %v ms, want %v ms", name, first.Timings[name], ms)
		}
	}
	if reused := archive.Entries[1].Timings; reused["ssl"] != -1 || reused["connect"] != -1 || reused["dns"] != -1 || reused["wait"] != 0 {
		t.Errorf("got %v, want -1 for what did not happen", reused)
	}
	if first.Response.Redirect != "/home?code=<redacted>&lang=de" {
		t.Errorf("got redirect to %q, want the location with its code masked", first.Response.Redirect)
	}
	var pages []string
	for _, e := range archive.Entries {
		pages = append(pages, e.Page)
	}
	if got, want := strings.Join(pages, ","), "page_1,page_1,page_2,"; got != want {
		t.Errorf("got pages %s, want %s: that of the time, none for an http step", got, want)
	}
	for _, custom := range []string{`"_fromCache":"memory"`, `"_from":"worker"`, `"_cdnCache":{"state":"miss"}`, `"_largestContentfulPaint":300`, `"_resourceType":"document"`} {
		if !bytes.Contains(body, []byte(custom)) {
			t.Errorf("got %s, want %s in it", body, custom)
		}
	}
}

func TestEncodeMasks(t *testing.T) {
	archive, body, _ := encode(t, result(), 0)
	text := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(body))
	for _, leak := range []string{"hunter2", "tasty", "abc123", "xyz", "k3y", "1234&", "alice", "session=42", "token=t\"", "aHVudGVyM", "h1bnRlcj", "odW50ZXIy"} {
		if strings.Contains(text, leak) {
			t.Errorf("got %q in %s", leak, text)
		}
	}
	first := archive.Entries[0]
	if want := "https://shop.example.com/?q=shoes&access_token=<redacted>&pw=<redacted>#id_token=<redacted>"; first.Request.URL != want {
		t.Errorf("got %s, want %s", first.Request.URL, want)
	}
	if want := []hartest.Pair{{Name: "q", Value: "shoes"}, {Name: "access_token", Value: "<redacted>"}, {Name: "pw", Value: "<redacted>"}}; !slices.Equal(first.Request.Query, want) {
		t.Errorf("got query %v, want %v", first.Request.Query, want)
	}
	if want := []hartest.Pair{{Name: "sid", Value: "<redacted>"}, {Name: "theme", Value: "<redacted>"}}; !slices.Equal(first.Request.Cookies, want) {
		t.Errorf("got cookies %v, want %v", first.Request.Cookies, want)
	}
	headers := map[string]string{}
	for _, h := range append(first.Request.Headers, first.Response.Headers...) {
		headers[h.Name] = h.Value
	}
	for name, want := range map[string]string{
		"Accept": "text/html", "Etag": `"1"`, "X-Echo": "it is <redacted>", "X-Basic": "<redacted>", "Cookie": "<redacted>", "X-Api-Key": "<redacted>",
		"Set-Cookie": "<redacted>", "Refresh-Token": "<redacted>", "X-Amz-Security-Token": "<redacted>", "Referer": "https://other.example.com/?session=<redacted>",
	} {
		if headers[name] != want {
			t.Errorf("header %s: got %q, want %q", name, headers[name], want)
		}
	}
}

// Which names make a value a secret.
func TestEncodeMasksByName(t *testing.T) {
	headers := http.Header{}
	for _, name := range []string{"X-Auth", "X-Csrf-Token", "Apikey", "X-Access-Key", "Client-Secret", "X-Session-Id", "Private-Token", "X-XSRF-TOKEN"} {
		headers.Set(name, "leak")
	}
	for _, name := range []string{"Sec-Websocket-Key", "Surrogate-Key", "Cache-Control", "Authority", "X-Status-Code", "Keep-Alive", "Origin", "Traceparent"} {
		headers.Set(name, "shown")
	}
	query := "?passwd=leak&apiKey=leak&X-Amz-Signature=leak&PHPSESSID=leak&code=leak&oauth_token=leak&to%6ben=leak&clientSecret=leak&keyword=shown&author=shown&page=shown"
	r := result()
	r.Requests = []runs.Request{{Method: "GET", Exchange: &runs.Exchange{URL: "http://shop/;jsessionid=leak" + query, RequestHeaders: headers}}}
	_, body, _ := encode(t, r, 0)
	if bytes.Contains(body, []byte("leak")) || bytes.Count(body, []byte("shown")) != 14 {
		t.Errorf("got %s, want no leak, and each that is no secret shown", body)
	}
}

func TestEncodeWithinLimit(t *testing.T) {
	r := result()
	one := r.Requests[0]
	one.Type, one.Status = "image", 200
	for i := range 300 {
		one.Step, one.StartedAt = fmt.Sprint(i), start.Add(time.Duration(i)*time.Second)
		r.Requests = append(r.Requests, one)
	}
	_, whole, _ := encode(t, r, 0)
	for _, limit := range []int{len(whole) - 1, 250_000, 60_000, 10_000} {
		archive, body, truncated := encode(t, r, limit)
		if len(body) > limit || !truncated {
			t.Errorf("got %d bytes, truncated %v, want at most %d and truncated", len(body), truncated, limit)
		}
		if last := archive.Entries[len(archive.Entries)-1]; last.Step != "299" {
			t.Errorf("got %s last, want the last request to be kept", last.Step)
		}
		if left := len(archive.Entries) < 304; left != strings.Contains(archive.Comment, "left out") {
			t.Errorf("got comment %q with %d of 304 entries", archive.Comment, len(archive.Entries))
		}
	}
	if _, _, err := har.Encode(r, har.Options{Limit: 100}); err == nil {
		t.Error("got an archive in 100 bytes, want an error")
	}
}

func TestEncodeNothing(t *testing.T) {
	if archive, _, _ := encode(t, &runs.Result{RunID: "x", StartedAt: start}, 0); len(archive.Entries) != 0 {
		t.Errorf("got %+v, want an archive without entries", archive)
	}
}
