// Package evidence gathers what has become of journeys of late, and says what it amounts to: it counts, and finds that a rule holds, and leaves what
// is made of that to others.
package evidence

import (
	"cmp"
	"time"

	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// Plan is what is to be known of a scenario, and what all of its regions add up to.
type Plan struct {
	Scenario   scenario.Scenario
	Objectives []Objective
	Avail      int // which of them is that of availability; -1 = none
	Period     time.Duration
	Horizon    int64 // seconds that the last few runs of a unit reach back at most
	Cover      int64 // minutes over which coverage counts
	Drift      Drift

	late int64 // seconds after its slot from which on a report is late
}

// Objective is one of a scenario, with what its rules need.
type Objective struct {
	scenario.SLO
	sli    scenario.SLI
	budget slo.Ratio
	rules  []rule
}

// rule is one of slo.WorkbookRules as it is applied to a schedule.
type rule struct {
	slo.BurnRule
	long, short               int64 // minutes
	plannedLong, plannedShort int64 // slots of a unit
}

// The pace at which things are late, blind or no longer recent.
const (
	lateGrace  = 5 * time.Minute
	coverTime  = 15 * time.Minute
	coverSlots = 10
)

// NewPlan takes from a scenario, whose regions are resolved, what is to be known of it.
func NewPlan(s *scenario.Scenario) *Plan {
	p := &Plan{Scenario: *s, Avail: -1, Period: s.Schedule.Period()}
	p.late = int64((s.StartWindow() + s.Timeout.D() + lateGrace) / time.Second)
	reach := max(coverTime, min(coverSlots*p.Period, 72*time.Hour))
	p.Horizon, p.Cover = int64(reach/time.Second), int64((reach+time.Minute-1)/time.Minute)
	for _, o := range s.SLOs {
		if o.Objective.Validate() != nil { // the scenario's own check says so
			continue
		}
		one := *newObjective(o)
		if one.sli == scenario.SLIAvailability && p.Avail < 0 {
			p.Avail = len(p.Objectives)
		}
		for _, r := range slo.WorkbookRules() {
			if r.CanFire(o.Objective) {
				one.rules = append(one.rules, p.rule(r))
			}
		}
		p.Objectives = append(p.Objectives, one)
	}
	if p.Avail >= 0 {
		p.Drift.Drift = slo.NewDrift(p.Objectives[p.Avail].budget)
	}
	return p
}

func newObjective(o scenario.SLO) *Objective {
	return &Objective{SLO: o, sli: cmp.Or(o.SLI, scenario.SLIAvailability), budget: o.Objective.Budget()}
}

// rule fits a rule to the schedule: its short window reaches back to the newest slot that can have been reported.
func (p *Plan) rule(r slo.BurnRule) rule {
	newest := p.Period + p.Scenario.StartWindow() + p.Scenario.Timeout.D()
	short := min(max(r.Short.Duration(), newest), r.Long.Duration())
	out := rule{BurnRule: r, long: int64(r.Long.Duration() / time.Minute), short: int64((short + time.Minute - 1) / time.Minute)}
	if c := p.Scenario.Combinations(); len(c) > 0 {
		networks := int64(len(p.Scenario.NetworkNames()))
		timetable := p.Scenario.Timetable()
		out.plannedLong = networks * timetable.Count(c[0], r.Long.Duration())
		out.plannedShort = networks * timetable.Count(c[0], short)
	}
	return out
}

// Spare is the next second after a time that is no slot of a combination, so that a run then is none of the schedule; of a schedule of each second there is
// none.
func (p *Plan) Spare(c scenario.Combination, after time.Time) time.Time {
	at, timetable := after.Truncate(time.Second).Add(time.Second), p.Scenario.Timetable()
	for timetable.Next(c, at.Add(-time.Second)).Equal(at) && p.Period > time.Second {
		at = at.Add(time.Second)
	}
	return at
}

// events reports whether the objective counts events of runs, and not runs.
func (o *Objective) events() bool {
	return o.sli == scenario.SLICacheHit || o.sli == scenario.SLIRouting || o.sli == scenario.SLIFreshness
}

// same reports whether what was counted for an objective is what is counted for another one.
func (o *Objective) same(other *Objective) bool {
	return o.Name == other.Name && o.sli == other.sli && o.Step == other.Step && o.Threshold == other.Threshold && o.Match == other.Match
}
