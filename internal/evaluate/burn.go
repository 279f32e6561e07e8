package evaluate

import (
	"time"

	"lastmile/internal/evaluate/lamp"
	"lastmile/internal/runs"
	"lastmile/internal/slo"
)

// lookBurn decides on the alerts of every objective. One begins only when something was lost since the unit was last decided on, and not while the
// region is down: that says it already, and what it leaves behind in the windows is no news.
func (u *unit) lookBurn(now time.Time, lost bool) {
	s := u.standing
	down := s.Phase == lamp.Down || s.Open(runs.AlertDown)
	for i := range u.Tracks {
		t := &u.Tracks[i]
		for _, kind := range [2]struct {
			name            string
			rules, severity slo.Severity
		}{{runs.AlertDegraded, slo.SeverityPage, u.plan.severity()}, {runs.AlertSlowBurn, slo.SeverityTicket, slo.SeverityTicket}} {
			l := s.Find(kind.name, t.Objective.Name)
			if open := l != nil && l.Alert.Active(); !open && (!lost || down) {
				continue
			}
			p, holds := t.Strongest(&u.Unit, kind.rules, now)
			if holds {
				key := u.key(kind.name)
				key.SLO = t.Objective.Name
				l = u.plan.lamp(s, key)
				l.Light(now, kind.severity)
				p.Tell(&l.Alert.Why)
				continue
			}
			if l == nil || !l.Alert.Active() {
				continue
			}
			if l.Well.IsZero() {
				l.Well = now
			}
			if now.Sub(l.Well) >= u.plan.recovery() && t.Streak >= recoverRuns {
				l.Release(now)
			}
		}
	}
}
