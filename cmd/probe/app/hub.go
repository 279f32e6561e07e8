package app

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"lastmile/internal/bus"
	"lastmile/internal/runs"
)

// hub is the bus as this probe has it: there from the start, and until the hub has been reached unavailable like any hub that is away. A probe
// that starts while its region is cut off therefore works as one that was there before.
type hub struct {
	log     *slog.Logger
	bus     atomic.Pointer[bus.Bus]
	reached chan struct{} // closed when bus is there
}

func newHub(log *slog.Logger) *hub { return &hub{log: log, reached: make(chan struct{})} }

// connect reaches the hub, which may take for ever, and calls there before anybody else may use it. An error says that it never will be
// reached, as things are; the end of ctx is none.
func (h *hub) connect(ctx context.Context, o bus.Options, there func(*bus.Bus)) error {
	b, err := bus.Connect(ctx, h.log, o)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	there(b)
	h.bus.Store(b)
	close(h.reached)
	h.log.Info("hub reached")
	return nil
}

// close ends the connection where there is one. Nobody may be connecting any more.
func (h *hub) close() {
	b := h.bus.Load()
	if b == nil {
		return
	}
	if err := b.Close(); err != nil {
		h.log.Warn("hub not left in good order", "err", err)
	}
}

// now is the bus if it has been reached.
func (h *hub) now(what string) (*bus.Bus, error) {
	if b := h.bus.Load(); b != nil {
		return b, nil
	}
	return nil, fmt.Errorf("%s: %w: %w", what, bus.ErrUnavailable, errNoHub)
}

// await is the bus, when it has been reached or ctx ends.
func (h *hub) await(ctx context.Context, what string) (*bus.Bus, error) {
	select {
	case <-h.reached:
	case <-ctx.Done():
	}
	return h.now(what)
}

// Take implements worker.Hub.
func (h *hub) Take(ctx context.Context, region, pool string, wait time.Duration) (*bus.Job, error) {
	limited, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	b, err := h.await(limited, "take job of "+region+" "+pool)
	if err != nil {
		return nil, err
	}
	return b.Take(ctx, region, pool, wait)
}

// PublishResults implements worker.Hub.
func (h *hub) PublishResults(ctx context.Context, results []runs.Result) []error {
	b, err := h.now("publish results")
	if err != nil {
		return slices.Repeat([]error{err}, len(results))
	}
	return b.PublishResults(ctx, results)
}

// Heartbeat implements worker.Hub.
func (h *hub) Heartbeat(ctx context.Context, hb runs.Heartbeat) (runs.HeartbeatReply, error) {
	b, err := h.now("send heartbeat")
	if err != nil {
		return runs.HeartbeatReply{}, err
	}
	return b.Heartbeat(ctx, hb)
}

// Plan implements autonomy.Hub.
func (h *hub) Plan(ctx context.Context, region string) (runs.Plan, error) {
	b, err := h.await(ctx, "read plan of "+region)
	if err != nil {
		return runs.Plan{}, err
	}
	return b.Plan(ctx, region)
}

// SendPeerBeat implements autonomy.Hub.
func (h *hub) SendPeerBeat(beat runs.PeerBeat) error {
	b, err := h.now("send beat to peers")
	if err != nil {
		return err
	}
	return b.SendPeerBeat(beat)
}

// FollowPeers implements autonomy.Hub.
func (h *hub) FollowPeers(ctx context.Context, region string, heard func(runs.PeerBeat)) error {
	b, err := h.await(ctx, "follow peers")
	if err != nil {
		return err
	}
	return b.FollowPeers(ctx, region, heard)
}

// stats are those of the bus; none before it has been reached.
func (h *hub) stats() bus.Stats {
	if b := h.bus.Load(); b != nil {
		return b.Stats()
	}
	return bus.Stats{}
}
