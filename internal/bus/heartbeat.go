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
	if err := checkHeartbeat(&h); err != nil {
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
	sub, err := b.nc.SubscribeSync("hb.*.*")
	if err != nil {
		return fault("serve heartbeats", err)
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
			return fault("serve heartbeats", err)
		}
		if err := b.answer(msg, answer); err != nil {
			b.log.Warn("heartbeat not answered", "subject", msg.Subject, "err", err)
		}
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
