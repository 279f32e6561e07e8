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

// healthMetrics are those that every coordinator writes, the one that leads and those that stand by.
func healthMetrics() []Metric {
	return metricsOf(FromCoordinator, [][4]string{
		{"lastmile_coordinator_leader", "gauge", "",
			"1 where this coordinator leads: it orders the runs and writes the books' metrics. One that stands by writes what is about itself only, so that sums over coordinators hold."},
		{"lastmile_coordinator_term", "gauge", "", "Term of this coordinator's last leadership, 0 where it has not led. Each leader has a higher one than the one before."},
		{"lastmile_coordinator_clock_jumps_total", "counter", "", "Steps of this machine's clock that the coordinator noticed."},
		{"lastmile_coordinator_clock_offset_seconds", "gauge", "", "What the steps of this machine's clock have come to since the coordinator started: its wall clock less the time that passed."},
		{"lastmile_coordinator_snapshot_timestamp_seconds", "gauge", "", "When the snapshot of the books on disk was taken; absent where there is none."},
		{"lastmile_coordinator_snapshot_bytes", "gauge", "", "Size of the snapshot of the books on disk."},
		{"lastmile_coordinator_snapshot_errors_total", "counter", "", "Snapshots of the books that could not be written or read. The streams have all that is in one: it only saves time."},
		{"lastmile_coordinator_restore_seconds", "gauge", "", "Time from the start until the books were complete again, from the snapshot and the rest of the streams; absent until then."},
		{"lastmile_coordinator_results_lag_seconds", "gauge", "", "Age of the oldest message of the streams that is not in this coordinator's books yet; 0 where it has read them all."},
	})
}

// loadMetrics are what the schedule asks of each region, and what is there for it.
func loadMetrics() []Metric {
	return metricsOf(FromCoordinator, [][4]string{
		{"lastmile_region_demand_places", "gauge", "region", "Places that the runs that are due need on average: for each combination its usual run time over its interval, added up."},
		{"lastmile_region_places", "gauge", "region", "Runs that the region's probes which are up can do at once. Below the demand, slots go missing."},
		{"lastmile_region_results_bytes", "gauge", "region", "What the stored results of the region take of their room, before compression."},
		{"lastmile_region_results_limit_bytes", "gauge", "region",
			"The room for the results of the region; absent where there is no limit. Once it is full new results stay with the probes, which at last take no more work."},
	})
}

// health adds what every coordinator says of itself.
func (s *sheet) health(h *CoordinatorHealth) {
	s.bool("lastmile_coordinator_leader", nil, h.Leading)
	s.int("lastmile_coordinator_term", nil, int64(h.Term))
	s.int("lastmile_coordinator_clock_jumps_total", nil, h.ClockJumps)
	s.seconds("lastmile_coordinator_clock_offset_seconds", nil, h.ClockOffset)
	if !h.SnapshotAt.IsZero() {
		s.timestamp("lastmile_coordinator_snapshot_timestamp_seconds", nil, h.SnapshotAt)
	}
	s.int("lastmile_coordinator_snapshot_bytes", nil, h.SnapshotBytes)
	s.int("lastmile_coordinator_snapshot_errors_total", nil, h.SnapshotErrors)
	if h.RestoreSeconds > 0 {
		s.float("lastmile_coordinator_restore_seconds", nil, h.RestoreSeconds)
	}
	s.seconds("lastmile_coordinator_results_lag_seconds", nil, h.ResultsLag)
}

// load adds what the schedule asks of the regions.
func (s *sheet) load(regions []RegionLoad) {
	for _, r := range regions {
		l := s.labels[:0].with("region", r.Region)
		s.float("lastmile_region_demand_places", l, r.Demand)
		s.int("lastmile_region_places", l, int64(r.Places))
		s.int("lastmile_region_results_bytes", l, r.ResultsBytes)
		if r.ResultsLimit > 0 {
			s.int("lastmile_region_results_limit_bytes", l, r.ResultsLimit)
		}
	}
}
