// Package h3 sends http requests over HTTP/3 through an access network: it looks up the host, opens a datagram socket per
// connection, and keeps the connection for the requests that follow.
//
// It has its own pool beside quic-go's, for two reasons. A dial there outlives its request and fails the next one to the same
// host; here the dial ends with the request that asked for it. And what is left after Close must be nothing, sockets included.
package h3

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// Network is what HTTP/3 needs of a run's access network.
type Network interface {
	// LookupNetIP returns a host's addresses, the best first; of an address, itself. It calls DNSStart and DNSDone of the
	// httptrace.ClientTrace in ctx, unless the host is an address.
	LookupNetIP(ctx context.Context, host string) ([]netip.Addr, error)
	// ListenPacket opens a datagram socket for packets to remote, which may be connected to it. A connected one has the
	// advantage that it learns of a refusal. The caller closes it.
	ListenPacket(ctx context.Context, remote netip.AddrPort) (net.PacketConn, error)
}

// The bounds of a connection.
const (
	maxAddresses = 4                // of one host that are tried
	keepAlive    = 15 * time.Second // so that a server which thinks for long is no lost connection; Chrome's
	maxFarewell  = time.Second      // for the packets that end a connection, should the network take no more
)

// Transport sends requests over HTTP/3. It is an http.RoundTripper for one request at a time: the body of a response must be
// closed before the next request. Its owner must Close it.
//
// It calls GetConn, ConnectStart, ConnectDone and GotConn of a request's httptrace.ClientTrace, and quic-go WroteRequest,
// GotFirstResponseByte and Got1xxResponse. The handshake of QUIC is that of TLS too: it is all between ConnectStart and
// ConnectDone, and there is no TLSHandshakeStart.
type Transport struct {
	network Network
	tls     *tls.Config
	http    http3.Transport // for its settings only
	open    map[string]*connection
}

// New makes a Transport that trusts what config trusts. maxHeader bounds the header of a response, in bytes.
func New(network Network, config *tls.Config, maxHeader int) *Transport {
	config = config.Clone()
	config.NextProtos, config.MinVersion = []string{http3.NextProtoH3}, tls.VersionTLS13
	return &Transport{
		network: network,
		tls:     config,
		http:    http3.Transport{DisableCompression: true, MaxResponseHeaderBytes: maxHeader},
		open:    map[string]*connection{},
	}
}

// Close ends all connections and closes their sockets.
func (t *Transport) Close() {
	for address := range t.open {
		t.drop(address)
	}
}

func (t *Transport) drop(address string) {
	if c := t.open[address]; c != nil {
		c.close()
		delete(t.open, address)
	}
}

// RoundTrip implements http.RoundTripper. A request over a kept connection that turned out to be dead is sent again over a new
// one, where that does no harm: a person would not notice either.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	address, err := addressOf(req.URL)
	if err != nil {
		discard(req)
		return nil, err
	}
	for {
		sent := false
		ctx := httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{ // its hooks call those of the request
			GetConn: func(string) {}, GotConn: func(httptrace.GotConnInfo) {},
			ConnectStart: func(_, _ string) {}, ConnectDone: func(_, _ string, _ error) {},
			WroteHeaders: func() { sent = true },
		})
		c, kept, err := t.connection(ctx, address)
		if err != nil {
			discard(req)
			return nil, err
		}
		resp, err := c.http.RoundTrip(outgoing(ctx, req))
		if err == nil {
			resp.Request, resp.Body = req, body{resp.Body}
			return resp, nil
		}
		again := !sent || rejected(err) || lost(err) && harmless(req.Method)
		if !kept || !again || ctx.Err() != nil {
			return nil, translate(err, io.EOF)
		}
		t.drop(address)
		if req.GetBody != nil {
			if req.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// discard closes the body of a request that is not sent.
func discard(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// outgoing is the request as quic-go should send it: one without a body it sends at once, and not from another goroutine.
func outgoing(ctx context.Context, req *http.Request) *http.Request {
	out := req.WithContext(ctx)
	if out.Body == http.NoBody {
		out.Body = nil
	}
	return out
}

// lost reports whether an error is that of the whole connection, which may take a moment longer to be dead.
func lost(err error) bool { return errors.Is(err, net.ErrClosed) }

// harmless reports whether a request may be sent twice (RFC 9110, section 9.2.1).
func harmless(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// rejected reports whether the server says that it has done nothing for the request (RFC 9114, section 4.1.1).
func rejected(err error) bool {
	failure, ok := errors.AsType[*http3.Error](err)
	return ok && failure.Remote && failure.ErrorCode == http3.ErrCodeRequestRejected
}

// addressOf is where a URL leads: host and port.
func addressOf(u *url.URL) (string, error) {
	if u.Scheme != "https" {
		return "", fmt.Errorf("protocol: got h3 for %s, want https", u.Scheme)
	}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if strings.ContainsFunc(host, func(r rune) bool { return r >= 0x80 }) {
		return "", fmt.Errorf("host: got %s, want the xn-- form of an international name", host)
	}
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(host, port), nil
}

// connection returns the kept connection to an address, or a new one.
func (t *Transport) connection(ctx context.Context, address string) (c *connection, kept bool, err error) {
	trace := httptrace.ContextClientTrace(ctx)
	trace.GetConn(address)
	c = t.open[address]
	kept = c != nil && !c.dead()
	if !kept {
		t.drop(address)
		if c, err = t.dial(ctx, address); err != nil {
			return nil, false, err
		}
		t.open[address] = c
	}
	trace.GotConn(httptrace.GotConnInfo{Conn: traced{remote: c.conn.RemoteAddr()}, Reused: kept})
	return c, kept, nil
}

// dial tries the addresses of a host one after the other; of several errors the first counts. An address that does not answer
// is given up after 5 s, quic-go's limit and Chrome's.
func (t *Transport) dial(ctx context.Context, address string) (*connection, error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port: got %s, want a number up to 65535", service)
	}
	addresses, err := t.network.LookupNetIP(ctx, host)
	if err != nil {
		return nil, err
	}
	if len(addresses) == 0 {
		return nil, &net.DNSError{Err: "no address", Name: host, IsNotFound: true}
	}
	trace, first := httptrace.ContextClientTrace(ctx), error(nil)
	for _, a := range addresses[:min(len(addresses), maxAddresses)] {
		remote := netip.AddrPortFrom(a.Unmap(), uint16(port))
		trace.ConnectStart("udp", remote.String())
		c, err := t.handshake(ctx, host, remote)
		trace.ConnectDone("udp", remote.String(), err)
		if err == nil {
			return c, nil
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, first
}

// handshake connects to one address.
func (t *Transport) handshake(ctx context.Context, host string, remote netip.AddrPort) (*connection, error) {
	packets, err := t.network.ListenPacket(ctx, remote)
	if err != nil {
		return nil, err
	}
	config := t.tls.Clone()
	config.ServerName = host
	c := &connection{packets: packets, transport: &quic.Transport{Conn: newSocket(packets)}}
	c.conn, err = c.transport.Dial(ctx, net.UDPAddrFromAddrPort(remote), config, &quic.Config{
		Versions:           []quic.Version{quic.Version1},
		MaxIncomingStreams: -1, // no server opens a stream of requests
		KeepAlivePeriod:    keepAlive,
	})
	if err != nil {
		c.close()
		return nil, translate(err, io.EOF)
	}
	c.http = t.http.NewClientConn(c.conn)
	return c, nil
}

// connection is a QUIC connection with a socket of its own.
type connection struct {
	packets   net.PacketConn
	transport *quic.Transport
	conn      *quic.Conn // nil where the handshake failed
	http      *http3.ClientConn
}

// dead reports whether the connection has ended, on whichever side.
func (c *connection) dead() bool { return c.conn.Context().Err() != nil }

// close tells the other side, and waits until nothing uses the socket before it closes that.
func (c *connection) close() {
	_ = c.packets.SetWriteDeadline(time.Now().Add(maxFarewell))
	if c.conn != nil {
		_ = c.conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
	}
	_ = c.transport.Close()
	_ = c.packets.Close()
}

// traced is a connection as hooks of httptrace see it: there is no net.Conn behind it, so only its addresses may be asked for.
type traced struct {
	net.Conn
	remote net.Addr
}

// RemoteAddr implements net.Conn.
func (c traced) RemoteAddr() net.Addr { return c.remote }

// body is a response body with errors that say what they mean.
type body struct{ io.ReadCloser }

// Read implements io.Reader.
func (b body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // a wrapped one is no end
		err = translate(err, io.ErrUnexpectedEOF)
	}
	return n, err
}
