package link

import (
	"math"
	"time"
)

// Lateness is how late deliveries came: the scheduling error of the timer and of the machine.
type Lateness struct {
	Deliveries int64
	Over       int64 // deliveries later than the limit that New was given
	Mean       time.Duration
	P99        time.Duration // an upper bound, at most 10 % above the true one
	Max        time.Duration
	Stalled    time.Duration // in which some delivery was overdue by more than the limit
	Active     time.Duration // in which some packet was under way
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
	limit   time.Duration
	n, over int64
	total   time.Duration
	max     time.Duration
	buckets [bucketCount]uint32

	stalled, active           time.Duration
	stalledUntil, activeUntil time.Duration // what of the line's time is in them
}

// add notes the delivery now of a packet that was sent and due when it says.
func (l *lateness) add(sent, due, now time.Duration) {
	d := now - due
	l.n++
	l.total += d
	l.max = max(l.max, d)
	l.active += now - min(now, max(sent, l.activeUntil))
	l.activeUntil = now
	if d > l.limit {
		l.over++
		l.stalled += now - max(due, l.stalledUntil)
		l.stalledUntil = now
	}
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
	out := Lateness{Deliveries: l.n, Over: l.over, Mean: l.total / time.Duration(l.n), Max: l.max, Stalled: l.stalled, Active: l.active}
	rank, seen := (l.n*99+99)/100, int64(0)
	for i, n := range l.buckets {
		if seen += int64(n); seen >= rank {
			out.P99 = min(l.max, time.Duration(float64(firstBucket)*math.Pow(growth, float64(i))))
			break
		}
	}
	return out
}
