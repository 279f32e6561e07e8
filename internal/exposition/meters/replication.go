package meters

import (
	"github.com/VictoriaMetrics/metrics"

	"lastmile/internal/exposition/sheet"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// replica is a combination that reads what another region writes.
type replica struct {
	scenario.Combination
	from string
}

// reader counts what the runs that read saw.
type reader struct {
	reads, stale, backwards, losts metrics.Counter
	lags                           metrics.Counter
	errors                         metrics.FloatCounter // seconds, added up over the lags
	histograms                     histograms
	lag                            *metrics.PrometheusHistogram
}

// maxReads is beyond what a run can look: more is nonsense.
const maxReads = 1e6

// reads opens the series of a combination that reads, unless the limit does not allow it. Those of another region that it read from before
// stay. The caller holds the lock.
func (m *Meters) reads(combination scenario.Combination, s *scenario.Scenario) {
	r := s.Replication
	if r == nil || combination.Region == r.From || m.readers.get(replica{combination, r.From}) != nil {
		return
	}
	b := m.shaped(shape{shortest: shortestRun, longest: s.Timeout.D()}, r.VisibleWithin.D())
	if m.reserve(histogramSeries(b) + 2 + 4) {
		c := m.readers.add(replica{combination, r.From}, &reader{histograms: newHistograms()})
		c.lag = c.histograms.open("lastmile_replication_lag_seconds", nil, b)
	}
}

// observe takes up a reader's result. Numbers that make no sense are left out: they would spoil a counter for good.
func (c *reader) observe(r *runs.Result) {
	if !r.State.Measured() {
		return
	}
	seen := r.Replication
	for _, n := range []struct {
		of      int
		counter *metrics.Counter
	}{{seen.Looks, &c.reads}, {seen.StaleReads, &c.stale}, {seen.Backwards, &c.backwards}} {
		if n.of > 0 && n.of < maxReads {
			n.counter.Add(n.of)
		}
	}
	if seen.Lost {
		c.losts.Inc()
	}
	if lag := seen.LagMS; lag != nil && len(r.Tainted) == 0 && *lag >= 0 && *lag < maxPhaseMS && seen.ErrorMS >= 0 && seen.ErrorMS < maxPhaseMS {
		c.histograms.add(c.lag, *lag/1000)
		c.lags.Inc()
		c.errors.Add(seen.ErrorMS / 1000)
	}
}

func (c *reader) write(s *sheet.Sheet, of replica, known *memo) {
	l := combinationLabels(s.Labels(), of.Combination).With("from", of.from)
	c.histograms.write(s, l, known)
	s.Summary("lastmile_replication_lag_error_seconds", l, c.errors.Get(), int64(c.lags.Get()))
	s.Int("lastmile_replication_reads_total", l, int64(c.reads.Get()))
	s.Int("lastmile_replication_stale_reads_total", l, int64(c.stale.Get()))
	s.Int("lastmile_replication_backwards_reads_total", l, int64(c.backwards.Get()))
	s.Int("lastmile_replication_lost_writes_total", l, int64(c.losts.Get()))
}
