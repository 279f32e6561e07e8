package pager

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"lastmile/internal/bus"
	"lastmile/internal/bus/orders"
	"lastmile/internal/runs"
)

// stand is how the alerts stood after a tick.
type stand struct {
	state   []byte       // of the engine; nil = as it was, for all that matters
	alerts  []runs.Alert // active and lately ended
	changed []runs.Alert // since the last stand that was taken
}

// leave leaves a stand to whoever tells of it.
func (p *Pager) leave(s stand) {
	p.mu.Lock()
	if s.state != nil {
		p.news.state = s.state
	}
	p.news.alerts, p.left = s.alerts, true
	p.news.changed = append(p.news.changed, s.changed...)
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default: // there is word already
	}
}

// latest takes what has been left since the last call; ok=false where that is nothing: the word of it was of a stand that has been taken.
func (p *Pager) latest() (s stand, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok = p.news, p.left
	p.news, p.left = stand{}, false
	return s, ok
}

// kept is what stands at the hub, and what is to.
type kept struct {
	state    []byte
	pending  []runs.Alert // changes that have not been announced, as far as is known
	revision uint64       // of what stands there
	settled  bool         // whether that is this
	patience time.Time    // not to be announced again before
}

// maxUntold bounds the changes that wait to be announced while there is no hub. Beyond it those of inhibited alerts are given up, which nobody would be told of, and
// then the oldest.
const maxUntold = 5000

// enter takes up what is new, and returns how many changes are given up for it.
func (k *kept) enter(s *stand) (lost int) {
	if s.state != nil && !bytes.Equal(s.state, k.state) {
		k.state, k.settled = s.state, false
	}
	if len(s.changed) > 0 {
		k.pending, k.settled, k.patience = append(k.pending, s.changed...), false, time.Time{}
	}
	before := len(k.pending)
	if before > maxUntold {
		k.pending = slices.DeleteFunc(k.pending, func(a runs.Alert) bool { return a.Inhibited })
		k.pending = k.pending[max(0, len(k.pending)-maxUntold):]
	}
	return before - len(k.pending)
}

// errFenced is that another coordinator leads by now.
var errFenced = errors.New("another coordinator leads")

// tell keeps and announces what was decided, until ctx ends. What the hub could not do is tried again after the next tick.
func (p *Pager) tell(ctx context.Context, k kept) {
	for complained := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		}
		s, ok := p.latest()
		if !ok {
			continue
		}
		if lost := k.enter(&s); lost > 0 {
			p.log.Error("changes of alerts given up: too many wait to be announced", "lost", lost, "most", maxUntold)
		}
		err := p.once(ctx, &k, s.alerts)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errFenced): // nothing of ours counts any more; the lease will end it
			p.log.Warn("alerts of a leadership that is over not announced", "term", p.opts.Term, "changes", len(k.pending))
			<-ctx.Done()
			return
		case err != nil && !complained:
			p.log.Warn("alerts not announced yet, trying on", "changes", len(k.pending), "err", err)
		}
		complained = err != nil
	}
}

const (
	tellTime  = 10 * time.Second // to put what is to be announced into the outbox
	tellAgain = 15 * time.Second // a notifier that could not do so goes on trying by itself
)

// once does what is to be done: see Pager.
func (p *Pager) once(ctx context.Context, k *kept, alerts []runs.Alert) error {
	if err := p.keep(ctx, k); err != nil {
		return err
	}
	var untold error
	if len(k.pending) > 0 && time.Now().After(k.patience) {
		if untold = p.announce(ctx, k.pending); untold != nil {
			k.patience = time.Now().Add(tellAgain)
		} else {
			k.pending, k.settled = nil, false
			if err := p.keep(ctx, k); err != nil {
				return err
			}
		}
	}
	if p.opts.Notifier == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	return errors.Join(untold, p.opts.Notifier.Refresh(ctx, alerts))
}

// announce puts changes into the outbox.
func (p *Pager) announce(ctx context.Context, changed []runs.Alert) error {
	if n := p.opts.Notifier; n != nil {
		ctx, cancel := context.WithTimeout(ctx, tellTime)
		defer cancel()
		if err := n.Announce(ctx, changed); err != nil {
			return err
		}
	}
	for i := range changed {
		p.report(&changed[i])
		if p.opts.Told != nil {
			p.opts.Told(&changed[i])
		}
	}
	return nil
}

// report logs what has become of an alert.
func (p *Pager) report(a *runs.Alert) {
	attrs := []any{
		"alert", a.Name, "severity", a.Severity, "scope", a.Scope, "scenario", a.Scenario, "region", a.Region, "network", a.Network, "slo", a.SLO,
		"starts_at", a.StartsAt, "rule", a.Why.Rule, "bad", a.Why.Bad, "of", a.Why.Of, "inhibited", a.Inhibited,
	}
	if a.Active() {
		p.log.Warn("alert", attrs...)
	} else {
		p.log.Info("alert ended", append(attrs, "ends_at", a.EndsAt)...)
	}
}

// keep writes the state for the next leader, where it is not what stands there.
func (p *Pager) keep(ctx context.Context, k *kept) error {
	if k.settled {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	record := orders.AlertState{Schema: runs.Schema, Term: p.opts.Term, State: k.state, Pending: k.pending}
	for {
		revision, err := p.hub.SaveAlerts(ctx, record, k.revision)
		switch {
		case err == nil:
			k.revision, k.settled = revision, true
			return nil
		case errors.Is(err, bus.ErrConflict): // the answer to an earlier write of ours was lost, or another leads
			if k.revision, err = p.overtaken(ctx); err != nil {
				return err
			}
		case errors.Is(err, bus.ErrUnavailable), ctx.Err() != nil:
			return err
		default:
			p.log.Error("state of the alerts not kept: the next leader would page again", "err", err)
			k.settled = true
			return nil
		}
	}
}

// overtaken returns the revision of what stands at the hub, if it is not a later leader's.
func (p *Pager) overtaken(ctx context.Context) (uint64, error) {
	stands, revision, err := p.hub.Alerts(ctx)
	if err == nil && stands.Term > p.opts.Term {
		err = errFenced
	}
	return revision, err
}
