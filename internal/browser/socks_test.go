package browser

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"lastmile/internal/runs"
)

// socks is an access network in small: a SOCKS5 proxy to which every name is this machine, with the delays and failures asked for.
// No other resolver knows the names that tests use.
type socks struct {
	listener     net.Listener
	dns, connect time.Duration         // how long each takes
	failures     map[string]runs.Cause // by host
	tasks        sync.WaitGroup

	mu      sync.Mutex
	records []runs.Connection
	open    []net.Conn
}

func newSocks(t testing.TB) *socks {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &socks{listener: listener, failures: map[string]runs.Cause{}}
	s.tasks.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.keep(conn)
			s.tasks.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(s.close)
	return s
}

// close ends the proxy and all that goes through it.
func (s *socks) close() {
	_ = s.listener.Close() // may be closed already
	s.mu.Lock()
	for _, conn := range s.open {
		_ = conn.Close() // may be closed already
	}
	s.mu.Unlock()
	s.tasks.Wait()
}

func (s *socks) keep(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = append(s.open, conn)
}

func (s *socks) Proxy() string             { return s.listener.Addr().String() }
func (s *socks) HostRules() []string       { return nil }
func (s *socks) Start(cmd *exec.Cmd) error { return cmd.Start() }

func (s *socks) Connections() []runs.Connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.records)
}

// asked lists the hosts that the proxy was asked for.
func (s *socks) asked() (hosts []string) {
	for _, c := range s.Connections() {
		hosts = append(hosts, c.Host)
	}
	return hosts
}

// serve speaks RFC 1928 with one client: no authentication, CONNECT only.
func (s *socks) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	host, port, err := request(client)
	if err != nil {
		return
	}
	s.mu.Lock()
	i := len(s.records)
	s.records = append(s.records, runs.Connection{Network: "tcp", Host: host, Port: port, Start: time.Now()})
	s.mu.Unlock()
	upstream, record := s.dial(host, port)
	s.mu.Lock()
	s.records[i] = record
	s.mu.Unlock()
	if record.Failure != nil {
		_, _ = client.Write([]byte{5, 1, 0, 1, 0, 0, 0, 0, 0, 0}) // general failure
		return
	}
	s.keep(upstream)
	if _, err := client.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}); err != nil {
		return
	}
	s.tasks.Go(func() {
		_, _ = io.Copy(upstream, client)
		_ = upstream.Close()
	})
	_, _ = io.Copy(client, upstream)
}

// dial keeps a record of what it does, as an emulator would.
func (s *socks) dial(host string, port uint16) (net.Conn, runs.Connection) {
	c := runs.Connection{Network: "tcp", Host: host, Port: port, Start: time.Now()}
	failure, fails := s.failures[host]
	if fails && failure.Class == runs.ClassBlockedHost {
		c.Failure = &failure
		return nil, c
	}
	c.DNSStart = time.Now()
	time.Sleep(s.dns) // a delay of the network's
	c.DNSEnd = time.Now()
	c.ConnectStart = c.DNSEnd
	time.Sleep(s.connect)
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	c.ConnectEnd = time.Now()
	switch {
	case fails:
		c.Failure = &failure
	case err != nil:
		c.Failure = &runs.Cause{Class: runs.ClassConnect, Detail: err.Error()}
	default:
		c.Remote = netip.MustParseAddrPort(conn.RemoteAddr().String())
	}
	return conn, c
}

// request reads a client's greeting and request, and answers the first.
func request(client net.Conn) (host string, port uint16, err error) {
	b := make([]byte, 260)
	read := func(n int) []byte {
		if err == nil {
			_, err = io.ReadFull(client, b[:n])
		}
		return b[:n]
	}
	read(int(read(2)[1]))
	if err == nil {
		_, err = client.Write([]byte{5, 0})
	}
	if head := read(4); err == nil && (head[0] != 5 || head[1] != 1) {
		return "", 0, fmt.Errorf("request: got %v, want version 5, CONNECT", head)
	}
	switch b[3] {
	case 1:
		host = net.IP(read(4)).String()
	case 3:
		host = string(read(int(read(1)[0])))
	case 4:
		host = net.IP(read(16)).String()
	}
	return host, binary.BigEndian.Uint16(read(2)), err
}
