package exposition

import (
	"time"

	"github.com/VictoriaMetrics/metrics"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// replicationMetrics are about how long a write in one region takes to be visible in another: region is the one that reads.
func replicationMetrics() []Metric {
	return metricsOf(FromCoordinator, [][4]string{
		{"lastmile_replication_lag_seconds", "histogram", "L from",
			"Time from a write in region from until a read in region saw it, by the hub's clock, of measured runs that are not tainted. Lost writes are not in it."},
		{"lastmile_replication_lag_error_seconds", "summary", "L from",
			"How far off the lags may be: both clocks' errors, and the time from one read to the next."},
		{"lastmile_replication_reads_total", "counter", "L from", "Reads of measured runs that looked for a write, stale and backwards ones included."},
		{"lastmile_replication_stale_reads_total", "counter", "L from", "Reads that did not see the write yet."},
		{"lastmile_replication_backwards_reads_total", "counter", "L from", "Reads that no longer saw the write, after one had."},
		{"lastmile_replication_lost_writes_total", "counter", "L from", "Writes that no read saw while the run looked for them, although they were due."},
	})
}

// replica counts what the readers of one combination saw.
type replica struct {
	set                            *metrics.Set
	from                           string
	lag                            *metrics.PrometheusHistogram
	errors                         *metrics.FloatCounter
	lags                           *metrics.Counter
	reads, stale, backwards, losts *metrics.Counter
}

// maxReads is beyond what a run can look: more is nonsense.
const maxReads = 1e6

// replicate opens the series of a combination that reads, unless the cap does not allow it. The caller holds the lock.
func (c *Coordinator) replicate(combination scenario.Combination, s *scenario.Scenario) {
	r := s.Replication
	if r == nil || combination.Region == r.From {
		return
	}
	known := c.replicas[combination]
	if known != nil && known.from == r.From {
		return
	}
	bounds := runBuckets(0, s.Timeout.D(), []time.Duration{r.VisibleWithin.D()})
	if !c.reserve(len(bounds) + 3 + 2 + 4) { // 3: le="+Inf", sum, count
		return
	}
	name := func(metric string) string {
		return fullName(metric, combinationLabels(nil, combination).with("from", r.From))
	}
	var set *metrics.Set
	if known != nil { // what it had with this region before goes on
		set = known.set
	} else {
		set = c.newSet()
	}
	c.replicas[combination] = &replica{
		set:       set,
		from:      r.From,
		lag:       set.GetOrCreatePrometheusHistogramExt(name("lastmile_replication_lag_seconds"), bounds),
		errors:    set.GetOrCreateFloatCounter(name("lastmile_replication_lag_error_seconds_sum")),
		lags:      set.GetOrCreateCounter(name("lastmile_replication_lag_error_seconds_count")),
		reads:     set.GetOrCreateCounter(name("lastmile_replication_reads_total")),
		stale:     set.GetOrCreateCounter(name("lastmile_replication_stale_reads_total")),
		backwards: set.GetOrCreateCounter(name("lastmile_replication_backwards_reads_total")),
		losts:     set.GetOrCreateCounter(name("lastmile_replication_lost_writes_total")),
	}
}

// observe takes up a reader's result. Numbers that make no sense are left out: they would spoil a counter for good.
func (c *replica) observe(r *runs.Result) {
	seen := r.Replication
	if seen == nil || seen.From != c.from || !r.State.Measured() {
		return
	}
	for _, n := range []struct {
		of      int
		counter *metrics.Counter
	}{{seen.Looks, c.reads}, {seen.StaleReads, c.stale}, {seen.Backwards, c.backwards}} {
		if n.of > 0 && n.of < maxReads {
			n.counter.Add(n.of)
		}
	}
	if seen.Lost {
		c.losts.Inc()
	}
	if lag := seen.LagMS; lag != nil && len(r.Tainted) == 0 && *lag >= 0 && *lag < maxPhaseMS && seen.ErrorMS >= 0 && seen.ErrorMS < maxPhaseMS {
		c.lag.Update(*lag / 1000)
		c.errors.Add(seen.ErrorMS / 1000)
		c.lags.Inc()
	}
}
