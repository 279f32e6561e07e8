package netrunner

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"lastmile/internal/cause"
	"lastmile/internal/clientcert"
	"lastmile/internal/runs"
)

// security is a step's TLS: how it is spoken, and what came of it.
type security struct {
	config *tls.Config

	mu    sync.Mutex
	state *tls.ConnectionState
	asked bool  // the server wanted a client certificate
	err   error // why there is none, where a library keeps the text of that only
}

// agreed returns what the handshake led to; nil where there was none.
func (s *security) agreed() *tls.ConnectionState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// questioned reports whether the server wanted to know who we are, in a version of TLS in which it says only after the handshake whether it
// takes the answer. Its refusal is an alert, which is lost where it breaks the connection off at once.
func (s *security) questioned() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked && s.state != nil && s.state.Version >= tls.VersionTLS13
}

// failed returns why there is no agreement; nil where there is one, or nobody tried.
func (s *security) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// security makes the step's.
func (e *exchange) security() *security {
	s := &security{config: &tls.Config{RootCAs: e.session.options.RootCAs, MinVersion: tls.VersionTLS12}}
	s.config.ServerName = e.expand("serverName", e.step.ServerName)
	var shown *clientcert.Identity
	if c := e.step.ClientCert; c != nil {
		certificate, key := e.expand("clientCert", c.Cert), e.expand("clientCert", c.Key)
		if e.err == nil {
			var err error
			shown, err = clientcert.Parse(certificate, key)
			e.check("clientCert", err)
		}
	}
	s.config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked = true
		return shown.Certificate(), nil
	}
	return s
}

// done notes the end of a handshake.
func (e *exchange) done(state tls.ConnectionState, err error) {
	if err == nil {
		e.clock.set(&e.clock.tlsDone)
	}
	e.secure.mu.Lock()
	defer e.secure.mu.Unlock()
	if e.secure.err = err; err == nil {
		e.secure.state = &state
	}
}

// handshake makes a connection one of TLS.
func (e *exchange) handshake(ctx context.Context, raw net.Conn) (*tls.Conn, error) {
	config := e.secure.config.Clone()
	if config.ServerName == "" {
		config.ServerName = e.host
	}
	conn := tls.Client(raw, config)
	e.clock.set(&e.clock.tlsStart)
	err := conn.HandshakeContext(ctx)
	e.done(conn.ConnectionState(), err)
	return conn, err
}

// tls connects and shakes hands.
func (e *exchange) tls(ctx context.Context) (*runs.Cause, error) {
	raw, err := e.line.dial(ctx, e.address)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, e.line.hangUp)()
	conn, err := e.handshake(ctx, raw)
	e.clock.set(&e.clock.end)
	if err == nil && e.secure.questioned() {
		err = e.farewell(ctx, conn)
	}
	if err != nil {
		return nil, err
	}
	return e.judge(nil), nil
}

// minFarewell is the least time that a server gets to say that it does not like our certificate.
const minFarewell = 2 * time.Second

// farewell ends a connection whose server asked who we are, and waits for its end: an alert is a refusal. A server that says nothing for
// some round trips has none.
func (e *exchange) farewell(ctx context.Context, conn *tls.Conn) error {
	wait := minFarewell
	if connect := e.clock.phases().Connect; connect != nil {
		wait = max(wait, time.Duration(4**connect*float64(time.Millisecond)))
	}
	_ = conn.CloseWrite()
	_ = conn.SetReadDeadline(time.Now().Add(wait))
	for buffer := make([]byte, 4<<10); ; {
		_, err := conn.Read(buffer)
		switch {
		case err == nil: // until the deadline
			continue
		case cause.Alert(err):
			return fmt.Errorf("client certificate: %w", err)
		case errors.Is(ctx.Err(), context.Canceled):
			return ctx.Err()
		}
		return nil
	}
}
