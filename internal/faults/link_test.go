package faults

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// link is a stretch of network between a client and a server, which can be cut. What is sent while it is cut waits, as in a network that
// drops packets until it heals and has them sent again: neither end sees the connection close.
type link struct {
	t      testing.TB
	listen net.Listener
	target string

	mu     sync.Mutex
	closed bool
	open   [2]chan struct{} // per direction; closed channel = things pass
	delay  time.Duration
	conns  map[net.Conn]bool
	pumps  sync.WaitGroup
}

// The directions of a link.
const (
	up   = 0 // from the client to the server
	down = 1
)

// newLink makes a link to an address; it listens until the test ends.
func newLink(t testing.TB, target string) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{t: t, listen: listener, target: target, conns: map[net.Conn]bool{}}
	l.heal()
	l.pumps.Go(l.accept)
	t.Cleanup(l.close)
	return l
}

// url is where a client of NATS reaches the server through this link.
func (l *link) url() string { return "nats://" + l.listen.Addr().String() }

func (l *link) close() {
	_ = l.listen.Close()
	l.mu.Lock()
	l.closed = true
	for c := range l.conns {
		_ = c.Close()
	}
	l.mu.Unlock()
	l.heal()
	l.pumps.Wait()
}

// cut holds back what is sent in the directions; both where none is named.
func (l *link) cut(directions ...int) {
	if len(directions) == 0 {
		directions = []int{up, down}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range directions {
		select {
		case <-l.open[d]:
			l.open[d] = make(chan struct{})
		default: // cut already
		}
	}
}

// heal lets everything through again.
func (l *link) heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for d := range l.open {
		if l.open[d] == nil {
			l.open[d] = make(chan struct{})
			close(l.open[d])
			continue
		}
		select {
		case <-l.open[d]:
		default:
			close(l.open[d])
		}
	}
	l.delay = 0
}

// reset closes every connection, as a middlebox does that has lost its memory.
func (l *link) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.Close()
	}
}

// slow delays each piece of what is sent.
func (l *link) slow(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay = d
}

// pass waits until a direction is open; false = the link is gone.
func (l *link) pass(direction int) bool {
	l.mu.Lock()
	gate, delay := l.open[direction], l.delay
	l.mu.Unlock()
	time.Sleep(delay)
	<-gate
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.closed
}

func (l *link) accept() {
	for {
		client, err := l.listen.Accept()
		if err != nil {
			return
		}
		l.pumps.Go(func() { l.connect(client) })
	}
}

// connect carries one connection.
func (l *link) connect(client net.Conn) {
	if !l.enter(client) {
		return
	}
	defer l.leave(client)
	if !l.pass(up) {
		return
	}
	server, err := net.Dial("tcp", l.target)
	if err != nil || !l.enter(server) {
		return
	}
	defer l.leave(server)
	var both sync.WaitGroup
	for d, ends := range [2][2]net.Conn{up: {client, server}, down: {server, client}} {
		both.Go(func() {
			l.pump(d, ends[0], ends[1])
			_ = ends[0].Close()
			_ = ends[1].Close()
		})
	}
	both.Wait()
}

func (l *link) pump(direction int, from io.Reader, to io.Writer) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if !l.pass(direction) {
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil { // an end that is closed while the link is cut is seen when it heals
			l.pass(direction)
			return
		}
	}
}

func (l *link) enter(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = c.Close()
		return false
	}
	l.conns[c] = true
	return true
}

func (l *link) leave(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
	_ = c.Close()
}
