package ledger

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"lastmile/internal/ledger/causes"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// says is a witness that gives one reason for all slots.
type says runs.Reason

func (s says) Reason(runs.ID, string, time.Time, time.Time) runs.Reason { return runs.Reason(s) }

// A region is cut off: its slots are closed as missing. Hours later its probes report what they measured on their own, at the original
// times: the slots are measured, and the budget is what it would have been. The same again, and what comes after the retention, changes
// nothing.
func TestResultsOfARegionThatWasCutOff(t *testing.T) {
	const slots = 60
	report := func(l *Ledger, n int) Outcome {
		r := result(n, runs.StatePassed)
		if n%10 == 0 {
			r = result(n, runs.StateFailed)
		}
		r.Autonomous = true
		return l.Result(r, false)
	}
	l, never := defined(t), defined(t)
	plan(l, slots)
	plan(never, slots)
	for n := range slots {
		report(never, n)
	}
	now := slotAt(slots).Add(5 * time.Minute)
	for _, v := range l.Closable(now, time.Second, says(runs.ReasonCutOff)) {
		l.Verdict(&v)
	}
	if a := l.Accounts(now)[0]; a.Counts[runs.StateMissing] != slots || a.Budget.Counts.Missing != slots {
		t.Fatalf("got %v, want all slots missing", a.Counts)
	}
	now = now.Add(9 * time.Hour)
	l.Closable(now, time.Second, lost{})
	for n := slots - 1; n >= 0; n-- { // the newest first
		for i, want := range []Outcome{Entered, Duplicate} {
			if got := report(l, n); got != want {
				t.Fatalf("slot %d, report %d: got outcome %d, want %d", n, i, got, want)
			}
		}
	}
	got, want := l.Accounts(now)[0], never.Accounts(now)[0]
	checkSum(t, got)
	if got.Amended != slots || got.Duplicates != slots || got.Counts[runs.StateMissing] != 0 || got.Reasons[runs.ReasonCutOff] != 0 || got.EverReasons[runs.ReasonCutOff] != slots {
		t.Errorf("got %+v, want every slot amended and counted once", got)
	}
	if *got.Budget != *want.Budget || got.Latency[24*time.Hour] != want.Latency[24*time.Hour] || *got.Last != *want.Last {
		t.Errorf("got budget %+v, latency %+v, want those of a region that was never cut off: %+v, %+v", got.Budget, got.Latency, want.Budget, want.Latency)
	}
	for _, s := range l.Slots(shop, time.Time{}) {
		if !s.Amended || s.Reason != "" || (s.Cause != nil) != (s.State == runs.StateFailed) {
			t.Errorf("got %+v, want it amended, with a cause where it failed", s)
		}
	}
	if last := l.Closable(now, time.Second, lost{}); len(last) != 0 {
		t.Errorf("got verdicts %+v, want none: all is closed", last)
	}
	l.Closable(now.Add(Retention), time.Second, lost{})
	if got := report(l, 0); got != Unscheduled {
		t.Errorf("after the retention: got outcome %d, want the report to change nothing", got)
	}
}

func TestSlotsThatWereSkippedOnPurpose(t *testing.T) {
	for reason, state := range map[runs.Reason]runs.State{
		runs.ReasonOverlap: runs.StateSkipped, runs.ReasonMaintenance: runs.StateSkipped, runs.ReasonNoProbe: runs.StateMissing,
	} {
		l := defined(t)
		plan(l, 1)
		verdicts := l.Closable(start.Add(time.Hour), 0, says(reason))
		if len(verdicts) != 1 || len(verdicts[0].Slots) != 1 || verdicts[0].Slots[0].State != state {
			t.Fatalf("%s: got %+v, want a verdict on one slot that is %s", reason, verdicts, state)
		}
		l.Verdict(&verdicts[0])
		a := row(t, l)
		if a.Counts[state] != 1 || a.Reasons[reason] != 1 {
			t.Errorf("%s: got %v %v, want one %s", reason, a.Counts, a.Reasons, state)
		}
		if s := l.Slots(shop, time.Time{}); len(s) != 1 || s[0].State != state || s[0].Reason != reason || s[0].Cause != nil {
			t.Errorf("%s: got %+v, want its record", reason, s)
		}
	}
}

func TestSlotsFromATimeOnWithTheirCauses(t *testing.T) {
	l := defined(t)
	plan(l, 2000)
	for n := range 1000 {
		r := result(n, []runs.State{runs.StateFailed, runs.StateDegraded, runs.StateInvalid, runs.StatePassed}[n%4])
		if r.State != runs.StatePassed {
			r.Cause = &runs.Cause{Class: runs.ClassAssertion, Step: "pay", Detail: strings.Repeat("ä", n%150)}
		}
		l.Result(r, false)
	}
	if got := l.Slots(shop, slotAt(990)); len(got) != 10 || !got[0].Slot.Equal(slotAt(990)) || got[9].RunID != runs.NewID(shop, slotAt(999)) {
		t.Fatalf("got %d slots, the first of %+v, want the ten from then on that are due, the oldest first", len(got), got[0])
	}
	all := l.Slots(shop, time.Time{})
	texts, size := 0, 0
	for i, s := range all {
		switch {
		case s.State == runs.StatePassed && s.Cause != nil:
			t.Errorf("slot %d: got cause %+v of one that passed", i, s.Cause)
		case s.Cause == nil:
			if i > 900 && s.State != runs.StatePassed {
				t.Errorf("slot %d: got no cause, want those of the newest slots", i)
			}
		case len(s.Cause.Detail) > causes.MaxDetail || !utf8.ValidString(s.Cause.Detail) || !strings.HasPrefix(strings.Repeat("ä", i%150), s.Cause.Detail):
			t.Errorf("slot %d: got detail %q, want its own, cut to %d bytes between characters", i, s.Cause.Detail, causes.MaxDetail)
		default:
			texts, size = texts+1, size+len(s.Cause.Detail)
		}
	}
	if len(all) != 1000 || texts == 0 || texts > causes.Max || size > causes.MaxBytes {
		t.Errorf("got %d slots with %d causes of %d bytes, want all slots, and at most %d causes of %d", len(all), texts, size, causes.Max, causes.MaxBytes)
	}
	if got := l.Slots(scenario.Combination{Scenario: "nobody"}, time.Time{}); got != nil {
		t.Errorf("unknown combination: got %v, want none", got)
	}
}

// After a long absence what is to be closed is listed by and by, the oldest minutes first, and nothing is left over.
func TestManyMinutesToClose(t *testing.T) {
	l := defined(t)
	const n = maxClosing + 1000
	for i := range n {
		at := start.Add(time.Duration(i) * time.Second)
		l.Plan(shop, at, at.Add(time.Second))
	}
	now, turns, closed := start.Add((n+120)*time.Second), 0, 0
	var last time.Time
	for {
		verdicts := l.Closable(now, 0, lost{})
		if len(verdicts) == 0 {
			break
		}
		listed := 0
		for _, v := range verdicts {
			if !v.Minute.After(last) {
				t.Fatalf("turn %d: got minute %s after %s, want them ascending", turns, v.Minute, last)
			}
			last = v.Minute
			listed += len(v.Slots)
			l.Verdict(&v)
		}
		if listed > maxClosing+60 {
			t.Errorf("turn %d: got %d slots, want about %d at most", turns, listed, maxClosing)
		}
		closed += listed
		turns++
	}
	if a := l.Accounts(now)[0]; closed != n || turns != 2 || a.Counts[runs.StateMissing] != n || l.Pending() != 0 {
		t.Errorf("got %d slots closed in %d turns, %v and %d open, want all %d in 2, and none", closed, turns, a.Counts, l.Pending(), n)
	}
}

func TestEnded(t *testing.T) {
	l := defined(t)
	plan(l, 3)
	l.Result(result(0, runs.StateFailed), false)
	l.Accounts(slotAt(1)) // the third one is not due
	for n, want := range []bool{true, false, false, false} {
		if got := l.Ended(shop, slotAt(n)); got != want {
			t.Errorf("slot %d: got ended=%t, want %t", n, got, want)
		}
	}
	if l.Ended(scenario.Combination{Scenario: "nobody"}, slotAt(0)) {
		t.Error("unknown combination: got a slot that has ended, want none")
	}
}

// A coordinator steps down with slots that it planned, and leads again later. Another one has led meanwhile.
func TestALeaderThatRestsAndLeadsAgain(t *testing.T) {
	l := defined(t)
	plan(l, 6)
	l.Rest(slotAt(2)) // three of them are due, and nobody has looked since
	if a := l.Accounts(slotAt(9))[0]; a.Counts[runs.StatePending] != 3 || a.Entered[runs.StatePending] != 3 || l.Pending() != 3 {
		t.Fatalf("got %v, want the slots that were due, and no others", a.Counts)
	}
	for n := range 4 { // as a standby
		if got := l.Result(result(n, runs.StatePassed), true); got != Entered {
			t.Errorf("standby, slot %d: got outcome %d, want it entered", n, got)
		}
	}
	if got := l.Result(result(5, runs.StatePassed), false); got != Entered { // leading again, before it has planned
		t.Errorf("leader, slot 5: got outcome %d, want it entered", got)
	}
	plan(l, 7)
	for n := range 7 {
		want := Duplicate
		if n == 4 || n == 6 {
			want = Entered
		}
		if got := l.Result(result(n, runs.StatePassed), false); got != want {
			t.Errorf("leader, slot %d: got outcome %d, want %d", n, got, want)
		}
	}
	if a := row(t, l); a.Counts[runs.StatePassed] != 7 || a.Entered[runs.StatePending] != 7 || l.Pending() != 0 {
		t.Errorf("got %v, want seven slots, each once", a.Counts)
	}
	if first, ok := l.First(shop); !ok || !first.Equal(slotAt(0)) {
		t.Errorf("got first slot %s, want %s", first, slotAt(0))
	}
}

// A day with a run a second has more durations than are kept: the newest are.
func TestDurationsAreBounded(t *testing.T) {
	l := defined(t)
	for n := range maxSamples + maxSamples/5 {
		r := result(0, runs.StatePassed)
		r.Slot = start.Add(time.Duration(n) * time.Second)
		r.RunID = runs.NewID(shop, r.Slot)
		l.Result(r, true)
	}
	now := start.Add((maxSamples + maxSamples/5) * time.Second)
	if n := l.Accounts(now)[0].Latency[24*time.Hour].P50.N; n < maxSamples || n > maxSamples+maxSamples/10 {
		t.Errorf("got %d durations, want %d and a tenth more at most", n, maxSamples)
	}
	if n := l.Accounts(now)[0].Latency[time.Hour].P50.N; n != 3599 {
		t.Errorf("got %d durations of the last hour, want all", n)
	}
}
