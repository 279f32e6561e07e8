package fleet

import (
	"slices"
	"time"

	"lastmile/internal/runs"
)

// maxSpans bounds the stretches of presence that are kept for each region and pool.
const maxSpans = 64

// place is what a probe is needed for: a region's pool, or the region as such where pool is empty.
type place struct{ region, pool string }

// span is a stretch of time in which a place had a probe.
type span struct {
	from, to time.Time
	left     bool // the last probe went in good order
}

// attend notes that a probe was there at now, or that it went.
func (f *Fleet) attend(p *member, now time.Time) {
	f.extend(place{region: p.Region}, p, now)
	for _, pool := range p.Pools {
		f.extend(place{p.Region, pool}, p, now)
	}
}

// extend lengthens a place's present stretch, or begins a new one after a silence. Probes heard as soon as we listened were
// there before: a restart of the coordinator must not read as an absence of the probes.
func (f *Fleet) extend(at place, p *member, now time.Time) {
	spans := f.present[at]
	n := len(spans)
	if n == 0 || spans[n-1].left || now.Sub(spans[n-1].to) > Silence {
		from := now
		if now.Sub(f.began) <= Silence && n == 0 {
			from = time.Time{}
		}
		spans = append(spans, span{from: from, to: now})
		if n++; n > maxSpans {
			spans = slices.Delete(spans, 0, n-maxSpans)
			n = maxSpans
		}
		f.present[at] = spans
	}
	last := &spans[n-1]
	if now.After(last.to) { // our clock may have gone back
		last.to = now
	}
	last.left = p.Left && !f.othersAt(at, p, now)
}

// othersAt reports whether a place has another probe.
func (f *Fleet) othersAt(at place, p *member, now time.Time) bool {
	for _, q := range f.probes {
		if q != p && q.Region == at.region && q.up(now) && (at.pool == "" || slices.Contains(q.Pools, at.pool)) {
			return true
		}
	}
	return false
}

// Reason says, at now, why nothing came of a run of a pool whose slot had until deadline to end:
//
//   - lost: a probe had it, and never reported;
//   - expired: probes for it were there, and none took it in time;
//   - coordinator_down: we did not listen all the time of the slot, and the probes may have been there;
//   - cut_off: its probes had been there, then all probes of the region fell silent, without a word, before the slot. They may be running it all
//     the same, on their own;
//   - no_probe: there was none for it, or those that there were had gone in good order, or more than a day ago.
func (f *Fleet) Reason(id runs.ID, pool string, deadline, now time.Time) runs.Reason {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, slot, err := id.Parse()
	switch {
	case err != nil: // our own plan made it
		return runs.ReasonNoProbe
	case f.taken.has(id):
		return runs.ReasonLost
	case f.there(place{c.Region, pool}, slot, deadline, now):
		return runs.ReasonExpired
	case f.unheard(place{c.Region, pool}, slot, deadline, now):
		return runs.ReasonCoordinatorDown
	case !f.there(place{region: c.Region}, slot, deadline, now) && f.fellSilent(place{c.Region, pool}, slot):
		return runs.ReasonCutOff
	}
	return runs.ReasonNoProbe
}

// there reports whether a place had a probe at any time of a slot. One whose last word is not long ago at now has not gone.
func (f *Fleet) there(at place, slot, deadline, now time.Time) bool {
	return slices.ContainsFunc(f.present[at], func(s span) bool {
		to := s.to
		if !s.left && now.Sub(to) <= Silence {
			to = now
		}
		return !s.from.After(deadline) && !to.Before(slot)
	})
}

// fellSilent reports whether the last probe that a place had before a slot stopped without a word.
func (f *Fleet) fellSilent(at place, slot time.Time) bool {
	spans := f.present[at]
	for i := len(spans) - 1; i >= 0; i-- {
		if s := spans[i]; s.to.Before(slot) {
			return !s.left && slot.Sub(s.to) <= missedFor
		}
	}
	return false
}
