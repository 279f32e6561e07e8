package slo

import (
	"math"
	"testing"
	"time"
	"unsafe"
)

func footprint(h *History) int {
	size := int(unsafe.Sizeof(*h))
	for _, r := range h.rings {
		for _, c := range r {
			size += cap(c.bytes)
		}
	}
	return size
}

// The sizes that the comment on History states.
func TestHistoryMemoryIsBounded(t *testing.T) {
	start := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	everything := func(n int64) Counts { return Counts{n, n, n, n, n, n, n} }
	h := &History{}
	if got := footprint(h); got > 688 {
		t.Errorf("new: %d bytes, want 688 at most", got)
	}
	for m := range 4 * 24 * 60 {
		h.Add(start.Add(time.Duration(m)*time.Minute), everything(int64(m%2)))
	}
	if got := footprint(h); got > 24_390 {
		t.Errorf("every counter in use: %d bytes, want 24,390 at most", got)
	}
	for m := range 4 * 24 * 60 {
		h.Add(start.Add(time.Duration(m)*time.Minute), everything(math.MaxInt64/1_000_000))
	}
	if got := footprint(h); got > 190_304 {
		t.Errorf("huge counts: %d bytes, want 190,304 at most", got)
	}
}
