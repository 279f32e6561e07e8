// Package netstack is the two ends of an emulated access link: the Device, from which a run dials, and the Gateway, which carries what
// comes over the link on to the real network. Both are TCP/IP stacks in user space (gVisor's), so that handshakes, slow start,
// retransmission and congestion control are real, and nothing needs a privilege.
package netstack

import (
	"fmt"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// Tuning is what both ends need to know of the link between them, and of who is at the other end.
type Tuning struct {
	MTU       int           // bytes
	RTT       time.Duration // of the link alone
	Lossy     bool          // whether the link loses packets at random
	Checksums bool          // whether packets leave for another stack than ours, which looks at them

	SendBuffer, ReceiveBuffer int // of a connection, bytes
}

// nic is the one interface of each stack.
const nic tcpip.NICID = 1

// newStack makes a stack with one interface, which sends by out and routes everything there.
func newStack(t Tuning, out func(Packet), addresses ...netip.Addr) (*stack.Stack, *endpoint, error) {
	s := stack.New(stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{
			ipv4.NewProtocol,
			// The link has no router to ask and nobody to clash with: nothing crosses it that the run did not send.
			ipv6.NewProtocolWithOptions(ipv6.Options{}),
		},
		TransportProtocols: []stack.TransportProtocolFactory{
			tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6,
		},
	})
	e := newEndpoint(t, out)
	if err := configure(s, e, t, addresses); err != nil {
		s.Destroy()
		return nil, nil, err
	}
	return s, e, nil
}

func configure(s *stack.Stack, e *endpoint, t Tuning, addresses []netip.Addr) error {
	for _, option := range tcpOptions(t) {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return fmt.Errorf("set TCP option %T: %s", option, err)
		}
	}
	if err := s.CreateNIC(nic, e); err != nil {
		return fmt.Errorf("create interface: %s", err)
	}
	for _, a := range addresses {
		address := tcpip.ProtocolAddress{
			Protocol:          family(a),
			AddressWithPrefix: tcpip.AddrFromSlice(a.AsSlice()).WithPrefix(),
		}
		if err := s.AddProtocolAddress(nic, address, stack.AddressProperties{}); err != nil {
			return fmt.Errorf("add address %s: %s", a, err)
		}
	}
	everywhere := func(zero netip.Addr) tcpip.Route {
		network, err := tcpip.NewSubnet(tcpip.AddrFromSlice(zero.AsSlice()), tcpip.MaskFromBytes(make([]byte, zero.BitLen()/8)))
		if err != nil {
			panic(err) // zero bits under a zero mask
		}
		return tcpip.Route{Destination: network, NIC: nic}
	}
	s.SetRouteTable([]tcpip.Route{everywhere(netip.IPv4Unspecified()), everywhere(netip.IPv6Unspecified())})
	return nil
}

// tcpOptions are the settings without which gVisor's TCP behaves unlike Linux's over such a link.
func tcpOptions(t Tuning) []tcpip.SettableTransportProtocolOption {
	sack, recovery, nagle := tcpip.TCPSACKEnabled(true), tcpip.TCPRACKLossDetection, tcpip.TCPDelayEnabled(false)
	// gVisor takes the minimum of the sum, where Linux takes it of the variance: on a steady link its timeout would fall to the
	// round trip, and fire for nothing.
	minRTO := tcpip.TCPMinRTOOption(t.RTT + 200*time.Millisecond)
	// Its CUBIC leaves slow start too early on a long clean link, and its Reno is too fast under loss.
	control := tcpip.CongestionControlOption("reno")
	if t.Lossy {
		control = "cubic"
	}
	send := tcpip.TCPSendBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: t.SendBuffer, Max: t.SendBuffer}
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: t.ReceiveBuffer, Max: t.ReceiveBuffer}
	return []tcpip.SettableTransportProtocolOption{&sack, &recovery, &nagle, &minRTO, &control, &send, &receive}
}

// family is the network protocol of an address.
func family(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}

// full converts an address to gVisor's form.
func full(a netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFromSlice(a.Addr().AsSlice()), Port: a.Port()}
}

// plain converts an address from gVisor's form; invalid where there is none.
func plain(a tcpip.Address, port uint16) netip.AddrPort {
	ip, _ := netip.AddrFromSlice(a.AsSlice())
	return netip.AddrPortFrom(ip, port)
}
