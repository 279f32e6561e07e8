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
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lastmile/internal/httprunner"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

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
			for i, q := range j.Close().Requests {
				wantCause(t, steps[i], "", "")
				p, fresh := q.Phases, i == 0
				if (p.Connect != nil) != fresh || (p.TLS != nil) != (fresh && secure) || p.DNS != nil {
					t.Errorf("request %d: got connect %v, tls %v, dns %v, want a dial once and no look-up of an IP address", i, p.Connect, p.TLS, p.DNS)
				}
				if fresh && secure && *p.TLS > *p.Connect {
					t.Errorf("got tls %v in connect %v, want it included", *p.TLS, *p.Connect)
				}
				if p.Blocked == nil || p.Send == nil || p.Wait == nil || p.Receive == nil || *p.Wait < 30 || *p.Receive < 10 || *p.Send+*p.Wait+*p.Receive < 120 {
					t.Fatalf("request %d: got %+v, want wait and receive of about 60 ms", i, p)
				}
				if q.Protocol != test.protocol {
					t.Errorf("got protocol %s, want %s", q.Protocol, test.protocol)
				}
				if got, all := sum(p), steps[i].DurationMS; got > all+0.1 || got < 0.7*all {
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
	if p := j.Close().Requests[0].Phases; p.DNS == nil || p.Connect == nil || p.TLS != nil {
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
	if q := j.Close().Requests[0]; q.Status != 200 || *q.Phases.Wait < 60 {
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
	if len(headers) != 3 || headers[0] == headers[1] || headers[0] == headers[2] {
		t.Errorf("got %q, want a span for each request, the redirected one included", headers)
	}
	for i, q := range j.Close().Requests {
		if q.SpanID == "" || headers[i] != headers[0][:36]+q.SpanID+"-01" {
			t.Errorf("got span %q of request %d in the result, want that of traceparent %q", q.SpanID, i, headers[i])
		}
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
		requests := j.Close().Requests
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
		if n := len(j.Close().Requests); n != 11 {
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
	polling := j.step(t, scenario.Step{URL: server.URL, Poll: &scenario.Poll{Every: 1e7, For: 1e8}})
	wantCause(t, polling, runs.ClassBlockedHost, "127.0.0.1")
	if polling.Attempts != 1 {
		t.Errorf("got %d attempts, want one: waiting changes nothing", polling.Attempts)
	}
}

func TestPoll(t *testing.T) {
	var count atomic.Int64 // a server may still be at work for an attempt that was cut off
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		calls := count.Add(1)
		switch {
		case r.URL.Path == "/hangs" && calls > 1:
			<-r.Context().Done()
		case r.URL.Path != "/replica" || calls < 4:
			w.WriteHeader(http.StatusNotFound)
		default:
			_, _ = io.WriteString(w, `{"state": "paid"}`)
		}
	})
	poll := func(path string, limit time.Duration) scenario.Step {
		count.Store(0)
		step := assert(scenario.Assertion{Status: []string{"200"}}, scenario.Assertion{JSON: "$.state", Equals: text("paid")})
		step.URL, step.Extract = server.URL+path, map[string]scenario.Extractor{"x": {JSON: "$.state"}}
		step.Poll = &scenario.Poll{Every: scenario.Duration(25 * time.Millisecond), For: scenario.Duration(limit)}
		return step
	}
	t.Run("until visible", func(t *testing.T) {
		j := plain(t)
		got := j.step(t, poll("/replica", 5*time.Second))
		wantCause(t, got, "", "")
		requests := j.Close().Requests
		if got.Attempts != 4 || got.Requests != 4 || len(requests) != 4 {
			t.Errorf("got %d attempts, %d requests, want 4", got.Attempts, got.Requests)
		}
		for i := range requests {
			if requests[i].Again != (i > 0) {
				t.Errorf("request %d: got again %t: only the first attempt is what counts", i+1, requests[i].Again)
			}
		}
		if got.DurationMS < 75 || got.DurationMS > 2000 {
			t.Errorf("got %v ms, want three pauses of 25 ms", got.DurationMS)
		}
		if x, err := j.scope.Expand("${x}"); x != "paid" {
			t.Errorf("got variable %q %v, want paid", x, err)
		}
	})
	t.Run("never visible", func(t *testing.T) {
		got := plain(t).step(t, poll("/other", 300*time.Millisecond))
		wantCause(t, got, runs.ClassHTTP4xx, `^status: got 404, want 200, after \d+ attempts in \d+ms$`)
		if got.Attempts < 2 || got.Attempts > 13 {
			t.Errorf("got %d attempts, want about 12", got.Attempts)
		}
	})
	t.Run("the attempt cut off does not hide the cause", func(t *testing.T) {
		got := plain(t).step(t, poll("/hangs", 400*time.Millisecond))
		wantCause(t, got, runs.ClassHTTP4xx, `got 404, want 200, after 2 attempts`)
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
	trail := j.Close()
	requests := trail.Requests
	if len(requests) != 500 || requests[499].Status != 200 || trail.Dropped != 160 {
		t.Errorf("got %d requests ending in %d, and %d dropped, want 500 with the newest last of 660", len(requests), requests[len(requests)-1].Status, trail.Dropped)
	}
}

func TestSecretsStayOutOfDetails(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "cookie-value"})
		_ = json.NewEncoder(w).Encode(map[string]any{
			"headers": fmt.Sprint(r.Header), "long": strings.Repeat("x", 90) + r.Header.Get("X-Key") + strings.Repeat("x", 1000),
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
	for _, q := range j.Close().Requests {
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
	if q := j.Close().Requests[0]; q.Status != 0 || q.Error == "" || q.Phases.Connect != nil || q.Phases.Wait != nil {
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

// TestOutOfSockets shows that a probe that has run out of file descriptors blames itself, whether it was to connect or to look
// up the host.
func TestOutOfSockets(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	restore := func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(restore)
	for _, url := range []string{"http://127.0.0.1:1/", "http://shop.invalid/"} {
		j := plain(t)
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 3, Max: limit.Max}); err != nil {
			t.Fatal(err)
		}
		_, err := j.Step(t.Context(), &scenario.Step{ID: "1", URL: url}, j.scope)
		restore()
		var fault *runs.Fault
		if !errors.As(err, &fault) || fault.Class != runs.ClassProbe {
			t.Errorf("%s: got error %v, want a fault of class probe", url, err)
		}
	}
}

// TestRunsAtTheSameTime shares one Runner among many runs.
func TestRunsAtTheSameTime(t *testing.T) {
	server := serve(t, shop)
	runner := httprunner.New(slog.New(slog.DiscardHandler), httprunner.Options{})
	step := assert(scenario.Assertion{JSON: `$.items[?match(@.name, "t.*")].name`, Equals: text("tea")})
	step.ID, step.URL = "1", server.URL
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			a := &runs.Assignment{RunID: "test.eu.none.1700000000"}
			session, err := runner.Open(t.Context(), a, httprunner.HostNetwork{})
			if err != nil {
				t.Error(err)
				return
			}
			for range 10 {
				got, err := session.Step(t.Context(), &step, a.Scenario.Scope(scenario.Combination{}, "", nil))
				if err != nil || got.Cause != nil {
					t.Errorf("got %+v %v, want passed", got, err)
				}
			}
			if n := len(session.Close().Requests); n != 10 {
				t.Errorf("got %d requests, want 10", n)
			}
		})
	}
	running.Wait()
}
