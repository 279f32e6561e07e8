// Package h3test serves a site over HTTP/3 inside tests, for clients that are no part of httprunner: browsers.
package h3test

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/quic-go/quic-go/http3"
)

// Server serves one site on one port of 127.0.0.1: over HTTP/3, and over TLS by HTTP/2 with an Alt-Svc header that offers HTTP/3.
type Server struct {
	Port string

	// Pin is the hash of the certificate's key, as Chromium's --ignore-certificate-errors-spki-list has it. That is enough for
	// Chromium's TLS; its QUIC takes a certificate that no public authority has signed only of a host that also stands in
	// --origin-to-force-quic-on.
	Pin string
}

// Start starts a server for example.com that closes with the test.
func Start(t testing.TB, handler http.Handler) *Server {
	t.Helper()
	listener, packets := listen(t)
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	overTCP := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Alt-Svc", fmt.Sprintf(`h3=":%s"`, port))
		handler.ServeHTTP(w, r)
	}))
	_ = overTCP.Listener.Close() // the one that it brings
	overTCP.Listener, overTCP.EnableHTTP2 = listener, true
	overTCP.Config.ErrorLog = log.New(io.Discard, "", 0) // browsers drop connections that they do not need
	overTCP.StartTLS()
	overQUIC := &http3.Server{Handler: handler, TLSConfig: &tls.Config{Certificates: overTCP.TLS.Certificates}}
	var serving sync.WaitGroup
	serving.Go(func() { _ = overQUIC.Serve(socket{packets}) })
	t.Cleanup(func() {
		overTCP.Close()
		_ = overQUIC.Close()
		_ = packets.Close()
		serving.Wait()
	})
	pin := sha256.Sum256(overTCP.Certificate().RawSubjectPublicKeyInfo)
	return &Server{Port: port, Pin: base64.StdEncoding.EncodeToString(pin[:])}
}

// listen takes a port that is free for both, which the kernel does not know of.
func listen(t testing.TB) (net.Listener, net.PacketConn) {
	t.Helper()
	const tries = 20
	var taken error
	for range tries {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		packets, err := net.ListenPacket("udp", listener.Addr().String())
		if err == nil {
			return listener, packets
		}
		_ = listener.Close()
		taken = err
	}
	t.Fatalf("listen for HTTP/3: no port of %d was free: %v", tries, taken)
	return nil, nil
}

// socket hides that it is one of the kernel's, whose receive buffer quic-go would ask to be larger than the kernel allows, and say so.
type socket struct{ net.PacketConn }

// SetReadBuffer does nothing.
func (socket) SetReadBuffer(int) error { return nil }

// SetWriteBuffer does nothing.
func (socket) SetWriteBuffer(int) error { return nil }
