// Package autonomy has a probe go on measuring where no coordinator answers: from the last plan that its region was given, which it keeps on
// disk, it orders its own runs. Their ids follow from the plan, so that whoever runs a slot, and however late it is reported, it is the same
// slot.
//
// When a coordinator has not answered a heartbeat for 30 s, the slots later than that whose start window is open are the probe's own to
// order, until one answers again. Runs under way then finish, and what is in the spool is published.
//
// The probes of a region share the slots as long as they hear each other, which needs no coordinator: a run is the turn of the one with the
// highest hash, and none is begun that another one says it has or had. When one falls silent its turns go to others, those that it had and
// whose start windows are open among them, for nobody knows whether it has done them. One that stops in good order says so, and they go at once. A
// probe that hears nobody runs everything; what was then run twice is dropped in the ledger. As long as a coordinator answers any of them, none
// orders anything.
//
// Nothing is queued: a run that finds no free place before its start window closes is counted as missed. A run of kind replication that reads
// needs the writer's token, and without a hub there is none: it is invalid, as it always is without a token.
//
// Slots under maintenance, as far as the plan knows of it, are left out.
package autonomy

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"lastmile/internal/bus"
	"lastmile/internal/faultpoint"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// Hub is the bus as seen from here.
type Hub interface {
	// Plan reads the region's plan; see bus.Bus.
	Plan(ctx context.Context, region string) (runs.Plan, error)
	// SendPeerBeat tells the region's other probes of this one, without waiting for anybody.
	SendPeerBeat(beat runs.PeerBeat) error
	// FollowPeers hands the beats of the region's probes to heard until ctx ends, or the hub is not there.
	FollowPeers(ctx context.Context, region string, heard func(runs.PeerBeat)) error
}

// Places are where runs are done: the probe's worker.
type Places interface {
	// Offer begins a run at a free place; false = none is free for it. It does not wait.
	Offer(a runs.Assignment) bool
	// Has reports whether the run is under way here, was, or is on disk here.
	Has(id runs.ID) bool
	// Recent lists the runs that are under way here or were in the last two minutes, the newest first where there are too many.
	Recent() []runs.ID
}

// Options describe the probe. The zero values of the times mean their defaults.
type Options struct {
	Region  string
	Probe   string
	Pools   []string         // of the scenarios that it can run
	Dir     string           // where the plan is kept; it exists
	Silence time.Duration    // how long nobody answers before the probe goes on alone; default 30 s
	Beat    time.Duration    // how often siblings are told; default 2 s
	Now     func() time.Time // the hub's clock; nil = time.Now
}

// The paces.
const (
	look       = 100 * time.Millisecond // at what is due
	fetchAgain = 10 * time.Second       // for a plan, where none is there
	hearAgain  = time.Second            // where the hub is not there
	atFirst    = 3 * time.Second        // what a coordinator gets to answer in where the process before was on its own
	wentBack   = time.Second            // how far the hub's clock, as this probe knows it, goes back when it is another
)

// Pilot orders a probe's own runs. Make one with New and call Run once. Its methods may be called before Run and meanwhile.
type Pilot struct {
	log   *slog.Logger
	hub   Hub
	opts  Options
	store store
	fetch chan struct{} // has room for one sign that the plan is to be looked at
	tell  chan struct{} // has room for one sign that siblings are to be told now

	mu       sync.Mutex
	plan     *runs.Plan // nil = there is none yet
	wanted   string     // the revision that a coordinator named last
	told     string     // the revision about which an error was logged
	answered bool       // whether a coordinator has answered in this process
	heard    time.Time  // when a coordinator answered last, or this began; on this machine's monotonic clock
	contact  time.Time  // the same by the hub's clock
	alone    bool
	held     bool      // alone, but a coordinator answers a sibling
	looked   time.Time // at what is due, by the hub's clock, while alone
	agenda   agenda
	siblings *siblings
	stats    Stats
	spell    Stats // the counts when it began to be alone
}

// Stats are a pilot's state, and its counts since it was made.
type Stats struct {
	Alone    bool   // no coordinator answers
	Siblings int    // other probes of the region that are heard
	Runs     int64  // that it ordered
	Missed   int64  // that were its turn and found no free place in time
	Plan     string // the revision of its plan; empty = there is none
}

// New returns a pilot with the plan that is on disk. One that cannot be read is set aside and logged.
func New(log *slog.Logger, hub Hub, opts Options) *Pilot {
	if opts.Silence == 0 {
		opts.Silence = 30 * time.Second
	}
	if opts.Beat == 0 {
		opts.Beat = 2 * time.Second
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	p := &Pilot{
		log: log, hub: hub, opts: opts, store: store{opts.Dir}, fetch: make(chan struct{}, 1), tell: make(chan struct{}, 1),
		heard: time.Now(), contact: opts.Now(), siblings: newSiblings(opts.Probe, opts.Beat),
	}
	plan, err := p.store.load(opts.Region)
	if err != nil {
		log.Error("plan on disk is damaged and set aside: without a coordinator there is nothing to go on with", "moved_to", asideFile, "err", err)
	}
	p.plan = plan
	if since, ok := p.store.marked(); ok && since.Before(p.contact) {
		p.contact = since
		p.heard = p.heard.Add(min(atFirst, opts.Silence) - opts.Silence)
	}
	return p
}

// Run works until ctx ends, then it returns nil.
func (p *Pilot) Run(ctx context.Context, places Places) error {
	var work errgroup.Group
	work.Go(func() error { p.fetchPlans(ctx); return nil })
	work.Go(func() error { p.hear(ctx); return nil })
	work.Go(func() error { p.beat(ctx, places); return nil })
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for ctx.Err() == nil {
		p.step(places)
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
	return work.Wait()
}

// Answered takes up a coordinator's answer to a heartbeat. If the probe was on its own, it no longer is.
func (p *Pilot) Answered(reply runs.HeartbeatReply) {
	now := p.opts.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answered, p.heard, p.contact = true, time.Now(), now
	if p.alone {
		p.end()
	}
	if p.wanted = reply.Plan; p.wanted != "" && p.wanted != p.revision() {
		signal(p.fetch)
	}
}

// Alone reports whether the probe orders its own runs.
func (p *Pilot) Alone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.alone && p.plan != nil
}

// Elsewhere reports whether another probe of the region, one that is heard, has the run or had it lately.
func (p *Pilot) Elsewhere(id runs.ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.siblings.forget(time.Now())
	return p.siblings.have(id)
}

// planMargin is how far the clocks of a coordinator and of the server that stores its jobs may be apart.
const planMargin = 2 * time.Second

// Outdated reports whether an assignment, stored when the region's plan was already there, is of a leader before the one that made the plan, and
// orders something else than the plan says. Where it says the same, it does not matter who ordered it: the leader of now lets it stand.
func (p *Pilot) Outdated(a *runs.Assignment, stored time.Time) bool {
	p.mu.Lock()
	plan := p.plan
	p.mu.Unlock()
	if plan == nil || a.Term == 0 || a.Term >= plan.Term || !stored.After(plan.MadeAt.Add(planMargin)) {
		return false
	}
	return !slices.ContainsFunc(plan.Scenarios, func(s scenario.Scenario) bool { return s.Name == a.Scenario.Name && s.Revision() == a.Revision })
}

// Stats returns a copy.
func (p *Pilot) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.siblings.forget(time.Now())
	s := p.stats
	s.Alone, s.Siblings, s.Plan = p.alone, len(p.siblings.known), p.revision()
	return s
}

// revision is that of the plan. The caller holds the lock, as in all that follows where nothing else is said.
func (p *Pilot) revision() string {
	if p.plan == nil {
		return ""
	}
	return p.plan.Revision
}

// begin notes that nobody answers any more.
func (p *Pilot) begin() {
	p.alone, p.held, p.agenda, p.spell, p.looked = true, false, nil, p.stats, time.Time{}
	signal(p.tell)
	if p.plan == nil {
		p.log.Warn("no coordinator answers, and there is no plan on disk to go on with", "last_answer", p.contact)
		return
	}
	p.log.Warn("no coordinator answers: going on with the last plan", "last_answer", p.contact, "plan", p.plan.Revision, "made_at", p.plan.MadeAt,
		"scenarios", len(p.plan.Scenarios), "siblings", len(p.siblings.known))
	p.start()
	if err := p.store.mark(p.contact); err != nil { // costs the next process up to the silence, should this one die
		p.log.Warn("not noted on disk that no coordinator answers", "err", err)
	}
}

// start makes the agenda.
func (p *Pilot) start() { p.agenda = newAgenda(p.plan, p.opts.Pools, p.contact, p.opts.Now()) }

// end notes that a coordinator answers again.
func (p *Pilot) end() {
	p.alone, p.agenda = false, nil
	signal(p.tell)
	p.log.Info("a coordinator answers again", "own_runs", p.stats.Runs-p.spell.Runs, "missed", p.stats.Missed-p.spell.Missed)
	if err := p.store.unmark(); err != nil {
		p.log.Warn("not noted on disk that a coordinator answers", "err", err)
	}
}

// step looks at what is due, without the lock.
func (p *Pilot) step(places Places) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.alone && time.Since(p.heard) >= p.opts.Silence {
		p.begin()
	}
	if !p.alone || p.plan == nil {
		return
	}
	now := p.opts.Now()
	if back := p.looked.Sub(now); back > wentBack { // the agenda is of a time that is not to come for long
		p.log.Warn("the clock was set back: going through the plan anew", "by", back)
		p.contact = p.contact.Add(-back)
		p.start()
	}
	p.looked = now
	p.siblings.forget(time.Now())
	if held := p.siblings.answered(); held != p.held {
		p.held = held
		p.log.Info("siblings of this probe are answered by a coordinator", "answered", held)
		p.start() // what closed while runs were ordered by the coordinator was not ours
	}
	if p.held {
		return
	}
	lost, example := 0, runs.ID("")
	open := p.agenda.pass(now, func(e *entry) {
		if id := e.id(); p.mine(e, id) && !places.Has(id) && !p.siblings.have(id) && !p.underMaintenance(e) {
			lost, example = lost+1, id
		}
	})
	p.order(places, open)
	if p.stats.Missed += int64(lost); lost > 0 {
		p.log.Warn("own runs found no free place before their start windows closed", "runs", lost, "one_of_them", example)
	}
}

// mine reports whether it is this probe's turn.
func (p *Pilot) mine(e *entry, id runs.ID) bool {
	return p.siblings.owner(id, e.pool, p.plan.Revision) == p.opts.Probe
}

// underMaintenance reports whether the entry's slot is left out on purpose.
func (p *Pilot) underMaintenance(e *entry) bool {
	return runs.UnderMaintenance(p.plan.Maintenance, e.c, e.slot)
}

// order offers the runs of open slots, as many as there are places.
func (p *Pilot) order(places Places, open []*entry) {
	full := map[string]bool{} // by pool
	for _, e := range open {
		id := e.id()
		switch {
		case places.Has(id):
			e.done = true
		case full[e.pool] || p.siblings.have(id) || !p.mine(e, id):
			// Looked at again while the window is open: a sibling that has it may die.
		case p.underMaintenance(e):
			// Looked at again as well: there may be another plan.
		default:
			a := runs.NewAssignment(*e.scenario, e.c.Region, e.network, e.slot)
			a.Autonomous, a.Term = true, p.plan.Term
			if !places.Offer(a) {
				full[e.pool] = true
				continue
			}
			faultpoint.Reached(faultpoint.SelfOrdered)
			e.done = true
			p.stats.Runs++
			signal(p.tell)
		}
	}
}

// fetchPlans keeps the plan up to date until ctx ends, without the lock.
func (p *Pilot) fetchPlans(ctx context.Context) {
	ticker := time.NewTicker(fetchAgain)
	defer ticker.Stop()
	for {
		p.mu.Lock()
		have, want := p.revision(), p.wanted
		p.mu.Unlock()
		if have == "" || want != "" && want != have {
			p.fetchPlan(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-p.fetch:
		case <-ticker.C:
		}
	}
}

// fetchPlan fetches once, without the lock.
func (p *Pilot) fetchPlan(ctx context.Context) {
	got, err := p.hub.Plan(ctx, p.opts.Region)
	if err == nil {
		p.mu.Lock()
		same := got.Revision == p.revision()
		p.mu.Unlock()
		if same {
			return
		}
		if err = p.store.save(&got); err != nil {
			p.log.Error("plan not kept on disk", "plan", got.Revision, "err", err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.plan = &got
		p.log.Info("got a plan to go on with", "plan", got.Revision, "term", got.Term, "scenarios", len(got.Scenarios))
		if p.alone {
			p.start()
		}
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() == nil && p.wanted != p.told && !errors.Is(err, bus.ErrUnavailable) {
		p.told = p.wanted
		p.log.Warn("plan not fetched, the last one stays", "wanted", p.wanted, "have", p.revision(), "err", err)
	}
}

// hear listens to the siblings until ctx ends, without the lock.
func (p *Pilot) hear(ctx context.Context) {
	for ctx.Err() == nil {
		err := p.hub.FollowPeers(ctx, p.opts.Region, func(b runs.PeerBeat) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.siblings.heard(&b, time.Now())
		})
		if err != nil && !errors.Is(err, bus.ErrUnavailable) {
			p.log.Warn("siblings not heard", "err", err)
		}
		rest(ctx, hearAgain)
	}
}

// beat tells the siblings of this probe until ctx ends, and that it has ended, without the lock.
func (p *Pilot) beat(ctx context.Context, places Places) {
	ticker := time.NewTicker(p.opts.Beat)
	defer ticker.Stop()
	for {
		recent, stopping := places.Recent(), ctx.Err() != nil
		p.mu.Lock()
		b := runs.PeerBeat{
			Schema: runs.Schema, Region: p.opts.Region, Probe: p.opts.Probe, SentAt: p.opts.Now(), Plan: p.revision(),
			Answered: p.answered && !p.alone && !stopping, Autonomous: p.alone && p.plan != nil && !stopping, Recent: recent,
		}
		if p.plan != nil {
			b.Pools = slices.Clone(p.opts.Pools)
		}
		p.mu.Unlock()
		if err := p.hub.SendPeerBeat(b); err != nil {
			p.log.Debug("siblings not told", "err", err)
		}
		if stopping {
			return // they know that nothing is this probe's turn any more
		}
		select {
		case <-ctx.Done():
		case <-p.tell:
			rest(ctx, look) // what begins together is told together
		case <-ticker.C:
		}
	}
}

// signal leaves a sign where there is room for one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
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
