package tracing

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

const traceID = "4bf92f3577b34da6a3ce929d0e0e4736"

var began = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func ms(v float64) *float64 { return &v }

// failed is a run whose second step failed.
func failed() *runs.Result {
	return &runs.Result{
		Scenario: "shop", Region: "eu", Network: "4g", Probe: "p1", RunID: "shop.eu.4g.1", TraceID: traceID, State: runs.StateFailed, StartedAt: began, DurationMS: 300,
		Link: runs.Link{Mode: runs.LinkDial}, Cause: &runs.Cause{Class: runs.ClassHTTP5xx, Step: "pay", Detail: "got 503"},
		Steps: []runs.Step{
			{ID: "home", Type: scenario.StepHTTP, State: runs.StepPassed, DurationMS: 100},
			{ID: "pay", Type: scenario.StepHTTP, State: runs.StepFailed, StartedMS: 150, DurationMS: 200, Attempts: 3, Cause: &runs.Cause{Class: runs.ClassHTTP5xx, Detail: "got 503"}},
			{ID: "bye", Type: scenario.StepHTTP, State: runs.StepSkipped, Skipped: runs.SkipFailure},
		},
		Requests: []runs.Request{
			{Step: "home", Method: "GET", URL: "https://shop.example.com/", Status: 200, Protocol: "h2", RemoteAddr: "192.0.2.7:443", SpanID: "00f067aa0ba902b7", StartedMS: 1,
				Phases: runs.Phases{DNS: ms(5), Connect: ms(30), TLS: ms(20), Send: ms(1), Wait: ms(40), Receive: ms(3)}},
			{Step: "pay", Method: "POST", URL: "https://shop.example.com:8443/pay/\xff", Status: 503, Protocol: "http/1.1", SpanID: "00f067aa0ba902b8", StartedMS: 151,
				Exchange: &runs.Exchange{URL: "https://shop.example.com:8443/pay?token=hush", RequestHeaders: http.Header{"Cookie": {"session=hush"}}}},
			{Step: "pay", Method: "GET", URL: "https://elsewhere.example/", Error: "connect: refused", StartedMS: 160},
		},
	}
}

// receiver is a collector that keeps what it gets.
type receiver struct {
	*httptest.Server
	mu      sync.Mutex
	got     []*spans.ResourceSpans
	headers []http.Header
}

func receive(t *testing.T) *receiver {
	t.Helper()
	c := &receiver{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" || r.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("got %s of %s, %s, want a gzipped protobuf at /v1/traces", r.URL.Path, r.Header.Get("Content-Type"), r.Header.Get("Content-Encoding"))
		}
		unpacked, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		body, err := io.ReadAll(unpacked)
		var message collector.ExportTraceServiceRequest
		if err != nil || proto.Unmarshal(body, &message) != nil {
			t.Errorf("got what is no trace: %v", err)
		}
		if bytes.Contains(body, []byte("hush")) {
			t.Error("a secret was exported")
		}
		c.mu.Lock()
		c.got, c.headers = append(c.got, message.ResourceSpans...), append(c.headers, r.Header)
		c.mu.Unlock()
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(c.Close)
	return c
}

// exporter starts an exporter to a URL; it stops when stop is called, and what it logged is in the buffer then.
func exporter(t *testing.T, endpoint string, headers map[string]string) (e *Exporter, logged *bytes.Buffer, stop func()) {
	t.Helper()
	logged = &bytes.Buffer{}
	e, err := New(slog.New(slog.NewJSONHandler(logged, nil)), Flags{OTLPEndpoint: endpoint, OTLPHeader: headers})
	if err != nil {
		t.Fatal(err)
	}
	return e, logged, sync.OnceFunc(e.Start())
}

func attributes(in []*common.KeyValue) map[string]string {
	out := map[string]string{}
	for _, kv := range in {
		switch v := kv.Value.Value.(type) {
		case *common.AnyValue_StringValue:
			out[kv.Key] = v.StringValue
		case *common.AnyValue_IntValue:
			out[kv.Key] = fmt.Sprint(v.IntValue)
		case *common.AnyValue_DoubleValue:
			out[kv.Key] = fmt.Sprint(v.DoubleValue)
		}
	}
	return out
}

func TestExport(t *testing.T) {
	c := receive(t)
	e, _, stop := exporter(t, c.URL, map[string]string{"Authorization": "Bearer hush-hush"})
	result := failed()
	e.Offer(result)
	result.Requests[0].URL = "changed" // by the caller, who goes on with it
	stop()
	if got := e.Stats(); got != (Stats{Exported: 1}) {
		t.Errorf("got %+v, want one export", got)
	}
	if len(c.got) != 1 || c.headers[0].Get("Authorization") != "Bearer hush-hush" {
		t.Fatalf("got %d traces with headers %v, want one with its token", len(c.got), c.headers)
	}
	resource := attributes(c.got[0].Resource.Attributes)
	for key, want := range map[string]string{
		"service.name": "lastmile-probe", "lastmile.scenario": "shop", "lastmile.region": "eu", "lastmile.network": "4g", "lastmile.link.mode": "dial",
	} {
		if resource[key] != want {
			t.Errorf("resource %s: got %q, want %q", key, resource[key], want)
		}
	}
	checkSpans(t, c.got[0].ScopeSpans[0].Spans)
}

// checkSpans holds a trace against what failed says.
func checkSpans(t *testing.T, all []*spans.Span) {
	t.Helper()
	byID, tree := map[string]*spans.Span{}, []string{}
	for _, s := range all {
		if hex.EncodeToString(s.TraceId) != traceID {
			t.Errorf("span %s: got trace %x, want the run's", s.Name, s.TraceId)
		}
		byID[string(s.SpanId)] = s
	}
	at := func(nanos uint64) float64 {
		return float64(time.Unix(0, int64(nanos)).Sub(began)) / float64(time.Millisecond)
	}
	for _, s := range all {
		parent := "-"
		if p := byID[string(s.ParentSpanId)]; p != nil {
			parent = p.Name
		}
		tree = append(tree, fmt.Sprintf("%s < %s, %g to %g, %s", s.Name, parent, at(s.StartTimeUnixNano), at(s.EndTimeUnixNano), s.GetStatus().GetCode()))
	}
	slices.Sort(tree)
	want := []string{
		"GET < home, 1 to 80, STATUS_CODE_UNSET", // connect has tls in it
		"GET < pay, 160 to 160, STATUS_CODE_ERROR",
		"POST < pay, 151 to 151, STATUS_CODE_ERROR",
		"bye < shop, 0 to 0, STATUS_CODE_UNSET",
		"home < shop, 0 to 100, STATUS_CODE_UNSET",
		"pay < shop, 150 to 350, STATUS_CODE_ERROR",
		"shop < -, 0 to 350, STATUS_CODE_ERROR",
	}
	if !slices.Equal(tree, want) {
		t.Errorf("got spans\n%s\nwant\n%s", strings.Join(tree, "\n"), strings.Join(want, "\n"))
	}
	id, _ := hex.DecodeString("00f067aa0ba902b7")
	first := byID[string(id)]
	if first == nil || first.Kind != spans.Span_SPAN_KIND_CLIENT {
		t.Fatal("the server's parent, which traceparent told, is not among the spans as a client's")
	}
	got := attributes(first.Attributes)
	for key, want := range map[string]string{
		"http.request.method": "GET", "url.full": "https://shop.example.com/", "http.response.status_code": "200", "server.address": "shop.example.com", "server.port": "443",
		"network.protocol.version": "2", "network.peer.address": "192.0.2.7", "lastmile.phase.wait_ms": "40", "lastmile.phase.tls_ms": "20",
	} {
		if got[key] != want {
			t.Errorf("request: %s: got %q, want %q", key, got[key], want)
		}
	}
	for _, s := range all {
		if s.Name == "pay" && (attributes(s.Attributes)["error.type"] != "http_5xx" || !strings.Contains(s.Status.Message, "got 503")) {
			t.Errorf("step pay: got %v, %q, want the cause", s.Attributes, s.Status.Message)
		}
	}
}

func TestNeverBegun(t *testing.T) {
	if got := Spans(&runs.Result{Scenario: "shop"}); len(got) != 0 {
		t.Errorf("got %d spans, want none of a run that never began", len(got))
	}
	var none *Exporter
	none.Offer(failed())
	none.Start()()
	if e, err := New(slog.Default(), Flags{}); e != nil || err != nil {
		t.Errorf("got %v, %v, want nothing without an endpoint", e, err)
	}
}

func TestBadEndpoint(t *testing.T) {
	for _, endpoint := range []string{"127.0.0.1:4318", "ftp://host", "http://", "http://user:hush@host", "http://host/?token=hush", "://"} {
		_, err := New(slog.Default(), Flags{OTLPEndpoint: endpoint})
		if err == nil || !strings.HasPrefix(err.Error(), "--otlp-endpoint: ") || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: got %v, want an error about the flag without what may be secret", endpoint, err)
		}
	}
}

func TestDeadCollector(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	endpoint := "http://" + listener.Addr().String()
	_ = listener.Close()
	e, logged, stop := exporter(t, endpoint, map[string]string{"Authorization": "Bearer hush-hush"})
	for range 3 {
		e.Offer(failed())
		for tries := 0; e.Stats().Failed == 0 && tries < 10000; tries++ {
			time.Sleep(time.Millisecond) // until the first has been tried
		}
	}
	stop()
	if got := e.Stats(); got.Failed+got.Dropped != 3 || got.Exported != 0 {
		t.Errorf("got %+v, want three that came to nothing", got)
	}
	complaints := 0
	for line := range strings.Lines(logged.String()) {
		var entry struct{ Msg string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Error(err)
		}
		if entry.Msg == "traces not exported" {
			complaints++
		}
	}
	if complaints != 1 || strings.Contains(logged.String(), "hush") {
		t.Errorf("got log\n%s\nwant one complaint in a minute, without the token", logged)
	}
}

func TestSlowCollector(t *testing.T) {
	release := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer slow.Close()
	defer close(release)
	e, _, stop := exporter(t, slow.URL, nil)
	const offered = maxWaiting + 2*maxTogether + 10
	started := time.Now()
	for range offered {
		e.Offer(failed())
	}
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("offering took %s, want no wait for the collector", took)
	}
	if got := e.Stats(); got.Dropped == 0 || got.Exported != 0 {
		t.Errorf("got %+v, want what does not fit to be dropped and counted", got)
	}
	stop() // bounded by itself
	if took := time.Since(started); took > flushLimit+20*time.Second {
		t.Errorf("stopping took %s, want %s at most", took, flushLimit)
	}
	if got := e.Stats(); got.Dropped+got.Failed != offered {
		t.Errorf("got %+v, want all %d accounted for", got, offered)
	}
}

func TestRefusal(t *testing.T) {
	grumpy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "who is "+r.Header.Get("Authorization")+"?"+strings.Repeat("x", 10000), http.StatusUnauthorized)
	}))
	defer grumpy.Close()
	e, logged, stop := exporter(t, grumpy.URL, map[string]string{"Authorization": "Bearer hush-hush"})
	e.Offer(failed())
	stop()
	if got := e.Stats(); got.Failed != 1 {
		t.Errorf("got %+v, want one failure", got)
	}
	if text := logged.String(); !strings.Contains(text, "401") || strings.Contains(text, "hush") || len(text) > 1000 {
		t.Errorf("got log %.2000s, want the status, and neither the token nor all that was said", text)
	}
}
