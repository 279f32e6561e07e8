package tracing

import (
	"context"
	"crypto/rand"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"lastmile/internal/runs"
)

// service is the name of all probes in a trace.
const service = "lastmile-probe"

// Spans turns a result into a trace: the run, below it its steps, below each step its requests. What servers were told in traceparent
// are the ids of these spans. It is empty where the run has no trace id: it never began.
func Spans(r *runs.Result) []sdktrace.ReadOnlySpan {
	id, err := trace.TraceIDFromHex(r.TraceID)
	if err != nil {
		return nil
	}
	kept := &sheet{}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithResource(resource.NewSchemaless(
			str("service.name", service), str("service.instance.id", r.Probe),
			str("lastmile.scenario", r.Scenario), str("lastmile.region", r.Region),
			str("lastmile.network", r.Network), str("lastmile.link.mode", string(r.Link.Mode)),
		)),
		sdktrace.WithSampler(sdktrace.AlwaysSample()), sdktrace.WithIDGenerator(ids(id)), sdktrace.WithSpanProcessor(kept),
		sdktrace.WithRawSpanLimits(sdktrace.SpanLimits{ // all that there is: it is bounded already
			AttributeValueLengthLimit: -1, AttributeCountLimit: -1, EventCountLimit: -1, LinkCountLimit: -1, AttributePerEventCountLimit: -1,
			AttributePerLinkCountLimit: -1,
		}),
	)
	draw(provider.Tracer("lastmile"), r)
	return kept.spans
}

// maxValue bounds the bytes of a text.
const maxValue = 1000

// plain is a text as messages can bear it: one that is not UTF-8 would stop them all.
func plain(text string) string { return strings.ToValidUTF8(text[:min(len(text), maxValue)], "\uFFFD") }

func str(key, value string) attribute.KeyValue { return attribute.String(key, plain(value)) }

func list(span trace.Span, key string, values []string) {
	if len(values) == 0 {
		return
	}
	out := make([]string, len(values))
	for i, value := range values {
		out[i] = plain(value)
	}
	span.SetAttributes(attribute.StringSlice(key, out))
}

// draw makes the spans of a result.
func draw(tracer trace.Tracer, r *runs.Result) {
	ctx, run := tracer.Start(context.Background(), plain(r.Scenario), trace.WithTimestamp(r.StartedAt), trace.WithAttributes(
		str("lastmile.run_id", string(r.RunID)), str("lastmile.state", string(r.State)),
		str("lastmile.trigger", string(r.Trigger)), str("lastmile.revision", r.Revision),
	))
	list(run, "lastmile.tainted", r.Tainted)
	mark(run, r.Cause)
	end := r.StartedAt.Add(r.Duration())
	below := map[string]context.Context{}
	for i := range r.Steps {
		inStep, ended := drawStep(ctx, tracer, r, &r.Steps[i])
		below[r.Steps[i].ID] = inStep
		end = later(end, ended)
	}
	for i := range r.Requests {
		parent, ok := below[r.Requests[i].Step]
		if !ok {
			parent = ctx // what a page does before its first step
		}
		end = later(end, drawRequest(parent, tracer, r.StartedAt, &r.Requests[i]))
	}
	run.End(trace.WithTimestamp(end))
}

// drawStep makes the span of a step. Its end is that of the time that the user waits.
func drawStep(ctx context.Context, tracer trace.Tracer, r *runs.Result, s *runs.Step) (inStep context.Context, end time.Time) {
	start := after(r.StartedAt, s.StartedMS)
	inStep, span := tracer.Start(ctx, plain(s.ID), trace.WithTimestamp(start), trace.WithAttributes(
		str("lastmile.step.type", string(s.Type)), str("lastmile.state", string(s.State)),
	))
	list(span, "lastmile.step.warnings", s.Warnings)
	if s.Attempts > 0 {
		span.SetAttributes(attribute.Int("lastmile.step.attempts", s.Attempts))
	}
	if s.Skipped != "" {
		span.SetAttributes(str("lastmile.step.skipped", string(s.Skipped)))
	}
	mark(span, s.Cause)
	end = after(start, s.DurationMS)
	span.End(trace.WithTimestamp(end))
	return inStep, end
}

// drawRequest makes the span of a request: the client's side of what the server was told of.
func drawRequest(ctx context.Context, tracer trace.Tracer, began time.Time, q *runs.Request) (end time.Time) {
	start := after(began, q.StartedMS)
	span := trace.SpanID{}
	if id, err := trace.SpanIDFromHex(q.SpanID); err == nil {
		span = id
	}
	_, out := tracer.Start(context.WithValue(ctx, given{}, span), plain(q.Method), trace.WithTimestamp(start),
		trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(describe(q)...))
	switch {
	case q.Error != "":
		out.SetAttributes(str("error.type", "error"))
		out.SetStatus(codes.Error, plain(q.Error))
	case q.Status >= 400:
		out.SetAttributes(str("error.type", strconv.Itoa(q.Status)))
		out.SetStatus(codes.Error, "")
	}
	end = start
	for _, phase := range []struct {
		name string
		took *float64
		part bool // of another
	}{
		{"blocked", q.Phases.Blocked, false}, {"dns", q.Phases.DNS, false}, {"connect", q.Phases.Connect, false}, {"tls", q.Phases.TLS, true},
		{"send", q.Phases.Send, false}, {"wait", q.Phases.Wait, false}, {"receive", q.Phases.Receive, false},
	} {
		if phase.took == nil {
			continue
		}
		out.SetAttributes(attribute.Float64("lastmile.phase."+phase.name+"_ms", *phase.took))
		if !phase.part {
			end = after(end, *phase.took)
		}
	}
	out.End(trace.WithTimestamp(end))
	return end
}

// describe lists a request's attributes, by OpenTelemetry's semantic conventions where these have a name.
func describe(q *runs.Request) []attribute.KeyValue {
	out := []attribute.KeyValue{
		str("http.request.method", q.Method), str("url.full", q.URL),
		attribute.Int64("http.response.size", q.Bytes), str("lastmile.cache", string(q.Cache.State)),
	}
	if u, err := url.Parse(q.URL); err == nil {
		out = append(out, str("server.address", u.Hostname()))
		if port := portOf(u); port != 0 {
			out = append(out, attribute.Int("server.port", port))
		}
	}
	if q.Status != 0 {
		out = append(out, attribute.Int("http.response.status_code", q.Status))
	}
	if host, port, err := net.SplitHostPort(q.RemoteAddr); err == nil {
		out = append(out, str("network.peer.address", host))
		if n, err := strconv.Atoi(port); err == nil {
			out = append(out, attribute.Int("network.peer.port", n))
		}
	}
	for key, value := range map[string]string{
		"network.protocol.version": version(q.Protocol), "lastmile.browser_cache": q.BrowserCache, "lastmile.served_region": q.ServedRegion, "lastmile.pop": q.PoP,
		"lastmile.from": q.From, "lastmile.type": q.Type, "lastmile.exposed": q.Exposed,
	} {
		if value != "" {
			out = append(out, str(key, value))
		}
	}
	return out
}

// version is that of HTTP in a name such as http/1.1, h2 or h3; "" where it is another protocol.
func version(protocol string) string {
	switch protocol {
	case "http/1.0", "http/1.1":
		return protocol[len("http/"):]
	case "h2", "h3":
		return protocol[1:]
	}
	return ""
}

func portOf(u *url.URL) int {
	if n, err := strconv.Atoi(u.Port()); err == nil {
		return n
	}
	return map[string]int{"http": 80, "ws": 80, "https": 443, "wss": 443}[u.Scheme]
}

// mark lets a span fail for a cause. What only degrades is no failure.
func mark(span trace.Span, cause *runs.Cause) {
	if cause == nil {
		return
	}
	span.SetAttributes(str("lastmile.cause", string(cause.Class)))
	if cause.Class == runs.ClassBudget {
		return
	}
	span.SetAttributes(str("error.type", string(cause.Class)))
	span.SetStatus(codes.Error, plain(string(cause.Class)+": "+cause.Detail))
}

func after(t time.Time, ms float64) time.Time {
	return t.Add(time.Duration(ms * float64(time.Millisecond)))
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// sheet keeps the spans that have ended.
type sheet struct{ spans []sdktrace.ReadOnlySpan }

func (s *sheet) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (s *sheet) OnEnd(span sdktrace.ReadOnlySpan)                { s.spans = append(s.spans, span) }
func (s *sheet) Shutdown(context.Context) error                  { return nil }
func (s *sheet) ForceFlush(context.Context) error                { return nil }

// given is the key under which a context has the id of the span that is to be made.
type given struct{}

// ids makes the ids of one trace's spans.
type ids trace.TraceID

// NewIDs implements sdktrace.IDGenerator.
func (t ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	return trace.TraceID(t), t.NewSpanID(ctx, trace.TraceID(t))
}

// NewSpanID implements sdktrace.IDGenerator.
func (t ids) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	if id, ok := ctx.Value(given{}).(trace.SpanID); ok && id.IsValid() {
		return id
	}
	var id trace.SpanID
	_, _ = rand.Read(id[:]) // never fails
	return id
}
