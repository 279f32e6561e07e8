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
	if a.budget.objective != 0 {
		counts, _ := a.history.Window(now, a.budget.window)
		counts.Pending = a.pendingIn(now, a.budget.window)
		row.Budget = &runs.Budget{
			Objective: a.budget.objective,
			Window:    a.budget.window,
			Planned:   a.budget.planned,
			Remaining: slo.BudgetRemaining(counts.Lost(), a.budget.planned, a.budget.objective),
			Counts:    counts,
		}
	}
	return row
}

func (a *account) expectedRegion() string {
	s := scenario.Scenario{}
	if a.definition != nil {
		s.Routing = a.definition.routing
	}
	return s.ExpectedRegion(a.combination.Region)
}

// objectives returns those whose events are counted; nil where the combination is not defined.
func (a *account) objectives() *edge.Objectives {
	if a.definition == nil {
		return nil
	}
	return a.definition.objectives
}
