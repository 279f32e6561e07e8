// Package linkemu gives each run an access network of its own: a link with the rate, delay, jitter, loss and queue of a profile,
// which every packet of the run really crosses, between a device in user space and a gateway that reaches the real targets. It needs
// no privilege. HTTP steps dial through it, a browser reaches it by SOCKS5 or, where the kernel allows, from inside a network
// namespace whose only interface it is.
//
// A link proves itself: it is measured by an exchange before the run's first step, keeps account of every packet, and says at its
// end whether it was the one that its profile describes.
//
// In every mode, network none included, the gateway lets runs reach only hosts that their scenario allows and addresses that the probe
// does.
package linkemu

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"sync"
	"time"

	"lastmile/internal/linkemu/guard"
	"lastmile/internal/linkemu/relay"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
)

// Options tune an Emulator. The zero value emulates for browsers by proxy and reaches public addresses only.
type Options struct {
	Namespace bool           // browsers run in a network namespace instead of behind a proxy
	AllowNets []netip.Prefix // networks that runs may reach though they are not public
	Seed      uint64         // of what links draw; 0 = another one for each run

	resolver *net.Resolver // of this machine; tests have one of their own
}

// Emulator opens a Network for each run. It is safe for concurrent use.
type Emulator struct {
	log     *slog.Logger
	options Options
}

// New returns an emulator.
func New(log *slog.Logger, options Options) *Emulator {
	if options.resolver == nil {
		// The C library's resolver cannot be interrupted and would outlive the run.
		options.resolver = &net.Resolver{PreferGo: true}
	}
	return &Emulator{log: log, options: options}
}

// Network is the access network of one run. It is safe for concurrent use. Its owner must Close it.
type Network struct {
	log     *slog.Logger
	profile netprofile.Profile
	guard   *guard.Guard
	path    path
	link    *emulation // the path where something is emulated, else nil
	names   names
	relay   *relay.Relay // what browsers have open
	ctx     ender

	mu          sync.Mutex
	connections []*runs.Connection
	socks       net.Listener
	refused     error // why the proxy did not take a client
	closed      sync.Once
}

// ender ends everything that a network has under way. It is a context kept in a field because the calls that it bounds begin in
// goroutines that have no caller.
type ender struct {
	context.Context
	end context.CancelFunc
}

// path is a way to the targets. Addresses are real ones.
type path interface {
	// lookup asks DNS for the addresses of a name.
	lookup(ctx context.Context, host string) ([]netip.Addr, error)
	// dial connects, and tells how much of that lay beyond the link.
	dial(ctx context.Context, remote netip.AddrPort) (c pathConn, local net.Addr, upstream time.Duration, err error)
	// listen opens a datagram socket for packets to remote.
	listen(remote netip.AddrPort) (net.PacketConn, error)
	close()
}

// pathConn is a connection of a path.
type pathConn interface {
	relay.Conn
	SetDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// Open makes a network for a run of the scenario whose hosts allowHost tells (nil = all), and proves a link that is emulated by a
// calibration exchange. An error means that it could not be made; a link that is made and is not as it should be is told by Close.
func (e *Emulator) Open(ctx context.Context, profile netprofile.Profile, allowHost func(host string) bool) (*Network, error) {
	background, end := context.WithCancel(context.Background())
	n := &Network{
		log:     e.log,
		profile: profile,
		guard:   guard.New(allowHost, e.options.AllowNets),
		relay:   relay.New(maxTasks),
		ctx:     ender{background, end},
	}
	n.names.network = n
	if !profile.Emulated() {
		n.path = &direct{resolver: e.options.resolver}
	} else {
		link, err := newEmulation(profile, n.guard, e.options)
		if err != nil {
			end()
			return nil, fmt.Errorf("open network %s: %w", profile.Name, err)
		}
		n.link, n.path = link, link
	}
	if n.link != nil {
		n.link.calibrate(ctx)
	}
	return n, nil
}

// Connections returns all connections that the run has opened or tried to, in order of start, at most 5000. A browser in a namespace
// opens its own, which are not among them.
func (n *Network) Connections() []runs.Connection {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make([]runs.Connection, len(n.connections))
	for i, c := range n.connections {
		out[i] = *c
	}
	return out
}

const (
	maxConnections = 5000 // that records are kept of
	maxTasks       = 1024 // under way at once: look-ups, and connections of a browser
)

func (n *Network) begin(c *runs.Connection) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.connections) < maxConnections {
		n.connections = append(n.connections, c)
	}
}

// note changes a connection's record.
func (n *Network) note(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
}

// Proxy returns the address of the run's SOCKS5 proxy for a browser, "" where browsers run inside the network or ServeBrowser was not
// called.
func (n *Network) Proxy() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.socks == nil {
		return ""
	}
	return n.socks.Addr().String()
}

// ServeBrowser makes the network ready for a browser: it opens the proxy where that is how browsers reach it.
func (n *Network) ServeBrowser() error {
	if n.link != nil {
		if n.link.namespace {
			return nil
		}
		n.link.reachedBy(runs.LinkProxy)
	}
	return n.listenSOCKS()
}

// HostRules returns the entries for Chromium's --host-resolver-rules by which a browser inside the network reaches loopback addresses
// of this machine across the link instead of its own; nil where it is outside.
func (n *Network) HostRules() []string {
	if n.link == nil || !n.link.namespace {
		return nil
	}
	here := netip.MustParseAddr("127.0.0.1")
	if n.guard.Lists("localhost") {
		n.guard.Admit([]netip.Addr{here})
	}
	rules := []string{}
	for _, name := range []string{"127.0.0.1", "localhost", "*.localhost"} {
		rules = append(rules, "MAP "+name+" "+onLink(here).String())
	}
	for _, name := range []string{"127.*", "0.0.0.0", "[::*]"} { // no such place on the link, where the guard counts them
		rules = append(rules, "MAP "+name+" "+nowhere.String())
	}
	return rules
}

// Judge looks how the network did while a step was measured. A network that stood still for more than a share of that time, for lack of a
// processor, was not the one named: the step would have ended sooner.
func (n *Network) Judge(step string, from, to time.Time) {
	if n.link != nil {
		n.link.judge(step, from, to)
	}
}

// Start starts a browser: inside the network where that is how browsers reach it, else as it is, and then only after ServeBrowser, as a
// browser without its proxy would go past the network.
func (n *Network) Start(cmd *exec.Cmd) error {
	switch {
	case n.link != nil && n.link.namespace:
		return n.link.enter(cmd)
	case n.Proxy() == "":
		return fmt.Errorf("start %s: network %s: it does not serve a browser yet", cmd.Path, n.profile.Name)
	}
	return cmd.Start()
}

// Close ends every connection, waits for all that the network has under way, and returns what it really was. A link that was off its
// profile has the verdict off_profile, and misses that say why. Later calls return the same.
func (n *Network) Close() runs.Link {
	n.shut()
	out := runs.Link{Profile: n.profile.Name, Version: n.profile.Version, Mode: runs.LinkDirect}
	if n.link != nil {
		n.link.report(&out)
	}
	if err := n.lacking(); err != nil {
		out.Verdict, out.Misses = runs.OffProfile, append(out.Misses, "proxy: "+err.Error())
	}
	out.Blocked, out.BlockedHosts = n.guard.Refused()
	return out
}

func (n *Network) shut() {
	n.closed.Do(func() {
		n.ctx.end()
		n.relay.Close()
		n.path.close()
	})
}
