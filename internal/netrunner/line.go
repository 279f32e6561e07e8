package netrunner

import (
	"context"
	"errors"
	"net"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
)

// line is what a step has open: its connections and dials. Closing it leaves none behind, whichever library asked for them.
type line struct {
	network Network
	family  string // tcp, tcp4 or tcp6
	clock   *clock
	dials   sync.WaitGroup

	received atomic.Int64 // bytes, of all connections

	mu     sync.Mutex
	open   []net.Conn
	closed bool
	remote string
	dialed error // why the last dial came to nothing
	broke  error // why a connection did
}

// dial connects to host:port. The caller need not close the connection.
func (l *line) dial(ctx context.Context, address string) (net.Conn, error) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil, net.ErrClosed
	}
	l.dials.Add(1)
	l.mu.Unlock()
	defer l.dials.Done()

	raw, err := l.network.DialContext(httptrace.WithClientTrace(ctx, l.clock.hooks()), l.family, address)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dialed = err
	if err != nil {
		return nil, err
	}
	if l.closed {
		_ = raw.Close()
		return nil, net.ErrClosed
	}
	l.open, l.remote = append(l.open, raw), raw.RemoteAddr().String()
	return &metered{Conn: raw, line: l}, nil
}

// hangUp closes all connections, and lets no more be dialled.
func (l *line) hangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, conn := range l.open {
		_ = conn.Close()
	}
}

// close hangs up and waits for the dials under way, which their contexts must have ended.
func (l *line) close() {
	l.hangUp()
	l.dials.Wait()
}

// to notes whom the step speaks to.
func (l *line) to(remote string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remote = remote
}

// told returns what is known of the line: its other end, and the errors that libraries keep the text of only.
func (l *line) told() (remote string, dialed, broke error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.remote, l.dialed, l.broke
}

// metered is a connection that counts what it receives.
type metered struct {
	net.Conn
	line *line
}

// Read implements net.Conn.
func (m *metered) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	m.line.received.Add(int64(n))
	m.line.note(err)
	return n, err
}

// Write implements net.Conn.
func (m *metered) Write(p []byte) (int, error) {
	n, err := m.Conn.Write(p)
	m.line.note(err)
	return n, err
}

// note keeps what befell a connection, unless we closed it.
func (l *line) note(err error) {
	if err == nil || errors.Is(err, net.ErrClosed) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broke = err
}
