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
	"net/http"
	"slices"

	"lastmile/internal/answer"
	"lastmile/internal/httprunner/coding"
	"lastmile/internal/httprunner/guard"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/vars"
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
	maxKept                         = 16 << 20  // bytes of headers kept of one run, with what it takes to keep them
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

// Session runs the http steps of one run. It is not safe for concurrent use. Its owner must Close it.
type Session struct {
	log        *slog.Logger
	options    Options
	judge      *answer.Judge
	scenario   *scenario.Scenario
	runID      runs.ID
	traceID    string
	network    Network
	tls        *tls.Config
	transports *transports
	jar        *jar
	guard      *guard.Guard // nil = there is nothing that must not show
	bodies     *coding.Bodies
	requests   []runs.Request
	dropped    int // requests beyond those
	kept       int // about how many bytes the headers of the requests take
}

// Open starts the session of one run over its access network, which must last until Close. It opens no connection yet; a is
// read until Close and must not change.
func (r *Runner) Open(_ context.Context, a *runs.Assignment, network Network) (*Session, error) {
	cookies, err := newJar()
	if err != nil {
		return nil, &runs.Fault{Class: runs.ClassProbe, Err: fmt.Errorf("open http session %s: %w", a.RunID, err)}
	}
	config := &tls.Config{RootCAs: r.options.RootCAs, MinVersion: tls.VersionTLS12}
	return &Session{
		log:        r.log,
		options:    r.options,
		judge:      r.judge,
		scenario:   &a.Scenario,
		runID:      a.RunID,
		traceID:    cmp.Or(a.TraceID, randomHex(16)),
		network:    network,
		tls:        config,
		transports: newTransports(network, config),
		jar:        cookies,
		bodies:     coding.New(r.options.MaxBody),
	}, nil
}

// Close ends every connection and every dial of the session, waits for the dials, and returns all requests of the run in order
// of start. The loops that net/http and quic-go run per connection end with their connection. Of a run of more than 500 requests the
// first 499 and the last one are kept.
func (s *Session) Close() runs.Trail {
	s.transports.close()
	s.log.Debug("http session closed", "run_id", s.runID, "requests", len(s.requests))
	return runs.Trail{Requests: s.requests, Dropped: s.dropped}
}

// Cookies returns all cookies that the journey has, with what they hold for. The domain of one that goes to its host alone is that host;
// the domain of others begins with a dot. They are the caller's.
func (s *Session) Cookies(context.Context) ([]*http.Cookie, error) { return s.jar.all(), nil }

// SetCookies makes the journey have just these cookies, which are as Cookies returns them: those that a browser has had a hand in.
func (s *Session) SetCookies(_ context.Context, cookies []*http.Cookie) error {
	s.jar.replace(cookies)
	return nil
}

// Forget drops the requests so far for which drop is true: they are in no trail. So a run may make many more than are kept.
func (s *Session) Forget(drop func(*runs.Request) bool) {
	s.requests = slices.DeleteFunc(s.requests, func(q runs.Request) bool {
		gone := drop(&q)
		if gone {
			s.kept -= weight(&q)
		}
		return gone
	})
}

// Watch has every answer from now on, those that redirect included, looked through for the secret before anything else is made of it: the
// status line, the header and the trailer, the body as it came and decoded; for the secret as it is and in the encodings that
// vars.Finder knows. A step that gets an answer which has it fails with class cache_leak at once: nothing is asserted of that answer, no
// variable and no cookie is taken from it, and of its header only what tells about caching is kept. A step that would itself send the
// secret is an error: nobody could tell a leak from an echo.
func (s *Session) Watch(secret vars.Secret) { s.guard = guard.New(secret, s.options.MaxBody) }

// record keeps a request for the result, without its headers where those of the run are more than can be kept.
func (s *Session) record(q runs.Request) {
	if len(s.requests) == maxRequests {
		s.kept -= weight(&s.requests[maxRequests-1])
		s.requests = s.requests[:maxRequests-1]
		s.dropped++
	}
	if s.kept+weight(&q) > maxKept {
		q.Exchange.RequestHeaders, q.Exchange.ResponseHeaders = nil, nil
	}
	s.kept += weight(&q)
	s.requests = append(s.requests, q)
}

// weight is about how many bytes the headers of a request take.
func weight(q *runs.Request) (bytes int) {
	const each = 64 // what a field takes beside its text
	for _, header := range []http.Header{q.Exchange.RequestHeaders, q.Exchange.ResponseHeaders} {
		for name, values := range header {
			bytes += each + len(name)
			for _, value := range values {
				bytes += each + len(value)
			}
		}
	}
	return bytes
}

// traced gives a request a span of its own in the run's trace (W3C Trace Context), unless the step has given it another place.
func (s *Session) traced(req *http.Request) (out *http.Request, span string) {
	if req.Header.Get("Traceparent") != "" {
		return req, ""
	}
	span = randomHex(8)
	out = req.WithContext(req.Context()) // the redirects that follow inherit the header of the first
	out.Header = req.Header.Clone()
	out.Header.Set("Traceparent", "00-"+s.traceID+"-"+span+"-01")
	return out, span
}

// randomHex returns n random bytes in hexadecimal. crypto/rand never fails.
func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}
