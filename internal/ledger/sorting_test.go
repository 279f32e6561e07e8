package ledger

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestSorting(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var s sorting
	for _, n := range []int{0, 1, 2, fewValues - 1, fewValues, 1440, 300} {
		for _, most := range []time.Duration{1, 100, time.Millisecond, time.Second, 20 * time.Minute, 1<<63 - 1} {
			values := make([]time.Duration, n)
			for i := range values {
				values[i] = time.Duration(random.Int64N(int64(most)))
			}
			want := slices.Sorted(slices.Values(values))
			if s.sort(values); !slices.Equal(values, want) {
				t.Errorf("%d values below %s: got them out of order, or others", n, most)
			}
		}
	}
}

func BenchmarkSorting(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	values := make([]time.Duration, 1440)
	for i := range values {
		values[i] = 500*time.Millisecond + time.Duration(random.Int64N(int64(time.Second)))
	}
	work := make([]time.Duration, len(values))
	b.Run("digits", func(b *testing.B) {
		var s sorting
		for b.Loop() {
			copy(work, values)
			s.sort(work)
		}
	})
	b.Run("comparing", func(b *testing.B) {
		for b.Loop() {
			copy(work, values)
			slices.Sort(work)
		}
	})
}
