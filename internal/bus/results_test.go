package bus

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"lastmile/internal/runs"
)

// Results that have gathered are stored whatever becomes of their neighbours, and each is answered for by itself.
func TestManyResultsAtOnce(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	results := samples(t, sampleHTTP, 200)
	results[77].State = "excellent"
	var want []string
	for i, err := range b.PublishResults(soon(t), results) {
		switch {
		case i == 77 && (err == nil || errors.Is(err, ErrUnavailable)):
			t.Errorf("a result without a state that exists: got %v, want a final error", err)
		case i != 77 && err != nil:
			t.Errorf("result %d: %v", i, err)
		case i != 77:
			want = append(want, "result "+string(results[i].RunID)+" RESULTS_us")
		}
	}
	follow(t, b, "us").wants(append(want, "caught up")...)
	if errs := b.PublishResults(soon(t), nil); len(errs) != 0 {
		t.Errorf("no results: got %v, want nothing", errs)
	}
}

// A region whose room is full is told to come again later: its probes keep what they have. What was acknowledged stays.
func TestFullRoomTakesNothingNew(t *testing.T) {
	t.Parallel()
	b := connectTest(t, Options{Server: startTestServer(t, ServerOptions{}), ResultsBytes: 64 << 10})
	if err := b.EnsureStreams(soon(t), []string{"us", "eu"}); err != nil {
		t.Fatal(err)
	}
	var want []string
	var err error
	for _, r := range samples(t, sampleHTTP, 100) {
		if err = b.PublishResult(soon(t), r); err != nil {
			break
		}
		want = append(want, "result "+string(r.RunID)+" RESULTS_us")
	}
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("result beyond the room: got %v, want an error that may pass", err)
	}
	rooms, err := b.Rooms(soon(t), []string{"us", "eu"})
	if err != nil || len(rooms) != 2 {
		t.Fatalf("got rooms %+v and %v, want two", rooms, err)
	}
	us, eu := rooms[0], rooms[1]
	if us.Region != "us" || us.Full() < 0.9 || us.Full() > 1 || us.Results != uint64(len(want)) || us.Keep != 30*24*time.Hour || eu.Full() != 0 {
		t.Errorf("got %+v and %+v, want us full with %d results, and eu empty", us, eu, len(want))
	}
	follow(t, b, "us").wants(append(want, "caught up")...)
	if _, err := b.Rooms(soon(t), []string{"mars"}); err == nil {
		t.Error("room of a region that is not there: got no error")
	}
	a := assignment(t, "shop", "eu")
	mustPublish(t, b, sampleHTTP(runs.NewAssignment(a.Scenario, "eu", a.Network, a.Slot), rand.New(rand.NewPCG(1, 1)))) // regions do not share
}

// How long results are kept can be changed for a region, until streams are ensured again.
func TestResultsAreKeptForLess(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	if err := b.KeepResults(soon(t), "us", 6*time.Hour); err != nil {
		t.Fatal(err)
	}
	for _, want := range []time.Duration{6 * time.Hour, 30 * 24 * time.Hour} {
		rooms, err := b.Rooms(soon(t), []string{"us"})
		if err != nil || rooms[0].Keep != want || rooms[0].Wanted != 30*24*time.Hour {
			t.Errorf("got %+v (%v), want results kept for %s of 30 days", rooms, err, want)
		}
		if err := b.EnsureStreams(soon(t), []string{"us"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.KeepResults(soon(t), "mars", time.Hour); err == nil {
		t.Error("results of a region that is not there: got no error")
	}
}

// Lent results are whole while the handler has them, whatever was in their memory before.
func TestLentResultsAreWhole(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	results := append(samples(t, sampleBrowser, 100), samples(t, sampleHTTP, 200)[:100]...)
	for i, err := range b.PublishResults(soon(t), results) {
		if err != nil {
			t.Fatal(i, err)
		}
	}
	want := map[runs.ID]string{}
	for i := range results {
		body, err := json.Marshal(&results[i])
		if err != nil {
			t.Fatal(err)
		}
		want[results[i].RunID] = string(body)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := b.Follow(ctx, []string{"us"}, nil, Handler{
		Lent: true,
		Result: func(r runs.Result, _ Meta) {
			if body, err := json.Marshal(&r); err != nil || string(body) != want[r.RunID] {
				t.Errorf("got %s and %v, want %s", body, err, want[r.RunID])
			}
			delete(want, r.RunID)
		},
		Verdict:  func(runs.Verdict, Meta) {},
		CaughtUp: cancel,
	})
	if err != nil || len(want) > 0 {
		t.Errorf("got %v, and nothing of %d results", err, len(want))
	}
}

// What the hub cannot do now is no fault of the message: a result that was set aside for it would be missing in the books.
func TestFaultsOfTheMomentAreNotFinal(t *testing.T) {
	t.Parallel()
	for code, want := range map[jetstream.ErrorCode]struct {
		status      int
		unavailable bool
	}{
		10158: {409, true},  // a repeat of a result that is still being stored
		10167: {429, true},  // more than the stream can take at once
		10002: {400, true},  // the account is full
		10077: {503, true},  // the stream is full
		10059: {404, true},  // there is no such stream yet
		10054: {400, false}, // larger than the stream takes
	} {
		err := fault("publish", &jetstream.APIError{Code: want.status, ErrorCode: code})
		if got := errors.Is(err, ErrUnavailable); got != want.unavailable {
			t.Errorf("error %d: got unavailable=%v, want %v", code, got, want.unavailable)
		}
	}
}
