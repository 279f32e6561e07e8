package httprunner_test

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
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
)

// journey is a run under test: a session with its scope.
type journey struct {
	*httprunner.Session
	scope *scenario.Scope
}

// begin opens a session that closes with the test.
func begin(t testing.TB, s scenario.Scenario, options httprunner.Options) *journey {
	t.Helper()
	s.Name = "test"
	a := &runs.Assignment{RunID: "test.eu.none.1700000000", Scenario: s, Region: "eu"}
	session, err := httprunner.New(slog.New(slog.DiscardHandler), options).Open(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	secrets := map[string]scenario.Secret{"KEY": "s3cr3t-value"}
	return &journey{session, scenario.NewScope(&s, scenario.Combination{Scenario: "test", Region: "eu"}, string(a.RunID), secrets)}
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
		{"defaults", scenario.Step{}, seen{"GET", "", http.Header{"User-Agent": {"lastmile"}, "Accept-Encoding": {"gzip"}}, ""}},
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
	requests := j.Close()
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

// sum adds the phases that do not contain one another.
func sum(p runs.Phases) (total float64) {
	for _, v := range []*float64{p.Blocked, p.DNS, p.Connect, p.Send, p.Wait, p.Receive} {
		if v != nil {
			total += *v
		}
	}
	return total
}

// slowShop thinks before it answers and again before it ends the body.
func slowShop(think time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		pause(r.Context(), think)
		_, _ = io.WriteString(w, "first")
		_ = http.NewResponseController(w).Flush()
		pause(r.Context(), think)
		_, _ = io.WriteString(w, "last")
	}
}

// pause lets a server take its time.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func TestPhases(t *testing.T) {
	const think = 60 * time.Millisecond
	for _, test := range []struct {
		protocol string
		start    func(*httptest.Server)
	}{
		{"http/1.1", (*httptest.Server).Start},
		{"http/1.1", (*httptest.Server).StartTLS},
		{"h2", func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() }},
	} {
		server := httptest.NewUnstartedServer(slowShop(think))
		test.start(server)
		t.Run(test.protocol+" "+server.URL[:5], func(t *testing.T) {
			t.Cleanup(server.Close)
			options, secure := httprunner.Options{}, server.TLS != nil
			if secure {
				options.RootCAs = x509.NewCertPool()
				options.RootCAs.AddCert(server.Certificate())
			}
			j := begin(t, scenario.Scenario{}, options)
			steps := []runs.Step{j.step(t, scenario.Step{URL: server.URL}), j.step(t, scenario.Step{URL: server.URL})}
			for i, q := range j.Close() {
				wantCause(t, steps[i], "", "")
				p, fresh := q.Phases, i == 0
				if (p.Connect != nil) != fresh || (p.TLS != nil) != (fresh && secure) || p.DNS != nil {
					t.Errorf("request %d: got connect %v, tls %v, dns %v, want a dial once and no look-up of an IP address", i, p.Connect, p.TLS, p.DNS)
				}
				if fresh && secure && *p.TLS > *p.Connect {
					t.Errorf("got tls %v in connect %v, want it included", *p.TLS, *p.Connect)
				}
				if p.Blocked == nil || p.Send == nil || p.Wait == nil || p.Receive == nil || *p.Wait < 60 || *p.Receive < 60 {
					t.Fatalf("request %d: got %+v, want wait and receive from 60 ms", i, p)
				}
				if q.Protocol != test.protocol {
					t.Errorf("got protocol %s, want %s", q.Protocol, test.protocol)
				}
				if got, all := sum(p), steps[i].DurationMS; got > all+0.1 || got < all-20 {
					t.Errorf("request %d: got phases of %v ms in all, want about the step's %v ms", i, got, all)
				}
			}
		})
	}
}

func TestHostNameIsLookedUp(t *testing.T) {
	server := serve(t, shop)
	j := plain(t)
	wantCause(t, j.step(t, scenario.Step{URL: strings.Replace(server.URL, "127.0.0.1", "localhost", 1)}), "", "")
	if p := j.Close()[0].Phases; p.DNS == nil || p.Connect == nil || p.TLS != nil {
		t.Errorf("got %+v, want dns and connect without tls", p)
	}
}

func TestEarlyHintsAreNotTheAnswer(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		pause(r.Context(), 60*time.Millisecond)
	})
	j := plain(t)
	wantCause(t, j.step(t, scenario.Step{URL: server.URL}), "", "")
	if q := j.Close()[0]; q.Status != 200 || *q.Phases.Wait < 60 {
		t.Errorf("got status %d, wait %v, want 200 after 60 ms", q.Status, *q.Phases.Wait)
	}
}

func TestCookiesLastForTheRun(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/login" {
			http.SetCookie(w, &http.Cookie{Name: "session", Value: "of-" + r.URL.Query().Get("user"), Path: "/"})
			return
		}
		cookie, err := r.Cookie("session")
		if err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, cookie.Value)
	})
	first, second := plain(t), plain(t)
	account := assert(scenario.Assertion{Body: "of-ann"})
	account.URL = server.URL + "/account"
	wantCause(t, first.step(t, scenario.Step{URL: server.URL + "/login?user=ann"}), "", "")
	wantCause(t, first.step(t, account), "", "")
	wantCause(t, second.step(t, account), runs.ClassHTTP4xx, "got 401") // another run is another app
}

func TestTraceContext(t *testing.T) {
	var headers []string
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		headers = append(headers, r.Header.Get("traceparent"))
		if r.URL.Path == "/from" {
			http.Redirect(w, r, "/to", http.StatusFound)
		}
	})
	j := plain(t)
	j.step(t, scenario.Step{URL: server.URL + "/from"})
	j.step(t, scenario.Step{URL: server.URL})
	format := regexp.MustCompile(`^00-([0-9a-f]{32})-([0-9a-f]{16})-01$`)
	for _, header := range headers {
		if !format.MatchString(header) || header[:35] != headers[0][:35] {
			t.Errorf("got traceparent %q, want W3C's form and one trace for the run, that of %q", header, headers[0])
		}
	}
	if len(headers) != 3 || headers[0] == headers[2] {
		t.Errorf("got %q, want a span for each step's request", headers)
	}
	plain(t).step(t, scenario.Step{URL: server.URL})
	if headers[3][:35] == headers[0][:35] {
		t.Errorf("got trace %q in two runs, want one for each", headers[3])
	}
}

func TestGzip(t *testing.T) {
	body := strings.Repeat(`{"state": "paid"}, `, 2000)
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		zip := gzip.NewWriter(w)
		_, _ = io.WriteString(zip, "["+body+"{}]")
		_ = zip.Close()
	})
	j := plain(t)
	step := assert(scenario.Assertion{JSON: "$[1999].state", Equals: text("paid")})
	step.URL = server.URL
	got := j.step(t, step)
	wantCause(t, got, "", "")
	if got.Bytes > 2000 {
		t.Errorf("got %d bytes, want those on the wire, not the %d decoded", got.Bytes, len(body))
	}
	wantCause(t, j.step(t, scenario.Step{Method: "HEAD", URL: server.URL}), "", "")
}

func TestRedirects(t *testing.T) {
	var elsewhere http.Header
	other := serve(t, func(w http.ResponseWriter, r *http.Request) { elsewhere = r.Header; _, _ = io.WriteString(w, "other") })
	otherURL := strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var left int
		switch _, err := fmt.Sscanf(r.URL.Path, "/hops/%d", &left); {
		case r.URL.Path == "/away":
			http.Redirect(w, r, otherURL+"/landed?code=abc", http.StatusTemporaryRedirect)
		case err == nil && left > 0:
			http.Redirect(w, r, fmt.Sprintf("/hops/%d", left-1), http.StatusSeeOther)
		default:
			_, _ = io.WriteString(w, r.Method)
		}
	})
	key := map[string]string{"Authorization": "Bearer abcdefgh", "X-Api-Key": "${secrets.KEY}", "X-Public": "yes"}

	t.Run("each hop is a request", func(t *testing.T) {
		j := plain(t)
		step := assert(scenario.Assertion{Body: "GET"}, scenario.Assertion{Status: []string{"200"}})
		step.Method, step.URL = "POST", server.URL+"/hops/10"
		got := j.step(t, step)
		wantCause(t, got, "", "")
		requests := j.Close()
		if got.Requests != 11 || len(requests) != 11 || requests[0].Status != 303 || requests[0].Method != "POST" || requests[10].Status != 200 {
			t.Fatalf("got %d requests %+v, want ten redirects and the answer", got.Requests, requests)
		}
		all, bytes := 0.0, int64(0)
		for _, q := range requests {
			all += sum(q.Phases)
			bytes += q.Bytes
		}
		if requests[10].Phases.Connect != nil || got.Bytes != bytes || all > got.DurationMS+0.1 {
			t.Errorf("got %+v in %v ms of phases, %d bytes of requests, want their sums", got, all, bytes)
		}
	})
	t.Run("too many", func(t *testing.T) {
		j := plain(t)
		wantCause(t, j.step(t, scenario.Step{URL: server.URL + "/hops/11"}), runs.ClassScript, "redirect: got more than 10")
		if n := len(j.Close()); n != 11 {
			t.Errorf("got %d requests, want 11", n)
		}
	})
	t.Run("not followed", func(t *testing.T) {
		step := assert(scenario.Assertion{Status: []string{"303"}}, scenario.Assertion{Header: "Location", Equals: text("/hops/2")})
		step.URL, step.FollowRedirects = server.URL+"/hops/3", no()
		wantCause(t, plain(t).step(t, step), "", "")
	})
	t.Run("credentials stay", func(t *testing.T) {
		wantCause(t, plain(t).step(t, scenario.Step{URL: server.URL + "/away", Headers: key}), "", "")
		if elsewhere.Get("Authorization") != "" || elsewhere.Get("X-Api-Key") != "" || elsewhere.Get("X-Public") != "yes" {
			t.Errorf("got headers %v at another host, want the credentials gone and the rest there", elsewhere)
		}
	})
	t.Run("to a host that is not allowed", func(t *testing.T) {
		elsewhere = nil
		j := begin(t, scenario.Scenario{AllowHosts: []string{"127.0.0.1"}}, httprunner.Options{})
		got := j.step(t, scenario.Step{URL: server.URL + "/away"})
		wantCause(t, got, runs.ClassBlockedHost, "host: got localhost, want one that allowHosts lists")
		if elsewhere != nil || got.Requests != 1 {
			t.Errorf("got %d requests, other host %v, want one and none", got.Requests, elsewhere)
		}
	})
}

func TestHostThatIsNotAllowed(t *testing.T) {
	server := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("got a request, want none") })
	j := begin(t, scenario.Scenario{AllowHosts: []string{"*.example.com"}}, httprunner.Options{})
	wantCause(t, j.step(t, scenario.Step{URL: server.URL}), runs.ClassBlockedHost, "127.0.0.1")
}

func TestPoll(t *testing.T) {
	var calls int
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		calls++
		switch {
		case r.URL.Path == "/hangs" && calls > 2:
			<-r.Context().Done()
		case r.URL.Path != "/replica" || calls < 4:
			w.WriteHeader(http.StatusNotFound)
		default:
			_, _ = io.WriteString(w, `{"state": "paid"}`)
		}
	})
	poll := func(path string, limit time.Duration) scenario.Step {
		calls = 0
		step := assert(scenario.Assertion{Status: []string{"200"}}, scenario.Assertion{JSON: "$.state", Equals: text("paid")})
		step.URL, step.Extract = server.URL+path, map[string]scenario.Extractor{"x": {JSON: "$.state"}}
		step.Poll = &scenario.Poll{Every: scenario.Duration(25 * time.Millisecond), For: scenario.Duration(limit)}
		return step
	}
	t.Run("until visible", func(t *testing.T) {
		j := plain(t)
		got := j.step(t, poll("/replica", 5*time.Second))
		wantCause(t, got, "", "")
		if got.Attempts != 4 || got.Requests != 4 || len(j.Close()) != 4 {
			t.Errorf("got %d attempts, %d requests, want 4", got.Attempts, got.Requests)
		}
		if got.DurationMS < 75 || got.DurationMS > 2000 {
			t.Errorf("got %v ms, want three pauses of 25 ms", got.DurationMS)
		}
		if x, err := j.scope.Expand("${x}"); x != "paid" {
			t.Errorf("got variable %q %v, want paid", x, err)
		}
	})
	t.Run("never visible", func(t *testing.T) {
		got := plain(t).step(t, poll("/other", 120*time.Millisecond))
		wantCause(t, got, runs.ClassHTTP4xx, `^status: got 404, want 200, after \d+ attempts in 1\d\dms$`)
		if got.Attempts < 2 || got.Attempts > 6 {
			t.Errorf("got %d attempts, want about 5", got.Attempts)
		}
	})
	t.Run("the attempt cut off does not hide the cause", func(t *testing.T) {
		got := plain(t).step(t, poll("/hangs", 120*time.Millisecond))
		wantCause(t, got, runs.ClassHTTP4xx, `got 404, want 200, after 3 attempts`)
	})
}

func TestPollKeepsABoundedRecord(t *testing.T) {
	calls := 0
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if calls++; calls < 60 {
			w.Header().Set("Location", "/again")
			w.WriteHeader(http.StatusFound)
		}
	})
	step := assert(scenario.Assertion{Status: []string{"200"}})
	step.URL = server.URL
	j := plain(t)
	for range 60 {
		calls = 49 // ten redirects, then the answer
		wantCause(t, j.step(t, step), "", "")
	}
	requests := j.Close()
	if len(requests) != 500 || requests[499].Status != 200 {
		t.Errorf("got %d requests ending in %d, want 500 with the newest last", len(requests), requests[len(requests)-1].Status)
	}
}

func TestSecretsStayOutOfDetails(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "cookie-value"})
		_ = json.NewEncoder(w).Encode(map[string]any{
			"headers": fmt.Sprint(r.Header), "long": strings.Repeat("x", 95) + r.Header.Get("X-Key") + strings.Repeat("x", 1000),
		})
	})
	j := plain(t)
	headers := map[string]string{"Authorization": "Bearer token-value", "X-Key": "${secrets.KEY}"}
	var details []string
	for _, a := range []scenario.Assertion{
		{JSON: "$.headers", Equals: text("a")},
		{JSON: "$.headers", Equals: text("${secrets.KEY}")},
		{JSON: "$.long", Equals: text("a")},
		{Header: "Set-Cookie", Equals: text("session=none")},
		{Header: "Set-Cookie", Not: true},
		{Body: "Bearer token-value and cookie-value and ${secrets.KEY}"},
	} {
		step := assert(a)
		step.URL, step.Headers = server.URL, headers
		got := j.step(t, step)
		wantCause(t, got, runs.ClassAssertion, "")
		details = append(details, got.Cause.Detail)
	}
	leak := regexp.MustCompile(`token-v|cookie-v|s3cr3`)
	for _, detail := range details {
		if leak.MatchString(detail) {
			t.Errorf("got %q, want no credential in it", detail)
		}
	}
	for _, q := range j.Close() {
		if leak.MatchString(fmt.Sprintf("%+v", q)) {
			t.Errorf("got %+v, want no credential in it", q)
		}
	}
}

func TestProxyVariablesAreIgnored(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	j := plain(t)
	got := j.step(t, scenario.Step{URL: "http://shop.invalid/"})
	wantCause(t, got, runs.ClassDNS, "look up shop.invalid")
}

func TestCancelledRunIsOurFault(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
	for _, poll := range []*scenario.Poll{nil, {Every: 1e9, For: 1e10}} {
		j := plain(t)
		_, err := j.Step(ctx, &scenario.Step{ID: "1", URL: server.URL, Poll: poll}, j.scope)
		var fault *runs.Fault
		if !errors.As(err, &fault) || fault.Class != runs.ClassProbe || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want a fault of class probe", err)
		}
	}
}

func TestUntrustedCertificate(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(shop))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(server.Close)
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	localhost := strings.Replace(server.URL, "127.0.0.1", "localhost", 1)

	j := plain(t)
	wantCause(t, j.step(t, scenario.Step{URL: server.URL}), runs.ClassTLS, "x509: certificate signed by unknown authority")
	if q := j.Close()[0]; q.Status != 0 || q.Error == "" || q.Phases.Connect != nil || q.Phases.Wait != nil {
		t.Errorf("got %+v, want no status, an error and no phase after it", q)
	}
	j = begin(t, scenario.Scenario{}, httprunner.Options{RootCAs: pool})
	wantCause(t, j.step(t, scenario.Step{URL: localhost}), runs.ClassTLS, "x509: certificate is valid for .*, not localhost")

	old := httptest.NewUnstartedServer(http.HandlerFunc(shop))
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11}
	old.Config.ErrorLog = server.Config.ErrorLog
	old.StartTLS()
	t.Cleanup(old.Close)
	wantCause(t, plain(t).step(t, scenario.Step{URL: old.URL}), runs.ClassTLS, "protocol version")
}
