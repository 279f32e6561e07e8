// Package layout says how each stream of the bus, each consumer of jobs and the bucket of the cursors is configured.
package layout

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"lastmile/internal/scenario"
)

// AckWait is how long a taken job may go without a sign of life before another worker gets it.
const AckWait = 10 * time.Second

// jobsAtOnce bounds how many jobs of a pool are with its workers at a time: far more than a region's probes have places, for what is beyond it waits while
// places are free.
const jobsAtOnce = 10_000

// MaxDeliveries is how often a job is handed out. One that kills three workers must not kill all.
const MaxDeliveries = 3

// Verdicts is the stream of the verdicts, CoordBucket the bucket of the cursors.
const (
	Verdicts    = "VERDICT"
	CoordBucket = "coord"
)

const day = 24 * time.Hour

// ResultsAge is how long results are kept where there is room for them.
const ResultsAge = 30 * day

// JobsStream names the stream of a region's jobs.
func JobsStream(region string) string { return "JOBS_" + region }

// ResultsStream names the stream of a region's results.
func ResultsStream(region string) string { return "RESULTS_" + region }

// Options tune what is kept.
type Options struct {
	ResultsBytes int64 // that the results of a region may take
	Replicas     int   // servers of the hub that keep each stream, at least one
}

// Replicas returns on how many servers everything is to be kept: on as many as are wanted, or with 0 on as many as it is now, one at first.
func Replicas(ctx context.Context, js jetstream.JetStream, want int) (int, error) {
	if want > 0 {
		return want, nil
	}
	stream, err := js.Stream(ctx, Verdicts)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 1, nil
	}
	if err != nil {
		return 0, fmt.Errorf("stream %s: %w", Verdicts, err)
	}
	return stream.CachedInfo().Config.Replicas, nil
}

// Ensure makes the streams, consumers and the bucket, or brings those that exist up to date: in what they keep and for how long, and on how many
// servers.
func Ensure(ctx context.Context, js jetstream.JetStream, regions []string, o Options) error {
	configs := []jetstream.StreamConfig{o.verdicts()}
	for _, region := range regions {
		configs = append(configs, o.jobs(region), o.results(region))
	}
	for _, c := range configs {
		if _, err := js.CreateOrUpdateStream(ctx, c); err != nil {
			return fmt.Errorf("stream %s: %w", c.Name, err)
		}
	}
	for _, region := range regions {
		for _, pool := range scenario.Pools() {
			if _, err := js.CreateOrUpdateConsumer(ctx, JobsStream(region), Pool(region, pool)); err != nil {
				return fmt.Errorf("consumer %s of %s: %w", pool, JobsStream(region), err)
			}
		}
	}
	_, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: CoordBucket, Description: "State of the coordinators, changed by compare-and-swap only", Replicas: o.Replicas,
	})
	if err != nil {
		return fmt.Errorf("bucket %s: %w", CoordBucket, err)
	}
	return nil
}

// jobs keeps each job until its own time to live ends. The message outlives its acknowledgement: while it is there, its
// subject is taken, and that is what makes a slot run once. Of two jobs on a subject the first goes when the second is stored.
func (o Options) jobs(region string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              JobsStream(region),
		Description:       "Runs to be done in " + region,
		Subjects:          []string{"job." + region + ".*.*.*.*"},
		Retention:         jetstream.LimitsPolicy,
		Storage:           jetstream.FileStorage,
		Replicas:          o.Replicas,
		MaxAge:            2 * time.Hour,
		MaxBytes:          256 << 20,
		MaxMsgsPerSubject: 1,
		Discard:           jetstream.DiscardNew,
		AllowMsgTTL:       true,
	}
}

// results keeps the region's results. The run id is not in the subject: a million subjects cost hundreds of megabytes.
// A region that floods the bus fills its own stream only. It is not compressed: after a kill -9 nats-server 2.15.2 could not read blocks of a compressed
// stream any more ("s2: corrupt input"), on all three servers of a cluster; streams beside it that are not compressed came back whole.
func (o Options) results(region string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        ResultsStream(region),
		Description: "Results of the runs in " + region,
		Subjects:    []string{"res." + region + ".*"},
		Retention:   jetstream.LimitsPolicy,
		Storage:     jetstream.FileStorage,
		Replicas:    o.Replicas,
		MaxAge:      ResultsAge,
		MaxBytes:    o.ResultsBytes,
		Discard:     jetstream.DiscardNew,
		DenyDelete:  true,
		DenyPurge:   true,
		Duplicates:  10 * time.Minute,
	}
}

func (o Options) verdicts() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        Verdicts,
		Description: "Slots closed without a result, once per region and minute",
		Subjects:    []string{"verdict.*.*"},
		Retention:   jetstream.LimitsPolicy,
		Storage:     jetstream.FileStorage,
		Replicas:    o.Replicas,
		MaxAge:      40 * day,
	}
}

// Pool hands the jobs of one pool to whichever worker asks first.
func Pool(region, pool string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       pool,
		FilterSubject: "job." + region + "." + pool + ".>",
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       AckWait,
		MaxDeliver:    MaxDeliveries,
		MaxAckPending: jobsAtOnce,
		MaxWaiting:    512,
	}
}
