package evaluate

import (
	"time"

	"lastmile/internal/evaluate/evidence"
	"lastmile/internal/evaluate/lamp"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// The pace of the states.
const (
	blipTime      = 5 * time.Minute  // what is over within it was a blip
	blipShown     = 10 * time.Minute // how long it is shown to have been one
	recoverRuns   = 5
	leakTime      = 30 * time.Minute // after the last leak
	confirmAgain  = time.Minute
	confirmAtMost = 5
	mendAtMost    = 2 * recoverRuns
	slowSchedule  = 2 * time.Minute  // a longer period is worth asking again for
	blindDelay    = 5 * time.Minute  // at most
	blindGrace    = 10 * time.Minute // for probes to come, after the fleet has started or nobody led
	absence       = time.Minute      // without a tick, by whichever leader: nobody led
	fewestCover   = 0.9              // share of the slots that are to be measured
)

// look decides on a unit.
func (e *Engine) look(u *unit, now time.Time) (ask []ConfirmRequest) {
	s := u.standing
	s.Looked, u.changed = now, false
	u.lookLeak(now)
	u.lookCoverage(now, e.since)
	if !s.Frozen {
		failed, lost := u.BadAt > u.handled, u.LostAt > u.handled
		u.handled = max(u.handled, u.BadAt, u.LostAt)
		if u.plan.Avail >= 0 {
			ask = e.lookAvailability(u, now, failed)
		} else if s.Phase != lamp.OK { // the scenario had such an objective once
			s.To(lamp.OK, now)
		}
		u.lookBurn(now, lost)
	}
	if j := u.journey(); j != s.Journey {
		s.Journey, s.JourneySince = j, now
	}
	if !s.Frozen {
		ask = append(ask, e.askMended(u, now)...)
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
	case s.Phase == lamp.Down:
		return runs.JourneyDown
	case burning:
		return runs.JourneyDegraded
	case s.Phase == lamp.Recovering || fading:
		return runs.JourneyRecovering
	case s.Phase == lamp.Suspect:
		return runs.JourneySuspect
	case s.Phase == lamp.Blip:
		return runs.JourneyBlip
	}
	return runs.JourneyOK
}

func (u *unit) key(name string) runs.AlertKey {
	return runs.AlertKey{Name: name, Scope: runs.ScopeRegion, Scenario: u.Scenario, Region: u.Region}
}

func (u *unit) lookLeak(now time.Time) {
	l := u.standing.Find(runs.AlertCacheLeak, "")
	switch fresh := u.LeakAt != 0 && now.UnixNano()-u.LeakAt < int64(leakTime); {
	case fresh:
		l = u.plan.lamp(u.standing, u.key(runs.AlertCacheLeak))
		l.Light(now, slo.SeverityPage)
		l.Alert.Why.Rule, l.Alert.Why.Bad, l.Alert.Why.Of = runs.RuleLeak, 1, 1
	case l != nil:
		l.Release(now)
	}
}

// lookCoverage freezes a unit of which too little is measured. It is told where that goes on: where it is the newest slots that are not, two periods later
// too. since is when leaders began to be there without a gap: what nobody ordered before, and what nobody measured while the fleet was starting, makes
// nobody blind. While nothing at all is known, as after such a gap, it stays as it was.
func (u *unit) lookCoverage(now, since time.Time) {
	s := u.standing
	measured, due := u.Coverage(now)
	s.Uncovered = measured < due
	was := s.Frozen
	// For one that has not been frozen, slots of which nothing was ever heard count as measured: where a coordinator knows nothing of the time before it
	// was started, the one slot that was missed meanwhile is not most of them.
	whole := max(due, int64(len(u.Networks))*u.plan.Cover*int64(time.Minute)/int64(max(u.plan.Period, time.Second)))
	if was {
		whole = due
	}
	s.Frozen = float64(whole-due+measured) < float64(whole)*fewestCover || was && u.Unknown(now)
	l := s.Find(runs.AlertBlind, "")
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
	lasts := now.Sub(s.FrozenSince) >= min(2*u.plan.Period, blindDelay) && now.Sub(since) >= blindGrace
	if l != nil && l.Alert.Active() || lasts && due >= evidence.NewestSlots && u.Unmeasured(since.Unix()) {
		l = u.plan.lamp(s, u.key(runs.AlertBlind))
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
	case lamp.Down:
		if u.Recovered(1, 0) {
			s.To(lamp.Recovering, now)
		}
	case lamp.Recovering:
		u.recover(now, since, failed)
	case lamp.Suspect:
		ask = e.lookSuspect(u, now)
	default:
		if n, slot := u.LastBad(); failed && slot >= since {
			s.To(lamp.Suspect, now)
			s.First, s.Last, s.Asked, s.Confirmations = slot, slot, 0, nil
			ask = e.askFirst(u, n, now)
		} else if s.Phase == lamp.Blip && now.Sub(s.Since) >= blipShown {
			s.To(lamp.OK, now)
		}
	}
	return ask
}

// goDown lights the alert of rule S1. Its network is named where the others are well.
func (u *unit) goDown(hard *evidence.Network, since int64, now time.Time) {
	s := u.standing
	if s.Phase != lamp.Down {
		s.To(lamp.Down, now)
	}
	key := u.key(runs.AlertDown)
	t := &u.Tracks[u.plan.Avail]
	key.SLO = t.Objective.Name
	if l := s.Find(runs.AlertDown, ""); l != nil && l.Alert.Active() {
		key.Network = l.Alert.Network
	} else if len(u.Networks) > 1 && len(u.Failing(since)) == 1 {
		key.Network = hard.Name
	}
	l := u.plan.lamp(s, key)
	l.Light(now, slo.SeverityPage)
	bad, of := hard.Recent.Last(evidence.HardRuns, since)
	w := &l.Alert.Why
	w.Rule, w.Bad, w.Of, w.Expected, w.Log10P = runs.RuleHard, int64(bad), int64(of), t.Expected(), t.Log10(int64(bad), int64(of))
}

func (u *unit) recover(now time.Time, since int64, failed bool) {
	s := u.standing
	switch {
	case failed && len(u.Failing(since)) > 0 && s.Find(runs.AlertDown, "") != nil:
		s.To(lamp.Down, now)
	case failed:
		s.Since = now
	case u.Streak() >= recoverRuns && now.Sub(s.Since) >= u.plan.recovery():
		if l := s.Find(runs.AlertDown, ""); l == nil || l.Release(now) {
			s.To(lamp.OK, now)
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
		s.To(lamp.Blip, now)
	default:
		s.To(lamp.Recovering, now)
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
	r := u.request(n, region, now)
	sibling := region == u.Region
	if sibling {
		r.Avoid = n.Probe
	}
	s.Asked++
	s.AskedAt = now
	s.Confirmations = append(s.Confirmations, runs.Confirmation{RunID: runs.NewID(r.Combination, r.At), Region: region, Sibling: sibling, State: runs.StatePending})
	return []ConfirmRequest{r}
}

func (u *unit) request(n *evidence.Network, region string, now time.Time) ConfirmRequest {
	c := scenario.Combination{Scenario: u.Scenario, Region: region, Network: n.Name}
	return ConfirmRequest{Combination: c, At: u.plan.Spare(c, now)}
}

// askMended asks, where the schedule is slow, for runs that tell whether what was bad is well again: five runs of the schedule may take hours, in which an
// alert would stay open for nothing. They are asked for after a good run of the schedule, one at a time.
func (e *Engine) askMended(u *unit, now time.Time) []ConfirmRequest {
	s := u.standing
	if s.Journey != runs.JourneyRecovering {
		s.Mends = 0
		return nil
	}
	enough := !s.Open(runs.AlertDown) || u.Streak() >= recoverRuns
	for i := range u.Tracks {
		l := s.Find(runs.AlertDegraded, u.Tracks[i].Objective.Name)
		enough = enough && (u.Tracks[i].Streak >= recoverRuns || l == nil || !l.Alert.Active())
	}
	pace := min(max(u.plan.recovery()/recoverRuns, confirmAgain), 2*confirmAgain)
	if enough || u.plan.Period <= slowSchedule || u.plan.Scenario.Kind == scenario.KindReplication || s.Mends >= mendAtMost || now.Sub(s.AskedAt) < pace {
		return nil
	}
	n, _ := u.LastBad()
	if n == nil {
		n = &u.Networks[0]
	}
	s.Mends++
	s.AskedAt = now
	return []ConfirmRequest{u.request(n, u.Region, now)}
}
