package linkemu

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
)

// TestMain lets the test binary be the inner half of a browser's start in a namespace, and what is started there.
func TestMain(m *testing.M) {
	Child(os.Args)
	if len(os.Args) > 1 && os.Args[1] == insideCommand {
		os.Exit(visit(os.Args[2:]))
	}
	os.Exit(m.Run())
}

func preset(t testing.TB, name string) netprofile.Profile {
	t.Helper()
	p, ok := netprofile.Lookup(name)
	if !ok {
		t.Fatalf("no preset %s", name)
	}
	return p
}

// far is a link of which only the round trip is felt. It is so long that a busy machine does not drown it.
func far(rtt time.Duration) netprofile.Profile {
	return netprofile.Profile{
		Name: "far", Version: "v1", Down: 100 * netprofile.MbitPerSecond, Up: 100 * netprofile.MbitPerSecond, RTT: rtt, Queue: 1000, MTU: 1500,
	}
}

// open opens a network whose runs may reach this machine.
func open(t testing.TB, p netprofile.Profile, o Options, hosts ...string) *Network {
	t.Helper()
	if o.AllowNets == nil {
		o.AllowNets = prefixes("127.0.0.0/8", "::1/128")
	}
	var allow func(string) bool
	if len(hosts) > 0 {
		allow = func(host string) bool { return strings.Contains(" "+strings.Join(hosts, " ")+" ", " "+host+" ") }
	}
	n, err := New(discard(), o).Open(t.Context(), p, allow)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// serve runs a TCP server on this machine, hands each connection to handle, and returns its address. At the end of the test it waits
// for all of them.
func serve(t testing.TB, handle func(*net.TCPConn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var tasks sync.WaitGroup
	tasks.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			tasks.Go(func() {
				defer func() { _ = c.Close() }()
				handle(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		tasks.Wait()
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func echo(c *net.TCPConn) { _, _ = io.Copy(c, c) }

// zone is a name server for tests.
type zone struct {
	queries atomic.Int64
	asked   seen // names
	delay   time.Duration
	hosts   map[string]string // name -> address; "fail" = the server fails
}

// resolver returns a resolver that asks the zone only.
func (z *zone) resolver(t testing.TB) *net.Resolver {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 4096)
		for {
			n, from, err := socket.ReadFrom(b)
			if err != nil {
				return
			}
			time.Sleep(z.delay)
			if answer := z.answer(b[:n]); answer != nil {
				_, _ = socket.WriteTo(answer, from)
			}
		}
	}()
	t.Cleanup(func() {
		_ = socket.Close()
		<-done
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", socket.LocalAddr().String())
	}}
}

func (z *zone) answer(query []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	host := strings.TrimSuffix(q.Name.String(), ".")
	if q.Type == dnsmessage.TypeA {
		z.queries.Add(1)
		z.asked.add(host)
	}
	m.Header = dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true}
	m.Additionals = nil
	address, known := z.hosts[host]
	switch a, err := netip.ParseAddr(address); {
	case !known:
		m.RCode = dnsmessage.RCodeNameError
	case err != nil:
		m.RCode = dnsmessage.RCodeServerFailure
	case a.Is4() && q.Type == dnsmessage.TypeA:
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 60}, Body: &dnsmessage.AResource{A: a.As4()},
		}}
	}
	answer, err := m.Pack()
	if err != nil {
		return nil
	}
	return answer
}

// seen notes what comes to a server, from several connections at once.
type seen struct {
	mu  sync.Mutex
	all map[string]int
}

func (s *seen) add(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[string]int{}
	}
	s.all[what]++
}

// list returns what has come so far, each once, in order.
func (s *seen) list() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.all))
}

// within reports a duration that is shorter than it can be, or so much longer that no busy machine explains it.
func classOf(c *runs.Cause) runs.Class {
	if c == nil {
		return ""
	}
	return c.Class
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}
