package exposition

import (
	"io"
	"time"

	"lastmile/internal/exposition/sheet"
	"lastmile/internal/runs"
)

// ProbeSources are what a probe's metrics are read from at each scrape. Stats must be set, and safe for concurrent use.
type ProbeSources struct {
	Region  string
	Name    string
	Version string
	Stats   func() ProbeStats
}

// ProbeStats is a probe as it sees itself. What is not a current state counts from the start of the process and never falls.
type ProbeStats struct {
	Results                            map[runs.State]int64 // finished runs
	Taken, Expired, Rejected, Repeated int64                // assignments
	Running, Slots                     int                  // runs now, and at most
	Spooled                            int                  // results that the hub has not acknowledged
	SpoolCorrupt, SpoolErrors          int64
	HubConnected                       bool
	Reconnects                         int64
	LastHeartbeat                      time.Time     // when the hub last answered one; zero = never
	ClockOffset, ClockError            time.Duration // our clock less the coordinator's, and how far off that may be
	BrowserAvailable                   bool
	ArtefactBytes                      int64 // kept on this machine
	ArtefactFiles                      int
	ArtefactsDropped, ArtefactsExpired int64   // files deleted to make room, or for their age
	ArtefactErrors                     int64   // files that could not be stored or deleted
	BoundCores, BusyCores              float64 // that browser runs may take on this machine, and that all runs do
	Waiting                            int     // runs that wait for room on this machine
	Refused                            int64   // runs that found none in time
	SpoolBytes, SpoolLimit             int64   // on disk, and at most; a limit of 0 = none
	SpoolFull                          bool    // it takes no more runs: its limit is reached, or its disk is full
	SpoolShed                          int64   // artefacts deleted to make room for results
	SpoolResent                        int64   // results sent again to a hub that had lost them
	Autonomous                         bool    // it orders its own runs, from the last plan that it was given
	AutonomousRuns                     int64   // that it ordered itself
	AutonomousMissed                   int64   // that were its turn and found no free place in time
	Peers                              int     // other probes of the region that it hears from
	Fenced                             int64   // assignments of a term that is over
	ClockCorrected                     bool    // it goes by the coordinator's clock, as far as it knows that
}

// Probe writes a probe's metrics. It is safe for concurrent use.
type Probe struct{ sources ProbeSources }

// NewProbe returns the metrics of a probe.
func NewProbe(sources ProbeSources) *Probe { return &Probe{sources: sources} }

// WritePrometheus writes all metrics in the text exposition format.
func (p *Probe) WritePrometheus(w io.Writer) {
	s := &page{sheet.New(DefaultMaxSeries)}
	s.worker(&p.sources, p.sources.Stats())
	s.Process()
	s.Sheet.WritePrometheus(w)
}

// worker adds what a probe says of itself.
func (s *page) worker(from *ProbeSources, stats ProbeStats) {
	l := sheet.Labels(nil).With("region", from.Region).With("probe", from.Name)
	s.Int("lastmile_worker_info", l.With("version", from.Version), 1)
	for _, state := range []runs.State{runs.StatePassed, runs.StateDegraded, runs.StateFailed, runs.StateInvalid} {
		s.Int("lastmile_worker_results_total", l.With("state", string(state)), stats.Results[state])
	}
	s.Int("lastmile_worker_assignments_taken_total", l, stats.Taken)
	s.Int("lastmile_worker_assignments_expired_total", l, stats.Expired)
	s.Int("lastmile_worker_assignments_rejected_total", l, stats.Rejected)
	s.Int("lastmile_worker_assignments_repeated_total", l, stats.Repeated)
	s.Int("lastmile_worker_slots", l, int64(stats.Slots))
	s.Int("lastmile_worker_busy_slots", l, int64(stats.Running))
	s.Float("lastmile_worker_admission_bound_cores", l, stats.BoundCores)
	s.Float("lastmile_worker_admission_busy_cores", l, stats.BusyCores)
	s.Int("lastmile_worker_admission_waiting_runs", l, int64(stats.Waiting))
	s.Int("lastmile_worker_admission_refused_total", l, stats.Refused)
	s.Int("lastmile_worker_artefact_bytes", l, stats.ArtefactBytes)
	s.Int("lastmile_worker_artefact_files", l, int64(stats.ArtefactFiles))
	s.Int("lastmile_worker_artefacts_deleted_total", l.With("reason", "room"), stats.ArtefactsDropped)
	s.Int("lastmile_worker_artefacts_deleted_total", l.With("reason", "age"), stats.ArtefactsExpired)
	s.Int("lastmile_worker_artefact_errors_total", l, stats.ArtefactErrors)
	s.Int("lastmile_worker_spool_results", l, int64(stats.Spooled))
	s.Int("lastmile_worker_spool_corrupt_total", l, stats.SpoolCorrupt)
	s.Int("lastmile_worker_spool_errors_total", l, stats.SpoolErrors)
	s.Int("lastmile_worker_spool_bytes", l, stats.SpoolBytes)
	s.Int("lastmile_worker_spool_limit_bytes", l, stats.SpoolLimit)
	s.Bool("lastmile_worker_spool_full", l, stats.SpoolFull)
	s.Int("lastmile_worker_spool_shed_total", l, stats.SpoolShed)
	s.Int("lastmile_worker_spool_resent_total", l, stats.SpoolResent)
	s.Bool("lastmile_worker_autonomous", l, stats.Autonomous)
	s.Int("lastmile_worker_autonomous_runs_total", l, stats.AutonomousRuns)
	s.Int("lastmile_worker_autonomous_missed_total", l, stats.AutonomousMissed)
	s.Int("lastmile_worker_peers", l, int64(stats.Peers))
	s.Int("lastmile_worker_fenced_total", l, stats.Fenced)
	s.Bool("lastmile_worker_hub_connected", l, stats.HubConnected)
	s.Int("lastmile_worker_hub_reconnects_total", l, stats.Reconnects)
	if !stats.LastHeartbeat.IsZero() {
		s.Timestamp("lastmile_worker_last_heartbeat_timestamp_seconds", l, stats.LastHeartbeat)
	}
	s.Seconds("lastmile_worker_clock_offset_seconds", l, stats.ClockOffset)
	s.Seconds("lastmile_worker_clock_error_seconds", l, stats.ClockError)
	s.Bool("lastmile_worker_clock_corrected", l, stats.ClockCorrected)
	s.Bool("lastmile_worker_browser_available", l, stats.BrowserAvailable)
}
