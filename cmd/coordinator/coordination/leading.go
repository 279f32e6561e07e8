package coordination

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"lastmile/cmd/coordinator/pager"
	"lastmile/internal/bus"
	"lastmile/internal/faultpoint"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/schedule"
)

// leadership is a term in which this coordinator leads.
type leadership struct {
	term      uint64
	pager     *pager.Pager
	scheduler atomic.Pointer[schedule.Scheduler] // nil before there is one
	revisions atomic.Pointer[map[string]string]  // of the plans that the probes may fetch, by region; nil before they are published
}

// leads reports whether this coordinator leads, or did just now.
func (u *Unit) leads() bool { return u.leading.Load() != nil }

// scheduler returns the scheduler of the term, nil where there is none.
func (u *Unit) scheduler() *schedule.Scheduler {
	if l := u.leading.Load(); l != nil {
		return l.scheduler.Load()
	}
	return nil
}

// givenUp reports whether a slot was given up without a job in this term, and why.
func (u *Unit) givenUp(id runs.ID) (runs.Reason, bool) {
	if s := u.scheduler(); s != nil {
		return s.GivenUp(id)
	}
	return "", false
}

// failures counts the attempts to create a job that failed, in all terms.
func (u *Unit) failures() int64 {
	if s := u.scheduler(); s != nil {
		return u.failed.Load() + s.Failures()
	}
	return u.failed.Load()
}

// campaign stands by until this coordinator leads, leads, and so on until ctx ends.
func (u *Unit) campaign(ctx, scheduling context.Context) error {
	o := bus.LeaseOptions{Holder: u.opts.Holder, Version: u.opts.Version, Address: u.opts.Address, TTL: u.opts.Lease}
	return u.hub.Lead(ctx, o, func(ctx context.Context, term uint64) error { return u.lead(ctx, scheduling, term) })
}

// lead does what one coordinator only is to do, until ctx ends: it orders runs, closes minutes, decides on alerts, answers the probes and gives them their plans. Should
// two do it for a moment, then what each of them writes is created once, or replaced by compare-and-swap, and no slot runs or
// counts twice. No slot is planned after scheduling has ended.
func (u *Unit) lead(ctx, scheduling context.Context, term uint64) error {
	l := &leadership{term: term, pager: u.newPager(term)}
	u.term.Store(term)
	u.leading.Store(l)
	defer func() {
		u.failed.Store(u.failures())
		u.leading.Store(nil)
		u.ledger.Rest(u.clock.Now())
	}()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return u.hub.ServeHeartbeats(ctx, func(hb runs.Heartbeat) runs.HeartbeatReply { return u.reply(l, &hb) })
	})
	group.Go(func() error { return u.hub.ServeTime(ctx) })
	group.Go(func() error { return u.publishPlans(ctx, l) })
	group.Go(func() error { return u.plan(ctx, scheduling, l) })
	group.Go(func() error { return u.closeMinutes(ctx) })
	group.Go(func() error { return l.pager.Run(ctx) })
	return group.Wait()
}

// againEvery is how often what the hub could not do is tried again.
const againEvery = 500 * time.Millisecond

// rest waits a while; false means that ctx has ended.
func rest(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(againEvery):
		return true
	}
}

// termed orders runs in the name of a term.
type termed struct {
	hub  *bus.Bus
	term uint64
}

// Dispatch implements schedule.Dispatcher.
func (t termed) Dispatch(ctx context.Context, a runs.Assignment) (created bool, err error) {
	a.Term = t.term
	return t.hub.Dispatch(ctx, a)
}

// plan runs the scheduler until either context ends.
func (u *Unit) plan(ctx, scheduling context.Context, l *leadership) error {
	both, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(scheduling, cancel)()
	if !u.windows.await(both) {
		if ctx.Err() == nil {
			u.endPlan()
		}
		return nil
	}
	plan := schedule.Plan{Scenarios: u.set.Scenarios, Networks: u.set.Fleet.Networks}
	for told := false; ; told = true {
		s := schedule.New(u.log, plan, termed{hub: u.hub, term: l.term}, u.hub, u.ledger,
			schedule.Options{DispatchLagged: u.metrics.DispatchLag, Busy: u.busy, Now: u.clock.Now, Beginnings: u.hub, Maintenance: u.underMaintenance})
		l.scheduler.Store(s)
		err := s.Run(both)
		switch {
		case both.Err() != nil:
			if ctx.Err() == nil { // the plan is at its end, but the coordinator leads on: there are slots to be closed
				u.endPlan()
			}
			return nil
		case !errors.Is(err, bus.ErrUnavailable):
			return err
		}
		if !told {
			u.log.Warn("schedule not begun, trying on", "err", err)
		}
		if !rest(both) {
			return nil
		}
	}
}

// publishPlans gives each region's probes what they need to go on without a coordinator, and again when the maintenance windows change, until ctx ends.
func (u *Unit) publishPlans(ctx context.Context, l *leadership) error {
	if !u.windows.await(ctx) {
		return nil
	}
	revisions := map[string]string{}
	for {
		list, changed := u.windows.look()
		if err := u.publishPlansWith(ctx, l, list, revisions); err != nil || ctx.Err() != nil {
			return err
		}
		published := maps.Clone(revisions)
		l.revisions.Store(&published)
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// publishPlansWith publishes the plans that are no longer those of the revisions, and notes theirs there. The end of ctx is no error.
func (u *Unit) publishPlansWith(ctx context.Context, l *leadership, list []runs.Maintenance, revisions map[string]string) error {
	for _, region := range u.set.Fleet.Regions {
		p, err := u.regionPlan(region, l.term, list)
		if err != nil {
			return err
		}
		if p.Revision == revisions[region] {
			continue
		}
		for told := false; ; told = true {
			err := u.hub.PublishPlan(ctx, p)
			if err == nil {
				revisions[region] = p.Revision
				break
			}
			if ctx.Err() != nil {
				return nil
			}
			if !told {
				u.log.Warn("plan of a region not published yet", "region", region, "err", err)
			}
			if !errors.Is(err, bus.ErrUnavailable) { // that of a later leader stays; one too large for a message never gets there
				break
			}
			if !rest(ctx) {
				return nil
			}
		}
	}
	return nil
}

// regionPlan is what runs in a region, and when it does not. Its revision is a hash of that.
func (u *Unit) regionPlan(region string, term uint64, list []runs.Maintenance) (runs.Plan, error) {
	p := runs.Plan{Schema: runs.Schema, Region: region, Term: term, Maintenance: regionWindows(list, region)}
	var networks []string
	for i := range u.set.Scenarios {
		if s := &u.set.Scenarios[i]; slices.Contains(s.Regions, region) {
			p.Scenarios = append(p.Scenarios, *s)
			networks = append(networks, s.NetworkNames()...)
		}
	}
	slices.Sort(networks)
	for _, name := range slices.Compact(networks) {
		if network, ok := u.set.Fleet.Networks.Lookup(name); ok { // the scheduler says which are unknown
			p.Networks = append(p.Networks, network)
		}
	}
	body, err := json.Marshal(struct {
		Scenarios []scenario.Scenario
		Networks  []netprofile.Profile

		Maintenance []runs.Maintenance `json:",omitempty"`
	}{p.Scenarios, p.Networks, p.Maintenance})
	if err != nil {
		return p, fmt.Errorf("make plan of %s: %w", region, err)
	}
	sum := sha256.Sum256(body)
	p.Revision, p.MadeAt = hex.EncodeToString(sum[:8]), u.clock.Now().UTC()
	return p, nil
}

// reply answers a heartbeat. A probe of a region that does not exist would wait for runs for ever: it is told.
func (u *Unit) reply(l *leadership, hb *runs.Heartbeat) runs.HeartbeatReply {
	reply := runs.HeartbeatReply{ReceivedAt: u.clock.Now().UTC(), Term: l.term, Refused: u.unknown(hb.Region)}
	if revisions := l.revisions.Load(); revisions != nil && reply.Refused == "" {
		reply.Plan = (*revisions)[hb.Region]
	}
	if rooms := u.rooms.Load(); rooms != nil {
		reply.ResendBefore = (*rooms)[hb.Region].Created.UTC()
	}
	if reply.ResendBefore.Before(u.opts.Rewound) {
		reply.ResendBefore = u.opts.Rewound.UTC()
	}
	return reply
}

// closeEvery is how often verdicts are looked for.
const closeEvery = time.Second

// closeMinutes writes the verdicts that are due, until ctx ends. A verdict that could not be written is due again.
func (u *Unit) closeMinutes(ctx context.Context) error {
	ticker := time.NewTicker(closeEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		for _, v := range u.closable(u.clock.Now()) {
			created, err := u.hub.PublishVerdict(ctx, v)
			if err != nil {
				if ctx.Err() == nil {
					u.log.Warn("verdict not written", "region", v.Region, "minute", v.Minute, "err", err)
				}
				if errors.Is(err, bus.ErrUnavailable) {
					break
				}
				continue // what is wrong with this one need not be with the others
			}
			faultpoint.Reached(faultpoint.VerdictDone)
			if created && len(v.Slots) > 0 {
				u.logVerdict(ctx, v)
			}
		}
	}
}

// logVerdict tells of the slots of a verdict: a warning, unless all of them were left out on purpose.
func (u *Unit) logVerdict(ctx context.Context, v runs.Verdict) {
	level, counts := slog.LevelWarn, reasons(v)
	if counts[runs.ReasonMaintenance] == len(v.Slots) {
		level = slog.LevelInfo
	}
	u.log.Log(ctx, level, "slots without a result", "region", v.Region, "minute", v.Minute, "slots", len(v.Slots), "reasons", counts)
}

// reasons counts a verdict's slots by reason.
func reasons(v runs.Verdict) map[runs.Reason]int {
	out := map[runs.Reason]int{}
	for _, s := range v.Slots {
		out[s.Reason]++
	}
	return out
}

// closable lists the verdicts that are due, as far as the plan is in the books: a minute closed before its last slot was entered
// would leave that slot out for good.
func (u *Unit) closable(now time.Time) []runs.Verdict {
	s := u.scheduler()
	if s == nil {
		return nil
	}
	entered := s.Entered(now)
	if entered.IsZero() {
		return nil
	}
	if latest := entered.Add(u.opts.Grace); latest.Before(now) {
		now = latest
	}
	return u.ledger.Closable(now, u.opts.Grace, u)
}
