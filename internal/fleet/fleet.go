// Package fleet knows the probes by their heartbeats: which are there, how busy they are, how far off their clocks, and what they
// have taken on. From that it can say why nothing came of a slot.
package fleet

import (
	"slices"
	"strings"
	"sync"
	"time"

	"lastmile/internal/runs"
)

// Silence is how long a probe may say nothing before it counts as gone: three heartbeats of 5 s.
const Silence = 15 * time.Second

// The bounds of what is kept.
const (
	takenFor  = 30 * time.Minute // how long a taken run is remembered
	maxProbes = 10_000           // a flood of made-up probe names must not fill the memory
	maxSpans  = 64               // stretches of presence per region
)

// Fleet is safe for concurrent use.
type Fleet struct {
	began   time.Time // when we began to listen
	mu      sync.Mutex
	probes  map[string]*runs.ProbeStatus
	taken   map[runs.ID]time.Time
	present map[string][]span // region -> when at least one probe was there
	refused int64
}

// span is a stretch of time in which a region had a probe.
type span struct{ from, to time.Time }

// New returns an empty fleet that has heard nothing before began.
func New(began time.Time) *Fleet {
	return &Fleet{began: began, probes: map[string]*runs.ProbeStatus{}, taken: map[runs.ID]time.Time{}, present: map[string][]span{}}
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
		p = &runs.ProbeStatus{Region: hb.Region, Name: hb.Probe}
		f.probes[key] = p
	}
	p.Version, p.LastSeen, p.ClockOffset, p.ClockError = hb.Version, now, hb.SentAt.Sub(now), 0
	if hb.Clock != nil && hb.Clock.Sound() {
		p.ClockOffset, p.ClockError = -hb.Clock.Offset(), hb.Clock.Uncertainty()
	}
	p.Slots, p.Running, p.Spooled, p.Browser, p.Rejected = hb.Slots, len(hb.Running), hb.Spooled, hb.Browser, hb.Rejected
	for _, id := range hb.Running {
		f.taken[id] = now
	}
	f.extend(hb.Region, now)
	f.forget(now)
}

// extend lengthens the region's present stretch, or begins a new one after a silence. Probes heard as soon as we listened were
// there before: a restart of the coordinator must not read as an absence of the probes.
func (f *Fleet) extend(region string, now time.Time) {
	spans := f.present[region]
	if n := len(spans); n > 0 && now.Sub(spans[n-1].to) <= Silence {
		spans[n-1].to = now
		return
	}
	from := now
	if now.Sub(f.began) <= Silence {
		from = time.Time{}
	}
	spans = append(spans, span{from: from, to: now})
	if len(spans) > maxSpans {
		spans = slices.Delete(spans, 0, len(spans)-maxSpans)
	}
	f.present[region] = spans
}

// forget drops what is too old to matter.
func (f *Fleet) forget(now time.Time) {
	for id, at := range f.taken {
		if now.Sub(at) > takenFor {
			delete(f.taken, id)
		}
	}
	for key, p := range f.probes {
		if now.Sub(p.LastSeen) > 24*time.Hour {
			delete(f.probes, key)
		}
	}
}

// Reason says why nothing came of the run that was due at slot and had until deadline to end.
func (f *Fleet) Reason(id runs.ID, region string, slot, deadline time.Time) runs.Reason {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.taken[id]; ok {
		return runs.ReasonLost
	}
	there := slices.ContainsFunc(f.present[region], func(s span) bool {
		return !s.from.After(deadline) && !s.to.Add(Silence).Before(slot)
	})
	if there {
		return runs.ReasonExpired
	}
	return runs.ReasonNoProbe
}

// Probes lists the probes as of now, by region and name.
func (f *Fleet) Probes(now time.Time) []runs.ProbeStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]runs.ProbeStatus, 0, len(f.probes))
	for _, p := range f.probes {
		q := *p
		q.Up = now.Sub(q.LastSeen) <= Silence
		out = append(out, q)
	}
	slices.SortFunc(out, func(a, b runs.ProbeStatus) int { return strings.Compare(a.Region+"."+a.Name, b.Region+"."+b.Name) })
	return out
}

// Refused counts heartbeats of new probes that did not fit any more.
func (f *Fleet) Refused() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refused
}
