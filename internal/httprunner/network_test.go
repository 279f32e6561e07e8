package httprunner

import (
	"context"
	"net"
	"net/http/httptrace"
	"net/netip"
)

// HostNetwork is this machine's own network, as the tests use it.
type HostNetwork struct{}

// The C library's resolver cannot be interrupted and would outlive the run.
var resolver = &net.Resolver{PreferGo: true}

func (HostNetwork) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{Resolver: resolver}).DialContext(ctx, network, address)
}

func (HostNetwork) LookupNetIP(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	trace := httptrace.ContextClientTrace(ctx)
	trace.DNSStart(httptrace.DNSStartInfo{Host: host})
	addresses, err := resolver.LookupNetIP(unobserved{ctx}, "ip", host)
	trace.DNSDone(httptrace.DNSDoneInfo{Err: err})
	return addresses, err
}

// unobserved is a context without its httptrace: the resolver's own connections are none of the request's.
type unobserved struct{ context.Context }

func (unobserved) Value(any) any { return nil }

func (HostNetwork) ListenPacket(_ context.Context, remote netip.AddrPort) (net.PacketConn, error) {
	return net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(remote))
}

// Forget has nothing to do: nothing is remembered.
func (HostNetwork) Forget(string) {}
