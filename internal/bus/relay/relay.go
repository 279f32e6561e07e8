// Package relay is what the runs of one replication have of one another: tokens, by which the one that writes tells those that read what
// it has written and when, and clocks that are compared with the hub's, without which "when" means nothing in another region.
//
//	name        subjects                                  keeps
//	TOKENS_<r>  token.<r>.<scenario>.<network>.<slot>     one Token of each run that writes in r, 15 min, in memory
//	(core)      time.<r>                                  request and reply, not stored
//
// Whoever starts first, a token is found: it is stored, so a reader that comes later has it at once, and one that was there before is
// woken by the same message, which every server passes on to who listens. A message that is lost on the way, in a reconnect, costs up to half a
// second, for readers look by themselves, too. A token is created once: where a run is executed a second time, its readers keep the
// first. The subject has the region that writes, so that permissions can forbid one region to speak for another; a reader takes tokens
// from no other stream than that region's. Readers create nothing at the server.
package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lastmile/internal/runs"
)

// errNoHub is why nothing works before Run.
var errNoHub = errors.New("the hub has not been reached yet")

// Options tune a Relay. The zero value is what production uses.
type Options struct {
	Now func() time.Time // this probe's clock; nil = time.Now. Differences of what it returns must not jump.
}

// Relay is a probe's end. It is made before the hub is reached, and works while Run does. It is safe for concurrent use.
type Relay struct {
	log    *slog.Logger
	region string
	clock  func() time.Time // may be set by somebody: see reading
	hub    atomic.Pointer[hub]
	latest atomic.Pointer[sample]
}

// hub is a connection that Run has.
type hub struct {
	nc *nats.Conn
	js jetstream.JetStream
}

// New returns the relay of a probe in a region.
func New(log *slog.Logger, region string, o Options) *Relay {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Relay{log: log, region: region, clock: o.Now}
}

// Run compares the clocks, at once and then every minute, until ctx ends. js is a connection to the hub.
func (r *Relay) Run(ctx context.Context, js jetstream.JetStream) {
	r.hub.Store(&hub{nc: js.Conn(), js: js})
	for ctx.Err() == nil {
		wait := compareEvery
		if err := r.compare(ctx); err != nil && ctx.Err() == nil {
			r.log.Debug("clock not compared with the hub's", "err", err)
			wait = compareAgain
		}
		rest(ctx, wait)
	}
}

// rest waits, or until ctx ends.
func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// Read reads this probe's clock, and says how it compares with the hub's. The error says that this is not known. Where somebody sets the
// clock, that is not seen before the next comparison, so that the two still belong together.
func (r *Relay) Read() (now time.Time, clock runs.Clock, err error) {
	s := r.latest.Load()
	if s == nil {
		return r.clock(), clock, errors.New("read clock: how it compares with the hub's is not known yet")
	}
	now = s.steady(r.clock)
	return now, s.clock(now), nil
}

// Clock is how this probe's clock compares with the hub's; ok is false before the first comparison.
func (r *Relay) Clock() (clock runs.Clock, ok bool) {
	_, clock, err := r.Read()
	return clock, err == nil
}

// connection is the hub, or why there is none.
func (r *Relay) connection() (*hub, error) {
	if h := r.hub.Load(); h != nil {
		return h, nil
	}
	return nil, errNoHub
}

// fault says what could not be done.
func fault(what string, err error) error { return fmt.Errorf("%s: %w", what, err) }
