package link

import (
	"math"
	"time"
)

// Lateness is how late deliveries came: the scheduling error of the timer and of the machine.
type Lateness struct {
	Deliveries int64
	Mean       time.Duration
	P99        time.Duration // an upper bound, at most 10 % above the true one
	Max        time.Duration
}

// The buckets of the histogram behind P99: each is a tenth wider than the one before. The first ends at a microsecond, the last at
// over a minute.
const (
	firstBucket = time.Microsecond
	growth      = 1.1
	bucketCount = 192
)

// lateness sums up how late deliveries were.
type lateness struct {
	n       int64
	total   time.Duration
	max     time.Duration
	buckets [bucketCount]uint32
}

func (l *lateness) add(d time.Duration) {
	l.n++
	l.total += d
	l.max = max(l.max, d)
	bucket := 0
	if d > firstBucket {
		bucket = min(int(math.Ceil(math.Log(float64(d)/float64(firstBucket))/math.Log(growth))), bucketCount-1)
	}
	l.buckets[bucket]++
}

func (l *lateness) sum() Lateness {
	if l.n == 0 {
		return Lateness{}
	}
	out := Lateness{Deliveries: l.n, Mean: l.total / time.Duration(l.n), Max: l.max}
	rank, seen := (l.n*99+99)/100, int64(0)
	for i, n := range l.buckets {
		if seen += int64(n); seen >= rank {
			out.P99 = min(l.max, time.Duration(float64(firstBucket)*math.Pow(growth, float64(i))))
			break
		}
	}
	return out
}
