// Package archive finds single results among all that are stored of a region.
package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"lastmile/internal/runs"
)

// RunHeader names the run that a result is of, so that one can be told without reading the body.
const RunHeader = "Lastmile-Run"

const (
	clocksApart = time.Hour // by so much the server's clock may be behind the one that named a slot
	batchSize   = 256
	idle        = 30 * time.Second // after which the server forgets a consumer that nobody reads
	deleteTime  = 2 * time.Second
)

// Find returns the results of a run that are in a stream, in the order in which they were stored: none, one, or one for each time that it was
// executed. It goes through the headers of all results of the scenario since then.
func Find(ctx context.Context, js jetstream.JetStream, in string, id runs.ID) ([]runs.Result, error) {
	c, slot, err := id.Parse()
	if err != nil {
		return nil, err
	}
	stream, err := js.Stream(ctx, in)
	if err != nil {
		return nil, err
	}
	sequences, err := find(ctx, stream, id, "res."+c.Region+"."+c.Scenario, slot.Add(-clocksApart))
	if err != nil {
		return nil, err
	}
	var found []runs.Result
	for _, sequence := range sequences {
		msg, err := stream.GetMsg(ctx, sequence)
		if errors.Is(err, jetstream.ErrMsgNotFound) { // it has just been deleted
			continue
		}
		if err != nil {
			return nil, err
		}
		var r runs.Result
		if json.Unmarshal(msg.Data, &r) != nil || r.RunID != id {
			continue // not ours: whoever follows the stream reports it
		}
		found = append(found, r)
	}
	return found, nil
}

// find lists where the results of a run stand.
func find(ctx context.Context, stream jetstream.Stream, id runs.ID, subject string, since time.Time) (found []uint64, err error) {
	consumer, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		FilterSubject: subject, DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &since, HeadersOnly: true,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: idle,
	})
	if err != nil {
		return nil, err
	}
	defer func() { // whoever asks again and again must not leave one behind each time
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deleteTime)
		defer cancel()
		_ = stream.DeleteConsumer(ctx, consumer.CachedInfo().Name) // or else it goes by itself
	}()
	for count, all := uint64(0), consumer.CachedInfo().NumPending; count < all; {
		batch, err := consumer.Fetch(int(min(all-count, batchSize)), jetstream.FetchContext(ctx))
		if err != nil {
			return nil, err
		}
		for msg := range batch.Messages() {
			meta, err := msg.Metadata()
			if err != nil {
				return nil, err
			}
			if count++; meta.Sequence.Consumer != count { // one was lost on its way
				return nil, fmt.Errorf("got message %d of the consumer, want %d", meta.Sequence.Consumer, count)
			}
			if msg.Headers().Get(RunHeader) == string(id) {
				found = append(found, meta.Sequence.Stream)
			}
		}
		if err := errors.Join(batch.Error(), ctx.Err()); err != nil {
			return nil, err
		}
	}
	return found, nil
}
