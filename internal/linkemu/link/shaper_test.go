package link

import (
	"math"
	"testing"
	"time"

	"lastmile/internal/netprofile"
)

// Hand-computed: 1486 bytes and 14 of framing are 12,000 bits, at 1.2 Mbit/s 10 ms.
func TestPacketsLeaveAtTheRateAndArriveAfterTheDelay(t *testing.T) {
	s := newShaper(Spec{Rate: 1_200_000, Delay: 100 * time.Millisecond, Queue: 10})
	for i, want := range []time.Duration{110, 120, 130} {
		if at, fate := s.admit(0, 1486); fate != delivered || at != want*time.Millisecond {
			t.Errorf("packet %d of a train: got %v, fate %d, want %v ms", i, at, fate, want)
		}
	}
	if at, _ := s.admit(time.Second, 1486); at != 1110*time.Millisecond {
		t.Errorf("packet after a pause: got %v, want 1.11s", at)
	}
	if s.bytes != 6000 || s.busy != 40*time.Millisecond {
		t.Errorf("got %d bytes and %v busy, want 6000 and 40ms", s.bytes, s.busy)
	}
}

// The queue holds packets that have not left; one leaves every 10 ms.
func TestQueueDropsItsTail(t *testing.T) {
	s := newShaper(Spec{Rate: 1_200_000, Queue: 3})
	send := func(at time.Duration) fate {
		_, f := s.admit(at, 1486)
		return f
	}
	for i, want := range []fate{delivered, delivered, delivered, overflowed, overflowed} {
		if got := send(0); got != want {
			t.Errorf("packet %d: got fate %d, want %d", i, got, want)
		}
	}
	if got := send(10 * time.Millisecond); got != delivered {
		t.Errorf("after the first has left: got fate %d, want delivered", got)
	}
	if got := send(11 * time.Millisecond); got != overflowed {
		t.Errorf("full again: got fate %d, want overflowed", got)
	}
}

// lossOf sends n packets, far apart.
func lossOf(spec Spec, n int) (lostCount int, runs []int) {
	spec.Rate, spec.Queue = netprofile.GbitPerSecond, 10
	s := newShaper(spec)
	inRun := 0
	for i := range n {
		if _, f := s.admit(time.Duration(i)*time.Millisecond, 100); f == lost {
			lostCount++
			inRun++
		} else if inRun > 0 {
			runs = append(runs, inRun)
			inRun = 0
		}
	}
	return lostCount, runs
}

// With a fixed seed the count is fixed too; it has to lie within the binomial 99 % interval, here by its normal approximation.
func TestRandomLossIsBinomial(t *testing.T) {
	const n = 100_000
	for _, p := range []float64{0.005, 0.01, 0.02, 0.05, 0.3} {
		got, _ := lossOf(Spec{Loss: netprofile.Ratio(p), Seed: 7}, n)
		if within := 2.576 * math.Sqrt(n*p*(1-p)); math.Abs(float64(got)-n*p) > within {
			t.Errorf("loss %v: got %d of %d, want %.0f +- %.0f", p, got, n, n*p, within)
		}
	}
}

// The preset's chain: bad for 0.02/(0.02+0.18) = 10 % of the packets, in spells of 1/0.18 = 5.6, and half of those lost: 5 %. A run of
// losses goes on with probability 0.82 x 0.5, so it is 1/(1-0.41) = 1.695 long on average, against 1.053 at the same rate without bursts.
func TestBurstLossComesInBursts(t *testing.T) {
	const n = 400_000
	burst := &netprofile.Burst{PGoodToBad: 0.02, PBadToGood: 0.18, LossBad: 0.5}
	got, runs := lossOf(Spec{Burst: burst, Seed: 7}, n)
	if share := float64(got) / n; math.Abs(share-0.05) > 0.002 {
		t.Errorf("got %.4f lost, want 0.05 +- 0.002", share)
	}
	if mean := float64(got) / float64(len(runs)); math.Abs(mean-1.695) > 0.03 {
		t.Errorf("got runs of %.3f losses on average, want 1.695 +- 0.03", mean)
	}
}

func TestJitterStaysInItsBoundsAndInOrder(t *testing.T) {
	const delay, jitter = 125 * time.Millisecond, 50 * time.Millisecond
	s := newShaper(Spec{Rate: netprofile.GbitPerSecond, Delay: delay, Jitter: jitter, Queue: 10, Seed: 7})
	least, most, last := time.Hour, time.Duration(0), time.Duration(0)
	for i := range 10_000 {
		now := time.Duration(i) * 200 * time.Millisecond // so far apart that none has to wait for the one before
		at, _ := s.admit(now, 100)
		least, most = min(least, at-now), max(most, at-now)
	}
	if least < delay-jitter || most > delay+jitter+time.Millisecond || most-least < 99*time.Millisecond {
		t.Errorf("got delays from %v to %v, want nearly all of 75 to 175 ms", least, most)
	}
	for i := range 10_000 {
		at, _ := s.admit(time.Hour+time.Duration(i)*time.Millisecond, 100)
		if at < last {
			t.Fatalf("packet %d arrives at %v, before the one that was sent before it at %v", i, at, last)
		}
		last = at
	}
}

func TestReorderedPacketsSkipTheDelay(t *testing.T) {
	const n = 10_000
	s := newShaper(Spec{Rate: netprofile.GbitPerSecond, Delay: 100 * time.Millisecond, Reorder: 0.1, Queue: 10, Seed: 7})
	early := 0
	for i := range n {
		now := time.Duration(i) * time.Millisecond
		if at, _ := s.admit(now, 100); at-now < 50*time.Millisecond {
			early++
		}
	}
	if math.Abs(float64(early)-n*0.1) > 2.576*math.Sqrt(n*0.1*0.9) {
		t.Errorf("got %d of %d packets early, want 1000 within the binomial 99 %% interval", early, n)
	}
}

func TestSameSeedSameFates(t *testing.T) {
	spec := Spec{Loss: 0.02, Seed: 3}
	first, _ := lossOf(spec, 50_000)
	second, _ := lossOf(spec, 50_000)
	spec.Seed = 4
	other, _ := lossOf(spec, 50_000)
	if first != second || first == other {
		t.Errorf("got %d and %d lost by seed 3, %d by seed 4; want the first two alike and the third not", first, second, other)
	}
}

func TestLateness(t *testing.T) {
	var l lateness
	for i := range 1000 {
		l.add(time.Duration(i+1) * 10 * time.Microsecond) // 10 us to 10 ms, evenly
	}
	got := l.sum()
	if got.Deliveries != 1000 || got.Max != 10*time.Millisecond || got.Mean != 5005*time.Microsecond {
		t.Errorf("got %+v, want 1000 deliveries, 5.005 ms on average, 10 ms at most", got)
	}
	if exact := 9900 * time.Microsecond; got.P99 < exact || got.P99 > exact*11/10 {
		t.Errorf("got p99 %v, want 9.9 ms or up to a tenth more", got.P99)
	}
	if early := (&lateness{}).sum(); early != (Lateness{}) {
		t.Errorf("nothing delivered: got %+v, want zeros", early)
	}
}

// Stalls that overlap are one, however many packets they hold up and in whatever order those tell.
func TestStallsAreCountedOnce(t *testing.T) {
	w := &Watch{limit: 2 * time.Millisecond}
	zero := time.Now()
	at := func(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }
	w.late(at(10), at(12)) // in time
	w.late(at(100), at(150))
	w.late(at(120), at(151))
	w.late(at(90), at(150))
	w.late(at(300), at(310))
	w.late(at(140), at(312)) // from before the first has ended to after the second
	w.late(at(500), at(520))
	for _, tt := range []struct{ from, to, want int }{{0, 1000, 222 + 20}, {0, 200, 110}, {200, 510, 112 + 10}, {313, 499, 0}, {0, 90, 0}} {
		if got := w.Stalled(at(tt.from), at(tt.to)); got != time.Duration(tt.want)*time.Millisecond {
			t.Errorf("from %d to %d ms: got %v stalled, want %d ms", tt.from, tt.to, got, tt.want)
		}
	}
}
