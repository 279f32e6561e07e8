// Package pager is what the coordinator that leads does about alerts: it has them decided, kept for the next leader and announced, and has the runs ordered
// that are to confirm them.
package pager

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"lastmile/internal/bus/orders"
	"lastmile/internal/evaluate"
	"lastmile/internal/runs"
)

// Engine decides; see package evaluate.
type Engine interface {
	// Tick decides which alerts begin, change or end.
	Tick(now time.Time) evaluate.Decisions
	// Alerts returns those that are active, or ended lately.
	Alerts(now time.Time) []runs.Alert
	// State returns what the next leader has to know.
	State() ([]byte, error)
	// Adopt goes on from what State returned.
	Adopt(state []byte) error
}

// Hub keeps the state of the alerts from one leader to the next; see bus.Bus.
type Hub interface {
	// Alerts returns what stands there, and its revision: 0 where there is nothing.
	Alerts(ctx context.Context) (orders.AlertState, uint64, error)
	// SaveAlerts replaces it where revision is still the latest; else the error holds bus.ErrConflict.
	SaveAlerts(ctx context.Context, state orders.AlertState, revision uint64) (uint64, error)
}

// Notifier has people told; see package notify.
type Notifier interface {
	// Run delivers what is in the outbox until ctx ends.
	Run(ctx context.Context) error
	// Announce puts changes into the outbox. It may be repeated.
	Announce(ctx context.Context, changed []runs.Alert) error
	// Refresh is told about once a second which alerts are active, or ended lately, for those sinks that want to hear it again.
	Refresh(ctx context.Context, all []runs.Alert) error
}

// Options say for whom a Pager works, and with what. All but Notifier and Told must be set.
type Options struct {
	Term     uint64                                                      // of the leadership
	Now      func() time.Time                                            // by the coordinators' clock
	Order    func(ctx context.Context, r *evaluate.ConfirmRequest) error // puts a confirmation on the bus
	Notifier Notifier                                                    // nil = nobody is told
	Told     func(*runs.Alert)                                           // called for each change that has been announced; nil = nobody cares
	Usual    func(scenario, region string, now time.Time) string         // how a journey's runs compare with what is usual there; nil = nobody knows
}

// Pager decides for one term which alerts there are, and has people told. Deciding goes on each second whatever the hub or a sink does, and nothing here
// holds up what else the leader does.
//
// The order of work for what has changed, and what a crash after each part costs:
//
//  1. decide, in memory                  nothing has been told: the next leader decides anew, from what stood before
//  2. keep what was decided, and that it is still to be announced, by compare-and-swap
//     nothing: the next leader announces it, as begun when it was
//  3. announce it: it is in the outbox   nothing: the next leader puts it there again, and the outbox or its receiver knows it
//  4. keep that it has been announced
//
// What could not be kept is not announced: should this leader be gone the next moment, its successor would page for the same under another
// beginning. Only where it never can be kept, because it is too large, is it announced all the same.
type Pager struct {
	log      *slog.Logger
	hub      Hub
	engine   Engine
	opts     Options
	adopted  atomic.Bool
	requests chan evaluate.ConfirmRequest

	mu   sync.Mutex
	news stand         // not taken yet
	left bool          // there is one
	wake chan struct{} // a stand has been left
}

// maxRequests bounds the confirmations that wait to be ordered: they are worth something for seconds only.
const maxRequests = 1000

// New returns a pager for one term.
func New(log *slog.Logger, hub Hub, engine Engine, o Options) *Pager {
	return &Pager{
		log: log, hub: hub, engine: engine, opts: o, requests: make(chan evaluate.ConfirmRequest, maxRequests), wake: make(chan struct{}, 1),
	}
}

// Adopted reports whether what the last leader kept is in the engine, so that its alerts are those that count.
func (p *Pager) Adopted() bool { return p.adopted.Load() }

// Run works until ctx ends.
func (p *Pager) Run(ctx context.Context) error {
	kept, ok := p.adopt(ctx)
	if !ok {
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { p.decide(ctx); return nil })
	group.Go(func() error { p.tell(ctx, kept); return nil })
	group.Go(func() error { p.confirm(ctx); return nil })
	if n := p.opts.Notifier; n != nil {
		group.Go(func() error { return n.Run(ctx) })
	}
	return group.Wait()
}

// The pace of it all.
const (
	tickEvery  = time.Second
	keepEvery  = 10 * time.Second // how often what tells nobody anything, such as a first suspicion, is kept for the next leader
	adoptAgain = 500 * time.Millisecond
	storeTime  = 5 * time.Second // for one exchange with the hub
)

// adopt takes up what the last leader kept; ok=false means that ctx has ended. Where there is nothing, the engine goes on from its snapshot.
func (p *Pager) adopt(ctx context.Context) (k kept, ok bool) {
	for told := false; ; told = true {
		state, revision, err := p.read(ctx)
		if err == nil {
			return p.take(&state, revision), true
		}
		if !told && ctx.Err() == nil {
			p.log.Warn("state of the alerts not read, trying on: nobody is alerted meanwhile", "err", err)
		}
		select {
		case <-ctx.Done():
			return k, false
		case <-time.After(adoptAgain):
		}
	}
}

func (p *Pager) read(ctx context.Context) (orders.AlertState, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	return p.hub.Alerts(ctx)
}

// take has the engine go on from what was kept.
func (p *Pager) take(state *orders.AlertState, revision uint64) kept {
	defer p.adopted.Store(true)
	k := kept{revision: revision, pending: state.Pending, settled: true}
	if len(state.State) == 0 {
		return k
	}
	if err := p.engine.Adopt(state.State); err != nil {
		p.log.Error("state of the alerts not usable, going on without it: what is wrong may page again", "term", state.Term, "err", err)
		return k
	}
	k.state = state.State
	return k
}

// decide looks once a second whether an alert begins, changes or ends, until ctx ends.
func (p *Pager) decide(ctx context.Context) {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	last := time.Time{} // when the state was last taken
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := p.opts.Now()
		d := p.engine.Tick(now)
		s := stand{alerts: p.compared(p.engine.Alerts(now), now), changed: p.compared(d.Changed, now)}
		if len(d.Changed) > 0 || len(d.Confirm) > 0 || time.Since(last) >= keepEvery {
			state, err := p.engine.State()
			if err != nil {
				p.log.Error("state of the alerts not kept: the next leader would page again", "err", err)
			}
			s.state, last = state, time.Now()
		}
		p.leave(s)
		for _, r := range d.Confirm {
			select {
			case p.requests <- r:
			default:
				p.log.Warn("confirmation not ordered: too many wait", "combination", r.Combination, "most", maxRequests)
			}
		}
	}
}

// compared adds to alerts of a region how long runs usually take there, beside what the engine says of failures: a second number, on which nothing was decided.
func (p *Pager) compared(alerts []runs.Alert, now time.Time) []runs.Alert {
	for i := range alerts {
		if a := &alerts[i]; p.opts.Usual != nil && a.Region != "" && a.Active() {
			if text := p.opts.Usual(a.Scenario, a.Region, now); a.Why.Usual == "" || text == "" {
				a.Why.Usual += text
			} else {
				a.Why.Usual += "; " + text
			}
		}
	}
	return alerts
}

// orderedAtOnce is how many confirmations are put on the bus at a time: a region that takes none must not keep the others waiting.
const orderedAtOnce = 16

// confirm has confirmations ordered until ctx ends.
func (p *Pager) confirm(ctx context.Context) {
	var group errgroup.Group
	group.SetLimit(orderedAtOnce)
	defer func() { _ = group.Wait() }() // what goes wrong has been logged
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-p.requests:
			group.Go(func() error {
				if err := p.opts.Order(ctx, &r); err != nil && ctx.Err() == nil {
					p.log.Warn("confirmation not ordered", "combination", r.Combination, "err", err)
				}
				return nil
			})
		}
	}
}
