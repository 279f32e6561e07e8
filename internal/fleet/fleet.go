// Package fleet knows the probes by their heartbeats: which are there and what they can run, how busy they are, how far off their clocks, and
// what they have taken on. From that it can say why nothing came of a slot, and whether a run is still under way.
package fleet

import (
	"slices"
	"strings"
	"sync"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// Silence is how long a probe may say nothing before it counts as gone: three heartbeats of 5 s.
const Silence = 15 * time.Second

// The bounds of what is kept. What heartbeats say is not to be trusted.
const (
	takenFor  = 30 * time.Minute // how long a taken run is remembered at least
	missedFor = 24 * time.Hour   // how long probes that fell silent are remembered
	maxProbes = 10_000           // a flood of made-up probe names must not fill the memory
	maxTaken  = 1_000_000        // runs that are remembered
	maxListed = 1_000            // runs that one probe may have at once
)

// Fleet is safe for concurrent use.
type Fleet struct {
	mu       sync.Mutex
	began    time.Time // when we began to listen
	listened time.Time // the last word that we do; zero before the first
	deaf     []stretch // when we did not, the latest ones
	probes   map[string]*member
	present  map[place][]span
	current  map[scenario.Combination][]listed
	taken    generations
	swept    time.Time
	refused  int64
}

// member is a probe.
type member struct {
	runs.ProbeStatus
	running []scenario.Combination // of the runs that its last heartbeat named
}

// New returns an empty fleet that has heard nothing before began.
func New(began time.Time) *Fleet {
	return &Fleet{
		began: began, probes: map[string]*member{}, present: map[place][]span{}, current: map[scenario.Combination][]listed{},
		taken: generations{young: map[runs.ID]struct{}{}, since: began}, swept: began,
	}
}

// Heard takes up a heartbeat that arrived at now.
func (f *Fleet) Heard(hb *runs.Heartbeat, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := hb.Region + "." + hb.Probe
	p, ok := f.probes[key]
	if !ok {
		if len(f.probes) >= maxProbes {
			f.refused++
			return
		}
		p = &member{ProbeStatus: runs.ProbeStatus{Region: hb.Region, Name: hb.Probe}}
		f.probes[key] = p
	}
	p.Version, p.LastSeen, p.ClockOffset, p.ClockError = hb.Version, now, hb.SentAt.Sub(now), 0
	if hb.Clock != nil && hb.Clock.Sound() {
		p.ClockOffset, p.ClockError = -hb.Clock.Offset(), hb.Clock.Uncertainty()
	}
	p.Slots, p.Running, p.Spooled, p.Browser, p.Rejected = min(max(hb.Slots, 0), maxListed), len(hb.Running), hb.Spooled, hb.Browser, hb.Rejected
	p.Pools, p.Autonomous, p.Left, p.SpoolBytes = pools(hb), hb.Autonomous, hb.Leaving, hb.SpoolBytes
	f.note(key, p, hb, now)
	f.attend(p, now)
	f.sweep(now)
}

// pools are the pools of a probe. One of an older version names none: it does without a browser what needs none, and has one or not.
func pools(hb *runs.Heartbeat) []string {
	if len(hb.Pools) > 0 {
		return slices.DeleteFunc(scenario.Pools(), func(pool string) bool { return !slices.Contains(hb.Pools, pool) })
	}
	if hb.Browser {
		return []string{scenario.PoolBrowser, scenario.PoolHTTP}
	}
	return []string{scenario.PoolHTTP}
}

// up reports whether a probe is there. After our clock went back it is not, until its next heartbeat.
func (m *member) up(now time.Time) bool { return !m.Left && now.Sub(m.LastSeen).Abs() <= Silence }

// sweepEvery is how often what is too old is looked for.
const sweepEvery = time.Minute

// sweep drops what is too old to matter.
func (f *Fleet) sweep(now time.Time) {
	if now.Sub(f.swept).Abs() < sweepEvery {
		return
	}
	f.swept = now
	f.taken.age(now)
	for key, p := range f.probes {
		if now.Sub(p.LastSeen) > missedFor {
			f.unlist(key, p)
			delete(f.probes, key)
		}
	}
}

// Probes lists the probes as of now, by region and name.
func (f *Fleet) Probes(now time.Time) []runs.ProbeStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]runs.ProbeStatus, 0, len(f.probes))
	for _, p := range f.probes {
		q := p.ProbeStatus
		q.Up = p.up(now)
		out = append(out, q)
	}
	slices.SortFunc(out, func(a, b runs.ProbeStatus) int { return strings.Compare(a.Region+"."+a.Name, b.Region+"."+b.Name) })
	return out
}

// Refused counts heartbeats of new probes, and runs named by heartbeats, that did not fit any more.
func (f *Fleet) Refused() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refused
}
