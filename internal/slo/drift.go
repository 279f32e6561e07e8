package slo

import "math"

// Drift is a test for a small rise of the share of bad runs: Page's cumulative sum (Biometrika 41, 1954) of log-likelihood ratios of "a share
// of P1 is bad" against "a share of P0". The sum G starts at 0 and never falls below it; where it reaches Limit, the share has risen.
type Drift struct {
	P0, P1    Ratio
	Limit     float64
	bad, good float64 // what one run adds
}

// The share of bad runs that a Drift looks for, at least: where P0 comes near it, four times P0, and never more than maxDrift.
const (
	minDrift   Ratio   = 0.05
	maxDrift   Ratio   = 0.7
	driftLimit float64 = 14
)

// NewDrift returns the test for runs that are bad with probability p0 while all is well. Shares outside 1e-6 to 0.5 are taken for the nearer
// of the two.
func NewDrift(p0 Ratio) Drift {
	p0 = min(max(p0, 1e-6), 0.5)
	d := Drift{P0: p0, P1: min(max(minDrift, 4*p0), maxDrift), Limit: driftLimit}
	d.bad = math.Log(float64(d.P1 / d.P0))
	d.good = math.Log(float64((1 - d.P1) / (1 - d.P0)))
	return d
}

// Add returns the sum after so many more good and bad runs, in any order among themselves. It never exceeds Limit by more than a third: what
// lasts for hours is to be over soon after its end.
func (d Drift) Add(g float64, good, bad int64) float64 {
	return min(max(0, g+float64(good)*d.good+float64(bad)*d.bad), d.Limit*4/3)
}
