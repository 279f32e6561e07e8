package exposition

import (
	"io"
	"sync"
	"time"

	"lastmile/internal/exposition/meters"
	"lastmile/internal/exposition/sheet"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// DefaultMaxSeries is the cap on the series of a coordinator: room for 10,000 combinations that have seen everything there is to see.
const DefaultMaxSeries = 3_000_000

// CoordinatorSources are what a coordinator's metrics are read from at each scrape. All functions must be set but those that may be nil, and
// safe for concurrent use.
type CoordinatorSources struct {
	Version           string
	Accounts          func() []runs.Account
	Probes            func() []runs.ProbeStatus
	Bus               func() BusState
	DispatchFailures  func() int64
	HeartbeatsRefused func() int64
	Health            func() CoordinatorHealth

	Objectives func() []runs.ObjectiveStatus // nil = none
	Journeys   func() []runs.JourneyStatus   // nil = none
	Alerts     func() []runs.Alert           // active ones, and those that ended of late; nil = none
	Sinks      func() []Sink                 // nil = none
	Usual      func() []Usual                // of the combinations of which enough is known; nil = none

	Now       func() time.Time // by which samples are recent; nil = time.Now
	Networks  netprofile.Set   // those that scenarios may name: their round trips scale the buckets of run durations
	MaxSeries int              // cap on series; 0 = DefaultMaxSeries
}

// BusState is the coordinator's connection to the bus.
type BusState struct {
	Connected  bool
	Reconnects int64
	Rejected   map[string]int64 // messages that could not be used, by kind; every kind, zeros included
}

// Coordinator writes the coordinator's metrics. It is safe for concurrent use.
type Coordinator struct {
	sources CoordinatorSources
	sheets  sync.Pool      // of *page: a scrape of a large fleet fills tens of megabytes
	meters  *meters.Meters // what is counted here; they may have half of the cap, the other half is the ledger's

	mu      sync.Mutex
	dropped int64 // series that the cap has kept out, without that of the meters
}

// page is a sheet, with what this package has to write on it.
type page struct{ *sheet.Sheet }

// NewCoordinator returns the metrics of a coordinator.
func NewCoordinator(sources CoordinatorSources) *Coordinator {
	if sources.MaxSeries == 0 {
		sources.MaxSeries = DefaultMaxSeries
	}
	if sources.Now == nil {
		sources.Now = time.Now
	}
	c := &Coordinator{sources: sources, meters: meters.New(sources.Networks, sources.MaxSeries/2, sources.Now)}
	c.sheets.New = func() any { return &page{sheet.New(sources.MaxSeries)} }
	return c
}

// Define opens the series of every combination of the scenarios, so that all counters exist from the start. A combination that
// is defined again gets the series of new steps and keeps the buckets it has. Regions must be resolved.
func (c *Coordinator) Define(scenarios []scenario.Scenario) { c.meters.Define(scenarios) }

// Observe takes up a result that the ledger has entered, or one of a confirmation, which never enters it and is only counted as such.
func (c *Coordinator) Observe(r *runs.Result) { c.meters.Observe(r) }

// Remember takes up a result that an earlier process has counted: it is among the recent ones, and in no counter.
func (c *Coordinator) Remember(r *runs.Result) { c.meters.Remember(r) }

// DispatchLag takes up how long after its slot an assignment was on the bus. What is early counts as on time.
func (c *Coordinator) DispatchLag(region string, lag time.Duration) {
	c.meters.DispatchLag(region, lag)
}

// WritePrometheus writes all metrics in the text exposition format. What does not fit under the cap on series is left out by whole
// probes, alerts, objectives and combinations, the last by name first, and counted. A coordinator that does not lead writes what is about
// itself only: its books say the same as the leader's, and a sum over both would count everything twice.
func (c *Coordinator) WritePrometheus(w io.Writer) {
	s := c.sheets.Get().(*page)
	defer c.sheets.Put(s)
	s.Reset()
	health := c.sources.Health()
	s.itself(&c.sources, &health)
	if health.Leading {
		c.books(s, &health)
	}
	c.mu.Lock()
	c.dropped += int64(s.Dropped())
	dropped := c.dropped
	c.mu.Unlock()
	s.Int("lastmile_series_dropped_total", nil, dropped+c.meters.Dropped())
	s.Int("lastmile_series", nil, int64(s.Series())+1)
	s.Process()
	s.Sheet.WritePrometheus(w)
}

// itself adds what is said of this coordinator, whether it leads or not.
func (s *page) itself(from *CoordinatorSources, health *CoordinatorHealth) {
	s.Int("lastmile_coordinator_info", s.Labels().With("version", from.Version), 1)
	s.health(health)
	bus := from.Bus()
	s.Bool("lastmile_bus_connected", nil, bus.Connected)
	s.Int("lastmile_nats_reconnects_total", nil, bus.Reconnects)
	if health.Leading { // one that stands by reads the same messages
		s.counted(from, bus)
	}
}

// counted adds what the coordinator that leads counts.
func (s *page) counted(from *CoordinatorSources, bus BusState) {
	for _, kind := range sortedKeys(bus.Rejected) {
		s.Int("lastmile_bus_rejected_total", s.Labels().With("kind", kind), bus.Rejected[kind])
	}
	s.Int("lastmile_dispatch_failures_total", nil, from.DispatchFailures())
	s.Int("lastmile_heartbeats_refused_total", nil, from.HeartbeatsRefused())
}

// books adds all that is not about this coordinator: runs, slots, objectives, alerts, probes and regions. What pages comes first: should there be
// too much, it is the last to be left out.
func (c *Coordinator) books(s *page, health *CoordinatorHealth) {
	c.meters.Write(s.Sheet)
	s.load(health.Regions)
	s.alerts(&c.sources)
	for _, p := range c.sources.Probes() {
		s.Block(func() { s.probe(&p) })
	}
	s.objectives(&c.sources)
	accounts := c.sources.Accounts()
	s.leaks(accounts)
	for i := range accounts {
		s.Block(func() { s.account(&accounts[i]) })
	}
	if c.sources.Usual != nil {
		for _, u := range c.sources.Usual() {
			s.Block(func() { s.usual(&u) })
		}
	}
}

// probe adds a probe as its last heartbeat showed it.
func (s *page) probe(p *runs.ProbeStatus) {
	l := s.Labels().With("region", p.Region).With("probe", p.Name)
	s.Bool("lastmile_probe_up", l, p.Up)
	s.Timestamp("lastmile_probe_last_seen_timestamp_seconds", l, p.LastSeen)
	s.Seconds("lastmile_probe_clock_offset_seconds", l, p.ClockOffset)
	if p.ClockError > 0 {
		s.Seconds("lastmile_probe_clock_error_seconds", l, p.ClockError)
	}
	s.Int("lastmile_probe_slots", l, int64(p.Slots))
	s.Int("lastmile_probe_busy_slots", l, int64(p.Running))
	s.Int("lastmile_probe_spool_results", l, int64(p.Spooled))
	s.Int("lastmile_probe_spool_bytes", l, p.SpoolBytes)
	s.Bool("lastmile_probe_autonomous", l, p.Autonomous)
	s.Bool("lastmile_probe_left", l, p.Left)
	s.Bool("lastmile_probe_browser_available", l, p.Browser)
	s.Int("lastmile_probe_rejected_total", l, p.Rejected)
	s.Int("lastmile_probe_info", l.With("version", p.Version), 1)
}
