package exposition

import (
	"io"
	"sync"

	"github.com/VictoriaMetrics/metrics"

	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// DefaultMaxSeries is the cap on the series of a coordinator: room for 10,000 combinations that have seen everything there is to see.
const DefaultMaxSeries = 1_600_000

// CoordinatorSources are what a coordinator's metrics are read from at each scrape. All functions must be set, and safe for
// concurrent use.
type CoordinatorSources struct {
	Version           string
	Accounts          func() []runs.Account
	Probes            func() []runs.ProbeStatus
	Bus               func() BusState
	DispatchFailures  func() int64
	HeartbeatsRefused func() int64
	Health            func() CoordinatorHealth
	Networks          netprofile.Set // those that scenarios may name: their round trips scale the buckets of run durations
	MaxSeries         int            // cap on series; 0 = DefaultMaxSeries
}

// BusState is the coordinator's connection to the bus.
type BusState struct {
	Connected  bool
	Reconnects int64
	Rejected   map[string]int64 // messages that could not be used, by kind; every kind, zeros included
}

// Coordinator writes the coordinator's metrics. It is safe for concurrent use.
type Coordinator struct {
	sources   CoordinatorSources
	maxSeries int
	sheets    sync.Pool // of *sheet: a scrape of a large fleet fills tens of megabytes

	mu          sync.Mutex
	sets        []*metrics.Set // of what follows; small ones, as a set is written through a buffer of its own
	instruments map[scenario.Combination]*instruments
	replicas    map[scenario.Combination]*replica       // those that read what another region has written
	lag         map[string]*metrics.PrometheusHistogram // of dispatches, by region
	late        map[string]*metrics.PrometheusHistogram // of runs, by region
	reserved    int                                     // series of the instruments
	dropped     int64                                   // series that the cap has kept out
}

// NewCoordinator returns the metrics of a coordinator.
func NewCoordinator(sources CoordinatorSources) *Coordinator {
	c := &Coordinator{
		sources:     sources,
		maxSeries:   sources.MaxSeries,
		instruments: map[scenario.Combination]*instruments{},
		replicas:    map[scenario.Combination]*replica{},
		lag:         map[string]*metrics.PrometheusHistogram{},
		late:        map[string]*metrics.PrometheusHistogram{},
	}
	if c.maxSeries == 0 {
		c.maxSeries = DefaultMaxSeries
	}
	c.sheets.New = func() any { return newSheet(c.maxSeries) }
	return c
}

// WritePrometheus writes all metrics in the text exposition format. What does not fit under the cap on series is left out by whole
// probes and combinations, the last by name first, and counted. A coordinator that does not lead writes what is about itself only: its
// books say the same as the leader's, and a sum over both would count everything twice.
func (c *Coordinator) WritePrometheus(w io.Writer) {
	s := c.sheets.Get().(*sheet)
	defer c.sheets.Put(s)
	s.reset()
	health := c.sources.Health()
	s.itself(&c.sources, &health)
	if health.Leading {
		c.books(s, &health)
	}
	c.mu.Lock()
	c.dropped += int64(s.dropped)
	dropped := c.dropped
	c.mu.Unlock()
	s.int("lastmile_series_dropped_total", nil, dropped)
	s.int("lastmile_series", nil, int64(s.series)+1)
	s.process()
	s.writeTo(w)
}

// newSet opens a set of metrics. The caller holds the lock.
func (c *Coordinator) newSet() *metrics.Set {
	set := metrics.NewSet()
	c.sets = append(c.sets, set)
	return set
}

// itself adds what is said of this coordinator, whether it leads or not.
func (s *sheet) itself(from *CoordinatorSources, health *CoordinatorHealth) {
	s.int("lastmile_coordinator_info", s.labels[:0].with("version", from.Version), 1)
	s.health(health)
	bus := from.Bus()
	s.bool("lastmile_bus_connected", nil, bus.Connected)
	s.int("lastmile_nats_reconnects_total", nil, bus.Reconnects)
	if health.Leading { // one that stands by reads the same messages
		s.counted(from, bus)
	}
}

// counted adds what the coordinator that leads counts.
func (s *sheet) counted(from *CoordinatorSources, bus BusState) {
	for _, kind := range sortedKeys(bus.Rejected) {
		s.int("lastmile_bus_rejected_total", s.labels[:0].with("kind", kind), bus.Rejected[kind])
	}
	s.int("lastmile_dispatch_failures_total", nil, from.DispatchFailures())
	s.int("lastmile_heartbeats_refused_total", nil, from.HeartbeatsRefused())
}

// books adds all that is not about this coordinator: runs, slots, probes and regions.
func (c *Coordinator) books(s *sheet, health *CoordinatorHealth) {
	c.mu.Lock()
	sets := c.sets
	c.mu.Unlock()
	for _, set := range sets {
		s.series += s.take(set.WritePrometheus)
	}
	s.load(health.Regions)
	for _, p := range c.sources.Probes() {
		s.block(func() { s.probe(&p) })
	}
	accounts := c.sources.Accounts()
	for i := range accounts {
		s.block(func() { s.account(&accounts[i]) })
	}
}

// probe adds a probe as its last heartbeat showed it.
func (s *sheet) probe(p *runs.ProbeStatus) {
	s.labels = s.labels[:0].with("region", p.Region).with("probe", p.Name)
	l := s.labels
	s.bool("lastmile_probe_up", l, p.Up)
	s.timestamp("lastmile_probe_last_seen_timestamp_seconds", l, p.LastSeen)
	s.seconds("lastmile_probe_clock_offset_seconds", l, p.ClockOffset)
	if p.ClockError > 0 {
		s.seconds("lastmile_probe_clock_error_seconds", l, p.ClockError)
	}
	s.int("lastmile_probe_slots", l, int64(p.Slots))
	s.int("lastmile_probe_busy_slots", l, int64(p.Running))
	s.int("lastmile_probe_spool_results", l, int64(p.Spooled))
	s.int("lastmile_probe_spool_bytes", l, p.SpoolBytes)
	s.bool("lastmile_probe_autonomous", l, p.Autonomous)
	s.bool("lastmile_probe_left", l, p.Left)
	s.bool("lastmile_probe_browser_available", l, p.Browser)
	s.int("lastmile_probe_rejected_total", l, p.Rejected)
	s.int("lastmile_probe_info", l.with("version", p.Version), 1)
}
