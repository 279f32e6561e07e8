package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// ErrNoJob is the error of Take when no job came in time.
var ErrNoJob = errors.New("no job")

// Job is an assignment that this worker has to itself until it acknowledges it, or until AckWait passes without InProgress.
type Job struct {
	Assignment runs.Assignment
	Delivery   int // 1 = the first worker to get it; at most 3

	msg jetstream.Msg
}

// Take waits for one job of the region's pool: one per free worker, for a job fetched ahead waits while others are idle. The
// errors: ErrNoJob after wait; a *RejectedError for a job that is unusable (it will not come again, and the next Take is free
// to go on); ErrUnavailable without a server, then Take has waited too; ctx's.
func (b *Bus) Take(ctx context.Context, region, pool string, wait time.Duration) (*Job, error) {
	what := "take job of " + region + " " + pool
	if err := checkPool(region, pool); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	limited, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	msg, err := b.fetch(limited, region, pool, wait)
	switch {
	case msg != nil:
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s: %w", what, ctx.Err())
	case err == nil, errors.Is(err, context.DeadlineExceeded):
		return nil, ErrNoJob
	case errors.Is(err, jetstream.ErrConsumerNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, fmt.Errorf("%s: %w: the coordinator has set up no such region: %w", what, ErrUnavailable, err)
	default:
		return nil, fault(what, err)
	}
	a, err := decodeAssignment(msg.Subject(), msg.Data())
	var meta *jetstream.MsgMetadata
	if err == nil {
		meta, err = msg.Metadata()
	}
	if err != nil {
		// Should this be lost, the job comes again, maxDeliveries times at most.
		if termErr := msg.TermWithReason(printable(err)); termErr != nil {
			err = fmt.Errorf("%w (and its end could not be sent: %w)", err, termErr)
		}
		return nil, b.reject(KindAssignment, msg.Subject(), err)
	}
	return &Job{Assignment: a, Delivery: int(meta.NumDelivered), msg: msg}, nil
}

// fetch waits for one message until ctx ends. No message and no error means that none came.
func (b *Bus) fetch(ctx context.Context, region, pool string, wait time.Duration) (jetstream.Msg, error) {
	if err := b.awaitConnected(ctx); err != nil {
		return nil, err
	}
	consumer, err := b.consumer(ctx, region, pool)
	if err != nil {
		return nil, err
	}
	opts := []jetstream.FetchOpt{jetstream.FetchContext(ctx)}
	if wait > 5*time.Second { // a heartbeat tells a quiet server from a dead one; it has to fit in twice
		opts = append(opts, jetstream.FetchHeartbeat(2*time.Second))
	}
	batch, err := consumer.Fetch(1, opts...)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, err
	}
	if msg, ok := <-batch.Messages(); ok {
		return msg, nil
	}
	return nil, batch.Error()
}

// consumer looks a pool's consumer up, once: what is kept is its name only.
func (b *Bus) consumer(ctx context.Context, region, pool string) (jetstream.Consumer, error) {
	stream := jobsStream(region)
	key := stream + " " + pool
	b.mu.Lock()
	c := b.consumers[key]
	b.mu.Unlock()
	if c != nil {
		return c, nil
	}
	c, err := b.js.Consumer(ctx, stream, pool)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.consumers[key] = c
	b.mu.Unlock()
	return c, nil
}

func checkPool(region, pool string) error {
	if err := checkName("region", region); err != nil {
		return err
	}
	if !slices.Contains(scenario.Pools(), pool) {
		return fmt.Errorf("got pool %.100q, want one of %v", pool, scenario.Pools())
	}
	return nil
}

// InProgress keeps the job with this worker for another AckWait. It does not wait for an answer.
func (j *Job) InProgress(ctx context.Context) error {
	return j.tell(ctx, "hold job", j.msg.InProgress)
}

// Ack ends the job and waits until the server knows. Call it once the result is on disk. Where it fails the job may be handed out
// again, to a worker that must then recognise the run id and acknowledge it too.
func (j *Job) Ack(ctx context.Context) error {
	return j.tell(ctx, "acknowledge job", func() error { return j.msg.DoubleAck(ctx) })
}

// Nak hands the job back, for another worker to take at once. It does not wait for an answer.
func (j *Job) Nak(ctx context.Context) error {
	return j.tell(ctx, "hand back job", j.msg.Nak)
}

func (j *Job) tell(ctx context.Context, what string, send func() error) error {
	err := ctx.Err()
	if err == nil {
		err = send()
	}
	if err != nil {
		return fault(what+" "+string(j.Assignment.RunID), err)
	}
	return nil
}

// headroom is what a message needs beside its body.
const headroom = 4 << 10

// PublishResult stores a result on the bus and returns when the server has it on disk. It may be repeated: the server drops the
// same execution of the same run by the same probe for ten minutes, the ledger for ever. A result larger than the server takes
// loses its last requests, which is logged. Without ErrUnavailable in it, an error is final for this result.
func (b *Bus) PublishResult(ctx context.Context, r runs.Result) error {
	what := "publish result " + string(r.RunID)
	if err := checkResult(&r); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	ctx, cancel := b.within(ctx)
	defer cancel()
	if err := b.awaitConnected(ctx); err != nil {
		return fault(what, err)
	}
	body, dropped, err := encodeResult(r, int(b.nc.MaxPayload())-headroom)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if dropped > 0 {
		b.log.Warn("result too large, last requests left out", "run_id", r.RunID, "dropped", dropped, "requests", len(r.Requests))
	}
	msg := nats.NewMsg(resultSubject(&r))
	msg.Header.Set(runHeader, string(r.RunID))
	msg.Data = body
	// The start tells a second execution from a repeat of the first: which of two counts is the ledger's to say.
	id := fmt.Sprintf("%s/%s/%d", r.RunID, r.Probe, r.StartedAt.UnixMilli())
	if _, err := b.js.PublishMsg(ctx, msg, jetstream.WithMsgID(id), jetstream.WithExpectStream(resultsStream(r.Region))); err != nil {
		return fault(what, err)
	}
	return nil
}

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
