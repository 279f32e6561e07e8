package exposition

import "time"

// CoordinatorHealth is how a coordinator stands among the others, and how well it keeps its books. It says nothing of the fleet but Regions.
type CoordinatorHealth struct {
	Leading        bool   // whether it orders runs and writes verdicts; where it does not, another one's books are the ones that count
	Term           uint64 // of its last leadership; 0 = it has not led
	ClockJumps     int64  // steps of this machine's clock that were noticed; never falls
	ClockOffset    time.Duration
	SnapshotAt     time.Time // when the snapshot on disk was taken; zero = there is none
	SnapshotErrors int64     // snapshots that could not be written or read; never falls
	SnapshotBytes  int64     // of the snapshot on disk
	RestoreSeconds float64   // from the start to complete books, snapshot and stream tail; 0 = still at it
	ResultsLag     time.Duration
	Regions        []RegionLoad
}

// RegionLoad is what one region's schedule asks for, and what its probes can do.
type RegionLoad struct {
	Region string
	Demand float64 // places that what is due needs on average
	Places int     // of the probes that are up

	ResultsBytes int64 // that the stored results take, as the bus reckons them
	ResultsLimit int64 // that they may take; 0 = not known, or no limit
}

// health adds what every coordinator says of itself.
func (s *page) health(h *CoordinatorHealth) {
	s.Bool("lastmile_coordinator_leader", nil, h.Leading)
	s.Int("lastmile_coordinator_term", nil, int64(h.Term))
	s.Int("lastmile_coordinator_clock_jumps_total", nil, h.ClockJumps)
	s.Seconds("lastmile_coordinator_clock_offset_seconds", nil, h.ClockOffset)
	if !h.SnapshotAt.IsZero() {
		s.Timestamp("lastmile_coordinator_snapshot_timestamp_seconds", nil, h.SnapshotAt)
	}
	s.Int("lastmile_coordinator_snapshot_bytes", nil, h.SnapshotBytes)
	s.Int("lastmile_coordinator_snapshot_errors_total", nil, h.SnapshotErrors)
	if h.RestoreSeconds > 0 {
		s.Float("lastmile_coordinator_restore_seconds", nil, h.RestoreSeconds)
	}
	s.Seconds("lastmile_coordinator_results_lag_seconds", nil, h.ResultsLag)
}

// load adds what the schedule asks of the regions.
func (s *page) load(regions []RegionLoad) {
	for _, r := range regions {
		l := s.Labels().With("region", r.Region)
		s.Float("lastmile_region_demand_places", l, r.Demand)
		s.Int("lastmile_region_places", l, int64(r.Places))
		s.Int("lastmile_region_results_bytes", l, r.ResultsBytes)
		if r.ResultsLimit > 0 {
			s.Int("lastmile_region_results_limit_bytes", l, r.ResultsLimit)
		}
	}
}
