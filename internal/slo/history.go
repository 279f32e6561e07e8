package slo

import (
	"slices"
	"time"
)

// The rings of a History. The newest bucket of the coarser two is seldom full:
// one more makes them always reach back the whole 3 and 90 days.
const (
	minuteBuckets = 6 * 60            // of 1 min: 6 h
	fiveBuckets   = 3*24*12 + 1       // of 5 min: 3 d
	hourBuckets   = retainDays*24 + 1 // of 1 h: 90 d
	retainDays    = 90
)

// History keeps the Counts of one scenario, region and network for 90 days, in
// three rings of integers: 1 min x 6 h, 5 min x 3 d and 1 h x 90 d. A slot is
// counted in every ring that reaches back to it, so sums are exact.
//
// It may keep several Counts side by side, in layers: the first is that of Add
// and Sum, a further one that of AddTo and SumOf. They share one present, so
// that the sum over a window covers the same time in all.
//
// Memory: a counter takes one byte in each of the 3,386 buckets while its
// values fit, and its column of a ring widens (2, 4, 8 bytes) when one does not;
// a column with few buckets that are not zero takes three bytes for each of
// these. Measured: 64 bytes when empty, 4.0 kB after 90 days of one good slot
// a minute, 24.4 kB with all seven counters in use all the time and up to 127
// slots of a kind an hour, and never more than 190.4 kB a layer.
//
// The zero value is an empty History. It has no clock: the newest time passed
// to Add is its present. It is not safe for concurrent use.
type History struct {
	begun  bool
	head   int64 // newest minute since the Unix epoch, where begun
	layers []layer
}

// levels is the number of rings.
const levels = 3

// layer holds the rings of each counter of Counts that ever moved.
type layer [counters]*[levels]column

// MaxLayers is how many layers a History has at most.
const MaxLayers = 255

// Add applies a change to the slots planned at that time; the change may be
// late, and it may take back what an earlier one said (pending to missing to
// good: {Pending: -1, Missing: 1}, then {Missing: -1, Good: 1}). Pass the slot's
// planned time each time, so that both fall into the same bucket.
//
// It is false, and the change dropped, when at lies more than 90 days before
// the newest time seen. A time later than all before moves the rings on, which
// forgets what falls off their ends; so never pass an unchecked time: one from
// a far future forgets everything.
func (h *History) Add(at time.Time, delta Counts) bool { return h.AddTo(0, at, delta) }

// AddTo is Add for a layer, below MaxLayers. Those before it come to be with it.
func (h *History) AddTo(number int, at time.Time, delta Counts) bool {
	minute := floorDiv(at.Unix(), 60)
	h.advance(minute)
	for len(h.layers) <= number {
		h.layers = append(slices.Clip(h.layers), layer{})
	}
	if bucketOf(levels-1, minute) < geometry(levels-1).oldest(h.head) {
		return false
	}
	for i, change := range delta.fields() {
		if change == 0 {
			continue
		}
		rings := h.layers[number][i]
		if rings == nil {
			rings = new([levels]column)
			h.layers[number][i] = rings
		}
		for level := range rings {
			g := geometry(level)
			if bucket := bucketOf(level, minute); bucket >= g.oldest(h.head) {
				rings[level].add(int(g.buckets), g.cell(bucket), change)
			}
		}
	}
	return true
}

// Newest is the present: the beginning of the newest minute that was passed to Add; false where there was none.
func (h *History) Newest() (at time.Time, ok bool) { return time.Unix(h.head*60, 0).UTC(), h.begun }

// Drop empties a layer.
func (h *History) Drop(number int) {
	if number < len(h.layers) {
		h.layers[number] = layer{}
	}
}

func (h *History) advance(minute int64) {
	if !h.begun {
		h.begun, h.head = true, minute
	}
	if minute <= h.head {
		return
	}
	for level := range levels {
		g := geometry(level)
		was, is := bucketOf(level, h.head), bucketOf(level, minute)
		fresh := min(is-was, g.buckets)
		if fresh == 0 {
			continue
		}
		start, end, rest := g.runs(is-fresh+1, fresh)
		for _, l := range h.layers {
			for _, rings := range l {
				if rings != nil {
					rings[level].clear(start, end)
					rings[level].clear(0, rest)
				}
			}
		}
	}
	h.head = minute
}

// Sum is the sum over [from, to), by whole minutes: the minutes that from and
// to lie in count in full. An end that is older than the 6 hours of the minute
// ring is rounded outward to 5 minutes, and beyond 3 days to the hour, unless it
// falls on such a boundary. Where from is further back than 90 days before the
// newest data, the result is false and covers only what is kept. An empty
// history, or a range that ends before it begins, sums to zero.
func (h *History) Sum(from, to time.Time) (Counts, bool) { return h.SumOf(0, from, to) }

// SumOf is Sum for a layer; one that there is not is empty.
func (h *History) SumOf(number int, from, to time.Time) (Counts, bool) {
	// The minute that holds the last instant before to, and the one after it.
	end := floorDiv(to.Add(-1).Unix(), 60) + 1
	return h.sum(number, floorDiv(from.Unix(), 60), end)
}

func (h *History) sum(number int, low, high int64) (Counts, bool) {
	if !h.begun || low >= high {
		return Counts{}, true
	}
	coarsest := geometry(levels - 1)
	oldest := coarsest.oldest(h.head) * coarsest.minutes
	complete := low >= oldest
	low, high = max(low, oldest), min(high, h.head+1)
	var total [counters]int64
	if low < high && number < len(h.layers) {
		h.sumFrom(0, low, high, func(level, start, end, rest int) {
			for i, rings := range h.layers[number] {
				if rings != nil {
					c := &rings[level]
					if total[i] += c.sum(start, end); rest > 0 {
						total[i] += c.sum(0, rest)
					}
				}
			}
		})
	}
	return countsOf(&total), complete
}

// sumFrom adds the minutes [low, high), which are whole buckets of this level,
// cells by cells: [start, end) and [0, rest) of a level. The middle goes to the
// coarser level; this one only sums the two edges that are not whole buckets
// there, and an edge that this ring no longer holds is rounded outward instead.
func (h *History) sumFrom(level int, low, high int64, add func(level, start, end, rest int)) {
	g := geometry(level)
	sum := func(low, high int64) {
		if low < high {
			start, end, rest := g.runs(floorDiv(low, g.minutes), (high-low)/g.minutes)
			add(level, start, end, rest)
		}
	}
	if level == levels-1 {
		sum(low, high)
		return
	}
	kept := g.oldest(h.head) * g.minutes
	coarse := geometry(level + 1).minutes
	floor := func(m int64) int64 { return floorDiv(m, coarse) * coarse }
	ceil := func(m int64) int64 { return -floorDiv(-m, coarse) * coarse }

	from, to := ceil(low), floor(high)
	if low >= kept && from >= to {
		sum(low, high)
		return
	}
	if low >= kept {
		sum(low, from)
	} else {
		from = floor(low)
	}
	if to >= kept {
		sum(to, high)
	} else {
		to = ceil(high)
	}
	h.sumFrom(level+1, from, to, add)
}

// shape is the resolution and the length of a ring.
type shape struct {
	minutes int64 // of a bucket
	buckets int64
}

// geometry gives the shape of each level, the finest first. Each resolution
// divides the next.
func geometry(level int) shape {
	switch level {
	case 0:
		return shape{minutes: 1, buckets: minuteBuckets}
	case 1:
		return shape{minutes: 5, buckets: fiveBuckets}
	default:
		return shape{minutes: 60, buckets: hourBuckets}
	}
}

// bucketOf is the number, counted from the Unix epoch, of the bucket that a minute lies in.
func bucketOf(level int, minute int64) int64 { return floorDiv(minute, geometry(level).minutes) }

// oldest is the bucket number, counted from the Unix epoch, of the oldest
// bucket that a ring holds when head is its newest minute.
func (s shape) oldest(head int64) int64 { return floorDiv(head, s.minutes) - s.buckets + 1 }

// cell is where a bucket lies in its ring.
func (s shape) cell(bucket int64) int {
	return int(bucket - floorDiv(bucket, s.buckets)*s.buckets)
}

// runs gives the one or two runs of cells that hold n buckets from bucket on,
// n not above the length of the ring. The second begins at cell 0.
func (s shape) runs(bucket, n int64) (start, end, rest int) {
	start = s.cell(bucket)
	end = min(start+int(n), int(s.buckets))
	return start, end, int(n) - (end - start)
}

// counters is the number of fields of Counts.
const counters = 7

func (c Counts) fields() [counters]int64 {
	return [counters]int64{c.Good, c.Bad, c.Slow, c.Invalid, c.Missing, c.Skipped, c.Pending}
}

func countsOf(f *[counters]int64) Counts {
	return Counts{
		Good: f[0], Bad: f[1], Slow: f[2], Invalid: f[3],
		Missing: f[4], Skipped: f[5], Pending: f[6],
	}
}

// floorDiv rounds down, also below zero; b is positive.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
