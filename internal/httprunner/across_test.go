package httprunner_test

import (
	"context"
	"errors"
	"net"
	"net/http/httptrace"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"lastmile/internal/httprunner"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// broken is an access network that fails in one way. It calls the hooks as an emulated one does.
type broken struct {
	lookup error // of DNS
	dial   error // of connecting
	read   error // of the first read of a connection; of packets, too
}

func (b broken) LookupNetIP(ctx context.Context, host string) ([]netip.Addr, error) {
	trace := httptrace.ContextClientTrace(ctx)
	trace.DNSStart(httptrace.DNSStartInfo{Host: host})
	trace.DNSDone(httptrace.DNSDoneInfo{Err: b.lookup})
	return []netip.Addr{netip.MustParseAddr("198.18.0.1")}, b.lookup
}

func (broken) Forget(string) {}

func (b broken) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if _, err := b.LookupNetIP(ctx, address); err != nil {
		return nil, err
	}
	trace := httptrace.ContextClientTrace(ctx)
	trace.ConnectStart(network, address)
	trace.ConnectDone(network, address, b.dial)
	if b.dial != nil {
		return nil, b.dial
	}
	near, far := net.Pipe()
	go func() { // ends when the session closes the near end
		defer far.Close()
		for buf := make([]byte, 1024); ; {
			if _, err := far.Read(buf); err != nil {
				return
			}
		}
	}()
	return brokenConn{near, b.read}, nil
}

func (b broken) ListenPacket(context.Context, netip.AddrPort) (net.PacketConn, error) {
	if b.dial != nil {
		return nil, b.dial
	}
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	return brokenPackets{packets, b.read}, err
}

type brokenConn struct {
	net.Conn
	err error
}

func (c brokenConn) Read([]byte) (int, error) { return 0, c.err }

type brokenPackets struct {
	net.PacketConn
	err error
}

func (p brokenPackets) ReadFrom([]byte) (int, net.Addr, error)    { return 0, nil, p.err }
func (p brokenPackets) WriteTo(b []byte, _ net.Addr) (int, error) { return len(b), nil }

// TestNetworkErrors shows what a step says of the errors of its access network, over TCP and over QUIC.
func TestNetworkErrors(t *testing.T) {
	op := func(name string, err error) error {
		return &net.OpError{Op: name, Net: "tcp", Err: os.NewSyscallError(name, err)}
	}
	blocked := &runs.BlockedError{Host: "metadata.example.com", Want: "no private address"}
	const asIs = `^host: got metadata.example.com, want no private address$`
	for _, test := range []struct {
		name    string
		network broken
		class   runs.Class // of probe where it is a fault
		detail  string
	}{
		{"blocked at the look-up", broken{lookup: blocked}, runs.ClassBlockedHost, asIs},
		{"blocked at the dial", broken{dial: blocked}, runs.ClassBlockedHost, asIs},
		{"no such host", broken{lookup: &net.DNSError{Err: "no such host", Name: "shop.example.com", IsNotFound: true}}, runs.ClassDNS, `^look up shop.example.com: no such host$`},
		{"silent resolver", broken{lookup: &net.DNSError{Err: "i/o timeout", Name: "shop.example.com", IsTimeout: true}}, runs.ClassDNS, `^look up shop.example.com: i/o timeout$`},
		{"refused", broken{dial: op("connect", syscall.ECONNREFUSED)}, runs.ClassConnect, `connection refused$`},
		{"unreachable", broken{dial: op("connect", syscall.EHOSTUNREACH)}, runs.ClassConnect, `no route to host$`},
		{"no answer", broken{dial: op("connect", syscall.ETIMEDOUT)}, runs.ClassTimeout, `^timed out after \S+ connecting$`},
		{"no port left", broken{dial: op("connect", syscall.EADDRNOTAVAIL)}, runs.ClassProbe, `cannot assign requested address`},
		{"no socket left", broken{dial: op("socket", syscall.EMFILE)}, runs.ClassProbe, `too many open files`},
		{"reset", broken{read: op("read", syscall.ECONNRESET)}, runs.ClassConnect, `connection reset`},
		{"unreachable later", broken{read: op("read", syscall.EHOSTUNREACH)}, runs.ClassConnect, `no route to host$`},
		{"given up later", broken{read: op("read", syscall.ETIMEDOUT)}, runs.ClassTimeout, `^timed out after`},
	} {
		ways := []scenario.Step{{URL: "http://shop.example.com/"}, overHTTP3("https://shop.example.com/", scenario.Step{})}
		if errors.Is(test.network.read, syscall.ETIMEDOUT) {
			ways = ways[:1] // a datagram socket never gives up
		}
		for _, way := range ways {
			t.Run(strings.TrimSpace(test.name+" "+string(way.Protocol)), func(t *testing.T) {
				j := across(t, test.network, scenario.Scenario{}, httprunner.Options{})
				if test.class == runs.ClassProbe {
					_, err := j.Step(t.Context(), &way, j.scope)
					var fault *runs.Fault
					if !errors.As(err, &fault) || fault.Class != runs.ClassProbe || !strings.Contains(err.Error(), test.detail) {
						t.Errorf("got %v, want a fault of class probe: %s", err, test.detail)
					}
					return
				}
				wantCause(t, j.step(t, way), test.class, test.detail)
			})
		}
	}
}
