package meters

import (
	"bytes"
	"math"
	"slices"
	"time"

	"lastmile/internal/slo"
)

const (
	// maxSamples is how many samples of a kind are kept: enough for an upper bound of a P95, which takes 72.
	maxSamples = 128
	// maxSampleAge is how old the slot of a sample may be.
	maxSampleAge = 24 * time.Hour
)

// samples are the newest values of one kind by slot, whatever the order in which they came, and in the order of their size. At most 9 bytes each.
type samples struct {
	readings []reading
	order    []uint8 // positions of readings, ascending by value
}

type reading struct {
	at    uint32 // the slot, Unix seconds
	value uint32 // microseconds, or millionths
}

// add takes up a value in units of a millionth. What makes no sense, or is older than all of so many that it is not among the newest, is left out.
func (s *samples) add(slot, now time.Time, value float64) {
	if !(value >= 0 && value < math.MaxUint32) || slot.After(now.Add(time.Hour)) || now.Sub(slot) > maxSampleAge {
		return
	}
	at := len(s.readings)
	one := reading{at: uint32(slot.Unix()), value: uint32(math.Round(value))}
	if at < maxSamples {
		s.readings = append(s.readings, one)
	} else {
		at = s.oldest()
		if s.readings[at].at >= one.at {
			return
		}
		s.order = slices.Delete(s.order, bytes.IndexByte(s.order, uint8(at)), bytes.IndexByte(s.order, uint8(at))+1)
		s.readings[at] = one
	}
	place, _ := slices.BinarySearchFunc(s.order, one.value, func(i uint8, v uint32) int {
		return int(int64(s.readings[i].value) - int64(v))
	})
	s.order = slices.Insert(s.order, place, uint8(at))
}

// oldest is the position of the reading with the earliest slot.
func (s *samples) oldest() int {
	oldest := 0
	for i := range s.readings {
		if s.readings[i].at < s.readings[oldest].at {
			oldest = i
		}
	}
	return oldest
}

// expire drops what is too old.
func (s *samples) expire(now time.Time) {
	least := uint32(max(0, now.Add(-maxSampleAge).Unix()))
	old := func(r reading) bool { return r.at < least }
	if !slices.ContainsFunc(s.readings, old) {
		return
	}
	s.readings = slices.DeleteFunc(s.readings, old)
	s.order = s.order[:0]
	for i := range s.readings {
		s.order = append(s.order, uint8(i))
	}
	slices.SortFunc(s.order, func(a, b uint8) int { return int(int64(s.readings[a].value) - int64(s.readings[b].value)) })
}

// at is the value of a rank, counted from 0, in the unit of which add took millionths.
func (s *samples) at(rank int) float64 { return float64(s.readings[s.order[rank]].value) / 1e6 }

// quantile is one of those that are shown.
type quantile int

const (
	p50 quantile = iota
	p75
	p95
	quantiles
)

// share is that of the samples which the quantile is not exceeded by.
func (q quantile) share() slo.Ratio { return [quantiles]slo.Ratio{0.5, 0.75, 0.95}[q] }

// place is where a quantile and its 95 % confidence interval lie among so many samples, counted from 0; -1 = there is no such bound.
type place struct {
	known               bool
	value, lower, upper int
}

// ranks remembers places: to work one out takes longer than anything else about a quantile.
type ranks [quantiles][maxSamples + 1]place

// of is the place of a quantile among n samples, at least one.
func (r *ranks) of(q quantile, n int) place {
	p := &r[q][n]
	if p.known {
		return *p
	}
	positions := make([]time.Duration, n)
	for i := range positions {
		positions[i] = time.Duration(i)
	}
	e := slo.QuantileSorted(positions, q.share())
	*p = place{known: true, value: int(e.Value), lower: -1, upper: -1}
	if e.HasLower {
		p.lower = int(e.Lower)
	}
	if e.HasUpper {
		p.upper = int(e.Upper)
	}
	return *p
}
