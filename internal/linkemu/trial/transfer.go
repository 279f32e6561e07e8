package trial

import (
	"context"
	"math"
	"net"
	"sync"
	"time"

	"lastmile/internal/linkemu/link"
	"lastmile/internal/netprofile"
)

// goodput is what a transfer carried in which time; zero where nothing came.
type goodput struct {
	bytes int64
	over  time.Duration
}

// rate is the goodput as a rate; 0 where there is none.
func (g goodput) rate() netprofile.Rate {
	if g.over <= 0 {
		return 0
	}
	return netprofile.Rate(float64(g.bytes) * 8 / g.over.Seconds())
}

// warmUp is how long a sender takes to fill the link: its window doubles with each round trip from ten packets (RFC 6928) on. Two more
// round trips are for the first packet and for good measure. On a link that loses packets the sender starts far faster than it can go
// on; some five losses later it has forgotten that, for which it gets half the transfer's time at most.
func warmUp(p netprofile.Profile, d Direction, period time.Duration) time.Duration {
	trip := p.RTT + link.Serialise(rate(p, d), 1, p.MTU)
	held := float64(rate(p, d)) / 8 * trip.Seconds() / float64(p.MTU)
	rounds := math.Ceil(math.Log2(max(1, held/10))) + 2
	start := time.Duration(rounds * float64(trip))
	if loss := float64(eventLoss(p)); loss > 0 {
		const losses = 5
		start += time.Duration(min(losses/loss*float64(link.Serialise(rate(p, d), 1, p.MTU)), float64(period)/2))
	}
	return start
}

// transfer carries as much as it can over one connection, and measures at the receiver. A link that breaks the connection or does not
// let it come up shows as a transfer that carried little or nothing.
func transfer(ctx context.Context, n Network, p netprofile.Profile, d Direction, period time.Duration) (goodput, error) {
	m := &meter{}
	handle := send
	if d == Up {
		handle = m.receive
	}
	s, err := serve(handle)
	if err != nil {
		return goodput{}, err
	}
	defer s.close()
	dialing, cancel := context.WithTimeout(ctx, 30*time.Second+10*p.RTT)
	defer cancel()
	c, err := n.DialContext(dialing, "tcp", s.address())
	if err != nil {
		return goodput{}, ctx.Err()
	}
	defer func() { _ = c.Close() }()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	begin := time.Now().Add(warmUp(p, d, period))
	m.start(begin)
	if err := c.SetDeadline(begin.Add(period)); err != nil {
		return goodput{}, err
	}
	if d == Up {
		send(c)
	} else {
		m.receive(c)
	}
	got := m.stop()
	if got.bytes > 0 && (p.MeanLoss() > 0 || p.Reorder > 0) {
		got.over = period // what waits for a packet that is sent again comes in one lump, and nothing before it: that time counts
	}
	return got, ctx.Err()
}

const bufferSize = 64 << 10

// send writes until the connection breaks or its time is over.
func send(c net.Conn) {
	b := make([]byte, bufferSize)
	for {
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

// meter takes a transfer's goodput.
type meter struct {
	mu          sync.Mutex
	begin       time.Time // when the transfer is up to speed; zero = not yet known
	first, last time.Time // arrivals since
	bytes       int64     // that arrived after first
	stopped     bool
}

func (m *meter) start(begin time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.begin = begin
}

// receive reads until the connection breaks or its time is over.
func (m *meter) receive(c net.Conn) {
	b := make([]byte, bufferSize)
	for {
		n, err := c.Read(b)
		m.add(n, time.Now())
		if err != nil {
			return
		}
	}
}

// add counts from arrival to arrival: what is on its way at either end counts neither as bytes nor as time.
func (m *meter) add(n int, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case n == 0 || m.stopped || m.begin.IsZero() || at.Before(m.begin):
	case m.first.IsZero():
		m.first, m.last = at, at
	default:
		m.bytes += int64(n)
		m.last = at
	}
}

// stop returns the goodput from the first arrival to the last. What comes later does not count.
func (m *meter) stop() goodput {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopped = true
	return goodput{bytes: m.bytes, over: m.last.Sub(m.first)}
}
