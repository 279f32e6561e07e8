package baseline

import (
	"math"
	"slices"
	"time"
)

// perUnit is how many steps the natural logarithm of a duration in seconds is counted in: from 0.3 ms to an hour, to 0.03 %.
const perUnit = 4000

// logarithm is that of a duration in seconds, or a difference of two.
type logarithm int16

func logarithmOf(d time.Duration) logarithm {
	return logarithm(min(max(math.Round(math.Log(d.Seconds())*perUnit), math.MinInt16), math.MaxInt16))
}

func (l logarithm) duration() time.Duration {
	return time.Duration(math.Exp(float64(l)/perUnit) * float64(time.Second))
}

// sample holds some of the durations of an hour, spread evenly over it: when there is no room for more, every second one goes, and of those to
// come only as many are taken.
type sample struct {
	n      uint32 // runs in all
	over   uint32 // of those, the ones slower than one in twenty usually is
	stride uint32 // every so many-th is kept; 0 = all
	values []logarithm
}

func (s *sample) add(x logarithm) {
	s.n++
	if s.stride = max(s.stride, 1); (s.n-1)%s.stride != 0 {
		return
	}
	if len(s.values) == maxSample {
		kept := s.values[:0]
		for i := 0; i < maxSample; i += 2 {
			kept = append(kept, s.values[i])
		}
		s.values = kept
		if s.stride *= 2; (s.n-1)%s.stride != 0 {
			return
		}
	}
	s.values = append(s.values, x)
}

// merge makes a sample of both; neither is to be added to afterwards.
func (s *sample) merge(other *sample) {
	s.n, s.over, s.values = s.n+other.n, s.over+other.over, slices.Concat(s.values, other.values)
}

// figures are its median, and the median of how far all are from that.
func (s *sample) figures() (centre, mad logarithm) {
	values := slices.Sorted(slices.Values(s.values))
	centre = middle(values)
	for i, v := range values {
		far := int(v) - int(centre)
		values[i] = logarithm(min(max(far, -far), math.MaxInt16))
	}
	slices.Sort(values)
	return centre, middle(values)
}

// middle is the lower one of two; values are ascending, and there is at least one.
func middle(values []logarithm) logarithm { return values[(len(values)-1)/2] }
