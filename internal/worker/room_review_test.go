package worker

import (
	"log/slog"
	"testing"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/spool"
)

// handedBack checks that a stopped probe has left nothing of a run on its disk or at the hub, and that its job is another's at once.
func handedBack(t *testing.T, h *hall, dir, pool string, a runs.Assignment) {
	t.Helper()
	job, err := h.hub.Take(t.Context(), "us", pool, 9*time.Second) // less than the bus takes to find out by itself
	if err != nil || job.Assignment.RunID != a.RunID {
		t.Errorf("got %+v, %v, want job %s for another probe", job, err, a.RunID)
	}
	kept, err := spool.Open(slog.New(slog.DiscardHandler), dir, spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = kept.Close() }()
	if len(kept.Unfinished()) != 0 || kept.Pending() != 0 || len(h.came()) != 0 {
		t.Errorf("got %d claims, %d results on disk and %d at the hub, want none: it never began", len(kept.Unfinished()), kept.Pending(), len(h.came()))
	}
}

// Who is told to stop while a run waits for its slot does not wait with it: another probe does.
func TestShutDownWhileARunWaitsForItsSlot(t *testing.T) {
	h, s, dir := newHall(t), newStage(), t.TempDir()
	ready := make(chan struct{}, 1)
	s.prepare = func(*runs.Assignment) { ready <- struct{}{} }
	_, _, stop := begin(t, h, s, dir, Options{BrowserSlots: 1, Grace: 50 * time.Millisecond})
	a := h.order(t, "shop", page(20*time.Second))
	<-ready
	stop()
	if now := time.Now(); !now.Before(a.Slot) || s.runs() != 0 {
		t.Errorf("got the end at %s and %d runs begun, want it before the slot at %s, and none", now, s.runs(), a.Slot)
	}
	handedBack(t, h, dir, scenario.PoolBrowser, a)
}
