package orders

import (
	"context"
	"encoding/json"
	"fmt"

	"lastmile/internal/runs"
)

// KindAlerts is the state of the alerts.
const KindAlerts = "alerts"

// maxPending bounds the changes of alerts that a record holds.
const maxPending = 10_000

// AlertState is how the alerts stand: what one leader keeps for the next.
type AlertState struct {
	Schema  int             `json:"schema"`            // runs.Schema
	Term    uint64          `json:"term"`              // of the leadership that kept it
	State   json.RawMessage `json:"state,omitempty"`   // as the engine gave it
	Pending []runs.Alert    `json:"pending,omitempty"` // changes that were decided, and perhaps not announced yet, in their order
}

// Check reports what makes a state unusable.
func (s *AlertState) Check() error {
	switch {
	case s.Schema != runs.Schema:
		return fmt.Errorf("check alerts: got schema %d, want %d", s.Schema, runs.Schema)
	case len(s.Pending) > maxPending:
		return fmt.Errorf("check alerts: got %d changes that are to be announced, want at most %d", len(s.Pending), maxPending)
	}
	for i := range s.Pending {
		if a := &s.Pending[i]; a.Name == "" || a.StartsAt.IsZero() {
			return fmt.Errorf("check alerts: got change %d of %+v from %s, want a name and a beginning", i, a.AlertKey, a.StartsAt)
		}
	}
	return nil
}

// Alerts returns the state of the alerts and the revision to hand to SaveAlerts: 0 where there is none. One that cannot be used counts as rejected and
// as empty, and can be replaced.
func (c *Coord) Alerts(ctx context.Context) (state AlertState, revision uint64, err error) {
	packed, revision, err := c.read(ctx, KindAlerts, "")
	if err != nil || revision == 0 {
		return state, 0, err
	}
	state, err = DecodeAlerts(packed)
	if err != nil {
		c.reject(KindAlerts, key(KindAlerts, ""), err)
		return AlertState{}, revision, nil
	}
	return state, revision, nil
}

// SaveAlerts replaces the state of the alerts and returns its new revision. revision is the one that Alerts or the last SaveAlerts returned; where it is
// no longer the latest the error holds ErrConflict, and nothing has changed.
func (c *Coord) SaveAlerts(ctx context.Context, state AlertState, revision uint64) (uint64, error) {
	packed, err := EncodeAlerts(&state)
	if err == nil {
		err = c.fits(packed)
	}
	if err != nil {
		return 0, fmt.Errorf("encode alerts: %w", err)
	}
	return c.swap(ctx, KindAlerts, "", packed, revision)
}

// EncodeAlerts packs a state that passes its check: gzip'd JSON.
func EncodeAlerts(state *AlertState) ([]byte, error) {
	if err := state.Check(); err != nil {
		return nil, err
	}
	return pack(state)
}

// DecodeAlerts unpacks a state, so far as it is not too large, and checks it.
func DecodeAlerts(packed []byte) (state AlertState, err error) {
	if err := unpack(packed, &state); err != nil {
		return AlertState{}, fmt.Errorf("decode alerts: %w", err)
	}
	if err := state.Check(); err != nil {
		return AlertState{}, err
	}
	return state, nil
}
