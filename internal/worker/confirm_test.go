package worker

import (
	"errors"
	"testing"
	"time"

	"lastmile/internal/bus"
	"lastmile/internal/runs"
)

// confirm orders a run that is to confirm what a probe found.
func (h *hall) confirm(t *testing.T, n int, avoid string) runs.Assignment {
	t.Helper()
	a := assignment(t, "shop")
	a = runs.NewConfirmation(a.Scenario, a.Region, a.Network, time.Now().UTC().Truncate(time.Second).Add(-time.Duration(60*n)*time.Second), avoid)
	a.StartBy = time.Now().Add(time.Minute) // whatever else the machine is busy with
	a.Deadline = a.StartBy.Add(10 * time.Second)
	if created, err := h.hub.Dispatch(t.Context(), a); err != nil || !created {
		t.Fatalf("got created=%t, %v, want a new order", created, err)
	}
	return a
}

// A confirmation goes to the sibling of the probe that failed, whichever of the two asked first. What was handed on is nowhere counted, and the sibling
// does what a coordinator avoids nobody for as well.
func TestAConfirmationGoesToTheSibling(t *testing.T) {
	h, one, two := newHall(t), newStage(), newStage()
	failed, _, _ := begin(t, h, one, t.TempDir(), Options{Probe: "one", HTTPSlots: 3})
	sibling, _, _ := begin(t, h, two, t.TempDir(), Options{Probe: "two", HTTPSlots: 3})
	const n = 6
	for i := range n {
		h.confirm(t, i, "one")
		wait(t, "the confirmation's result", func() bool { return len(h.came()) == i+1 })
	}
	if one.runs() != 0 || two.runs() != n {
		t.Errorf("got %d runs by the probe that failed and %d by its sibling, want 0 and %d", one.runs(), two.runs(), n)
	}
	for _, r := range h.came() {
		if r.Trigger != runs.TriggerConfirm {
			t.Errorf("got trigger %s, want confirm", r.Trigger)
		}
	}
	if a, b := failed.Stats(), sibling.Stats(); a.Taken != 0 || a.Repeated != 0 || a.Expired != 0 || b.Taken != n {
		t.Errorf("got %+v and %+v, want nothing counted of what was handed on", a, b)
	}
}

// A probe without a sibling confirms what it found itself, when the job is handed out for the last time.
func TestAConfirmationWithoutASibling(t *testing.T) {
	h, s := newHall(t), newStage()
	began := time.Now()
	w, _, _ := begin(t, h, s, t.TempDir(), Options{Probe: "one", HTTPSlots: 2})
	a := h.confirm(t, 0, "one")
	wait(t, "the confirmation's result", func() bool { return len(h.came()) == 1 })
	if took := time.Since(began); took < 2*handOnDelay {
		t.Errorf("got it after %s, want it handed on twice, %s each", took, handOnDelay)
	}
	if got := h.came()[0]; got.RunID != a.RunID || w.Stats().Taken != 1 {
		t.Errorf("got %s and %+v, want %s taken once", got.RunID, w.Stats(), a.RunID)
	}
	if job, err := h.hub.Take(t.Context(), "us", a.Scenario.Pool(), 100*time.Millisecond); err == nil {
		t.Errorf("got %s once more, delivery %d", job.Assignment.RunID, job.Delivery)
	} else if !errors.Is(err, bus.ErrNoJob) {
		t.Error(err)
	}
}
