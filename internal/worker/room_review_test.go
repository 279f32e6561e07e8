package worker

import (
	"testing"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// Who is told to stop while a run waits for its slot does not wait with it: the run never begins, is accounted for, and does not come
// again.
func TestShutDownWhileARunWaitsForItsSlot(t *testing.T) {
	h, s := newHall(t), newStage()
	ready := make(chan struct{}, 1)
	s.prepare = func(*runs.Assignment) { ready <- struct{}{} }
	_, kept, stop := begin(t, h, s, t.TempDir(), Options{BrowserSlots: 1, Grace: 50 * time.Millisecond})
	a := h.order(t, "shop", page(20*time.Second))
	<-ready
	stop()
	if now := time.Now(); !now.Before(a.Slot) || s.runs() != 0 || kept.Pending() != 0 {
		t.Errorf("got the end at %s, %d runs begun and %d results on disk, want it before the slot at %s, none and none", now, s.runs(), kept.Pending(), a.Slot)
	}
	wait(t, "result", func() bool { return len(h.came()) == 1 })
	if got := h.came()[0]; got.RunID != a.RunID || got.State != runs.StateInvalid || got.Cause.Class != runs.ClassProbe {
		t.Errorf("got %s %s %+v, want %s invalid: we were stopped", got.RunID, got.State, got.Cause, a.RunID)
	}
	if job, err := h.hub.Take(t.Context(), "us", scenario.PoolBrowser, 500*time.Millisecond); err == nil {
		t.Errorf("got job %s again, want it acknowledged", job.Assignment.RunID)
	}
}
