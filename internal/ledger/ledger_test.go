package ledger

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"lastmile/internal/cachestate"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

var (
	start = time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	shop  = scenario.Combination{Scenario: "shop", Region: "us", Network: "none"}
)

func slotAt(n int) time.Time { return start.Add(time.Duration(n) * 10 * time.Second) }

func result(n int, state runs.State) *runs.Result {
	r := &runs.Result{
		Schema: runs.Schema, RunID: runs.NewID(shop, slotAt(n)), Scenario: shop.Scenario, Region: shop.Region, Network: shop.Network,
		Slot: slotAt(n), Trigger: runs.TriggerSchedule, State: state, DurationMS: float64(100 * (n + 1)),
	}
	if state == runs.StateFailed {
		r.Cause = &runs.Cause{Class: runs.ClassHTTP5xx, Detail: "got 503"}
	}
	return r
}

func defined(t testing.TB) *Ledger {
	t.Helper()
	schedule, err := scenario.ParseSchedule("@every 10s")
	if err != nil {
		t.Fatal(err)
	}
	l := New()
	l.Define([]scenario.Scenario{{
		Name: "shop", Schedule: schedule, Regions: []string{"us"}, Networks: []string{"none"},
		Routing: &scenario.Routing{Header: "X-Region", Expect: map[string]string{"us": "us-1"}},
		SLOs:    []scenario.SLO{{Name: "availability", Objective: 0.99, Window: slo.Window(24 * time.Hour)}},
	}})
	return l
}

func plan(l *Ledger, n int) {
	for i := range n {
		l.Plan(shop, slotAt(i), slotAt(i).Add(15*time.Second))
	}
}

// lost is a witness that always says the same.
type lost struct{}

func (lost) Reason(runs.ID, string, time.Time, time.Time) runs.Reason { return runs.ReasonLost }

func row(t *testing.T, l *Ledger) runs.Account {
	t.Helper()
	rows := l.Accounts(start.Add(10 * time.Minute))
	if len(rows) != 1 {
		t.Fatalf("got %d rows, want 1", len(rows))
	}
	checkSum(t, rows[0])
	return rows[0]
}

// checkSum asserts the promise: planned = the sum of all states, and the history says the same.
func checkSum(t *testing.T, r runs.Account) {
	t.Helper()
	if planned := r.Entered[runs.StatePending]; r.Counts.Planned() != planned {
		t.Errorf("got a sum of %d over all states, want the %d planned: %v", r.Counts.Planned(), planned, r.Counts)
	}
	for state, n := range r.Counts {
		if n < 0 {
			t.Errorf("state %s: got %d, want no negative count", state, n)
		}
	}
	if r.Budget != nil && r.Budget.Counts.Planned() != r.Counts.Planned() {
		t.Errorf("history: got %d planned, want %d", r.Budget.Counts.Planned(), r.Counts.Planned())
	}
}

func TestDefinedCombinationHasARowBeforeItsFirstRun(t *testing.T) {
	r := row(t, defined(t))
	if r.Counts.Planned() != 0 || r.Budget == nil || r.Budget.Remaining != 1 || r.Budget.Planned != 8640 {
		t.Errorf("got %+v budget %+v, want nothing planned and a full budget over 8640 slots", r.Counts, r.Budget)
	}
}

func TestResultsAndBudget(t *testing.T) {
	l := defined(t)
	plan(l, 4)
	for n, state := range []runs.State{runs.StatePassed, runs.StateDegraded, runs.StateFailed} {
		if got := l.Result(result(n, state), false); got != Entered {
			t.Errorf("result %d: got outcome %d, want entered", n, got)
		}
	}
	r := row(t, l)
	want := runs.StateCounts{runs.StatePassed: 1, runs.StateDegraded: 1, runs.StateFailed: 1, runs.StatePending: 1}
	for state, n := range want {
		if r.Counts[state] != n {
			t.Errorf("state %s: got %d, want %d", state, r.Counts[state], n)
		}
	}
	if got, want := float64(r.Budget.Remaining), 1-1/(0.01*8640); got < want-1e-9 || got > want+1e-9 {
		t.Errorf("budget: got %v, want %v", got, want)
	}
	if p95 := r.Latency[time.Hour].P95; p95.N != 2 || p95.Value != 200*time.Millisecond || p95.HasUpper {
		t.Errorf("p95: got %+v, want 200ms of the two successful runs without an upper bound", p95)
	}
	if r.Classes[runs.ClassHTTP5xx] != 1 || r.Last.Detail != "got 503" {
		t.Errorf("classes: got %v last %+v, want one http_5xx", r.Classes, r.Last)
	}
}

func TestRepeatsAndStrangersStandOutside(t *testing.T) {
	l := defined(t)
	plan(l, 1)
	l.Result(result(0, runs.StatePassed), false)
	if got := l.Result(result(0, runs.StateFailed), false); got != Duplicate {
		t.Errorf("second result: got %d, want duplicate", got)
	}
	if got := l.Result(result(7, runs.StateFailed), false); got != Unscheduled {
		t.Errorf("result without a slot: got %d, want unscheduled", got)
	}
	manual := result(0, runs.StateFailed)
	manual.Trigger = runs.TriggerManual
	if got := l.Result(manual, false); got != Unscheduled {
		t.Errorf("manual run: got %d, want unscheduled", got)
	}
	r := row(t, l)
	if r.Counts[runs.StateFailed] != 0 || r.Duplicates != 1 || r.Unscheduled != 1 {
		t.Errorf("got %+v, want no failure, one duplicate, one unscheduled", r)
	}
}

func TestVerdictThenLateResult(t *testing.T) {
	l := defined(t)
	plan(l, 2)
	l.Result(result(0, runs.StatePassed), false)
	if got := l.Closable(start.Add(time.Minute), 30*time.Second, lost{}); len(got) != 0 {
		t.Errorf("before the grace is over: got %v, want no verdict", got)
	}
	verdicts := l.Closable(start.Add(91*time.Second), 30*time.Second, lost{})
	if len(verdicts) != 1 || len(verdicts[0].Slots) != 1 || verdicts[0].Slots[0].Reason != runs.ReasonLost || !verdicts[0].Minute.Equal(start) {
		t.Fatalf("got %+v, want one verdict for the first minute with one lost slot", verdicts)
	}
	if r := row(t, l); r.Counts[runs.StatePending] != 1 {
		t.Errorf("a verdict counts only when it comes back from the stream: got %v", r.Counts)
	}
	l.Verdict(&verdicts[0])
	if r := row(t, l); r.Counts[runs.StateMissing] != 1 || r.Reasons[runs.ReasonLost] != 1 || l.Pending() != 0 {
		t.Errorf("got %v %v, want one missing: lost", r.Counts, r.Reasons)
	}
	if got := l.ClosedUntil("us"); !got.Equal(start.Add(time.Minute)) {
		t.Errorf("closed until: got %s, want the end of the first minute", got)
	}
	if got := l.Closable(start.Add(91*time.Second), 30*time.Second, lost{}); len(got) != 0 {
		t.Errorf("closed minute: got %v, want no second verdict", got)
	}
	l.Result(result(1, runs.StatePassed), false)
	r := row(t, l)
	if r.Counts[runs.StateMissing] != 0 || r.Counts[runs.StatePassed] != 2 || r.Amended != 1 || r.Reasons[runs.ReasonLost] != 0 || r.EverReasons[runs.ReasonLost] != 1 {
		t.Errorf("late result: got %+v, want it measured and amended", r)
	}
}

func TestServedRegionsAndCache(t *testing.T) {
	l := defined(t)
	plan(l, 1)
	r := result(0, runs.StatePassed)
	for i := range 20 {
		q := runs.Request{Status: 200, ServedRegion: fmt.Sprintf("us-%d", i), Cache: cachestate.Result{State: cachestate.Miss}}
		if i < 5 {
			q.Cache.State = cachestate.Hit
		}
		r.Requests = append(r.Requests, q)
	}
	r.Summarise()
	l.Result(r, false)
	got := row(t, l)
	if len(got.Served) != maxServed+1 {
		t.Errorf("served regions: got %d, want %d and other", len(got.Served), maxServed)
	}
	for _, s := range got.Served {
		if s.Expected != (s.Region == "us-1") {
			t.Errorf("region %s: got expected %v, want only us-1 expected", s.Region, s.Expected)
		}
	}
	if ratio, ok := got.CacheRatio(); !ok || ratio != 0.25 {
		t.Errorf("cache ratio: got %v, want 0.25", ratio)
	}
}

// TestAnyOrderGivesTheSameBooks is the promise behind replay: whatever the order of plans, results and verdicts, and however often
// each comes, the slots end in the same states.
func TestAnyOrderGivesTheSameBooks(t *testing.T) {
	const slots = 12
	states := []runs.State{runs.StatePassed, runs.StateFailed, runs.StateInvalid}
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var events []func(*Ledger)
		for n := range slots {
			events = append(events, func(l *Ledger) { l.Plan(shop, slotAt(n), slotAt(n).Add(15*time.Second)) })
			switch rng.IntN(4) {
			case 0, 1:
				r := result(n, states[rng.IntN(len(states))])
				again := func(l *Ledger) { l.Result(r, true) }
				events = append(events, again, again)
				fallthrough
			case 2:
				v := runs.Verdict{Schema: runs.Schema, Region: "us", Minute: slotAt(n).Truncate(time.Minute), Slots: []runs.SlotVerdict{
					{RunID: runs.NewID(shop, slotAt(n)), State: runs.StateMissing, Reason: runs.ReasonLost},
				}}
				events = append(events, func(l *Ledger) { l.Verdict(&v) })
			}
		}
		var want runs.StateCounts
		for round := range 4 {
			l := defined(t)
			for _, event := range events {
				event(l)
			}
			got := row(t, l).Counts
			for state, n := range got {
				if n == 0 {
					delete(got, state)
				}
			}
			if round == 0 {
				want = got
			} else if !reflect.DeepEqual(got, want) {
				t.Fatalf("seed %d: got %v in another order, want %v", seed, got, want)
			}
			rng.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		}
	}
}

func TestForgettingKeepsTheCounts(t *testing.T) {
	l := defined(t)
	plan(l, 3)
	for n := range 3 {
		l.Result(result(n, runs.StatePassed), false)
	}
	l.Closable(start.Add(100*time.Hour), time.Second, lost{})
	if got := l.Result(result(0, runs.StateFailed), true); got != Unscheduled {
		t.Errorf("report about a forgotten slot: got %d, want it to change nothing", got)
	}
	rows := l.Accounts(start.Add(100 * time.Hour))
	if rows[0].Counts[runs.StatePassed] != 3 {
		t.Errorf("got %v, want the three passed slots still counted", rows[0].Counts)
	}
}

func BenchmarkResult(b *testing.B) {
	l := New()
	b.ReportAllocs()
	for i := range b.N {
		n := i % 1_000_000
		if n == 0 {
			l = New()
		}
		l.Plan(shop, slotAt(n), slotAt(n).Add(15*time.Second))
		l.Result(result(n, runs.StatePassed), false)
	}
}

// A slot that is entered after its minute was closed (a definition that changed, another coordinator's verdict) must still get an
// end: it goes into a later verdict.
func TestNoSlotIsPendingForEver(t *testing.T) {
	l := defined(t)
	l.Verdict(&runs.Verdict{Schema: runs.Schema, Region: "us", Minute: start})
	plan(l, 1) // deadline in the minute that is closed
	now := start.Add(10 * time.Minute)
	verdicts := l.Closable(now, 30*time.Second, lost{})
	if len(verdicts) != 1 || len(verdicts[0].Slots) != 1 || !verdicts[0].Minute.After(start) || verdicts[0].Minute.After(now.Add(-90*time.Second)) {
		t.Fatalf("got %+v, want the slot in the verdict of a later minute that is over", verdicts)
	}
	l.Verdict(&verdicts[0])
	if l.Pending() != 0 || row(t, l).Counts[runs.StateMissing] != 1 {
		t.Errorf("got %d pending, want the slot missing", l.Pending())
	}
	l.Verdict(&runs.Verdict{Schema: runs.Schema, Region: "us", Minute: now.Add(1000 * time.Hour)}) // a clock that was ahead
	l.Plan(shop, slotAt(30), slotAt(30).Add(15*time.Second))
	if verdicts = l.Closable(now, 30*time.Second, lost{}); len(verdicts) != 1 || len(verdicts[0].Slots) != 1 {
		t.Errorf("after a verdict of the future: got %+v, want the slot closed all the same", verdicts)
	}
}

// What was planned before this ledger was made is entered also where its result comes after the replay: the run was ordered, and a
// ledger made anew from the streams would have it.
func TestResultOfAnEarlierLifesPlan(t *testing.T) {
	l := defined(t)
	l.Plan(shop, slotAt(5), slotAt(5).Add(15*time.Second)) // the first one of this life
	if got := l.Result(result(3, runs.StatePassed), false); got != Entered {
		t.Errorf("result of a slot before the first plan: got outcome %d, want entered", got)
	}
	if got := l.Result(result(3, runs.StatePassed), false); got != Duplicate {
		t.Errorf("the same again: got outcome %d, want duplicate", got)
	}
	if got := l.Result(result(6, runs.StatePassed), false); got != Unscheduled {
		t.Errorf("result of a slot that was not planned in this life: got outcome %d, want unscheduled", got)
	}
	if r := row(t, l); r.Counts[runs.StatePassed] != 1 || r.Counts[runs.StatePending] != 1 {
		t.Errorf("got %v, want one passed and one pending", r.Counts)
	}
}

func TestFirstKnownSlot(t *testing.T) {
	l := defined(t)
	if at, ok := l.First(shop); ok {
		t.Errorf("empty books: got first slot %s, want none", at)
	}
	l.Result(result(4, runs.StatePassed), true)
	l.Result(result(2, runs.StatePassed), true)
	if at, ok := l.First(shop); !ok || !at.Equal(slotAt(2)) {
		t.Errorf("got first slot %s, want %s", at, slotAt(2))
	}
}

// A late result of an old run must not pass for the newest problem.
func TestLastProblemIsOfTheNewestRun(t *testing.T) {
	l := defined(t)
	plan(l, 3)
	newest, late := result(2, runs.StateFailed), result(0, runs.StateFailed)
	late.Cause = &runs.Cause{Class: runs.ClassDNS, Detail: "long ago"}
	l.Result(newest, false)
	l.Result(late, false)
	if got := row(t, l).Last; got.Detail != "got 503" {
		t.Errorf("got last problem %+v, want that of the newest run", got)
	}
}
