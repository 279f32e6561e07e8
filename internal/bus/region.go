package bus

import (
	"context"
	"errors"
	"fmt"

	"lastmile/internal/bus/peers"
	"lastmile/internal/bus/plans"
	"lastmile/internal/runs"
)

// ErrNoPlan is in the error of Plan for a region that no coordinator has published a plan of.
var ErrNoPlan = plans.ErrNone

// PublishPlan stores what a region's probes need to go on without a coordinator. A plan of the same revision stays as it is. Where a
// coordinator of a later term has put another one there, that one stays and the error holds ErrConflict.
func (b *Bus) PublishPlan(ctx context.Context, p runs.Plan) error {
	if err := p.Check(); err != nil {
		return fmt.Errorf("publish plan: %w", err)
	}
	ctx, cancel := b.within(ctx)
	defer cancel()
	switch err := plans.Put(ctx, b.js, &p); {
	case errors.Is(err, plans.ErrSuperseded):
		return fmt.Errorf("publish plan of %s: %w: %w", p.Region, ErrConflict, err)
	case err != nil:
		return fault("publish plan of "+p.Region, err)
	}
	return nil
}

// Plan reads a region's plan, whole and checked. The errors: ErrNoPlan; a *RejectedError for one that is unusable; ErrUnavailable.
func (b *Bus) Plan(ctx context.Context, region string) (runs.Plan, error) {
	if err := checkName("region", region); err != nil {
		return runs.Plan{}, fmt.Errorf("read plan: %w", err)
	}
	ctx, cancel := b.within(ctx)
	defer cancel()
	p, err := plans.Get(ctx, b.js, region)
	if unusable, bad := errors.AsType[*plans.DecodeError](err); bad {
		return p, b.reject(KindPlan, plans.Bucket+"/"+region, unusable.Err)
	}
	if err != nil && !errors.Is(err, ErrNoPlan) {
		err = fault("read plan of "+region, err)
	}
	return p, err
}

// SendPeerBeat tells the region's other probes of this one, without waiting for anybody.
func (b *Bus) SendPeerBeat(beat runs.PeerBeat) error {
	if err := peers.Send(b.nc, &beat); err != nil {
		return fault("send beat to peers", err)
	}
	return nil
}

// FollowPeers hands the beats of a region's probes to heard, one at a time and the caller's own among them, until ctx ends; then it
// returns nil. Unusable ones are counted and logged.
func (b *Bus) FollowPeers(ctx context.Context, region string, heard func(runs.PeerBeat)) error {
	if err := checkName("region", region); err != nil {
		return fmt.Errorf("follow peers: %w", err)
	}
	err := peers.Listen(ctx, b.nc, region, heard, func(subject string, err error) {
		b.log.Warn("peer's beat rejected", "err", b.reject(KindPeer, subject, err))
	})
	if err != nil {
		err = fault("follow peers of "+region, err)
	}
	return err
}
