package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lastmile/internal/bus/orders"
	"lastmile/internal/runs"
)

// ErrExpired is in the error of Dispatch for an assignment whose start window is over.
var ErrExpired = errors.New("start window is over")

// ErrConflict is in the error of AdvanceCursor, SaveBegun, SaveAlerts, SaveMaintenance or PublishPlan when somebody else was faster.
var ErrConflict = orders.ErrConflict

// keepAfterStart is how long a job outlives its start window, as the record that its slot was dispatched.
const keepAfterStart = 60 * time.Second

// Dispatch offers an assignment to the region's workers, once: created is false where the slot has been dispatched before, by
// whomever (or by an earlier attempt of this very call whose answer was lost). A server that does not answer is asked again until
// ctx ends. A stale leader's order that differs from this one gives way to it, unless a worker has it: see orders.Supersede; then created is
// true. An assignment past its StartBy is refused with ErrExpired, since the record of it may be gone and it could run twice.
func (b *Bus) Dispatch(ctx context.Context, a runs.Assignment) (created bool, err error) {
	what := "dispatch " + string(a.RunID)
	if err := a.Check(); err != nil {
		return false, fmt.Errorf("%s: %w", what, err)
	}
	left := a.StartBy.Sub(b.opts.Now())
	if left <= 0 {
		return false, fmt.Errorf("%s: %w: got start_by %s ago", what, ErrExpired, -left.Round(time.Millisecond))
	}
	body, err := json.Marshal(&a)
	if err != nil {
		return false, fmt.Errorf("%s: %w", what, err)
	}
	msg := nats.NewMsg(jobSubject(&a))
	msg.Header.Set(runHeader, string(a.RunID))
	if a.Term > 0 {
		msg.Header.Set(orders.TermHeader, strconv.FormatUint(a.Term, 10))
	}
	msg.Data = body
	ttl := (left + keepAfterStart).Round(time.Second)
	created, err = orders.Create(ctx, b.js, msg, jetstream.WithMsgTTL(ttl))
	if began, leading := b.began(a.Term); err == nil && !created && leading {
		created, err = orders.Supersede(ctx, b.js, jobsStream(a.Region), a.Scenario.Pool(), msg, began, ttl)
	}
	if err != nil {
		return false, fault(what, err)
	}
	return created, nil
}

// PublishVerdict closes a minute of a region, once: created is false where it has been closed before, and then the verdict that
// is in the stream stands. A server that does not answer is asked again until ctx ends.
func (b *Bus) PublishVerdict(ctx context.Context, v runs.Verdict) (created bool, err error) {
	what := fmt.Sprintf("publish verdict of %s at %s", v.Region, v.Minute.UTC().Format(time.RFC3339))
	if err := v.Check(); err != nil {
		return false, fmt.Errorf("%s: %w", what, err)
	}
	body, err := orders.EncodeVerdict(&v, b.nc.MaxPayload())
	if err != nil {
		return false, fmt.Errorf("%s: %w", what, err)
	}
	msg := nats.NewMsg(verdictSubject(&v))
	msg.Data = body
	if created, err = orders.Create(ctx, b.js, msg); err != nil {
		return false, fault(what, err)
	}
	return created, nil
}
