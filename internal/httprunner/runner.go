// Package httprunner runs the http steps of a journey as an app would: one cookie jar and one set of connections per run, kept
// from step to step, all of them over the run's access network: HTTP/1.1 and HTTP/2, and HTTP/3 where a step asks for it. Every
// request, each redirect included, is measured phase by phase, and whatever the other side does ends within limits: of time, of
// bytes, of headers, of redirects, of cookies.
//
// What is wrong with the target is a failed step with a cause; an error is ours and wraps *runs.Fault.
package httprunner

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"log/slog"

	"github.com/theory/jsonpath"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// Options tunes a Runner. The zero value is what production uses.
type Options struct {
	UserAgent string         // sent where a step sets none; default "lastmile"
	RootCAs   *x509.CertPool // trusted authorities; default the system's
	MaxBody   scenario.Bytes // of one response body, as received and again decoded; default 10 MB
}

// The limits that no scenario needs to change.
const (
	defaultMaxBody   scenario.Bytes = 10e6
	defaultUserAgent                = "lastmile"
	maxHeader                       = 256 << 10 // bytes of one response's header
	maxRedirects                    = 10        // of one request
	maxInterim                      = 10        // 1xx responses before the real one
	maxRequests                     = 500       // kept in the result of one run
)

// Runner opens a Session per run. It is safe for concurrent use.
type Runner struct {
	log     *slog.Logger
	options Options
	paths   *jsonpath.Parser
}

// New makes a Runner.
func New(log *slog.Logger, options Options) *Runner {
	options.UserAgent = cmp.Or(options.UserAgent, defaultUserAgent)
	options.MaxBody = cmp.Or(options.MaxBody, defaultMaxBody)
	return &Runner{log: log, options: options, paths: newPathParser()}
}

// Session runs the http steps of one run. It is not safe for concurrent use. Its owner must Close it.
type Session struct {
	log        *slog.Logger
	options    Options
	paths      *jsonpath.Parser
	scenario   *scenario.Scenario
	runID      runs.ID
	traceID    string
	transports *transports
	jar        *boundedJar
	bodies     bodies
	requests   []runs.Request
}

// Open starts the session of one run over its access network, which must last until Close. It opens no connection yet; a is
// read until Close and must not change.
func (r *Runner) Open(_ context.Context, a *runs.Assignment, network Network) (*Session, error) {
	jar, err := newBoundedJar()
	if err != nil {
		return nil, &runs.Fault{Class: runs.ClassProbe, Err: fmt.Errorf("open http session %s: %w", a.RunID, err)}
	}
	return &Session{
		log:        r.log,
		options:    r.options,
		paths:      r.paths,
		scenario:   &a.Scenario,
		runID:      a.RunID,
		traceID:    randomHex(16),
		transports: newTransports(network, &tls.Config{RootCAs: r.options.RootCAs, MinVersion: tls.VersionTLS12}),
		jar:        jar,
		bodies:     bodies{limit: int64(r.options.MaxBody)},
	}, nil
}

// Close ends every connection and every dial of the session, waits for the dials, and returns all requests of the run in order
// of start. The loops that net/http and quic-go run per connection end with their connection. Of a run of more than 500 requests the
// first 499 and the last one are kept.
func (s *Session) Close() runs.Trail {
	s.transports.close()
	s.log.Debug("http session closed", "run_id", s.runID, "requests", len(s.requests))
	return runs.Trail{Requests: s.requests}
}

// record keeps a request for the result.
func (s *Session) record(q runs.Request) {
	if len(s.requests) == maxRequests {
		s.requests[maxRequests-1] = q
		return
	}
	s.requests = append(s.requests, q)
}

// traceparent is the W3C Trace Context header of a new request of this run.
func (s *Session) traceparent() string { return "00-" + s.traceID + "-" + randomHex(8) + "-01" }

// randomHex returns n random bytes in hexadecimal. crypto/rand never fails.
func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}
