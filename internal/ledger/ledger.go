// Package ledger accounts for every slot: what was planned, what came of it, and why where nothing did. Its state is a fold over
// plans, results and verdicts in which a slot's state only rises, so that reports may come late, twice or in any order and
// the books are the same. For every scenario, region and network: planned = passed + degraded + failed + invalid + missing +
// skipped + pending.
package ledger

import (
	"slices"
	"sync"
	"time"

	"lastmile/internal/ledger/slots"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// Retention is how long single slots are kept; their counts stay. A report about a slot that has been forgotten changes nothing.
const Retention = 72 * time.Hour

// Ledger is safe for concurrent use.
type Ledger struct {
	mu       sync.Mutex
	accounts map[scenario.Combination]*account
	all      []*account // the same
	regions  map[string]*region
	defined  []*definition // by name; never changed, only replaced
}

// New returns empty books.
func New() *Ledger {
	return &Ledger{accounts: map[scenario.Combination]*account{}, regions: map[string]*region{}}
}

// Define opens the books of every combination of the scenarios, so that all counters exist from the start, and says what the
// budget of each is. Combinations that are no longer defined keep their books.
func (l *Ledger) Define(scenarios []scenario.Scenario) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var defined []*definition
	for i := range scenarios {
		s := &scenarios[i]
		d := newDefinition(s)
		for _, c := range s.Combinations() {
			a := l.account(c)
			a.definition = d
			a.edge.Define(d.classes)
			a.book.Define(d.objectives)
			d.add(a)
		}
		defined = append(defined, d)
	}
	slices.SortFunc(defined, func(a, b *definition) int { return compare(a.name, b.name) })
	l.defined = defined
}

// account returns the books of a combination, opening them first if need be.
func (l *Ledger) account(c scenario.Combination) *account {
	a, ok := l.accounts[c]
	if !ok {
		a = newAccount(c, l.region(c.Region))
		l.accounts[c] = a
		l.all = append(l.all, a)
	}
	return a
}

func (l *Ledger) region(name string) *region {
	r, ok := l.regions[name]
	if !ok {
		r = newRegion()
		l.regions[name] = r
	}
	return r
}

// Plan enters a slot that is due, or will be soon: it counts from its own time on. Planning it again changes nothing.
func (l *Ledger) Plan(c scenario.Combination, slot, deadline time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(c)
	at, end := slot.Unix(), deadline.UnixNano()
	if a.precedes(at) {
		a.planned = at
	}
	a.reached = max(a.reached, at)
	if r, ok := a.slots.Find(at); ok {
		a.await(at, end, r.Cell().State() == slots.Pending) // a result that was read back first did not know the deadline
		return
	}
	a.plan(at, end)
}

// Rest is for a coordinator that no longer leads at now. What it planned and is not due yet is dropped: whoever leads next plans it, and this
// ledger hears of it through results and verdicts, as one does that reads the streams back. Slots that are due stay pending until then:
// what was planned never shrinks. From here on until Plan is called again every result is of an earlier life's plan.
func (l *Ledger) Rest(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.all {
		a.arrive(now)
		a.ahead, a.planned, a.reached = nil, never, never
	}
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
	a, at := l.account(r.Combination()), r.Slot.Unix()
	slot, ok := a.known(at)
	if !ok {
		if !replay && !a.precedes(at) && !a.follows(at) || a.forgotten(at) {
			a.unscheduled++
			return Unscheduled
		}
		slot = a.enter(at, nanosOf(at))
	}
	was := slot.Cell().State()
	if !r.State.Outranks(slots.States()[was]) {
		a.duplicates++
		return Duplicate
	}
	if was == slots.Missing || was == slots.Skipped {
		a.amended++
	}
	a.raise(at, slot, slots.NewCell(r.State, ""))
	a.measure(at, slot, r, was == slots.Invalid)
	if at > a.newest {
		a.newest = at
		a.outgrown()
	}
	return Entered
}

// Verdict enters the closing of a region's minute: its slots that are still pending become missing or skipped.
func (l *Ledger) Verdict(v *runs.Verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.region(v.Region).close(minuteOf(v.Minute.Unix()))
	for _, s := range v.Slots {
		c, when, err := s.RunID.Parse()
		if err != nil { // checked when it came off the bus
			continue
		}
		a, at := l.account(c), when.Unix()
		slot, ok := a.known(at)
		if !ok {
			if a.forgotten(at) {
				continue
			}
			slot = a.enter(at, nanosOf(at))
		}
		if s.State.Outranks(slots.States()[slot.Cell().State()]) {
			a.raise(at, slot, slots.NewCell(s.State, s.Reason))
		}
	}
}

// ClosedUntil returns the end of the last minute that was closed for a region; zero where none was. Slots with a deadline before
// it are settled and need not be planned again after a restart.
func (l *Ledger) ClosedUntil(region string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, ok := l.regions[region]
	if !ok || r.closed == nothing {
		return time.Time{}
	}
	return timeOf((r.closed + 1) * 60)
}

// First returns the earliest slot of the combination that was ever in these books; ok=false where there was none.
func (l *Ledger) First(c scenario.Combination) (slot time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, ok := l.accounts[c]
	if !ok {
		return time.Time{}, false
	}
	at, ok := a.earliest()
	if !ok {
		return time.Time{}, false
	}
	return timeOf(at), true
}

// Ended reports whether a slot is in the books and has come to its end.
func (l *Ledger) Ended(c scenario.Combination, slot time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, ok := l.accounts[c]
	if !ok {
		return false
	}
	r, ok := a.slots.Find(slot.Unix())
	return ok && r.Cell().State() != slots.Pending
}

// Pending counts the slots that have no end yet, those that are not due yet included.
func (l *Ledger) Pending() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var n int64
	for _, a := range l.all {
		n += a.counts[slots.Pending] + int64(len(a.ahead))
	}
	return n
}

// Witness knows why nothing came of a slot. It is asked while the ledger is locked, and must not use it.
type Witness interface {
	// Reason says why no result came of the run that was due at slot and had until deadline to end. ReasonOverlap and
	// ReasonMaintenance make the slot skipped, every other one missing.
	Reason(id runs.ID, region string, slot, deadline time.Time) runs.Reason
}

// Closable returns the verdicts that are due at now: one for each region and minute that ended at least grace ago, in which
// deadlines fell; the oldest ones where there are very many. All slots with a deadline up to then must have been planned. A slot that came too late for its own minute's
// verdict is closed with the last minute that is due. The caller writes them to the stream; the ledger follows when they come back, so that what it says is
// always what a rebuilt ledger would say.
func (l *Ledger) Closable(now time.Time, grace time.Duration, w Witness) []runs.Verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := minuteOf(now.Add(-grace).Unix()) // minutes before this one are over
	for _, a := range l.all {
		a.arrive(now)
		a.forget(now.Unix())
	}
	var out []runs.Verdict
	for name, r := range l.regions {
		out = append(out, r.verdicts(name, limit, w)...)
	}
	for i := range out {
		v := &out[i] // a slot whose deadline was moved to and fro is listed twice
		slices.SortFunc(v.Slots, func(a, b runs.SlotVerdict) int { return compare(a.RunID, b.RunID) })
		v.Slots = slices.CompactFunc(v.Slots, func(a, b runs.SlotVerdict) bool { return a.RunID == b.RunID })
	}
	slices.SortFunc(out, func(a, b runs.Verdict) int {
		if c := a.Minute.Compare(b.Minute); c != 0 {
			return c
		}
		return compare(a.Region, b.Region)
	})
	return out
}

// Forget drops what is older than is kept: see Retention. Closable does the same; this is for a coordinator that closes nothing because it
// does not lead. It is not to be called before the streams have been read back: what they say of older slots would be dropped.
func (l *Ledger) Forget(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.all {
		a.forget(now.Unix())
	}
}
