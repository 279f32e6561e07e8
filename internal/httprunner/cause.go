package httprunner

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"

	"lastmile/internal/answer"
	"lastmile/internal/cause"
	"lastmile/internal/httprunner/guard"
	"lastmile/internal/httprunner/h3"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// The bounds of texts that a target has a say in, in bytes.
const (
	maxDetail = answer.MaxDetail
	maxValue  = answer.MaxValue
	maxURL    = 1000
	maxRegion = 64
)

func clip(text string, limit int) string { return answer.Clip(text, limit) }

func causef(class runs.Class, format string, args ...any) *runs.Cause {
	return answer.Cause(class, format, args...)
}

// diagnose turns the error of an exchange into its cause, or into a fault where it was ours.
func (e *exchange) diagnose(ctx context.Context, err error) (*runs.Cause, error) {
	if leak, ok := errors.AsType[*guard.Leak](err); ok {
		e.leak = causef(runs.ClassCacheLeak, "%s", leak)
		return e.leak, nil
	}
	f := cause.Failure{Step: stepType, Stage: cause.StageBlocked, Began: e.began, TLS: alerted(err)}
	if e.hop != nil {
		f.Stage, f.Refused = e.hop.snapshot()
		f.Bytes = e.hop.request.Bytes
	}
	return f.Of(ctx, err)
}

const stepType = string(scenario.StepHTTP)

// stopped returns the fault where this run was told to stop, which is no fault of the target's.
func stopped(ctx context.Context) error { return cause.Stopped(ctx, stepType) }

// alerted reports whether TLS itself ended the exchange, whatever it had reached: a server may refuse a client's certificate only when
// the client takes the handshake for done.
func alerted(err error) bool {
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || errors.Is(err, h3.ErrTLS) {
		return true
	}
	if strings.Contains(err.Error(), "http2: client conn could not be established") { // all that net/http says of a refusal before the first frame
		return true
	}
	op, ok := errors.AsType[*net.OpError](err)
	return ok && (op.Op == "remote error" || op.Op == "local error")
}
