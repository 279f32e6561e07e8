package netstack

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// Device is the near end of the link. It is safe for concurrent use.
type Device struct {
	stack    *stack.Stack
	endpoint *endpoint
}

// NewDevice makes a device with these addresses, whose packets leave by out.
func NewDevice(t Tuning, out func(Packet), addresses ...netip.Addr) (*Device, error) {
	s, e, err := newStack(t, out, addresses...)
	if err != nil {
		return nil, fmt.Errorf("make device: %w", err)
	}
	return &Device{stack: s, endpoint: e}, nil
}

// Deliver takes a packet from the link.
func (d *Device) Deliver(p Packet) { d.endpoint.deliver(p) }

// DialTCP connects to remote. bound is told the local address before the first packet is sent.
func (d *Device) DialTCP(ctx context.Context, remote netip.AddrPort, bound func(local netip.AddrPort)) (*Conn, error) {
	var queue waiter.Queue
	ep, terr := d.stack.NewEndpoint(tcp.ProtocolNumber, family(remote.Addr()), &queue)
	if terr != nil {
		return nil, dialError("tcp", net.TCPAddrFromAddrPort(remote), errnoOf(terr))
	}
	if err := connect(ctx, ep, &queue, remote, bound); err != nil {
		ep.Close()
		return nil, dialError("tcp", net.TCPAddrFromAddrPort(remote), err)
	}
	return &Conn{TCPConn: gonet.NewTCPConn(&queue, ep), endpoint: ep}, nil
}

func connect(ctx context.Context, ep tcpip.Endpoint, queue *waiter.Queue, remote netip.AddrPort, bound func(netip.AddrPort)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entry, ready := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventErr | waiter.EventHUp)
	queue.EventRegister(&entry)
	defer queue.EventUnregister(&entry)
	if err := ep.Bind(tcpip.FullAddress{}); err != nil {
		return errnoOf(err)
	}
	local, terr := ep.GetLocalAddress()
	if terr != nil {
		return errnoOf(terr)
	}
	bound(netip.AddrPortFrom(netip.Addr{}, local.Port))
	terr = ep.Connect(full(remote))
	if _, started := terr.(*tcpip.ErrConnectStarted); started {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ready:
			terr = ep.LastError()
		}
	}
	if terr != nil {
		return errnoOf(terr)
	}
	return nil
}

func dialError(network string, remote net.Addr, err error) error {
	return &net.OpError{Op: "dial", Net: network, Addr: remote, Err: err}
}

// ListenUDP opens a datagram socket at local; port 0 picks a free one.
func (d *Device) ListenUDP(local netip.AddrPort) (net.PacketConn, error) {
	return listenUDP(d.stack, local)
}

// udpBuffer is the receive buffer of a datagram socket, in bytes: the stack's own holds a burst of twenty packets.
const udpBuffer = 1 << 20

func listenUDP(s *stack.Stack, local netip.AddrPort) (net.PacketConn, error) {
	var queue waiter.Queue
	ep, err := s.NewEndpoint(udp.ProtocolNumber, family(local.Addr()), &queue)
	if err != nil {
		return nil, dialError("udp", net.UDPAddrFromAddrPort(local), errnoOf(err))
	}
	ep.SocketOptions().SetReceiveBufferSize(udpBuffer, true)
	if err := ep.Bind(full(local)); err != nil {
		ep.Close()
		return nil, dialError("udp", net.UDPAddrFromAddrPort(local), errnoOf(err))
	}
	return gonet.NewUDPConn(&queue, ep), nil
}

// Resent counts the segments that the device sent again, and the times its retransmission timers went off.
func (d *Device) Resent() (segments, timeouts uint64) { return resent(d.stack) }

func resent(s *stack.Stack) (segments, timeouts uint64) {
	stats := s.Stats().TCP
	return stats.Retransmits.Value(), stats.Timeouts.Value()
}

// Close ends all connections and waits for what they run on. The link must be closed before.
func (d *Device) Close() { d.stack.Destroy() }
