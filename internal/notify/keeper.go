package notify

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"lastmile/internal/notify/delivery"
	"lastmile/internal/notify/wording"
	"lastmile/internal/runs"
	"lastmile/internal/slo"
)

// Run delivers until ctx ends, and then returns nil. Only the coordinator that leads may be in it: begin it with each leadership. It begins with what the
// outbox has.
func (n *Notifier) Run(ctx context.Context) error {
	if len(n.sinks) == 0 {
		<-ctx.Done()
		return nil
	}
	defer n.forget()
	if !n.persist(ctx, "read outbox of notifications", n.load) {
		return nil
	}
	var sinks sync.WaitGroup
	defer sinks.Wait()
	for _, s := range n.sinks {
		sinks.Go(func() { s.run(ctx, n.outbox) })
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.wake:
			n.persist(ctx, "put notifications into the outbox", n.keep)
		}
	}
}

// persist tries until there is no error; false means that ctx has ended.
func (n *Notifier) persist(ctx context.Context, what string, try func(context.Context) error) bool {
	for complained := false; ; {
		err := try(ctx)
		switch {
		case err == nil && complained:
			n.log.Info("outbox of notifications works again")
			return true
		case err == nil:
			return true
		case ctx.Err() != nil:
			return false
		case !complained:
			n.log.Warn("outbox of notifications does not work, trying on", "doing", what, "err", err)
			complained = true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(n.times.again):
		}
	}
}

// forget drops what belongs to a leadership.
func (n *Notifier) forget() {
	n.mu.Lock()
	n.announced, n.all, n.refreshed = nil, nil, false
	clear(n.missing)
	n.mu.Unlock()
	for _, s := range n.sinks {
		s.forget()
	}
}

// load takes over what the outbox has.
func (n *Notifier) load(ctx context.Context) error {
	byID := map[string]*sink{}
	for _, s := range n.sinks {
		s.forget()
		byID[s.id] = s
	}
	return n.outbox.Load(ctx, func(id, alert string, sequence uint64, done bool, body []byte) {
		s := byID[id]
		if s == nil {
			return // one that is no longer told
		}
		one, err := delivery.Decode(alert, sequence, body)
		if err != nil {
			n.log.Warn("notification in the outbox is not usable", "sink", s.name, "sequence", sequence, "err", err)
			return
		}
		s.accept(one, done)
	})
}

// keep puts into the outbox what the sinks are to be told and have not been: first what was announced, then whatever else differs between what there is
// and what they believe.
func (n *Notifier) keep(ctx context.Context) error {
	for {
		n.mu.Lock()
		var next *announcement
		if len(n.announced) > 0 {
			next = n.announced[0]
		}
		n.mu.Unlock()
		if next == nil {
			break
		}
		for i := range next.alerts {
			if err := n.tell(ctx, &next.alerts[i], true); err != nil {
				return err
			}
		}
		close(next.kept)
		n.mu.Lock()
		if len(n.announced) > 0 && n.announced[0] == next { // it may have been dropped meanwhile
			n.announced = n.announced[1:]
		}
		n.mu.Unlock()
	}
	n.mu.Lock()
	all, refreshed := maps.Clone(n.all), n.refreshed
	n.mu.Unlock()
	if !refreshed {
		return nil
	}
	for _, id := range slices.Sorted(maps.Keys(all)) {
		a := all[id]
		if err := n.tell(ctx, &a, false); err != nil {
			return err
		}
	}
	if err := n.endOrphans(ctx, all); err != nil {
		return err
	}
	for _, s := range n.sinks {
		if s.repeats {
			s.repeat(all, time.Now())
		}
	}
	return nil
}

// tell has each sink told what it has to be about an alert. What was announced may be announced again, by the next leader, too, when more has happened
// since: a beginning before the last end is old.
func (n *Notifier) tell(ctx context.Context, a *runs.Alert, announced bool) error {
	id := wording.Identity(a)
	for _, s := range n.sinks {
		last := s.believes(id)
		if announced && a.Active() && last != nil && !last.Firing() && a.StartsAt.Before(last.Alert.EndsAt) {
			continue
		}
		for _, step := range steps(last, a, s.pages, s.labelled, time.Now()) {
			if err := n.put(ctx, s, &step); err != nil {
				return err
			}
		}
	}
	return nil
}

// put puts what is to be told into the outbox, and hands it to the sink. What a sink has no room for is told when it has, if it is still so then.
func (n *Notifier) put(ctx context.Context, s *sink, a *runs.Alert) error {
	if !s.room() {
		return nil
	}
	var after uint64
	last := s.believes(wording.Identity(a))
	if last != nil {
		after = last.Sequence
	}
	one := delivery.NewNotice(a, after, time.Now())
	body, err := one.Encode()
	if err != nil {
		s.refuse(&one, err)
		return nil
	}
	if one.Sequence, err = n.outbox.Put(ctx, s.id, one.Identity, one.Identity+"."+s.id+"."+one.Key, body); err != nil {
		return err
	}
	s.accept(one, false)
	return nil
}

// steps says what a sink is to be told of an alert, given what it was told last; nil = nothing yet. Where it knows alerts by their labels, one that rises
// is to it the end of one alert and the beginning of another.
func steps(last *delivery.Notice, a *runs.Alert, pagesOnly, labelled bool, now time.Time) []runs.Alert {
	believes := last != nil && last.Firing()
	if !a.Active() {
		if !believes || !a.EndsAt.After(last.Alert.StartsAt) && !a.StartsAt.Equal(last.Alert.StartsAt) { // it was not told, or of a later one
			return nil
		}
		end := *a
		end.Severity = last.Alert.Severity
		return []runs.Alert{end}
	}
	switch {
	case pagesOnly && a.Severity != slo.SeverityPage:
		return nil
	case !believes && a.Inhibited:
		return nil
	case !believes:
		return []runs.Alert{*a}
	case last.Alert.Severity == a.Severity || last.Alert.Severity == slo.SeverityPage:
		return nil
	case labelled:
		end := *a
		end.Severity, end.EndsAt = last.Alert.Severity, now
		return []runs.Alert{end, *a}
	}
	return []runs.Alert{*a}
}

// endOrphans ends what sinks believe to be active and what has not been known for a while: the alert's scenario, its labels or all that the engine knew
// may be gone.
func (n *Notifier) endOrphans(ctx context.Context, all map[string]runs.Alert) error {
	now := time.Now()
	believed := map[string]bool{}
	for _, s := range n.sinks {
		for id, last := range s.active() {
			if _, known := all[id]; known {
				continue
			}
			believed[id] = true
			if n.missingFor(id, now) < n.times.orphan {
				continue
			}
			end := last.Alert
			end.EndsAt = now
			if err := n.put(ctx, s, &end); err != nil {
				return err
			}
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	maps.DeleteFunc(n.missing, func(id string, _ time.Time) bool { return !believed[id] })
	return nil
}

func (n *Notifier) missingFor(id string, now time.Time) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	since, ok := n.missing[id]
	if !ok {
		since = now
		n.missing[id] = now
	}
	return now.Sub(since)
}
