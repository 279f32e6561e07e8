package fleet

import (
	"slices"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// Beat is how long after a heartbeat what it named counts as under way: heartbeats come each 5 s, and have a way to go. It is shorter than
// Silence on purpose: a run whose probe died must not hold up the next one for longer than need be.
const Beat = 7 * time.Second

// listed is a run that a probe's last heartbeat named.
type listed struct {
	id    runs.ID
	slot  time.Time
	probe string
	heard time.Time
}

// note takes up which runs a probe has, instead of those that it had.
func (f *Fleet) note(key string, p *member, hb *runs.Heartbeat, now time.Time) {
	f.unlist(key, p)
	ended := map[runs.ID]bool{}
	for _, id := range hb.Ended {
		ended[id] = true
	}
	ids := hb.Running
	if len(ids) > maxListed {
		f.refused++
		ids = ids[:maxListed]
	}
	for _, id := range ids {
		c, slot, err := id.Parse()
		if err != nil || c.Region != p.Region { // of another region it has none
			continue
		}
		if !f.taken.add(id) {
			f.refused++
		}
		if p.Left || ended[id] { // what a probe that leaves has not ended it hands back
			continue
		}
		p.running = append(p.running, c)
		f.current[c] = append(f.current[c], listed{id: id, slot: slot, probe: key, heard: now})
	}
}

// unlist forgets which runs a probe has.
func (f *Fleet) unlist(key string, p *member) {
	for _, c := range p.running {
		left := slices.DeleteFunc(f.current[c], func(l listed) bool { return l.probe == key })
		if f.current[c] = left; len(left) == 0 {
			delete(f.current, c)
		}
	}
	p.running = p.running[:0]
}

// Running lists the combination's runs of slots before a time that are under way as far as the heartbeats tell. A run that ended since the
// last heartbeat is among them: its result tells, or the next heartbeat.
func (f *Fleet) Running(c scenario.Combination, before, now time.Time) []runs.ID {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []runs.ID
	for _, l := range f.current[c] {
		if l.slot.Before(before) && now.Sub(l.heard).Abs() <= Beat {
			out = append(out, l.id)
		}
	}
	return out
}

// generations remembers the runs that were taken in two halves, so that forgetting costs nothing: the older one is dropped as a whole.
type generations struct {
	young, old map[runs.ID]struct{}
	since      time.Time // when the young one began
}

func (g *generations) add(id runs.ID) bool {
	if len(g.young) >= maxTaken/2 {
		return g.has(id)
	}
	g.young[id] = struct{}{}
	return true
}

func (g *generations) has(id runs.ID) bool {
	if _, ok := g.young[id]; ok {
		return true
	}
	_, ok := g.old[id]
	return ok
}

// age begins a new generation when the young one is old enough.
func (g *generations) age(now time.Time) {
	if now.Sub(g.since).Abs() >= takenFor {
		g.old, g.young, g.since = g.young, map[runs.ID]struct{}{}, now
	}
}
