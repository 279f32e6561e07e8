package app

import (
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
	"lastmile/internal/runs"
)

// club is a site that one must be logged in to, by form or by API. It keeps the traceparents that it gets.
type club struct {
	*httptest.Server
	mu     sync.Mutex
	traces map[string]string // by path
	cookie map[string]string // header, by path
}

const (
	sessionValue = "s3ss10n-0f-ann"
	deviceValue  = "d3v1ce-0f-ann"
)

func newClub(t *testing.T) *club {
	t.Helper()
	c := &club{traces: map[string]string{}, cookie: map[string]string{}}
	c.Server = httptest.NewServer(http.HandlerFunc(c.serve))
	t.Cleanup(c.Close)
	return c
}

func (c *club) serve(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.traces[r.URL.Path], c.cookie[r.URL.Path] = r.Header.Get("Traceparent"), r.Header.Get("Cookie")
	c.mu.Unlock()
	session, err := r.Cookie("session")
	known := err == nil && session.Value == sessionValue
	w.Header().Set("Content-Type", "text/html")
	switch r.URL.Path {
	case "/login", "/api/login":
		http.SetCookie(w, &http.Cookie{Name: "session", Value: sessionValue, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, MaxAge: 3600})
		http.SetCookie(w, &http.Cookie{Name: "device", Value: deviceValue, Path: "/account"})
		w.Header().Add("Set-Cookie", `quoted="a-b"; Path=/`)
		fmt.Fprint(w, `<title>welcome</title><p id=ticket>t-42</p>`)
	case "/api/logout":
		http.SetCookie(w, &http.Cookie{Name: "session", Path: "/", MaxAge: -1})
	case "/api/me":
		if !known {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"name": "ann", "ticket": r.URL.Query().Get("ticket"), "cookies": len(r.Cookies())})
	default:
		name := "nobody"
		if known {
			name = "ann"
		}
		fmt.Fprintf(w, `<title>%s</title><p id=ticket>%s</p><script>fetch("/of-page")</script>`, name, r.URL.Query().Get("ticket"))
	}
}

// hides fails where a result shows what cookies hold.
func hides(t *testing.T, r *runs.Result) {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{sessionValue, deviceValue} {
		if strings.Contains(string(text), value) {
			t.Errorf("the result shows the value of a cookie: %s", text)
		}
	}
}

const byAPI = `allowHosts: [127.0.0.1]
stepTimeout: 60s
steps:
  - {id: login, type: http, method: POST, url: "${vars.base}/api/login", extract: {ticket: {regex: "t-[0-9]+"}}}
  - id: page
    type: navigate
    url: ${vars.base}/account/?ticket=${ticket}
    assert: [{title: ann}, {expression: document.cookie, not: true, contains: session}, {text: "#ticket", equals: "${ticket}"}]
    extract: {shown: {selector: "#ticket"}, readable: {expression: document.cookie}}
  - {id: elsewhere, type: navigate, url: "${vars.base}/", assert: [{expression: document.cookie, not: true, contains: device}]}
  - {id: logout, type: http, url: "${vars.base}/api/logout?${shown}"}
  - {id: out, type: navigate, url: "${vars.base}/", assert: [{title: nobody}]}
`

// TestCookiesOfAnHTTPStep logs in by an http step: the page is logged in, as is written on the cookie; and out again.
func TestCookiesOfAnHTTPStep(t *testing.T) {
	c := newClub(t)
	code, r := runJSON(t, patientFile(t, c.URL, byAPI), "--no-sandbox")
	if code != 0 || r.State != runs.StatePassed {
		t.Fatalf("got status %d and %s, %+v, want 0 and passed", code, r.State, r.Cause)
	}
	hides(t, &r)
	if got := c.cookie["/account/"]; !strings.Contains(got, "session="+sessionValue) || !strings.Contains(got, "device="+deviceValue) || !strings.Contains(got, `quoted="a-b"`) {
		t.Errorf("page below /account got cookies %q, want those of / and of /account as they were set", got)
	}
	if got := c.cookie["/"]; strings.Contains(got, "device") || strings.Contains(got, "session") {
		t.Errorf("page of / got cookies %q, want none of /account, and none that was taken back", got)
	}
}

const byPage = `allowHosts: [127.0.0.1]
stepTimeout: 60s
steps:
  - {id: stranger, type: http, url: "${vars.base}/api/me", assert: [{status: 401}]}
  - {id: login, type: navigate, url: "${vars.base}/login", extract: {ticket: {selector: "#ticket"}}}
  - id: me
    type: http
    url: ${vars.base}/api/me?ticket=${ticket}
    assert: [{status: 200}, {json: $.name, equals: ann}, {json: $.ticket, equals: t-42}]
`

// TestCookiesOfAPage logs in on a page: the http step after it is authorised. All requests of the run are of one trace, which is
// exported when the run is over.
func TestCookiesOfAPage(t *testing.T) {
	c := newClub(t)
	var message collector.ExportTraceServiceRequest
	otlp := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		unpacked, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		body, err := io.ReadAll(unpacked)
		if err != nil || proto.Unmarshal(body, &message) != nil {
			t.Errorf("got what is no trace: %v", err)
		}
	}))
	code, r := runJSON(t, patientFile(t, c.URL, byPage), "--no-sandbox", "--otlp-endpoint", otlp.URL)
	otlp.Close() // when all is answered
	if code != 0 || r.State != runs.StatePassed {
		t.Fatalf("got status %d and %s, %+v, want 0 and passed", code, r.State, r.Cause)
	}
	hides(t, &r)
	if got := c.cookie["/api/me"]; strings.Contains(got, "device") || !strings.Contains(got, "session="+sessionValue) {
		t.Errorf("http step got cookies %q, want the session, and not that of another path", got)
	}
	var exported []string
	for _, resource := range message.ResourceSpans {
		for _, span := range resource.ScopeSpans[0].Spans {
			if hex.EncodeToString(span.TraceId) != r.TraceID {
				t.Errorf("got span %s of trace %x, want %s", span.Name, span.TraceId, r.TraceID)
			}
			exported = append(exported, hex.EncodeToString(span.SpanId))
		}
	}
	for _, path := range []string{"/login", "/api/me"} {
		i := slices.IndexFunc(r.Requests, func(q runs.Request) bool { return strings.HasSuffix(q.URL, path) && q.Status == 200 })
		if i < 0 || r.Requests[i].SpanID == "" {
			t.Errorf("got requests %+v, want one of %s with a span", r.Requests, path)
			continue
		}
		span := r.Requests[i].SpanID
		if want := "00-" + r.TraceID + "-" + span + "-01"; c.traces[path] != want {
			t.Errorf("%s: the server got traceparent %q, want %q", path, c.traces[path], want)
		}
		if !slices.Contains(exported, span) {
			t.Errorf("%s: got spans %q exported, want %s among them", path, exported, span)
		}
	}
}

// patientFile is a scenario file that leaves a busy machine its time.
func patientFile(t *testing.T, base, rest string) string {
	t.Helper()
	file := scenarioFile(t, base, rest)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, file, strings.NewReplacer("timeout: 10s", "timeout: 2m", "@every 1m", "@every 5m").Replace(string(text)))
}
