package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"lastmile/internal/bus"
	"lastmile/internal/cli"
	"lastmile/internal/exposition"
	"lastmile/internal/fleet"
	"lastmile/internal/ledger"
	"lastmile/internal/runs"
	"lastmile/internal/scenariofile"
	"lastmile/internal/schedule"
)

// unit is one coordinator with all its rooms connected.
type unit struct {
	log       *slog.Logger
	set       scenariofile.Set
	hub       *bus.Bus
	opts      unitOptions
	ledger    *ledger.Ledger
	fleet     *fleet.Fleet
	scheduler *schedule.Scheduler
	metrics   *exposition.Coordinator
	caughtUp  chan struct{}
	planned   chan struct{} // closed when no slot will be planned any more
	ready     atomic.Bool
}

// unitOptions tune a unit.
type unitOptions struct {
	address string             // of the metrics, for the log
	grace   time.Duration      // from a slot's deadline to its verdict
	ended   func(*runs.Result) // called for each result that entered the ledger after the start
}

// newUnit connects the rooms.
func newUnit(log *slog.Logger, set scenariofile.Set, hub *bus.Bus, opts unitOptions) *unit {
	u := &unit{
		log: log, set: set, hub: hub, opts: opts,
		ledger: ledger.New(), fleet: fleet.New(time.Now()), caughtUp: make(chan struct{}), planned: make(chan struct{}),
	}
	u.ledger.Define(set.Scenarios)
	u.metrics = exposition.NewCoordinator(exposition.CoordinatorSources{
		Version:           cli.Version(version),
		Accounts:          func() []runs.Account { return u.ledger.Accounts(time.Now()) },
		Probes:            func() []runs.ProbeStatus { return u.fleet.Probes(time.Now()) },
		Bus:               u.busState,
		DispatchFailures:  func() int64 { return u.scheduler.Failures() },
		HeartbeatsRefused: u.fleet.Refused,
		Networks:          set.Fleet.Networks,
	})
	u.metrics.Define(set.Scenarios)
	plan := schedule.Plan{Scenarios: set.Scenarios, Networks: set.Fleet.Networks}
	u.scheduler = schedule.New(log, plan, hub, hub, u.ledger, schedule.Options{DispatchLagged: u.metrics.DispatchLag})
	return u
}

// run works until ctx ends; no slot is planned after scheduling has ended.
func (u *unit) run(ctx, scheduling context.Context) error {
	if err := u.hub.EnsureStreams(ctx, u.set.Fleet.Regions); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return u.hub.ServeHeartbeats(ctx, u.heard) })
	group.Go(func() error { return u.hub.ServeTime(ctx) })
	group.Go(func() error { return u.follow(ctx) })
	group.Go(func() error {
		defer close(u.planned)
		select {
		case <-ctx.Done():
			return nil
		case <-u.caughtUp:
		}
		u.ready.Store(true)
		u.log.Info("coordinator started", "scenarios", len(u.set.Scenarios), "regions", len(u.set.Fleet.Regions),
			"metrics", "http://"+u.opts.address+"/metrics")
		return u.plan(ctx, scheduling)
	})
	group.Go(func() error { return u.closeMinutes(ctx) })
	err := group.Wait()
	u.log.Info("coordinator stopped")
	return err
}

// plan runs the scheduler until either context ends.
func (u *unit) plan(ctx, scheduling context.Context) error {
	both, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(scheduling, cancel)()
	return u.scheduler.Run(both)
}

// follow keeps the ledger in step with the streams.
func (u *unit) follow(ctx context.Context) error {
	replay := true
	return u.hub.Follow(ctx, u.set.Fleet.Regions, nil, bus.Handler{
		Result: func(r runs.Result, meta bus.Meta) {
			if fromTheFuture(r.Slot, meta) {
				u.log.Warn("result of a slot in the future ignored", "run_id", r.RunID)
				return
			}
			if u.ledger.Result(&r, replay) != ledger.Entered {
				return
			}
			u.metrics.Observe(&r)
			if !replay && u.opts.ended != nil {
				u.opts.ended(&r)
			}
		},
		Verdict: func(v runs.Verdict, meta bus.Meta) {
			if fromTheFuture(v.Minute, meta) {
				u.log.Warn("verdict on a minute in the future ignored", "region", v.Region, "minute", v.Minute)
				return
			}
			u.ledger.Verdict(&v)
		},
		CaughtUp: func() {
			replay = false
			close(u.caughtUp)
		},
		Rejected: func(err *bus.RejectedError) { u.log.Warn("message rejected", "err", err) },
	})
}

// maxAhead is far more than clocks differ by.
const maxAhead = 24 * time.Hour

// fromTheFuture tells of a time that lies well after the message that speaks of it was stored. The histories of the ledger follow
// the newest time that they see, and would forget all others.
func fromTheFuture(at time.Time, meta bus.Meta) bool { return at.Sub(meta.StoredAt) > maxAhead }

// heard takes up a heartbeat. A probe of a region that does not exist would wait for runs for ever: it is told.
func (u *unit) heard(hb runs.Heartbeat) runs.HeartbeatReply {
	now := time.Now()
	reply := runs.HeartbeatReply{ReceivedAt: now.UTC()}
	if regions := u.set.Fleet.Regions; !slices.Contains(regions, hb.Region) {
		reply.Refused = fmt.Sprintf("unknown region: got %s, want one of %s (regions.yaml)", hb.Region, strings.Join(regions, ", "))
		return reply
	}
	u.fleet.Heard(&hb, now)
	return reply
}

// Reason implements ledger.Witness: it knows what was never ordered, and asks the fleet about the rest.
func (u *unit) Reason(id runs.ID, region string, slot, deadline time.Time) runs.Reason {
	reason := u.fleet.Reason(id, region, slot, deadline)
	if reason != runs.ReasonLost && u.scheduler.Undispatched(id) { // what a probe took was ordered, whatever the answer was
		return runs.ReasonCoordinatorDown
	}
	return reason
}

// closeEvery is how often verdicts are looked for.
const closeEvery = time.Second

// closeMinutes writes the verdicts that are due, until ctx ends. A verdict that could not be written is due again.
func (u *unit) closeMinutes(ctx context.Context) error {
	ticker := time.NewTicker(closeEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		for _, v := range u.closable(time.Now()) {
			created, err := u.hub.PublishVerdict(ctx, v)
			if err != nil {
				if ctx.Err() == nil {
					u.log.Warn("verdict not written", "region", v.Region, "minute", v.Minute, "err", err)
				}
				break
			}
			if created && len(v.Slots) > 0 {
				u.log.Warn("slots without a result", "region", v.Region, "minute", v.Minute, "slots", len(v.Slots), "reasons", reasons(v))
			}
		}
	}
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
func (u *unit) closable(now time.Time) []runs.Verdict {
	entered := u.scheduler.Entered(now)
	if entered.IsZero() {
		return nil
	}
	if latest := entered.Add(u.opts.grace); latest.Before(now) {
		now = latest
	}
	return u.ledger.Closable(now, u.opts.grace, u)
}

// front answers for a unit, and before there is one: a coordinator that waits for its hub is alive.
type front struct{ unit atomic.Pointer[unit] }

// handler answers /metrics, /healthz and /readyz.
func (f *front) handler() http.Handler { return exposition.Handler(f.metrics, f.readiness) }

// metrics writes nothing before the ledger is complete: counters that run up while the results are read back would look like news, and
// page for every leak in the books.
func (f *front) metrics(w io.Writer) {
	if u := f.unit.Load(); u != nil && u.ready.Load() {
		u.metrics.WritePrometheus(w)
	}
}

func (f *front) readiness() error {
	if u := f.unit.Load(); u != nil {
		return u.readiness()
	}
	return errors.New("the hub has not been reached yet")
}

// readiness says whether the ledger is complete and the bus is there.
func (u *unit) readiness() error {
	if !u.ready.Load() {
		return errors.New("reading back the results")
	}
	if !u.hub.Stats().Connected {
		return errors.New("not connected to the bus")
	}
	return nil
}

func (u *unit) busState() exposition.BusState {
	s := u.hub.Stats()
	rejected := map[string]int64{}
	for kind, n := range s.Rejected {
		rejected[string(kind)] = n
	}
	return exposition.BusState{Connected: s.Connected, Reconnects: s.Reconnects, Rejected: rejected}
}

// logRun returns a function that logs a run that ended.
func logRun(log *slog.Logger) func(*runs.Result) {
	return func(r *runs.Result) {
		attrs := []any{"run_id", r.RunID, "state", r.State, "duration_ms", r.DurationMS}
		if r.Cause != nil {
			attrs = append(attrs, "class", r.Cause.Class, "step", r.Cause.Step, "detail", r.Cause.Detail)
		}
		log.Info("run ended", attrs...)
	}
}
