// Package edge counts what the results of a combination say of shared caches and of routing.
package edge

import (
	"cmp"
	"slices"
	"time"

	"lastmile/internal/cachestate"
	"lastmile/internal/ledger/codec"
	"lastmile/internal/runs"
	"lastmile/internal/runs/sli"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// MaxPoPs bounds the points of presence of a combination that are counted by themselves. The names come from targets; a region sees a
// handful of them.
const MaxPoPs = 16

// unknownPoP is where an answer did not say which point of presence gave it.
const unknownPoP = "unknown"

// The bounds beyond which what a result says is nonsense, and would spoil a sum for good.
const (
	maxWaitMS = 1e9
	maxAge    = 1 << 31 * time.Second // what cachestate gives at most

	maxDropped = 1e6
)

// Edge is what the results of a combination say of shared caches and of routing. It is a fold over results alone, and what is kept apart
// depends on their order within the combination only, which is that of its region's stream: so it is the same after a replay,
// except that objectives are those of today.
type Edge struct {
	lookups    []runs.Lookups
	pops       []string
	ages       []runs.Ages
	routed     runs.Routed
	recent     waits
	exposed    int64
	dropped    int64
	overflow   codec.Tally[string]
	indicators []runs.Indicator
}

// Objectives are those of a scenario whose events are counted here.
type Objectives struct {
	list []scenario.SLO // with sli cache-hit, routing or freshness
}

// NewObjectives takes them from a scenario.
func NewObjectives(s *scenario.Scenario) *Objectives {
	d := &Objectives{}
	for _, o := range s.SLOs {
		switch o.SLI {
		case scenario.SLICacheHit, scenario.SLIRouting, scenario.SLIFreshness:
			d.list = append(d.list, o)
		}
	}
	return d
}

// New returns counts without any.
func New() Edge { return Edge{pops: []string{unknownPoP}} }

// Define says what objectives there are, so that all of their counts exist from the start. Those that are gone keep theirs.
func (e *Edge) Define(d *Objectives) {
	for _, o := range d.list {
		if o.SLI == scenario.SLICacheHit {
			e.age(o.Name)
		}
		e.indicator(o)
	}
	e.age(runs.OtherLabel)
}

// Forget drops waits from before a time, in Unix seconds.
func (e *Edge) Forget(limit int64) { e.recent.forget(limit) }

// Overflow counts a name that is counted as other since there are too many, by label.
func (e *Edge) Overflow(label string) { e.overflow.Add(label, 1) }

// indicator returns the counts of an objective. One that has become another under its old name begins anew.
func (e *Edge) indicator(o scenario.SLO) *runs.Indicator {
	i := slices.IndexFunc(e.indicators, func(i runs.Indicator) bool { return i.Name == o.Name })
	if i < 0 {
		e.indicators = append(e.indicators, runs.Indicator{Name: o.Name, SLI: o.SLI})
		return &e.indicators[len(e.indicators)-1]
	}
	if e.indicators[i].SLI != o.SLI {
		e.indicators[i] = runs.Indicator{Name: o.Name, SLI: o.SLI}
	}
	return &e.indicators[i]
}

// Events enters what an objective counted of a result.
func (e *Edge) Events(o *scenario.SLO, n slo.Counts) {
	i := e.indicator(*o)
	i.Good += n.Good
	i.Total += n.Measured()
}

func (e *Edge) age(class string) *runs.Ages {
	i := slices.IndexFunc(e.ages, func(a runs.Ages) bool { return a.Class == class })
	if i < 0 {
		e.ages = append(e.ages, runs.Ages{Class: class})
		i = len(e.ages) - 1
	}
	return &e.ages[i]
}

// Result takes up a measured result, the first of its slot; what objectives count of it goes to Events. Without objectives (nil) no classes are told apart.
func (e *Edge) Result(r *runs.Result, d *Objectives, expected string) {
	if d == nil {
		d = &Objectives{}
	}
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
		if sli.CacheAnswer(q) {
			e.lookup(q, d.list)
		}
		if q.ServedRegion == "" {
			continue
		}
		right := q.ServedRegion == expected
		if wait := q.Phases.Wait; len(r.Tainted) == 0 && wait != nil && *wait >= 0 && *wait < maxWaitMS {
			e.wait(r.Slot, q.Step, right, time.Duration(*wait*float64(time.Millisecond)))
		}
	}
}

// lookup takes up an answer that a cache had, or could have had.
func (e *Edge) lookup(q *runs.Request, objectives []scenario.SLO) {
	class := runs.OtherLabel
	for i := range objectives {
		if o := &objectives[i]; o.SLI == scenario.SLICacheHit && sli.Concerns(o, q) {
			class = o.Name
			break
		}
	}
	n := e.counted(class, e.pop(q.PoP), q.Warm)
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

// counted returns the counts of one kind of answer.
func (e *Edge) counted(class, pop string, warm bool) *runs.Lookups {
	for i := range e.lookups {
		if n := &e.lookups[i]; n.Warm == warm && n.PoP == pop && n.Class == class {
			return n
		}
	}
	e.lookups = append(e.lookups, runs.Lookups{Class: class, PoP: pop, Warm: warm})
	return &e.lookups[len(e.lookups)-1]
}

// pop returns the name under which a point of presence is counted.
func (e *Edge) pop(name string) string {
	switch {
	case name == "":
		return unknownPoP
	case slices.Contains(e.pops, name):
		return name
	case len(e.pops) > MaxPoPs || !plainName(name): // with the unknown one
		e.overflow.Add("pop", 1)
		return runs.OtherLabel
	}
	e.pops = append(e.pops, name)
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
func (e *Edge) wait(slot time.Time, step string, right bool, took time.Duration) {
	one := runs.Routed{Wrong: runs.Waits{Sum: took, Count: 1}}
	if right {
		one.Right, one.Wrong = one.Wrong, one.Right
	}
	e.routed.Right.Add(one.Right)
	e.routed.Wrong.Add(one.Wrong)
	e.recent.add(slot, step, one)
}

// Row adds the counts to an account, in an order of their own.
func (e *Edge) Row(row *runs.Account, now time.Time) {
	row.Lookups = slices.Clone(e.lookups)
	slices.SortFunc(row.Lookups, func(a, b runs.Lookups) int {
		if c := cmp.Compare(a.Class, b.Class); c != 0 {
			return c
		}
		if c := cmp.Compare(a.PoP, b.PoP); c != 0 || a.Warm == b.Warm {
			return c
		}
		if a.Warm {
			return 1
		}
		return -1
	})
	row.Ages = slices.Clone(e.ages)
	slices.SortFunc(row.Ages, func(a, b runs.Ages) int { return cmp.Compare(a.Class, b.Class) })
	row.Indicators = slices.Clone(e.indicators)
	slices.SortFunc(row.Indicators, func(a, b runs.Indicator) int { return cmp.Compare(a.Name, b.Name) })
	row.Routed, row.Recent = e.routed, map[time.Duration][]runs.Routed{}
	for _, window := range runs.LatencyWindows() {
		row.Recent[window] = e.recent.since(now.Add(-window))
	}
	row.Exposed, row.Dropped, row.Overflow = e.exposed, e.dropped, e.overflow.Counts()
}
