// Package cause tells why an exchange with a target came to nothing, whichever protocol it was in: what the target did is a *runs.Cause,
// what this machine or its owner did is a *runs.Fault.
package cause

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"regexp"
	"strings"
	"syscall"
	"time"

	"lastmile/internal/answer"
	"lastmile/internal/runs"
	"lastmile/internal/shortage"
)

// Stage is the part of an exchange that it has reached.
type Stage string

// The stages, named as a detail reads: "timed out after 2s waiting for the response".
const (
	StageBlocked Stage = "waiting for a connection"
	StageDNS     Stage = "looking up the host"
	StageConnect Stage = "connecting"
	StageTLS     Stage = "in the TLS handshake"
	StageSend    Stage = "sending the request"
	StageWait    Stage = "waiting for the response"
	StageReceive Stage = "receiving the response"
)

// Reached tells the stage from when each began; an instant is zero where it did not come.
func Reached(dns, connect, tls, send, wait, receive time.Time) Stage {
	at := StageBlocked
	for _, reached := range []struct {
		began time.Time
		stage Stage
	}{{dns, StageDNS}, {connect, StageConnect}, {tls, StageTLS}, {send, StageSend}, {wait, StageWait}, {receive, StageReceive}} {
		if !reached.began.IsZero() {
			at = reached.stage
		}
	}
	return at
}

// Failure is what is known of an exchange that failed. The stage says more than the error's type: an EOF while dialling, in the
// handshake and in the body are three different things.
type Failure struct {
	Step    string // the type of the step, as a fault names it
	Stage   Stage
	Began   time.Time
	Bytes   int64 // received so far
	Refused bool  // a dial failed for a reason that lies outside this machine
	TLS     bool  // the error is one of TLS, whatever the stage
}

// Of turns the error of the exchange into its cause, or into a fault where it was ours. ctx is the step's.
func (f Failure) Of(ctx context.Context, err error) (*runs.Cause, error) {
	err = Bare(err)
	if fault := Stopped(ctx, f.Step); fault != nil {
		return nil, fault
	}
	if shortage.Is(err) && !f.Refused {
		return nil, &runs.Fault{Class: runs.ClassProbe, Err: fmt.Errorf("run %s step: %w", f.Step, err)}
	}
	var lookup *net.DNSError
	var blocked *runs.BlockedError
	switch {
	case errors.As(err, &blocked):
		return answer.Cause(runs.ClassBlockedHost, "%s", blocked), nil
	case timedOut(ctx, err):
		return f.Timeout(""), nil
	case errors.As(err, &lookup):
		return answer.Cause(runs.ClassDNS, "look up %s: %s", lookup.Name, lookup.Err), nil
	case f.Stage == StageDNS:
		return answer.Cause(runs.ClassDNS, "%s", scrub(err)), nil
	case f.Stage == StageTLS, f.TLS, Alert(err):
		return answer.Cause(runs.ClassTLS, "%s%s", distrust(err), err), nil // certificates quote names, and have no secrets
	case f.Stage == StageConnect, errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.ECONNREFUSED):
		return answer.Cause(runs.ClassConnect, "%s", scrub(err)), nil
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return answer.Cause(runs.ClassConnect, "connection reset while %s", f.Stage), nil
	case f.Stage != StageReceive && (errors.Is(err, io.EOF) || strings.Contains(err.Error(), "server closed idle connection")):
		return answer.Cause(runs.ClassConnect, "connection closed while %s", f.Stage), nil
	case errors.Is(err, io.ErrUnexpectedEOF) && f.Stage == StageReceive:
		return answer.Cause(runs.ClassScript, "response ended early: %s", scrub(err)), nil
	}
	return answer.Cause(runs.ClassScript, "%s", scrub(err)), nil
}

// Timeout is the cause of an exchange whose time was up; lacking, where it is set, is what it still waited for.
func (f Failure) Timeout(lacking string) *runs.Cause {
	text := fmt.Sprintf("timed out after %s %s", time.Since(f.Began).Round(time.Millisecond), f.Stage)
	if f.Stage == StageReceive {
		text += fmt.Sprintf(", %d bytes so far", f.Bytes)
	}
	if lacking != "" {
		text += ": " + lacking
	}
	return answer.Cause(runs.ClassTimeout, "%s", text)
}

// Stopped returns the fault where a step of the type was told to stop, which is no fault of the target's.
func Stopped(ctx context.Context, step string) error {
	if !errors.Is(ctx.Err(), context.Canceled) {
		return nil
	}
	return &runs.Fault{Class: runs.ClassProbe, Err: fmt.Errorf("run %s step: %w", step, context.Cause(ctx))}
}

// Bare is the cause of an error of net/url or net/http that repeats the whole URL.
func Bare(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}

// Alert reports whether an error is a TLS alert that the other side sent. In TLS 1.3 a server refuses a client's certificate by one, when
// the client has done with the handshake already.
func Alert(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error"
}

// distrust says in a word or two why a certificate was refused, for who reads no X.509; "" where that was not it.
func distrust(err error) string {
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "wrong name: "
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "unknown authority: "
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		if invalid.Cert != nil && time.Now().Before(invalid.Cert.NotBefore) {
			return "not yet valid: "
		}
		return "expired: "
	}
	return ""
}

// timedOut reports whether the step's time was up, or the kernel gave up waiting.
func timedOut(ctx context.Context, err error) bool {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	var lookup *net.DNSError // a resolver that does not answer is a matter of DNS
	var network net.Error
	return !errors.As(err, &lookup) && errors.As(err, &network) && network.Timeout()
}

var (
	quoted     = regexp.MustCompile(`"(\\.|[^"\\])*"?`)
	headerLine = regexp.MustCompile(`(malformed MIME header|header field is not lower-case|pseudo header|contradicting content lengths)\b.*`)
)

// scrub is the text of an error without the pieces of the response that net/http and quic-go quote in it: they may be cookies
// or tokens.
func scrub(err error) string {
	text := headerLine.ReplaceAllString(strings.ReplaceAll(err.Error(), "\n", " "), "$1")
	return quoted.ReplaceAllString(text, "…")
}
