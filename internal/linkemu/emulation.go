package linkemu

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"sync"
	"time"

	"lastmile/internal/linkemu/dns"
	"lastmile/internal/linkemu/guard"
	"lastmile/internal/linkemu/link"
	"lastmile/internal/linkemu/namespace"
	"lastmile/internal/linkemu/netstack"
	"lastmile/internal/linkemu/relay"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
)

// emulation is the path over an emulated link: device, line up, gateway, and line down.
type emulation struct {
	profile   netprofile.Profile
	guard     *guard.Guard
	tolerance tolerance
	upstream  *upstream
	device    *netstack.Device
	gateway   *netstack.Gateway
	up, down  *link.Line[netstack.Packet]
	resolver  *dns.Server
	proof     proof
	namespace bool

	mode   runs.LinkMode
	inside *inside // the browser's end, once it runs in a namespace
	mu     sync.Mutex
}

// Both stacks start before the lines between them, which need both to deliver to. Until then no packet is sent.
func newEmulation(p netprofile.Profile, g *guard.Guard, options Options) (e *emulation, err error) {
	e = &emulation{
		profile: p, guard: g, tolerance: toleranceOf(p), upstream: newUpstream(g, p), mode: runs.LinkDial, namespace: options.Namespace,
	}
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	tuning := netstack.Tuning{
		MTU:       p.MTU,
		RTT:       p.RTT,
		BDP:       int(float64(max(p.Down, p.Up)) / 8 * p.RTT.Seconds()),
		Lossy:     p.MeanLoss() > 0,
		Checksums: options.Namespace,
	}
	if e.device, err = netstack.NewDevice(tuning, e.sendUp, deviceV4, deviceV6); err != nil {
		return nil, err
	}
	if e.gateway, err = netstack.NewGateway(tuning, e.upstream, e.sendDown, gatewayV4, gatewayV6); err != nil {
		return nil, err
	}
	seed := options.Seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	drop := netstack.Packet.Drop
	if e.up, err = link.New(spec(p, p.Up, seed), e.tolerance.late, e.gateway.Deliver, drop); err != nil {
		return nil, err
	}
	if e.down, err = link.New(spec(p, p.Down, seed+1), e.tolerance.late, e.deliverDown, drop); err != nil {
		return nil, err
	}
	socket, err := e.gateway.ListenUDP(resolver)
	if err != nil {
		return nil, err
	}
	e.resolver = dns.Serve(socket, options.resolver, g, onLink)
	return e, nil
}

func (e *emulation) sendUp(p netstack.Packet)   { e.up.Send(p, p.Size()) }
func (e *emulation) sendDown(p netstack.Packet) { e.down.Send(p, p.Size()) }

// deliverDown hands a packet to the device that it is for.
func (e *emulation) deliverDown(p netstack.Packet) {
	e.mu.Lock()
	inside := e.inside
	e.mu.Unlock()
	if inside != nil && p.IPv4To(kernelV4.As4()) {
		inside.deliver(p)
		return
	}
	e.device.Deliver(p)
}

// spec is one direction of a profile.
func spec(p netprofile.Profile, rate netprofile.Rate, seed uint64) link.Spec {
	return link.Spec{
		Rate: rate, Delay: p.OneWay(), Jitter: p.Jitter, Loss: p.Loss, Burst: p.Burst, Reorder: p.Reorder, Queue: p.Queue, Seed: seed,
	}
}

// lookup asks the gateway across the link.
func (e *emulation) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	socket, err := e.device.ListenUDP(netip.AddrPortFrom(deviceV4, 0))
	if err != nil {
		return nil, err
	}
	found, err := dns.Ask(ctx, socket, resolver, host, offLink)
	if errors.Is(err, dns.ErrRefused) { // which the guard has counted
		err = &runs.BlockedError{Host: host, Want: "a public address, or one that the probe's --allow-net lists"}
	}
	return found, err
}

func (e *emulation) dial(ctx context.Context, remote netip.AddrPort) (relay.Conn, net.Addr, time.Duration, error) {
	var local netip.AddrPort
	onWire := netip.AddrPortFrom(onLink(remote.Addr()), remote.Port())
	c, err := e.device.DialTCP(ctx, onWire, func(at netip.AddrPort) {
		local = at
		e.upstream.expect(at.Port())
	})
	outcome := e.upstream.outcome(local.Port())
	if err != nil {
		// The gateway knows better than the device, to which every refusal looks the same.
		if op, ok := errors.AsType[*net.OpError](outcome.err); ok && ctx.Err() == nil {
			err = op
		} else if outcome.err != nil && ctx.Err() == nil {
			err = outcome.err
		} else if op, ok := errors.AsType[*net.OpError](err); ok {
			op.Addr = net.TCPAddrFromAddrPort(remote)
		}
		return nil, nil, outcome.took, err
	}
	return c, c.LocalAddr(), outcome.took, nil
}

func (e *emulation) listen(remote netip.AddrPort) (net.PacketConn, error) {
	local := deviceV4
	if remote.Addr().Is6() {
		local = deviceV6
	}
	c, err := e.device.ListenUDP(netip.AddrPortFrom(local, 0))
	if err != nil {
		return nil, err
	}
	return translated{c}, nil
}

// translated is a datagram socket of the device that goes by real addresses.
type translated struct{ net.PacketConn }

// WriteTo implements net.PacketConn.
func (t translated) WriteTo(b []byte, to net.Addr) (int, error) {
	return t.PacketConn.WriteTo(b, translate(to, onLink))
}

// ReadFrom implements net.PacketConn.
func (t translated) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := t.PacketConn.ReadFrom(b)
	return n, translate(from, offLink), err
}

func translate(a net.Addr, by func(netip.Addr) netip.Addr) net.Addr {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return a
	}
	at := u.AddrPort()
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(by(at.Addr().Unmap()), at.Port()))
}

// enter starts a command in a namespace behind the link.
func (e *emulation) enter(cmd *exec.Cmd) error {
	in, err := startInside(cmd, namespace.Config{
		Address: kernelV4, Resolver: gatewayV4, MTU: e.profile.MTU, CongestionControl: "cubic", // as phones have it
	}, e.sendUp)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.inside, e.mode = in, runs.LinkNamespace
	return nil
}

// close stops the lines first: nothing crosses them while their ends go away.
func (e *emulation) close() {
	if e.inside != nil {
		e.inside.close()
	}
	for _, line := range []*link.Line[netstack.Packet]{e.up, e.down} {
		if line != nil {
			line.Close()
		}
	}
	if e.resolver != nil {
		e.resolver.Close()
	}
	if e.device != nil {
		e.device.Close()
	}
	if e.gateway != nil {
		e.gateway.Close()
	}
}
