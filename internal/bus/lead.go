package bus

import (
	"context"
	"time"

	"lastmile/internal/bus/lease"
)

// LeaseOptions say who campaigns for the leadership of the coordinators.
type LeaseOptions = lease.Options

// Lead campaigns for the leadership and calls lead with each term that is won, until ctx ends; then it returns nil, or the last call's error. The
// context of a call ends before another coordinator can lead. A call that returns of its own accord ends Lead, with its error. See package lease.
func (b *Bus) Lead(ctx context.Context, o LeaseOptions, lead func(ctx context.Context, term uint64) error) error {
	return lease.New(b.log, b.js, o).Run(ctx, func(ctx context.Context, t lease.Term) error {
		b.mu.Lock()
		b.term = t
		b.mu.Unlock()
		return lead(ctx, t.Number)
	})
}

// Leader returns the address of the coordinator that leads, as it gave it, or gave it until it died a moment ago; empty where there is none.
func (b *Bus) Leader(ctx context.Context) (string, error) {
	ctx, cancel := b.within(ctx)
	defer cancel()
	address, err := lease.Leader(ctx, b.js)
	if err != nil {
		return "", fault("find the leader", err)
	}
	return address, nil
}

// began is when the term began by the hub's clock; ok=false for any but this coordinator's last.
func (b *Bus) began(term uint64) (at time.Time, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.term.Began, term > 0 && b.term.Number == term
}
