package httprunner

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"time"

	"lastmile/internal/answer"
	"lastmile/internal/cachestate"
	"lastmile/internal/httprunner/coding"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// The ways in which a target misbehaves that net/http has no fitting error for.
var (
	errRedirects = fmt.Errorf("redirect: got more than %d in a row", maxRedirects)
	errLocation  = errors.New("redirect: got a location that is not a URL")
	errSwitching = errors.New("response: got 101 Switching Protocols, which was not asked for")
)

// exchange is a step under way. It is also the RoundTripper beneath http.Client, so that each redirect is measured by itself.
type exchange struct {
	session    *Session
	plan       *plan
	began      time.Time
	ended      time.Time
	out        runs.Step       // what became of it so far
	transports *transports     // of this attempt
	sent       []*http.Request // in this attempt
	hop        *hop            // the request under way, nil between them
	again      bool            // whether another attempt may fare better: there was no answer, or one of a server in trouble
	leak       *runs.Cause     // what an answer had that is another user's; nil where none had any
}

// hop is one request under way.
type hop struct {
	clock
	request runs.Request
}

// attempt sends the request once and reads the response. It sets the step's cause: nil where all assertions hold. Without a
// response there is a cause, or an error, which is a *runs.Fault. The response is valid until the next attempt.
func (e *exchange) attempt(ctx context.Context) (*answer.Answer, error) {
	e.sent, e.out.Cause, e.transports = nil, nil, e.session.transports
	if e.plan.step.Connection == scenario.ConnectionFresh {
		e.transports = newTransports(e.session.network, e.session.tls)
		defer e.transports.close()
	}
	req, err := e.plan.request(ctx)
	var resp *http.Response
	if err == nil {
		client := http.Client{Transport: e, CheckRedirect: e.plan.redirect, Jar: e.session.jar}
		resp, err = client.Do(req)
	}
	if err != nil {
		last := e.hop
		fault := e.fail(ctx, err)
		e.ended = time.Now()
		e.again = fault == nil && last != nil && last.request.Status == 0 && e.out.Cause.Class != runs.ClassBlockedHost // which stays so
		return nil, fault
	}
	wire, err := e.session.bodies.Read(resp.Body)
	_ = resp.Body.Close() // stops the clock too
	e.ended = e.hop.end
	a, last := e.answer(resp), e.hop
	e.again = resp.StatusCode >= http.StatusInternalServerError
	if err != nil {
		if fault := e.fail(ctx, err); fault != nil {
			return nil, fault
		}
		a.Broken = e.out.Cause
		e.again = e.again || !errors.Is(err, coding.ErrLimit)
	} else if a.Body, err = e.session.bodies.Decode(resp.Header.Get("Content-Encoding"), wire); errors.Is(err, coding.ErrUnknown) {
		a.Opaque = err
	} else if err != nil {
		a.Broken = causef(runs.ClassScript, "%s", err)
	} else {
		e.hop.request.Exchange.BodyBytes = int64(len(a.Body))
	}
	e.locate(a)
	e.settle(a.Broken)
	a.Phases = last.request.Phases
	e.out.Cause = e.session.judge.Assert(e.plan.step, a, e.plan.scope)
	return a, nil
}

// answer is what a response says of itself, and the jar of the step's URL after it.
func (e *exchange) answer(resp *http.Response) *answer.Answer {
	a := &answer.Answer{Status: resp.StatusCode, Header: resp.Header, Cache: e.hop.request.Cache, Duration: e.ended.Sub(e.began), Credentials: credentials(e.sent)}
	if u, err := url.Parse(e.plan.url); err == nil {
		a.Cookies = e.session.jar.Cookies(u)
	}
	if state := resp.TLS; state != nil {
		a.Certificates, a.TLSVersion = state.PeerCertificates, tls.VersionName(state.Version)
	}
	return a
}

// credentials lists those that went with requests.
func credentials(sent []*http.Request) (out []string) {
	for _, req := range sent {
		for _, value := range slices.Concat(req.Header["Authorization"], req.Header["Proxy-Authorization"]) {
			_, token, _ := strings.Cut(value, " ")
			out = append(out, value, token)
		}
		if _, password, ok := req.BasicAuth(); ok {
			out = append(out, password)
		}
		for _, cookie := range req.Cookies() {
			out = append(out, cookie.Value)
		}
	}
	return out
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
	req, span := e.session.traced(req)
	h := &hop{request: runs.Request{
		SpanID: span, Step: e.plan.step.ID, URL: bareURL(req.URL), Method: req.Method, Cache: cachestate.Classify(nil), StartedAt: time.Now(), Again: e.out.Attempts > 1,
		Exchange: &runs.Exchange{URL: req.URL.String(), RequestHeaders: req.Header.Clone(), RequestBytes: max(req.ContentLength, 0), BodyBytes: -1},
	}}
	e.hop, e.sent = h, append(e.sent, req)
	resp, err := e.transport(req).RoundTrip(req.WithContext(httptrace.WithClientTrace(req.Context(), h.hooks())))
	if err != nil {
		h.set(&h.end)
		return nil, err
	}
	h.read(resp)
	resp.Body = &meteredBody{ReadCloser: resp.Body, hop: h}
	if resp.StatusCode != http.StatusSwitchingProtocols { // whose body has no end
		if err := e.session.guard.Look(resp, &h.request); err != nil {
			return nil, err
		}
	}
	if err := checkResponse(req, resp); err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// transport is what carries a hop. The client certificate, as all that says who we are, goes no further than the step's first host.
func (e *exchange) transport(req *http.Request) http.RoundTripper {
	step, id := e.plan.step, e.plan.identity
	if slices.ContainsFunc(e.sent, func(r *http.Request) bool { return elsewhere(e.sent[0], r) }) {
		id = nil
	}
	if step.Connection == scenario.ConnectionFresh {
		e.session.network.Forget(req.URL.Hostname())
	}
	return e.transports.of(step.Protocol, step.IPVersion, id)
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
	e.edge(h)
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
