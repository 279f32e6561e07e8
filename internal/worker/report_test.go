package worker

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"lastmile/internal/bus"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/spool"
)

// While nobody answers, what a heartbeat tells does not grow without end: one that is too large for the server would never be answered again.
func TestHeartbeatsStaySmall(t *testing.T) {
	w := New(slog.New(slog.DiscardHandler), away{}, nil, newStage(), Options{Region: "us", Probe: "one"})
	a := assignment(t, "shop")
	id := func(n int) runs.ID { return runs.NewID(a.Combination(), time.Unix(int64(n)*60, 0)) }
	w.begin(id(1))
	for n := 2; n <= 3*maxTold; n++ {
		w.begin(id(n))
		w.end(id(n))
	}
	told, ended := w.news()
	has := map[runs.ID]bool{}
	for _, one := range told {
		has[one] = true
	}
	if len(told) > maxTold+1 || !has[id(1)] || !has[id(3*maxTold)] || has[id(2)] {
		t.Errorf("got %d runs told, want %d at most: what is under way, and the newest", len(told), maxTold)
	}
	if slices.Contains(ended, id(1)) || len(ended) != len(told)-1 {
		t.Errorf("got %d of %d runs told as ended, want all but the one under way", len(ended), len(told))
	}
}

// lame is a hub that takes no results for now, and a disk that takes none at all.
type lame struct {
	Hub
	Spool
}

func (lame) PublishResults(_ context.Context, results []runs.Result) []error {
	return slices.Repeat([]error{bus.ErrUnavailable}, len(results))
}
func (lame) Put(runs.Result) error { return errors.New("input/output error") }

// A result that neither the disk nor the hub takes is lost. Its job is not ended when it comes again, as if it had been done: another probe may
// do it.
func TestALostResultLeavesItsJobToOthers(t *testing.T) {
	h, s := newHall(t), newStage()
	log := slog.New(slog.DiscardHandler)
	kept, err := spool.Open(log, t.TempDir(), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = kept.Close() }()
	w := New(log, lame{Hub: h.hub}, lame{Spool: kept}, s, Options{Region: "us", Probe: "probe-1"})
	a := h.order(t, "shop", nil)
	job, err := h.hub.Take(t.Context(), "us", scenario.PoolHTTP, 30*time.Second)
	if err != nil || job.Assignment.RunID != a.RunID {
		t.Fatalf("got %+v, %v, want the job", job, err)
	}
	w.handle(t.Context(), job)
	w.handle(t.Context(), job) // it has come again
	if s.runs() != 1 {
		t.Errorf("got %d runs, want one: the claim of it is still there", s.runs())
	}
	if err := job.Ack(t.Context()); err != nil {
		t.Errorf("got %v, want a job that has not been ended", err)
	}
}

// A hub that began to store results after it had acknowledged some has lost those: they are sent again, once, and what came later is not.
func TestResultsThatTheHubHasLost(t *testing.T) {
	h, s := newHall(t), newStage()
	_, kept, _ := begin(t, h, s, t.TempDir(), Options{Heartbeat: 20 * time.Millisecond})
	h.order(t, "one", nil)
	h.order(t, "two", nil)
	sent := func(n int) func() bool {
		return func() bool { return kept.Stats().Sent == n && kept.Pending() == 0 }
	}
	wait(t, "results at the hub", sent(2))
	time.Sleep(20 * time.Millisecond)
	lost := time.Now()
	h.order(t, "three", nil)
	wait(t, "another", sent(3))
	beats := func() int {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.beats)
	}
	h.add(func() { h.reply.ResendBefore = lost })
	wait(t, "what was lost to be sent again", func() bool { return kept.Stats().Resent == 2 && sent(3)() })
	before := beats()
	wait(t, "heartbeats", func() bool { return beats() > before+2 })
	if n := kept.Stats().Resent; n != 2 {
		t.Errorf("got %d sent again, want the two that were acknowledged before", n)
	}
}
