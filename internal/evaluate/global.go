package evaluate

import (
	"time"

	"lastmile/internal/evaluate/evidence"
	"lastmile/internal/runs"
	"lastmile/internal/slo"
)

// How an outage that rule G2 finds is told from one region's trouble, and when it is over.
const (
	driftLongest  = 60 // minutes that a region's failure counts among those of the quorum, at least
	driftEndOther = 2  // regions that failed of late, for an outage to go on
)

// quorum is in how many regions a scenario must fail for it to be everywhere's trouble.
func (p *plan) quorum() int { return max(2, (len(p.units)+3)/4) }

// lookGlobal decides on the alerts of a scenario everywhere.
func (e *Engine) lookGlobal(p *plan, now time.Time) {
	s, frozen, blind := &p.global, 0, 0
	for _, u := range p.units {
		if u.standing != nil && u.standing.Frozen {
			frozen++
		}
		if u.standing.Open(runs.AlertBlind) {
			blind++
		}
	}
	key := runs.AlertKey{Name: runs.AlertBlind, Scope: runs.ScopeGlobal, Scenario: p.Scenario.Name}
	if l := s.Find(runs.AlertBlind, ""); blind == len(p.units) {
		p.lamp(s, key).Light(now, slo.SeverityPage)
	} else if l != nil {
		l.Release(now)
	}
	if p.Avail < 0 || frozen == len(p.units) {
		return
	}
	l := s.Find(runs.AlertOutage, "")
	open := l != nil && l.Alert.Active()
	switch w, holds := p.outage(now, open); {
	case holds:
		key.Name, key.SLO = runs.AlertOutage, p.Objectives[p.Avail].Name
		l = p.lamp(s, key)
		l.Light(now, slo.SeverityPage)
		l.Alert.Why = w
	case open && frozen < p.quorum() && p.calm(l.Alert.Why.Rule, now):
		if l.Release(now) {
			s.Calm = now.Unix() / 60
		}
	}
}

// outage is rules Q and G2: whether one of them holds, and on what. What is open goes on by Q alone: G falls but slowly.
func (p *plan) outage(now time.Time, open bool) (w runs.Why, holds bool) {
	since := now.Unix() - p.Horizon
	failing := 0
	for _, u := range p.units {
		if u.standing != nil && u.standing.Frozen || len(u.Failing(since)) == 0 {
			continue
		}
		failing++
		for i := range u.Networks {
			k, n := u.Networks[i].Recent.Last(evidence.QuorumRuns, since)
			w.Bad, w.Of = w.Bad+int64(k), w.Of+int64(n)
		}
	}
	if failing >= p.quorum() {
		w.Rule = runs.RuleQuorum
		return p.expect(w), true
	}
	g, zero := p.Drift.Sum(p.global.Calm)
	if open || g < p.Drift.Limit {
		return w, false
	}
	minute := now.Unix() / 60
	longest := max(driftLongest, p.Horizon/60)
	first, regions := minute, 0
	for _, u := range p.units {
		own := u.standing.Open(runs.AlertDown) || u.standing.Open(runs.AlertDegraded)
		if last := u.Drifted(); last > zero && last >= minute-longest && !own {
			regions++
			first = min(first, last)
		}
	}
	if regions < p.quorum() {
		return w, false
	}
	minutes := min(minute-max(first-1, zero), driftLongest)
	w = runs.Why{Rule: runs.RuleDrift, Over: slo.Window(time.Duration(minutes) * time.Minute)}
	for _, u := range p.units {
		k, n := u.Lately(&u.Tracks[p.Avail], minutes, now)
		w.Bad, w.Of = w.Bad+k, w.Of+n
	}
	return p.expect(w), true
}

// expect enters how likely what an alert was decided on is while all is well.
func (p *plan) expect(w runs.Why) runs.Why {
	w.Expected = p.Drift.P0
	w.Log10P = max(slo.BinomialTail(w.Bad, w.Of, w.Expected).Log10(), evidence.FloorLog10)
	return w
}

// calm reports whether the scenario has been well for a while, with enough good runs since to tell. What fails a little everywhere is often well for ten
// minutes: it takes longer to be over.
func (p *plan) calm(rule runs.Rule, now time.Time) bool {
	rest := max(p.recovery(), min(3*p.Period, 24*time.Hour))
	if rule == runs.RuleDrift {
		rest *= 3
	}
	late := now.Add(-rest).UnixNano()
	regions, newest, good := 0, int64(0), 0
	for _, u := range p.units {
		if u.BadAt >= late { // the last few runs may not reach back that far
			regions++
		}
		_, slot := u.LastBad()
		newest = max(newest, slot)
	}
	for _, u := range p.units {
		for i := range u.Networks {
			good += u.Networks[i].Recent.GoodSince(newest)
		}
	}
	return regions < driftEndOther && good >= recoverRuns
}
