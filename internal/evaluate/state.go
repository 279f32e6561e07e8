package evaluate

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"lastmile/internal/evaluate/evidence"
	"lastmile/internal/evaluate/lamp"
	"lastmile/internal/runs"
)

// state is all that was decided, as one leader hands it on to the next.
type state struct {
	Schema int          `json:"schema"`
	Ticked time.Time    `json:"ticked"`
	Since  time.Time    `json:"since"` // when ticks began to come without a gap
	Units  []unitState  `json:"units,omitempty"`
	Plans  []planState  `json:"scenarios,omitempty"`
	Gone   []*lamp.Lamp `json:"gone,omitempty"`
}

type unitState struct {
	Scenario string         `json:"scenario"`
	Region   string         `json:"region"`
	Handled  int64          `json:"handled"`
	Standing *lamp.Standing `json:"standing"`
}

type planState struct {
	Scenario string        `json:"scenario"`
	Standing lamp.Standing `json:"standing"`
}

// adoptGrace is how long before the last tick of the leader before a failure may have been stored that it had not heard of.
const adoptGrace = 2 * time.Minute

// State returns what was decided: states and alerts, without the counts. It is for the next leader; see Adopt.
func (e *Engine) State() ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	body, err := json.Marshal(e.state(true))
	if err != nil {
		return nil, fmt.Errorf("write state of alerts: %w", err)
	}
	return body, nil
}

// manyLamps is how many alerts are kept with the last words about those that have ended: of more the words alone would be too much for one message.
const manyLamps = 1000

// state collects what was decided; lean: without what an alert that is active says of itself anew at the next tick, and what the scenario says.
func (e *Engine) state(lean bool) state {
	total := 0
	for range e.lamps {
		total++
	}
	thin := func(lamps []*lamp.Lamp) []*lamp.Lamp {
		if !lean {
			return lamps
		}
		out := make([]*lamp.Lamp, len(lamps))
		for i, l := range lamps {
			out[i] = l.Thin(e.plans[l.Alert.Scenario] != nil, total > manyLamps)
		}
		return out
	}
	s := state{Schema: runs.Schema, Ticked: e.ticked, Since: e.since, Gone: thin(e.gone)}
	for _, u := range e.active {
		standing := *u.standing
		standing.Lamps = thin(standing.Lamps)
		s.Units = append(s.Units, unitState{Scenario: u.Scenario, Region: u.Region, Handled: u.handled, Standing: &standing})
	}
	for _, p := range e.ordered {
		if len(p.global.Lamps) > 0 || p.global.Calm != 0 {
			global := p.global
			global.Lamps = thin(global.Lamps)
			s.Plans = append(s.Plans, planState{Scenario: p.Scenario.Name, Standing: global})
		}
	}
	return s
}

// readState reads and checks a state.
func readState(body []byte) (s state, err error) {
	if err = json.Unmarshal(body, &s); err != nil {
		return s, fmt.Errorf("read state of alerts: %w", err)
	}
	if s.Schema != runs.Schema {
		return s, fmt.Errorf("read state of alerts: got schema %d, want %d", s.Schema, runs.Schema)
	}
	for i := range s.Units {
		if s.Units[i].Standing == nil {
			return s, errors.New("read state of alerts: got a unit without its standing")
		}
		if err = s.Units[i].Standing.Check(); err != nil {
			return s, fmt.Errorf("read state of alerts: %.100q in %.100q: %w", s.Units[i].Scenario, s.Units[i].Region, err)
		}
	}
	for i := range s.Plans {
		if err = s.Plans[i].Standing.Check(); err != nil {
			return s, fmt.Errorf("read state of alerts: %.100q: %w", s.Plans[i].Scenario, err)
		}
	}
	return s, lamp.Check(s.Gone)
}

// Adopt goes on from what another engine had decided, which State returned: what it had alerted is not alerted again. The scenarios must have been
// defined; alerts of others end. After an error nothing has changed.
func (e *Engine) Adopt(body []byte) error {
	s, err := readState(body)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ticked, e.since, e.gone, e.active, e.touched = s.Ticked, s.Since, s.Gone, nil, nil
	for _, p := range e.ordered {
		p.global = lamp.Standing{}
	}
	for _, u := range e.list {
		u.standing, u.handled, u.changed, u.queued = nil, 0, false, false
		if !s.Ticked.IsZero() {
			u.handled = s.Ticked.Add(-adoptGrace).UnixNano()
		}
	}
	for i := range s.Units {
		from := &s.Units[i]
		u := e.units[unitKey{from.Scenario, from.Region}]
		if u == nil {
			e.orphan(from.Standing.Lamps)
			continue
		}
		u.standing, u.handled = from.Standing, from.Handled
		u.plan.label(u.standing.Lamps...)
		e.orphan(u.standing.Drop(u.plan.knows))
	}
	for i := range s.Plans {
		p := e.plans[s.Plans[i].Scenario]
		if p == nil {
			e.orphan(s.Plans[i].Standing.Lamps)
			continue
		}
		p.global = s.Plans[i].Standing
		p.label(p.global.Lamps...)
		e.orphan(p.global.Drop(p.knows))
	}
	for _, u := range e.list {
		if u.standing != nil {
			e.active = append(e.active, u)
		}
		u.Busy = u.standing != nil
		if u.BadAt > u.handled || u.LostAt > u.handled || u.Incomplete() || u.LeakAt > u.handled-int64(leakTime) {
			e.note(u, evidence.Trouble)
		}
	}
	return nil
}
