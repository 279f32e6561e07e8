package linkemu

import (
	"context"
	"net"
	"net/netip"
	"time"

	"lastmile/internal/linkemu/relay"
)

// direct is the path of network none: the host's own.
type direct struct {
	resolver *net.Resolver
	dialer   net.Dialer
}

func (d *direct) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	return d.resolver.LookupNetIP(ctx, "ip", host)
}

func (d *direct) dial(ctx context.Context, remote netip.AddrPort) (pathConn, net.Addr, time.Duration, error) {
	began := time.Now()
	c, err := d.dialer.DialContext(ctx, "tcp", remote.String())
	if err != nil {
		return nil, nil, 0, err
	}
	return relay.Kernel{TCPConn: c.(*net.TCPConn)}, c.LocalAddr(), time.Since(began), nil
}

// listen connects the socket: only so does the kernel tell of a port that nobody listens on.
func (d *direct) listen(remote netip.AddrPort) (net.PacketConn, error) {
	return net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(remote))
}

func (d *direct) close() {}
