package httprunner

import (
	"context"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"sync"
)

// connections dials, and knows every connection and dial that has not ended, so that closing it leaves none behind.
type connections struct {
	dialer net.Dialer
	cancel context.CancelFunc // ends the dials under way
	dials  sync.WaitGroup

	mu     sync.Mutex
	closed bool
	open   map[*connection]struct{}
}

func newConnections(cancel context.CancelFunc) *connections {
	return &connections{
		// The C library's resolver cannot be interrupted and would outlive the run.
		dialer: net.Dialer{Resolver: &net.Resolver{PreferGo: true}},
		cancel: cancel,
		open:   map[*connection]struct{}{},
	}
}

func (c *connections) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, net.ErrClosed
	}
	c.dials.Add(1)
	c.mu.Unlock()
	defer c.dials.Done()

	raw, err := c.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	conn := &connection{Conn: raw, owner: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[conn] = struct{}{} // if close is waiting for this dial, it closes the connection after it
	return conn, nil
}

// close ends all dials, waits for them, and closes all connections.
func (c *connections) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.dials.Wait()

	c.mu.Lock()
	open := c.open
	c.open = nil
	c.mu.Unlock()
	for conn := range open {
		_ = conn.Conn.Close()
	}
}

// connection is a connection that its owner forgets once it is closed.
type connection struct {
	net.Conn
	owner *connections
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.owner.mu.Lock()
	delete(c.owner.open, c)
	c.owner.mu.Unlock()
	return c.Conn.Close()
}

// The bounds of a run's cookies. Browsers hold to the same size (RFC 6265, section 6.1).
const (
	maxCookies    = 2000 // that servers set, each time counted
	maxCookieSize = 4096 // name and value, in bytes
)

// boundedJar is the run's cookie jar. Cookies beyond the bounds are dropped.
type boundedJar struct {
	http.CookieJar
	set int
}

func newBoundedJar() (*boundedJar, error) {
	// No list of public suffixes: a jar lives for one run of one journey, whose hosts its author chose.
	jar, err := cookiejar.New(nil)
	return &boundedJar{CookieJar: jar}, err
}

// SetCookies implements http.CookieJar.
func (j *boundedJar) SetCookies(u *url.URL, cookies []*http.Cookie) {
	j.set += len(cookies)
	if j.set <= maxCookies {
		j.CookieJar.SetCookies(u, slices.DeleteFunc(cookies, func(c *http.Cookie) bool {
			return len(c.Name)+len(c.Value) > maxCookieSize
		}))
	}
}
