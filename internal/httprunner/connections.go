package httprunner

import (
	"context"
	"net"
	"sync"
)

// connections dials, and knows every connection and dial that has not ended, so that closing it leaves none behind: the
// transport alone keeps an HTTP/2 connection whose dial ended only after its idle connections were closed.
type connections struct {
	network Network
	dials   sync.WaitGroup

	mu   sync.Mutex
	open map[*connection]struct{} // nil once closed
}

func newConnections(network Network) *connections {
	return &connections{network: network, open: map[*connection]struct{}{}}
}

func (c *connections) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c.mu.Lock()
	if c.open == nil {
		c.mu.Unlock()
		return nil, net.ErrClosed
	}
	c.dials.Add(1)
	c.mu.Unlock()
	defer c.dials.Done()

	raw, err := c.network.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	conn := &connection{Conn: raw, owner: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		_ = raw.Close()
		return nil, net.ErrClosed
	}
	c.open[conn] = struct{}{}
	return conn, nil
}

// close refuses new dials, closes all connections and waits for the dials under way, which their contexts must have ended.
func (c *connections) close() {
	c.mu.Lock()
	open := c.open
	c.open = nil
	c.mu.Unlock()
	for conn := range open {
		_ = conn.Conn.Close()
	}
	c.dials.Wait()
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
