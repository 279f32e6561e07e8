package fleet

import (
	"slices"
	"time"
)

// deafAfter is after how long without a word that heartbeats get here we did not listen. What is shorter makes no silence of a probe's
// heartbeats, which come each 5 s.
const deafAfter = Silence - Beat

// stretch is one of time.
type stretch struct{ from, to time.Time }

// Listening says that heartbeats get here at now: it is to be called each second while they do. A program that was stopped, or not connected,
// has not listened, and cannot say of the probes that they were not there. A fleet that is never told listens all the time.
func (f *Fleet) Listening(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch last := f.listened; {
	case last.IsZero():
		f.began = now
	case now.Sub(last) > deafAfter:
		f.deaf = append(f.deaf, stretch{from: last, to: now})
		if n := len(f.deaf); n > maxSpans {
			f.deaf = slices.Delete(f.deaf, 0, n-maxSpans)
		}
	}
	f.listened = now
}

// unheard reports whether a place may have had a probe within a slot that we did not hear: we did not listen all the time, and it had one when
// we ceased to, or when we began again; shortly after that nobody can tell yet. An absence that was there before and after is one.
func (f *Fleet) unheard(at place, slot, deadline, now time.Time) bool {
	deaf := f.deaf
	if !f.listened.IsZero() { // before this program began it did not listen either
		deaf = append([]stretch{{to: f.began}}, deaf...)
	}
	if !f.listened.IsZero() && now.Sub(f.listened) > deafAfter {
		deaf = append(slices.Clip(deaf), stretch{from: f.listened, to: now})
	}
	return slices.ContainsFunc(deaf, func(d stretch) bool {
		if d.touches(slot, deadline) && now.Sub(d.to) <= Silence {
			return true
		}
		return slices.ContainsFunc(f.present[at], func(s span) bool {
			before := !s.left && !s.from.After(d.from) && d.from.Sub(s.to) <= Silence
			after := !s.to.Before(d.from) && s.from.Sub(d.to) <= Silence
			early, late := stretch{s.to, d.to}, stretch{d.from, s.from}
			return before && early.touches(slot, deadline) || after && late.touches(slot, deadline)
		})
	})
}

// touches reports whether any of it is between two times.
func (s stretch) touches(from, to time.Time) bool { return !s.from.After(to) && !s.to.Before(from) }
