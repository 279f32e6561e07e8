package meters

import (
	"slices"
	"strconv"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"lastmile/internal/exposition/sheet"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// other is the label value for what has no name of its own.
const other = "other"

// maxSteps bounds the steps of a scenario that have series of their own.
const maxSteps = 100

// The bounds beyond which a number in a result is nonsense and would spoil a counter for good.
const (
	maxPhaseMS = 1e9
	maxBytes   = 1 << 50
)

// instruments count what the ledger does not keep of one combination's results.
type instruments struct {
	received   metrics.Counter // bytes
	phases     [phaseKinds]phase
	histograms histograms
	duration   *metrics.PrometheusHistogram
	steps      []*step // that of other first
	pages      *[vitals]samples
	closed     bool // for pages: the limit does not allow them
}

// step is what is counted of one step.
type step struct {
	failures  metrics.Counter
	id        string
	durations *metrics.PrometheusHistogram // nil where no objective asks for it
	recent    samples
}

// phase is the time that requests spent in one of their parts.
type phase struct {
	seconds metrics.FloatCounter
	count   metrics.Counter
}

// phaseKinds is the number of phases that are exported.
const phaseKinds = 5

// phaseNames are the phases that are exported, in the order of phasesOf.
func phaseNames() [phaseKinds]string {
	return [...]string{"dns", "connect", "tls", "wait", "receive"}
}

func phasesOf(p *runs.Phases) [phaseKinds]*float64 {
	return [...]*float64{p.DNS, p.Connect, p.TLS, p.Wait, p.Receive}
}

// layout is what the instruments of a scenario's combinations have in common.
type layout struct {
	timeout time.Duration
	run     []time.Duration // thresholds of objectives for the whole run
	steps   []stepLayout
}

type stepLayout struct {
	id         string
	thresholds []time.Duration
}

// layoutOf is the layout for a scenario, or where it is nil, for one that is no longer defined.
func layoutOf(s *scenario.Scenario) layout {
	l := layout{timeout: unknownTimeout, steps: []stepLayout{{id: other}}}
	if s == nil {
		return l
	}
	l.timeout, l.run = s.Timeout.D(), thresholds(s, "")
	for i := range s.Steps {
		id := s.Steps[i].ID
		if id == "" {
			id = strconv.Itoa(i + 1)
		}
		if len(l.steps) <= maxSteps && !slices.ContainsFunc(l.steps, func(known stepLayout) bool { return known.id == id }) {
			l.steps = append(l.steps, stepLayout{id, thresholds(s, id)})
		}
	}
	return l
}

// admit returns the instruments of a combination, or nil where the limit does not allow new ones. The caller holds the lock.
func (m *Meters) admit(combination scenario.Combination, l layout) *instruments {
	in := m.combinations.get(combination)
	rtt := m.rtt(combination.Network)
	if in == nil {
		b := m.shaped(runShape(rtt, l.timeout), l.run...)
		if !m.reserve(histogramSeries(b) + 1 + 2*phaseKinds) {
			return nil
		}
		in = m.combinations.add(combination, &instruments{histograms: newHistograms()})
		in.duration = in.histograms.open("lastmile_run_duration_seconds", nil, b)
	}
	for _, one := range l.steps {
		if in.step(one.id) != nil {
			continue
		}
		opened, series := &step{id: one.id}, 1
		if one.id != other {
			series += recentSeries
		}
		var b []float64
		if len(one.thresholds) > 0 {
			b = m.shaped(stepShape(rtt, l.timeout), one.thresholds...)
			series += histogramSeries(b)
		}
		if !m.reserve(series) {
			continue
		}
		if b != nil {
			opened.durations = in.histograms.open("lastmile_step_duration_seconds", sheet.Labels(nil).With("step", one.id), b)
		}
		in.steps = append(in.steps, opened)
	}
	return in
}

// step returns that of an id, or nil.
func (in *instruments) step(id string) *step {
	for _, s := range in.steps {
		if s.id == id {
			return s
		}
	}
	return nil
}

// observe takes up a result.
func (in *instruments) observe(r *runs.Result, now time.Time) {
	if !r.State.Measured() {
		return
	}
	timed := len(r.Tainted) == 0
	if timed && r.State != runs.StateFailed {
		in.histograms.add(in.duration, r.Duration().Seconds())
	}
	for i := range r.Requests {
		in.request(&r.Requests[i], timed)
	}
	for i := range r.Steps {
		in.observeStep(&r.Steps[i], timed)
	}
	in.remember(r, now)
}

// observeStep counts what became of a step.
func (in *instruments) observeStep(one *runs.Step, timed bool) {
	s := in.step(one.ID)
	if s == nil {
		s = in.step(other)
	}
	switch {
	case s == nil:
	case one.State == runs.StepFailed:
		s.failures.Inc()
	case s.durations != nil && timed && took(one):
		in.histograms.add(s.durations, one.DurationMS/1e3)
	}
}

// remember keeps the durations of a result's steps among the recent ones.
func (in *instruments) remember(r *runs.Result, now time.Time) {
	if !r.State.Measured() || len(r.Tainted) > 0 {
		return
	}
	for i := range r.Steps {
		one := &r.Steps[i]
		if s := in.step(one.ID); s != nil && s.id != other && took(one) {
			s.recent.add(r.Slot, now, one.DurationMS*1e3)
		}
	}
}

// took reports whether a step has a duration worth the name.
func took(s *runs.Step) bool {
	return (s.State == runs.StepPassed || s.State == runs.StepDegraded) && s.DurationMS >= 0 && s.DurationMS < maxPhaseMS
}

// request takes up a request that went over the network; timed says whether its times are to be trusted.
func (in *instruments) request(q *runs.Request, timed bool) {
	if q.BrowserCache != "" {
		return
	}
	if q.Bytes > 0 && q.Bytes < maxBytes {
		in.received.AddInt64(q.Bytes)
	}
	if !timed {
		return
	}
	for i, ms := range phasesOf(&q.Phases) {
		if ms != nil && *ms >= 0 && *ms < maxPhaseMS {
			in.phases[i].seconds.Add(*ms / 1000)
			in.phases[i].count.Inc()
		}
	}
}

// write adds all of it to a sheet.
func (in *instruments) write(s *sheet.Sheet, of scenario.Combination, known *memo, now time.Time) {
	l := combinationLabels(s.Labels(), of)
	in.histograms.write(s, l, known)
	s.Int("lastmile_bytes_total", l.With("direction", "received"), int64(in.received.Get()))
	for i, name := range phaseNames() {
		p := &in.phases[i]
		s.Summary("lastmile_phase_duration_seconds", l.With("phase", name), p.seconds.Get(), int64(p.count.Get()))
	}
	for _, one := range in.steps {
		s.Int("lastmile_step_failures_total", l.With("step", one.id), int64(one.failures.Get()))
	}
	in.writeSteps(s, l, &known.ranks, now)
	in.writePages(s, l, &known.ranks, now)
}

// combinationLabels adds the three labels of a combination.
func combinationLabels(l sheet.Labels, c scenario.Combination) sheet.Labels {
	return l.With("scenario", c.Scenario).With("region", c.Region).With("network", c.Network)
}
