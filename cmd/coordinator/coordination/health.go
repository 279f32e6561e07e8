package coordination

import (
	"errors"
	"time"

	"lastmile/internal/bus/room"
	"lastmile/internal/exposition"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// readiness says whether the ledger is complete and the bus is there. One that stands by is ready: it can lead at once.
func (u *Unit) readiness() error {
	if !u.ready.Load() {
		return errors.New("reading back the results")
	}
	if !u.hub.Stats().Connected {
		return errors.New("not connected to the bus")
	}
	return nil
}

// accounts are the books as of now.
func (u *Unit) accounts() []runs.Account {
	accounts := u.ledger.Accounts(u.clock.Now())
	typical := map[scenario.Combination]time.Duration{}
	for i := range accounts {
		if median := accounts[i].Latency[time.Hour].P50; median.N > 0 {
			typical[accounts[i].Combination] = median.Value
		}
	}
	u.typical.Store(&typical)
	return accounts
}

// health is how this coordinator is.
func (u *Unit) health() exposition.CoordinatorHealth {
	snapshot := u.opts.Snapshots.stats()
	return exposition.CoordinatorHealth{
		Leading: u.leads(), Term: u.term.Load(),
		ClockJumps: u.clock.Jumps(), ClockOffset: u.clock.Offset(),
		SnapshotAt: snapshot.at, SnapshotErrors: snapshot.errors, SnapshotBytes: snapshot.bytes,
		RestoreSeconds: time.Duration(u.restored.Load()).Seconds(), ResultsLag: time.Duration(u.behind.Load()),
		Regions: u.loads(),
	}
}

// loads are what is due in each region, and what its probes can take. Typical durations are those of the last look at the books.
func (u *Unit) loads() []exposition.RegionLoad {
	s := u.scheduler()
	if s == nil {
		return nil
	}
	demand := s.Demand(func(c scenario.Combination) (time.Duration, bool) {
		if typical := u.typical.Load(); typical != nil {
			d, ok := (*typical)[c]
			return d, ok
		}
		return 0, false
	})
	places := map[string]int{}
	for _, p := range u.fleet.Probes(u.clock.Now()) {
		if p.Up {
			places[p.Region] += p.Slots
		}
	}
	rooms := map[string]room.Room{}
	if last := u.rooms.Load(); last != nil {
		rooms = *last
	}
	var out []exposition.RegionLoad
	for _, region := range u.set.Fleet.Regions {
		out = append(out, exposition.RegionLoad{
			Region: region, Demand: demand[region], Places: places[region], ResultsBytes: rooms[region].Bytes, ResultsLimit: rooms[region].Limit,
		})
	}
	return out
}

func (u *Unit) busState() exposition.BusState {
	s := u.hub.Stats()
	rejected := map[string]int64{}
	for kind, n := range s.Rejected {
		rejected[string(kind)] = n
	}
	return exposition.BusState{Connected: s.Connected, Reconnects: s.Reconnects, Rejected: rejected}
}
