package evidence

import "lastmile/internal/slo"

// Drift is rule G2: slo.Drift over the runs of all regions of a scenario. The newest minutes are kept apart, so that the sum does not depend on the order in
// which regions report.
type Drift struct {
	slo.Drift
	Sums
}

// Sums is what a drift has added up.
type Sums struct {
	base  float64 // the sum at the end of what is older than the minutes
	zero  int64   // the last minute, of those, at the end of which it was 0
	head  int64   // the newest minute
	cells [driftMinutes]driftCell
}

type driftCell struct{ good, bad uint32 }

const driftMinutes = 32

// One region's failures are one event where they lie close together: it adds one in five minutes, and two in thirty, and none once it is hard down,
// which is for rule S1 to say.
const (
	driftSlice   = 5
	driftStretch = 30
	driftAtMost  = 2
)

// driftShare is what a region has added to the drift.
type driftShare struct {
	slice, stretch int64
	count          int
	last           int64 // minute of the newest failure that was added
}

// enter adds a run.
func (d *Drift) enter(s *driftShare, minute int64, bad, excluded bool) {
	if minute > d.head {
		d.move(minute)
	}
	if minute <= d.head-driftMinutes || excluded {
		return
	}
	cell := &d.cells[minute%driftMinutes]
	if !bad {
		cell.good++
		return
	}
	if minute/driftSlice <= s.slice {
		return
	}
	if minute/driftStretch != s.stretch {
		s.stretch, s.count = minute/driftStretch, 0
	}
	if s.count == driftAtMost {
		return
	}
	s.slice, s.last = minute/driftSlice, minute
	s.count++
	cell.bad++
}

// move makes room for the minutes up to a new head.
func (d *Drift) move(minute int64) {
	for m := max(d.head-driftMinutes+1, 1); m <= d.head && m <= minute-driftMinutes; m++ {
		cell := &d.cells[m%driftMinutes]
		d.add(&d.base, &d.zero, m, *cell)
		*cell = driftCell{}
	}
	d.head = minute
}

func (d *Drift) add(g *float64, zero *int64, minute int64, c driftCell) {
	*g = d.Drift.Add(*g, int64(c.good), int64(c.bad))
	if *g == 0 {
		*zero = minute
	}
}

// Sum is G now, and the last minute at the end of which it was 0. What lies up to the minute calm does not count.
func (d *Drift) Sum(calm int64) (g float64, zero int64) {
	first := max(d.head-driftMinutes+1, 1)
	g, zero, calm = d.base, d.zero, min(calm, d.head)
	if calm >= first-1 {
		first, g, zero = calm+1, 0, calm
	}
	for m := first; m <= d.head; m++ {
		d.add(&g, &zero, m, d.cells[m%driftMinutes])
	}
	return g, zero
}
