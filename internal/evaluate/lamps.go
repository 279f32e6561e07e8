package evaluate

import (
	"slices"
	"time"

	"lastmile/internal/evaluate/lamp"
	"lastmile/internal/runs"
)

// find returns the lamp of a name and an objective, or of whichever where that is ""; nil = there is none.
func (s *standing) find(name, objective string) *lamp.Lamp {
	for _, l := range s.Lamps {
		if l.Alert.Name == name && (objective == "" || l.Alert.SLO == objective) {
			return l
		}
	}
	return nil
}

// open reports whether an alert of the name is active, of whatever objective.
func (s *standing) open(name string) bool {
	return s != nil && slices.ContainsFunc(s.Lamps, func(l *lamp.Lamp) bool { return l.Alert.Name == name && l.Alert.Active() })
}

// lamp returns the lamp of an alert, made where there is none. What the alert has of the scenario is brought up to date, and its network follows as long
// as it has not begun.
func (s *standing) lamp(p *plan, key runs.AlertKey) *lamp.Lamp {
	l := s.find(key.Name, key.SLO)
	if l == nil {
		l = lamp.New(key, nil)
		s.Lamps = append(s.Lamps, l)
	}
	if !l.Alert.Active() && l.Alert.Network != key.Network { // the other one may still be told to have ended
		l = lamp.New(key, l.Turns)
		s.Lamps = append([]*lamp.Lamp{l}, s.Lamps...)
	}
	l.Alert.Team, l.Alert.Runbook, l.Alert.Labels = p.Scenario.Owner, p.Scenario.Runbook, p.Scenario.Alerts.Labels
	return l
}

// forget drops the lamps that ended long ago.
func (s *standing) forget(now time.Time) {
	s.Lamps = slices.DeleteFunc(s.Lamps, func(l *lamp.Lamp) bool {
		return !l.Alert.Active() && now.Sub(l.Alert.EndsAt) >= max(lamp.FlapTime, keepEnded)
	})
}

// inhibit says which alerts of the scenario are not to be sent, since another one says it already. One that was sent stays.
func (p *plan) inhibit() {
	outage, blind := p.global.open(runs.AlertOutage), p.global.open(runs.AlertBlind)
	for _, u := range p.units {
		if u.standing == nil {
			continue
		}
		down := u.standing.open(runs.AlertDown)
		for _, l := range u.standing.Lamps {
			if !l.Alert.Active() {
				continue
			}
			hidden := false
			switch l.Alert.Name {
			case runs.AlertDown:
				hidden = outage
			case runs.AlertDegraded, runs.AlertSlowBurn:
				hidden = outage || down
			case runs.AlertBlind:
				hidden = blind
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
