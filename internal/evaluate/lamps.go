package evaluate

import (
	"slices"
	"time"

	"lastmile/internal/evaluate/lamp"
	"lastmile/internal/runs"
)

// lamp returns the lamp of an alert, made where there is none.
func (p *plan) lamp(s *lamp.Standing, key runs.AlertKey) *lamp.Lamp {
	l := s.Lamp(key)
	p.label(l)
	return l
}

// label brings up to date what alerts have of the scenario.
func (p *plan) label(lamps ...*lamp.Lamp) {
	for _, l := range lamps {
		l.Alert.Team, l.Alert.Runbook, l.Alert.Labels = p.Scenario.Owner, p.Scenario.Runbook, p.Scenario.Alerts.Labels
	}
}

// inhibit says which alerts of the scenario are not to be sent, since another one says it already; and after that one's end those of what is getting
// well anyway are not either: the end of an outage is no news of each region. Where all regions are frozen, what one of them is told to be waits until all have
// been found blind, for as long as that may take. One that was sent stays.
func (p *plan) inhibit(now time.Time) {
	outage, blind := p.global.Open(runs.AlertOutage), p.global.Open(runs.AlertBlind)
	dark := !slices.ContainsFunc(p.units, func(u *unit) bool { return u.standing == nil || !u.standing.Frozen })
	wait := min(p.Period, blindDelay) + time.Minute
	for _, u := range p.units {
		if u.standing == nil {
			continue
		}
		down := u.standing.Open(runs.AlertDown)
		for _, l := range u.standing.Lamps {
			if !l.Alert.Active() {
				continue
			}
			hidden := false
			switch l.Alert.Name {
			case runs.AlertDown:
				hidden = outage || u.standing.Phase == lamp.Recovering
			case runs.AlertDegraded, runs.AlertSlowBurn:
				hidden = outage || down || !l.Well.IsZero()
			case runs.AlertBlind:
				hidden = blind || !u.Unmeasured(0) || dark && now.Sub(l.Alert.StartsAt) < wait
			}
			l.Show(!hidden)
		}
	}
	for _, l := range p.global.Lamps {
		if l.Alert.Active() {
			l.Show(true)
		}
	}
}
