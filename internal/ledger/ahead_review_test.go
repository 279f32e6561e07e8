package ledger

import (
	"testing"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// A coordinator that comes back hears of runs that its predecessor ordered, some before they are due, while it still enters older slots.
// Such a result belongs to the books, and its slot counts once; one of no slot of the schedule still does not.
func TestAResultThatOvertakesItsPlanIsNotLost(t *testing.T) {
	l := defined(t)
	schedule, err := scenario.ParseSchedule("@every 10s")
	if err != nil {
		t.Fatal(err)
	}
	older := schedule.Next(shop, start)
	slot := schedule.Next(shop, older)
	l.Plan(shop, older, older.Add(15*time.Second))
	report := func(at time.Time) Outcome {
		r := result(0, runs.StatePassed)
		r.RunID, r.Slot = runs.NewID(shop, at), at
		return l.Result(r, false)
	}
	if got := report(slot); got != Entered {
		t.Errorf("result of the next slot: got outcome %d, want it entered", got)
	}
	l.Plan(shop, slot, slot.Add(15*time.Second))
	if got := report(slot.Add(11 * time.Second)); got != Unscheduled {
		t.Errorf("result beside the schedule: got outcome %d, want it outside the books", got)
	}
	if got := report(older.Add(time.Second)); got != Unscheduled {
		t.Errorf("result between two slots: got outcome %d, want it outside the books", got)
	}
	if r := row(t, l); r.Entered[runs.StatePending] != 2 || r.Counts[runs.StatePassed] != 1 || r.Unscheduled != 2 || l.Pending() != 1 {
		t.Errorf("got %v, %d outside the books, want one of two planned slots passed, and two results outside", r.Counts, r.Unscheduled)
	}
}
