package slo

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// A column is what a list of numbers is, sparse or dense.
func TestColumnEqualsAList(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		n := 1 + random.IntN(120)
		var c column
		list := make([]int64, n)
		for step := range 400 {
			switch cell := random.IntN(n); random.IntN(10) {
			case 0:
				end := cell + random.IntN(n-cell+1)
				c.clear(cell, end)
				clear(list[cell:end])
			case 1:
				change := -list[cell]
				c.add(n, cell, change)
				list[cell] = 0
			default:
				change := (random.Int64N(5) - 2) << random.IntN(1+int(seed%40))
				c.add(n, cell, change)
				list[cell] += change
			}
			start := random.IntN(n)
			end := start + random.IntN(n-start+1)
			want := int64(0)
			for _, v := range list[start:end] {
				want += v
			}
			if got := c.sum(start, end); got != want {
				t.Fatalf("seed %d, step %d: got a sum of %d from %d to %d of %+v, want %d of %v", seed, step, got, start, end, c, want, list)
			}
			var again column
			if rest, err := again.restore(n, c.save(nil)); err != nil || len(rest) > 0 || again.sum(0, n) != c.sum(0, n) {
				t.Fatalf("seed %d, step %d: got %+v, %v after saving %+v", seed, step, again, err, c)
			}
			if len(c.bytes) > n*int(c.width) {
				t.Fatalf("seed %d, step %d: got %d bytes, want at most the %d of a dense column", seed, step, len(c.bytes), n*int(c.width))
			}
		}
	}
}

func TestColumnsBecomeDenseAndWide(t *testing.T) {
	var c column
	for cell := range 100 {
		c.add(300, cell, 1)
	}
	if c.dense || len(c.bytes) != 300 {
		t.Fatalf("100 of 300 cells: got dense %t, %d bytes, want them sparse in 300", c.dense, len(c.bytes))
	}
	c.add(300, 100, 1)
	if !c.dense || len(c.bytes) != 300 || c.sum(0, 300) != 101 {
		t.Fatalf("101 of 300 cells: got dense %t, %d bytes, a sum of %d, want a dense column", c.dense, len(c.bytes), c.sum(0, 300))
	}
	c.add(300, 7, math.MaxInt32)
	if c.sum(7, 8) != math.MaxInt32+1 || c.sum(0, 7)+c.sum(8, 300) != 100 {
		t.Fatalf("a large number: got %d and %d, want it kept and the others as they were", c.sum(7, 8), c.sum(0, 7)+c.sum(8, 300))
	}
}

// oldForm is what the version before wrote of a history with one layer.
func oldForm(h *History) []byte {
	b := []byte{oldVersion, 0}
	if h.begun {
		b[1] = 1
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(h.head))
	for level := range levels {
		n := int(geometry(level).buckets)
		for i := range counters {
			if len(h.layers) == 0 || h.layers[0][i] == nil || h.layers[0][i][level].width == 0 {
				b = append(b, 0)
				continue
			}
			c := h.layers[0][i][level]
			if !c.dense {
				c.fill(n)
			}
			b = append(append(b, c.width), c.bytes...)
		}
	}
	return b
}

func TestTheSnapshotOfTheVersionBeforeIsRead(t *testing.T) {
	start := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	random := rand.New(rand.NewPCG(2, 2))
	h := &History{}
	for m := range 5 * 24 * 60 {
		h.Add(start.Add(time.Duration(m)*time.Minute), Counts{Good: 1, Bad: random.Int64N(20) / 19, Missing: random.Int64N(3), Slow: random.Int64N(1000) / 999 * 70_000})
	}
	data, now := oldForm(h), start.Add(5*24*time.Hour)
	var again History
	if err := again.UnmarshalBinary(data); err != nil {
		t.Fatal(err)
	}
	for _, w := range []Window{Window(time.Minute), Window(time.Hour), Window(7 * time.Hour), Window(4 * day), MaxWindow} {
		from := now.Add(-w.Duration())
		got, complete := again.Sum(from, now)
		want, wantComplete := h.Sum(from, now)
		if got != want || complete != wantComplete {
			t.Errorf("%s: got %+v, %t, want %+v, %t", w, got, complete, want, wantComplete)
		}
	}
	for n := 0; n < len(data); n += 1 + n/20 {
		if err := again.UnmarshalBinary(data[:n]); err == nil {
			t.Errorf("cut after %d bytes: got no error", n)
		}
	}
	if err := again.UnmarshalBinary(append(data, 0)); err == nil {
		t.Error("something after: got no error")
	}
	data[snapshotHeader] = 3
	if err := again.UnmarshalBinary(data); err == nil {
		t.Error("odd width: got no error")
	}
}
