package evidence

import (
	"slices"

	"lastmile/internal/evaluate/tally"
	"lastmile/internal/runs"
)

type (
	counter = tally.Counter[uint16]
	wide    = tally.Counter[uint32]
)

// Unit is what is known of a scenario in a region.
type Unit struct {
	Scenario, Region string
	Plan             *Plan   // nil until it is attached
	Tracks           []Track // one for each objective of the plan, in the same order
	Networks         []Network
	BadAt            int64         // when the newest failure was stored, Unix nanoseconds
	LostAt           int64         // likewise what spends any budget
	LeakAt           int64         // likewise a leak; 0 = none was
	Leak             *runs.Failure // the newest
	Busy             bool          // not all is well: what comes is not what is usual

	head       tally.Head
	measured   *counter
	unmeasured *counter
	skipped    *counter
	share      driftShare
}

// Track is one objective in one region.
type Track struct {
	Objective *Objective
	Streak    uint16   // good runs since the last lost one
	Failed    *Failed  // nil = nothing ever did
	lost      *counter // runs
	left      *counter // measured runs that say nothing here
	idle      *counter // of those, the ones in which the step that the objective is about was not to run: nobody owes them
	events    *wide
	badEvents *wide
	ran       *counter // runs with events

	baseBad, baseAll float64 // learned: runs, older ones counting less
}

// Failed is what failed first and last in a stretch of failures.
type Failed struct{ First, Latest runs.Failure }

// Network is one combination of a unit.
type Network struct {
	Name   string
	Recent tally.Recent
	Probe  string // that the last failure came from
}

// Attach makes the unit one of a plan. What it has of networks and objectives that are still there it keeps.
func (u *Unit) Attach(p *Plan) {
	u.Plan = p
	networks, tracks := u.Networks, u.Tracks
	u.Networks, u.Tracks = nil, nil
	for _, name := range p.Scenario.NetworkNames() {
		n := Network{Name: name}
		if i := slices.IndexFunc(networks, func(n Network) bool { return n.Name == name }); i >= 0 {
			n = networks[i]
		}
		u.Networks = append(u.Networks, n)
	}
	for i := range p.Objectives {
		o := &p.Objectives[i]
		t := Track{}
		if k := slices.IndexFunc(tracks, func(t Track) bool { return t.Objective.same(o) }); k >= 0 {
			t = tracks[k]
		}
		t.Objective = o
		u.Tracks = append(u.Tracks, t)
	}
}
