package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lastmile/internal/runs"
	"lastmile/internal/runs/notes"
	"lastmile/internal/scenario"
)

// The bounds of a region's tokens. A run lasts ten minutes at most, and starts half a minute late at most.
const (
	tokenAge    = 15 * time.Minute
	tokensBytes = 8 << 20
	headroom    = 1 << 10 // of a message, for its subject and headers
)

func tokensStream(region string) string { return "TOKENS_" + region }

// tokenSubject is where the token of a slot stands: its tokens have been checked with scenario.ValidName.
func tokenSubject(c scenario.Combination, slot time.Time) string {
	return fmt.Sprintf("token.%s.%s.%s.%d", c.Region, c.Scenario, c.Network, slot.Unix())
}

// Ensure makes the streams of the regions' tokens, or brings those that exist up to date. A region that floods its stream loses its own
// oldest tokens. replicas is how many of the hub's servers keep them.
func Ensure(ctx context.Context, js jetstream.JetStream, regions []string, replicas int) error {
	for _, region := range regions {
		_, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name:        tokensStream(region),
			Description: "What was written in " + region + ", for those who read it elsewhere",
			Subjects:    []string{"token." + region + ".*.*.*"},
			Retention:   jetstream.LimitsPolicy,
			Storage:     jetstream.MemoryStorage,
			Replicas:    replicas,
			MaxAge:      tokenAge,
			MaxBytes:    tokensBytes,
			MaxMsgSize:  notes.MaxTokenSize + headroom,
			Discard:     jetstream.DiscardOld,
			AllowDirect: true,
		})
		if err != nil {
			return fault("ensure stream "+tokensStream(region), err)
		}
	}
	return nil
}

// The pauses of those who wait for the hub or for a token.
const (
	publishAgain = 250 * time.Millisecond
	publishTime  = 2 * time.Second
	lookSoon     = 5 * time.Millisecond // when a token was heard that is not stored yet; doubled until
	lookAgain    = 500 * time.Millisecond
)

// Publish makes a token known, once: where there is one for its slot already, that one stays, and the error is nil. It goes on trying until
// ctx ends.
func (r *Relay) Publish(ctx context.Context, t notes.Token) error {
	what := "publish token of " + string(runs.NewID(t.Combination(), t.Slot))
	if err := t.Check(); err != nil {
		return fault(what, err)
	}
	if t.From != r.region {
		return fmt.Errorf("%s: got region %s, want %s, this probe's own", what, t.From, r.region)
	}
	body, err := json.Marshal(&t)
	if err != nil {
		return fault(what, err)
	}
	if len(body) > notes.MaxTokenSize {
		return fmt.Errorf("%s: got %d bytes, want at most %d", what, len(body), notes.MaxTokenSize)
	}
	for {
		err = r.store(ctx, tokenSubject(t.Combination(), t.Slot), body)
		var api *jetstream.APIError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence:
			return nil
		}
		if rest(ctx, publishAgain); ctx.Err() != nil {
			return fault(what, err)
		}
	}
}

// store tries once.
func (r *Relay) store(ctx context.Context, subject string, body []byte) error {
	h, err := r.connection()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	_, err = h.js.PublishMsg(ctx, &nats.Msg{Subject: subject, Data: body}, jetstream.WithExpectLastSequencePerSubject(0))
	return err
}

// Await waits for the token that a reader's run needs, until ctx ends. One that is not usable is refused, and said so in the log and in the
// error; a later one may be.
func (r *Relay) Await(ctx context.Context, a *runs.Assignment) (notes.Token, error) {
	from := a.Combination()
	from.Region = a.Scenario.Replication.From
	what := "await token of " + string(runs.NewID(from, a.Slot))
	w := waiter{relay: r, assignment: a, subject: tokenSubject(from, a.Slot), heard: make(chan struct{}, 1)}
	defer w.close()
	pause := lookSoon
	for {
		t, err := w.look(ctx)
		if err == nil {
			return t, nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return t, fault(what, w.reason(err))
		case <-w.heard:
			pause = lookSoon
		case <-timer.C:
			pause = min(2*pause, lookAgain)
		}
		timer.Stop()
	}
}

// waiter is one reader that waits.
type waiter struct {
	relay      *Relay
	assignment *runs.Assignment
	subject    string
	heard      chan struct{}
	listening  *nats.Subscription
	stream     jetstream.Stream
	refused    error  // why the last token that there was is of no use
	sequence   uint64 // of that one
}

func (w *waiter) close() {
	if w.listening != nil {
		_ = w.listening.Unsubscribe() // where the connection is closed, so is the subscription
	}
}

// errNoToken is that there is none yet.
var errNoToken = errors.New("there is none")

// reason is why no token came.
func (w *waiter) reason(err error) error {
	if w.refused != nil {
		return w.refused
	}
	return err
}

// listen subscribes to what is published: that is only what wakes us, for what counts is what has been stored.
func (w *waiter) listen(h *hub) error {
	if w.listening != nil {
		return nil
	}
	sub, err := h.nc.Subscribe(w.subject, func(*nats.Msg) {
		select {
		case w.heard <- struct{}{}:
		default: // it is on its way to look
		}
	})
	if err != nil {
		return err
	}
	w.listening = sub
	return nil
}

// look gets the token if it is there. It listens before it looks, so that none can come unseen in between.
func (w *waiter) look(ctx context.Context) (t notes.Token, err error) {
	h, err := w.relay.connection()
	if err != nil {
		return t, err
	}
	if err := w.listen(h); err != nil {
		return t, err
	}
	ctx, cancel := context.WithTimeout(ctx, exchangeTime)
	defer cancel()
	if w.stream == nil {
		if w.stream, err = h.js.Stream(ctx, tokensStream(w.assignment.Scenario.Replication.From)); err != nil {
			w.stream = nil
			return t, err
		}
	}
	msg, err := w.stream.GetLastMsgForSubject(ctx, w.subject)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return t, errNoToken
	case err != nil:
		return t, err
	}
	if t, err = decode(msg.Data, w.assignment); err == nil {
		return t, nil
	}
	if w.refused == nil || msg.Sequence != w.sequence {
		w.relay.log.Warn("token refused", "subject", w.subject, "run_id", w.assignment.RunID, "err", err)
	}
	w.refused, w.sequence = err, msg.Sequence
	return t, err
}

// decode reads a token that was stored for a reader's run.
func decode(body []byte, a *runs.Assignment) (t notes.Token, err error) {
	if len(body) > notes.MaxTokenSize {
		return t, fmt.Errorf("read token: got %d bytes, want at most %d", len(body), notes.MaxTokenSize)
	}
	if err := json.Unmarshal(body, &t); err != nil {
		return notes.Token{}, fault("read token", err)
	}
	if err := t.CheckFor(a); err != nil {
		return notes.Token{}, err
	}
	return t, nil
}
