package netrunner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"lastmile/internal/runs"
)

// tcp connects, sends, and where the step looks at what comes, reads until that is as it should be.
func (e *exchange) tcp(ctx context.Context) (*runs.Cause, error) {
	conn, err := e.line.dial(ctx, e.address)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, e.line.hangUp)()
	e.clock.set(&e.clock.ready)
	if e.send != "" {
		if _, err := io.WriteString(conn, e.send); err != nil {
			return nil, err
		}
		e.clock.set(&e.clock.wrote)
	}
	if !e.reads() {
		return e.judge(nil), nil
	}
	return e.listen(ctx, conn)
}

// The time from one look at what has come so far to the next: some multiple of what the last one took, so that a peer which sends a byte at
// a time does not keep us busy with looking.
const (
	minPause     = 10 * time.Millisecond
	pausePerLook = 4
)

// listen reads until what has come satisfies the step, the peer ends, the time is up or there is too much. A byte stream has no messages,
// so what has come is looked at again whenever it has become more.
func (e *exchange) listen(ctx context.Context, conn net.Conn) (*runs.Cause, error) {
	var body []byte
	var next time.Time // look
	buffer, looked, limit := make([]byte, 32<<10), 0, int(e.session.options.MaxBody)
	for {
		if len(body) > looked && !time.Now().Before(next) {
			began := time.Now()
			if e.judge(body) == nil {
				return nil, nil
			}
			looked, next = len(body), time.Now().Add(max(minPause, pausePerLook*time.Since(began)))
		}
		var wait time.Time
		if len(body) > looked {
			wait = next
		}
		_ = conn.SetReadDeadline(wait) // fails on a closed one, as Read will
		n, err := conn.Read(buffer[:min(len(buffer), limit-len(body))])
		if n > 0 {
			e.clock.set(&e.clock.firstByte)
			body = append(body, buffer[:n]...)
		}
		var timeout net.Error
		again := errors.As(err, &timeout) && timeout.Timeout() && !wait.IsZero() && !time.Now().Before(wait)
		if err != nil && !again || len(body) == limit {
			return e.heard(ctx, body, err)
		}
	}
}

// heard ends the step on what has come when no more will; err is why, nil where there is too much.
func (e *exchange) heard(ctx context.Context, body []byte, err error) (*runs.Cause, error) {
	e.clock.set(&e.clock.end)
	if len(body) == 0 {
		return nil, err
	}
	found := e.judge(body)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, ctx.Err()
	case found == nil:
		return nil, nil
	case ctx.Err() != nil:
		return e.failure().Timeout(found.Detail), nil
	case err == nil:
		return with(found, fmt.Sprintf(", in the first %d bytes", len(body))), nil
	case errors.Is(err, io.EOF):
		return with(found, ", and then the connection was closed"), nil
	}
	return with(found, ", and then the connection broke"), nil
}
