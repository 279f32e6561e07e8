package evaluate

import (
	"fmt"
	"math"
	"slices"
	"time"

	"lastmile/internal/evaluate/evidence"
	"lastmile/internal/evaluate/lamp"
	"lastmile/internal/runs"
	"lastmile/internal/slo"
)

// tell brings up to date what an alert says of itself beside what it was decided on, which whoever decided has entered. One that has ended says what it
// said last.
func (e *Engine) tell(l *lamp.Lamp, u *unit, now time.Time) {
	p := e.plans[l.Alert.Scenario]
	if l.Told = now; p == nil || !l.Alert.Active() {
		return
	}
	w := &l.Alert.Why
	e.tellBudget(p, l, now)
	p.tellRegions(l, u, now)
	units := p.units
	if u != nil {
		units = []*unit{u}
		if s := u.standing; l.Alert.Name == runs.AlertDown || l.Alert.Name == runs.AlertDegraded {
			w.Confirmations = slices.Clone(s.Confirmations)
		}
	}
	var measured, due int64
	for _, u := range units {
		m, d := u.Coverage(now)
		measured, due = measured+m, due+d
	}
	w.Coverage = nil
	if due > 0 {
		w.Coverage = new(slo.Ratio(float64(measured) / float64(due)))
	}
	if l.Alert.Name == runs.AlertBlind && u == nil {
		w.Rule, w.Bad, w.Of, w.Over = runs.RuleCoverage, due-measured, due, slo.Window(p.Cover)*slo.Window(time.Minute)
	}
	w.First, w.Latest, w.Usual = nil, nil, ""
	for _, u := range units {
		tellFailures(w, u, p.track(u, l), l.Alert.Name)
	}
}

// track is the objective that an alert is about, or that of availability; nil = there is none.
func (p *plan) track(u *unit, l *lamp.Lamp) *evidence.Track {
	for i := range u.Tracks {
		if u.Tracks[i].Objective.Name == l.Alert.SLO {
			return &u.Tracks[i]
		}
	}
	if p.Avail >= 0 {
		return &u.Tracks[p.Avail]
	}
	return nil
}

// tellFailures enters what failed first and last in a unit, and how that compares with what is usual there.
func tellFailures(w *runs.Why, u *unit, t *evidence.Track, name string) {
	if name == runs.AlertCacheLeak {
		w.First, w.Latest = u.Leak, u.Leak
		return
	}
	if t == nil || name == runs.AlertBlind {
		return
	}
	if f := t.Failed; f != nil {
		if w.First == nil || f.First.At.Before(w.First.At) {
			w.First = lamp.CloneFailure(&f.First)
		}
		if w.Latest == nil || f.Latest.At.After(w.Latest.At) {
			w.Latest = lamp.CloneFailure(&f.Latest)
		}
	}
	if bad, of := t.Usual(); of >= fewestUsual && w.Usual == "" {
		w.Usual = fmt.Sprintf("in quiet hours %.2g %% of runs are bad in %s, of about %.0f in the last weeks", 100*bad/of, u.Region, of)
	}
}

// fewestUsual is how many runs must have been learned from for it to be told what is usual.
const fewestUsual = 100

// tellBudget enters what the books say of the objective: burn by window, what is left, and for how long.
func (e *Engine) tellBudget(p *plan, l *lamp.Lamp, now time.Time) {
	w := &l.Alert.Why
	name := l.Alert.SLO
	if name == "" && p.Avail >= 0 {
		name = p.Objectives[p.Avail].Name
	}
	w.Burn, w.Remaining, w.Exhaustion = nil, nil, nil
	if e.books == nil || name == "" {
		return
	}
	status, ok := e.books.Objective(p.Scenario.Name, l.Alert.Region, name, now)
	if !ok {
		return
	}
	for _, b := range status.Windows {
		if finite(float64(b.Burn)) {
			w.Burn = append(w.Burn, b.WindowBurn)
		}
	}
	slices.SortFunc(w.Burn, func(a, b runs.WindowBurn) int {
		return int(a.Window/slo.Window(time.Minute) - b.Window/slo.Window(time.Minute))
	})
	if !finite(float64(status.Remaining)) {
		return
	}
	w.Remaining = new(status.Remaining)
	if n := len(w.Burn); n > 0 {
		if left, ok := slo.TimeToExhaustion(status.Remaining, w.Burn[n-1].Burn, status.SLO.Period()); ok {
			w.Exhaustion = new(left)
		}
	}
}

// tellRegions enters which regions of the scenario are affected, and which are well, and which networks.
func (p *plan) tellRegions(l *lamp.Lamp, own *unit, now time.Time) {
	w, since := &l.Alert.Why, now.Unix()-p.Horizon
	w.Regions, w.Healthy, w.Networks = nil, nil, nil
	blind := l.Alert.Name == runs.AlertBlind
	for _, u := range p.units {
		affected := u == own
		s := u.standing
		switch {
		case blind:
			affected = affected || s != nil && s.Frozen
		case l.Alert.Name == runs.AlertCacheLeak:
			affected = affected || s.Open(runs.AlertCacheLeak)
		default:
			_, slot := u.LastBad()
			recent := l.Alert.Why.Rule == runs.RuleDrift && slot >= since
			affected = affected || recent || len(u.Failing(since)) > 0 || s.Open(runs.AlertDown) || s.Open(runs.AlertDegraded)
		}
		if !affected {
			if s == nil || !s.Frozen {
				w.Healthy = append(w.Healthy, u.Region)
			}
			continue
		}
		w.Regions = append(w.Regions, u.Region)
		for i := range u.Networks {
			if n := &u.Networks[i]; (own == nil || u == own) && struck(n, blind, since) && !slices.Contains(w.Networks, n.Name) {
				w.Networks = append(w.Networks, n.Name)
			}
		}
	}
	if len(w.Networks) == 0 {
		w.Networks = slices.Clone(p.Scenario.NetworkNames())
	}
}

// struck reports whether any of a network's last runs was bad, or for an alert of blindness not measured.
func struck(n *evidence.Network, blind bool, since int64) bool {
	if blind {
		return n.Recent.Unmeasured(evidence.NewestSlots, 0) > 0
	}
	return n.Recent.LastBad() >= since
}

// finite reports whether a number has a form in JSON.
func finite(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }
