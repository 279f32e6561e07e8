package indicators

import (
	"sort"
	"sync"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// Definition is what the combinations of a scenario share: its objectives, and what its schedule plans for them. It is safe for concurrent use.
type Definition struct {
	objectives []objective
	schedule   scenario.Schedule
	within     time.Duration // how soon a write must be visible
	windows    []slo.Window  // that burn rates are given for
	planned    []int64       // slots of one combination, by window
}

// objective is one of them.
type objective struct {
	slo     scenario.SLO
	rolling int64   // slots of one combination in its window
	period  *period // where it goes by the calendar instead
}

// period is what was asked for last of a calendar.
type period struct {
	mu       sync.Mutex
	from, to time.Time
	planned  int64
}

// layered reports whether the objective has counts of its own.
func (o *objective) layered() bool { return o.slo.SLI != "" && o.slo.SLI != scenario.SLIAvailability }

// events reports whether it counts events, which no schedule plans.
func (o *objective) events() bool { return o.layered() && o.slo.SLI != scenario.SLILatency }

// NewDefinition takes from a scenario what its objectives need.
func NewDefinition(s *scenario.Scenario) *Definition {
	d := &Definition{schedule: s.Timetable(), windows: runs.BurnWindows()}
	if s.Replication != nil {
		d.within = s.Replication.VisibleWithin.D()
	}
	if len(s.SLOs) == 0 {
		return d
	}
	known := map[slo.Window]int64{} // counting a cron expression's takes long
	count := func(w slo.Window) int64 {
		if _, ok := known[w]; !ok {
			known[w] = d.schedule.Count(scenario.Combination{Scenario: s.Name}, w.Duration())
		}
		return known[w]
	}
	for _, w := range d.windows {
		d.planned = append(d.planned, count(w))
	}
	for _, o := range s.SLOs {
		one := objective{slo: o}
		if o.Calendar == "" {
			one.rolling = count(o.Window)
		} else {
			one.period = &period{}
		}
		d.objectives = append(d.objectives, one)
	}
	return d
}

// Len is the number of objectives.
func (d *Definition) Len() int { return len(d.objectives) }

func (d *Definition) objective(name string) *objective {
	for i := range d.objectives {
		if d.objectives[i].slo.Name == name {
			return &d.objectives[i]
		}
	}
	return nil
}

// Budget is what the first availability objective leaves a combination by itself; nil where there is none. pending are as in Sums.Add.
func (d *Definition) Budget(b *Book, pending []int64, now time.Time) *runs.Budget {
	for i := range d.objectives {
		o := &d.objectives[i]
		if o.layered() {
			continue
		}
		counts, planned, window := b.slots(o.start(now), now, pending), d.plannedFor(o, now), o.slo.Window
		if o.period != nil {
			from, to := o.slo.Calendar.Period(now)
			window = slo.Window(to.Sub(from))
		}
		return &runs.Budget{
			Objective: o.slo.Objective, Window: window, Planned: planned,
			Remaining: slo.BudgetRemaining(counts.Lost(), owed(planned, counts), o.slo.Objective), Counts: counts,
		}
	}
	return nil
}

// owed is how many slots of a window somebody is owed a run of: what the schedule plans, or what there was in it by an earlier schedule where that is
// more, less what was left out on purpose.
func owed(planned int64, n slo.Counts) int64 { return max(planned, n.Planned()) - n.Skipped }

// expected is how many events the whole of a window has, at the rate at which the measured runs so far had some. Were it only those so far, one bad one on
// the first day of a month would spend the whole budget.
func (n *sum) expected(planned int64) int64 {
	all := n.whole.Measured()
	if n.slots.Measured() <= 0 {
		return all
	}
	return max(all, int64(float64(n.told)*float64(owed(planned, n.slots))/float64(n.slots.Measured())))
}

// plannedFor is how many slots the schedule plans for one combination in the whole window of an objective.
func (d *Definition) plannedFor(o *objective, now time.Time) int64 {
	if o.period == nil {
		return o.rolling
	}
	p := o.period
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Before(p.from) || !now.Before(p.to) {
		p.from, p.to = o.slo.Calendar.Period(now)
		p.planned = d.schedule.CountIn(p.from, p.to)
	}
	return p.planned
}

// Sums are the counts of a scenario's objectives, added up over some of its combinations.
type Sums struct {
	definition *Definition
	now        time.Time
	books      int64
	each       []sum        // by objective
	starts     []time.Time  // of the windows that burn rates are given for
	base       []slo.Counts // of the combination under way, over each of these
}

// sum is that of one objective: over its own window, and over those of burn rates.
type sum struct {
	whole   slo.Counts
	told    int64      // where whole counts events, those of them that are of slots ...
	slots   slo.Counts // ... that the objective was told of
	windows []slo.Counts
}

// Sums returns sums over no combination yet.
func (d *Definition) Sums(now time.Time) *Sums {
	n := len(d.windows)
	s := &Sums{definition: d, now: now, each: make([]sum, len(d.objectives)), starts: make([]time.Time, n), base: make([]slo.Counts, n)}
	for k, w := range d.windows {
		s.starts[k] = startOf(w, now)
	}
	all := make([]slo.Counts, n*len(d.objectives))
	for i := range s.each {
		s.each[i].windows, all = all[:n:n], all[n:]
	}
	return s
}

// Add adds a combination. pending are its slots without an end, in Unix seconds, ascending.
func (s *Sums) Add(b *Book, pending []int64) {
	d := s.definition
	s.books++
	for k, from := range s.starts {
		s.base[k] = b.slots(from, s.now, pending)
	}
	var whole slo.Counts // of the slots since begin: most objectives of a scenario have the same window
	var begin time.Time
	for i := range d.objectives {
		o, to := &d.objectives[i], &s.each[i]
		layer := b.layer(o)
		if layer == 0 && o.layered() {
			continue
		}
		if from := o.start(s.now); !from.Equal(begin) {
			whole, begin = b.slots(from, s.now, pending), from
		}
		n := whole
		if layer > 0 {
			n = o.layerOver(b, layer, o.start(s.now), s.now, pending, whole)
		}
		to.whole = to.whole.Add(n)
		if o.events() {
			told, slots := o.told(b, layer, begin, s.now, pending, n, whole)
			to.told, to.slots = to.told+told, to.slots.Add(slots)
		}
		for k, from := range s.starts {
			n := s.base[k]
			if layer > 0 {
				n = o.layerOver(b, layer, from, s.now, pending, n)
			}
			to.windows[k] = to.windows[k].Add(n)
		}
	}
}

// slots counts how the slots from a time up to now ended.
func (b *Book) slots(from, now time.Time, pending []int64) slo.Counts {
	n, _ := b.history.Sum(from, endOf(now))
	n.Pending += pendingIn(pending, from, now)
	return n
}

// told returns how many events there were in a combination from a time up to now, and how its slots ended, both as of when the objective was first told of
// them. Since that time they are all, n and base.
func (o *objective) told(b *Book, layer int, from, now time.Time, pending []int64, n, base slo.Counts) (int64, slo.Counts) {
	since := b.since(layer)
	if !since.After(from) {
		return n.Measured(), base
	}
	own, _ := b.history.SumOf(layer, since, endOf(now))
	return own.Measured(), b.slots(since, now, pending)
}

// since is when the objective of a layer was first told of results.
func (b *Book) since(layer int) time.Time {
	if since := b.series[layer-1].since; since != always {
		return time.Unix(since*60, 0)
	}
	return time.Time{}
}

// layerOver counts a combination for an objective with a layer, from a time up to now: events as they are, or what it says of slots that ended in
// their own way, base.
func (o *objective) layerOver(b *Book, layer int, from, now time.Time, pending []int64, base slo.Counts) slo.Counts {
	if since := b.since(layer); !o.events() && since.After(from) {
		from, base = since, b.slots(since, now, pending)
	}
	own, _ := b.history.SumOf(layer, from, endOf(now))
	if o.events() {
		return own
	}
	own.Good = -own.Planned() // each slot has moved from one count to another
	return own.Add(base)
}

// start is when the objective's own window up to now begins.
func (o *objective) start(now time.Time) time.Time {
	if o.period == nil {
		return startOf(o.slo.Window, now)
	}
	from, _ := o.slo.Calendar.Period(now)
	return from
}

// endOf is the end of the minute of now.
func endOf(now time.Time) time.Time { return now.Truncate(time.Minute).Add(time.Minute) }

// startOf is when the window up to now begins: the minute of now is in it.
func startOf(w slo.Window, now time.Time) time.Time {
	return endOf(now).Add(-(w.Duration() + time.Minute - 1) / time.Minute * time.Minute)
}

// pendingIn counts the slots from a time up to the end of the minute of now.
func pendingIn(pending []int64, from, now time.Time) int64 {
	if len(pending) == 0 {
		return 0
	}
	before := func(at time.Time) int {
		return sort.Search(len(pending), func(i int) bool { return pending[i] >= at.Unix() })
	}
	return int64(max(0, before(endOf(now))-before(from)))
}

// Merge adds what other sums of the same definition and time have.
func (s *Sums) Merge(other *Sums) {
	s.books += other.books
	for i := range s.each {
		to, from := &s.each[i], &other.each[i]
		to.whole, to.slots = to.whole.Add(from.whole), to.slots.Add(from.slots)
		to.told += from.told
		for k := range to.windows {
			to.windows[k] = to.windows[k].Add(from.windows[k])
		}
	}
}

// Clear makes them sums over no combination again.
func (s *Sums) Clear() {
	s.books = 0
	for i := range s.each {
		s.each[i].whole, s.each[i].slots, s.each[i].told = slo.Counts{}, slo.Counts{}, 0
		clear(s.each[i].windows)
	}
}

// Status adds to out how the objectives stand, in the order of the scenario.
func (s *Sums) Status(name, region string, out []runs.ObjectiveStatus) []runs.ObjectiveStatus {
	d := s.definition
	room := make([]runs.WindowCounts, 0, len(d.objectives)*len(d.windows))
	for i := range d.objectives {
		o, n := &d.objectives[i], &s.each[i]
		status := runs.ObjectiveStatus{Scenario: name, Region: region, SLO: o.slo, Counts: n.whole}
		planned, budgeted := d.plannedFor(o, s.now)*s.books, int64(0)
		if o.events() {
			budgeted = n.expected(planned)
		} else {
			status.Planned, budgeted = planned, owed(planned, n.whole)
		}
		status.Remaining = slo.BudgetRemaining(n.whole.Lost(), budgeted, o.slo.Objective)
		for k, w := range d.windows {
			counts := n.windows[k]
			of := counts.Measured()
			if !o.events() {
				of = owed(d.planned[k]*s.books, counts)
			}
			burn := slo.BurnRate(counts.Lost(), of, o.slo.Objective)
			room = append(room, runs.WindowCounts{WindowBurn: runs.WindowBurn{Window: w, Burn: burn}, Counts: counts})
		}
		first := len(room) - len(d.windows)
		status.Windows = room[first:len(room):len(room)]
		out = append(out, status)
	}
	return out
}
