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
	"lastmile/internal/linkemu/gauge"
	"lastmile/internal/linkemu/guard"
	"lastmile/internal/linkemu/link"
	"lastmile/internal/linkemu/namespace"
	"lastmile/internal/linkemu/netstack"
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
	watch     *link.Watch
	up, down  *link.Line[netstack.Packet]
	resolver  *dns.Server
	proof     gauge.Proof
	gauged    struct{ down, up int64 } // bytes that the exchange took
	namespace bool

	mu      sync.Mutex
	mode    runs.LinkMode
	inside  *inside       // the browser's end, once it runs in a namespace
	misses  []string      // of what has been judged so far
	stalled time.Duration // within steps
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
	tuning := netstack.Tuning{MTU: p.MTU, RTT: p.RTT, Lossy: p.MeanLoss() > 0, Checksums: options.Namespace}
	tuning.SendBuffer, tuning.ReceiveBuffer = bufferFor(p, p.Up), 2*bufferFor(p, p.Down)
	if e.device, err = netstack.NewDevice(tuning, e.sendUp, deviceV4, deviceV6); err != nil {
		return nil, err
	}
	tuning.SendBuffer, tuning.ReceiveBuffer = bufferFor(p, p.Down), 2*bufferFor(p, p.Up)
	if e.gateway, err = netstack.NewGateway(tuning, e.upstream, e.sendDown, gatewayV4, gatewayV6); err != nil {
		return nil, err
	}
	if e.watch, err = link.NewWatch(e.tolerance.late); err != nil {
		return nil, err
	}
	seed := options.Seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	drop := netstack.Packet.Drop
	if e.up, err = link.New(spec(p, p.Up, seed), e.watch, e.gateway.Deliver, drop); err != nil {
		return nil, err
	}
	if e.down, err = link.New(spec(p, p.Down, seed+1), e.watch, e.deliverDown, drop); err != nil {
		return nil, err
	}
	socket, err := e.gateway.ListenUDP(resolver)
	if err != nil {
		return nil, err
	}
	e.resolver = dns.Serve(socket, options.resolver, g, onLink)
	return e, nil
}

// bufferFor is what a sender may have under way at a rate: enough for the link to be never idle (64 KiB would hold a 3G link back), and no
// more than fits into it and its queue, so that a sender that knows no loss does not overrun it.
func bufferFor(p netprofile.Profile, r netprofile.Rate) int {
	const least, most = 128 << 10, 16 << 20
	product := float64(r) / 8 * p.RTT.Seconds()
	room := max(least/2, product+0.9*float64(p.Queue*p.MTU))
	return int(min(max(least, 2.5*product), room, most))
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
	if lacking := e.resolver.Lacking(); err != nil && lacking != nil {
		return nil, lacking
	}
	if errors.Is(err, dns.ErrRefused) { // which the guard has counted
		err = &runs.BlockedError{Host: host, Want: "a public address, or one that the probe's --allow-net lists"}
	}
	return found, err
}

func (e *emulation) dial(ctx context.Context, remote netip.AddrPort) (pathConn, net.Addr, time.Duration, error) {
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
	e.reachedBy(runs.LinkNamespace)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.inside = in
	return nil
}

// reachedBy notes how a browser came to the link.
func (e *emulation) reachedBy(mode runs.LinkMode) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mode = mode
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
	if e.watch != nil {
		e.watch.Close()
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

// calibrate measures the link before its run's first step. What it could not measure stays zero.
func (e *emulation) calibrate(ctx context.Context) {
	device, err := e.device.ListenUDP(netip.AddrPortFrom(deviceV4, 0))
	if err != nil {
		return
	}
	gateway, err := e.gateway.ListenUDP(calibration)
	if err != nil {
		_ = device.Close()
		return
	}
	e.proof = gauge.Measure(ctx, e.profile, device, gateway)
	e.gauged.down, e.gauged.up = e.down.Stats().Bytes, e.up.Stats().Bytes
}
