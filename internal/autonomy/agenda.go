package autonomy

import (
	"slices"
	"time"

	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// maxSteps bounds how many slots of one combination are gone through at a time: after a jump of the clock the rest is left out at once.
const maxSteps = 100

// entry is the slot of one combination that is next, or open. There is one at most: a start window is at most half of a period, and so is a
// lead.
type entry struct {
	scenario *scenario.Scenario
	network  netprofile.Profile
	c        scenario.Combination
	pool     string
	window   time.Duration
	lead     time.Duration
	slot     time.Time // zero = there is none any more
	done     bool      // it was begun here
}

// closed reports whether the slot's run must not begin any more.
func (e *entry) closed(now time.Time) bool { return now.After(e.slot.Add(e.window)) }

// due reports whether the slot's run may be ordered, or could have been.
func (e *entry) due(now time.Time) bool { return !e.slot.IsZero() && !now.Before(e.slot.Add(-e.lead)) }

func (e *entry) id() runs.ID { return runs.NewID(e.c, e.slot) }

// next goes on to the combination's next slot.
func (e *entry) next() {
	e.slot, e.done = e.scenario.Timetable().Next(e.c, e.slot), false
}

// agenda holds an entry for each combination that can be run here.
type agenda []*entry

// newAgenda goes through a plan from a time on, which is not itself included. Slots whose window is over by now are left out.
func newAgenda(p *runs.Plan, pools []string, from, now time.Time) agenda {
	var out agenda
	networks := netprofile.Set(p.Networks)
	for i := range p.Scenarios {
		s := &p.Scenarios[i]
		if !slices.Contains(pools, s.Pool()) {
			continue
		}
		for _, c := range s.Combinations() {
			network, ok := networks.Lookup(c.Network)
			if c.Region != p.Region || !ok {
				continue
			}
			e := &entry{scenario: s, network: network, c: c, pool: s.Pool(), window: s.StartWindow(), lead: s.Lead()}
			e.slot = s.Timetable().Next(c, latest(from, now.Add(-e.window).Add(-time.Nanosecond)))
			out = append(out, e)
		}
	}
	return out
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// pass gives the entries whose slot is open now, oldest first, and hands those slots to missed that have closed without having been begun
// here. Slots are never gone back to.
func (a agenda) pass(now time.Time, missed func(*entry)) []*entry {
	var open []*entry
	for _, e := range a {
		for steps := 0; e.due(now) && (e.done || e.closed(now)); steps++ {
			if steps == maxSteps {
				e.slot = e.scenario.Timetable().Next(e.c, now.Add(-e.window).Add(-time.Nanosecond))
				e.done = false
				break
			}
			if !e.done {
				missed(e)
			}
			e.next()
		}
		if e.due(now) && !e.done && !e.closed(now) {
			open = append(open, e)
		}
	}
	slices.SortStableFunc(open, func(x, y *entry) int { return x.slot.Compare(y.slot) })
	return open
}
