package netstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"lastmile/internal/linkemu/relay"
)

// Upstream is the network beyond the gateway.
type Upstream interface {
	// DialTCP connects to what the device at from asks for; the error decides what the device sees: silence for a timeout, a reset
	// for everything else.
	DialTCP(ctx context.Context, from, to netip.AddrPort) (*net.TCPConn, error)
	// DialUDP opens a connected datagram socket. It must not block.
	DialUDP(from, to netip.AddrPort) (*net.UDPConn, error)
}

// Gateway is the far end of the link. It answers for every address there is.
type Gateway struct {
	stack    *stack.Stack
	endpoint *endpoint
	upstream Upstream
	cancel   context.CancelFunc

	connections, flows *relay.Relay
}

// What a run may have open at once. A page that opens more is no user's page.
const (
	maxConnections = 1024
	maxFlows       = 256
)

// NewGateway makes a gateway with these addresses of its own, whose packets leave by out.
func NewGateway(t Tuning, upstream Upstream, out func(Packet), addresses ...netip.Addr) (*Gateway, error) {
	s, e, err := newStack(t, out, addresses...)
	if err != nil {
		return nil, fmt.Errorf("make gateway: %w", err)
	}
	for _, set := range []func(tcpip.NICID, bool) tcpip.Error{s.SetPromiscuousMode, s.SetSpoofing} {
		if err := set(nic, true); err != nil {
			s.Destroy()
			return nil, fmt.Errorf("make gateway: %s", err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	g := &Gateway{stack: s, endpoint: e, upstream: upstream, cancel: cancel, connections: relay.New(maxConnections), flows: relay.New(maxFlows)}
	forwarder := tcp.NewForwarder(s, t.ReceiveBuffer, maxConnections, func(r *tcp.ForwarderRequest) {
		if !g.connections.Go(func() { g.acceptTCP(ctx, r) }, cancel) {
			r.Complete(true)
		}
	})
	s.SetTransportProtocolHandler(tcp.ProtocolNumber, forwarder.HandlePacket)
	s.SetTransportProtocolHandler(udp.ProtocolNumber, udp.NewForwarder(s, g.acceptUDP).HandlePacket)
	return g, nil
}

// Deliver takes a packet from the link.
func (g *Gateway) Deliver(p Packet) { g.endpoint.deliver(p) }

// ListenUDP opens a datagram socket on an address of the gateway's own.
func (g *Gateway) ListenUDP(local netip.AddrPort) (net.PacketConn, error) {
	return listenUDP(g.stack, local)
}

// Resent counts the segments that the gateway sent again, and the times its retransmission timers went off.
func (g *Gateway) Resent() (segments, timeouts uint64) { return resent(g.stack) }

// Close ends every connection and waits for it. The link must be closed before.
func (g *Gateway) Close() {
	g.cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		g.connections.Close()
		g.flows.Close()
	}()
	for open := true; open; {
		g.stack.Close() // aborts connections and handshakes, but none that begins a moment later
		select {
		case <-ended:
			open = false
		case <-time.After(10 * time.Millisecond):
		}
	}
	g.stack.Wait()
}

// acceptTCP connects to the real target first, and only then answers the device: a refusal is then one for the device too, and the
// handshake costs it the link's round trip and the real one.
func (g *Gateway) acceptTCP(ctx context.Context, r *tcp.ForwarderRequest) {
	id := r.ID()
	up, err := g.upstream.DialTCP(ctx, plain(id.RemoteAddress, id.RemotePort), plain(id.LocalAddress, id.LocalPort))
	if err != nil {
		var timeout net.Error
		silent := ctx.Err() != nil || errors.As(err, &timeout) && timeout.Timeout()
		r.Complete(!silent)
		return
	}
	if ctx.Err() != nil {
		r.Complete(false)
		relay.Kernel{TCPConn: up}.Abort()
		return
	}
	var queue waiter.Queue
	ep, terr := r.CreateEndpoint(&queue)
	r.Complete(false)
	if terr != nil { // the device has gone away meanwhile
		relay.Kernel{TCPConn: up}.Abort()
		return
	}
	down := &Conn{TCPConn: gonet.NewTCPConn(&queue, ep), endpoint: ep}
	defer context.AfterFunc(ctx, func() {
		down.Abort()
		relay.Kernel{TCPConn: up}.Abort()
	})()
	g.connections.Join(down, relay.Kernel{TCPConn: up})
}

// udpIdle is how long a flow of datagrams lives without one. QUIC's own limit is 30 s as a rule.
const udpIdle = 90 * time.Second

// acceptUDP opens a flow. Where it must not, the device is told that nobody listens.
func (g *Gateway) acceptUDP(r *udp.ForwarderRequest) (handled bool) {
	id := r.ID()
	up, err := g.upstream.DialUDP(plain(id.RemoteAddress, id.RemotePort), plain(id.LocalAddress, id.LocalPort))
	if err != nil {
		return false
	}
	var queue waiter.Queue
	ep, terr := r.CreateEndpoint(&queue)
	if terr != nil {
		_ = up.Close()
		return false
	}
	ep.SocketOptions().SetReceiveBufferSize(udpBuffer, true)
	down := gonet.NewUDPConn(&queue, ep)
	end := sync.OnceFunc(func() {
		_ = down.Close()
		_ = up.Close()
	})
	if !g.flows.Go(func() { flow(down, up, end) }, end) { // too many
		end()
	}
	return true
}

// flow carries datagrams both ways until there are none, or an error says that nobody is there.
func flow(down, up net.Conn, end func()) {
	carry := func(to, from net.Conn) {
		defer end()
		datagram := make([]byte, 64<<10)
		for {
			_ = from.SetReadDeadline(time.Now().Add(udpIdle)) // fails on a closed one, as Read will
			n, err := from.Read(datagram)
			if err != nil {
				return
			}
			if _, err := to.Write(datagram[:n]); err != nil {
				return
			}
		}
	}
	var ways sync.WaitGroup
	ways.Go(func() { carry(up, down) })
	carry(down, up)
	ways.Wait()
}
