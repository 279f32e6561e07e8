package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lastmile/internal/runs"
)

// ErrExpired is in the error of Dispatch for an assignment whose start window is over.
var ErrExpired = errors.New("start window is over")

// ErrConflict is in the error of AdvanceCursor when somebody else moved the cursor first.
var ErrConflict = errors.New("changed by another coordinator")

const (
	// keepAfterStart is how long a job outlives its start window, as the record that its slot was dispatched.
	keepAfterStart = 60 * time.Second
	// createTimeout bounds one attempt to create a message, createPause the wait between two.
	createTimeout = 2 * time.Second
	createPause   = 100 * time.Millisecond
)

// Dispatch offers an assignment to the region's workers, once: created is false where the slot has been dispatched before, by
// whomever (or by an earlier attempt of this very call whose answer was lost). A server that does not answer is asked again until
// ctx ends. An assignment past its StartBy is refused with ErrExpired, since the record of it may be gone and it could run twice.
func (b *Bus) Dispatch(ctx context.Context, a runs.Assignment) (created bool, err error) {
	what := "dispatch " + string(a.RunID)
	if err := a.Check(); err != nil {
		return false, fmt.Errorf("%s: %w", what, err)
	}
	left := time.Until(a.StartBy)
	if left <= 0 {
		return false, fmt.Errorf("%s: %w: got start_by %s ago", what, ErrExpired, -left.Round(time.Millisecond))
	}
	body, err := json.Marshal(&a)
	if err != nil {
		return false, fmt.Errorf("%s: %w", what, err)
	}
	msg := nats.NewMsg(jobSubject(&a))
	msg.Header.Set(runHeader, string(a.RunID))
	msg.Data = body
	created, err = b.create(ctx, msg, jetstream.WithMsgTTL((left + keepAfterStart).Round(time.Second)))
	if err != nil {
		return false, fault(what, err)
	}
	return created, nil
}

// PublishVerdict closes a minute of a region, once: created is false where it has been closed before, and then the verdict that
// is in the stream stands. A server that does not answer is asked again until ctx ends.
func (b *Bus) PublishVerdict(ctx context.Context, v runs.Verdict) (created bool, err error) {
	what := fmt.Sprintf("publish verdict of %s at %s", v.Region, v.Minute.UTC().Format(time.RFC3339))
	if err := checkVerdict(&v); err != nil {
		return false, fmt.Errorf("%s: %w", what, err)
	}
	body, err := json.Marshal(&v)
	if err != nil {
		return false, fmt.Errorf("%s: %w", what, err)
	}
	msg := nats.NewMsg(verdictSubject(&v))
	msg.Data = body
	if created, err = b.create(ctx, msg); err != nil {
		return false, fault(what, err)
	}
	return created, nil
}

// create stores a message if its subject is empty. Silence is answered by the same create, which is safe to repeat; an answer is
// final.
func (b *Bus) create(ctx context.Context, msg *nats.Msg, opts ...jetstream.PublishOpt) (created bool, err error) {
	opts = append(opts, jetstream.WithExpectLastSequencePerSubject(0))
	for {
		attempt, cancel := context.WithTimeout(ctx, createTimeout)
		_, err := b.js.PublishMsg(attempt, msg, opts...)
		cancel()
		var api *jetstream.APIError
		switch {
		case err == nil:
			return true, nil
		case taken(err):
			return false, nil
		case errors.As(err, &api), errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrConnectionClosed):
			return false, err
		}
		if pause(ctx, createPause) != nil {
			return false, err
		}
	}
}

// taken reports whether the server refused a create or a swap because somebody was faster. A replicated stream has a code of its
// own for one that is still being stored.
func taken(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// Cursor returns up to which slot, inclusive, the region has been dispatched, and the revision to hand to AdvanceCursor. A region
// without a cursor has the zero time. A cursor that cannot be read counts as rejected and as absent, and can be replaced.
func (b *Bus) Cursor(ctx context.Context, region string) (slot time.Time, revision uint64, err error) {
	what := "read cursor of " + region
	if err := checkName("region", region); err != nil {
		return slot, 0, fmt.Errorf("%s: %w", what, err)
	}
	kv, err := b.js.KeyValue(ctx, coordBucket)
	if err != nil {
		return slot, 0, fault(what, err)
	}
	entry, err := kv.Get(ctx, cursorKey(region))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return slot, 0, nil
	}
	if err != nil {
		return slot, 0, fault(what, err)
	}
	if slot, err = time.Parse(time.RFC3339Nano, string(entry.Value())); err != nil {
		rejected := b.reject(KindCursor, cursorKey(region), err)
		b.log.Warn("bus message rejected", "kind", KindCursor, "subject", rejected.Subject, "err", err)
		return time.Time{}, entry.Revision(), nil
	}
	return slot, entry.Revision(), nil
}

// AdvanceCursor moves the region's cursor and returns its new revision. revision is the one that Cursor or the last AdvanceCursor
// returned; where it is no longer the latest the error holds ErrConflict, and nothing has changed.
func (b *Bus) AdvanceCursor(ctx context.Context, region string, slot time.Time, revision uint64) (uint64, error) {
	what := "advance cursor of " + region
	if err := checkName("region", region); err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	kv, err := b.js.KeyValue(ctx, coordBucket)
	if err != nil {
		return 0, fault(what, err)
	}
	value := []byte(slot.UTC().Format(time.RFC3339Nano))
	var next uint64
	if revision == 0 {
		next, err = kv.Create(ctx, cursorKey(region), value)
	} else {
		next, err = kv.Update(ctx, cursorKey(region), value, revision)
	}
	if taken(err) || errors.Is(err, jetstream.ErrKeyExists) {
		return 0, fmt.Errorf("%s from revision %d: %w", what, revision, ErrConflict)
	}
	if err != nil {
		return 0, fault(what, err)
	}
	return next, nil
}

func cursorKey(region string) string { return "cursor." + region }
