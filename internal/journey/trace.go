package journey

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"time"

	"lastmile/internal/runs"
)

// traced gives a run its trace: one for all sessions, new with each attempt.
func traced(a *runs.Assignment) *runs.Assignment {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	out := *a
	out.TraceID = hex.EncodeToString(id[:])
	return &out
}

// CookieHolder is an executor whose steps have cookies, which those of other kinds are to have as well: what one of them was given, the
// next one shows.
//
// The domain of a cookie that is sent to its host alone is that host; that of others begins with a dot. An error wraps a *runs.Fault.
type CookieHolder interface {
	// Cookies returns all cookies; they are the caller's.
	Cookies(ctx context.Context) ([]*http.Cookie, error)
	// SetCookies makes the executor have just these cookies. What it has already stays untouched.
	SetCookies(ctx context.Context, cookies []*http.Cookie) error
}

// handOver brings the cookies to the session of the kind of step that comes next, where another had them last. The time that takes is
// ours.
func (r *run) handOver(ctx context.Context, to family) error {
	into, ok := r.executors[to].(CookieHolder)
	if !ok || r.holder == to {
		return nil
	}
	from, ok := r.executors[r.holder].(CookieHolder)
	r.holder = to
	if !ok {
		return nil
	}
	began := time.Now()
	defer func() { r.opening += time.Since(began) }()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), handOverLimit)
	defer cancel()
	cookies, err := from.Cookies(ctx)
	if err != nil {
		return err
	}
	return into.SetCookies(ctx, cookies)
}

// handOverLimit bounds what two calls of a browser may take: some milliseconds on an idle machine.
const handOverLimit = 10 * time.Second
