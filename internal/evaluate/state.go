package evaluate

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"lastmile/internal/evaluate/evidence"
	"lastmile/internal/evaluate/lamp"
	"lastmile/internal/runs"
)

// state is all that was decided, as one leader hands it on to the next.
type state struct {
	Schema int          `json:"schema"`
	Ticked time.Time    `json:"ticked"`
	Units  []unitState  `json:"units,omitempty"`
	Plans  []planState  `json:"scenarios,omitempty"`
	Gone   []*lamp.Lamp `json:"gone,omitempty"`
}

type unitState struct {
	Scenario string    `json:"scenario"`
	Region   string    `json:"region"`
	Handled  int64     `json:"handled"`
	Standing *standing `json:"standing"`
}

type planState struct {
	Scenario string   `json:"scenario"`
	Standing standing `json:"standing"`
}

// The bounds of what is believed of a state.
const (
	maxLamps = 200
	maxTurns = 100
	maxAsked = 50
)

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

// state collects what was decided; lean: without what an alert that is active says of itself anew at the next tick.
func (e *Engine) state(lean bool) state {
	thin := func(lamps []*lamp.Lamp) []*lamp.Lamp {
		if !lean {
			return lamps
		}
		out := make([]*lamp.Lamp, len(lamps))
		for i, l := range lamps {
			out[i] = l
			if l.Alert.Active() {
				out[i] = new(*l)
				out[i].Told = time.Time{}
				w := &l.Alert.Why
				out[i].Alert.Why = runs.Why{Rule: w.Rule, Bad: w.Bad, Of: w.Of, Over: w.Over, Expected: w.Expected, Log10P: w.Log10P, Slices: w.Slices}
			}
		}
		return out
	}
	s := state{Schema: runs.Schema, Ticked: e.ticked, Gone: thin(e.gone)}
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
		if err = s.Units[i].Standing.check(); err != nil {
			return s, fmt.Errorf("read state of alerts: %.100q in %.100q: %w", s.Units[i].Scenario, s.Units[i].Region, err)
		}
	}
	for i := range s.Plans {
		if err = s.Plans[i].Standing.check(); err != nil {
			return s, fmt.Errorf("read state of alerts: %.100q: %w", s.Plans[i].Scenario, err)
		}
	}
	return s, checkLamps(s.Gone)
}

func (s *standing) check() error {
	known := []phase{phaseOK, phaseSuspect, phaseBlip, phaseDown, phaseRecovering}
	if !slices.Contains(known, s.Phase) || s.Journey != "" && !slices.Contains(runs.JourneyStates(), s.Journey) {
		return fmt.Errorf("got phase %.100q and state %.100q, want known ones", s.Phase, s.Journey)
	}
	if len(s.Lamps) > maxLamps || len(s.Confirmations) > maxAsked {
		return fmt.Errorf("got %d alerts and %d confirmations, want at most %d and %d", len(s.Lamps), len(s.Confirmations), maxLamps, maxAsked)
	}
	return checkLamps(s.Lamps)
}

func checkLamps(lamps []*lamp.Lamp) error {
	for _, l := range lamps {
		if l == nil || l.Alert.Name == "" || len(l.Turns) > maxTurns {
			return errors.New("got an alert without a name, or with too many turns")
		}
	}
	return nil
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
	e.ticked, e.gone, e.active, e.touched = s.Ticked, s.Gone, nil, nil
	for _, p := range e.ordered {
		p.global = standing{}
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
		e.orphan(u.standing.drop(u.plan))
	}
	for i := range s.Plans {
		p := e.plans[s.Plans[i].Scenario]
		if p == nil {
			e.orphan(s.Plans[i].Standing.Lamps)
			continue
		}
		p.global = s.Plans[i].Standing
		e.orphan(p.global.drop(p))
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
