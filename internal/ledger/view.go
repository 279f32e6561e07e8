package ledger

import (
	"maps"
	"slices"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// Accounts returns the books of all combinations as of now, ordered by scenario, region and network.
func (l *Ledger) Accounts(now time.Time) []runs.Account {
	l.mu.Lock()
	defer l.mu.Unlock()
	accounts := make([]runs.Account, 0, len(l.accounts))
	for _, a := range l.accounts {
		a.arrive(now)
		accounts = append(accounts, a.row(now))
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

func (a *account) row(now time.Time) runs.Account {
	row := runs.Account{
		Combination: a.combination,
		Counts:      maps.Clone(a.counts),
		Reasons:     maps.Clone(a.reasons),
		Entered:     maps.Clone(a.entered),
		EverReasons: maps.Clone(a.everReasons),
		Classes:     maps.Clone(a.classes),
		Duplicates:  a.duplicates,
		Unscheduled: a.unscheduled,
		Amended:     a.amended,
		Tainted:     a.tainted,
		Cache:       maps.Clone(a.cache),
		Latency:     map[time.Duration]runs.Latency{},
		Last:        a.last,
	}
	for _, window := range runs.LatencyWindows() {
		sorted := a.durations(now.Add(-window))
		row.Latency[window] = runs.Latency{P50: slo.QuantileSorted(sorted, 0.5), P95: slo.QuantileSorted(sorted, 0.95)}
	}
	for by, n := range a.served {
		row.Served = append(row.Served, runs.Served{Region: by.region, Expected: by.expected, Requests: n})
	}
	slices.SortFunc(row.Served, func(a, b runs.Served) int { return compare(a.Region, b.Region) })
	a.edge.row(&row, now)
	if a.budget.objective != 0 {
		counts, _ := a.history.Window(now, a.budget.window)
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
	s := scenario.Scenario{Routing: a.routing}
	return s.ExpectedRegion(a.combination.Region)
}
