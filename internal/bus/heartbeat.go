package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"lastmile/internal/runs"
)

// errorHeader carries the reason of a refused request.
const errorHeader = "Lastmile-Error"

// Heartbeat tells the coordinator how this probe is, and returns its answer.
func (b *Bus) Heartbeat(ctx context.Context, h runs.Heartbeat) (runs.HeartbeatReply, error) {
	var reply runs.HeartbeatReply
	what := "send heartbeat"
	if err := h.Check(); err != nil {
		return reply, fmt.Errorf("%s: %w", what, err)
	}
	body, err := json.Marshal(&h)
	if err != nil {
		return reply, fmt.Errorf("%s: %w", what, err)
	}
	ctx, cancel := b.within(ctx)
	defer cancel()
	msg, err := b.nc.RequestWithContext(ctx, heartbeatSubject(&h), body)
	if err != nil {
		return reply, fault(what, err)
	}
	if reason := msg.Header.Get(errorHeader); reason != "" {
		return reply, fmt.Errorf("%s: refused by the coordinator: %s", what, reason)
	}
	if err := json.Unmarshal(msg.Data, &reply); err != nil {
		return reply, fmt.Errorf("%s: read the answer: %w", what, err)
	}
	return reply, nil
}

// ServeHeartbeats answers the heartbeats of all probes until ctx ends (then it returns nil), one at a time. Unusable ones are
// counted, and answered with the reason.
func (b *Bus) ServeHeartbeats(ctx context.Context, answer func(runs.Heartbeat) runs.HeartbeatReply) error {
	return b.heartbeats(ctx, func(msg *nats.Msg) {
		if err := b.answer(msg, answer); err != nil {
			b.log.Warn("heartbeat not answered", "subject", msg.Subject, "err", err)
		}
	})
}

// HearHeartbeats hands the heartbeats of all probes to heard until ctx ends (then it returns nil), one at a time, and leaves it to
// ServeHeartbeats, in whichever coordinator, to answer them. Unusable ones are passed over: whoever answers counts them.
func (b *Bus) HearHeartbeats(ctx context.Context, heard func(runs.Heartbeat)) error {
	return b.heartbeats(ctx, func(msg *nats.Msg) {
		if h, err := decodeHeartbeat(msg.Subject, msg.Data); err == nil {
			heard(h)
		}
	})
}

// Hears reports whether heartbeats get here: the server answers, through the connection on which they come.
func (b *Bus) Hears(ctx context.Context) bool {
	ctx, cancel := b.within(ctx)
	defer cancel()
	return b.nc.IsConnected() && b.nc.FlushWithContext(ctx) == nil
}

// heartbeats hands over each message of a probe's heartbeat until ctx ends.
func (b *Bus) heartbeats(ctx context.Context, take func(*nats.Msg)) error {
	sub, err := b.nc.SubscribeSync("hb.*.*")
	if err != nil {
		return fault("hear heartbeats", err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection is closed, and with it the subscription
	for {
		msg, err := sub.NextMsgWithContext(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, nats.ErrSlowConsumer): // some were dropped; probes send others
			continue
		case err != nil:
			return fault("hear heartbeats", err)
		}
		take(msg)
	}
}

func (b *Bus) answer(msg *nats.Msg, answer func(runs.Heartbeat) runs.HeartbeatReply) error {
	reply := nats.NewMsg(msg.Reply)
	h, err := decodeHeartbeat(msg.Subject, msg.Data)
	if err != nil {
		reply.Header.Set(errorHeader, printable(b.reject(KindHeartbeat, msg.Subject, err)))
	} else if reply.Data, err = json.Marshal(answer(h)); err != nil {
		return err
	}
	if msg.Reply == "" { // sent without a wish for an answer
		return nil
	}
	return b.nc.PublishMsg(reply)
}
