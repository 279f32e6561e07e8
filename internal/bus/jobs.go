package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"lastmile/internal/bus/layout"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// ErrNoJob is the error of Take when no job came in time.
var ErrNoJob = errors.New("no job")

// unavailablePause keeps a worker from asking a server that has nothing for it over and over.
const unavailablePause = time.Second

// Job is an assignment that this worker has to itself until it acknowledges it, or until AckWait passes without InProgress.
type Job struct {
	Assignment runs.Assignment
	Delivery   int       // 1 = the first worker to get it; at most 3
	Stored     time.Time // when the server got it, by its clock

	msg jetstream.Msg
}

// Take waits for one job of the region's pool: one per free worker, for a job fetched ahead waits while others are idle. The
// errors: ErrNoJob after wait; a *RejectedError for a job that is unusable (it will not come again, and the next Take is free
// to go on); ErrUnavailable without a server or before the coordinator has set up the region; ctx's. A loop may call Take again
// at once whatever it returned: Take itself waits where there is nothing to be had.
func (b *Bus) Take(ctx context.Context, region, pool string, wait time.Duration) (*Job, error) {
	what := "take job of " + region + " " + pool
	if err := checkPool(region, pool); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	limited, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	msg, err := b.fetch(limited, region, pool)
	switch {
	case msg != nil:
		return b.accept(msg)
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s: %w", what, ctx.Err())
	case err == nil, errors.Is(err, context.DeadlineExceeded):
		return nil, ErrNoJob
	}
	_ = pause(limited, unavailablePause) // cut short it is long enough
	return nil, fault(what, err)
}

// accept checks a job, and ends one that is unusable.
func (b *Bus) accept(msg jetstream.Msg) (*Job, error) {
	a, err := decodeAssignment(msg.Subject(), msg.Data())
	var meta *jetstream.MsgMetadata
	if err == nil {
		meta, err = msg.Metadata()
	}
	if err == nil {
		return &Job{Assignment: a, Delivery: int(meta.NumDelivered), Stored: meta.Timestamp, msg: msg}, nil
	}
	// Should this be lost, the job comes again, layout.MaxDeliveries times at most.
	if termErr := msg.TermWithReason(printable(err)); termErr != nil {
		err = fmt.Errorf("%w (and its end could not be sent: %w)", err, termErr)
	}
	return nil, b.reject(KindAssignment, msg.Subject(), err)
}

// fetch waits for one message until the deadline of ctx. No message and no error means that none came.
func (b *Bus) fetch(ctx context.Context, region, pool string) (jetstream.Msg, error) {
	if err := b.awaitConnected(ctx); err != nil {
		return nil, err
	}
	consumer, err := b.consumer(ctx, region, pool)
	if err != nil {
		return nil, err
	}
	opts := []jetstream.FetchOpt{jetstream.FetchContext(ctx)}
	if deadline, _ := ctx.Deadline(); time.Until(deadline) > 5*time.Second { // a heartbeat tells a quiet server from a dead one; it has to fit in twice
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

// HandOn hands the job back, for another worker to take after a delay. It does not wait for an answer.
func (j *Job) HandOn(ctx context.Context, delay time.Duration) error {
	return j.tell(ctx, "hand on job", func() error { return j.msg.NakWithDelay(delay) })
}

// Last reports whether the job is not handed out again if this worker does not do it.
func (j *Job) Last() bool { return j.Delivery >= layout.MaxDeliveries }

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
