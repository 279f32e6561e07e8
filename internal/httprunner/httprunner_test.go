package httprunner_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"lastmile/internal/cachestate"
	"lastmile/internal/httprunner"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// journey is a run under test: a session with its scope.
type journey struct {
	*httprunner.Session
	scope *vars.Scope
}

// begin opens a session over this machine's network that closes with the test.
func begin(t testing.TB, s scenario.Scenario, options httprunner.Options) *journey {
	t.Helper()
	return across(t, httprunner.HostNetwork{}, s, options)
}

// across opens a session over the network that closes with the test.
func across(t testing.TB, network httprunner.Network, s scenario.Scenario, options httprunner.Options) *journey {
	t.Helper()
	s.Name = "test"
	a := &runs.Assignment{RunID: "test.eu.none.1700000000", Scenario: s, Region: "eu"}
	session, err := httprunner.New(slog.New(slog.DiscardHandler), options).Open(t.Context(), a, network)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	secrets := map[string]vars.Secret{"KEY": "s3cr3t-value"}
	return &journey{session, s.Scope(scenario.Combination{Scenario: "test", Region: "eu"}, string(a.RunID), secrets)}
}

// plain begins a run without any settings.
func plain(t testing.TB) *journey {
	t.Helper()
	return begin(t, scenario.Scenario{Secrets: []string{"KEY"}}, httprunner.Options{})
}

// step runs a step that must be measurable.
func (j *journey) step(t testing.TB, s scenario.Step) runs.Step {
	t.Helper()
	return j.within(t, s, 20*time.Second)
}

func (j *journey) within(t testing.TB, s scenario.Step, limit time.Duration) runs.Step {
	t.Helper()
	s.Type = scenario.StepHTTP
	if s.ID == "" {
		s.ID = "1"
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	got, err := j.Step(ctx, &s, j.scope)
	if err != nil {
		t.Fatalf("step: got error %v, want a result", err)
	}
	return got
}

// serve starts a plain server that closes with the test.
func serve(t testing.TB, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

// wantCause checks how a step ended; an empty class means that it passed.
func wantCause(t testing.TB, got runs.Step, class runs.Class, detail string) {
	t.Helper()
	if class == "" {
		if got.State != runs.StepPassed || got.Cause != nil {
			t.Errorf("got %s %+v, want passed", got.State, got.Cause)
		}
		return
	}
	if got.State != runs.StepFailed || got.Cause == nil {
		t.Fatalf("got %s, want failed with class %s", got.State, class)
	}
	if got.Cause.Class != class || !regexp.MustCompile(detail).MatchString(got.Cause.Detail) {
		t.Errorf("got cause %s %q, want %s matching %q", got.Cause.Class, got.Cause.Detail, class, detail)
	}
	if len(got.Cause.Detail) > 300 {
		t.Errorf("got a detail of %d bytes, want at most 300", len(got.Cause.Detail))
	}
}

func text(s string) *scenario.Text { return (*scenario.Text)(&s) }

func no() *bool { return new(bool) }

// shop answers with what the table of assertions looks for.
func shop(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Region", "eu")
	w.Header().Set("X-Served-Region", "eu-central")
	w.Header().Set("Cache-Status", "edge; hit")
	var status int
	if _, err := fmt.Sscanf(r.URL.Path, "/status/%d", &status); err == nil {
		w.WriteHeader(status)
	}
	_, _ = io.WriteString(w, `{"state": "paid", "id": 12345678901234567890, "items": [{"name": "tea", "price": 3.50}], "note": null}`)
}

func TestAssertionsAndExtraction(t *testing.T) {
	server := serve(t, shop)
	for _, test := range []struct {
		name   string
		path   string
		step   scenario.Step
		class  runs.Class
		detail string
		want   map[string]string // variables
	}{
		{name: "no assertion", path: "/"},
		{name: "default status 404", path: "/status/404", class: runs.ClassHTTP4xx, detail: `got 404, want below 400`},
		{name: "default status 503", path: "/status/503", class: runs.ClassHTTP5xx, detail: `got 503, want below 400`},
		{name: "status", path: "/", step: assert(scenario.Assertion{Status: []string{"200"}})},
		{name: "status expected to be an error", path: "/status/404", step: assert(scenario.Assertion{Status: []string{"4xx"}})},
		{name: "status not", path: "/status/503", step: assert(scenario.Assertion{Status: []string{"5xx"}, Not: true}), class: runs.ClassHTTP5xx, detail: `got 503, want not 5xx`},
		{name: "status 503 for 200", path: "/status/503", step: assert(scenario.Assertion{Status: []string{"200"}}), class: runs.ClassHTTP5xx, detail: `got 503, want 200`},
		{name: "status 201 for 200", path: "/status/201", step: assert(scenario.Assertion{Status: []string{"200", "204"}}), class: runs.ClassAssertion, detail: `got 201, want 200 or 204`},
		{
			name: "the status explains the rest", path: "/status/500",
			step: assert(scenario.Assertion{JSON: "$.state", Equals: text("gone")}, scenario.Assertion{Status: []string{"200"}}), class: runs.ClassHTTP5xx, detail: `got 500`,
		},
		{name: "header", path: "/", step: assert(scenario.Assertion{Header: "x-region", Equals: text("${expected.region}")})},
		{name: "header wrong", path: "/", step: assert(scenario.Assertion{Header: "X-Region", Equals: text("us")}), class: runs.ClassAssertion, detail: `header X-Region: got "eu", want us`},
		{name: "header absent", path: "/", step: assert(scenario.Assertion{Header: "X-None"}), class: runs.ClassAssertion, detail: `header X-None: got nothing, want something`},
		{name: "header absent as wanted", path: "/", step: assert(scenario.Assertion{Header: "X-None", Not: true})},
		{name: "json", path: "/", step: assert(scenario.Assertion{JSON: "$.state", Equals: text("paid")})},
		{name: "json of a filter", path: "/", step: assert(scenario.Assertion{JSON: `$.items[?@.price > 3].name`, Equals: text("tea")})},
		{name: "json of a match on what may be absent", path: "/", step: assert(scenario.Assertion{JSON: `$.items[?match(@.name, "t.*") && !search(@.none, "x")].name`, Equals: text("tea")})},
		{name: "json big number as written", path: "/", step: assert(scenario.Assertion{JSON: "$.id", Equals: text("12345678901234567890")})},
		{name: "json object", path: "/", step: assert(scenario.Assertion{JSON: "$.items[0]", Equals: text(`{"name":"tea","price":3.50}`)})},
		{name: "json null is there", path: "/", step: assert(scenario.Assertion{JSON: "$.note", Equals: text("null")})},
		{name: "json absent", path: "/", step: assert(scenario.Assertion{JSON: "$.total"}), class: runs.ClassAssertion, detail: `json \$\.total: got nothing, want something`},
		{name: "json wrong", path: "/", step: assert(scenario.Assertion{JSON: "$.state", Equals: text("open")}), class: runs.ClassAssertion, detail: `json \$\.state: got "paid", want open`},
		{name: "json path wrong", path: "/", step: assert(scenario.Assertion{JSON: "$["}), class: runs.ClassScript, detail: `json \$\[`},
		{name: "body", path: "/", step: assert(scenario.Assertion{Body: `"paid"`})},
		{name: "body without", path: "/", step: assert(scenario.Assertion{Body: "sorry"}), class: runs.ClassAssertion, detail: `body: got \d+ bytes without it, want "sorry"`},
		{name: "body not", path: "/", step: assert(scenario.Assertion{Body: "paid", Not: true}), class: runs.ClassAssertion, detail: `body: got \d+ bytes with it, want not "paid"`},
		{name: "cache", path: "/", step: assert(scenario.Assertion{Cache: []string{"stale", "hit"}})},
		{name: "cache wrong", path: "/", step: assert(scenario.Assertion{Cache: []string{"miss", "expired"}}), class: runs.ClassAssertion, detail: `cache: got hit, want miss or expired`},
		{name: "variable without value", path: "/", step: assert(scenario.Assertion{JSON: "$.id", Equals: text("${orderId}")}), class: runs.ClassScript, detail: `assert json: expand template: \$\{orderId\} has no value`},
		{
			name: "extract", path: "/",
			step: scenario.Step{Extract: map[string]scenario.Extractor{
				"id": {JSON: "$.id"}, "region": {Header: "X-Region"}, "state": {Regex: `"state": "(\w+)"`}, "start": {JSON: "$.id", Regex: `^\d{3}`},
			}},
			want: map[string]string{"id": "12345678901234567890", "region": "eu", "state": "paid", "start": "123"},
		},
		{name: "extract absent json", path: "/", step: extract(scenario.Extractor{JSON: "$.token"}), class: runs.ClassAssertion, detail: `extract x: json \$\.token: got nothing`},
		{name: "extract absent header", path: "/", step: extract(scenario.Extractor{Header: "X-None"}), class: runs.ClassAssertion, detail: `extract x: header X-None: got nothing`},
		{name: "extract no match", path: "/", step: extract(scenario.Extractor{Regex: "order-(\\d+)"}), class: runs.ClassAssertion, detail: `extract x: body: got no match, want a match of order-`},
		{
			name: "a failed step still gives its variables", path: "/status/500", step: extract(scenario.Extractor{JSON: "$.state"}),
			class: runs.ClassHTTP5xx, detail: `got 500`, want: map[string]string{"x": "paid"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			j := plain(t)
			test.step.URL = server.URL + test.path
			wantCause(t, j.step(t, test.step), test.class, test.detail)
			for name, want := range test.want {
				if got, err := j.scope.Expand("${" + name + "}"); err != nil || got != want {
					t.Errorf("variable %s: got %q %v, want %q", name, got, err, want)
				}
			}
		})
	}
}

func assert(list ...scenario.Assertion) scenario.Step { return scenario.Step{Assert: list} }

func extract(x scenario.Extractor) scenario.Step {
	return scenario.Step{Extract: map[string]scenario.Extractor{"x": x}}
}

// seen is a request as the server saw it.
type seen struct {
	Method string
	Host   string
	Header http.Header
	Body   string
}

func TestRequests(t *testing.T) {
	var got seen
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = seen{r.Method, r.Host, r.Header, string(body)}
	})
	for _, test := range []struct {
		name string
		step scenario.Step
		want seen
	}{
		{"defaults", scenario.Step{}, seen{"GET", "", http.Header{"User-Agent": {"lastmile"}, "Accept-Encoding": {"gzip, br, zstd"}}, ""}},
		{
			"raw body and headers",
			scenario.Step{Method: "PUT", Body: "order ${x}", Headers: map[string]string{"X-Key": "k-${secrets.KEY}", "host": "shop.example.com", "User-Agent": "app/1"}},
			seen{"PUT", "shop.example.com", http.Header{"X-Key": {"k-s3cr3t-value"}, "User-Agent": {"app/1"}, "Content-Type": nil}, "order 42"},
		},
		{
			"json", scenario.Step{Method: "POST", JSON: map[string]any{"id": "${x}", "list": []any{1.0, "a\"${x}"}}},
			seen{"POST", "", http.Header{"Content-Type": {"application/json"}}, `{"id":"42","list":[1,"a\"42"]}`},
		},
		{
			"form", scenario.Step{Method: "POST", Form: map[string]string{"a": "1&${x}", "b": "ä"}},
			seen{"POST", "", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, "a=1%2642&b=%C3%A4"},
		},
		{
			"own content type", scenario.Step{Method: "PATCH", JSON: []any{}, Headers: map[string]string{"content-type": "application/json-patch+json"}},
			seen{"PATCH", "", http.Header{"Content-Type": {"application/json-patch+json"}}, "[]"},
		},
		{"delete", scenario.Step{Method: "DELETE"}, seen{"DELETE", "", nil, ""}},
		{"head", scenario.Step{Method: "HEAD"}, seen{"HEAD", "", nil, ""}},
	} {
		t.Run(test.name, func(t *testing.T) {
			j := plain(t)
			j.scope.Set("x", "42")
			test.step.URL = server.URL + "/"
			wantCause(t, j.step(t, test.step), "", "")
			if test.want.Host != "" && got.Host != test.want.Host {
				t.Errorf("got host %q, want %q", got.Host, test.want.Host)
			}
			if got.Method != test.want.Method || got.Body != test.want.Body {
				t.Errorf("got %s %q, want %s %q", got.Method, got.Body, test.want.Method, test.want.Body)
			}
			for name, values := range test.want.Header {
				if strings.Join(got.Header[name], "|") != strings.Join(values, "|") {
					t.Errorf("header %s: got %q, want %q", name, got.Header[name], values)
				}
			}
		})
	}
}

func TestStepsThatCannotBeSent(t *testing.T) {
	served := false
	server := serve(t, func(http.ResponseWriter, *http.Request) { served = true })
	for _, test := range []struct {
		name, detail string
		step         scenario.Step
	}{
		{"variable in the url", `url: expand template: \$\{orderId\} has no value`, scenario.Step{URL: server.URL + "/${orderId}"}},
		{"variable in a header", `header X-Id: .*\$\{orderId\}`, scenario.Step{URL: server.URL, Headers: map[string]string{"X-Id": "${orderId}"}}},
		{"variable in the body", `body: .*\$\{orderId\}`, scenario.Step{URL: server.URL, Body: "${orderId}"}},
		{"relative url", `url: got /orders, want an absolute`, scenario.Step{URL: "/orders?token=s3cr3t-value"}},
		{"other scheme", `want an absolute http or https URL`, scenario.Step{URL: "ftp://shop.example.com/"}},
		{"broken url", `url: `, scenario.Step{URL: "http://shop.example.com:port/?token=s3cr3t-value"}},
		{"line feed in a header", `header`, scenario.Step{URL: server.URL, Headers: map[string]string{"X-Id": "a\r\nX-Injected: s3cr3t-value"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := plain(t).step(t, test.step)
			wantCause(t, got, runs.ClassScript, test.detail)
			if strings.Contains(got.Cause.Detail, "s3cr3t") || served {
				t.Errorf("got %q, served %v, want no value and no request", got.Cause.Detail, served)
			}
		})
	}
}

func TestRequestRecord(t *testing.T) {
	server := serve(t, shop)
	j := begin(t, scenario.Scenario{Routing: &scenario.Routing{Header: "X-Served-Region"}}, httprunner.Options{})
	step := j.step(t, scenario.Step{ID: "order", URL: strings.Replace(server.URL, "http://", "http://user:pass@", 1) + "/a%2Fb?token=abcdef#x"})
	requests := j.Close().Requests
	if len(requests) != 1 {
		t.Fatalf("got %d requests, want 1", len(requests))
	}
	q := requests[0]
	if q.Step != "order" || q.URL != server.URL+"/a%2Fb" || q.Method != "GET" || q.Status != 200 || q.Protocol != "http/1.1" ||
		q.RemoteAddr != server.Listener.Addr().String() || q.ServedRegion != "eu-central" || q.Cache.State != cachestate.Hit || q.Error != "" {
		t.Errorf("got %+v", q)
	}
	if step.Requests != 1 || step.Bytes != q.Bytes || q.Bytes < 250 || q.Bytes > 450 { // 105 of body and about 200 of header
		t.Errorf("got %d requests, %d bytes of %d, want 1 request and its bytes with the header", step.Requests, step.Bytes, q.Bytes)
	}
}
