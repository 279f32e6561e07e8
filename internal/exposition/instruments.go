package exposition

import (
	"slices"
	"strconv"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// other is the label value for what has no name of its own.
const other = "other"

// maxSteps bounds the steps of a scenario that have a series of their own.
const maxSteps = 100

// The bounds beyond which a number in a result is nonsense and would spoil a counter for good.
const (
	maxPhaseMS = 1e9
	maxBytes   = 1 << 50
)

// instruments count what the ledger does not keep of one combination's results.
type instruments struct {
	set      *metrics.Set
	duration *metrics.PrometheusHistogram
	phases   []phase
	received *metrics.Counter
	steps    map[string]*metrics.Counter // with "other"
}

type phase struct {
	of    func(*runs.Phases) *float64
	sum   *metrics.FloatCounter
	count *metrics.Counter
}

// phaseKind is a phase of a request that is exported.
type phaseKind struct {
	name string
	of   func(*runs.Phases) *float64
}

func phaseKinds() []phaseKind {
	return []phaseKind{
		{"dns", func(p *runs.Phases) *float64 { return p.DNS }},
		{"connect", func(p *runs.Phases) *float64 { return p.Connect }},
		{"tls", func(p *runs.Phases) *float64 { return p.TLS }},
		{"wait", func(p *runs.Phases) *float64 { return p.Wait }},
		{"receive", func(p *runs.Phases) *float64 { return p.Receive }},
	}
}

// newInstruments makes the instruments of a combination.
func newInstruments(set *metrics.Set, c scenario.Combination, bounds []float64, steps []string) *instruments {
	l := combinationLabels(nil, c)
	in := &instruments{
		set:      set,
		duration: set.GetOrCreatePrometheusHistogramExt(fullName("lastmile_run_duration_seconds", l), bounds),
		received: set.GetOrCreateCounter(fullName("lastmile_bytes_total", l.with("direction", "received"))),
		steps:    map[string]*metrics.Counter{},
	}
	for _, kind := range phaseKinds() {
		in.phases = append(in.phases, phase{
			of:    kind.of,
			sum:   set.GetOrCreateFloatCounter(fullName("lastmile_phase_duration_seconds_sum", l.with("phase", kind.name))),
			count: set.GetOrCreateCounter(fullName("lastmile_phase_duration_seconds_count", l.with("phase", kind.name))),
		})
	}
	for _, step := range steps {
		in.steps[step] = set.GetOrCreateCounter(fullName("lastmile_step_failures_total", l.with("step", step)))
	}
	return in
}

// instrumentSeries is the number of series of instruments with these bounds and steps.
func instrumentSeries(bounds []float64, steps []string) int {
	return len(bounds) + 3 + 1 + 2*len(phaseKinds()) + len(steps) // 3: le="+Inf", sum, count
}

// observe takes up a result.
func (in *instruments) observe(r *runs.Result) {
	if !r.State.Measured() {
		return
	}
	timed := len(r.Tainted) == 0
	if timed && r.State != runs.StateFailed {
		in.duration.Update(r.Duration().Seconds())
	}
	for i := range r.Requests {
		in.request(&r.Requests[i], timed)
	}
	for i := range r.Steps {
		if r.Steps[i].State != runs.StepFailed {
			continue
		}
		counter, ok := in.steps[r.Steps[i].ID]
		if !ok {
			counter = in.steps[other]
		}
		counter.Inc()
	}
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
	for _, p := range in.phases {
		if ms := p.of(&q.Phases); ms != nil && *ms >= 0 && *ms < maxPhaseMS {
			p.sum.Add(*ms / 1000)
			p.count.Inc()
		}
	}
}

// stepNames lists the ids under which a scenario's steps report, and "other".
func stepNames(s *scenario.Scenario) []string {
	names := []string{other}
	for i := range s.Steps {
		id := s.Steps[i].ID
		if id == "" {
			id = strconv.Itoa(i + 1)
		}
		if len(names) <= maxSteps && !slices.Contains(names, id) {
			names = append(names, id)
		}
	}
	return names
}

// Define opens the series of every combination of the scenarios, so that all counters exist from the start. A combination that
// is defined again gets the series of new steps and keeps the buckets it has. Regions must be resolved.
func (c *Coordinator) Define(scenarios []scenario.Scenario) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range scenarios {
		s := &scenarios[i]
		steps := stepNames(s)
		for _, combination := range s.Combinations() {
			c.admit(combination, runBuckets(c.rtt(combination.Network), s.Timeout.D(), thresholds(s)), steps)
			c.replicate(combination, s)
			c.region(combination.Region, "lastmile_dispatch_lag_seconds", c.lag)
			c.region(combination.Region, "lastmile_run_late_seconds", c.late)
		}
	}
}

// Observe takes up a result that the ledger has entered.
func (c *Coordinator) Observe(r *runs.Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	combination := r.Combination()
	in, ok := c.instruments[combination]
	if !ok {
		in = c.admit(combination, runBuckets(c.rtt(combination.Network), unknownTimeout, nil), []string{other})
	}
	if in != nil {
		in.observe(r)
	}
	if reader := c.replicas[combination]; reader != nil {
		reader.observe(r)
	}
	if r.State.Measured() && r.Load != nil && r.Load.LateMS >= 0 && r.Load.LateMS < maxPhaseMS {
		if h := c.region(r.Region, "lastmile_run_late_seconds", c.late); h != nil {
			h.Update(r.Load.LateMS / 1000)
		}
	}
}

// rtt is the round trip that a network adds, 0 where it is not known.
func (c *Coordinator) rtt(network string) time.Duration {
	p, _ := c.sources.Networks.Lookup(network)
	return p.RTT
}

// DispatchLag takes up how long after its slot an assignment was on the bus. What is early counts as on time.
func (c *Coordinator) DispatchLag(region string, lag time.Duration) {
	c.mu.Lock()
	h := c.region(region, "lastmile_dispatch_lag_seconds", c.lag)
	c.mu.Unlock()
	if h != nil {
		h.Update(max(lag, 0).Seconds())
	}
}

// admit returns the instruments of a combination, or nil where the cap does not allow new ones. The caller holds the lock.
func (c *Coordinator) admit(combination scenario.Combination, bounds []float64, steps []string) *instruments {
	in, known := c.instruments[combination]
	if known {
		steps = slices.DeleteFunc(slices.Clone(steps), func(step string) bool { return in.steps[step] != nil })
		if !c.reserve(len(steps)) {
			return in
		}
		l := combinationLabels(nil, combination)
		for _, step := range steps {
			in.steps[step] = in.set.GetOrCreateCounter(fullName("lastmile_step_failures_total", l.with("step", step)))
		}
		return in
	}
	if !c.reserve(instrumentSeries(bounds, steps)) {
		return nil
	}
	in = newInstruments(c.newSet(), combination, bounds, steps)
	c.instruments[combination] = in
	return in
}

// region returns a region's histogram of one kind of lag, or nil where the cap does not allow a new one. The caller holds the lock.
func (c *Coordinator) region(name, metric string, known map[string]*metrics.PrometheusHistogram) *metrics.PrometheusHistogram {
	if h, ok := known[name]; ok {
		return h
	}
	bounds := lagBuckets()
	if !c.reserve(len(bounds) + 3) {
		return nil
	}
	h := c.newSet().GetOrCreatePrometheusHistogramExt(fullName(metric, labels(nil).with("region", name)), bounds)
	known[name] = h
	return h
}

// reserve takes series from the half of the cap that is for what is counted here; the other half is the ledger's.
func (c *Coordinator) reserve(series int) bool {
	if c.reserved+series > c.maxSeries/2 {
		c.dropped += int64(series)
		return false
	}
	c.reserved += series
	return true
}

// fullName is a series as the set names it.
func fullName(name string, l labels) string { return name + "{" + string(l) + "}" }

// combinationLabels adds the three labels of a combination.
func combinationLabels(l labels, c scenario.Combination) labels {
	return l.with("scenario", c.Scenario).with("region", c.Region).with("network", c.Network)
}
