package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"lastmile/internal/bus/resultjson"
	"lastmile/internal/cachestate"
	"lastmile/internal/runs"
)

// BenchmarkRun is all that the bus does for one run: dispatch, take, acknowledge, publish the result; each synced to disk and
// waited for, one run after another. BenchmarkPlainPublish is the floor: one message of the same size, the same server settings.
// A run stores two messages, so it cannot cost less than two plain publishes.
func BenchmarkRun(b *testing.B) {
	bus := newBus(b)
	a := assignment(b, "shop", "us")
	r := resultOf(a, "p1")
	r.Requests = sampleRequests(60)
	at := time.Now().Truncate(time.Second)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		// Slots in the past with a start window in the future: each is a run of its own, and none expires on the way.
		one := runs.NewAssignment(a.Scenario, "us", a.Network, at.Add(-time.Duration(i)*time.Second))
		one.StartBy, one.Deadline = at.Add(time.Hour), at.Add(2*time.Hour)
		if created, err := bus.Dispatch(b.Context(), one); err != nil || !created {
			b.Fatal(created, err)
		}
		job, err := bus.Take(b.Context(), "us", "http", patience)
		if err != nil {
			b.Fatal(err)
		}
		if err := job.Ack(b.Context()); err != nil {
			b.Fatal(err)
		}
		r.RunID, r.Slot = one.RunID, one.Slot
		if err := bus.PublishResult(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPlainPublish is one JetStream publish of a result's size with no more than nats.go in the way.
func BenchmarkPlainPublish(b *testing.B) {
	bus := newBus(b)
	r := resultOf(assignment(b, "shop", "us"), "p1")
	r.Requests = sampleRequests(60)
	body, _, err := resultjson.Encode(r, 1<<20)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := bus.js.PublishMsg(b.Context(), &nats.Msg{Subject: "res.us.shop", Data: body}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFollow replays results with 60 requests each, as a coordinator does at its start: the time is per result, and decoding
// is nearly all of it.
func BenchmarkFollow(b *testing.B) {
	bus := newBus(b)
	a := assignment(b, "shop", "us")
	const stored = 2000
	for i := range stored {
		one := runs.NewAssignment(a.Scenario, "us", a.Network, a.Slot.Add(time.Duration(i)*time.Minute))
		r := resultOf(one, "p1")
		r.Requests = sampleRequests(60)
		mustPublish(b, bus, r)
	}
	b.ReportAllocs()
	for b.Loop() {
		ctx, cancel := context.WithCancel(b.Context())
		n := 0
		err := bus.Follow(ctx, []string{"us"}, nil, Handler{
			Result: func(runs.Result, Meta) { n++ }, Verdict: func(runs.Verdict, Meta) {}, CaughtUp: cancel,
		})
		cancel()
		if err != nil || n != stored {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(b.N*stored)/b.Elapsed().Seconds(), "results/s")
}

func sampleRequests(n int) []runs.Request {
	var out []runs.Request
	ms := 12.25
	for i := range n {
		out = append(out, runs.Request{
			Step: "home", URL: fmt.Sprintf("https://shop.example.com/assets/%d.js", i), Method: "GET", Status: 200, Protocol: "h2",
			Phases: runs.Phases{Blocked: &ms, Send: &ms, Wait: &ms, Receive: &ms}, Bytes: 12345,
			Cache: cachestate.Result{State: cachestate.Hit}, ServedRegion: "us",
		})
	}
	return out
}

// BenchmarkDecodeResult is what reading one browser's result off a message takes, and beside it encoding/json.
func BenchmarkDecodeResult(b *testing.B) {
	r := samples(b, sampleBrowser, 1)[0]
	body, _, err := resultjson.Encode(r, 1<<20)
	if err != nil {
		b.Fatal(err)
	}
	for name, decode := range map[string]func() (runs.Result, error){
		"resultjson": func() (runs.Result, error) { return resultjson.Decode(body) },
		"json":       func() (r runs.Result, err error) { return r, json.Unmarshal(body, &r) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := decode(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
