package bus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lastmile/internal/bus/resultjson"
	"lastmile/internal/exposition"
	"lastmile/internal/ledger"
	"lastmile/internal/runs"
)

// BenchmarkIngest reads results that are stored on an embedded server into a ledger and the metrics, as a coordinator does, and beside
// it, turn by turn, what the same server can give: the same messages to a durable pull consumer that acknowledges each and looks into none.
// ratio is ours of theirs.
func BenchmarkIngest(b *testing.B) {
	for _, of := range []struct {
		name   string
		kind   func(runs.Assignment, *rand.Rand) runs.Result
		stored int
	}{{"http", sampleHTTP, 20_000}, {"browser", sampleBrowser, 5_000}} {
		b.Run(of.name, func(b *testing.B) {
			stored := of.stored
			bus := connectTest(b, Options{Server: startTestServer(b, ServerOptions{SyncInterval: time.Minute})})
			if err := bus.EnsureStreams(soon(b), []string{"us"}); err != nil {
				b.Fatal(err)
			}
			size := fill(b, bus, samples(b, of.kind, stored)) // a coordinator has no decoded results lying about, for its collector to look through
			var plain, ours time.Duration
			b.ReportAllocs()
			for round := 0; b.Loop(); round++ {
				plain += consumeAndAck(b, bus, fmt.Sprintf("plain%d", round), stored)
				ours += ingest(b, bus, stored)
			}
			rate := func(took time.Duration) float64 { return float64(b.N*stored) / took.Seconds() }
			b.ReportMetric(rate(plain), "plain/s")
			b.ReportMetric(rate(ours), "ingest/s")
			b.ReportMetric(rate(ours)/rate(plain), "ratio")
			b.ReportMetric(float64(size)/float64(stored), "B/result")
			b.ReportMetric(rate(ours)*float64(size)/float64(stored)/1e6, "ingest-MB/s")
		})
	}
}

// fill stores results of region us, many at a time, and returns the size of their bodies.
func fill(t testing.TB, bus *Bus, results []runs.Result) (size int64) {
	t.Helper()
	for i := range results {
		r := &results[i]
		body, _, err := resultjson.Encode(*r, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		size += int64(len(body))
		msg := &nats.Msg{Subject: resultSubject(r), Data: body, Header: nats.Header{runHeader: {string(r.RunID)}}}
		if _, err := bus.js.PublishMsgAsync(msg); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-bus.js.PublishAsyncComplete():
	case <-time.After(patience):
		t.Fatal("got results that are not stored")
	}
	return size
}

// consumeAndAck is what a plain consumer takes for n messages.
func consumeAndAck(t testing.TB, bus *Bus, durable string, n int) time.Duration {
	t.Helper()
	consumer, err := bus.js.CreateConsumer(t.Context(), resultsStream("us"), jetstream.ConsumerConfig{
		Durable: durable, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 4096,
	})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for got := 0; got < n; {
		batch, err := consumer.Fetch(min(256, n-got), jetstream.FetchMaxWait(patience))
		if err != nil {
			t.Fatal(err)
		}
		for msg := range batch.Messages() {
			got++
			if err := msg.Ack(); err != nil {
				t.Fatal(err)
			}
		}
		if err := batch.Error(); err != nil {
			t.Fatal(err)
		}
	}
	if err := bus.nc.Flush(); err != nil { // the acknowledgements are with the server
		t.Fatal(err)
	}
	took := time.Since(began)
	if err := bus.js.DeleteConsumer(t.Context(), resultsStream("us"), durable); err != nil {
		t.Fatal(err)
	}
	return took
}

// ingest is what a coordinator takes for so many results.
func ingest(t testing.TB, bus *Bus, stored int) time.Duration {
	t.Helper()
	scenarios := assignment(t, "shop", "us").Scenario
	books := ledger.New()
	metrics := exposition.NewCoordinator(exposition.CoordinatorSources{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	began := time.Now()
	err := bus.Follow(ctx, []string{"us"}, nil, Handler{
		Lent: true,
		Result: func(r runs.Result, _ Meta) {
			if books.Result(&r, true) == ledger.Entered {
				n++
				metrics.Observe(&r)
			}
		},
		Verdict:  func(runs.Verdict, Meta) {},
		CaughtUp: cancel,
	})
	took := time.Since(began)
	if err != nil || n != stored {
		t.Fatalf("%s: got %d results and %v, want all %d", scenarios.Name, n, err, stored)
	}
	return took
}

// BenchmarkBacklog is what a probe takes to bring its results to the hub after the region was cut off: one after another, many at once, and
// beside it nats.go's own asynchronous publish of the same bodies. The server syncs every message.
func BenchmarkBacklog(b *testing.B) {
	const stored = 2000
	rng := rand.New(rand.NewPCG(1, 2))
	a := assignment(b, "shop", "us")
	var minute atomic.Int64
	batch := func() (results []runs.Result) { // the server would drop what it has had
		for range stored {
			results = append(results, sampleHTTP(runs.NewAssignment(a.Scenario, "us", a.Network, a.Slot.Add(-time.Duration(minute.Add(1))*time.Minute)), rng))
		}
		return results
	}
	bus := newBus(b)
	for name, publish := range map[string]func([]runs.Result){
		"one by one": func(results []runs.Result) {
			for i := range results {
				mustPublish(b, bus, results[i])
			}
		},
		"many at once": func(results []runs.Result) {
			if err := errors.Join(bus.PublishResults(b.Context(), results)...); err != nil {
				b.Fatal(err)
			}
		},
		"plain": func(results []runs.Result) { fill(b, bus, results) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				results := batch()
				b.StartTimer()
				publish(results)
			}
			b.ReportMetric(float64(b.N*stored)/b.Elapsed().Seconds(), "results/s")
		})
	}
}
