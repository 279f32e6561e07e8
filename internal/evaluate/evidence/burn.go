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
		owed := func(planned int64, s tally.Span) int64 { return planned - u.skipped.Sum(s) - t.idle.Sum(s) }
		all, allShort = owed(r.plannedLong, long), owed(r.plannedShort, short)
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

// burstMinutes is how long a burst of failures lasts at most: what lies that close together is one event. What fails for longer is for rule S1 to say.
const burstMinutes = 3

// spread is how many slices of the long window are hit, and how likely that is by chance, as a decimal logarithm. Slices last five minutes, of
// windows beyond six hours an hour. A burst is one hit also where it lies across two slices: a slice of five minutes that is hit takes in the next one,
// and, where the minutes are known and one bad run makes a hit, there are no more hits than bursts.
func (t *Track) spread(u *Unit, r *rule, minute, measured int64, p0 slo.Ratio) (hit int64, log10 float64) {
	level := max(tally.For(r.long), tally.Five)
	slices := r.long / level.Minutes()
	count, q := slo.SliceTest((measured+slices-1)/slices, p0)
	span := u.head.Window(minute, r.long, level)
	events := t.Objective.events()
	byMinute := !events && count == 1 && tally.For(r.long) == tally.Minute
	reach := int16(1)
	if level == tally.Five && !byMinute {
		reach = 2
	}
	if events {
		hit = tally.HitShares(t.events, t.badEvents, t.ran, span, count, reach)
	} else {
		hit = t.lost.Bursts(span, count, reach)
	}
	if byMinute {
		hit = min(hit, t.lost.Bursts(u.head.Window(minute, r.long, tally.Minute), 1, burstMinutes))
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
