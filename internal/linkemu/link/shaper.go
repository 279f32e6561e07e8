package link

import (
	"math/rand/v2"
	"time"

	"lastmile/internal/netprofile"
)

// Framing is what each packet takes up on the wire beyond itself, in bytes: an Ethernet header, as netem counts.
const Framing = 14

// Spec is one direction of a link.
type Spec struct {
	Rate    netprofile.Rate
	Delay   time.Duration // one way
	Jitter  time.Duration // largest deviation from Delay, either way
	Loss    netprofile.Ratio
	Burst   *netprofile.Burst
	Reorder netprofile.Ratio
	Queue   int    // packets that may wait for the link
	Seed    uint64 // of what is drawn: same seed and same packets, same fates
}

// fate is what becomes of a packet.
type fate int

const (
	delivered fate = iota
	lost
	overflowed
)

// shaper decides the fate of packets in virtual time: it reads no clock. Times count from the start of the line.
type shaper struct {
	Spec
	draw       *rand.Rand
	bad        bool            // state of the Gilbert-Elliott chain
	busyUntil  time.Duration   // when the last packet accepted leaves
	lastAt     time.Duration   // when the last packet accepted arrives
	departures []time.Duration // of the packets still waiting or being sent, oldest first
	bytes      int64
	busy       time.Duration
}

func newShaper(spec Spec) shaper {
	return shaper{Spec: spec, draw: rand.New(rand.NewPCG(spec.Seed, 0))}
}

// admit takes a packet of size bytes that is sent at now, and says when it arrives, if it does. A packet that is lost takes up no
// time on the link, as with netem.
func (s *shaper) admit(now time.Duration, size int) (arrival time.Duration, f fate) {
	if s.loses() {
		return 0, lost
	}
	gone := 0
	for gone < len(s.departures) && s.departures[gone] <= now {
		gone++
	}
	if s.departures = s.departures[gone:]; len(s.departures) >= s.Queue {
		return 0, overflowed
	}
	sending := Serialise(s.Rate, 1, size)
	s.busyUntil = max(now, s.busyUntil) + sending
	s.departures = append(s.departures, s.busyUntil)
	s.bytes += int64(size + Framing)
	s.busy += sending
	return s.arrive(), delivered
}

// arrive adds the way through the air to the departure. Without reordering no packet overtakes another, whatever the jitter; with
// it, some packets skip the delay.
func (s *shaper) arrive() time.Duration {
	if s.chance(s.Reorder) {
		return s.busyUntil
	}
	at := s.busyUntil + s.Delay
	if s.Jitter > 0 {
		at += time.Duration((2*s.draw.Float64() - 1) * float64(s.Jitter))
	}
	if s.Reorder == 0 {
		at = max(at, s.lastAt)
	}
	s.lastAt = max(at, s.lastAt)
	return at
}

// Serialise is the time that so many packets, of size bytes of IP in all, take up a link.
func Serialise(r netprofile.Rate, packets, size int) time.Duration {
	return time.Duration(float64((size+packets*Framing)*8) / float64(r) * float64(time.Second))
}

// loses draws whether the link loses a packet: on its own account, then by the Gilbert-Elliott chain, which steps once for each
// packet that comes to it.
func (s *shaper) loses() bool {
	if s.chance(s.Loss) {
		return true
	}
	if s.Burst == nil {
		return false
	}
	leave, lose := s.Burst.PGoodToBad, s.Burst.LossGood
	if s.bad {
		leave, lose = s.Burst.PBadToGood, s.Burst.LossBad
	}
	isLost := s.chance(lose)
	if s.chance(leave) {
		s.bad = !s.bad
	}
	return isLost
}

func (s *shaper) chance(p netprofile.Ratio) bool { return p > 0 && s.draw.Float64() < float64(p) }
