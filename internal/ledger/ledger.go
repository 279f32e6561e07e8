// Package ledger accounts for every slot: what was planned, what came of it, and why where nothing did. Its state is a fold over
// plans, results and verdicts in which a slot's state only rises, so that reports may come late, twice or in any order and
// the books are the same. For every scenario, region and network: planned = passed + degraded + failed + invalid + missing +
// skipped + pending.
package ledger

import (
	"slices"
	"sync"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// retention is how long single slots are kept; their counts stay. A report about a slot that has been forgotten changes nothing.
const retention = 72 * time.Hour

// Ledger is safe for concurrent use.
type Ledger struct {
	mu       sync.Mutex
	accounts map[scenario.Combination]*account
	verdicts map[string]time.Time // region -> the last minute that was closed
}

// New returns empty books.
func New() *Ledger {
	return &Ledger{accounts: map[scenario.Combination]*account{}, verdicts: map[string]time.Time{}}
}

// Define opens the books of every combination of the scenarios, so that all counters exist from the start, and says what the
// budget of each is. Combinations that are no longer defined keep their books.
func (l *Ledger) Define(scenarios []scenario.Scenario) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range scenarios {
		s := &scenarios[i]
		for _, c := range s.Combinations() {
			a := l.account(c)
			a.budget = newBudget(s, c)
			a.routing = s.Routing
			a.edge.define(s)
			a.schedule = s.Timetable()
			a.defined = true
		}
	}
}

// account returns the books of a combination, opening them first if need be.
func (l *Ledger) account(c scenario.Combination) *account {
	a, ok := l.accounts[c]
	if !ok {
		a = newAccount(c)
		l.accounts[c] = a
	}
	return a
}

// Plan enters a slot that is due, or will be soon: it counts from its own time on. Planning it again changes nothing.
func (l *Ledger) Plan(c scenario.Combination, slot, deadline time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(c)
	if a.planned.IsZero() || slot.Before(a.planned) {
		a.planned = slot
	}
	if slot.After(a.reached) {
		a.reached = slot
	}
	if s, ok := a.slots[slot.Unix()]; ok {
		s.deadline = deadline // a result that was read back first did not know it
		return
	}
	a.ahead[slot.Unix()] = deadline
}

// Outcome says what became of a report.
type Outcome int

// The outcomes of a report.
const (
	Entered     Outcome = iota // it decided its slot's state
	Duplicate                  // its slot was decided before
	Unscheduled                // there is no such slot: the report stands outside the books
)

// Result enters a run's result. Within replay (the streams being read back at start) a result opens its own slot, because the
// plan that led to it was made before this ledger existed; afterwards that holds for slots before the first one that was planned
// since, and for those of the schedule, which an earlier coordinator ordered and this one is about to plan. Any other result without a
// slot is unscheduled.
func (l *Ledger) Result(r *runs.Result, replay bool) Outcome {
	if r.Trigger != runs.TriggerSchedule {
		return Unscheduled
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.accounts[r.Combination()]; !known && !replay {
		return Unscheduled
	}
	a := l.account(r.Combination())
	slot := a.find(r.Slot)
	if slot == nil {
		if !replay && !a.precedes(r.Slot) && !a.follows(r.Slot) || r.Slot.Before(a.forgottenBefore) {
			a.unscheduled++
			return Unscheduled
		}
		slot = a.open(r.Slot, r.Slot)
	}
	if !r.State.Outranks(slot.state) {
		a.duplicates++
		return Duplicate
	}
	if slot.state == runs.StateMissing || slot.state == runs.StateSkipped {
		a.amended++
	}
	a.raise(r.Slot, slot, r.State, "")
	a.measure(r)
	return Entered
}

// Verdict enters the closing of a region's minute: its slots that are still pending become missing or skipped.
func (l *Ledger) Verdict(v *runs.Verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if v.Minute.After(l.verdicts[v.Region]) {
		l.verdicts[v.Region] = v.Minute
	}
	for _, s := range v.Slots {
		c, at, err := s.RunID.Parse()
		if err != nil { // checked when it came off the bus
			continue
		}
		a := l.account(c)
		slot := a.find(at)
		if slot == nil {
			if at.Before(a.forgottenBefore) {
				continue
			}
			slot = a.open(at, at)
		}
		if s.State.Outranks(slot.state) {
			a.raise(at, slot, s.State, s.Reason)
		}
	}
}

// ClosedUntil returns the end of the last minute that was closed for a region; zero where none was. Slots with a deadline before
// it are settled and need not be planned again after a restart.
func (l *Ledger) ClosedUntil(region string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	last, ok := l.verdicts[region]
	if !ok {
		return time.Time{}
	}
	return last.Add(time.Minute)
}

// First returns the earliest slot of the combination that was ever in these books; ok=false where there was none.
func (l *Ledger) First(c scenario.Combination) (slot time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, ok := l.accounts[c]
	if !ok || a.first.IsZero() {
		return time.Time{}, false
	}
	return a.first, true
}

// Pending counts the slots that have no end yet, those that are not due yet included.
func (l *Ledger) Pending() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var n int64
	for _, a := range l.accounts {
		n += a.counts[runs.StatePending] + int64(len(a.ahead))
	}
	return n
}

// Witness knows why nothing came of a slot.
type Witness interface {
	// Reason says why no result came of the run that was due at slot and had until deadline to end.
	Reason(id runs.ID, region string, slot, deadline time.Time) runs.Reason
}

// Closable returns the verdicts that are due at now: one for each region and minute that ended at least grace ago, in which
// deadlines fell. All slots with a deadline up to then must have been planned. A slot that came too late for its own minute's
// verdict is closed with the last minute that is due. The caller writes them to the stream; the ledger follows when they come back, so that what it says is
// always what a rebuilt ledger would say.
func (l *Ledger) Closable(now time.Time, grace time.Duration, w Witness) []runs.Verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := now.Add(-grace).Truncate(time.Minute) // minutes before this one are over
	due := map[string]map[int64]*runs.Verdict{}
	for c, a := range l.accounts {
		a.arrive(now)
		a.forget(now)
		if due[c.Region] == nil {
			due[c.Region] = map[int64]*runs.Verdict{}
		}
		for _, at := range a.unsettled(limit, l.verdicts[c.Region]) {
			minute := at.slot.deadline.Truncate(time.Minute)
			if !minute.After(l.verdicts[c.Region]) { // closed without it
				minute = limit.Add(-time.Minute)
			}
			v, ok := due[c.Region][minute.Unix()]
			if !ok {
				v = &runs.Verdict{Schema: runs.Schema, Region: c.Region, Minute: minute.UTC()}
				due[c.Region][minute.Unix()] = v
			}
			if at.slot.state == runs.StatePending {
				id := runs.NewID(c, at.time)
				v.Slots = append(v.Slots, runs.SlotVerdict{RunID: id, State: runs.StateMissing, Reason: w.Reason(id, c.Region, at.time, at.slot.deadline)})
			}
		}
	}
	return ordered(due)
}

// ordered lists verdicts by minute, then region.
func ordered(due map[string]map[int64]*runs.Verdict) []runs.Verdict {
	var out []runs.Verdict
	for _, minutes := range due {
		for _, v := range minutes {
			slices.SortFunc(v.Slots, func(a, b runs.SlotVerdict) int { return compare(a.RunID, b.RunID) })
			out = append(out, *v)
		}
	}
	slices.SortFunc(out, func(a, b runs.Verdict) int {
		if c := a.Minute.Compare(b.Minute); c != 0 {
			return c
		}
		return compare(a.Region, b.Region)
	})
	return out
}

// budget is what a combination's availability objective allows.
type budget struct {
	objective slo.Objective
	window    slo.Window
	planned   int64 // slots that the schedule makes in the window
}

// newBudget works out the availability budget of a combination; zero where the scenario has no such objective.
func newBudget(s *scenario.Scenario, c scenario.Combination) budget {
	o, ok := s.Availability()
	if !ok {
		return budget{}
	}
	return budget{objective: o.Objective, window: o.Window, planned: s.Timetable().Count(c, time.Duration(o.Window))}
}
