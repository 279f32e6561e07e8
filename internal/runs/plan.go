package runs

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"lastmile/internal/netprofile"
	"lastmile/internal/scenario"
)

// Plan is all that one region's probes need to go on measuring on their own: the scenarios that run there and the networks that they name. A
// probe keeps the last one that it was given on its disk. Slots and run ids follow from it as they do at the coordinator.
type Plan struct {
	Schema    int                  `json:"schema"`
	Region    string               `json:"region"`
	Revision  string               `json:"revision"` // of the content: the same plan has the same one
	Term      uint64               `json:"term"`     // of the coordinator that wrote it
	MadeAt    time.Time            `json:"made_at"`
	Scenarios []scenario.Scenario  `json:"scenarios"` // with this region among theirs
	Networks  []netprofile.Profile `json:"networks"`

	Maintenance []Maintenance `json:"maintenance,omitempty"` // slots that it covers are not run
}

// Check reports what makes a plan that came over the bus, or off a disk, unusable.
func (p *Plan) Check() error {
	if p.Schema != Schema {
		return fmt.Errorf("check plan: got schema %d, want %d", p.Schema, Schema)
	}
	if !scenario.ValidName(p.Region) {
		return fmt.Errorf("check plan: got region %.100q, want a label", p.Region)
	}
	if p.Revision == "" {
		return errors.New("check plan: got no revision")
	}
	if len(p.Maintenance) > MaxMaintenance {
		return fmt.Errorf("check plan: got %d maintenance windows, want at most %d", len(p.Maintenance), MaxMaintenance)
	}
	for i := range p.Maintenance {
		if err := p.Maintenance[i].Check(); err != nil {
			return fmt.Errorf("check plan: %w", err)
		}
	}
	known := map[string]bool{}
	for i := range p.Networks {
		if problems := p.Networks[i].Validate(); len(problems) > 0 {
			return fmt.Errorf("check plan: network %w", problems[0])
		}
		known[p.Networks[i].Name] = true
	}
	for i := range p.Scenarios {
		s := &p.Scenarios[i]
		if !scenario.ValidName(s.Name) || s.Schedule.IsZero() || !slices.Contains(s.Regions, p.Region) {
			return fmt.Errorf("check plan: got scenario %.100q with schedule %q in regions %.200q, want one of %s", s.Name, s.Schedule, s.Regions, p.Region)
		}
		for _, network := range s.NetworkNames() {
			if !known[network] {
				return fmt.Errorf("check plan: scenario %s: got network %.100q, want one of the plan's", s.Name, network)
			}
		}
	}
	return nil
}

// Position is how far a stream has been read. Created tells the stream from another of the same name.
type Position struct {
	Stream   string    `json:"stream"`
	Created  time.Time `json:"created"`
	Sequence uint64    `json:"sequence"` // of the last message that was taken in
}

// PeerBeat is what a probe says of itself to the others of its region, coordinator or not.
type PeerBeat struct {
	Schema     int       `json:"schema"`
	Region     string    `json:"region"`
	Probe      string    `json:"probe"`
	SentAt     time.Time `json:"sent_at"`    // by its clock, as corrected by its offset
	Answered   bool      `json:"answered"`   // whether a coordinator has answered it lately
	Autonomous bool      `json:"autonomous"` // whether it orders its own runs now
	Pools      []string  `json:"pools"`      // of the scenarios that it can run on its own; none where it has no plan
	Plan       string    `json:"plan"`       // revision of its plan; empty = it has none
	Recent     []ID      `json:"recent"`     // runs that it has, or had in the last two minutes
}
