package runs

import (
	"fmt"
	"slices"
	"time"

	"lastmile/internal/scenario"
)

// Verdict closes the slots of one region whose deadline fell in one minute and for which no result had come. It is written
// once and replayed as it stands, so that a ledger rebuilt from the streams never depends on a clock. A minute in which every
// slot was measured has a verdict without slots.
type Verdict struct {
	Schema int           `json:"schema"`
	Region string        `json:"region"`
	Minute time.Time     `json:"minute"`
	Slots  []SlotVerdict `json:"slots,omitempty"`
}

// SlotVerdict closes one slot as missing or skipped.
type SlotVerdict struct {
	RunID  ID     `json:"run_id"`
	State  State  `json:"state"`
	Reason Reason `json:"reason"`
}

// Check reports what makes a verdict that came over the bus unusable.
func (v *Verdict) Check() error {
	if v.Schema != Schema {
		return fmt.Errorf("check verdict: got schema %d, want %d", v.Schema, Schema)
	}
	if !scenario.ValidName(v.Region) {
		return fmt.Errorf("check verdict: got region %.100q, want a label", v.Region)
	}
	if v.Minute.Unix() <= 0 || !v.Minute.Equal(v.Minute.Truncate(time.Minute)) {
		return fmt.Errorf("check verdict of %s: got minute %s, want a whole minute", v.Region, v.Minute)
	}
	for _, s := range v.Slots {
		c, _, err := s.RunID.Parse()
		if err != nil {
			return fmt.Errorf("check verdict: %w", err)
		}
		if c.Region != v.Region {
			return fmt.Errorf("check verdict: got run %s, want runs of region %s only", s.RunID, v.Region)
		}
		if s.State != StateMissing && s.State != StateSkipped {
			return fmt.Errorf("check verdict: got state %q for %s, want missing or skipped", s.State, s.RunID)
		}
		if !slices.Contains(Reasons(), s.Reason) {
			return fmt.Errorf("check verdict: got reason %.100q for %s, want one of %v", s.Reason, s.RunID, Reasons())
		}
	}
	return nil
}

// Heartbeat is what a probe says of itself every few seconds.
type Heartbeat struct {
	Schema   int       `json:"schema"`
	Region   string    `json:"region"`
	Probe    string    `json:"probe"`
	Version  string    `json:"version"`
	SentAt   time.Time `json:"sent_at"` // by the probe's clock
	Slots    int       `json:"slots"`   // runs it can do at once
	Running  []ID      `json:"running"` // runs it is doing, or has taken since the last heartbeat
	Spooled  int       `json:"spooled"` // results not yet acknowledged by the hub
	Browser  bool      `json:"browser"` // whether it has a Chromium
	Rejected int64     `json:"rejected"`
	Clock    *Clock    `json:"clock,omitempty"` // the probe's, where its offset is known

	Pools      []string `json:"pools,omitempty"`       // of the scenarios that it can run; an older probe names none
	Autonomous bool     `json:"autonomous,omitempty"`  // whether it has been ordering its own runs until now
	Leaving    bool     `json:"leaving,omitempty"`     // it stops in good order: this is its last one
	SpoolBytes int64    `json:"spool_bytes,omitempty"` // what its spool takes on disk
	Ended      []ID     `json:"ended,omitempty"`       // of Running, those that are over: their results may be long on their way
}

// Check reports what makes a heartbeat that came over the bus unusable.
func (h *Heartbeat) Check() error {
	if h.Schema != Schema {
		return fmt.Errorf("check heartbeat: got schema %d, want %d", h.Schema, Schema)
	}
	if !scenario.ValidName(h.Region) || !scenario.ValidName(h.Probe) {
		return fmt.Errorf("check heartbeat: got region %.100q and probe %.100q, want labels", h.Region, h.Probe)
	}
	return nil
}

// HeartbeatReply is the coordinator's answer.
type HeartbeatReply struct {
	ReceivedAt time.Time `json:"received_at"`       // by the coordinator's clock
	Refused    string    `json:"refused,omitempty"` // why the probe gets no runs; empty = it is welcome
	Term       uint64    `json:"term,omitempty"`    // of the coordinator's leadership: see Assignment
	Plan       string    `json:"plan,omitempty"`    // revision of the region's plan, to be fetched where the probe has another

	// ResendBefore is when the hub began to store the region's results: what it acknowledged before it has lost. Zero = not known.
	ResendBefore time.Time `json:"resend_before,omitzero"`
}

// ProbeStatus is one probe as its last heartbeat showed it.
type ProbeStatus struct {
	Region      string
	Name        string
	Version     string
	Up          bool
	LastSeen    time.Time
	ClockOffset time.Duration // the probe's clock less ours
	ClockError  time.Duration // how far off that may be; 0 = not known, and ClockOffset includes one way of the network
	Slots       int
	Running     int
	Spooled     int
	Browser     bool
	Rejected    int64
	Pools       []string
	Autonomous  bool // when it last said so
	Left        bool // it has stopped in good order
	SpoolBytes  int64
}
