package ledger

import (
	"testing"
	"time"

	"lastmile/internal/runs"
)

// A run may be ordered before it is due. Its slot counts from its own time on, wherever the clock of the probe that ran it is.
func TestSlotsCountWhenTheyAreDue(t *testing.T) {
	l := defined(t)
	plan(l, 3)
	at := func(now time.Time, planned int64) runs.Account {
		t.Helper()
		row := l.Accounts(now)[0]
		checkSum(t, row)
		if got := row.Entered[runs.StatePending]; got != planned {
			t.Errorf("at %s: got %d slots planned, want %d", now, got, planned)
		}
		return row
	}
	at(slotAt(0).Add(-time.Second), 0)
	at(slotAt(1), 2)
	if n := l.Pending(); n != 3 {
		t.Errorf("got %d without an end, want all 3", n)
	}
	if got := l.Result(result(2, runs.StatePassed), false); got != Entered { // by a clock that is ahead
		t.Errorf("result before its slot is due: got outcome %d, want it entered", got)
	}
	if row := at(slotAt(1), 3); row.Counts[runs.StatePassed] != 1 {
		t.Errorf("got %v, want the result counted", row.Counts)
	}
	l.Plan(shop, slotAt(2), slotAt(2).Add(15*time.Second)) // again, by a coordinator that was restarted
	at(slotAt(9), 3)

	l.Plan(shop, slotAt(3), slotAt(3).Add(15*time.Second))
	for _, v := range l.Closable(slotAt(30), 0, lost{}) {
		l.Verdict(&v)
	}
	if row := at(slotAt(30), 4); row.Counts[runs.StateMissing] != 3 || l.Pending() != 0 {
		t.Errorf("got %v and %d without an end, want three missing and none open", row.Counts, l.Pending())
	}
}

// A run on a machine that was busy says whether the service was there, and not how fast it was.
func TestTaintedRunsHaveNoLatency(t *testing.T) {
	l := defined(t)
	plan(l, 4)
	for n, state := range []runs.State{runs.StatePassed, runs.StateDegraded, runs.StateFailed, runs.StateInvalid} {
		r := result(n, state)
		r.Tainted = []string{"machine busy"}
		l.Result(r, false)
	}
	plan(l, 5)
	l.Result(result(4, runs.StatePassed), false)
	r := row(t, l)
	if r.Tainted != 3 || r.Counts[runs.StatePassed] != 2 || r.Budget.Counts.Good != 3 || r.Budget.Counts.Bad != 1 {
		t.Errorf("got %d tainted, %v, want 3, and all of them counted for availability", r.Tainted, r.Counts)
	}
	if p95 := r.Latency[time.Hour].P95; p95.N != 1 || p95.Value != 500*time.Millisecond {
		t.Errorf("got %+v, want the one run that is not tainted", p95)
	}
}
