package ledger

import (
	"maps"
	"slices"
	"time"

	"lastmile/internal/cachestate"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// maxPoPs bounds the points of presence of a combination that are counted by themselves. The names come from targets; a region sees a
// handful of them.
const maxPoPs = 16

// unknownPoP is where an answer did not say which point of presence gave it.
const unknownPoP = "unknown"

// The bounds beyond which what a result says is nonsense, and would spoil a sum for good.
const (
	maxWaitMS = 1e9
	maxAge    = 1 << 31 * time.Second // what cachestate gives at most

	maxDropped = 1e6
)

// recentStep is how finely waits are kept by time.
const recentStep = 5 * time.Minute

// maxSteps bounds the steps of a scenario whose waits are kept apart.
const maxSteps = 100

// edge is what the results of a combination say of shared caches and of routing. It is a fold over results alone, and what is kept apart
// depends on their order within the combination only, which is that of its region's stream: so it is the same after a replay,
// except that objectives are those of today.
type edge struct {
	objectives []scenario.SLO // with sli cache-hit, routing or freshness
	within     time.Duration  // threshold of freshness
	lookups    map[lookup]*runs.Lookups
	pops       map[string]bool
	ages       map[string]*runs.Ages
	routed     runs.Routed
	recent     map[int64]map[string]*runs.Routed // by the Unix second at which the step of time began, and step of the scenario
	exposed    int64
	dropped    int64
	overflow   map[string]int64
	indicators map[string]*runs.Indicator
}

// lookup is what is counted apart.
type lookup struct {
	class, pop string
	warm       bool
}

func newEdge() edge {
	return edge{
		lookups: map[lookup]*runs.Lookups{}, pops: map[string]bool{unknownPoP: true}, ages: map[string]*runs.Ages{},
		recent: map[int64]map[string]*runs.Routed{}, overflow: map[string]int64{}, indicators: map[string]*runs.Indicator{},
	}
}

// define says what objectives there are, so that all of their counts exist from the start. Those that are gone keep theirs.
func (e *edge) define(s *scenario.Scenario) {
	e.objectives, e.within = nil, 0
	if s.Replication != nil {
		e.within = s.Replication.VisibleWithin.D()
	}
	for _, o := range s.SLOs {
		switch o.SLI {
		case scenario.SLICacheHit:
			e.age(o.Name)
		case scenario.SLIRouting, scenario.SLIFreshness:
		default:
			continue
		}
		e.objectives = append(e.objectives, o)
		e.indicator(o)
	}
	e.age(runs.OtherLabel)
}

// indicator returns the counts of an objective. One that has become another under its old name begins anew.
func (e *edge) indicator(o scenario.SLO) *runs.Indicator {
	i := e.indicators[o.Name]
	if i == nil || i.SLI != o.SLI {
		i = &runs.Indicator{Name: o.Name, SLI: o.SLI}
		e.indicators[o.Name] = i
	}
	return i
}

// count enters an event of every objective of the kind that it is one of.
func (e *edge) count(sli scenario.SLI, good bool, concerns func(*scenario.SLO) bool) {
	for k := range e.objectives {
		o := &e.objectives[k]
		if o.SLI != sli || concerns != nil && !concerns(o) {
			continue
		}
		i := e.indicator(*o)
		i.Total++
		if good {
			i.Good++
		}
	}
}

func (e *edge) age(class string) *runs.Ages {
	a := e.ages[class]
	if a == nil {
		a = &runs.Ages{Class: class}
		e.ages[class] = a
	}
	return a
}

// result takes up a measured result, the first of its slot.
func (e *edge) result(r *runs.Result, expected string) {
	if r.Dropped > 0 && r.Dropped < maxDropped {
		e.dropped += int64(r.Dropped)
	}
	for i := range r.Requests {
		q := &r.Requests[i]
		if q.Exposed != "" {
			e.exposed++
		}
		if q.Again { // the first attempt is what users had
			continue
		}
		if q.BrowserCache == "" && q.Status != 0 && q.Cache.State.Counts() {
			e.lookup(q)
		}
		if q.ServedRegion == "" {
			continue
		}
		right := q.ServedRegion == expected
		e.count(scenario.SLIRouting, right, nil)
		if wait := q.Phases.Wait; len(r.Tainted) == 0 && wait != nil && *wait >= 0 && *wait < maxWaitMS {
			e.wait(r.Slot, q.Step, right, time.Duration(*wait*float64(time.Millisecond)))
		}
	}
	if rep := r.Replication; rep != nil && (rep.Lost || rep.LagMS != nil && len(r.Tainted) == 0) { // a reader's that could tell, and whose times are to be trusted
		fresh := !rep.Lost && rep.LagMS != nil && *rep.LagMS <= float64(e.within)/float64(time.Millisecond)
		e.count(scenario.SLIFreshness, fresh, nil)
	}
}

// lookup takes up an answer that a cache had, or could have had.
func (e *edge) lookup(q *runs.Request) {
	concerns := func(o *scenario.SLO) bool { return o.Match == "" || scenario.Glob(o.Match, q.URL) }
	e.count(scenario.SLICacheHit, q.Cache.State.Hit(), concerns)
	class := runs.OtherLabel
	for i := range e.objectives {
		if o := &e.objectives[i]; o.SLI == scenario.SLICacheHit && concerns(o) {
			class = o.Name
			break
		}
	}
	key := lookup{class: class, pop: e.pop(q.PoP), warm: q.Warm}
	n := e.lookups[key]
	if n == nil {
		n = &runs.Lookups{Class: key.class, PoP: key.pop, Warm: key.warm}
		e.lookups[key] = n
	}
	switch q.Cache.State {
	case cachestate.Hit:
		n.Hits++
	case cachestate.Stale:
		n.Stale++
	default:
		n.Other++
	}
	if q.Cache.State.Hit() && q.Cache.HasAge && q.Cache.Age >= 0 && q.Cache.Age <= maxAge {
		a := e.age(class)
		a.Sum += q.Cache.Age
		a.Count++
	}
}

// pop returns the name under which a point of presence is counted.
func (e *edge) pop(name string) string {
	switch {
	case name == "":
		return unknownPoP
	case e.pops[name]:
		return name
	case len(e.pops) > maxPoPs || !plainName(name): // with the unknown one
		e.overflow["pop"]++
		return runs.OtherLabel
	}
	e.pops[name] = true
	return name
}

// plainName reports whether a name is one that cachestate gives.
func plainName(name string) bool {
	for i := range len(name) {
		if name[i] <= ' ' || name[i] > '~' {
			return false
		}
	}
	return len(name) <= cachestate.MaxPoP
}

// wait takes up how long a region's answer to a step took.
func (e *edge) wait(slot time.Time, step string, right bool, took time.Duration) {
	at := slot.Truncate(recentStep).Unix()
	steps := e.recent[at]
	if steps == nil {
		steps = map[string]*runs.Routed{}
		e.recent[at] = steps
	}
	if steps[step] == nil && len(steps) >= maxSteps {
		step = runs.OtherLabel
	}
	recent := steps[step]
	if recent == nil {
		recent = &runs.Routed{}
		steps[step] = recent
	}
	one := runs.Waits{Sum: took, Count: 1}
	for _, routed := range []*runs.Routed{&e.routed, recent} {
		if right {
			routed.Right.Add(one)
		} else {
			routed.Wrong.Add(one)
		}
	}
}

// since adds up the waits of the steps of time that began after a time, for each of the scenario's steps, in the order of their names.
func (e *edge) since(limit time.Time) (out []runs.Routed) {
	sums := map[string]runs.Routed{}
	for at, steps := range e.recent {
		if at <= limit.Unix() {
			continue
		}
		for step, routed := range steps {
			sum := sums[step]
			sum.Right.Add(routed.Right)
			sum.Wrong.Add(routed.Wrong)
			sums[step] = sum
		}
	}
	for _, step := range slices.Sorted(maps.Keys(sums)) {
		out = append(out, sums[step])
	}
	return out
}

// forget drops waits older than a day.
func (e *edge) forget(now time.Time) {
	day := now.Add(-24 * time.Hour).Unix()
	maps.DeleteFunc(e.recent, func(at int64, _ map[string]*runs.Routed) bool { return at < day })
}

// row adds the counts to an account, in an order of their own.
func (e *edge) row(row *runs.Account, now time.Time) {
	for _, n := range e.lookups {
		row.Lookups = append(row.Lookups, *n)
	}
	slices.SortFunc(row.Lookups, func(a, b runs.Lookups) int {
		if c := compare(a.Class, b.Class); c != 0 {
			return c
		}
		if c := compare(a.PoP, b.PoP); c != 0 || a.Warm == b.Warm {
			return c
		}
		if a.Warm {
			return 1
		}
		return -1
	})
	for _, class := range slices.Sorted(maps.Keys(e.ages)) {
		row.Ages = append(row.Ages, *e.ages[class])
	}
	for _, name := range slices.Sorted(maps.Keys(e.indicators)) {
		row.Indicators = append(row.Indicators, *e.indicators[name])
	}
	row.Routed, row.Recent = e.routed, map[time.Duration][]runs.Routed{}
	for _, window := range runs.LatencyWindows() {
		row.Recent[window] = e.since(now.Add(-window))
	}
	row.Exposed, row.Dropped, row.Overflow = e.exposed, e.dropped, maps.Clone(e.overflow)
}
