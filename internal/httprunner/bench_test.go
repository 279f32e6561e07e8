package httprunner_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"testing"
	"time"

	"lastmile/internal/httprunner"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// BenchmarkRun compares one run of one http step (session, new connection, request, body, status assertion, close) with the
// method of other probes: a new transport per probe, net/http with an httptrace that notes the phases, and nothing else. Both
// sides talk to the same server in the same process, so its share is in both numbers: the difference is what our runner costs.
func BenchmarkRun(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(shop))
	b.Cleanup(server.Close)
	b.Run("httprunner", func(b *testing.B) {
		runner := httprunner.New(slog.New(slog.DiscardHandler), httprunner.Options{})
		a := &runs.Assignment{RunID: "test.eu.none.1700000000"}
		step := assert(scenario.Assertion{Status: []string{"200"}})
		step.URL = server.URL
		b.ReportAllocs()
		for b.Loop() {
			session, err := runner.Open(b.Context(), a, httprunner.HostNetwork{})
			if err != nil {
				b.Fatal(err)
			}
			j := &journey{session, a.Scenario.Scope(scenario.Combination{}, string(a.RunID), nil)}
			wantCause(b, j.step(b, step), "", "")
			session.Close()
		}
	})
	b.Run("plain", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			transport := &http.Transport{DisableCompression: true}
			plainProbe(b, transport, server.URL)
			transport.CloseIdleConnections()
		}
	})
}

// BenchmarkStep is the same comparison for one more step over a connection that is kept.
func BenchmarkStep(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(shop))
	b.Cleanup(server.Close)
	b.Run("httprunner", func(b *testing.B) {
		j := begin(b, scenario.Scenario{}, httprunner.Options{})
		step := assert(scenario.Assertion{Status: []string{"200"}})
		step.URL = server.URL
		b.ReportAllocs()
		for b.Loop() {
			wantCause(b, j.step(b, step), "", "")
		}
	})
	b.Run("plain", func(b *testing.B) {
		transport := &http.Transport{DisableCompression: true}
		b.Cleanup(transport.CloseIdleConnections)
		b.ReportAllocs()
		for b.Loop() {
			plainProbe(b, transport, server.URL)
		}
	})
}

// plainProbe makes one traced request.
func plainProbe(b *testing.B, transport *http.Transport, url string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second)
	defer cancel()
	var marks [7]time.Time
	trace := &httptrace.ClientTrace{
		DNSStart:             func(httptrace.DNSStartInfo) { marks[0] = time.Now() },
		DNSDone:              func(httptrace.DNSDoneInfo) { marks[1] = time.Now() },
		ConnectStart:         func(_, _ string) { marks[2] = time.Now() },
		ConnectDone:          func(_, _ string, _ error) { marks[3] = time.Now() },
		GotConn:              func(httptrace.GotConnInfo) { marks[4] = time.Now() },
		WroteRequest:         func(httptrace.WroteRequestInfo) { marks[5] = time.Now() },
		GotFirstResponseByte: func() { marks[6] = time.Now() },
	}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodGet, url, nil)
	if err != nil {
		b.Fatal(err)
	}
	client := http.Client{Transport: transport}
	resp, err := client.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK {
		b.Fatalf("got status %d, error %v", resp.StatusCode, err)
	}
}
