package bus

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"lastmile/internal/bus/layout"
	"lastmile/internal/bus/resultjson"
	"lastmile/internal/bus/room"
	"lastmile/internal/runs"
)

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
	body, dropped, err := resultjson.Encode(r, int(b.nc.MaxPayload())-headroom)
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

// resultsAtOnce is how many results PublishResults has under way.
const resultsAtOnce = 64

// PublishResults stores results as PublishResult does each, many at once and in no particular order, and returns the error of each, nil
// where it is stored. It is for those that have gathered while there was no server: one by one, each would wait for its own sync.
func (b *Bus) PublishResults(ctx context.Context, results []runs.Result) []error {
	errs := make([]error, len(results))
	var group errgroup.Group
	group.SetLimit(resultsAtOnce)
	for i := range results {
		group.Go(func() error {
			errs[i] = b.PublishResult(ctx, results[i])
			return nil
		})
	}
	_ = group.Wait() // they are in errs
	return errs
}

// KeepResults has the results of a region kept for so long from now on, until EnsureStreams is called again. Older ones are deleted.
func (b *Bus) KeepResults(ctx context.Context, region string, age time.Duration) error {
	if err := room.Keep(ctx, b.js, resultsStream(region), age); err != nil {
		return fault("keep results of "+region, err)
	}
	return nil
}

// Rooms tells how much room there is for the results of each region. One that is full takes no new ones, which stay with their probes: KeepResults
// makes room.
func (b *Bus) Rooms(ctx context.Context, regions []string) ([]room.Room, error) {
	var rooms []room.Room
	for _, region := range regions {
		one, err := room.Of(ctx, b.js, region, resultsStream(region), layout.ResultsAge)
		if err != nil {
			return nil, fault("ask for the room of "+region, err)
		}
		rooms = append(rooms, one)
	}
	return rooms, nil
}
