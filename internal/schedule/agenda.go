package schedule

import (
	"container/heap"
	"log/slog"
	"slices"
	"time"

	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// program is a scenario with all that its slots have in common, worked out once: a revision is a hash of the whole scenario, and the period
// of a cron expression takes hundreds of its firings.
type program struct {
	template     runs.Assignment // without what a slot adds
	timetable    scenario.Schedule
	combinations []scenario.Combination
	networks     []*netprofile.Profile // of the combinations
	period       time.Duration
	window       time.Duration
	lead         time.Duration
	timeout      time.Duration
}

// programs works out the plan. A network that is not in it is no reason to stop the others.
func programs(log *slog.Logger, plan Plan) []program {
	networks := map[string]*netprofile.Profile{}
	out := make([]program, len(plan.Scenarios))
	for i := range plan.Scenarios {
		sc := &plan.Scenarios[i]
		p := program{
			template:  runs.NewAssignment(*sc, "", netprofile.Profile{}, time.Time{}),
			timetable: sc.Timetable(), period: sc.Schedule.Period(), window: sc.StartWindow(), lead: sc.Lead(), timeout: sc.Timeout.D(),
		}
		for _, c := range sc.Combinations() {
			if networks[c.Network] == nil {
				network, ok := plan.Networks.Lookup(c.Network)
				if !ok {
					log.Error("unknown network, nothing of it is planned", "scenario", c.Scenario, "region", c.Region, "network", c.Network)
					continue
				}
				networks[c.Network] = &network
			}
			p.combinations = append(p.combinations, c)
			p.networks = append(p.networks, networks[c.Network])
		}
		out[i] = p
	}
	return out
}

// entry is the next slot of one combination.
type entry struct {
	program     *program
	combination scenario.Combination
	network     *netprofile.Profile
	slot        time.Time
	previous    time.Time // the slot before; zero where it is not known
	orderAt     time.Time // when the slot is to be entered and its run ordered
}

// advance moves the entry to another slot.
func (e *entry) advance(previous, slot time.Time) {
	e.previous, e.slot, e.orderAt = previous, slot, slot.Add(-e.program.lead)
}

// agenda is a heap of entries, the one to be ordered first at the top.
type agenda []entry

// queue fills the agenda: combinations that began before go on where the books end, new ones begin at now.
func (s *Scheduler) queue(now time.Time) *agenda {
	q, limit, late := &agenda{}, now.Add(-maxCatchUp), 0
	for i := range s.programs {
		p := &s.programs[i]
		for j, c := range p.combinations {
			from := now
			if first, ok := s.first(c); ok && !first.After(now) {
				from = first
				if open := s.lanes[c.Region].settled.Add(-p.timeout - p.window); open.After(from) { // the earliest slot whose deadline may be open
					from = open
				}
				from = from.Add(-time.Second) // itself included
			}
			if from.Before(limit) {
				from = limit
				late++
			}
			if next := p.timetable.Next(c, from); !next.IsZero() {
				e := entry{program: p, combination: c, network: p.networks[j]}
				e.advance(time.Time{}, next)
				*q = append(*q, e)
			}
		}
	}
	if late > 0 {
		s.log.Warn("absent for long, older slots are left out of the books", "combinations", late, "to", limit)
	}
	heap.Init(q)
	return q
}

// idleWait is how long an empty agenda sleeps.
const idleWait = time.Hour

func (q *agenda) wait(now time.Time) time.Duration {
	if len(*q) == 0 {
		return idleWait
	}
	return (*q)[0].orderAt.Sub(now)
}

func (q *agenda) due(now time.Time) bool { return len(*q) > 0 && !(*q)[0].orderAt.After(now) }

// skip leaves out the slots before a time, and counts the combinations that had some.
func (q *agenda) skip(limit time.Time) int {
	if len(*q) == 0 || !(*q)[0].orderAt.Before(limit) {
		return 0
	}
	skipped := 0
	for i := range *q {
		if e := &(*q)[i]; e.slot.Before(limit) {
			e.advance(time.Time{}, e.program.timetable.Next(e.combination, limit))
			skipped++
		}
	}
	*q = slices.DeleteFunc(*q, func(e entry) bool { return e.slot.IsZero() })
	heap.Init(q)
	return skipped
}

// pop takes the earliest entry and puts the combination's next slot in its place.
func (q *agenda) pop() entry {
	e := (*q)[0]
	if next := e.program.timetable.Next(e.combination, e.slot); next.IsZero() {
		heap.Pop(q)
	} else {
		(*q)[0].advance(e.slot, next)
		heap.Fix(q, 0)
	}
	return e
}

// Len implements heap.Interface.
func (q *agenda) Len() int { return len(*q) }

// Less implements heap.Interface.
func (q *agenda) Less(i, j int) bool { return (*q)[i].orderAt.Before((*q)[j].orderAt) }

// Swap implements heap.Interface.
func (q *agenda) Swap(i, j int) { (*q)[i], (*q)[j] = (*q)[j], (*q)[i] }

// Push implements heap.Interface.
func (q *agenda) Push(x any) { *q = append(*q, x.(entry)) }

// Pop implements heap.Interface.
func (q *agenda) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	*q = (*q)[:last]
	return e
}
