package ledger

import (
	"slices"
	"time"

	"lastmile/internal/ledger/edge"
	"lastmile/internal/ledger/slots"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// Accounts returns the books of all combinations as of now, ordered by scenario, region and network. Each is of one moment; results
// may be entered between one and the next.
func (l *Ledger) Accounts(now time.Time) []runs.Account {
	l.mu.Lock()
	all := slices.Clone(l.all)
	l.mu.Unlock()
	accounts := make([]runs.Account, 0, len(all))
	var work sorting
	for _, a := range all {
		accounts = append(accounts, l.row(a, now, &work))
	}
	slices.SortFunc(accounts, func(a, b runs.Account) int {
		if c := compare(a.Scenario, b.Scenario); c != 0 {
			return c
		}
		if c := compare(a.Region, b.Region); c != 0 {
			return c
		}
		return compare(a.Network, b.Network)
	})
	return accounts
}

// row returns the books of one combination. Sorting durations is most of its work, and needs no lock.
func (l *Ledger) row(a *account, now time.Time, work *sorting) runs.Account {
	windows := runs.LatencyWindows()
	ends := make([]int, len(windows)) // of their durations, which lie one behind the other
	work.values = work.values[:0]
	l.mu.Lock()
	a.arrive(now)
	row := a.row(now)
	for i, window := range windows {
		work.values = a.durations(now.Add(-window), work.values)
		ends[i] = len(work.values)
	}
	l.mu.Unlock()
	from := 0
	for i, window := range windows {
		sorted := work.values[from:ends[i]]
		from = ends[i]
		work.sort(sorted)
		row.Latency[window] = runs.Latency{P50: slo.QuantileSorted(sorted, 0.5), P95: slo.QuantileSorted(sorted, 0.95)}
	}
	return row
}

func (a *account) row(now time.Time) runs.Account {
	row := runs.Account{
		Combination: a.combination,
		Counts:      runs.StateCounts{},
		Entered:     runs.StateCounts{},
		Reasons:     map[runs.Reason]int64{},
		EverReasons: map[runs.Reason]int64{},
		Classes:     a.classes.Counts(),
		Duplicates:  a.duplicates,
		Unscheduled: a.unscheduled,
		Amended:     a.amended,
		Tainted:     a.tainted,
		Cache:       a.cache.Counts(),
		Latency:     map[time.Duration]runs.Latency{},
		Last:        a.last,
	}
	for i, state := range slots.States() {
		if a.entered[i] > 0 {
			row.Counts[state], row.Entered[state] = a.counts[i], a.entered[i]
		}
	}
	why := slots.Reasons()
	for i, reason := range why[1:] {
		if a.everReasons[i] > 0 {
			row.Reasons[reason], row.EverReasons[reason] = a.reasons[i], a.everReasons[i]
		}
	}
	for _, by := range a.served {
		row.Served = append(row.Served, runs.Served{Region: by.Key.region, Expected: by.Key.expected, Requests: by.N})
	}
	slices.SortFunc(row.Served, func(a, b runs.Served) int {
		if c := compare(a.Region, b.Region); c != 0 || a.Expected == b.Expected {
			return c
		}
		if a.Expected {
			return 1
		}
		return -1
	})
	a.edge.Row(&row, now)
	if a.definition != nil {
		row.Budget = a.definition.objectives.Budget(&a.book, a.pending(nil), now)
	}
	return row
}

// Slots lists the slots of a combination from since on, the oldest first, as far back as single slots are kept: see Retention. Those that are
// not due yet are not among them. Causes are kept of the newest 500 slots that have one, and of fewer where their texts are long.
func (l *Ledger) Slots(c scenario.Combination, since time.Time) []runs.SlotRecord {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, ok := l.accounts[c]
	if !ok {
		return nil
	}
	texts := a.causes.BySlot()
	var out []runs.SlotRecord
	why := slots.Reasons()
	for at, cell := range a.slots.Since(since.Unix()) {
		if timeOf(at).Before(since) || a.forgotten(at) && cell.State() != slots.Pending {
			continue
		}
		state := slots.States()[cell.State()]
		record := runs.SlotRecord{RunID: runs.NewID(c, timeOf(at)), Slot: timeOf(at), State: state, Reason: why[cell.Reason()], Amended: cell.Amended()}
		if state == runs.StateInvalid || state == runs.StateDegraded || state == runs.StateFailed {
			record.Cause = texts[at]
		}
		out = append(out, record)
	}
	return out
}

func (a *account) expectedRegion() string {
	s := scenario.Scenario{}
	if a.definition != nil {
		s.Routing = a.definition.routing
	}
	return s.ExpectedRegion(a.combination.Region)
}

// told returns the objectives by which answers of caches are told apart; nil where the combination is not defined.
func (a *account) told() *edge.Objectives {
	if a.definition == nil {
		return nil
	}
	return a.definition.classes
}
