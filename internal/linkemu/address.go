package linkemu

import "net/netip"

// The addresses on an emulated link, from the range that is reserved for testing networks (RFC 2544, RFC 6815) and a unique local
// prefix. They never leave the process.
var (
	deviceV4  = netip.MustParseAddr("198.18.0.2")
	deviceV6  = netip.MustParseAddr("fd6c:6d00::2")
	gatewayV4 = netip.MustParseAddr("198.18.0.1")
	gatewayV6 = netip.MustParseAddr("fd6c:6d00::1")
	kernelV4  = netip.MustParseAddr("198.18.0.3") // a browser's in its namespace

	// nowhere is an address on the link behind which there is nothing: the guard refuses it.
	nowhere = netip.MustParseAddr("198.18.255.254")

	resolver    = netip.AddrPortFrom(gatewayV4, 53)
	calibration = netip.AddrPortFrom(gatewayV4, 7) // the calibration exchange's end at the gateway: the echo service's port
)

// A stack keeps loopback addresses to itself, so on the link those of this machine go by other ones.
var (
	loopbackV4     = netip.MustParsePrefix("127.0.0.0/16")
	loopbackV6     = netip.IPv6Loopback()
	loopbackV6Link = netip.MustParseAddr("fd6c:6d00:1::1")
	loopbackV4Link = netip.MustParsePrefix("198.19.0.0/16")
)

// Reserved reports whether a prefix has addresses that mean something else on emulated links.
func Reserved(p netip.Prefix) bool {
	return p.Overlaps(netip.MustParsePrefix("198.18.0.0/15")) || p.Overlaps(netip.MustParsePrefix("fd6c:6d00::/32"))
}

// onLink is the address by which the device reaches a real one.
func onLink(a netip.Addr) netip.Addr {
	if a == loopbackV6 {
		return loopbackV6Link
	}
	return swapNet(a, loopbackV4, loopbackV4Link)
}

// offLink is the real address behind one on the link.
func offLink(a netip.Addr) netip.Addr {
	if a == loopbackV6Link {
		return loopbackV6
	}
	return swapNet(a, loopbackV4Link, loopbackV4)
}

// swapNet moves an address from one /16 into another.
func swapNet(a netip.Addr, from, to netip.Prefix) netip.Addr {
	if !from.Contains(a) {
		return a
	}
	host, net := a.As4(), to.Addr().As4()
	return netip.AddrFrom4([4]byte{net[0], net[1], host[2], host[3]})
}
