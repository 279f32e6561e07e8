package trial

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http/httptrace"
	"strings"
	"time"

	"lastmile/internal/linkemu/link"
	"lastmile/internal/netprofile"
)

// The stages of setting up a connection. Each costs one round trip, and the time to serialise its packets.
const (
	stageDNS = iota
	stageTCP
	stageTLS
	stageRequest
	stageCount
)

// setUp is how long each stage took without the time to serialise its packets; zero where it did not come to an end.
type setUp [stageCount]time.Duration

// On a network with long round trips few connections have to do.
const (
	leastSetUps = 2
	mostSetUps  = 5
)

// setUps opens connections one after another, each on an idle link: at least two, and no further one once period is over.
func setUps(ctx context.Context, n Network, p netprofile.Profile, id identity, period time.Duration) ([]setUp, error) {
	s, err := serve(func(c net.Conn) { answer(tls.Server(c, id.server)) })
	if err != nil {
		return nil, err
	}
	defer s.close()
	began := time.Now()
	var all []setUp
	for i := 0; i < mostSetUps && (i < leastSetUps || time.Since(began) < period); i++ {
		all = append(all, setUpOnce(ctx, n, p, id, s.address(), nameOf(i)))
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return all, nil
}

// answer echoes the first byte of a connection.
func answer(c net.Conn) {
	b := make([]byte, 1)
	if _, err := io.ReadFull(c, b); err != nil {
		return // the client has gone away
	}
	_, _ = c.Write(b)
	_, _ = c.Read(b) // till the client goes away
}

// nameOf is another spelling of localhost for each set-up, as a network asks DNS but once for the same.
func nameOf(i int) string {
	const name = "localhost"
	return name[:i] + strings.ToUpper(name[i:i+1]) + name[i+1:]
}

// setUpOnce goes as far as the link lets it.
func setUpOnce(ctx context.Context, n Network, p netprofile.Profile, id identity, address, name string) (out setUp) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second+10*(p.RTT+link.Serialise(p.Up, 1, p.MTU)+link.Serialise(p.Down, 1, p.MTU)))
	defer cancel()
	out[stageDNS] = lookUp(ctx, n, p, name)

	began := time.Now()
	raw, err := n.DialContext(ctx, "tcp", address)
	if err != nil {
		return out
	}
	defer func() { _ = raw.Close() }()
	out[stageTCP] = time.Since(began) - handshakeSerialised(p)
	if deadline, ok := ctx.Deadline(); ok && raw.SetDeadline(deadline) != nil {
		return out
	}

	counted := &counter{Conn: raw}
	began = time.Now()
	c := tls.Client(counted, id.client)
	if err := c.HandshakeContext(ctx); err != nil {
		return out
	}
	// The client's last message goes out with the request. Before its first goes the acknowledgement of the TCP handshake.
	hello, flight := counted.first, counted.in
	out[stageTLS] = time.Since(began) - link.Serialise(p.Up, 2, 2*overhead+hello) - link.Serialise(p.Down, 1, overhead+flight)

	began = time.Now()
	b := []byte{'?'}
	if _, err := c.Write(b); err != nil {
		return out
	}
	if _, err := io.ReadFull(c, b); err != nil {
		return out
	}
	packets := counted.writes - 1
	out[stageRequest] = time.Since(began) - link.Serialise(p.Up, packets, packets*overhead+counted.out-hello) - link.Serialise(p.Down, 1, overhead+counted.in-flight)
	return out
}

// handshakeSerialised is what SYN and SYN-ACK take up the link.
func handshakeSerialised(p netprofile.Profile) time.Duration {
	return link.Serialise(p.Up, 1, syn) + link.Serialise(p.Down, 1, syn)
}

// lookUp asks DNS across the link. A resolver asks for addresses of both families in one packet each.
func lookUp(ctx context.Context, n Network, p netprofile.Profile, name string) time.Duration {
	const (
		query  = 20 + 8 + 12 + 11 + 4 // IPv4, UDP, DNS, the name, type and class
		answer = query + 16           // and one address
	)
	asked := false
	began := time.Now()
	_, err := n.LookupNetIP(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{DNSStart: func(httptrace.DNSStartInfo) { asked = true }}), name)
	if err != nil || !asked {
		return 0
	}
	return time.Since(began) - link.Serialise(p.Up, 2, 2*query) - link.Serialise(p.Down, 1, answer)
}

// counter counts what crosses a connection.
type counter struct {
	net.Conn
	in, out, writes, first int // first: bytes of the first write
}

// Read implements io.Reader.
func (c *counter) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.in += n
	return n, err
}

// Write implements io.Writer.
func (c *counter) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if c.writes == 0 {
		c.first = n
	}
	c.out += n
	c.writes++
	return n, err
}
