package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"lastmile/internal/bus/objects"
	"lastmile/internal/runs"
)

// Artefacts is where the artefacts of a region's runs are kept at the hub.
func (b *Bus) Artefacts(region string) *objects.Bucket { return objects.New(b.js, region) }

// clocksApart is by how much the server's clock may be behind the one that named a slot.
const clocksApart = time.Hour

// Results finds the results of a run among those that are stored: none, one, or one for each time that it was executed.
func (b *Bus) Results(ctx context.Context, id runs.ID) ([]runs.Result, error) {
	what := "find results of " + string(id)
	c, slot, err := id.Parse()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	since := slot.Add(-clocksApart)
	consumer, err := b.js.OrderedConsumer(ctx, resultsStream(c.Region), jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{"res." + c.Region + "." + c.Scenario}, DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &since,
	})
	if err != nil {
		return nil, fault(what, err)
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return nil, fault(what, err)
	}
	var found []runs.Result
	for left := info.NumPending; left > 0; {
		batch, err := consumer.Fetch(int(min(left, readerBatch)), jetstream.FetchContext(ctx))
		if err != nil {
			return found, fault(what, err)
		}
		for msg := range batch.Messages() {
			left--
			var r runs.Result
			if msg.Headers().Get(runHeader) != string(id) || json.Unmarshal(msg.Data(), &r) != nil || r.RunID != id {
				continue // of another run, or not ours: whoever follows the stream reports it
			}
			found = append(found, r)
		}
		if err := batch.Error(); err != nil {
			return found, fault(what, err)
		}
		if ctx.Err() != nil {
			return found, fault(what, ctx.Err())
		}
	}
	return found, nil
}
