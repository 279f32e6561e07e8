package slots

import (
	"math/rand/v2"
	"testing"
	"time"

	"lastmile/internal/runs"
)

// Slots may come in any order and at any distance: each is found again, with what was entered for it, and they are listed in order.
func TestPagesKeepAnySlots(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 3))
		var s Slots
		want := map[int64]time.Duration{}
		every, span := int64(1+random.IntN(300)), 1+random.IntN(400)
		for range random.IntN(600) {
			at := int64(random.IntN(span)) * every
			if random.IntN(20) == 0 {
				at += int64(random.IntN(5))
			}
			if _, ok := want[at]; ok {
				continue
			}
			r := s.Insert(at)
			*r.Cell() = NewCell(runs.StatePassed, "")
			want[at] = time.Duration(random.Int64N(int64(34 * time.Second)))
			if random.IntN(3) == 0 {
				*r.Cell() = NewCell(runs.StateMissing, runs.ReasonOverlap)
				want[at] = -1
			} else {
				r.Sample(want[at])
			}
		}
		n, last := 0, int64(-1)
		for k := range s.pages {
			p := &s.pages[k]
			for i := range p.cells {
				at := p.at(i)
				d, ok := want[at]
				if got, has := p.took, false; got != nil {
					var took time.Duration
					if took, has = p.duration(i); has && took != d {
						t.Fatalf("seed %d, slot %d: got %s, want %s", seed, at, took, d)
					}
					if has != (d >= 0) {
						t.Fatalf("seed %d, slot %d: got a duration: %t, want %t", seed, at, has, d >= 0)
					}
				}
				if r, found := s.Find(at); !ok || at <= last || !found || r.page != p || r.i != i {
					t.Fatalf("seed %d: got slot %d after %d, want the slots that were entered, in order", seed, at, last)
				}
				n, last = n+1, at
			}
		}
		if n != len(want) {
			t.Fatalf("seed %d: got %d slots, want %d", seed, n, len(want))
		}
	}
}

func TestDurationsAreExactForHalfAMinute(t *testing.T) {
	for _, test := range []struct{ in, off time.Duration }{
		{0, 0}, {1, 0}, {1<<32 - 1, 0}, {1 << 32, 0}, {1<<35 - 1, 0}, {1 << 35, 31}, {10*time.Minute + 17, 31}, {1000 * time.Hour, 1000 * time.Hour},
	} {
		var s Slots
		r := s.Insert(60)
		*r.Cell() = NewCell(runs.StateDegraded, "")
		r.Sample(test.in)
		if got, ok := r.page.duration(0); !ok || got > test.in || test.in-got > test.off || got < min(test.in, 18*time.Minute)-31 {
			t.Errorf("got %s, want %s less %s at most", got, test.in, test.off)
		}
		if r.Cell().State() != Degraded || r.Cell().Reason() != 0 {
			t.Errorf("%s: got state %d, reason %d, want degraded and none", test.in, r.Cell().State(), r.Cell().Reason())
		}
	}
}
