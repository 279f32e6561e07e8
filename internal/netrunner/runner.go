// Package netrunner runs the steps of a journey that speak a protocol other than HTTP: tcp, tls, dns, grpc and websocket, all of them over
// the run's access network. Each step opens what it needs and closes it; whatever the other side does ends within limits: of time, of
// bytes, of messages.
//
// What is wrong with the target is a failed step with a cause; an error is ours and wraps *runs.Fault.
package netrunner

import (
	"cmp"
	"context"
	"crypto/x509"
	"log/slog"
	"net"
	"net/netip"
	"slices"

	"lastmile/internal/answer"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// Options tunes a Runner. The zero value is what production uses.
type Options struct {
	UserAgent string         // of websocket and grpc steps that set none; default "lastmile"
	RootCAs   *x509.CertPool // trusted authorities; default the system's
	MaxBody   scenario.Bytes // that a tcp or websocket step reads; default 1 MB
}

// The limits that no scenario needs to change.
const (
	defaultMaxBody   scenario.Bytes = 1e6
	defaultUserAgent                = "lastmile"
	maxHeader                       = 64 << 10 // bytes of a response's header, of websocket and grpc
	maxMessages                     = 10_000   // that a websocket step reads
	maxRequests                     = 500      // kept in the result of one run
)

// Runner opens a Session per run. It is safe for concurrent use.
type Runner struct {
	log     *slog.Logger
	options Options
	judge   *answer.Judge
}

// New makes a Runner.
func New(log *slog.Logger, options Options) *Runner {
	options.UserAgent = cmp.Or(options.UserAgent, defaultUserAgent)
	options.MaxBody = cmp.Or(options.MaxBody, defaultMaxBody)
	return &Runner{log: log, options: options, judge: answer.New()}
}

// Network is the run's access network. A refusal of policy is a *runs.BlockedError; a failed look-up a *net.DNSError; what befalls a
// connection a *net.OpError with the syscall.Errno of it, on reads and writes too.
type Network interface {
	// DialContext connects across the network ("tcp" to host:port; "tcp4" and "tcp6" to addresses of that family only). It calls
	// DNSStart, DNSDone, ConnectStart and ConnectDone of the httptrace.ClientTrace in ctx itself.
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
	// LookupNetIP returns a host's addresses, the best first; of an address, itself. It calls DNSStart and DNSDone, unless the host is
	// an address or the network has the answer already.
	LookupNetIP(ctx context.Context, host string) ([]netip.Addr, error)
	// ListenPacket opens a datagram socket of the device for packets to remote. It may be connected to it.
	ListenPacket(ctx context.Context, remote netip.AddrPort) (net.PacketConn, error)
}

// Session runs the bare steps of one run. It is not safe for concurrent use. Its owner must Close it.
type Session struct {
	log      *slog.Logger
	options  Options
	judge    *answer.Judge
	scenario *scenario.Scenario
	runID    runs.ID
	network  Network
	requests []runs.Request
}

// Open starts the session of one run over its access network, which must last until Close. It opens no connection yet; a is
// read until Close and must not change.
func (r *Runner) Open(_ context.Context, a *runs.Assignment, network Network) (*Session, error) {
	return &Session{log: r.log, options: r.options, judge: r.judge, scenario: &a.Scenario, runID: a.RunID, network: network}, nil
}

// Close returns the requests of the session, one for each step, in order of start; of more than 500 the first 499 and the last one. No step
// leaves a connection behind, so there is nothing else to end.
func (s *Session) Close() runs.Trail {
	s.log.Debug("bare session closed", "run_id", s.runID, "requests", len(s.requests))
	return runs.Trail{Requests: s.requests}
}

// Forget drops the requests so far for which drop is true: they are in no trail. So a run may make many more than are kept.
func (s *Session) Forget(drop func(*runs.Request) bool) {
	s.requests = slices.DeleteFunc(s.requests, func(q runs.Request) bool { return drop(&q) })
}

// record keeps a request for the result.
func (s *Session) record(q runs.Request) {
	if len(s.requests) == maxRequests {
		s.requests[maxRequests-1] = q
		return
	}
	s.requests = append(s.requests, q)
}
