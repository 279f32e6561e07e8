// Package orders writes what may be there only once, whoever writes it and how often: a subject is created where it is empty, and what is
// there is replaced by compare-and-swap only.
package orders

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lastmile/internal/runs"
)

// TermHeader says of which leadership an order is, so that tools can tell without reading the body.
const TermHeader = "Lastmile-Term"

const (
	// createTimeout bounds one attempt to create a message, createPause the wait between two.
	createTimeout = 2 * time.Second
	createPause   = 100 * time.Millisecond
)

// Create stores a message if its subject is empty. Silence is answered by the same create, which is safe to repeat, until ctx ends; an
// answer is final.
func Create(ctx context.Context, js jetstream.JetStream, msg *nats.Msg, opts ...jetstream.PublishOpt) (created bool, err error) {
	opts = append(opts, jetstream.WithExpectLastSequencePerSubject(0))
	for {
		attempt, cancel := context.WithTimeout(ctx, createTimeout)
		_, err := js.PublishMsg(attempt, msg, opts...)
		cancel()
		var api *jetstream.APIError
		switch {
		case err == nil:
			return true, nil
		case errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence:
			return false, nil
		case errors.As(err, &api) && api.Code != 503 && !Taken(err), errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrConnectionClosed):
			return false, err // 503: a cluster that chooses a leader; taken: one is still being stored there, and may yet not be
		}
		select {
		case <-ctx.Done():
			return false, err
		case <-time.After(createPause):
		}
	}
}

// Taken reports whether the server refused a create or a swap because somebody was faster. A replicated stream has a code of its
// own for one that is still being stored.
func Taken(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// Supersede puts an order in the place of the one that is on its subject, where that one is a stale leader's: of a lower term, and stored when
// the term of ours had begun, by the hub's clock. Even then it stands where it says the same, for nothing would be gained, and where a worker
// of its pool has it: to run a slot twice is worse than to run it by an old plan. replaced=false means that it stands.
//
// Between the look at the pool and the swap a worker may get it. Then two run the slot, and the books count one of them as a duplicate.
func Supersede(ctx context.Context, js jetstream.JetStream, stream, pool string, msg *nats.Msg, began time.Time, ttl time.Duration) (replaced bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	from, err := js.Stream(ctx, stream)
	if err != nil {
		return false, err
	}
	old, err := from.GetLastMsgForSubject(ctx, msg.Subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) { // its time to live has just ended
		return false, nil
	}
	if err != nil || began.IsZero() || old.Time.Before(began) || term(old.Header) >= term(msg.Header) || same(old.Data, msg.Data) {
		return false, err
	}
	consumer, err := from.Consumer(ctx, pool)
	if err != nil {
		return false, err
	}
	if consumer.CachedInfo().Delivered.Stream >= old.Sequence {
		return false, nil
	}
	_, err = js.PublishMsg(ctx, msg, jetstream.WithExpectLastSequencePerSubject(old.Sequence), jetstream.WithMsgTTL(ttl))
	if Taken(err) {
		return false, nil
	}
	return err == nil, err
}

// term reads a message's; 0 where it has none.
func term(h nats.Header) uint64 {
	n, err := strconv.ParseUint(h.Get(TermHeader), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// same reports whether two orders differ in their terms at most.
func same(a, b []byte) bool {
	var x, y runs.Assignment
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	x.Term, y.Term = 0, 0
	left, err := json.Marshal(&x)
	if err != nil {
		return false
	}
	right, err := json.Marshal(&y)
	return err == nil && bytes.Equal(left, right)
}
