package httprunner_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lastmile/internal/httprunner"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// takeTurns serves the first connection by the first of the turns, and so on; the last one serves all that follow.
func takeTurns(t testing.TB, turns ...func(net.Conn)) (url string, served *atomic.Int64) {
	t.Helper()
	served = new(atomic.Int64)
	return "http://" + listen(t, func(conn net.Conn) { turns[min(int(served.Add(1)), len(turns))-1](conn) }), served
}

func TestRetries(t *testing.T) {
	reply := func(status, body string) func(net.Conn) {
		return say("HTTP/1.1 " + status + "\r\nConnection: close\r\n\r\n" + body)
	}
	fine, down, gone := reply("200 OK", "fine"), reply("503 Down", ""), reply("404 Gone", "")
	const short = 350 * time.Millisecond // a limit in which there is time for one pause
	for _, test := range []struct {
		name    string
		turns   []func(net.Conn)
		step    scenario.Step
		limit   time.Duration // 0 = plenty
		state   runs.StepState
		class   runs.Class
		detail  string
		tries   int
		warning string
	}{
		{"not asked for", []func(net.Conn){down, fine}, scenario.Step{}, 0, runs.StepFailed, runs.ClassHTTP5xx, "got 503", 0, ""},
		{"not needed", []func(net.Conn){fine}, scenario.Step{Retries: 2}, 0, runs.StepPassed, "", "", 1, ""},
		{"after an error of the server", []func(net.Conn){down, fine}, scenario.Step{Retries: 2}, 0, runs.StepDegraded, "", "", 2, "attempt 1 of 2 failed: http_5xx: status: got 503, want below 400"},
		{"after no answer", []func(net.Conn){answer(reset), down, fine}, scenario.Step{Retries: 2}, 0, runs.StepDegraded, "", "", 3, "attempt 1 of 3 failed: connect: connection reset while waiting for the response"},
		{"after half an answer", []func(net.Conn){say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), fine}, scenario.Step{Retries: 1}, 0, runs.StepDegraded, "", "", 2, "attempt 1 of 2 failed: script: response ended early: "},
		{"in vain", []func(net.Conn){down}, scenario.Step{Retries: 2}, 0, runs.StepFailed, runs.ClassHTTP5xx, "^status: got 503, want below 400$", 3, "attempt 1 of 3 failed: http_5xx: status: got 503"},
		{"until another failure", []func(net.Conn){down, gone, fine}, scenario.Step{Retries: 5}, 0, runs.StepFailed, runs.ClassHTTP4xx, "got 404", 2, "attempt 1 of 2 failed: http_5xx: status: got 503"},
		{"not after an error of the request's", []func(net.Conn){gone, fine}, scenario.Step{Retries: 5}, 0, runs.StepFailed, runs.ClassHTTP4xx, "got 404", 1, ""},
		{"not after a wrong answer", []func(net.Conn){reply("200 OK", "odd"), fine}, scenario.Step{Retries: 5, Assert: []scenario.Assertion{{Body: "fine"}}}, 0, runs.StepFailed, runs.ClassAssertion, "^body", 1, ""},
		{"not where the error is wanted", []func(net.Conn){down, fine}, scenario.Step{Retries: 5, Assert: []scenario.Assertion{{Status: []string{"503"}}}}, 0, runs.StepPassed, "", "", 1, ""},
		{"not after too much", []func(net.Conn){forever("HTTP/1.1 200 OK\r\n\r\n", strings.Repeat("x", 64<<10), 0), fine}, scenario.Step{Retries: 5}, 0, runs.StepFailed, runs.ClassScript, "body over limit", 1, ""},
		{"not after a bad redirect", []func(net.Conn){reply("302 Found\r\nLocation: ftp://127.0.0.1/", ""), fine}, scenario.Step{Retries: 5}, 0, runs.StepFailed, runs.ClassScript, "got scheme ftp", 1, ""},
		{"not when the time is up", []func(net.Conn){silent, fine}, scenario.Step{Retries: 5}, short, runs.StepFailed, runs.ClassTimeout, "^timed out after", 1, ""},
		{"not when it is nearly up", []func(net.Conn){down, fine}, scenario.Step{Retries: 5}, 90 * time.Millisecond, runs.StepFailed, "", "", 1, ""},
		{"one that is cut off does not hide the cause", []func(net.Conn){down, silent}, scenario.Step{Retries: 5}, short, runs.StepFailed, runs.ClassHTTP5xx, "got 503", 2, "attempt 1 of 2 failed: http_5xx: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			url, served := takeTurns(t, test.turns...)
			j := begin(t, scenario.Scenario{}, httprunner.Options{MaxBody: 1e6})
			test.step.URL = url + "/?token=token-value"
			if test.limit == 0 {
				test.limit = 20 * time.Second
			}
			got := j.within(t, test.step, test.limit)
			if got.State != test.state || got.Attempts != test.tries {
				t.Errorf("got %s after %d attempts, cause %+v, want %s after %d", got.State, got.Attempts, got.Cause, test.state, test.tries)
			}
			if test.class != "" {
				wantCause(t, got, test.class, test.detail)
			}
			if test.warning == "" && len(got.Warnings) > 0 || test.warning != "" && (len(got.Warnings) != 1 || !strings.HasPrefix(got.Warnings[0], test.warning)) {
				t.Errorf("got warnings %q, want %q", got.Warnings, test.warning)
			}
			requests := j.Close().Requests
			if n := max(test.tries, 1); got.Requests != n || len(requests) != n || int(served.Load()) != n {
				t.Errorf("got %d requests, %d recorded, %d served, want one for each of %d attempts", got.Requests, len(requests), served.Load(), n)
			}
			for i := range requests {
				if requests[i].Again != (i > 0) {
					t.Errorf("request %d: got again %t: only the first attempt is what counts", i+1, requests[i].Again)
				}
			}
			if pauses := []float64{0, 0, 100, 300}[min(test.tries, 3)]; got.DurationMS < pauses {
				t.Errorf("got %v ms, want pauses of %v ms at least", got.DurationMS, pauses)
			}
		})
	}
}

// TestRetriesOverEachProtocol shows that all of a request is sent again, and that the answer of the last attempt is what counts.
func TestRetriesOverEachProtocol(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(spoken(protocol), func(t *testing.T) {
			var calls atomic.Int64
			server := start(t, protocol, nil, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if calls.Add(1) < 3 {
					w.WriteHeader(http.StatusBadGateway)
				}
				_, _ = w.Write(body)
			})
			j := begin(t, scenario.Scenario{}, server.options)
			step := assert(scenario.Assertion{Status: []string{"200"}}, scenario.Assertion{Body: "order 42"})
			step.Method, step.Body, step.Retries, step.Extract = "POST", "order 42", 3, map[string]scenario.Extractor{"n": {Regex: `\d+`}}
			got := j.step(t, server.step("/", step))
			if got.State != runs.StepDegraded || got.Cause != nil || got.Attempts != 3 {
				t.Errorf("got %s, %+v after %d attempts, want degraded after 3", got.State, got.Cause, got.Attempts)
			}
			if n, err := j.scope.Expand("${n}"); n != "42" {
				t.Errorf("got variable %q %v, want 42", n, err)
			}
			requests := j.Close().Requests
			for i, status := range []int{502, 502, 200} {
				if q := requests[i]; q.Status != status || q.Protocol != spoken(protocol) || q.Exchange.RequestBytes != 8 {
					t.Errorf("attempt %d: got %+v, want status %d", i+1, q, status)
				}
			}
		})
	}
}

// TestRetriesOfWhatIsBlocked shows that an attempt which policy forbids is the only one.
func TestRetriesOfWhatIsBlocked(t *testing.T) {
	blocked := &runs.BlockedError{Host: "metadata.example.com", Want: "no private address"}
	got := across(t, broken{dial: blocked}, scenario.Scenario{}, httprunner.Options{}).step(t, scenario.Step{URL: "http://shop.example.com/", Retries: 5})
	wantCause(t, got, runs.ClassBlockedHost, "no private address")
	if got.Attempts != 1 {
		t.Errorf("got %d attempts, want one: waiting changes nothing", got.Attempts)
	}
}

// TestCancelledRetriesAreOurFault: a run that is told to stop between two attempts.
func TestCancelledRetriesAreOurFault(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		time.AfterFunc(50*time.Millisecond, cancel)
	})
	j := plain(t)
	_, err := j.Step(ctx, &scenario.Step{ID: "1", URL: server.URL, Retries: 5}, j.scope)
	if fault, ok := errors.AsType[*runs.Fault](err); !ok || fault.Class != runs.ClassProbe || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want a fault of class probe", err)
	}
}
