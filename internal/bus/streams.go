package bus

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"lastmile/internal/bus/relay"
	"lastmile/internal/scenario"
)

// AckWait is how long a taken job may go without Job.InProgress before another worker gets it. Call InProgress at least three
// times as often.
const AckWait = 10 * time.Second

const (
	coordBucket   = "coord"
	maxDeliveries = 3
	day           = 24 * time.Hour
)

// EnsureStreams creates the streams, consumers and buckets of the regions, or brings those that exist up to date. Regions that
// are no longer named keep theirs: they hold history.
func (b *Bus) EnsureStreams(ctx context.Context, regions []string) error {
	for _, region := range regions {
		if err := checkName("region", region); err != nil {
			return fmt.Errorf("ensure streams: %w", err)
		}
	}
	configs := []jetstream.StreamConfig{verdictConfig()}
	for _, region := range regions {
		configs = append(configs, jobsConfig(region), resultsConfig(region, b.opts.ResultsBytes))
	}
	for _, c := range configs {
		if _, err := b.js.CreateOrUpdateStream(ctx, c); err != nil {
			return fault("ensure stream "+c.Name, err)
		}
	}
	if err := relay.Ensure(ctx, b.js, regions); err != nil {
		return fault("ensure tokens", err)
	}
	for _, region := range regions {
		for _, pool := range scenario.Pools() {
			if _, err := b.js.CreateOrUpdateConsumer(ctx, jobsStream(region), poolConfig(region, pool)); err != nil {
				return fault("ensure consumer "+jobsStream(region)+" "+pool, err)
			}
		}
	}
	coord := jetstream.KeyValueConfig{Bucket: coordBucket, Description: "State of the coordinators, changed by compare-and-swap only"}
	if _, err := b.js.CreateOrUpdateKeyValue(ctx, coord); err != nil {
		return fault("ensure bucket "+coordBucket, err)
	}
	return nil
}

// jobsConfig keeps each job until its own time to live ends. The message outlives its acknowledgement: while it is there, its
// subject is taken, and that is what makes a slot run once.
func jobsConfig(region string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        jobsStream(region),
		Description: "Runs to be done in " + region,
		Subjects:    []string{"job." + region + ".*.*.*.*"},
		Retention:   jetstream.LimitsPolicy,
		Storage:     jetstream.FileStorage,
		MaxAge:      2 * time.Hour,
		MaxBytes:    256 << 20,
		Discard:     jetstream.DiscardNew,
		AllowMsgTTL: true,
	}
}

// resultsConfig keeps the region's results. The run id is not in the subject: a million subjects cost hundreds of megabytes.
// A region that floods the bus fills its own stream only.
func resultsConfig(region string, maxBytes int64) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        resultsStream(region),
		Description: "Results of the runs in " + region,
		Subjects:    []string{"res." + region + ".*"},
		Retention:   jetstream.LimitsPolicy,
		Storage:     jetstream.FileStorage,
		Compression: jetstream.S2Compression,
		MaxAge:      30 * day,
		MaxBytes:    maxBytes,
		Discard:     jetstream.DiscardNew,
		DenyDelete:  true,
		DenyPurge:   true,
		Duplicates:  10 * time.Minute,
	}
}

func verdictConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        verdictStream,
		Description: "Slots closed without a result, once per region and minute",
		Subjects:    []string{"verdict.*.*"},
		Retention:   jetstream.LimitsPolicy,
		Storage:     jetstream.FileStorage,
		MaxAge:      40 * day,
	}
}

// poolConfig hands the jobs of one pool to whichever worker asks first.
func poolConfig(region, pool string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       pool,
		FilterSubject: "job." + region + "." + pool + ".>",
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       AckWait,
		MaxDeliver:    maxDeliveries,
		MaxAckPending: 256,
		MaxWaiting:    512,
	}
}
