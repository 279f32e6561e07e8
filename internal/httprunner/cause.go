package httprunner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"syscall"
	"time"

	"lastmile/internal/httprunner/h3"
	"lastmile/internal/runs"
	"lastmile/internal/shortage"
)

// The bounds of texts that a target has a say in, in bytes.
const (
	maxDetail = 300
	maxValue  = 100 // of a value quoted in a detail
	maxURL    = 1000
	maxRegion = 64
)

// clip shortens a text to at most limit bytes of valid UTF-8.
func clip(text string, limit int) string {
	if len(text) > limit {
		const mark = "…"
		text = text[:limit-len(mark)] + mark
	}
	return strings.ToValidUTF8(text, "")
}

// causef makes a cause; the detail is cut to what a result holds.
func causef(class runs.Class, format string, args ...any) *runs.Cause {
	return &runs.Cause{Class: class, Detail: clip(fmt.Sprintf(format, args...), maxDetail)}
}

// diagnose turns the error of an exchange into its cause, or into a fault where it was ours. The stage that the request had
// reached says more than the error's type: an EOF while dialling, in the handshake and in the body are three different things.
func (e *exchange) diagnose(ctx context.Context, err error) (*runs.Cause, error) {
	err = bareError(err)
	at, refused, received := stageBlocked, false, ""
	if e.hop != nil {
		at, refused = e.hop.snapshot()
		received = fmt.Sprintf(", %d bytes so far", e.hop.request.Bytes)
	}
	if fault := stopped(ctx); fault != nil {
		return nil, fault
	}
	if shortage.Is(err) && !refused {
		return nil, &runs.Fault{Class: runs.ClassProbe, Err: fmt.Errorf("run http step: %w", err)}
	}
	var lookup *net.DNSError
	var blocked *runs.BlockedError
	switch {
	case errors.As(err, &blocked):
		return causef(runs.ClassBlockedHost, "%s", blocked), nil
	case timedOut(ctx, err):
		if at != stageReceive {
			received = ""
		}
		return causef(runs.ClassTimeout, "timed out after %s %s%s", time.Since(e.began).Round(time.Millisecond), at, received), nil
	case errors.As(err, &lookup):
		return causef(runs.ClassDNS, "look up %s: %s", lookup.Name, lookup.Err), nil
	case at == stageDNS:
		return causef(runs.ClassDNS, "%s", scrub(err)), nil
	case at == stageTLS, errors.Is(err, h3.ErrTLS):
		return causef(runs.ClassTLS, "%s", err), nil // certificates quote names, and have no secrets
	case at == stageConnect, errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.ECONNREFUSED):
		return causef(runs.ClassConnect, "%s", scrub(err)), nil
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return causef(runs.ClassConnect, "connection reset while %s", at), nil
	case at != stageReceive && (errors.Is(err, io.EOF) || strings.Contains(err.Error(), "server closed idle connection")):
		return causef(runs.ClassConnect, "connection closed while %s", at), nil
	case errors.Is(err, io.ErrUnexpectedEOF) && at == stageReceive:
		return causef(runs.ClassScript, "response ended early: %s", scrub(err)), nil
	}
	return causef(runs.ClassScript, "%s", scrub(err)), nil
}

// stopped returns the fault where this run was told to stop, which is no fault of the target's.
func stopped(ctx context.Context) error {
	if !errors.Is(ctx.Err(), context.Canceled) {
		return nil
	}
	return &runs.Fault{Class: runs.ClassProbe, Err: fmt.Errorf("run http step: %w", context.Cause(ctx))}
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
