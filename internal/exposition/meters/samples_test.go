package meters

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"lastmile/internal/slo"
)

var at = time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)

// TestSamplesAreTheNewestInAnyOrder has the same values come in many orders, and compares all quantiles with those of the newest values.
func TestSamplesAreTheNewestInAnyOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		type one struct {
			slot  time.Time
			value time.Duration
		}
		var all []one
		for i := range random.IntN(300) + 1 {
			all = append(all, one{at.Add(-time.Duration(i) * time.Minute), time.Duration(random.IntN(50)) * 1234 * time.Microsecond}) // with many that are equal
		}
		var newest []time.Duration
		for _, o := range all[:min(len(all), maxSamples)] {
			newest = append(newest, o.value)
		}
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		var s samples
		for _, o := range all {
			s.add(o.slot, at, float64(o.value.Microseconds()))
		}
		if len(s.readings) != len(newest) || len(s.order) != len(newest) {
			t.Fatalf("got %d samples in an order of %d, want %d", len(s.readings), len(s.order), len(newest))
		}
		var known ranks
		for q := range quantiles {
			sameQuantile(t, &s, known.of(q, len(newest)), slo.Quantile(newest, q.share()))
			sameQuantile(t, &s, known.of(q, len(newest)), slo.Quantile(newest, q.share())) // from memory
		}
	}
}

func sameQuantile(t *testing.T, s *samples, got place, want slo.Estimate) {
	t.Helper()
	for _, bound := range []struct {
		rank int
		want time.Duration
		is   bool
	}{{got.value, want.Value, true}, {got.lower, want.Lower, want.HasLower}, {got.upper, want.Upper, want.HasUpper}} {
		if (bound.rank >= 0) != bound.is {
			t.Fatalf("of %d: got rank %d, want one: %t", want.N, bound.rank, bound.is)
		}
		if bound.is && s.at(bound.rank) != bound.want.Seconds() {
			t.Fatalf("of %d: got %v s, want %v", want.N, s.at(bound.rank), bound.want)
		}
	}
}

func TestNonsenseIsNoSample(t *testing.T) {
	var s samples
	for _, value := range []float64{-1, math.NaN(), math.Inf(1), 1e18} {
		s.add(at, at, value)
	}
	for _, slot := range []time.Time{at.Add(-25 * time.Hour), at.Add(2 * time.Hour), {}} {
		s.add(slot, at, 1)
	}
	if len(s.readings) != 0 {
		t.Errorf("got %v, want none", s.readings)
	}
}

func TestExpire(t *testing.T) {
	var s samples
	for i := range 100 {
		s.add(at.Add(-time.Duration(i)*10*time.Minute), at, float64((i*37)%100))
	}
	s.expire(at.Add(24*time.Hour - 5*time.Hour)) // 30 of them are older than a day, less than the 31st
	values := []float64{}
	for i := range s.order {
		values = append(values, s.at(i)*1e6)
	}
	if len(values) != 31 || !slices.IsSorted(values) {
		t.Errorf("got %d samples, %v, want 31 in order", len(values), values)
	}
	s.add(at.Add(24*time.Hour), at.Add(24*time.Hour), 50.5)
	if len(s.order) != 32 {
		t.Errorf("got %d samples after one more, want 32", len(s.order))
	}
	s.expire(at.Add(72 * time.Hour))
	if len(s.order)+len(s.readings) != 0 {
		t.Errorf("got %d samples after three days, want none", len(s.readings))
	}
}
