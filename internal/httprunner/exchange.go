package httprunner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"time"

	"lastmile/internal/cachestate"
	"lastmile/internal/runs"
)

// The ways in which a target misbehaves that net/http has no fitting error for.
var (
	errRedirects = fmt.Errorf("redirect: got more than %d in a row", maxRedirects)
	errLocation  = errors.New("redirect: got a location that is not a URL")
	errSwitching = errors.New("response: got 101 Switching Protocols, which was not asked for")
)

// exchange is a step under way. It is also the RoundTripper beneath http.Client, so that each redirect is measured by itself.
type exchange struct {
	session *Session
	plan    *plan
	began   time.Time
	ended   time.Time
	out     runs.Step       // what became of it so far
	sent    []*http.Request // in this attempt
	hop     *hop            // the request under way, nil between them
}

// hop is one request under way.
type hop struct {
	clock
	request runs.Request
}

// attempt sends the request once and reads the response. It sets the step's cause: nil where all assertions hold. Without a
// response there is a cause, or an error, which is a *runs.Fault. The response is valid until the next attempt.
func (e *exchange) attempt(ctx context.Context) (*response, error) {
	e.sent, e.out.Cause = nil, nil
	req, err := e.plan.request(ctx, e.session.traceparent())
	var resp *http.Response
	if err == nil {
		client := http.Client{Transport: e, CheckRedirect: e.plan.redirect, Jar: e.session.jar}
		resp, err = client.Do(req)
	}
	if err != nil {
		fault := e.fail(ctx, err)
		e.ended = time.Now()
		return nil, fault
	}
	wire, err := e.session.bodies.read(resp.Body)
	_ = resp.Body.Close() // stops the clock too
	e.ended = e.hop.end
	r := &response{plan: e.plan, sent: e.sent, status: resp.StatusCode, header: resp.Header, cache: e.hop.request.Cache}
	if err != nil {
		if fault := e.fail(ctx, err); fault != nil {
			return nil, fault
		}
		r.broken = e.out.Cause
	} else if r.body, err = e.session.bodies.decode(resp.Header.Get("Content-Encoding"), wire); errors.Is(err, errCoding) {
		r.opaque = err
	} else if err != nil {
		r.broken = causef(runs.ClassScript, "%s", err)
	} else {
		e.hop.request.Exchange.BodyBytes = int64(len(r.body))
	}
	e.settle(r.broken)
	e.out.Cause = r.assertions()
	return r, nil
}

// fail ends the hop under way with the cause of an error, or returns the fault where it was ours.
func (e *exchange) fail(ctx context.Context, err error) (fault error) {
	e.out.Cause, fault = e.diagnose(ctx, err)
	e.settle(e.out.Cause)
	return fault
}

// RoundTrip implements http.RoundTripper for one hop.
func (e *exchange) RoundTrip(req *http.Request) (*http.Response, error) {
	e.settle(nil) // the one that redirected here
	if err := e.admit(req.URL); err != nil {
		return nil, err
	}
	h := &hop{request: runs.Request{
		Step: e.plan.step.ID, URL: bareURL(req.URL), Method: req.Method, Cache: cachestate.Classify(nil), StartedAt: time.Now(),
		Exchange: &runs.Exchange{URL: req.URL.String(), RequestHeaders: req.Header.Clone(), RequestBytes: max(req.ContentLength, 0), BodyBytes: -1},
	}}
	e.hop, e.sent = h, append(e.sent, req)
	resp, err := e.session.transports.of(e.plan.step.Protocol).RoundTrip(req.WithContext(httptrace.WithClientTrace(req.Context(), h.hooks())))
	if err != nil {
		h.set(&h.end)
		return nil, err
	}
	h.read(resp)
	if r := e.session.scenario.Routing; r != nil {
		h.request.ServedRegion = clip(resp.Header.Get(r.Header), maxRegion)
	}
	resp.Body = &meteredBody{ReadCloser: resp.Body, hop: h}
	if err := checkResponse(req, resp); err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// admit checks where a request would go.
func (e *exchange) admit(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("redirect: got scheme %s, want http or https", clip(u.Scheme, maxRegion))
	}
	if !e.session.scenario.AllowsHost(u.Hostname()) {
		return &runs.BlockedError{Host: clip(u.Hostname(), maxValue), Want: "one that allowHosts lists"}
	}
	return e.plan.secure(u)
}

// checkResponse refuses what http.Client would stumble over: the body of an unasked protocol switch is the connection itself,
// deaf to every deadline, and the error about a bad location repeats it whole, tokens included.
func checkResponse(req *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return errSwitching
	}
	if resp.StatusCode/100 == 3 {
		if _, err := req.URL.Parse(resp.Header.Get("Location")); err != nil {
			return errLocation
		}
	}
	return nil
}

// settle records the hop under way; the cause, if any, is why it has no complete response.
func (e *exchange) settle(cause *runs.Cause) {
	h := e.hop
	if h == nil {
		return
	}
	h.set(&h.end)
	h.fill(&h.request)
	if cause != nil {
		h.request.Error = cause.Detail
	}
	e.out.Requests++
	e.out.Bytes += h.request.Bytes
	e.session.record(h.request)
	e.hop = nil
}

// read notes what the response header says. Its size is an estimate: that of the header as HTTP/1.1 text, whichever the
// protocol, so that the numbers compare.
func (h *hop) read(resp *http.Response) {
	h.set(&h.firstByte) // in case that no hook told
	q := &h.request
	q.Status = resp.StatusCode
	q.Protocol = strings.ToLower(resp.Proto) // named as ALPN does
	if resp.ProtoMajor > 1 {
		q.Protocol = fmt.Sprintf("h%d", resp.ProtoMajor)
	}
	q.Cache = cachestate.Classify(resp.Header)
	x := q.Exchange
	x.ResponseHeaders, x.MIME = resp.Header, resp.Header.Get("Content-Type")
	_, x.StatusText, _ = strings.Cut(resp.Status, " ")
	size := len(resp.Proto + " " + resp.Status + "\r\n\r\n")
	for name, values := range resp.Header {
		for _, value := range values {
			size += len(name) + len(": ") + len(value) + len("\r\n")
		}
	}
	q.Bytes = int64(size)
}

// meteredBody counts a response body as it comes off the wire, still encoded, and stops the hop's clock at its end.
type meteredBody struct {
	io.ReadCloser
	hop *hop
}

// Read implements io.Reader.
func (b *meteredBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.hop.request.Bytes += int64(n)
	if err != nil {
		b.hop.set(&b.hop.end)
	}
	return n, err
}

// Close implements io.Closer.
func (b *meteredBody) Close() error {
	b.hop.set(&b.hop.end)
	return b.ReadCloser.Close()
}
