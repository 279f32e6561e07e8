package notes

import (
	"fmt"
	"slices"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// The bounds of a token: it goes through the bus into the requests of other regions.
const (
	MaxTokenValue = 4 << 10  // bytes of one value
	MaxTokenSize  = 48 << 10 // bytes of the message
)

// Token is what a replication's writer tells the readers of its slot: that the write is done, when, and what they have to know of it.
type Token struct {
	Schema    int               `json:"schema"`
	Scenario  string            `json:"scenario"`
	Revision  string            `json:"revision"`
	Network   string            `json:"network"`
	Slot      time.Time         `json:"slot"`
	From      string            `json:"from"` // the region that wrote
	Probe     string            `json:"probe"`
	WrittenAt time.Time         `json:"written_at"`     // by the writer's clock
	Until     time.Time         `json:"until,omitzero"` // by the writer's clock: when the write begins to be cleaned up; zero = never
	Clock     runs.Clock        `json:"clock"`          // the writer's
	Values    map[string]string `json:"values,omitempty"`
}

// Combination names what the writer's run was of.
func (t *Token) Combination() scenario.Combination {
	return scenario.Combination{Scenario: t.Scenario, Region: t.From, Network: t.Network}
}

// Check reports what makes a token unusable, whoever it is for.
func (t *Token) Check() error {
	if t.Schema != runs.Schema {
		return fmt.Errorf("check token: got schema %d, want %d", t.Schema, runs.Schema)
	}
	for what, name := range map[string]string{"scenario": t.Scenario, "network": t.Network, "region": t.From, "probe": t.Probe} {
		if !scenario.ValidName(name) {
			return fmt.Errorf("check token: got %s %.100q, want a label", what, name)
		}
	}
	if t.Slot.Unix() <= 0 || t.WrittenAt.IsZero() || !t.Until.IsZero() && t.Until.Before(t.WrittenAt) {
		return fmt.Errorf("check token: got slot %s, written_at %s, until %s, want all of them, in that order", t.Slot, t.WrittenAt, t.Until)
	}
	if !t.Clock.Sound() {
		return fmt.Errorf("check token: got clock offset %v ms, error %v ms, want an error from 0 to a day, and no longer offset", t.Clock.OffsetMS, t.Clock.ErrorMS)
	}
	for name, value := range t.Values {
		if len(value) > MaxTokenValue {
			return fmt.Errorf("check token: got %d bytes in %.100q, want at most %d", len(value), name, MaxTokenValue)
		}
	}
	return nil
}

// CheckFor reports what makes a token unusable for a run that reads: it must be of the reader's scenario as the reader knows it, of its
// network and slot, from the region that writes, and have all that the steps need and nothing else.
func (t *Token) CheckFor(a *runs.Assignment) error {
	if err := t.Check(); err != nil {
		return err
	}
	r := a.Scenario.Replication
	want := Token{Scenario: a.Scenario.Name, Network: a.Network.Name, From: r.From}
	if t.Combination() != want.Combination() || !t.Slot.Equal(a.Slot) {
		return fmt.Errorf("check token: got one of %+v at %s, want %+v at %s", t.Combination(), t.Slot, want.Combination(), a.Slot)
	}
	if t.Revision != a.Revision {
		return fmt.Errorf("check token: got revision %.100q, want %s", t.Revision, a.Revision)
	}
	for _, name := range r.Pass {
		if _, ok := t.Values[name]; !ok {
			return fmt.Errorf("check token: got no value of %s", name)
		}
	}
	for name := range t.Values {
		if !slices.Contains(r.Pass, name) {
			return fmt.Errorf("check token: got a value of %.100q, want those of %v only", name, r.Pass)
		}
	}
	return nil
}
