package linkemu

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"lastmile/internal/linkemu/linktest"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
)

// A page over a fresh connection costs four round trips: DNS, TCP, TLS 1.3 and the request. None of them may be faster than the link.
func TestSetUpCostsFourRoundTrips(t *testing.T) {
	const rtt = 300 * time.Millisecond
	z := &zone{hosts: map[string]string{"example.com": "127.0.0.1"}}
	n := open(t, far(rtt), Options{resolver: z.resolver(t)}, "example.com")
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	transport := &http.Transport{DialContext: n.DialContext, TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()

	var dns, connect, handshake, wait [2]time.Time
	now := func(at *time.Time) { *at = time.Now() }
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		DNSStart:             func(httptrace.DNSStartInfo) { now(&dns[0]) },
		DNSDone:              func(httptrace.DNSDoneInfo) { now(&dns[1]) },
		ConnectStart:         func(string, string) { now(&connect[0]) },
		ConnectDone:          func(string, string, error) { now(&connect[1]) },
		TLSHandshakeStart:    func() { now(&handshake[0]) },
		TLSHandshakeDone:     func(tls.ConnectionState, error) { now(&handshake[1]) },
		WroteRequest:         func(httptrace.WroteRequestInfo) { now(&wait[0]) },
		GotFirstResponseByte: func() { now(&wait[1]) },
	})
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://example.com:"+port, nil)
	if err != nil {
		t.Fatal(err)
	}
	watch := linktest.Start(t)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	watch.Within("all", 4*rtt)
	for what, span := range map[string][2]time.Time{"dns": dns, "connect": connect, "tls": handshake, "wait": wait} {
		watch.Holds(what, span[1].Sub(span[0]), rtt)
	}

	records := n.Connections()
	if len(records) != 1 {
		t.Fatalf("got %d records of connections, want 1", len(records))
	}
	r := records[0]
	if r.Host != "example.com" || r.Remote.String() != server.Listener.Addr().String() || r.Failure != nil {
		t.Errorf("got record %+v, want one of example.com at %s", r, server.Listener.Addr())
	}
	watch.Holds("record of dns", r.DNSEnd.Sub(r.DNSStart), rtt)
	watch.Holds("record of connect", r.ConnectEnd.Sub(r.ConnectStart), rtt)
	if r.Upstream <= 0 || r.Upstream > 100*time.Millisecond {
		t.Errorf("got %v beyond the link, want a little: the server is on this machine", r.Upstream)
	}
}

// Six connections at once, as a browser opens them, ask DNS once; a later one not at all.
func TestOneLookUpForEachName(t *testing.T) {
	z := &zone{hosts: map[string]string{"example.com": "127.0.0.1"}, delay: 50 * time.Millisecond}
	for _, p := range []netprofile.Profile{far(20 * time.Millisecond), preset(t, "none")} {
		z.queries.Store(0)
		n := open(t, p, Options{resolver: z.resolver(t)})
		address := serve(t, echo)
		dial := func() {
			c, err := n.DialContext(t.Context(), "tcp", netip.AddrPortFrom(address.Addr(), address.Port()).String())
			if err == nil {
				_ = c.Close()
			}
			c, err = n.DialContext(t.Context(), "tcp", net.JoinHostPort("example.com", address.String()[len("127.0.0.1:"):]))
			if err != nil {
				t.Error(err)
				return
			}
			_ = c.Close()
		}
		var all sync.WaitGroup
		for range 6 {
			all.Go(dial)
		}
		all.Wait()
		dial()
		if p.Name == "none" && z.queries.Load() != 1 || z.queries.Load() < 1 || z.queries.Load() > 2 { // for A and for AAAA the gateway asks both
			t.Errorf("%s: got %d look-ups, want one", p.Name, z.queries.Load())
		}
		if got := len(n.Connections()); got != 14 {
			t.Errorf("%s: got %d records of connections, want 14", p.Name, got)
		}
	}
}

// Whatever the link loses, TCP brings the bytes across, in order, and the report counts what that took.
func TestBytesArriveWholeOverALossyLink(t *testing.T) {
	p := far(20 * time.Millisecond)
	p.Loss, p.Jitter, p.Reorder = 0.05, 2*time.Millisecond, 0.01
	n := open(t, p, Options{Seed: 5})
	c, err := n.DialContext(t.Context(), "tcp", serve(t, echo).String())
	if err != nil {
		t.Fatal(err)
	}
	sent := make([]byte, 300_000)
	for i := range sent {
		sent[i] = byte(rand.Uint32())
	}
	var writing sync.WaitGroup
	writing.Go(func() {
		if _, err := c.Write(sent); err != nil {
			t.Error(err)
		}
		_ = c.(interface{ CloseWrite() error }).CloseWrite()
	})
	got, err := io.ReadAll(c)
	writing.Wait()
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("got %d bytes back and %v, want the %d that were sent", len(got), err, len(sent))
	}
	_ = c.Close()
	link := n.Close()
	if link.Retransmits == 0 || link.Up.DroppedLoss == 0 || link.Down.DroppedLoss == 0 {
		t.Errorf("got %d retransmits, up %+v, down %+v; want losses both ways, and what made up for them", link.Retransmits, link.Up, link.Down)
	}
	for _, d := range []*runs.LinkTraffic{link.Up, link.Down} {
		if d.Sent != d.Delivered+d.DroppedLoss+d.DroppedQueue+d.UnderWay {
			t.Errorf("%+v does not add up", d)
		}
	}
}

// No byte comes faster than the link's rate lets it.
func TestGoodputIsTheLinks(t *testing.T) {
	p := far(40 * time.Millisecond)
	p.Down, p.Up = 8*netprofile.MbitPerSecond, 2*netprofile.MbitPerSecond
	n := open(t, p, Options{})
	const size = 500_000
	address := serve(t, func(c *net.TCPConn) {
		_, _ = io.Copy(io.Discard, c)
		_, _ = c.Write(make([]byte, size))
	})
	c, err := n.DialContext(t.Context(), "tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	// On the wire 1448 bytes of content take 1514: 500 kB are 0.523 MB, at 2 Mbit/s 2.09 s, at 8 Mbit/s 0.52 s.
	watch := linktest.Start(t)
	if _, err := c.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	_ = c.(interface{ CloseWrite() error }).CloseWrite()
	first := make([]byte, 1)
	if _, err := io.ReadFull(c, first); err != nil {
		t.Fatal(err)
	}
	watch.Within("upload", 2090*time.Millisecond)
	watch = linktest.Start(t)
	if got, err := io.Copy(io.Discard, c); got != size-1 || err != nil {
		t.Fatalf("got %d bytes and %v, want %d", got, err, size-1)
	}
	watch.Within("download", 480*time.Millisecond) // what has come with the first byte is not counted
}

func TestRefusalsCrossTheLink(t *testing.T) {
	const rtt = 200 * time.Millisecond
	z := &zone{hosts: map[string]string{"broken.test": "fail", "example.com": "127.0.0.1"}}
	for _, name := range []string{"far", "none"} {
		p, floor := far(rtt), rtt
		if name == "none" {
			p, floor = preset(t, name), 0
		}
		n := open(t, p, Options{resolver: z.resolver(t)})
		unused, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		refusing := unused.Addr().String()
		_ = unused.Close()
		for _, tt := range []struct {
			address string
			class   runs.Class
			is      func(error) bool
		}{
			{refusing, runs.ClassConnect, func(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }},
			{"nowhere.test:80", runs.ClassDNS, func(err error) bool {
				lookup, ok := errors.AsType[*net.DNSError](err)
				return ok && lookup.IsNotFound
			}},
			{"broken.test:80", runs.ClassDNS, func(err error) bool {
				lookup, ok := errors.AsType[*net.DNSError](err)
				return ok && !lookup.IsNotFound
			}},
		} {
			began := time.Now()
			c, err := n.DialContext(t.Context(), "tcp", tt.address)
			took := time.Since(began)
			if err == nil {
				_ = c.Close()
			}
			if !tt.is(err) || took < floor {
				t.Errorf("%s: %s: got %v after %v, want the real error after a round trip at least", name, tt.address, err, took)
			}
			records := n.Connections()
			if last := records[len(records)-1]; classOf(last.Failure) != tt.class {
				t.Errorf("%s: %s: got record %+v, want a failure of class %s", name, tt.address, last, tt.class)
			}
		}
	}
}

// A target that does not answer, here because the link is longer than the patience, is a timeout for net.Error and for the record.
func TestSilenceIsATimeout(t *testing.T) {
	n := open(t, far(time.Second), Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := n.DialContext(ctx, "tcp", serve(t, echo).String())
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("got %v, want a timeout", err)
	}
	if got := n.Connections()[0]; classOf(got.Failure) != runs.ClassTimeout {
		t.Errorf("got record %+v, want a failure of class timeout", got)
	}
}

func TestResetsAndHalfClosesCrossTheLink(t *testing.T) {
	n := open(t, far(20*time.Millisecond), Options{})
	reset := serve(t, func(c *net.TCPConn) {
		_, _ = c.Read(make([]byte, 1))
		_ = c.SetLinger(0)
	})
	c, err := n.DialContext(t.Context(), "tcp", reset.String())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = c.Write([]byte("x"))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the target reset: got %v, want ECONNRESET", err)
	}
	_ = c.Close()

	aborted := make(chan error, 1)
	watching := serve(t, func(c *net.TCPConn) {
		_, err := io.Copy(io.Discard, c)
		aborted <- err
	})
	if c, err = n.DialContext(t.Context(), "tcp", watching.String()); err != nil {
		t.Fatal(err)
	}
	_, _ = c.Write([]byte("x"))
	c.(*conn).Abort()
	if err := <-aborted; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the device reset: the target got %v, want ECONNRESET", err)
	}
	_ = c.Close()

	answering := serve(t, func(c *net.TCPConn) {
		all, _ := io.ReadAll(c) // until the device has ended its half
		_, _ = c.Write(append(all, '!'))
	})
	if c, err = n.DialContext(t.Context(), "tcp", answering.String()); err != nil {
		t.Fatal(err)
	}
	_, _ = c.Write([]byte("hello"))
	_ = c.(interface{ CloseWrite() error }).CloseWrite()
	if got, err := io.ReadAll(c); string(got) != "hello!" || err != nil {
		t.Errorf("half-closed: got %q and %v, want hello! and the end", got, err)
	}
	_ = c.Close()
}

func TestDatagramsCrossTheLink(t *testing.T) {
	const rtt = 100 * time.Millisecond
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	go func() {
		b := make([]byte, 64<<10)
		for {
			n, from, err := server.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(b[:n], from)
		}
	}()
	remote := server.LocalAddr().(*net.UDPAddr).AddrPort()
	n := open(t, far(rtt), Options{})
	c, err := n.ListenPacket(t.Context(), remote)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	for _, size := range []int{1, 1472, 4000} { // the last has to be cut into fragments and put together again
		message := bytes.Repeat([]byte{'x'}, size)
		watch := linktest.Start(t)
		if _, err := c.WriteTo(message, net.UDPAddrFromAddrPort(remote)); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		b := make([]byte, 64<<10)
		got, from, err := c.ReadFrom(b)
		if err != nil || !bytes.Equal(b[:got], message) || from.String() != remote.String() {
			t.Errorf("%d bytes: got %d from %v and %v, want them back from %s", size, got, from, err, remote)
		}
		watch.Within("datagram", rtt)
	}
}

// A packet of the calibration exchange that comes when that is over is none of the run's attempts to reach what it may not.
func TestLateCalibrationIsNoAttempt(t *testing.T) {
	n := open(t, far(time.Millisecond), Options{})
	c, err := n.link.listen(calibration)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.WriteTo([]byte("late"), net.UDPAddrFromAddrPort(calibration)); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if _, _, err := c.ReadFrom(make([]byte, 10)); err == nil {
		t.Error("got an answer, want none")
	}
	_ = c.Close()
	if link := n.Close(); link.Blocked != 0 {
		t.Errorf("got %d attempts blocked (%q), want none", link.Blocked, link.BlockedHosts)
	}
}

// Neither a host that the scenario does not list nor an address that is not public is reached, by whichever way, and all is counted.
func TestBlockedAttempts(t *testing.T) {
	z := &zone{hosts: map[string]string{"inside.test": "127.0.0.1", "listed.test": "192.168.7.7", "other.test": "127.0.0.1"}}
	reached := make(chan struct{}, 10)
	address := serve(t, func(*net.TCPConn) { reached <- struct{}{} })
	for _, p := range []netprofile.Profile{far(5 * time.Millisecond), preset(t, "none")} {
		o := Options{resolver: z.resolver(t), AllowNets: prefixes("10.0.0.0/8")}
		n := open(t, p, o, "inside.test", "listed.test", "127.0.0.1")
		for _, host := range []string{"inside.test", "listed.test", "other.test", "127.0.0.1", "169.254.169.254"} {
			target := net.JoinHostPort(host, address.String()[len("127.0.0.1:"):])
			c, err := n.DialContext(t.Context(), "tcp", target)
			if _, ok := errors.AsType[*runs.BlockedError](err); !ok {
				t.Errorf("%s: %s: got %v and %v, want a BlockedError", p.Name, host, c, err)
			}
		}
		if _, err := n.ListenPacket(t.Context(), address); err == nil {
			t.Errorf("%s: got a datagram socket to a loopback address, want a BlockedError", p.Name)
		}
		// The browser's way in.
		if c, err := socksDial(proxy(t, n), "other.test", address.Port()); err == nil {
			_ = c.Close()
			t.Errorf("%s: the proxy connected to a host that is not listed", p.Name)
		}
		link := n.Close()
		if link.Blocked != 7 || len(link.BlockedHosts) == 0 {
			t.Errorf("%s: got %d attempts blocked, %q; want 7", p.Name, link.Blocked, link.BlockedHosts)
		}
		for _, c := range n.Connections() {
			if classOf(c.Failure) != runs.ClassBlockedHost {
				t.Errorf("%s: got record %+v, want class blocked_host", p.Name, c)
			}
		}
	}
	select {
	case <-reached:
		t.Error("the target was reached")
	default:
	}
}

// The gateway itself refuses what comes over the link: a device that does not ask first, as a browser in a namespace, gets no further.
func TestGatewayEnforces(t *testing.T) {
	address := serve(t, func(*net.TCPConn) { t.Error("the target was reached") })
	n := open(t, far(5*time.Millisecond), Options{AllowNets: prefixes("10.0.0.0/8")})
	onWire := netip.AddrPortFrom(onLink(address.Addr()), address.Port())
	if _, err := n.link.device.DialTCP(t.Context(), onWire, func(netip.AddrPort) {}); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("past the guard at the device: got %v, want a refusal by the gateway", err)
	}
	c, err := n.link.listen(address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(address)); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if _, _, err := c.ReadFrom(make([]byte, 10)); err == nil {
		t.Error("a datagram to a blocked address was answered")
	}
	_ = c.Close()
	if link := n.Close(); link.Blocked != 2 {
		t.Errorf("got %d attempts blocked, want 2", link.Blocked)
	}
}

// A dial may be of one family of addresses only, and a name that was looked up is asked for again once it is forgotten.
func TestFamiliesAndForgottenNames(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	z := &zone{hosts: map[string]string{"example.com": "127.0.0.1"}}
	for _, profile := range []netprofile.Profile{{Name: netprofile.None}, far(10 * time.Millisecond)} {
		z.queries.Store(0)
		n := open(t, profile, Options{resolver: z.resolver(t)}, "example.com")
		_, port, _ := net.SplitHostPort(listener.Addr().String())
		dial := func(network string) error {
			c, err := n.DialContext(t.Context(), network, "example.com:"+port)
			if err == nil {
				_ = c.Close()
			}
			return err
		}
		for _, network := range []string{"tcp", "tcp4"} {
			if err := dial(network); err != nil {
				t.Errorf("%s: got %v, want a connection", network, err)
			}
		}
		var lookup *net.DNSError
		if err := dial("tcp6"); !errors.As(err, &lookup) || lookup.Err != "no IPv6 address" || lookup.Name != "example.com" {
			t.Errorf("got %v, want that there is no address of the family", err)
		}
		records := n.Connections()
		if last := records[len(records)-1]; last.Failure == nil || last.Failure.Class != runs.ClassDNS || last.Remote.IsValid() {
			t.Errorf("got record %+v, want a failure of DNS and no dial", last)
		}
		if err := dial("udp"); err == nil {
			t.Error("got a connection of udp, want an error")
		}
		asked := z.queries.Load()
		if profile.Name == netprofile.None && asked != 1 || asked < 1 || asked > 2 { // for A and for AAAA the gateway asks both
			t.Errorf("got %d questions, want one for all dials", asked)
		}
		n.Forget("example.com")
		n.Forget("other.example")
		if err := dial("tcp4"); err != nil || z.queries.Load() <= asked {
			t.Errorf("got %v and %d questions, want more than the %d before", err, z.queries.Load(), asked)
		}
	}
}
