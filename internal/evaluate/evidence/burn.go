package evidence

import (
	"time"

	"lastmile/internal/evaluate/tally"
	"lastmile/internal/runs"
	"lastmile/internal/slo"
)

// The evidence that rule S5 asks for beside the burn, as decimal logarithms of probabilities, and in how many slices it must lie at least.
const (
	enoughEvidence = -5
	enoughSpread   = -4
	fewestSlices   = 3
)

// FloorLog10 stands for what cannot be: minus infinity has no form in JSON.
const FloorLog10 = -999

// Log10 is how likely so many bad runs are while all is well, as a decimal logarithm.
func (t *Track) Log10(bad, all int64) float64 {
	if bad <= 0 {
		return 0
	}
	return max(slo.BinomialTail(bad, all, t.Expected()).Log10(), FloorLog10)
}

// Proof is what rule S5 found.
type Proof struct {
	rule     *rule
	bad, all int64 // bad runs or events, of measured ones
	p0       slo.Ratio
	log10    float64
	slices   int64
}

// burns is rule S5: whether the budget burns at the pace of a rule, on evidence that this is no chance, and spread over more than a burst.
func (t *Track) burns(u *Unit, r *rule, minute int64) (p Proof, holds bool) {
	long, short := u.head.Window(minute, r.long, tally.For(r.long)), u.head.Window(minute, r.short, tally.For(r.short))
	lost, last := t.lost, t.lost.Sum(short)
	p = Proof{rule: r, p0: t.Expected(), bad: lost.Sum(long)}
	var all, allShort int64
	if t.Objective.events() {
		p.bad, last = t.badEvents.Sum(long), t.badEvents.Sum(short)
		all, allShort = t.events.Sum(long), t.events.Sum(short)
		p.all = all
	} else {
		all, allShort = r.plannedLong-u.skipped.Sum(long), r.plannedShort-u.skipped.Sum(short)
	}
	if last == 0 {
		return p, false
	}
	o := t.Objective.Objective
	if !r.Met(slo.BurnRate(p.bad, all, o), slo.BurnRate(last, allShort, o)) {
		return p, false
	}
	bad, measured := t.Evidence(u, long)
	if p.all == 0 {
		p.all = measured
	}
	p.log10 = t.Log10(bad, measured)
	if p.log10 > enoughEvidence {
		return p, false
	}
	var spread float64
	p.slices, spread = t.spread(u, r, minute, measured, p.p0)
	return p, p.slices >= fewestSlices && spread <= enoughSpread
}

// spread is how many slices of the long window are hit, and how likely that is by chance, as a decimal logarithm. Slices last five minutes, of
// windows beyond six hours an hour.
func (t *Track) spread(u *Unit, r *rule, minute, measured int64, p0 slo.Ratio) (hit int64, log10 float64) {
	level := max(tally.For(r.long), tally.Five)
	slices := r.long / level.Minutes()
	count, q := slo.SliceTest((measured+slices-1)/slices, p0)
	span := u.head.Window(minute, r.long, level)
	if t.Objective.events() {
		hit = tally.HitShares(t.events, t.badEvents, t.ran, span, count)
	} else {
		hit = t.lost.AtLeast(span, count)
	}
	return hit, slo.Spread(hit, slices, q).Log10()
}

// Strongest returns the proof of a severity's rules that holds with the strongest evidence.
func (t *Track) Strongest(u *Unit, severity slo.Severity, now time.Time) (best Proof, holds bool) {
	for i := range t.Objective.rules {
		r := &t.Objective.rules[i]
		if r.Severity != severity {
			continue
		}
		if p, ok := t.burns(u, r, now.Unix()/60); ok && (!holds || p.log10 < best.log10) {
			best, holds = p, true
		}
	}
	return best, holds
}

// Tell enters the proof into what an alert says of itself.
func (p *Proof) Tell(w *runs.Why) {
	w.Rule, w.Bad, w.Of, w.Over = runs.RuleBurn, p.bad, p.all, p.rule.Long
	w.Expected, w.Log10P, w.Slices = p.p0, p.log10, int(p.slices)
}
