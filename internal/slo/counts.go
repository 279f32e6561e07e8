package slo

// Counts says how the slots of some stretch of time ended, from the point of
// view of one objective. Every planned slot is in exactly one field. As a
// value passed to History.Add it is a change, and its fields may be negative.
type Counts struct {
	Good    int64 `json:"good"`    // measured, and what the objective asks for
	Bad     int64 `json:"bad"`     // measured, and failed
	Slow    int64 `json:"slow"`    // measured, worked, but over the objective's threshold; 0 for an objective without one
	Invalid int64 `json:"invalid"` // not measured, by our own fault
	Missing int64 `json:"missing"` // not measured: no result came
	Skipped int64 `json:"skipped"` // deliberately not run: maintenance, overlap
	Pending int64 `json:"pending"` // the deadline has not passed yet
}

// Planned is every slot of the schedule: the sum of all fields.
func (c Counts) Planned() int64 { return c.Due() + c.Skipped + c.Pending }

// Due is the slots that we owe a measurement for: planned, less those skipped
// on purpose and those whose deadline has not passed. It is the S of Bounds
// and Coverage. Were skipped slots in it, maintenance would read as an outage;
// were pending ones in it, each short window would seem poorly covered all the
// time. Nothing hides there: a pending slot becomes missing at its deadline.
func (c Counts) Due() int64 { return c.Measured() + c.Unmeasured() }

// Measured is the slots with a valid measurement.
func (c Counts) Measured() int64 { return c.Good + c.Lost() }

// Unmeasured is the slots that could have been good or bad: invalid and missing.
func (c Counts) Unmeasured() int64 { return c.Invalid + c.Missing }

// Lost is the slots that spend error budget: bad and slow. It is the first
// argument of BurnRate and BudgetRemaining.
func (c Counts) Lost() int64 { return c.Bad + c.Slow }

// Add is the sum, field by field.
func (c Counts) Add(d Counts) Counts {
	return Counts{
		Good: c.Good + d.Good, Bad: c.Bad + d.Bad, Slow: c.Slow + d.Slow,
		Invalid: c.Invalid + d.Invalid, Missing: c.Missing + d.Missing,
		Skipped: c.Skipped + d.Skipped, Pending: c.Pending + d.Pending,
	}
}

// Sub is the difference, field by field: after.Sub(before) is the change that
// turns before into after.
func (c Counts) Sub(d Counts) Counts {
	return Counts{
		Good: c.Good - d.Good, Bad: c.Bad - d.Bad, Slow: c.Slow - d.Slow,
		Invalid: c.Invalid - d.Invalid, Missing: c.Missing - d.Missing,
		Skipped: c.Skipped - d.Skipped, Pending: c.Pending - d.Pending,
	}
}

// Bounds is the interval that holds the true SLI whatever the unmeasured slots
// would have shown: [G/S, (G+M)/S] with S = Due and M = Unmeasured. These are
// hard limits, not a confidence interval. With nothing due there is no SLI:
// ok is false and both bounds are 0.
func (c Counts) Bounds() (lower, upper Ratio, ok bool) {
	due := c.Due()
	if due <= 0 {
		return 0, 0, false
	}
	s := float64(due)
	return Ratio(float64(c.Good) / s), Ratio(float64(c.Good+c.Unmeasured()) / s), true
}

// Coverage is the share of the due slots that were measured. With nothing due
// ok is false and the ratio 0: neither full nor lost coverage.
func (c Counts) Coverage() (share Ratio, ok bool) {
	due := c.Due()
	if due <= 0 {
		return 0, false
	}
	return Ratio(float64(c.Measured()) / float64(due)), true
}
