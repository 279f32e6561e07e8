package linkemu

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"lastmile/internal/linkemu/socks"
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

func TestProxyCarriesOverTheLink(t *testing.T) {
	const rtt = 200 * time.Millisecond
	n := open(t, far(rtt), Options{})
	target := serve(t, echo)
	began := time.Now()
	c, err := socksDial(n.Proxy(), "127.0.0.1", target.Port())
	if err != nil {
		t.Fatal(err)
	}
	within(t, "connect", time.Since(began), rtt)
	began = time.Now()
	_, _ = c.Write([]byte("hello"))
	_ = c.CloseWrite()
	if got, err := io.ReadAll(c); string(got) != "hello" || err != nil {
		t.Errorf("got %q and %v, want hello and the end", got, err)
	}
	within(t, "round trip", time.Since(began), rtt)
	_ = c.Close()
	if link := n.Close(); link.Mode != "proxy" {
		t.Errorf("got mode %s, want proxy", link.Mode)
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
		if _, err := socksDial(n.Proxy(), host, port); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", host, err, want)
		}
	}
}

// A client that says nothing, or something else, is let go, and Close waits for nobody.
func TestProxyOutlivesBadClients(t *testing.T) {
	n := open(t, preset(t, "none"), Options{})
	for _, greeting := range []string{"", "GET / HTTP/1.1\r\n\r\n", "\x05\x01\x02", "\x05\x01\x00\x05\x02\x00\x01", "\x05\x00"} {
		c, err := net.Dial("tcp", n.Proxy())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_, _ = io.WriteString(c, greeting)
	}
	target := serve(t, echo)
	c, err := socksDial(n.Proxy(), "127.0.0.1", target.Port())
	if err != nil {
		t.Fatalf("after bad clients: %v", err)
	}
	defer func() { _ = c.Close() }()
	began := time.Now()
	n.Close()
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("Close took %v with clients that say nothing", took)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a client's connection outlived its network")
	}
}
