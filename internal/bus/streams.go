package bus

import (
	"context"
	"fmt"

	"lastmile/internal/bus/audit"
	"lastmile/internal/bus/layout"
	"lastmile/internal/bus/lease"
	"lastmile/internal/bus/outbox"
	"lastmile/internal/bus/plans"
	"lastmile/internal/bus/relay"
)

// AckWait is how long a taken job may go without Job.InProgress before another worker gets it. Call InProgress at least three
// times as often.
const AckWait = layout.AckWait

// EnsureStreams creates the streams, consumers and buckets of the regions, or brings those that exist up to date. Regions that
// are no longer named keep theirs: they hold history. Where there is too little room for what is told of alerts, or for the audit trail, less of it is
// kept, or none.
func (b *Bus) EnsureStreams(ctx context.Context, regions []string) error {
	const what = "ensure streams"
	for _, region := range regions {
		if err := checkName("region", region); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	js := layout.Lenient(b.log, b.js)
	replicas, err := layout.Replicas(ctx, js, b.opts.Replicas)
	if err != nil {
		return fault(what, err)
	}
	if err := layout.Ensure(ctx, js, regions, layout.Options{ResultsBytes: b.opts.ResultsBytes, Replicas: replicas}); err != nil {
		return fault(what, err)
	}
	if err := relay.Ensure(ctx, js, regions, replicas); err != nil {
		return fault("ensure tokens", err)
	}
	if err := plans.Ensure(ctx, js, replicas); err != nil {
		return fault("ensure plans", err)
	}
	if err := lease.Ensure(ctx, js, replicas); err != nil {
		return fault("ensure lease", err)
	}
	modest := layout.Modest(b.log, b.js)
	if err := outbox.Ensure(ctx, modest, replicas); err != nil {
		return fault("ensure outbox", err)
	}
	if err := audit.Ensure(ctx, modest, replicas); err != nil {
		return fault("ensure audit trail", err)
	}
	return nil
}

// Streams names the streams that Follow reads for the regions.
func Streams(regions []string) []string {
	names := []string{verdictStream}
	for _, region := range regions {
		names = append(names, resultsStream(region))
	}
	return names
}

// Outbox is what is to be told about alerts.
func (b *Bus) Outbox() *outbox.Outbox { return outbox.New(b.js, fault) }
