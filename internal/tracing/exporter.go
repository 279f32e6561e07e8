// Package tracing makes a trace of each run, in OpenTelemetry's terms, and sends it by OTLP over HTTP to a collector. No run and no result
// waits for that: what the collector does not take in time is dropped, and counted.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"lastmile/internal/runs"
)

// Flags say where traces go.
type Flags struct {
	OTLPEndpoint string            `name:"otlp-endpoint" help:"Send each run as a trace to this URL, by OTLP over HTTP, such as http://127.0.0.1:4318; without a path it is /v1/traces." placeholder:"URL"`
	OTLPHeader   map[string]string `name:"otlp-header" help:"Headers for the collector, such as its token. Better given as LASTMILE_OTLP_HEADER." placeholder:"NAME=VALUE" mapsep:","`

	NoTracePages bool `help:"Let the requests of pages bear no traceparent. With it, in scenarios with allowHosts, each takes some milliseconds more on a busy machine."`
}

// The bounds of an export.
const (
	maxWaiting  = 256              // results
	maxTogether = 32               // results in one message
	exportLimit = 10 * time.Second // for one message, what is tried again included
	flushLimit  = 5 * time.Second  // at the end
	quietFor    = time.Minute      // from one complaint to the next
)

// Stats count results since the start.
type Stats struct {
	Exported int64
	Dropped  int64 // because the collector was too slow
	Failed   int64 // because it did not take them
}

// Exporter sends the traces of results. It is safe for concurrent use; nil sends nothing.
type Exporter struct {
	log     *slog.Logger
	client  sdktrace.SpanExporter
	hidden  []string // what must not show: values of headers
	waiting chan *runs.Result

	exported, dropped, failed atomic.Int64
	complained                time.Time // by the goroutine of Run alone
	unsaid                    int64     // failures since then
}

// New returns an exporter whose Run must be called; nil where the flags name no collector. It does not connect yet. The error says what
// is wrong with the flags, without the headers.
func New(log *slog.Logger, f Flags) (*Exporter, error) {
	if f.OTLPEndpoint == "" {
		return nil, nil
	}
	u, err := url.Parse(f.OTLPEndpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("--otlp-endpoint: want an http or https URL without user, query and fragment; tokens go into --otlp-header")
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/v1/traces"
	}
	client, err := otlptracehttp.New(context.Background(), otlptracehttp.WithEndpointURL(u.String()), otlptracehttp.WithHeaders(f.OTLPHeader),
		otlptracehttp.WithTimeout(exportLimit), otlptracehttp.WithCompression(otlptracehttp.GzipCompression), otlptracehttp.WithMaxResponseSize(64<<10),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: true, InitialInterval: time.Second, MaxInterval: 3 * time.Second, MaxElapsedTime: exportLimit}))
	if err != nil {
		return nil, fmt.Errorf("--otlp-endpoint: %w", err)
	}
	e := &Exporter{log: log, client: client, waiting: make(chan *runs.Result, maxWaiting)}
	for _, value := range f.OTLPHeader {
		if value != "" {
			e.hidden = append(e.hidden, value)
		}
	}
	return e, nil
}

// Offer takes a result that is complete and redacted. It does not wait; what it keeps, the caller may go on to change.
func (e *Exporter) Offer(r *runs.Result) {
	if e == nil || r.TraceID == "" {
		return
	}
	kept := *r
	kept.Steps, kept.Requests = slices.Clone(r.Steps), slices.Clone(r.Requests)
	for i := range kept.Requests {
		kept.Requests[i].Exchange = nil // which is not redacted, and large
	}
	select {
	case e.waiting <- &kept:
	default:
		e.dropped.Add(1)
	}
}

// Stats returns the counts.
func (e *Exporter) Stats() Stats {
	if e == nil {
		return Stats{}
	}
	return Stats{Exported: e.exported.Load(), Dropped: e.dropped.Load(), Failed: e.failed.Load()}
}

// Run sends what is offered until ctx ends, and then what is left, for which it takes five seconds at most.
func (e *Exporter) Run(ctx context.Context) error {
	if e == nil {
		return nil
	}
	for {
		select {
		case <-ctx.Done():
			e.flush(context.WithoutCancel(ctx))
			return nil
		case r := <-e.waiting:
			if ctx.Err() != nil {
				e.flush(context.WithoutCancel(ctx), r)
				return nil
			}
			if batch := e.batch(r); !e.send(ctx, batch) && ctx.Err() != nil {
				e.flush(context.WithoutCancel(ctx), batch...)
				return nil
			}
		}
	}
}

// Start runs the exporter until the function that it returns is called, which waits for what is left: see Run.
func (e *Exporter) Start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = e.Run(ctx) }) // always nil
	return func() {
		cancel()
		running.Wait()
	}
}

// flush sends what is left, once.
func (e *Exporter) flush(ctx context.Context, left ...*runs.Result) {
	ctx, cancel := context.WithTimeout(ctx, flushLimit)
	defer cancel()
	for ctx.Err() == nil {
		if len(left) == 0 {
			select {
			case r := <-e.waiting:
				left = e.batch(r)
			default:
			}
		}
		if len(left) == 0 || !e.send(ctx, left) {
			break
		}
		left = nil
	}
	lost := int64(len(e.waiting))
	e.dropped.Add(lost)
	if lost > 0 || e.unsaid > 0 {
		e.log.Warn("traces not exported at the end", "dropped", lost, "unsaid", e.unsaid)
	}
	_ = e.client.Shutdown(ctx) // it holds nothing any more
}

// batch takes what waits behind a result.
func (e *Exporter) batch(first *runs.Result) []*runs.Result {
	out := []*runs.Result{first}
	for len(out) < maxTogether {
		select {
		case r := <-e.waiting:
			out = append(out, r)
		default:
			return out
		}
	}
	return out
}

// send sends the traces of results. A failure is the collector's affair, or the network's: it is counted, and told once a minute. Where
// ctx has ended by itself, which is not at its deadline, nothing is counted yet.
func (e *Exporter) send(ctx context.Context, results []*runs.Result) (ok bool) {
	var spans []sdktrace.ReadOnlySpan
	for _, r := range results {
		spans = append(spans, Spans(r)...)
	}
	limited, cancel := context.WithTimeout(ctx, exportLimit)
	defer cancel()
	err := e.client.ExportSpans(limited, spans)
	n := int64(len(results))
	switch {
	case err == nil:
		e.exported.Add(n)
		return true
	case errors.Is(ctx.Err(), context.Canceled):
		return false
	}
	e.failed.Add(n)
	e.unsaid += n
	if now := time.Now(); now.Sub(e.complained) >= quietFor {
		e.log.Warn("traces not exported", "results", e.unsaid, "err", e.plain(err))
		e.complained, e.unsaid = now, 0
	}
	return false
}

// maxError bounds what is logged of an error, which may hold what the collector says.
const maxError = 300

// plain is the text of an error without the headers' values.
func (e *Exporter) plain(err error) string {
	text := err.Error()
	for _, value := range e.hidden {
		text = strings.ReplaceAll(text, value, "<redacted>")
	}
	return strings.ToValidUTF8(text[:min(len(text), maxError)], "")
}
