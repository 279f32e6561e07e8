package h3_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"lastmile/internal/httprunner/h3"
)

// device is a network whose sockets are made by listen.
type device struct {
	listen func(remote netip.AddrPort) (net.PacketConn, error)
}

func (device) LookupNetIP(_ context.Context, host string) ([]netip.Addr, error) {
	a, err := netip.ParseAddr(host)
	return []netip.Addr{a}, err
}

func (d device) ListenPacket(_ context.Context, remote netip.AddrPort) (net.PacketConn, error) {
	return d.listen(remote)
}

// bare is a datagram socket with nothing but what net.PacketConn asks for.
type bare struct{ net.PacketConn }

// small is a socket whose buffers cannot grow, as those of a kernel that does not let them.
type small struct{ net.PacketConn }

func (small) SetReadBuffer(int) error  { return net.ErrClosed }
func (small) SetWriteBuffer(int) error { return net.ErrClosed }

func connected(remote netip.AddrPort) (net.PacketConn, error) {
	return net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(remote))
}

func wrapped(wrap func(net.PacketConn) net.PacketConn) func(netip.AddrPort) (net.PacketConn, error) {
	return func(netip.AddrPort) (net.PacketConn, error) {
		packets, err := net.ListenPacket("udp", "127.0.0.1:0")
		return wrap(packets), err
	}
}

// serve starts a server that closes with the test; its transport is what a Transport needs to reach it.
func serve(t *testing.T, handler http.HandlerFunc, listen func(netip.AddrPort) (net.PacketConn, error)) (url string, transport *h3.Transport) {
	t.Helper()
	issuer := httptest.NewUnstartedServer(nil)
	issuer.StartTLS()
	issuer.Close()
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http3.Server{
		Handler: handler, TLSConfig: &tls.Config{Certificates: issuer.TLS.Certificates},
		ConnContext: func(ctx context.Context, c *quic.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(small{packets}) })
	t.Cleanup(func() {
		_ = server.Close()
		_ = packets.Close()
		serving.Wait()
	})
	pool := x509.NewCertPool()
	pool.AddCert(issuer.Certificate())
	transport = h3.New(device{listen}, &tls.Config{RootCAs: pool}, 1<<16)
	t.Cleanup(transport.Close)
	return "https://" + packets.LocalAddr().String(), transport
}

// connKey is the key under which a handler finds its *quic.Conn.
type connKey struct{}

// get makes a request and reads the answer.
func get(t *testing.T, transport *h3.Transport, method, url, body string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return string(answer), err
}

func echo(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }

// TestSockets shows that any datagram socket will do, and that none makes quic-go write to the log.
func TestSockets(t *testing.T) {
	var logged bytes.Buffer
	before := log.Writer()
	log.SetOutput(&logged)
	t.Cleanup(func() { log.SetOutput(before) })
	large := strings.Repeat("x", 300_000)
	for name, listen := range map[string]func(netip.AddrPort) (net.PacketConn, error){
		"connected":   connected,
		"unconnected": wrapped(func(p net.PacketConn) net.PacketConn { return p }),
		"bare":        wrapped(func(p net.PacketConn) net.PacketConn { return bare{p} }),
		"small":       wrapped(func(p net.PacketConn) net.PacketConn { return small{p} }),
	} {
		t.Run(name, func(t *testing.T) {
			url, transport := serve(t, echo, listen)
			for range 2 {
				if got, err := get(t, transport, "POST", url, large); got != large || err != nil {
					t.Errorf("got %d bytes and %v, want those that were sent", len(got), err)
				}
			}
		})
	}
	if logged.Len() > 0 {
		t.Errorf("got %q in the log, want nothing", logged.String())
	}
}

// TestSentAgain shows which requests are sent again over a new connection when a kept one fails.
func TestSentAgain(t *testing.T) {
	for _, test := range []struct {
		name, method string
		fail         func(http.ResponseWriter, *http.Request)
		want         string // of the error
	}{
		{"a harmless one", "GET", lose, ""},
		{"one that may have done something", "POST", lose, "connection closed by the server"},
		{"one that the server has not looked at", "POST", reject, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var calls atomic.Int64
			url, transport := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if calls.Add(1) == 2 {
					test.fail(w, r)
					return
				}
				echo(w, r)
			}, connected)
			if _, err := get(t, transport, "GET", url, ""); err != nil {
				t.Fatal(err)
			}
			got, err := get(t, transport, test.method, url, "order")
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) || calls.Load() != 2 {
					t.Errorf("got %q, %v after %d calls, want error %q after 2", got, err, calls.Load(), test.want)
				}
				return
			}
			if got != "order" || err != nil || calls.Load() != 3 {
				t.Errorf("got %q, %v after %d calls, want the answer of the third", got, err, calls.Load())
			}
		})
	}
}

// lose ends the connection without an answer.
func lose(_ http.ResponseWriter, r *http.Request) {
	_ = r.Context().Value(connKey{}).(*quic.Conn).CloseWithError(0x100, "")
}

// reject says that the request was not looked at.
func reject(w http.ResponseWriter, _ *http.Request) {
	stream, err := w.(http3.HTTPStreamer).HTTPStream()
	if err != nil {
		return
	}
	stream.CancelRead(quic.StreamErrorCode(http3.ErrCodeRequestRejected))
	stream.CancelWrite(quic.StreamErrorCode(http3.ErrCodeRequestRejected))
}

// TestFailsTwice shows that a request is sent again once, and no more.
func TestFailsTwice(t *testing.T) {
	var calls atomic.Int64
	url, transport := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) > 1 {
			lose(w, r)
		}
	}, connected)
	if _, err := get(t, transport, "GET", url, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := get(t, transport, "GET", url, ""); err == nil || calls.Load() != 3 {
		t.Errorf("got %v after %d calls, want an error after three", err, calls.Load())
	}
}
