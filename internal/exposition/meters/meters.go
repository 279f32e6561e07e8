// Package meters counts what the ledger does not keep of results: durations by bucket, phases, bytes, failed steps, recent durations of steps
// and web vitals, lags, what links did, confirmations. All of it begins anew with the process.
package meters

import (
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"lastmile/internal/exposition/sheet"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// Meters count what results say. It is safe for concurrent use.
type Meters struct {
	networks netprofile.Set
	limit    int // of series
	now      func() time.Time

	mu           sync.Mutex
	combinations listed[scenario.Combination, instruments]
	readers      listed[replica, reader] // those that read what another region has written
	journeys     listed[journey, journeyCounters]
	links        listed[link, linkInstruments]
	regions      listed[string, lags]
	shapes       map[shape][]float64 // bounds of histograms
	known        memo
	reserved     int   // series of all of these
	dropped      int64 // series that the limit has kept out
}

// New returns meters of at most as many series as limit says. The round trips of networks scale the buckets of durations; now tells which
// samples are recent.
func New(networks netprofile.Set, limit int, now func() time.Time) *Meters {
	return &Meters{networks: networks, limit: limit, now: now, shapes: map[shape][]float64{}}
}

// Define opens the series of every combination of the scenarios, so that all counters exist from the start. A combination that
// is defined again gets the series of new steps and keeps the buckets it has. Regions must be resolved.
func (m *Meters) Define(scenarios []scenario.Scenario) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range scenarios {
		s := &scenarios[i]
		layout := layoutOf(s)
		for _, combination := range s.Combinations() {
			m.admit(combination, layout)
			m.reads(combination, s)
			m.journey(combination)
			m.link(combination)
			m.region(combination.Region)
		}
	}
}

// Observe takes up a result that the ledger has entered, or one of a confirmation, which never enters it and is only counted as such.
func (m *Meters) Observe(r *runs.Result) {
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	combination := r.Combination()
	if j := m.journey(combination); j != nil {
		j.observe(r)
	}
	if r.Trigger == runs.TriggerConfirm {
		return
	}
	if in := m.instruments(combination); in != nil {
		m.vitals(in, r, now)
		in.observe(r, now)
	}
	if seen := r.Replication; seen != nil {
		if reader := m.readers.get(replica{combination, seen.From}); reader != nil {
			reader.observe(r)
		}
	}
	if l := m.link(combination); l != nil {
		l.observe(r)
	}
	if r.State.Measured() && r.Load != nil && r.Load.LateMS < maxPhaseMS {
		if lags := m.region(r.Region); lags != nil {
			lags.histograms.add(lags.late, r.Load.LateMS/1000)
		}
	}
}

// Remember takes up a result that an earlier process has counted: it is among the recent ones, and in no counter. To count it again, after a restart without
// a snapshot all that the hub keeps, would look like as many runs of now.
func (m *Meters) Remember(r *runs.Result) {
	if r.Trigger == runs.TriggerConfirm {
		return
	}
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if in := m.instruments(r.Combination()); in != nil {
		m.vitals(in, r, now)
		in.remember(r, now)
	}
}

// instruments returns those of a combination, or nil where the limit does not allow new ones. The caller holds the lock.
func (m *Meters) instruments(combination scenario.Combination) *instruments {
	if in := m.combinations.get(combination); in != nil {
		return in
	}
	return m.admit(combination, layoutOf(nil))
}

// DispatchLag takes up how long after its slot an assignment was on the bus. What is early counts as on time.
func (m *Meters) DispatchLag(region string, lag time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if lags := m.region(region); lags != nil {
		lags.histograms.add(lags.dispatch, max(lag, 0).Seconds())
	}
}

// Write adds all series to a sheet. They were within the limit when they were opened, and are not held against the sheet's.
func (m *Meters) Write(s *sheet.Sheet) {
	now := m.now()
	writeAll(m, &m.regions, func(name string, lags *lags) { lags.write(s, name, &m.known) })
	writeAll(m, &m.links, func(of link, in *linkInstruments) { in.write(s, of, &m.known) })
	writeAll(m, &m.journeys, func(of journey, j *journeyCounters) { j.write(s, of) })
	writeAll(m, &m.readers, func(of replica, r *reader) { r.write(s, of, &m.known) })
	writeAll(m, &m.combinations, func(of scenario.Combination, in *instruments) { in.write(s, of, &m.known, now) })
}

// writeAll writes each item of a list under the lock, taken for each anew: results come in meanwhile.
func writeAll[K comparable, V any](m *Meters, list *listed[K, V], write func(K, *V)) {
	for i := 0; ; i++ {
		m.mu.Lock()
		if i >= len(list.keys) {
			m.mu.Unlock()
			return
		}
		write(list.keys[i], list.items[list.keys[i]])
		m.mu.Unlock()
	}
}

// Dropped is how many series the limit has kept out.
func (m *Meters) Dropped() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dropped
}

// rtt is the round trip that a network adds, 0 where it is not known.
func (m *Meters) rtt(network string) time.Duration {
	p, _ := m.networks.Lookup(network)
	return p.RTT
}

// reserve takes series from the limit.
func (m *Meters) reserve(series int) bool {
	if m.reserved+series > m.limit {
		m.dropped += int64(series)
		return false
	}
	m.reserved += series
	return true
}

// listed is a map whose keys are in the order in which they came. Nothing is ever taken out.
type listed[K comparable, V any] struct {
	items map[K]*V
	keys  []K
}

// get returns what is there under a key, or nil.
func (l *listed[K, V]) get(key K) *V { return l.items[key] }

// add returns item once it is there under the key.
func (l *listed[K, V]) add(key K, item *V) *V {
	if l.items == nil {
		l.items = map[K]*V{}
	}
	l.items[key] = item
	l.keys = append(l.keys, key)
	return item
}

// lags are what is late in a region.
type lags struct {
	histograms     histograms
	dispatch, late *metrics.PrometheusHistogram
}

// region returns a region's lags, or nil where the limit does not allow new ones. The caller holds the lock.
func (m *Meters) region(name string) *lags {
	if known := m.regions.get(name); known != nil {
		return known
	}
	b := m.shaped(shape{lag: true})
	if !m.reserve(2 * histogramSeries(b)) {
		return nil
	}
	l := m.regions.add(name, &lags{histograms: newHistograms()})
	l.dispatch = l.histograms.open("lastmile_dispatch_lag_seconds", nil, b)
	l.late = l.histograms.open("lastmile_run_late_seconds", nil, b)
	return l
}

func (l *lags) write(s *sheet.Sheet, region string, known *memo) {
	l.histograms.write(s, s.Labels().With("region", region), known)
}
