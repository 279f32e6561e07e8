package har_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"lastmile/internal/har"
	"lastmile/internal/runs"
	"lastmile/internal/vars"
)

// A target that repeats a secret wherever it can, in every form in which it can.
func TestEncodeNowhereASecret(t *testing.T) {
	const secret = `hunter2 "&<é>%41`
	body, _ := json.Marshal(secret)
	twice, _ := json.Marshal(string(body))
	for name, form := range map[string]string{
		"raw": secret, "query": url.QueryEscape(secret), "path": url.PathEscape(secret), "twice": url.QueryEscape(url.QueryEscape(secret)),
		"json": string(body), "json in json": string(twice), "html": html.EscapeString(secret), "html twice": html.EscapeString(html.EscapeString(secret)),
		"base64": base64.StdEncoding.EncodeToString([]byte(secret)), "user:pass": base64.StdEncoding.EncodeToString([]byte("bob:" + secret)),
		"base64url, encoded": url.QueryEscape(base64.URLEncoding.EncodeToString([]byte("id:" + secret))), "cut": (secret + "…")[:9] + "…",
	} {
		t.Run(name, func(t *testing.T) {
			x := &runs.Exchange{
				URL: "https://shop/" + url.PathEscape(form) + "?" + form + "=1&a=" + form + "#" + form, StatusText: form, MIME: form, Priority: "High", Initiator: "https://shop/" + form,
				RequestHeaders:  http.Header{form: {"1"}, "X": {form}, "Referer": {"https://x/" + form}, "Cookie": {form + "=" + form}, ":path": {"/?a=" + form}},
				ResponseHeaders: http.Header{"Location": {"/" + form}, "Set-Cookie": {"a=" + form + "; Path=/" + form + "; Domain=" + form}, "Etag": {form}, "X-Original-Cookie": {"leaking"}},
			}
			r := &runs.Result{
				RunID: "shop.eu.3g.1763640000", State: runs.StateFailed, StartedAt: start,
				Navigations: []runs.Navigation{{Step: form, URL: "https://shop/" + form + "#" + form, StartedAt: start}},
				Requests: []runs.Request{
					{Step: form, URL: "https://shop/" + form, Method: form, Status: 302, RedirectedTo: "https://shop/" + form, Error: form, ServedRegion: form, From: "page", Exchange: x},
					{Step: "ws", URL: "wss://shop/" + form, Method: "GET", Status: 101, Type: "websocket", Exchange: &runs.Exchange{URL: "wss://bob:" + form + "@shop/?" + form}},
					{Step: "bare", URL: "https://shop/", Method: "GET", Status: 302, RedirectedTo: "https://shop/" + form},
				},
			}
			scope := vars.NewScope(map[string]string{}, map[string]vars.Secret{"PW": secret, "SHORT": "hunter2", "USER": "bob-bob"})
			body, _, err := har.Encode(r, har.Options{Redact: scope.Redact})
			if err != nil {
				t.Fatal(err)
			}
			var plain any
			if err := json.Unmarshal(body, &plain); err != nil {
				t.Fatal(err)
			}
			for _, text := range append(texts(plain), string(body)) {
				for _, leak := range []string{"hunter2", form, "leaking"} {
					if strings.Contains(text, leak) {
						t.Errorf("got %q in %q", leak, text)
					}
				}
			}
		})
	}
}

// texts are the strings of a JSON value, the names of its keys included.
func texts(value any) (out []string) {
	switch v := value.(type) {
	case string:
		return []string{v}
	case []any:
		for _, item := range v {
			out = append(out, texts(item)...)
		}
	case map[string]any:
		for key, item := range v {
			out = append(append(out, key), texts(item)...)
		}
	}
	return out
}

func TestEncodeMasksUsers(t *testing.T) {
	for _, address := range []string{"https://bob:pa@ss@shop/", "wss://bob@shop/?a=b", "https://bob:@shop/", "https://:pass@shop/"} {
		r := &runs.Result{StartedAt: start, Requests: []runs.Request{{Method: "GET", Error: "open " + address, Exchange: &runs.Exchange{URL: address}}}}
		_, body, _ := encode(t, r, 0)
		if bytes.Contains(body, []byte("bob")) || bytes.Contains(body, []byte("ss@")) || bytes.Contains(body, []byte("pass")) {
			t.Errorf("%s: got %s, want no user and no password", address, body)
		}
	}
}

// The longest that executors keep: still a URL where it was cut, and not the beginning of a secret.
func TestEncodeLongURLs(t *testing.T) {
	for length := range 12 {
		long := "https://shop/" + strings.Repeat("a", 2048-13-length) + strings.Repeat("%C3%A9", 400)
		r := &runs.Result{StartedAt: start, Requests: []runs.Request{{Method: "GET", Exchange: &runs.Exchange{URL: long[:4096]}}}}
		encode(t, r, 0)
	}
	key := strings.Repeat("k3y-", 800)
	scope := vars.NewScope(map[string]string{}, map[string]vars.Secret{"KEY": vars.Secret(key)})
	r := &runs.Result{StartedAt: start, Requests: []runs.Request{{Method: "GET", Exchange: &runs.Exchange{URL: ("https://shop/" + strings.Repeat("a", 1000) + "/" + key)[:4096]}}}}
	body, _, err := har.Encode(r, har.Options{Redact: scope.Redact})
	if err != nil || bytes.Contains(body, []byte("k3y-")) {
		t.Errorf("got %s and %v, want nothing of the key", body, err)
	}
}

// What a page makes of its URLs does not keep the archive from being written; what is missing in it is said in it.
func TestEncodeWithinLimitWhateverThePageDoes(t *testing.T) {
	r := &runs.Result{StartedAt: start}
	for i := range 200 {
		r.Navigations = append(r.Navigations, runs.Navigation{URL: "https://shop/" + strings.Repeat("&<>", 600), StartedAt: start.Add(time.Duration(i) * time.Second)})
	}
	headers := http.Header{}
	for i := range 60 {
		headers.Set(fmt.Sprintf("X-%d", i), strings.Repeat("<", 60))
	}
	for i := range 500 {
		r.Requests = append(r.Requests, runs.Request{
			Step: fmt.Sprint(i), Method: "GET", Status: 200, From: "page", StartedAt: start.Add(time.Duration(i) * time.Millisecond),
			Exchange: &runs.Exchange{URL: "https://shop/" + strings.Repeat("&", 1000), RequestHeaders: headers, ResponseHeaders: headers},
		})
	}
	archive, body, truncated := encode(t, r, 2<<20)
	if !truncated || len(body) > 2<<20 || len(archive.Entries) < 50 || !strings.Contains(archive.Comment, "requests were left out") {
		t.Errorf("got %d bytes, truncated %v, %d entries, comment %q", len(body), truncated, len(archive.Entries), archive.Comment)
	}
	r.Requests = r.Requests[:100]
	archive, _, truncated = encode(t, r, 2<<20)
	if !truncated || len(archive.Entries) != 100 || !strings.Contains(archive.Comment, "only documents and what failed have their headers") {
		t.Errorf("got truncated %v, %d entries, comment %q; want it to say that headers are missing", truncated, len(archive.Entries), archive.Comment)
	}
}

// BenchmarkEncode is the largest run there is: only one that failed pays for it, and after it is over.
func BenchmarkEncode(b *testing.B) {
	r := result()
	one := r.Requests[0]
	r.Requests = nil
	headers := http.Header{}
	for i := range 20 {
		headers.Set(fmt.Sprintf("X-Header-%d", i), "text/html,application/xhtml+xml;q=0.9&a=%20b")
	}
	x := *one.Exchange
	x.RequestHeaders, x.ResponseHeaders = headers, headers
	one.Exchange = &x
	for range 2000 {
		r.Requests = append(r.Requests, one)
	}
	scope := vars.NewScope(map[string]string{}, map[string]vars.Secret{"A": "hunter2-and-more", "B": "correct horse battery"})
	for b.Loop() {
		if _, _, err := har.Encode(r, har.Options{Redact: scope.Redact, Limit: 2 << 20}); err != nil {
			b.Fatal(err)
		}
	}
}
