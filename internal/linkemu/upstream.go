package linkemu

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"lastmile/internal/linkemu/guard"
	"lastmile/internal/netprofile"
)

// upstream is the network beyond the gateway, as far as the guard lets the run reach it.
type upstream struct {
	guard  *guard.Guard
	buffer int

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

// newUpstream makes the sockets' receive buffers small: what the link does not carry yet has to wait at the server, which else
// would have sent it all before a more urgent stream of the same connection comes up. A tenth of a second of the link's rate fits.
func newUpstream(g *guard.Guard, p netprofile.Profile) *upstream {
	const least = 64 << 10
	return &upstream{guard: g, buffer: max(least, int(p.Down)/8/10), outcomes: map[uint16]*outcome{}}
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
	began := time.Now()
	c, err := u.connect(ctx, to)
	u.mu.Lock()
	defer u.mu.Unlock()
	if o := u.outcomes[from.Port()]; o != nil && from.Addr() != kernelV4 {
		o.took, o.err = time.Since(began), err
	}
	return c, err
}

func (u *upstream) connect(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
	real := offLink(to.Addr())
	if err := u.guard.Connect(real); err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: connectLimit, Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if cerr := raw.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, u.buffer)
		}); cerr != nil {
			return cerr
		}
		return err
	}}
	c, err := dialer.DialContext(ctx, "tcp", netip.AddrPortFrom(real, to.Port()).String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// DialUDP implements netstack.Upstream.
func (u *upstream) DialUDP(_, to netip.AddrPort) (*net.UDPConn, error) {
	real := offLink(to.Addr())
	if err := u.guard.Connect(real); err != nil {
		return nil, err
	}
	return net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(real, to.Port())))
}
