package lamp

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"lastmile/internal/runs"
)

// KeepEnded is how long after its end an alert is told of.
const KeepEnded = 15 * time.Minute

// The bounds of what is believed of a standing that was read.
const (
	maxLamps = 200
	maxTurns = 100
	maxAsked = 50
)

// Standing is what the leader has made of the evidence on a unit, or on a scenario everywhere: all of it goes to the next leader.
type Standing struct {
	Phase        Phase             `json:"phase,omitempty"`
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
	Mends         int                 `json:"mends,omitempty"` // runs asked for since it began to recover, to tell sooner that it has

	Lamps []*Lamp `json:"lamps,omitempty"`
	Calm  int64   `json:"calm,omitempty"` // minute up to which the drift of the scenario has been dealt with

	Looked time.Time `json:"looked,omitzero"` // when it was looked at last
}

// Phase is how far the availability of a unit is from well.
type Phase string

// The phases. A unit of which nothing is known is well.
const (
	OK         Phase = ""
	Suspect    Phase = "suspect"
	Blip       Phase = "blip"
	Down       Phase = "down"
	Recovering Phase = "recovering"
)

// NewStanding returns that of a unit which is well.
func NewStanding(now time.Time) *Standing {
	return &Standing{Since: now, Journey: runs.JourneyOK, JourneySince: now}
}

// To goes over to a phase.
func (s *Standing) To(p Phase, now time.Time) { s.Phase, s.Since = p, now }

// Told enters what became of a confirmation.
func (s *Standing) Told(r *runs.Result) {
	for i := range s.Confirmations {
		if c := &s.Confirmations[i]; c.RunID == r.RunID && !c.State.Measured() {
			c.State, c.Probe = r.State, strings.Clone(r.Probe)
		}
	}
}

// Find returns the lamp of a name and an objective, or of whichever where that is ""; nil = there is none.
func (s *Standing) Find(name, objective string) *Lamp {
	for _, l := range s.Lamps {
		if l.Alert.Name == name && (objective == "" || l.Alert.SLO == objective) {
			return l
		}
	}
	return nil
}

// Open reports whether an alert of the name is active, of whatever objective.
func (s *Standing) Open(name string) bool {
	return s != nil && slices.ContainsFunc(s.Lamps, func(l *Lamp) bool { return l.Alert.Name == name && l.Alert.Active() })
}

// Lamp returns the lamp of an alert, made where there is none. Its network follows as long as it has not begun.
func (s *Standing) Lamp(key runs.AlertKey) *Lamp {
	l := s.Find(key.Name, key.SLO)
	if l == nil {
		l = New(key, nil)
		s.Lamps = append(s.Lamps, l)
	}
	if !l.Alert.Active() && l.Alert.Network != key.Network { // the other one may still be told to have ended
		l = New(key, l.Turns)
		s.Lamps = append([]*Lamp{l}, s.Lamps...)
	}
	return l
}

// Drop gives up the alerts of objectives that are not known.
func (s *Standing) Drop(known func(slo string) bool) (gone []*Lamp) {
	if s == nil {
		return nil
	}
	s.Lamps = slices.DeleteFunc(s.Lamps, func(l *Lamp) bool {
		if l.Alert.SLO == "" || known(l.Alert.SLO) {
			return false
		}
		gone = append(gone, l)
		return true
	})
	return gone
}

// Forget drops the lamps that ended long ago.
func (s *Standing) Forget(now time.Time) {
	s.Lamps = slices.DeleteFunc(s.Lamps, func(l *Lamp) bool {
		return !l.Alert.Active() && now.Sub(l.Alert.EndsAt) >= max(FlapTime, KeepEnded)
	})
}

// Check reports what makes a standing that was read unusable.
func (s *Standing) Check() error {
	known := []Phase{OK, Suspect, Blip, Down, Recovering}
	if !slices.Contains(known, s.Phase) || s.Journey != "" && !slices.Contains(runs.JourneyStates(), s.Journey) {
		return fmt.Errorf("got phase %.100q and state %.100q, want known ones", s.Phase, s.Journey)
	}
	if len(s.Lamps) > maxLamps || len(s.Confirmations) > maxAsked {
		return fmt.Errorf("got %d alerts and %d confirmations, want at most %d and %d", len(s.Lamps), len(s.Confirmations), maxLamps, maxAsked)
	}
	return Check(s.Lamps)
}

// Check reports what makes lamps that were read unusable.
func Check(lamps []*Lamp) error {
	for _, l := range lamps {
		if l == nil || l.Alert.Name == "" || len(l.Turns) > maxTurns {
			return errors.New("got an alert without a name, or with too many turns")
		}
	}
	return nil
}
