package bus

import (
	"context"
	"log/slog"
	"sync"

	"lastmile/internal/bus/relay"
)

// Relay is a probe's end of what the runs of a replication have of one another.
type Relay = relay.Relay

// RelayOptions tune a Relay.
type RelayOptions = relay.Options

// NewRelay returns the relay of a probe in a region. It works while a Bus that was made with it is open.
func NewRelay(log *slog.Logger, region string, o RelayOptions) *Relay {
	return relay.New(log, region, o)
}

// startRelay has the relay work until Close.
func (b *Bus) startRelay(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { b.opts.Relay.Run(ctx, b.js) })
	b.stopRelay = func() {
		cancel()
		running.Wait()
	}
}

// ServeTime answers the probes' questions for the hub's time until ctx ends; then it returns nil.
func (b *Bus) ServeTime(ctx context.Context) error { return relay.ServeTime(ctx, b.nc, b.opts.Now) }
