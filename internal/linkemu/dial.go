package linkemu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httptrace"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/shortage"
)

// DialContext connects across the network ("tcp" to host:port; "tcp4" and "tcp6" to addresses of one family only), as net.Dialer's method
// of that name does, and calls the DNS and connect hooks of the httptrace.ClientTrace in ctx. Errors are a *runs.BlockedError, a
// *net.DNSError, which that no address is of the family is too, or a *net.OpError around an errno.
func (n *Network) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if network != "tcp" && network != "tcp4" && network != "tcp6" {
		return nil, &net.OpError{Op: "dial", Net: network, Err: net.UnknownNetworkError(network)}
	}
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, &net.AddrError{Err: "invalid port", Addr: address}
	}
	c, err := n.connect(ctx, network, host, uint16(port))
	if err != nil {
		return nil, err
	}
	return c, nil
}

// conn is a connection of a run: it knows the real address of its other end.
type conn struct {
	pathConn
	local  net.Addr
	remote netip.AddrPort
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

// connect looks a host up and connects to one of its addresses, and keeps record of it.
func (n *Network) connect(ctx context.Context, network, host string, port uint16) (*conn, error) {
	record := &runs.Connection{Network: "tcp", Host: host, Port: port, Start: time.Now()}
	n.begin(record)
	c, err := n.attempt(ctx, network, record)
	if err != nil && !errors.Is(err, context.Canceled) {
		n.note(func() { record.Failure = causeOf(err) })
	}
	return c, err
}

func (n *Network) attempt(ctx context.Context, network string, record *runs.Connection) (*conn, error) {
	addresses, err := n.addresses(ctx, record.Host, record)
	if err == nil {
		addresses, err = ofFamily(network, record.Host, addresses)
	}
	if err != nil {
		return nil, err
	}
	n.note(func() { record.ConnectStart = time.Now() })
	return n.race(ctx, addresses, record)
}

// ofFamily returns the addresses of a host that a network such as "tcp4" may use.
func ofFamily(network, host string, all []netip.Addr) ([]netip.Addr, error) {
	if network == "tcp" {
		return all, nil
	}
	family := network[len(network)-1:]
	some := slices.DeleteFunc(slices.Clone(all), func(a netip.Addr) bool { return a.Unmap().Is4() != (family == "4") })
	if len(some) == 0 {
		return nil, &net.DNSError{Name: host, Err: "no IPv" + family + " address", IsNotFound: true}
	}
	return some, nil
}

// nextAddress is how long an address has before the next one is tried beside it (RFC 8305, section 8).
const nextAddress = 250 * time.Millisecond

// race dials addresses, each when the one before has failed or taken its time, and returns the first connection.
func (n *Network) race(ctx context.Context, addresses []netip.Addr, record *runs.Connection) (*conn, error) {
	if len(addresses) == 1 {
		return n.dial(ctx, addresses[0], record)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		conn *conn
		err  error
	}
	results, failed := make(chan result, 2), make(chan struct{})
	go func() {
		c, err := n.dial(ctx, addresses[0], record)
		if err != nil {
			close(failed)
		}
		results <- result{c, err}
	}()
	go func() {
		select {
		case <-failed:
		case <-time.After(nextAddress):
		case <-ctx.Done():
		}
		c, err := n.race(ctx, addresses[1:], record)
		results <- result{c, err}
	}()
	first := <-results
	if first.err == nil {
		cancel() // which ends the other at once
	}
	second := <-results
	switch {
	case first.err != nil && second.err != nil:
		return nil, first.err
	case first.err != nil:
		return second.conn, nil
	case second.err == nil:
		second.conn.Abort()
	}
	return first.conn, nil
}

// dial tries one address.
func (n *Network) dial(ctx context.Context, a netip.Addr, record *runs.Connection) (*conn, error) {
	remote := netip.AddrPortFrom(a, record.Port)
	trace := httptrace.ContextClientTrace(ctx)
	if trace != nil && trace.ConnectStart != nil {
		trace.ConnectStart("tcp", remote.String())
	}
	c, local, upstream, err := n.path.dial(untraced{ctx}, remote)
	if trace != nil && trace.ConnectDone != nil {
		trace.ConnectDone("tcp", remote.String(), err)
	}
	n.note(func() {
		if err == nil || !record.Remote.IsValid() {
			record.Remote, record.Upstream, record.ConnectEnd = remote, upstream, time.Now()
		}
	})
	if err != nil {
		return nil, err
	}
	return &conn{pathConn: c, local: local, remote: remote}, nil
}

// untraced hides the httptrace.ClientTrace, which the kernel's dialer would call as well.
type untraced struct{ context.Context }

// Value implements context.Context.
func (untraced) Value(any) any { return nil }

// LookupNetIP returns the addresses of a host that the run may reach. It calls the DNS hooks of the httptrace.ClientTrace in ctx, unless
// the answer is there already.
func (n *Network) LookupNetIP(ctx context.Context, host string) ([]netip.Addr, error) {
	return n.addresses(ctx, host, &runs.Connection{})
}

// addresses is LookupNetIP with a record of when DNS was asked.
func (n *Network) addresses(ctx context.Context, host string, record *runs.Connection) ([]netip.Addr, error) {
	if err := n.guard.Host(host); err != nil {
		return nil, err
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return n.guard.Addresses(host, []netip.Addr{a})
	}
	if known, ok := n.names.known(host); ok {
		return known.addresses, known.err
	}
	trace := httptrace.ContextClientTrace(ctx)
	if trace != nil && trace.DNSStart != nil {
		trace.DNSStart(httptrace.DNSStartInfo{Host: host})
	}
	n.note(func() { record.DNSStart = time.Now() })
	found, err := n.names.find(ctx, host)
	n.note(func() { record.DNSEnd = time.Now() })
	if trace != nil && trace.DNSDone != nil {
		info := httptrace.DNSDoneInfo{Err: err}
		for _, a := range found {
			info.Addrs = append(info.Addrs, net.IPAddr{IP: a.AsSlice(), Zone: a.Zone()})
		}
		trace.DNSDone(info)
	}
	return found, err
}

// names remembers what DNS has said: a run asks once for each name, however many connections it opens at once.
type names struct {
	network *Network

	mu  sync.Mutex
	all map[string]*name
}

// name is the answer for one name; valid once done is closed.
type name struct {
	done      chan struct{}
	addresses []netip.Addr
	err       error
}

// known returns an answer that is there.
func (n *names) known(host string) (*name, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	found := n.all[host]
	if found == nil {
		return nil, false
	}
	select {
	case <-found.done:
		return found, true
	default:
		return nil, false
	}
}

// Forget makes the next look-up of a host ask DNS, although the run knows the answer.
func (n *Network) Forget(host string) {
	if _, ok := n.names.known(host); ok {
		n.names.mu.Lock()
		defer n.names.mu.Unlock()
		delete(n.names.all, host)
	}
}

// find asks DNS, or waits for the answer that another has asked for. What one caller gives up on, the others still get.
func (n *names) find(ctx context.Context, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	found := n.all[host]
	if found == nil {
		found = &name{done: make(chan struct{})}
		ask, cancel := context.WithTimeout(n.network.ctx, lookupLimit)
		task := func() {
			defer cancel()
			n.ask(ask, host, found)
		}
		if !n.network.relay.Go(task, cancel) {
			cancel()
			n.mu.Unlock()
			return nil, net.ErrClosed
		}
		if n.all == nil {
			n.all = map[string]*name{}
		}
		n.all[host] = found
	}
	n.mu.Unlock()
	select {
	case <-found.done:
		return found.addresses, found.err
	case <-ctx.Done():
		return nil, &net.DNSError{Name: host, Err: "no answer in time", IsTimeout: true, UnwrapErr: ctx.Err()}
	}
}

// lookupLimit bounds a look-up: resolvers give up after some such time.
const lookupLimit = 20 * time.Second

func (n *names) ask(ctx context.Context, host string, into *name) {
	defer close(into.done)
	all, err := n.network.path.lookup(ctx, host)
	if err == nil && len(all) == 0 {
		err = &net.DNSError{Name: host, Err: "no address", IsNotFound: true}
	}
	if err == nil {
		all, err = n.network.guard.Addresses(host, all)
	}
	into.addresses, into.err = all, err
	if err != nil { // may be better next time
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.all, host)
	}
}

// ListenPacket opens a datagram socket of the device for packets to remote and back. Addresses are the real ones.
func (n *Network) ListenPacket(_ context.Context, remote netip.AddrPort) (net.PacketConn, error) {
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	if err := n.guard.Connect(remote.Addr()); err != nil {
		return nil, err
	}
	return n.path.listen(remote)
}

// causeOf says why there is no connection.
func causeOf(err error) *runs.Cause {
	var timeout net.Error
	class := runs.ClassConnect
	if shortage.Is(err) {
		class = runs.ClassProbe // not the target's fault
	} else if _, ok := errors.AsType[*runs.BlockedError](err); ok {
		class = runs.ClassBlockedHost
	} else if lookup, ok := errors.AsType[*net.DNSError](err); ok {
		return &runs.Cause{Class: runs.ClassDNS, Detail: fmt.Sprintf("look up %s: %s", lookup.Name, lookup.Err)}
	} else if errors.As(err, &timeout) && timeout.Timeout() {
		class = runs.ClassTimeout
	}
	return &runs.Cause{Class: class, Detail: err.Error()}
}
