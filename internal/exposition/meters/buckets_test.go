package meters

import (
	"slices"
	"testing"
	"time"
)

func TestBuckets(t *testing.T) {
	for _, tc := range []struct {
		rtt         time.Duration
		timeout     time.Duration
		thresholds  []time.Duration
		first, last float64
		atMost      int
	}{
		{0, 45 * time.Second, nil, 0.01, 45, 30},
		{300 * time.Millisecond, 45 * time.Second, []time.Duration{4 * time.Second, 5 * time.Hour, 0}, 0.6, 45, 17},
		{800 * time.Millisecond, 45 * time.Second, nil, 1.6, 45, 13},
		{0, 10 * time.Second, []time.Duration{120 * time.Millisecond}, 0.01, 10, 25},
		{800 * time.Millisecond, time.Second, nil, 1, 1, 1},
	} {
		of := runShape(tc.rtt, tc.timeout)
		got := buckets(of.shortest, of.longest, tc.thresholds)
		if got[0] != tc.first || got[len(got)-1] != tc.last || len(got) > tc.atMost {
			t.Errorf("%s %s: got %v (%d), want %v to %v in at most %d", tc.rtt, tc.timeout, got, len(got), tc.first, tc.last, tc.atMost)
		}
		for i := 1; i < len(got); i++ {
			if factor := got[i] / got[i-1]; factor <= 1.05 || factor > 1.6 {
				t.Errorf("%s %s: got bounds %v and %v next to each other", tc.rtt, tc.timeout, got[i-1], got[i])
			}
		}
		for _, threshold := range tc.thresholds {
			if threshold > 0 && threshold < tc.timeout && !slices.Contains(got, threshold.Seconds()) {
				t.Errorf("%s: got %v, want the threshold %s in it", tc.rtt, got, threshold)
			}
		}
	}
}
