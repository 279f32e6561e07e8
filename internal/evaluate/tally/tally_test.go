package tally

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// The rings say what a plain list of events says.
func TestCounterAgainstAList(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		var head Head
		var c *Counter[uint16]
		seen := map[int64]int64{}
		minute := int64(29_000_000)
		for range 3000 {
			switch random.IntN(20) {
			case 0:
				minute += random.Int64N(400)
			case 1:
				minute += random.Int64N(6000)
			default:
				minute += random.Int64N(2)
			}
			if stale, ok := head.Advance(minute); ok {
				c.Clear(&stale)
			}
			at := max(minute-random.Int64N(90), 29_000_000)
			seen[at]++
			Add(&c, head.Place(at), 1)
		}
		for _, window := range []int64{5, 15, 30, 60, 120, 360, 1440, 4320} {
			for _, now := range []int64{minute, minute + 3, minute + 500} {
				level := For(window)
				g := level.Minutes()
				first, hit := (now/g-window/g+1)*g, int64(0)
				var want int64
				cells := map[int64]int64{}
				for at, n := range seen {
					if at >= first && at <= now && at/g > minute/g-level.shape().size {
						want, cells[at/g] = want+n, cells[at/g]+n
					}
				}
				for _, n := range cells {
					if n >= 2 {
						hit++
					}
				}
				span := head.Window(now, window, level)
				if got, hits := c.Sum(span), c.Bursts(span, 2, 1); got != want || hits != hit {
					t.Fatalf("window %d at %d after the newest: got %d and %d cells of two, want %d and %d", window, now-minute, got, hits, want, hit)
				}
			}
		}
		out := append(c.Append(nil), "rest"...)
		var back *Counter[uint16]
		rest, err := Read(&back, out)
		if err != nil || string(rest) != "rest" || *back != *c {
			t.Fatalf("got %q left and %v, want the same counter", rest, err)
		}
	}
}

// A cell that is full stays full, and none falls below nothing.
func TestAddIsBounded(t *testing.T) {
	var head Head
	head.Advance(100)
	var c *Counter[uint16]
	Add(&c, head.Place(100), -1)
	if c != nil {
		t.Error("got a counter made for nothing")
	}
	Add(&c, head.Place(100), 70_000)
	Add(&c, head.Place(100), -70_000)
	if got := c.Sum(head.Window(100, 60, Minute)); got != 0 {
		t.Errorf("got %d, want 0", got)
	}
}

func TestRecent(t *testing.T) {
	var r Recent
	for _, slot := range []uint32{100, 300, 200, 400} {
		kind := Good
		if slot > 200 {
			kind = Bad
		}
		if was, news := r.Enter(Run{Slot: slot, Kind: kind}); was != 0 || !news {
			t.Errorf("slot %d: got %v, %v, want it new", slot, was, news)
		}
	}
	if bad, of := r.Last(3, 0); bad != 2 || of != 3 {
		t.Errorf("got %d of %d, want 2 of 3, whatever order they came in", bad, of)
	}
	if bad, of := r.Last(6, 250); bad != 2 || of != 2 {
		t.Errorf("got %d of %d since 250, want 2 of 2", bad, of)
	}
	if _, news := r.Enter(Run{Slot: 400, Kind: Unmeasured}); news {
		t.Error("got a run that was measured replaced by one that was not")
	}
	r.Enter(Run{Slot: 500, Kind: Unmeasured})
	if was, news := r.Enter(Run{Slot: 500, Kind: Good}); was != Unmeasured || !news {
		t.Errorf("got %v, %v, want the measured one in place of the other", was, news)
	}
	if _, news := r.Enter(Run{Slot: 500, Kind: Bad, Confirm: true}); !news || !r.Refuted(500) || r.Refuted(501) {
		t.Error("want a confirmation beside the run of the same second")
	}
	if r.LastBad() != 500 || r.GoodSince(300) != 1 {
		t.Errorf("got last bad %d and %d good since 300, want 500 and 1", r.LastBad(), r.GoodSince(300))
	}
	var back Recent
	if rest, err := back.Read(r.Append(nil)); err != nil || len(rest) != 0 || back != r {
		t.Errorf("got %+v, %v, want the same runs", back, err)
	}
}

// The newest sixteen are kept, in order, whatever order they came in.
func TestRecentKeepsTheNewest(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		var r Recent
		var all []uint32
		for _, k := range random.Perm(40) {
			slot := uint32(1000 + 10*k)
			r.Enter(Run{Slot: slot, Kind: Good})
			if all = append(all, slot); len(all) > keep {
				slices.Sort(all)
				all = all[1:]
			}
		}
		slices.Sort(all)
		if !slices.Equal(r.slots[:r.n], all) {
			t.Fatalf("got %v, want %v", r.slots[:r.n], all)
		}
	}
}

func FuzzRead(f *testing.F) {
	var c *Counter[uint32]
	var head Head
	head.Advance(1000)
	Add(&c, head.Place(1000), 5)
	f.Add(c.Append(nil))
	f.Fuzz(func(t *testing.T, in []byte) {
		var c *Counter[uint32]
		if rest, err := Read(&c, in); err == nil {
			var back *Counter[uint32]
			if _, err := Read(&back, c.Append(nil)); err != nil || (c == nil) != (back == nil) || c != nil && *c != *back || len(rest) > len(in) {
				t.Errorf("got another counter read back: %v", err)
			}
		}
		var r Recent
		if _, err := r.Read(in); err == nil {
			r.Last(6, 0)
			r.Enter(Run{Slot: 7, Kind: Good})
		}
	})
}

// A burst is what a cell that is hit takes in, also across the seam of the ring.
func TestBursts(t *testing.T) {
	for _, first := range []int64{29_000_000, 29_000_000 + minutes - 3} {
		var head Head
		head.Advance(first - minutes)
		var c *Counter[uint16]
		for m := range int64(20) {
			if stale, ok := head.Advance(first + m); ok {
				c.Clear(&stale)
			}
			if m == 1 || m == 3 || m == 4 || m == 9 || m == 10 {
				Add(&c, head.Place(first+m), 1)
			}
		}
		span := head.Window(first+19, minutes, Minute)
		for reach, want := range map[int16]int64{1: 5, 2: 3, 3: 3, 4: 2, 9: 2, 10: 1} {
			if got := c.Bursts(span, 1, reach); got != want {
				t.Errorf("reach %d from %d on: got %d bursts, want %d", reach, first, got, want)
			}
		}
	}
}
