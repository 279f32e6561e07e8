// Package evaluate decides what is worth waking somebody for. It is fed with every result and verdict of the streams, and asked about once a
// second by the coordinator that leads. What it decides follows from what it was fed and the times that it was given, and from nothing else: it
// has no clock, so that a replay decides the same.
//
// A unit is a scenario in a region, all of its networks together. Of each the last few runs and three rings of counts are kept: the evidence, which every
// coordinator gathers. What was made of it (states, alerts) is the leader's, which hands it on: see Engine.State.
package evaluate

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"lastmile/internal/evaluate/evidence"
	"lastmile/internal/evaluate/lamp"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// Books know how objectives stand, late data included: what an alert tells of burn and budget is theirs, what it is decided on is not. They are
// asked while the engine is locked, and must not use it.
type Books interface {
	// Objective returns how an objective of a scenario stands in a region, or everywhere where region is ""; ok=false where there is no such one.
	Objective(scenario, region, slo string, now time.Time) (status runs.ObjectiveStatus, ok bool)
}

// ConfirmRequest asks for a run that is to confirm a failure.
type ConfirmRequest struct {
	Combination scenario.Combination
	At          time.Time // a second that is no slot of the combination's schedule
	Avoid       string    // the probe that failed; "" = any will do
}

// Decisions are what a Tick came to.
type Decisions struct {
	Changed []runs.Alert     // began, rose, is not inhibited any more, or ended; sorted like Alerts
	Confirm []ConfirmRequest // runs to be ordered at once
}

// Engine holds the evidence of every scenario and region, and the states and alerts that were decided on it. It is safe for concurrent use.
type Engine struct {
	mu      sync.Mutex
	books   Books
	plans   map[string]*plan
	ordered []*plan
	units   map[unitKey]*unit
	list    []*unit      // the same, by their order
	touched []*unit      // with news for the next Tick
	active  []*unit      // with a standing, by their order
	gone    []*lamp.Lamp // alerts of what is no longer defined
	ticked  time.Time
	since   time.Time // when ticks began to come without a gap
}

type unitKey struct{ scenario, region string }

// New returns an engine that knows no scenario.
func New(books Books) *Engine {
	return &Engine{books: books, plans: map[string]*plan{}, units: map[unitKey]*unit{}}
}

// Result takes up a result that was stored at the hub at that time: one that entered the books, or a confirmation, each once. One that is late, or of
// what is not defined, changes nothing.
func (e *Engine) Result(r *runs.Result, at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	u := e.units[unitKey{r.Scenario, r.Region}]
	if u == nil {
		return
	}
	if r.Trigger == runs.TriggerConfirm {
		u.plan.confirmed(r)
	}
	e.note(u, u.Result(r, at))
}

// Verdict takes up the closing of a region's minute that was stored at the hub at that time. A slot that was measured stays so.
func (e *Engine) Verdict(v *runs.Verdict, at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range v.Slots {
		c, when, err := v.Slots[i].RunID.Parse()
		if err != nil { // checked when it came off the bus
			continue
		}
		if u := e.units[unitKey{c.Scenario, c.Region}]; u != nil {
			e.note(u, u.Close(c.Network, when, v.Slots[i].State, at))
		}
	}
}

// note has the unit looked at by the next Tick where there is reason to.
func (e *Engine) note(u *unit, news evidence.News) {
	if news == evidence.Trouble && !u.queued {
		u.queued = true
		e.touched = append(e.touched, u)
	}
	u.changed = u.changed || news == evidence.Trouble || news == evidence.Fine && u.standing != nil
}

// confirmed enters what became of a confirmation wherever it was asked for.
func (p *plan) confirmed(r *runs.Result) {
	for _, u := range p.units {
		if u.standing != nil {
			u.standing.Told(r)
			u.changed = true
		}
	}
}

// dueAgain reports whether what was looked at last at that time is to be looked at though nothing was heard of it: once a minute, each at a second of
// its own, which does not depend on when else it was looked at.
func dueAgain(looked, now time.Time, order int) bool {
	second := int64(order % 60)
	return (looked.Unix()+second)/60 != (now.Unix()+second)/60
}

// Tick decides what follows from all that has come until now. Only the coordinator that leads calls it, about once a second. It looks at what has news, and
// at what is not well; where nothing is going on it costs next to nothing.
func (e *Engine) Tick(now time.Time) Decisions {
	e.mu.Lock()
	defer e.mu.Unlock()
	now = now.UTC().Truncate(time.Millisecond) // the rest tells nobody anything, and takes room in the state
	if now.Sub(e.ticked) > absence {
		e.since = now
	}
	e.ticked = now
	e.admit(now)
	var d Decisions
	pending := map[*plan]bool{}
	for _, u := range e.active {
		if u.changed || dueAgain(u.standing.Looked, now, u.order) {
			d.Confirm = append(d.Confirm, e.look(u, now)...)
			pending[u.plan] = true
		}
	}
	for _, p := range e.ordered {
		if pending[p] || len(p.global.Lamps) > 0 && dueAgain(p.global.Looked, now, 0) {
			p.global.Looked = now
			e.lookGlobal(p, now)
			p.inhibit(now)
		}
	}
	d.Changed = e.news(now)
	e.dismiss(now)
	return d
}

// admit gives those units a standing that have news.
func (e *Engine) admit(now time.Time) {
	if len(e.touched) == 0 {
		return
	}
	for _, u := range e.touched {
		u.queued = false
		if u.standing == nil {
			u.standing, u.Busy = lamp.NewStanding(now), true
			e.active = append(e.active, u)
		}
	}
	e.touched = e.touched[:0]
	slices.SortFunc(e.active, func(a, b *unit) int { return cmp.Compare(a.order, b.order) })
}

// dismiss takes the standing from those units of which there is nothing to be said any more.
func (e *Engine) dismiss(now time.Time) {
	e.active = slices.DeleteFunc(e.active, func(u *unit) bool {
		s := u.standing
		s.Forget(now)
		idle := s.Phase == lamp.OK && !s.Frozen && !s.Uncovered && len(s.Lamps) == 0 && !u.queued
		if idle {
			u.standing, u.Busy = nil, false
		}
		return idle
	})
	for _, p := range e.ordered {
		p.global.Forget(now)
	}
	e.gone = slices.DeleteFunc(e.gone, func(l *lamp.Lamp) bool { return !l.Alert.Active() && now.Sub(l.Alert.EndsAt) > lamp.KeepEnded })
}

// news returns the alerts that have changed in this tick.
func (e *Engine) news(now time.Time) (changed []runs.Alert) {
	for _, l := range e.gone {
		if l.Alert.Active() {
			l.End(now)
		}
	}
	for l, u := range e.lamps {
		if l.HasNews() || l.Alert.Active() && (l.Told.IsZero() || dueAgain(l.Told, now, 0)) {
			e.tell(l, u, now)
		}
		if l.News() {
			changed = append(changed, l.Copy())
		}
	}
	slices.SortFunc(changed, compareAlerts)
	return changed
}

// lamps yields every alert there is, with its unit; nil for those that are everywhere's, or of nothing any more.
func (e *Engine) lamps(yield func(*lamp.Lamp, *unit) bool) {
	for _, u := range e.active {
		for _, l := range u.standing.Lamps {
			if !yield(l, u) {
				return
			}
		}
	}
	for _, p := range e.ordered {
		for _, l := range p.global.Lamps {
			if !yield(l, nil) {
				return
			}
		}
	}
	for _, l := range e.gone {
		if !yield(l, nil) {
			return
		}
	}
}

// Alerts returns the alerts that are active, and those that ended in the last 15 minutes, as of the last Tick; sorted. The caller owns them.
func (e *Engine) Alerts(now time.Time) []runs.Alert {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []runs.Alert
	for l := range e.lamps {
		if l.Alert.Active() || now.Sub(l.Alert.EndsAt) <= lamp.KeepEnded {
			out = append(out, l.Copy())
		}
	}
	slices.SortFunc(out, compareAlerts)
	return out
}

func compareAlerts(a, b runs.Alert) int {
	return cmp.Or(
		cmp.Compare(a.Scenario, b.Scenario), cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.Region, b.Region), cmp.Compare(a.Name, b.Name),
		cmp.Compare(a.SLO, b.SLO), cmp.Compare(a.Network, b.Network), a.StartsAt.Compare(b.StartsAt),
	)
}

// evidenceWindows are those for which Journeys says how strong the evidence is: of the rules that page.
func evidenceWindows() []slo.Window {
	return []slo.Window{slo.Window(time.Hour), slo.Window(6 * time.Hour)}
}

// Journeys returns how each scenario stands in each region, in the order of their definition.
func (e *Engine) Journeys(now time.Time) []runs.JourneyStatus {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]runs.JourneyStatus, 0, len(e.list))
	for _, u := range e.list {
		j := runs.JourneyStatus{Scenario: u.Scenario, Region: u.Region, State: runs.JourneyOK}
		if s := u.standing; s != nil {
			j.State, j.Since, j.Blind = s.Journey, s.JourneySince, s.Frozen
		}
		for i := range u.Tracks {
			t := &u.Tracks[i]
			for _, w := range evidenceWindows() {
				j.Evidence = append(j.Evidence, runs.EvidenceStatus{SLO: t.Objective.Name, Window: w, Log10P: u.Strength(t, w, now)})
			}
		}
		out = append(out, j)
	}
	return out
}
