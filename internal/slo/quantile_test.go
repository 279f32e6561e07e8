package slo_test

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"lastmile/internal/slo"
)

// shuffled gives 1 ms to n ms in an order that is far from sorted.
func shuffled(n int) []time.Duration {
	values := make([]time.Duration, n)
	for i := range values {
		values[i] = time.Duration(i+1) * time.Millisecond
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(n, func(i, j int) { values[i], values[j] = values[j], values[i] })
	return values
}

// With the values 1 ms to n ms a value in ms is its own rank.
func TestQuantileAndItsInterval(t *testing.T) {
	for name, test := range map[string]struct {
		n            int
		q            slo.Ratio
		value        int
		lower, upper int // 0: there is none
	}{
		"no values":                        {0, 0.95, 0, 0, 0},
		"one value":                        {1, 0.95, 1, 0, 0},
		"two values have a lower bound":    {2, 0.95, 2, 1, 0},
		"ten values":                       {10, 0.95, 10, 8, 0},
		"an hour of minutes has no upper":  {60, 0.95, 57, 53, 0},
		"71 is one too few":                {71, 0.95, 68, 63, 0},
		"72 is enough":                     {72, 0.95, 69, 64, 72},
		"median of 100":                    {100, 0.5, 50, 40, 61}, // a textbook pair of ranks
		"median of five has no interval":   {5, 0.5, 3, 0, 0},
		"median of six has the extremes":   {6, 0.5, 3, 1, 6},
		"rank without rounding up by dust": {100, 0.07, 7, 2, 13},
		"least has nothing below":          {9, 0, 1, 0, 1},
		"greatest has nothing above":       {9, 1, 9, 9, 0},
	} {
		t.Run(name, func(t *testing.T) {
			values := shuffled(test.n)
			before := slices.Clone(values)
			got := slo.Quantile(values, test.q)
			ms := func(rank int) time.Duration { return time.Duration(rank) * time.Millisecond }
			want := slo.Estimate{
				N: test.n, Value: ms(test.value), Lower: ms(test.lower), Upper: ms(test.upper),
				HasLower: test.lower > 0, HasUpper: test.upper > 0,
			}
			if got != want {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
			if !slices.Equal(values, before) {
				t.Error("the values were reordered")
			}
		})
	}
}

func TestQuantileLimitsItsShare(t *testing.T) {
	values := shuffled(9)
	for q, want := range map[slo.Ratio]time.Duration{
		-1: time.Millisecond, 2: 9 * time.Millisecond, slo.Ratio(math.Inf(1)): 9 * time.Millisecond,
	} {
		if got := slo.Quantile(values, q).Value; got != want {
			t.Errorf("Quantile(%v) = %v, want %v", q, got, want)
		}
	}
	if got := slo.Quantile(values, slo.Ratio(math.NaN())).Value; got != time.Millisecond {
		t.Errorf("Quantile(NaN) = %v, want the least", got)
	}
}

func TestRankIsExactForEveryPercentile(t *testing.T) {
	for n := 1; n <= 500; n++ {
		sorted := shuffled(n)
		slices.Sort(sorted)
		for percent := 1; percent <= 100; percent++ {
			want := time.Duration((n*percent+99)/100) * time.Millisecond
			if got := slo.QuantileSorted(sorted, slo.Ratio(percent)/100).Value; got != want {
				t.Fatalf("P%d of %d values = %v, want %v", percent, n, got, want)
			}
		}
	}
}

func TestSamplesForUpper(t *testing.T) {
	for _, test := range []struct {
		q, alpha slo.Ratio
		want     int
	}{{0.95, 0.025, 72}, {0.95, 0.05, 59}, {0.99, 0.025, 368}, {0.5, 0.025, 6}, {0, 0.05, 0}, {1, 0.05, 0}, {0.95, 0, 0}, {0.95, 1, 0}} {
		if got := slo.SamplesForUpper(test.q, test.alpha); got != test.want {
			t.Errorf("SamplesForUpper(%v, %v) = %d, want %d", test.q, test.alpha, got, test.want)
		}
	}
}

// The interval's promise, on a skewed distribution with a known P95.
func TestQuantileIntervalCovers(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	p95 := time.Duration(-math.Log(0.05) * float64(time.Second))
	const rounds, n = 2000, 300
	missed := 0
	values := make([]time.Duration, n)
	for range rounds {
		for i := range values {
			values[i] = time.Duration(random.ExpFloat64() * float64(time.Second))
		}
		if e := slo.Quantile(values, 0.95); p95 < e.Lower || p95 > e.Upper {
			missed++
		}
	}
	if missed > rounds*5/100 {
		t.Errorf("the true P95 lay outside %d times of %d, want %d at most", missed, rounds, rounds*5/100)
	}
}

func FuzzQuantileIsTheSortedRank(f *testing.F) {
	f.Add([]byte{3, 0, 1, 0, 2, 0}, 0.5)
	f.Add([]byte{9, 9}, 0.95)
	f.Add([]byte{}, math.NaN())
	f.Add(make([]byte, 400), 1e-300)
	f.Fuzz(func(t *testing.T, data []byte, share float64) {
		values := make([]time.Duration, 0, len(data)/2)
		for ; len(data) >= 2 && len(values) < 2000; data = data[2:] {
			values = append(values, time.Duration(int16(binary.LittleEndian.Uint16(data))))
		}
		got := slo.Quantile(values, slo.Ratio(share))
		if got.N != len(values) {
			t.Fatalf("n = %d, want %d", got.N, len(values))
		}
		if got.N == 0 {
			return
		}
		// By definition: at least q of the values are not above it, and were it
		// any smaller value, fewer would be.
		q := min(max(share, 0), 1)
		atMost, below := 0, 0
		for _, v := range values {
			if v <= got.Value {
				atMost++
			}
			if v < got.Value {
				below++
			}
		}
		need := q * float64(got.N)
		if float64(atMost) < need-1e-9 || (below > 0 && float64(below) >= need+1e-9) {
			t.Fatalf("%v is not the %v-quantile: %d of %d not above it, %d below", got.Value, share, atMost, got.N, below)
		}
		if (got.HasLower && got.Lower > got.Value) || (got.HasUpper && got.Upper < got.Value) {
			t.Fatalf("the value lies outside its interval: %+v", got)
		}
	})
}

// A day of one run a minute: the most raw values that one quantile is taken of.
func BenchmarkQuantile1440(b *testing.B) {
	values := shuffled(1440)
	b.Run("unsorted", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			slo.Quantile(values, 0.95)
		}
	})
	sorted := shuffled(1440)
	slices.Sort(sorted)
	b.Run("sorted", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			slo.QuantileSorted(sorted, 0.95)
		}
	})
}
