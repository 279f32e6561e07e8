package evaluate

import (
	"slices"
	"time"

	"lastmile/internal/evaluate/evidence"
	"lastmile/internal/evaluate/lamp"
	"lastmile/internal/scenario"
)

// plan is a scenario.
type plan struct {
	*evidence.Plan
	units  []*unit       // in the order of the scenario's regions
	global lamp.Standing // of the alerts that are everywhere's
}

// recovery is how long all must be well before an alert ends.
func (p *plan) recovery() time.Duration { return p.Scenario.Alerts.RecoveryTime() }

// unit is a scenario in a region: the evidence, which every coordinator gathers, and in standing what the leader has made of it.
type unit struct {
	evidence.Unit
	plan     *plan          // nil until it is defined
	order    int            // among all units
	standing *lamp.Standing // nil = all is well, and nothing happened of late
	handled  int64          // up to which BadAt and LostAt have been decided on
	changed  bool           // something that matters has come since it was looked at
	queued   bool           // among the engine's touched ones
}

// Define says which scenarios there are; their regions must be resolved. What was gathered and decided of those that stay is kept; the alerts of what is
// gone end.
func (e *Engine) Define(scenarios []scenario.Scenario) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.define(scenarios)
}

func (e *Engine) define(scenarios []scenario.Scenario) {
	old, oldPlans := e.units, e.plans
	e.plans, e.units, e.list, e.ordered = map[string]*plan{}, map[unitKey]*unit{}, nil, nil
	for i := range scenarios {
		p := &plan{Plan: evidence.NewPlan(&scenarios[i])}
		if was := oldPlans[p.Scenario.Name]; was != nil {
			p.Drift.Sums, p.global = was.Drift.Sums, was.global
			e.orphan(p.global.Drop(p.knows))
			delete(oldPlans, p.Scenario.Name)
		}
		e.plans[p.Scenario.Name] = p
		e.ordered = append(e.ordered, p)
		for _, region := range p.Scenario.Regions {
			key := unitKey{p.Scenario.Name, region}
			if e.units[key] != nil {
				continue
			}
			u := old[key]
			delete(old, key)
			if u == nil {
				u = &unit{Unit: evidence.Unit{Scenario: key.scenario, Region: region}}
			}
			u.Attach(p.Plan)
			u.plan, u.order, u.Busy = p, len(e.list), u.standing != nil
			e.orphan(u.standing.Drop(p.knows))
			e.units[key] = u
			e.list = append(e.list, u)
			p.units = append(p.units, u)
		}
	}
	e.active, e.touched = nil, nil
	for _, u := range e.list {
		if u.queued {
			e.touched = append(e.touched, u)
		}
		if u.standing != nil {
			e.active = append(e.active, u)
		}
	}
	for _, u := range old {
		if u.standing != nil {
			e.orphan(u.standing.Lamps)
		}
	}
	for _, p := range oldPlans {
		e.orphan(p.global.Lamps)
	}
}

// orphan takes over alerts of what is no longer defined, so that they end.
func (e *Engine) orphan(lamps []*lamp.Lamp) { e.gone = append(e.gone, lamps...) }

// knows reports whether the plan has an objective of that name.
func (p *plan) knows(slo string) bool {
	return slices.ContainsFunc(p.Objectives, func(o evidence.Objective) bool { return o.Name == slo })
}
