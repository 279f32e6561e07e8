package slo_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"lastmile/internal/slo"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func TestHistoryWindowsOfAMinutelyCheck(t *testing.T) {
	var h slo.History
	now := noon.Add(37*time.Minute + 20*time.Second)
	for m := range 90 * 24 * 60 {
		delta := slo.Counts{Good: 1}
		if m%100 == 0 {
			delta = slo.Counts{Bad: 1}
		}
		if !h.Add(now.Add(-time.Duration(m)*time.Minute), delta) {
			t.Fatalf("a slot of %d minutes ago was dropped", m)
		}
	}
	for _, test := range []struct {
		window  slo.Window
		planned int64
		bad     int64
	}{
		{5 * hour / 60, 5, 1},
		{hour / 2, 30, 1},
		{hour, 60, 1},
		{6 * hour, 360, 4},
		{7 * hour, 7*60 + 3, 5},     // from 05:38, rounded outward to 05:35
		{3 * day, 3*24*60 + 3, 44},  // the longest that is still rounded to 5 minutes
		{4 * day, 4*24*60 + 38, 58}, // from 12:38, rounded to 12:00
		{30 * day, 30*24*60 + 38, 433},
		{90 * day, 90 * 24 * 60, 1296}, // the 38 minutes more were never added
	} {
		got, complete := last(&h, now, test.window)
		if got.Planned() != test.planned || got.Bad != test.bad || !complete {
			t.Errorf("%v: %d planned, %d bad, %v, want %d, %d, true",
				test.window, got.Planned(), got.Bad, complete, test.planned, test.bad)
		}
	}
}

func TestHistoryTakesBackWhatItSaid(t *testing.T) {
	var h slo.History
	slot := noon.Add(-2 * time.Hour)
	steps := []struct {
		delta, want slo.Counts
	}{
		{slo.Counts{Pending: 1}, slo.Counts{Pending: 1}},
		{slo.Counts{Pending: -1, Missing: 1}, slo.Counts{Missing: 1}},
		{slo.Counts{Missing: -1, Good: 1}, slo.Counts{Good: 1}},
	}
	h.Add(noon, slo.Counts{})
	for _, step := range steps {
		h.Add(slot, step.delta)
		for _, w := range []slo.Window{6 * hour, day, 30 * day} {
			if got, _ := last(&h, noon, w); got != step.want {
				t.Errorf("after %+v: %v = %+v, want %+v", step.delta, w, got, step.want)
			}
		}
	}
}

func TestHistoryForgets(t *testing.T) {
	one := slo.Counts{Bad: 1}
	t.Run("too late is dropped and said", func(t *testing.T) {
		var h slo.History
		h.Add(noon, one)
		if h.Add(noon.Add(-91*24*time.Hour), one) {
			t.Error("91 days late was kept")
		}
		if !h.Add(noon.Add(-90*24*time.Hour), one) {
			t.Error("90 days late was dropped")
		}
		if got, complete := last(&h, noon, 90*day); got.Bad != 2 || !complete {
			t.Errorf("window = %+v, %v, want 2 bad, complete", got, complete)
		}
	})
	t.Run("a range beyond the ring is said to be incomplete", func(t *testing.T) {
		var h slo.History
		h.Add(noon, one)
		if got, complete := h.Sum(noon.Add(-100*24*time.Hour), noon.Add(time.Hour)); got.Bad != 1 || complete {
			t.Errorf("sum = %+v, %v, want 1 bad, incomplete", got, complete)
		}
	})
	t.Run("a long silence empties it", func(t *testing.T) {
		var h slo.History
		h.Add(noon, one)
		h.Add(noon.Add(200*24*time.Hour), slo.Counts{Good: 1})
		if got, _ := last(&h, noon.Add(200*24*time.Hour), 90*day); got != (slo.Counts{Good: 1}) {
			t.Errorf("window = %+v, want one good", got)
		}
	})
	t.Run("the minute leaves a window when its time is over", func(t *testing.T) {
		var h slo.History
		h.Add(noon, one)
		for minutes, want := range map[int]int64{0: 1, 59: 1, 60: 0} {
			if got, _ := last(&h, noon.Add(time.Duration(minutes)*time.Minute), hour); got.Bad != want {
				t.Errorf("after %d minutes: %d bad in the last hour, want %d", minutes, got.Bad, want)
			}
		}
	})
}

// last sums the last w, the minute of now included.
func last(h *slo.History, now time.Time, w slo.Window) (slo.Counts, bool) {
	end := now.Truncate(time.Minute).Add(time.Minute)
	return h.Sum(end.Add(-w.Duration()), end)
}

func TestHistoryOddRanges(t *testing.T) {
	var h slo.History
	if got, complete := last(&h, noon, 30*day); got != (slo.Counts{}) || !complete {
		t.Errorf("empty history = %+v, %v, want zero, complete", got, complete)
	}
	h.Add(noon.Add(30*time.Second), slo.Counts{Good: 3})
	h.Add(time.Unix(-1, 0), slo.Counts{Good: 1}) // long before the ring
	for name, test := range map[string]struct {
		from, to time.Time
		want     int64
	}{
		"backwards":                        {noon.Add(time.Hour), noon, 0},
		"empty":                            {noon, noon, 0},
		"up to the minute":                 {noon.Add(-time.Hour), noon, 0},
		"a nanosecond into it":             {noon.Add(-time.Hour), noon.Add(1), 3},
		"from within it":                   {noon.Add(59 * time.Second), noon.Add(time.Minute), 3},
		"the future":                       {noon.Add(time.Minute), noon.Add(time.Hour), 0},
		"the far future":                   {noon, time.Unix(math.MaxInt64, 0), 3},
		"since before the Unix epoch":      {time.Time{}, noon.Add(time.Hour), 3},
		"from the least time there can be": {time.Unix(math.MinInt64, 0), noon.Add(time.Hour), 3},
	} {
		if got, _ := h.Sum(test.from, test.to); got.Good != test.want {
			t.Errorf("%s: %d good, want %d", name, got.Good, test.want)
		}
	}
	if got, _ := last(&h, noon, 0); got != (slo.Counts{}) {
		t.Errorf("no window = %+v, want zero", got)
	}
}

func TestHistoryKeepsLargeNumbersExactly(t *testing.T) {
	var h slo.History
	want := slo.Counts{}
	for _, n := range []int64{1, 127, 1, -129, -128, 40_000, -80_000, 3_000_000_000, -6_000_000_000, math.MaxInt32, 1 << 60, -(1 << 61)} {
		delta := slo.Counts{Good: n, Pending: -n}
		h.Add(noon, delta)
		want = want.Add(delta)
		if got, _ := last(&h, noon, hour); got != want {
			t.Fatalf("after %d: %+v, want %+v", n, got, want)
		}
	}
}

func TestLayersShareTheirPresent(t *testing.T) {
	var h slo.History
	h.Add(noon.Add(-10*time.Minute), slo.Counts{Good: 1})
	h.AddTo(2, noon.Add(-20*time.Minute), slo.Counts{Bad: 1})
	h.AddTo(2, noon.Add(-20*time.Minute), slo.Counts{Slow: 300})
	for layer, want := range []slo.Counts{{Good: 1}, {}, {Bad: 1, Slow: 300}, {}} {
		if got, _ := h.SumOf(layer, noon.Add(-time.Hour), noon); got != want {
			t.Errorf("layer %d: got %+v, want %+v", layer, got, want)
		}
	}
	back := restored(t, &h)
	h.Add(noon.Add(200*24*time.Hour), slo.Counts{Good: 1}) // the present of one is that of all
	if got, _ := h.SumOf(2, time.Unix(0, 0), noon.Add(300*24*time.Hour)); got != (slo.Counts{}) {
		t.Errorf("layer 2 after a long silence of it: got %+v, want nothing", got)
	}
	if got, _ := back.SumOf(2, noon.Add(-time.Hour), noon); got != (slo.Counts{Bad: 1, Slow: 300}) {
		t.Errorf("restored: got %+v, want what was saved", got)
	}
	back.Drop(2)
	back.Drop(7)
	if got, _ := back.SumOf(2, noon.Add(-time.Hour), noon); got != (slo.Counts{}) {
		t.Errorf("dropped: got %+v, want nothing", got)
	}
	if got, _ := last(back, noon, hour); got != (slo.Counts{Good: 1}) {
		t.Errorf("after another was dropped: got %+v, want what it had", got)
	}
}

// naive is what History promises to equal: every change that it kept.
type naive struct {
	newest  int64 // minutes
	changes map[int64]slo.Counts
}

func (n *naive) add(at time.Time, delta slo.Counts) bool {
	minute := at.Unix() / 60
	n.newest = max(n.newest, minute)
	if minute/60 < n.newest/60-90*24 {
		return false
	}
	n.changes[minute] = n.changes[minute].Add(delta)
	return true
}

// sum is over [from, to) after rounding outward what is old.
func (n *naive) sum(from, to time.Time) slo.Counts {
	const minute = int64(time.Minute)
	low, high := from.UnixNano()/minute, (to.UnixNano()+minute-1)/minute
	low = max(low, (n.newest/60-90*24)*60)
	high = min(high, n.newest+1)
	minutesKept, fivesKept := n.newest-6*60+1, (n.newest/5-3*24*12)*5
	if low < high {
		if low < minutesKept {
			low = low / 5 * 5
		}
		if low < fivesKept {
			low = low / 60 * 60
		}
		if high/5*5 < minutesKept {
			high = (high + 4) / 5 * 5
		}
		if high/60*60 < fivesKept {
			high = (high + 59) / 60 * 60
		}
	}
	total := slo.Counts{}
	for minute, c := range n.changes {
		if minute >= low && minute < high {
			total = total.Add(c)
		}
	}
	return total
}

// checkAgainstNaive plays random changes and queries. Ages are drawn so that
// each ring, and the edges between them, are met about equally often.
func checkAgainstNaive(t *testing.T, random *rand.Rand, steps int) {
	t.Helper()
	h, reference := &slo.History{}, &naive{changes: map[int64]slo.Counts{}}
	layer := random.IntN(3)
	now := noon.Add(time.Duration(random.Int64N(int64(200 * 24 * time.Hour))))
	reach := []time.Duration{10 * time.Minute, 7 * time.Hour, 80 * time.Hour, 92 * 24 * time.Hour}
	ago := func() time.Time {
		at := now.Add(-time.Duration(random.Int64N(int64(reach[random.IntN(len(reach))]))))
		if random.IntN(2) == 0 {
			at = at.Truncate(time.Minute)
		}
		return at
	}
	number := func() int64 { return (random.Int64N(7) - 2) << random.IntN(20) >> random.IntN(20) }
	for step := range steps {
		if random.IntN(20) == 0 {
			now = now.Add(time.Duration(random.Int64N(int64(reach[random.IntN(3)]))))
		}
		at := ago()
		delta := slo.Counts{
			Good: number(), Bad: number(), Slow: number(), Invalid: number(),
			Missing: number(), Skipped: number(), Pending: number(),
		}
		if got, want := h.AddTo(layer, at, delta), reference.add(at, delta); got != want {
			t.Fatalf("step %d: Add(%v) kept = %v, want %v", step, at, got, want)
		}
		from, to := ago(), ago()
		if random.IntN(2) == 0 {
			to = now
		}
		if got, _ := h.SumOf(layer, from, to); got != reference.sum(from, to) {
			t.Fatalf("step %d: Sum(%v, %v) = %+v, want %+v (newest %v)",
				step, from, to, got, reference.sum(from, to), time.Unix(reference.newest*60, 0).UTC())
		}
		if random.IntN(10) == 0 {
			h = restored(t, h)
		}
	}
}

func restored(t *testing.T, h *slo.History) *slo.History {
	t.Helper()
	snapshot, err := h.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	again := &slo.History{}
	if err := again.UnmarshalBinary(snapshot); err != nil {
		t.Fatal(err)
	}
	if back, _ := again.MarshalBinary(); !bytes.Equal(back, snapshot) {
		t.Fatal("the snapshot of a restored history differs")
	}
	return again
}

func TestHistoryEqualsNaiveSum(t *testing.T) {
	for seed := range uint64(40) {
		checkAgainstNaive(t, rand.New(rand.NewPCG(seed, 0)), 300)
	}
}

func FuzzHistoryEqualsNaiveSum(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) {
		checkAgainstNaive(t, rand.New(rand.NewPCG(a, b)), 200)
	})
}

func FuzzHistoryAnyTime(f *testing.F) {
	f.Add(int64(0), int64(math.MaxInt64), int64(math.MinInt64), int64(1))
	f.Add(noon.Unix(), noon.Unix()-86400, noon.Unix()+60, int64(math.MinInt64))
	f.Fuzz(func(t *testing.T, first, second, third, window int64) {
		h := &slo.History{}
		at := []time.Time{time.Unix(first, 0), time.Unix(second, 1), time.Unix(third, 999)}
		for _, a := range at {
			h.Add(a, slo.Counts{Good: first, Bad: second})
			for _, b := range at {
				h.Sum(a, b)
				last(h, b, slo.Window(window))
			}
		}
		restored(t, h)
	})
}

func TestSnapshotRefusesWhatItDidNotWrite(t *testing.T) {
	var h slo.History
	h.Add(noon, slo.Counts{Good: 300, Bad: 1})
	good, err := h.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	change := func(at int, value byte) []byte {
		b := bytes.Clone(good)
		b[at] = value
		return b
	}
	farAway := bytes.Clone(good)
	binary.LittleEndian.PutUint64(farAway[2:], math.MaxInt64)
	for name, data := range map[string][]byte{
		"empty":            {},
		"header only":      good[:10],
		"no layer":         good[:11],
		"cut short":        good[:len(good)-1],
		"cut in the cells": good[:18],
		"something after":  append(bytes.Clone(good), 0),
		"other version":    change(0, 9),
		"odd flag":         change(1, 2),
		"too many layers":  change(10, 200),
		"an eighth count":  change(11, 255),
		"odd width":        change(12, 3),
		"dense, no width":  change(12, 128),
		"dense, no cells":  change(12, 129),
		"many cells":       change(14, 255),
		"a cell beyond":    change(16, 255),
		"far away":         farAway,
	} {
		t.Run(name, func(t *testing.T) {
			if err := h.UnmarshalBinary(data); err == nil {
				t.Error("no error")
			}
			if got, _ := last(&h, noon, hour); got != (slo.Counts{Good: 300, Bad: 1}) {
				t.Errorf("the history changed: %+v", got)
			}
		})
	}
}

func FuzzSnapshot(f *testing.F) {
	var h slo.History
	f.Add([]byte{})
	empty, _ := h.MarshalBinary()
	f.Add(empty)
	h.Add(noon, slo.Counts{Good: 1})
	one, _ := h.MarshalBinary()
	f.Add(one)
	f.Fuzz(func(t *testing.T, data []byte) {
		var h slo.History
		if h.UnmarshalBinary(data) != nil {
			return
		}
		if back, _ := h.MarshalBinary(); !bytes.Equal(back, data) && data[0] != 1 { // the version before is written as that of now
			t.Fatal("accepted, but written differently")
		}
		h.Add(noon, slo.Counts{Good: 1 << 40, Pending: -1})
		last(&h, noon, 30*day)
		h.Sum(time.Time{}, noon)
	})
}

func filled() *slo.History {
	h := &slo.History{}
	for m := range 90 * 24 * 60 {
		h.Add(noon.Add(time.Duration(m-90*24*60)*time.Minute), slo.Counts{Good: 1, Bad: int64(m % 2), Missing: int64(m % 3)})
	}
	return h
}

// One slot's state change; every result of the fleet pays it.
func BenchmarkHistoryAdd(b *testing.B) {
	h := filled()
	b.ReportAllocs()
	at := noon
	for b.Loop() {
		at = at.Add(time.Minute)
		h.Add(at, slo.Counts{Pending: -1, Good: 1})
	}
}

// One window of one scenario, region and network; a scrape asks for about nine.
func BenchmarkHistoryWindow(b *testing.B) {
	h := filled()
	now := noon.Add(-23 * time.Minute)
	for _, w := range []slo.Window{5 * hour / 60, hour, 6 * hour, day, 3 * day, 30 * day, 90 * day} {
		b.Run(w.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				last(h, now, w)
			}
		})
	}
}

func BenchmarkHistorySnapshot(b *testing.B) {
	h := filled()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.MarshalBinary(); err != nil {
			b.Fatal(err)
		}
	}
}
