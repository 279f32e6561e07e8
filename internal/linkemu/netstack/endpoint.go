package netstack

import (
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Packet is an IP packet on its way from one end to the other. Who holds it must hand it on or Drop it.
type Packet struct{ buffer *stack.PacketBuffer }

// ParsePacket makes a packet of its bytes, which it copies. It reports false where they are no IP packet.
func ParsePacket(b []byte) (Packet, bool) {
	var protocol tcpip.NetworkProtocolNumber
	switch header.IPVersion(b) {
	case header.IPv4Version:
		protocol = ipv4.ProtocolNumber
	case header.IPv6Version:
		protocol = ipv6.ProtocolNumber
	default:
		return Packet{}, false
	}
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(b)})
	p.NetworkProtocolNumber = protocol
	return Packet{p}, true
}

// Size is the packet's length in bytes, IP header included.
func (p Packet) Size() int { return p.buffer.Size() }

// Drop lets go of the packet.
func (p Packet) Drop() { p.buffer.DecRef() }

// AppendTo appends the packet's bytes to b.
func (p Packet) AppendTo(b []byte) []byte {
	for _, slice := range p.buffer.AsSlices() {
		b = append(b, slice...)
	}
	return b
}

// IPv4To reports whether the packet is for that IPv4 address.
func (p Packet) IPv4To(address [4]byte) bool {
	view, ok := p.buffer.Data().PullUp(header.IPv4MinimumSize)
	return ok && p.buffer.NetworkProtocolNumber == ipv4.ProtocolNumber &&
		header.IPv4(view).DestinationAddress() == tcpip.AddrFrom4(address)
}

// endpoint is a stack's end of the link. It has no queue of its own: the link's is the only one.
type endpoint struct {
	mtu          uint32
	capabilities stack.LinkEndpointCapabilities
	out          func(Packet)
	dispatcher   atomic.Pointer[stack.NetworkDispatcher]
}

var _ stack.LinkEndpoint = (*endpoint)(nil)

func newEndpoint(t Tuning, out func(Packet)) *endpoint {
	// What is damaged between two stacks of ours, we would have damaged.
	capabilities := stack.CapabilityRXChecksumOffload
	if !t.Checksums {
		capabilities |= stack.CapabilityTXChecksumOffload
	}
	return &endpoint{mtu: uint32(t.MTU), capabilities: capabilities, out: out}
}

// deliver hands a packet that has crossed the link to the stack.
func (e *endpoint) deliver(p Packet) {
	if d := e.dispatcher.Load(); d != nil {
		(*d).DeliverNetworkPacket(p.buffer.NetworkProtocolNumber, p.buffer)
	}
	p.Drop()
}

// WritePackets implements stack.LinkWriter.
func (e *endpoint) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	for _, p := range list.AsSlice() {
		// A packet of its own: the stack goes on using the one it wrote.
		q := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: p.ToBuffer()})
		q.NetworkProtocolNumber = p.NetworkProtocolNumber
		e.out(Packet{q})
	}
	return list.Len(), nil
}

// Attach implements stack.NetworkLinkEndpoint.
func (e *endpoint) Attach(d stack.NetworkDispatcher) {
	if d == nil {
		e.dispatcher.Store(nil)
		return
	}
	e.dispatcher.Store(&d)
}

// The rest of stack.NetworkLinkEndpoint: a link without a header, an address, or a goroutine of its own.

func (e *endpoint) MTU() uint32                                  { return e.mtu }
func (*endpoint) SetMTU(uint32)                                  {}
func (*endpoint) MaxHeaderLength() uint16                        { return 0 }
func (*endpoint) LinkAddress() tcpip.LinkAddress                 { return "" }
func (*endpoint) SetLinkAddress(tcpip.LinkAddress)               {}
func (e *endpoint) Capabilities() stack.LinkEndpointCapabilities { return e.capabilities }
func (e *endpoint) IsAttached() bool                             { return e.dispatcher.Load() != nil }
func (*endpoint) Wait()                                          {}
func (*endpoint) ARPHardwareType() header.ARPHardwareType        { return header.ARPHardwareNone }
func (*endpoint) AddHeader(*stack.PacketBuffer)                  {}
func (*endpoint) ParseHeader(*stack.PacketBuffer) bool           { return true }
func (*endpoint) Close()                                         {}
func (*endpoint) SetOnCloseAction(func())                        {}
