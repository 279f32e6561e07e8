package meters

import (
	"time"

	"lastmile/internal/exposition/sheet"
	"lastmile/internal/runs"
)

// recentSeries are those of a step's recent durations: two quantiles with their bounds, and the number.
const recentSeries = 2*3 + 1

// maxDocuments bounds the documents of one run that count: one that reloads itself for ever would drown all others.
const maxDocuments = 20

// The vitals' positions in a combination's samples.
const (
	ttfb = iota
	fcp
	lcp
	inp
	cls
	vitals
)

// vitalSeries are those of the vitals of a combination: each a quantile with its bounds, and a number.
const vitalSeries = vitals * 4

func vitalNames() [vitals]string { return [vitals]string{"ttfb", "fcp", "lcp", "inp", "cls"} }

// vitals takes up the documents of a result. The caller holds the lock.
func (m *Meters) vitals(in *instruments, r *runs.Result, now time.Time) {
	if !r.State.Measured() || len(r.Tainted) > 0 || in.closed {
		return
	}
	for i := range r.Navigations[:min(len(r.Navigations), maxDocuments)] {
		if r.Navigations[i].Soft {
			continue
		}
		v := &r.Navigations[i].Vitals
		for kind, value := range [vitals]*float64{v.TTFB, v.FCP, v.LCP, v.INP, v.CLS} {
			if value == nil {
				continue
			}
			if in.pages == nil {
				if in.closed = !m.reserve(vitalSeries); in.closed {
					return
				}
				in.pages = new([vitals]samples)
			}
			scale := 1e3 // milliseconds to microseconds
			if kind == cls {
				scale = 1e6
			}
			in.pages[kind].add(r.Slot, now, *value*scale)
		}
	}
}

// writeSteps adds the quantiles of recent steps.
func (in *instruments) writeSteps(s *sheet.Sheet, labels sheet.Labels, known *ranks, now time.Time) {
	for _, one := range in.steps {
		if one.id == other {
			continue
		}
		one.recent.expire(now)
		l := labels.With("step", one.id)
		n := len(one.recent.readings)
		s.Int("lastmile_step_duration_samples", l, int64(n))
		if n == 0 {
			continue
		}
		one.recent.write(s, known.of(p50, n), l.With("percentile", "50"), stepMetrics())
		one.recent.write(s, known.of(p95, n), l.With("percentile", "95"), stepMetrics())
	}
}

// writePages adds the quantiles of recent documents.
func (in *instruments) writePages(s *sheet.Sheet, labels sheet.Labels, known *ranks, now time.Time) {
	if in.pages == nil {
		return
	}
	for kind, name := range vitalNames() {
		recent := &in.pages[kind]
		recent.expire(now)
		n := len(recent.readings)
		l := labels.With("vital", name)
		s.Int("lastmile_web_vital_samples", l, int64(n))
		if n == 0 {
			continue
		}
		names := vitalMetrics()
		if kind == cls {
			names, l = layoutShiftMetrics(), labels
		}
		recent.write(s, known.of(p75, n), l, names)
	}
}

// triple names the metrics of a quantile and of its interval.
type triple struct{ value, lower, upper string }

func stepMetrics() triple {
	return triple{"lastmile_step_duration_quantile_seconds", "lastmile_step_duration_quantile_lower_seconds", "lastmile_step_duration_quantile_upper_seconds"}
}

func vitalMetrics() triple {
	return triple{"lastmile_web_vital_seconds", "lastmile_web_vital_lower_seconds", "lastmile_web_vital_upper_seconds"}
}

func layoutShiftMetrics() triple {
	return triple{"lastmile_web_vital_cls", "lastmile_web_vital_cls_lower", "lastmile_web_vital_cls_upper"}
}

// write adds a quantile and what there is of its interval.
func (s *samples) write(out *sheet.Sheet, p place, l sheet.Labels, names triple) {
	out.Float(names.value, l, s.at(p.value))
	if p.lower >= 0 {
		out.Float(names.lower, l, s.at(p.lower))
	}
	if p.upper >= 0 {
		out.Float(names.upper, l, s.at(p.upper))
	}
}
