package worker

import (
	"slices"
	"strings"
	"testing"
	"time"

	"lastmile/internal/admission"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// full is a room of two cores in which another probe's browser is at work.
func full(t *testing.T) *admission.Room {
	t.Helper()
	room := admission.New(admission.ThisMachine(), 2)
	if _, err := room.Acquire(t.Context(), admission.Need{Key: "another probe's", Browser: true}, time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return room
}

// page makes an assignment one of a browser that is due after a while.
func page(lead time.Duration) func(*runs.Assignment) {
	return func(a *runs.Assignment) {
		a.Scenario.Steps[0].Type = scenario.StepNavigate
		a.Slot = time.Now().Add(lead).Truncate(time.Second).Add(time.Second).UTC()
		a.RunID = runs.NewID(a.Combination(), a.Slot)
		a.StartBy, a.Deadline = a.Slot.Add(30*time.Second), a.Slot.Add(40*time.Second)
	}
}

// A run that comes early is ready before its slot and begins at it, not before. While it waits, the cores are another's.
func TestARunThatComesEarlyBeginsAtItsSlot(t *testing.T) {
	h, s := newHall(t), newStage()
	ready := make(chan time.Time, 2)
	s.prepare = func(*runs.Assignment) { ready <- time.Now() }
	room := admission.New(admission.ThisMachine(), 2)
	begin(t, h, s, t.TempDir(), Options{BrowserSlots: 2, Room: room})
	early := h.order(t, "shop", page(3*time.Second)) // a launch in the last 2 s before its slot would have to wait
	if at := <-ready; !at.Before(early.Slot) {
		t.Errorf("got the run ready %s after its slot, want it before", at.Sub(early.Slot))
	}
	wait(t, "rest", func() bool { return room.State().Busy == 0 })
	due := h.order(t, "now", page(-2*time.Second))
	wait(t, "results", func() bool { return len(h.came()) == 2 })
	results := h.came()
	slices.SortFunc(results, func(a, b runs.Result) int { return strings.Compare(a.Scenario, b.Scenario) })
	for i, want := range []runs.Assignment{due, early} {
		got := results[i]
		if got.RunID != want.RunID || got.State != runs.StatePassed || got.StartedAt.Before(want.Slot) {
			t.Errorf("got %s %s begun at %s, want %s passed, not begun before its slot at %s", got.RunID, got.State, got.StartedAt, want.RunID, want.Slot)
		}
		late := runs.Milliseconds(got.StartedAt.Sub(want.Slot))
		if l := got.Load; l == nil || l.Cores != 2 || l.Weight != 1 || l.LateMS < late-1 || l.LateMS > late+1 {
			t.Errorf("%s: got load %+v, want 2 cores, a weight of 1, and %v ms late", got.RunID, l, late)
		}
	}
	if !results[0].StartedAt.Before(results[1].StartedAt) {
		t.Errorf("got the early run begun at %s and the one that was due at %s, want the latter first: the former only waited", results[1].StartedAt, results[0].StartedAt)
	}
}

// A run that is ready only when its window has closed must not begin.
func TestARunThatIsReadyTooLate(t *testing.T) {
	h, s := newHall(t), newStage()
	s.prepare = func(a *runs.Assignment) { time.Sleep(time.Until(a.StartBy) + 5*time.Millisecond) }
	begin(t, h, s, t.TempDir(), Options{BrowserSlots: 1})
	h.order(t, "shop", func(a *runs.Assignment) {
		page(-time.Second)(a)
		a.StartBy = time.Now().Add(300 * time.Millisecond)
	})
	wait(t, "result", func() bool { return len(h.came()) == 1 })
	if got := h.came()[0]; got.State != runs.StateInvalid || got.Cause.Class != runs.ClassOverloaded || s.runs() != 0 {
		t.Errorf("got %s %+v, want invalid: overloaded, and not a late run", got.State, got.Cause)
	}
}

// More is due than the machine can take: runs begin one after the other, each says how late, and nobody is forgotten.
func TestMoreThanTheMachineCanTake(t *testing.T) {
	h, s := newHall(t), newStage()
	s.hold = make(chan struct{})
	room := admission.New(admission.ThisMachine(), 2)
	begin(t, h, s, t.TempDir(), Options{BrowserSlots: 4, Room: room})
	h.order(t, "a", page(-3*time.Second))
	<-s.begun
	h.order(t, "b", func(a *runs.Assignment) {
		page(-3 * time.Second)(a)
		a.StartBy = time.Now().Add(time.Second)
	})
	wait(t, "the next run to wait", func() bool { return room.State().Waiting == 1 })
	h.order(t, "c", page(-3*time.Second))
	h.order(t, "d", page(-3*time.Second))
	wait(t, "the run that finds no room", func() bool { return len(h.came()) == 1 })
	if state := room.State(); state.Busy != 1 || s.runs() != 1 {
		t.Errorf("got %v cores busy and %d runs begun, want one run that takes 1", state.Busy, s.runs())
	}
	close(s.hold)
	wait(t, "results", func() bool { return len(h.came()) == 4 })
	for _, r := range h.came() {
		if r.Scenario == "b" {
			if r.State != runs.StateInvalid || r.Cause.Class != runs.ClassOverloaded || !strings.Contains(r.Cause.Detail, "got 1.00 of 1.00 cores") {
				t.Errorf("b: got %s %+v, want invalid: overloaded, with what was taken", r.State, r.Cause)
			}
			continue
		}
		if l := r.Load; r.State != runs.StatePassed || l == nil || l.LateMS <= 0 || l.WaitedMS > l.LateMS {
			t.Errorf("%s: got %s, load %+v, want passed, and how late", r.Scenario, r.State, l)
		}
	}
	if n := room.State().Refused; n != 1 {
		t.Errorf("got %d refused, want one", n)
	}
}
