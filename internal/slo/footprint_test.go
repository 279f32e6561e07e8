package slo

import (
	"math"
	"testing"
	"time"
	"unsafe"
)

func footprint(h *History) int {
	size := int(unsafe.Sizeof(*h)) + cap(h.layers)*int(unsafe.Sizeof(layer{}))
	for _, l := range h.layers {
		for _, rings := range l {
			if rings == nil {
				continue
			}
			size += int(unsafe.Sizeof(*rings))
			for _, c := range rings {
				size += cap(c.bytes)
			}
		}
	}
	return size
}

// The sizes that the comment on History states.
func TestHistoryMemoryIsBounded(t *testing.T) {
	start := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	everything := func(n int64) Counts { return Counts{n, n, n, n, n, n, n} }
	h := &History{}
	if got := footprint(h); got > 64 {
		t.Errorf("new: %d bytes, want 64 at most", got)
	}
	rare := Counts{Good: -1, Slow: 1}
	for m := range 24 * 60 {
		h.Add(start.Add(time.Duration(m)*time.Minute), Counts{Good: 1})
		if m%100 == 0 {
			h.Add(start.Add(time.Duration(m)*time.Minute), rare)
		}
	}
	if got := footprint(h); got > 2_200 {
		t.Errorf("after a day of a slot a minute, one in a hundred slow: %d bytes, want 2,200 at most", got)
	}
	h = &History{}
	for m := range 90 * 24 * 60 {
		h.Add(start.Add(time.Duration(m)*time.Minute), Counts{Good: 1})
	}
	if got := footprint(h); got > 4_000 {
		t.Errorf("after 90 days of a good slot a minute: %d bytes, want 4,000 at most", got)
	}
	h = &History{}
	for m := range 4 * 24 * 60 {
		h.Add(start.Add(time.Duration(m)*time.Minute), everything(int64(m%2)))
	}
	if got := footprint(h); got > 24_390 {
		t.Errorf("every counter in use: %d bytes, want 24,390 at most", got)
	}
	for m := range 4 * 24 * 60 {
		h.Add(start.Add(time.Duration(m)*time.Minute), everything(math.MaxInt64/1_000_000))
	}
	if got := footprint(h); got > 190_400 {
		t.Errorf("huge counts: %d bytes, want 190,400 at most", got)
	}
}
