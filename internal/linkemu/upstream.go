package linkemu

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"lastmile/internal/linkemu/guard"
	"lastmile/internal/netprofile"
)

// upstream is the network beyond the gateway, as far as the guard lets the run reach it.
type upstream struct {
	guard *guard.Guard
	down  netprofile.Rate

	mu       sync.Mutex
	outcomes map[uint16]*outcome // by the device's port
}

// outcome is what became of a connection beyond the link.
type outcome struct {
	took time.Duration
	err  error
}

// connectLimit bounds a connect beyond the link; the kernel alone would try for two minutes.
const connectLimit = 30 * time.Second

func newUpstream(g *guard.Guard, p netprofile.Profile) *upstream {
	return &upstream{guard: g, down: p.Down, outcomes: map[uint16]*outcome{}}
}

// buffer makes the sockets' receive buffers small: what the link does not carry yet has to wait at the server, which else would have sent
// it all before a more urgent stream of the same connection comes up. What the link carries in a tenth of a second and in the
// target's own round trip fits, so that the target is not held back by more than the link.
func (u *upstream) buffer(c *net.TCPConn, rtt time.Duration) error {
	const least = 64 << 10
	return c.SetReadBuffer(max(least, int(float64(u.down)/8*(rtt+100*time.Millisecond).Seconds())))
}

// expect makes room for the outcome of the device's connection from that port.
func (u *upstream) expect(port uint16) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.outcomes[port] = new(outcome)
}

// outcome takes what has become of it.
func (u *upstream) outcome(port uint16) outcome {
	u.mu.Lock()
	defer u.mu.Unlock()
	o := u.outcomes[port]
	delete(u.outcomes, port)
	if o == nil {
		return outcome{}
	}
	return *o
}

// DialTCP implements netstack.Upstream.
func (u *upstream) DialTCP(ctx context.Context, from, to netip.AddrPort) (*net.TCPConn, error) {
	u.mu.Lock()
	o := u.outcomes[from.Port()] // now: the port may be another connection's by the time that there is an outcome
	u.mu.Unlock()
	began := time.Now()
	c, err := u.connect(ctx, to)
	if o != nil && from.Addr() != kernelV4 {
		u.mu.Lock()
		defer u.mu.Unlock()
		o.took, o.err = time.Since(began), err
	}
	return c, err
}

func (u *upstream) connect(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
	real := offLink(to.Addr())
	if err := u.guard.Connect(real); err != nil {
		return nil, err
	}
	began := time.Now()
	dialer := net.Dialer{Timeout: connectLimit}
	c, err := dialer.DialContext(ctx, "tcp", netip.AddrPortFrom(real, to.Port()).String())
	if err != nil {
		return nil, err
	}
	up := c.(*net.TCPConn)
	if err := u.buffer(up, time.Since(began)); err != nil {
		_ = up.Close()
		return nil, err
	}
	return up, nil
}

// DialUDP implements netstack.Upstream.
func (u *upstream) DialUDP(from, to netip.AddrPort) (*net.UDPConn, error) {
	if from.Addr() == deviceV4 && to == calibration { // a packet that came when the exchange was over: no attempt of the run's
		return nil, net.ErrClosed
	}
	real := offLink(to.Addr())
	if !u.guard.Reachable(real) { // it is asked for again and again
		var err error
		u.guard.Once(netip.AddrPortFrom(real, to.Port()).String(), func(string) error {
			err = u.guard.Connect(real)
			return err
		})
		if !u.guard.Reachable(real) {
			return nil, errors.Join(err, net.ErrClosed)
		}
	}
	return net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(real, to.Port())))
}
