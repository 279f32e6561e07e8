package runs

import (
	"fmt"
	"time"

	"lastmile/internal/netprofile"
	"lastmile/internal/scenario"
)

// Schema is the major version of Assignment and Result.
const Schema = 1

// Trigger says why a run happens.
type Trigger string

// The triggers. Only scheduled runs fill slots and enter an SLI.
const (
	TriggerSchedule Trigger = "schedule"
	TriggerManual   Trigger = "manual"
	TriggerConfirm  Trigger = "confirm" // of a failure: page it, or not
)

// Assignment orders one run. It holds all that a probe needs but the values of secrets.
type Assignment struct {
	Schema   int                `json:"schema"`
	RunID    ID                 `json:"run_id"`
	Scenario scenario.Scenario  `json:"scenario"`
	Revision string             `json:"revision"`
	Region   string             `json:"region"`
	Network  netprofile.Profile `json:"network"`
	Slot     time.Time          `json:"slot"`
	StartBy  time.Time          `json:"start_by"` // a run that has not started by then must not start
	Deadline time.Time          `json:"deadline"` // a run that has not ended by then is stopped
	Trigger  Trigger            `json:"trigger"`
	Term     uint64             `json:"term,omitempty"` // fencing token: of the leadership that ordered it; later ones are greater. 0 = nobody's

	Autonomous bool   `json:"autonomous,omitempty"` // ordered by the probe itself, cut off from any coordinator
	Avoid      string `json:"avoid,omitempty"`      // of a confirmation: the probe that failed, which hands the run back as long as another may take it

	TraceID string `json:"-"` // of the run under way, W3C Trace Context: the probe makes it; "" = its requests bear none
}

// NewAssignment orders the scheduled run of a combination at a slot.
func NewAssignment(s scenario.Scenario, region string, network netprofile.Profile, slot time.Time) Assignment {
	startBy := slot.Add(s.StartWindow())
	return Assignment{
		Schema:   Schema,
		RunID:    NewID(scenario.Combination{Scenario: s.Name, Region: region, Network: network.Name}, slot),
		Scenario: s,
		Revision: s.Revision(),
		Region:   region,
		Network:  network,
		Slot:     slot,
		StartBy:  startBy,
		Deadline: startBy.Add(s.Timeout.D()),
		Trigger:  TriggerSchedule,
	}
}

// confirmWithin is how long after it was asked for a confirmation may still start.
const confirmWithin = 15 * time.Second

// NewConfirmation orders a run that is to confirm a failure, at a second that is no slot of the schedule. avoid names the probe that failed, if
// another one is to be tried first.
func NewConfirmation(s scenario.Scenario, region string, network netprofile.Profile, at time.Time, avoid string) Assignment {
	a := NewAssignment(s, region, network, at)
	a.Trigger, a.Avoid = TriggerConfirm, avoid
	a.StartBy = at.Add(confirmWithin)
	a.Deadline = a.StartBy.Add(s.Timeout.D())
	return a
}

// Combination names what the assignment runs.
func (a *Assignment) Combination() scenario.Combination {
	return scenario.Combination{Scenario: a.Scenario.Name, Region: a.Region, Network: a.Network.Name}
}

// Check reports what makes an assignment that came over the bus unusable.
func (a *Assignment) Check() error {
	if a.Schema != Schema {
		return fmt.Errorf("check assignment: got schema %d, want %d", a.Schema, Schema)
	}
	c, slot, err := a.RunID.Parse()
	if err != nil {
		return fmt.Errorf("check assignment: %w", err)
	}
	if c != a.Combination() || !slot.Equal(a.Slot) {
		return fmt.Errorf("check assignment: got run id %s, want that of %+v at %s", a.RunID, a.Combination(), a.Slot)
	}
	if a.StartBy.Before(a.Slot) || a.Deadline.Before(a.StartBy) {
		return fmt.Errorf("check assignment %s: got slot %s, start_by %s, deadline %s, want them in that order", a.RunID, a.Slot, a.StartBy, a.Deadline)
	}
	if problems := a.Network.Validate(); len(problems) > 0 {
		return fmt.Errorf("check assignment %s: network %w", a.RunID, problems[0])
	}
	if s := &a.Scenario; s.Kind == scenario.KindReplication && (s.Replication == nil || len(s.Replication.Write) == 0) {
		return fmt.Errorf("check assignment %s: got kind %s without what is to be written", a.RunID, s.Kind)
	}
	if len(a.Scenario.Steps) == 0 {
		return fmt.Errorf("check assignment %s: got no steps, want at least one", a.RunID)
	}
	return nil
}
