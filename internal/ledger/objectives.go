package ledger

import (
	"slices"
	"time"

	"lastmile/internal/ledger/edge"
	"lastmile/internal/ledger/indicators"
	"lastmile/internal/ledger/slots"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// definition is what the combinations of a scenario share.
type definition struct {
	name       string
	routing    *scenario.Routing
	schedule   scenario.Schedule
	classes    *edge.Objectives
	objectives *indicators.Definition
	regions    []regional // by name
}

// regional is a scenario in one region, on all of its networks.
type regional struct {
	name     string
	accounts []*account
}

// newDefinition takes from a scenario what its books need.
func newDefinition(s *scenario.Scenario) *definition {
	return &definition{name: s.Name, routing: s.Routing, schedule: s.Timetable(), classes: edge.NewObjectives(s), objectives: indicators.NewDefinition(s)}
}

// add takes up a combination of the scenario.
func (d *definition) add(a *account) {
	i, ok := slices.BinarySearchFunc(d.regions, a.combination.Region, func(r regional, name string) int { return compare(r.name, name) })
	if !ok {
		d.regions = slices.Insert(d.regions, i, regional{name: a.combination.Region})
	}
	d.regions[i].accounts = append(d.regions[i].accounts, a)
}

// Objectives returns how each objective of the scenarios that are defined stands as of now: everywhere (region ""), and in each region over
// its networks. They are ordered by scenario and region, everywhere first, and then as the scenario has them. Each region's are of one moment;
// results may be entered between one and the next.
func (l *Ledger) Objectives(now time.Time) (out []runs.ObjectiveStatus) {
	l.mu.Lock()
	defined := l.defined
	l.mu.Unlock()
	size := 0
	for _, d := range defined {
		size += d.objectives.Len() * (1 + len(d.regions))
	}
	out = make([]runs.ObjectiveStatus, 0, size)
	for _, d := range defined {
		from := len(out)
		out = out[:from+d.objectives.Len()]
		everywhere := l.sums(d, now, "", func(region string, of *indicators.Sums) { out = of.Status(d.name, region, out) })
		everywhere.Status(d.name, "", out[:from])
	}
	return out
}

// Objective returns how one objective stands as of now, in a region over its networks, or everywhere (region ""); ok=false where no scenario that is
// defined has it there.
func (l *Ledger) Objective(scenario, region, slo string, now time.Time) (status runs.ObjectiveStatus, ok bool) {
	l.mu.Lock()
	defined := l.defined
	l.mu.Unlock()
	i, ok := slices.BinarySearchFunc(defined, scenario, func(d *definition, name string) int { return compare(d.name, name) })
	if !ok {
		return status, false
	}
	there := region == ""
	all := l.sums(defined[i], now, region, func(string, *indicators.Sums) { there = true })
	if !there {
		return status, false
	}
	for _, status := range all.Status(scenario, region, nil) {
		if status.SLO.Name == slo {
			return status, true
		}
	}
	return status, false
}

// sums adds up the books of a scenario in one region, or everywhere ("", all of them), and yields each region's.
func (l *Ledger) sums(d *definition, now time.Time, only string, yield func(region string, of *indicators.Sums)) *indicators.Sums {
	all := d.objectives.Sums(now)
	one := d.objectives.Sums(now)
	var room []int64
	for _, r := range d.regions {
		if only != "" && r.name != only {
			continue
		}
		one.Clear()
		l.mu.Lock()
		for _, a := range r.accounts {
			a.arrive(now)
			room = a.pending(room[:0])
			one.Add(&a.book, room)
		}
		l.mu.Unlock()
		yield(r.name, one)
		all.Merge(one)
	}
	return all
}

// pending adds the slots without an end to out, ascending.
func (a *account) pending(out []int64) []int64 {
	if a.counts[slots.Pending] == 0 {
		return out
	}
	for _, d := range a.open {
		if r, ok := a.slots.Find(d.slot); ok && r.Cell().State() == slots.Pending {
			out = append(out, d.slot)
		}
	}
	return out
}
