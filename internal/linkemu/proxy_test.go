package linkemu

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"lastmile/internal/linkemu/linktest"
	"lastmile/internal/linkemu/socks"
	"lastmile/internal/runs"
)

// socksDial is a client of the proxy, as a browser is one.
func socksDial(proxy, host string, port uint16) (*net.TCPConn, error) {
	conn, err := net.Dial("tcp", proxy)
	if err != nil {
		return nil, err
	}
	c := conn.(*net.TCPConn)
	request := append([]byte{5, 1, 0, 5, 1, 0, 3, byte(len(host))}, host...)
	if _, err := c.Write(binary.BigEndian.AppendUint16(request, port)); err != nil {
		return nil, err
	}
	var reply [12]byte // of the greeting, then of the request
	if _, err := io.ReadFull(c, reply[:]); err != nil {
		return nil, err
	}
	if reply[3] != byte(socks.OK) {
		_ = c.Close()
		return nil, fmt.Errorf("socks reply %d", reply[3])
	}
	return c, nil
}

// proxy opens the proxy of a network, if need be.
func proxy(t testing.TB, n *Network) string {
	t.Helper()
	if n.Proxy() == "" {
		if err := n.ServeBrowser(); err != nil {
			t.Error(err)
		}
	}
	return n.Proxy()
}

func TestProxyCarriesOverTheLink(t *testing.T) {
	const rtt = 200 * time.Millisecond
	n := open(t, far(rtt), Options{})
	target := serve(t, echo)
	watch := linktest.Start(t)
	c, err := socksDial(proxy(t, n), "127.0.0.1", target.Port())
	if err != nil {
		t.Fatal(err)
	}
	watch.Within("connect", rtt)
	watch = linktest.Start(t)
	_, _ = c.Write([]byte("hello"))
	_ = c.CloseWrite()
	if got, err := io.ReadAll(c); string(got) != "hello" || err != nil {
		t.Errorf("got %q and %v, want hello and the end", got, err)
	}
	watch.Within("round trip", rtt)
	_ = c.Close()
	if link := n.Close(); link.Mode != "proxy" {
		t.Errorf("got mode %s, want proxy", link.Mode)
	}
}

// A browser that was started without its proxy would go past the network, and be fast.
func TestNoBrowserWithoutItsProxy(t *testing.T) {
	for _, name := range []string{"lte", "none"} {
		n := open(t, preset(t, name), Options{})
		if err := n.Start(exec.Command(os.Args[0], "-test.run=^$")); err == nil {
			t.Errorf("%s: started a command past the network", name)
		}
		if err := n.ServeBrowser(); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		if err := n.Start(cmd); err != nil {
			t.Errorf("%s: with a proxy: %v", name, err)
		} else if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}

func TestProxySaysWhy(t *testing.T) {
	z := &zone{hosts: map[string]string{}}
	n := open(t, preset(t, "none"), Options{resolver: z.resolver(t)})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	_ = l.Close()
	for host, want := range map[string]string{"127.0.0.1": "socks reply 5", "nowhere.test": "socks reply 4", "192.168.1.1": "socks reply 2"} {
		if _, err := socksDial(proxy(t, n), host, port); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", host, err, want)
		}
	}
}

// A client that says nothing, or something else, is let go, and Close waits for nobody.
func TestProxyOutlivesBadClients(t *testing.T) {
	n := open(t, preset(t, "none"), Options{})
	for _, greeting := range []string{"", "GET / HTTP/1.1\r\n\r\n", "\x05\x01\x02", "\x05\x01\x00\x05\x02\x00\x01", "\x05\x00"} {
		c, err := net.Dial("tcp", proxy(t, n))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_, _ = io.WriteString(c, greeting)
	}
	target := serve(t, echo)
	c, err := socksDial(proxy(t, n), "127.0.0.1", target.Port())
	if err != nil {
		t.Fatalf("after bad clients: %v", err)
	}
	defer func() { _ = c.Close() }()
	began := time.Now()
	n.Close()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("Close took %v with clients that say nothing", took)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a client's connection outlived its network")
	}
}

// A page that asks and goes away again, hundreds of times, leaves nothing behind: neither while the link still connects nor at a target
// that never says anything.
func TestClientsThatLeaveAreForgotten(t *testing.T) {
	silent := serve(t, func(c *net.TCPConn) { _, _ = c.Read(make([]byte, 1)) })
	n := open(t, far(200*time.Millisecond), Options{})
	address := proxy(t, n)
	_, before, _ := resources(t)
	for range 100 {
		c, err := net.Dial("tcp", address) // asks, and leaves before the link has brought the answer
		if err != nil {
			t.Fatal(err)
		}
		request := []byte{5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1}
		_, _ = c.Write(binary.BigEndian.AppendUint16(request, silent.Port()))
		_, _ = io.ReadFull(c, make([]byte, 2))
		_ = c.Close()
	}
	began := time.Now()
	for {
		_, now, _ := resources(t)
		if now <= before+2 {
			break
		}
		if time.Since(began) > 10*time.Second {
			t.Fatalf("got %d descriptors %s after a hundred clients have left, want about the %d before", now, time.Since(began), before)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// A target that answers on none but its second address is reached through that, soon after the first has been given its time.
func TestTheSecondAddressIsTriedBesideTheFirst(t *testing.T) {
	target := serve(t, echo)
	dead := &slowPath{dead: netip.IPv6Loopback()}
	n := open(t, preset(t, "none"), Options{})
	dead.path, n.path = n.path, dead
	watch := linktest.Start(t)
	c, err := n.DialContext(t.Context(), "tcp", net.JoinHostPort("example.com", target.String()[len("127.0.0.1:"):]))
	if err != nil {
		t.Fatal(err)
	}
	watch.Within("connect", nextAddress)
	if c.RemoteAddr().String() != target.String() || n.Connections()[0].Remote != target {
		t.Errorf("got connected to %s, record %+v; want %s", c.RemoteAddr(), n.Connections()[0], target)
	}
	_ = c.Close()
}

// slowPath is a path on which one address does not answer.
type slowPath struct {
	path
	dead netip.Addr
}

func (s *slowPath) lookup(context.Context, string) ([]netip.Addr, error) {
	return []netip.Addr{s.dead, netip.MustParseAddr("127.0.0.1")}, nil
}

func (s *slowPath) dial(ctx context.Context, remote netip.AddrPort) (pathConn, net.Addr, time.Duration, error) {
	if remote.Addr() == s.dead {
		<-ctx.Done()
		return nil, nil, 0, ctx.Err()
	}
	return s.path.dial(ctx, remote)
}

// What this machine runs out of is our fault, and told as that; the proxy goes on once there is some again.
func TestLackOfDescriptorsIsOurs(t *testing.T) {
	target := serve(t, echo)
	n := open(t, preset(t, "none"), Options{})
	address := proxy(t, n)
	waiting, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_ = waiting.Close()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 3
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	_, err = n.DialContext(t.Context(), "tcp", target.String())
	if back := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); back != nil {
		t.Fatal(back)
	}
	if err == nil {
		t.Fatal("dialled without a descriptor")
	}
	records := n.Connections()
	if last := records[len(records)-1]; classOf(last.Failure) != runs.ClassProbe {
		t.Errorf("got record %+v (%v), want class probe", last, err)
	}
	c, err := socksDial(address, "127.0.0.1", target.Port())
	if err != nil {
		t.Fatalf("with descriptors again: %v", err)
	}
	_ = c.Close()
}
