package evaluate

import (
	"time"

	"lastmile/internal/evaluate/evidence"
	"lastmile/internal/evaluate/lamp"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// standing is what the leader has made of the evidence on a unit, or on a scenario everywhere: all of it goes to the next leader.
type standing struct {
	Phase        phase             `json:"phase,omitempty"`
	Since        time.Time         `json:"since"` // of the phase
	Journey      runs.JourneyState `json:"journey,omitempty"`
	JourneySince time.Time         `json:"journey_since"`
	Frozen       bool              `json:"frozen,omitempty"` // too few of its runs are measured: neither fire nor resolve
	FrozenSince  time.Time         `json:"frozen_since,omitzero"`
	Uncovered    bool              `json:"uncovered,omitempty"` // not all of its runs are measured

	// Of the episode of failures under way, or the last one.
	First         int64               `json:"first,omitempty"` // slot of its first failure
	Last          int64               `json:"last,omitempty"`
	Asked         int                 `json:"asked,omitempty"` // confirmations
	AskedAt       time.Time           `json:"asked_at,omitzero"`
	Confirmations []runs.Confirmation `json:"confirmations,omitempty"`

	Lamps []*lamp.Lamp `json:"lamps,omitempty"`
	Calm  int64        `json:"calm,omitempty"` // minute up to which the drift of the scenario has been dealt with

	Looked time.Time `json:"looked,omitzero"` // when it was looked at last
}

// phase is how far the availability of a unit is from well.
type phase string

// The phases. A unit of which nothing is known is well.
const (
	phaseOK         phase = ""
	phaseSuspect    phase = "suspect"
	phaseBlip       phase = "blip"
	phaseDown       phase = "down"
	phaseRecovering phase = "recovering"
)

// The pace of the states.
const (
	blipTime       = 5 * time.Minute  // what is over within it was a blip
	blipShown      = 10 * time.Minute // how long it is shown to have been one
	recoverTime    = 10 * time.Minute
	recoverRuns    = 5
	leakTime       = 30 * time.Minute // after the last leak
	confirmAgain   = time.Minute
	confirmAtMost  = 5
	slowSchedule   = 2 * time.Minute // a longer period is worth asking again for
	fewestDueBlind = 3               // of the newest slots two are to be unmeasured for it to be told
	blindOf        = 2
	blindDelay     = 5 * time.Minute // at most
	fewestCover    = 0.9             // share of the slots that are to be measured
)

func newStanding(now time.Time) *standing {
	return &standing{Since: now, Journey: runs.JourneyOK, JourneySince: now}
}

func (s *standing) to(p phase, now time.Time) { s.Phase, s.Since = p, now }

// look decides on a unit.
func (e *Engine) look(u *unit, now time.Time) (ask []ConfirmRequest) {
	s := u.standing
	s.Looked, u.changed = now, false
	u.lookLeak(now)
	u.lookCoverage(now)
	if !s.Frozen {
		failed, lost := u.BadAt > u.handled, u.LostAt > u.handled
		u.handled = max(u.handled, u.BadAt, u.LostAt)
		if u.plan.Avail >= 0 {
			ask = e.lookAvailability(u, now, failed)
		}
		u.lookBurn(now, lost)
	}
	if j := u.journey(); j != s.Journey {
		s.Journey, s.JourneySince = j, now
	}
	return ask
}

// journey is the unit's state for people.
func (u *unit) journey() runs.JourneyState {
	s := u.standing
	fading, burning := false, false
	for _, l := range s.Lamps {
		if l.Alert.Name == runs.AlertDegraded && l.Alert.Active() {
			burning = burning || l.Well.IsZero()
			fading = true
		}
	}
	switch {
	case s.Phase == phaseDown:
		return runs.JourneyDown
	case burning:
		return runs.JourneyDegraded
	case s.Phase == phaseRecovering || fading:
		return runs.JourneyRecovering
	case s.Phase == phaseSuspect:
		return runs.JourneySuspect
	case s.Phase == phaseBlip:
		return runs.JourneyBlip
	}
	return runs.JourneyOK
}

func (u *unit) key(name string) runs.AlertKey {
	return runs.AlertKey{Name: name, Scope: runs.ScopeRegion, Scenario: u.Scenario, Region: u.Region}
}

func (u *unit) lookLeak(now time.Time) {
	l := u.standing.find(runs.AlertCacheLeak, "")
	switch fresh := u.LeakAt != 0 && now.UnixNano()-u.LeakAt < int64(leakTime); {
	case fresh:
		l = u.standing.lamp(u.plan, u.key(runs.AlertCacheLeak))
		l.Light(now, slo.SeverityPage)
		l.Alert.Why.Rule, l.Alert.Why.Bad, l.Alert.Why.Of = runs.RuleLeak, 1, 1
	case l != nil:
		l.Release(now)
	}
}

// lookCoverage freezes a unit of which too little is measured. It is told where that goes on: where it is the newest slots that are not, two periods later
// too. A coordinator that was away for a few minutes comes back to slots that nobody ordered, and is no longer blind by then.
func (u *unit) lookCoverage(now time.Time) {
	s := u.standing
	measured, due := u.Coverage(now)
	s.Uncovered = measured < due
	was := s.Frozen
	s.Frozen = float64(measured) < float64(due)*fewestCover
	l := s.find(runs.AlertBlind, "")
	if !s.Frozen {
		s.FrozenSince = time.Time{}
		if l != nil {
			l.Release(now)
		}
		return
	}
	if !was {
		s.FrozenSince = now
	}
	lasts := now.Sub(s.FrozenSince) >= min(2*u.plan.Period, blindDelay)
	blind := l != nil && l.Alert.Active()
	for i := range u.Networks {
		blind = blind || lasts && due >= fewestDueBlind && u.Networks[i].Recent.Unmeasured(fewestDueBlind) >= blindOf
	}
	if blind {
		l = s.lamp(u.plan, u.key(runs.AlertBlind))
		l.Light(now, u.plan.severity())
		w := &l.Alert.Why
		w.Rule, w.Bad, w.Of, w.Over = runs.RuleCoverage, due-measured, due, slo.Window(u.plan.Cover)*slo.Window(time.Minute)
	}
}

// severity is that of an alert of one region which is a ticket, unless the scenario is critical.
func (p *plan) severity() slo.Severity {
	if p.Scenario.Alerts.Critical {
		return slo.SeverityPage
	}
	return slo.SeverityTicket
}

// lookAvailability is the state machine: OK -> SUSPECT -> BLIP, or DOWN -> RECOVERING -> OK. DEGRADED is that of burn. failed: a run has failed since the
// unit was last decided on.
func (e *Engine) lookAvailability(u *unit, now time.Time, failed bool) (ask []ConfirmRequest) {
	s, since := u.standing, now.Unix()-u.plan.Horizon
	if hard := u.Hard(since); hard != nil {
		u.goDown(hard, since, now)
		return nil
	}
	switch s.Phase {
	case phaseDown:
		if u.Recovered(1, 0) {
			s.to(phaseRecovering, now)
		}
	case phaseRecovering:
		u.recover(now, since, failed)
	case phaseSuspect:
		ask = e.lookSuspect(u, now)
	default:
		if n, slot := u.LastBad(); failed && slot >= since {
			s.to(phaseSuspect, now)
			s.First, s.Last, s.Asked, s.Confirmations = slot, slot, 0, nil
			ask = e.askFirst(u, n, now)
		} else if s.Phase == phaseBlip && now.Sub(s.Since) >= blipShown {
			s.to(phaseOK, now)
		}
	}
	return ask
}

// goDown lights the alert of rule S1. Its network is named where the others are well.
func (u *unit) goDown(hard *evidence.Network, since int64, now time.Time) {
	s := u.standing
	if s.Phase != phaseDown {
		s.to(phaseDown, now)
	}
	key := u.key(runs.AlertDown)
	t := &u.Tracks[u.plan.Avail]
	key.SLO = t.Objective.Name
	if l := s.find(runs.AlertDown, ""); l != nil && l.Alert.Active() {
		key.Network = l.Alert.Network
	} else if len(u.Networks) > 1 && len(u.Failing(since)) == 1 {
		key.Network = hard.Name
	}
	l := s.lamp(u.plan, key)
	l.Light(now, slo.SeverityPage)
	bad, of := hard.Recent.Last(evidence.HardRuns, since)
	w := &l.Alert.Why
	w.Rule, w.Bad, w.Of, w.Expected, w.Log10P = runs.RuleHard, int64(bad), int64(of), t.Expected(), t.Log10(int64(bad), int64(of))
}

func (u *unit) recover(now time.Time, since int64, failed bool) {
	s := u.standing
	switch {
	case failed && len(u.Failing(since)) > 0 && s.find(runs.AlertDown, "") != nil:
		s.to(phaseDown, now)
	case failed:
		s.Since = now
	case u.Streak() >= recoverRuns && now.Sub(s.Since) >= recoverTime:
		if l := s.find(runs.AlertDown, ""); l == nil || l.Release(now) {
			s.to(phaseOK, now)
		}
	}
}

// lookSuspect waits for what becomes of a failure, and asks again where the schedule is too slow to tell.
func (e *Engine) lookSuspect(u *unit, now time.Time) []ConfirmRequest {
	s, need := u.standing, 2
	slow := u.plan.Period > slowSchedule
	if slow {
		need = 1
	}
	n, last := u.LastBad()
	s.Last = max(s.Last, last)
	switch {
	case !u.Recovered(need, s.First):
		if slow && s.Asked > 0 && s.Asked < confirmAtMost && now.Sub(s.AskedAt) >= confirmAgain && n != nil && n.Recent.Refuted(s.First) {
			return e.ask(u, n, u.Region, now)
		}
	case time.Duration(s.Last-s.First)*time.Second <= blipTime:
		s.to(phaseBlip, now)
	default:
		s.to(phaseRecovering, now)
	}
	return nil
}

// askFirst asks for the two confirmations of a failure: in the same region, by another probe if there is one, and in a region that is well.
func (e *Engine) askFirst(u *unit, n *evidence.Network, now time.Time) []ConfirmRequest {
	if u.plan.Scenario.Kind == scenario.KindReplication { // a reader alone cannot write
		return nil
	}
	out := e.ask(u, n, u.Region, now)
	if other := u.wellNeighbour(); other != nil {
		out = append(out, e.ask(u, n, other.Region, now)...)
	}
	return out
}

// wellNeighbour is the next region of the scenario that is well; nil = none is.
func (u *unit) wellNeighbour() *unit {
	units, at := u.plan.units, 0
	for units[at] != u {
		at++
	}
	for i := 1; i < len(units); i++ {
		o := units[(at+i)%len(units)]
		if s := o.standing; o.Heard() && o.BadAt <= o.handled && (s == nil || s.Journey == runs.JourneyOK && !s.Frozen) {
			return o
		}
	}
	return nil
}

// ask asks for a confirmation in a region.
func (e *Engine) ask(u *unit, n *evidence.Network, region string, now time.Time) []ConfirmRequest {
	s := u.standing
	c := scenario.Combination{Scenario: u.Scenario, Region: region, Network: n.Name}
	r := ConfirmRequest{Combination: c, At: now.Truncate(time.Second).Add(time.Second)}
	timetable := u.plan.Scenario.Timetable()
	for timetable.Next(c, r.At.Add(-time.Second)).Equal(r.At) && u.plan.Period > time.Second {
		r.At = r.At.Add(time.Second)
	}
	sibling := region == u.Region
	if sibling {
		r.Avoid = n.Probe
	}
	s.Asked++
	s.AskedAt = now
	s.Confirmations = append(s.Confirmations, runs.Confirmation{RunID: runs.NewID(c, r.At), Region: region, Sibling: sibling, State: runs.StatePending})
	return []ConfirmRequest{r}
}
