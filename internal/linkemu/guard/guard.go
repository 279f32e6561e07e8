// Package guard decides where a run may go: by name, what its scenario allows; by address, what its probe does.
package guard

import (
	"net/netip"
	"slices"
	"strings"
	"sync"

	"lastmile/internal/runs"
)

// The addresses at which no public service is: what is there belongs to the machine, the site or the cloud that the probe runs in.
// Metadata services are among them (link-local, unique local, shared space). From the IANA special-purpose address registries.
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("168.63.129.16/32"), // Azure's, for the virtual machine
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("224.0.0.0/3"), // multicast, reserved, broadcast
	netip.MustParsePrefix("::/96"),
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("::ffff:0:0:0/96"), // translated IPv4, RFC 2765
	netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("100:0:0:1::/64"),
	netip.MustParsePrefix("2001::/23"),
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("3fff::/20"),
	netip.MustParsePrefix("5f00::/16"),
	netip.MustParsePrefix("fc00::/7"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("fec0::/10"),
	netip.MustParsePrefix("ff00::/8"),
}

// The prefixes of IPv6 addresses that lead to an IPv4 address, with the offset of the latter.
var carriers = []struct {
	prefix netip.Prefix
	offset int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12}, // NAT64
	{netip.MustParsePrefix("2002::/16"), 2},     // 6to4
}

// Guard watches over one run. It counts what it refuses. It is safe for concurrent use.
type Guard struct {
	allowHost func(host string) bool
	allowNets []netip.Prefix

	mu       sync.Mutex
	answered map[netip.Addr]struct{} // addresses that DNS gave for a host that is allowed
	told     map[string]bool         // what Once has passed on
	blocked  int
	hosts    []string
}

// maxBlockedHosts bounds the hosts that a result names.
const maxBlockedHosts = 10

// New returns a guard that lets a run reach the hosts that allowHost tells (nil = any), at public addresses and those in allowNets.
func New(allowHost func(string) bool, allowNets []netip.Prefix) *Guard {
	return &Guard{allowHost: allowHost, allowNets: allowNets, answered: map[netip.Addr]struct{}{}, told: map[string]bool{}}
}

// Lists reports whether the scenario allows a name, or an address in place of one.
func (g *Guard) Lists(host string) bool {
	return g.allowHost == nil || g.allowHost(strings.TrimSuffix(strings.ToLower(host), "."))
}

// Host refuses a name, or an address in place of one, that the scenario does not allow.
func (g *Guard) Host(host string) error {
	if g.Lists(host) {
		return nil
	}
	return g.refuse(host, "one that allowHosts lists")
}

// Public reports whether the probe lets runs reach an address.
func (g *Guard) Public(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	contains := func(p netip.Prefix) bool { return p.Contains(a) }
	if slices.ContainsFunc(g.allowNets, contains) {
		return true
	}
	for _, c := range carriers {
		if b := a.As16(); c.prefix.Contains(a) {
			return g.Public(netip.AddrFrom4([4]byte(b[c.offset : c.offset+4])))
		}
	}
	return !slices.ContainsFunc(notPublic, contains)
}

// Addresses leaves of a host's addresses those that the probe allows, and lets the run connect to them. It refuses where there were
// some and none is left.
func (g *Guard) Addresses(host string, all []netip.Addr) ([]netip.Addr, error) {
	allowed := g.Admit(all)
	if len(all) > 0 && len(allowed) == 0 {
		return nil, g.NotPublic(host, all[0])
	}
	return allowed, nil
}

// NotPublic counts an attempt to reach a host at an address that the probe does not allow, and returns the refusal.
func (g *Guard) NotPublic(host string, a netip.Addr) error {
	if _, err := netip.ParseAddr(host); err != nil {
		host += " at " + a.Unmap().String()
	}
	return g.refuse(host, "a public address, or one that the probe's --allow-net lists")
}

// Admit is Addresses without refusal.
func (g *Guard) Admit(all []netip.Addr) (allowed []netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, a := range all {
		if a = a.Unmap(); g.Public(a) {
			allowed = append(allowed, a)
			g.answered[a] = struct{}{}
		}
	}
	return allowed
}

// Reachable reports whether DNS gave an address for a host that is allowed.
func (g *Guard) Reachable(a netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, known := g.answered[a]
	return known
}

// Connect refuses an address that a device may not go to: one that neither DNS gave it nor the scenario lists.
func (g *Guard) Connect(a netip.Addr) error {
	if g.Reachable(a) {
		return nil
	}
	if err := g.Host(a.String()); err != nil {
		return err
	}
	_, err := g.Addresses(a.String(), []netip.Addr{a})
	return err
}

// Once refuses the first time that it is asked about something, for callers that see one attempt several times.
func (g *Guard) Once(what string, refuse func(what string) error) {
	g.mu.Lock()
	again := g.told[what] || len(g.told) >= maxTold
	g.told[what] = g.told[what] || !again
	g.mu.Unlock()
	if !again {
		_ = refuse(what) // for its count
	}
}

// maxTold bounds what Once remembers.
const maxTold = 10_000

func (g *Guard) refuse(host, want string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.blocked++
	if len(g.hosts) < maxBlockedHosts && !slices.Contains(g.hosts, host) {
		g.hosts = append(g.hosts, host)
	}
	return &runs.BlockedError{Host: host, Want: want}
}

// Refused says what was refused so far: how often, and the first few hosts.
func (g *Guard) Refused() (count int, hosts []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.blocked, slices.Clone(g.hosts)
}
