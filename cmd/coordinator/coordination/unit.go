// Package coordination is one coordinator with all its rooms connected: the books, which follow the streams whether it leads or not, and what it does
// only while it leads.
package coordination

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"lastmile/cmd/coordinator/pager"
	"lastmile/internal/bus"
	"lastmile/internal/bus/room"
	"lastmile/internal/exposition"
	"lastmile/internal/fleet"
	"lastmile/internal/ledger"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/scenariofile"
	"lastmile/internal/steady"
)

// Unit is one coordinator with all its rooms connected.
type Unit struct {
	log   *slog.Logger
	set   scenariofile.Set
	hub   *bus.Bus
	opts  Options
	clock *steady.Clock
	began time.Time
	memory
	positions map[string]runs.Position // how far each stream is in the memory; for follow, and after it
	forgot    time.Time                // when the books last dropped what is too old while this coordinator stood by; for follow
	fleet     *fleet.Fleet
	pools     map[string]string // by scenario
	metrics   *exposition.Coordinator
	windows   *windows
	caughtUp  chan struct{}
	planned   chan struct{} // closed when no slot will be planned any more
	endPlan   func()        // closes it
	ready     atomic.Bool

	leading  atomic.Pointer[leadership] // nil while standing by
	term     atomic.Uint64              // the last one that was this coordinator's
	failed   atomic.Int64               // attempts to create a job, in earlier terms
	restored atomic.Int64               // nanoseconds from the start to complete books
	behind   atomic.Int64               // nanoseconds since the message that was read last had been stored
	heard    atomic.Bool                // whether any has been read since the last tick
	deaf     atomic.Bool                // whether heartbeats do not get here, for all that is known
	typical  atomic.Pointer[map[scenario.Combination]time.Duration]
	rooms    atomic.Pointer[map[string]room.Room] // for results, by region, as of the last look
}

// Options tune a Unit; the zero value is useful.
type Options struct {
	Version string             // of the program
	Address string             // of the metrics, for the log
	Grace   time.Duration      // from a slot's deadline to its verdict
	Ended   func(*runs.Result) // called for each result that entered the ledger while this coordinator leads

	Notifier pager.Notifier           // nil = nobody is told of alerts
	Alerted  func(*runs.Alert)        // called for each alert that began, changed or ended while this coordinator leads, when it has been announced
	Sinks    func() []exposition.Sink // how the notifier's sinks fare; nil = it has none

	Holder    string        // id, for the lease; empty = a random one
	Lease     time.Duration // how long a leader that says nothing keeps others waiting; zero = the lease's own
	Snapshots *Snapshots    // nil = none are kept
	Clock     *steady.Clock // of the process; nil = one of the unit's own
	Rewound   time.Time     // when the streams were last found to have lost what was in the books; zero = never
}

// New connects the rooms, and reads the snapshot of the books, if there is one. A unit whose books turn out not to be those of the streams
// ends with bus.ErrRewound; there must be a new one then.
func New(log *slog.Logger, set scenariofile.Set, hub *bus.Bus, opts Options) *Unit {
	if opts.Clock == nil {
		opts.Clock = steady.New(steady.Options{Log: log})
	}
	if opts.Holder == "" {
		opts.Holder = rand.Text()
	}
	planned := make(chan struct{})
	u := &Unit{
		log: log, set: set, hub: hub, opts: opts, clock: opts.Clock, began: time.Now(), memory: newMemory(),
		positions: map[string]runs.Position{}, fleet: fleet.New(opts.Clock.Now()), pools: pools(set.Scenarios), windows: newWindows(),
		caughtUp: make(chan struct{}), planned: planned, endPlan: sync.OnceFunc(func() { close(planned) }),
	}
	for _, stream := range bus.Streams(set.Fleet.Regions) {
		u.positions[stream] = runs.Position{Stream: stream}
	}
	if opts.Snapshots != nil {
		restored, from := opts.Snapshots.restore(set.Fleet.Regions)
		u.memory = restored
		maps.Copy(u.positions, from)
	}
	u.ledger.Define(set.Scenarios)
	u.engine.Define(set.Scenarios)
	u.metrics = exposition.NewCoordinator(exposition.CoordinatorSources{
		Version:           opts.Version,
		Accounts:          u.accounts,
		Probes:            func() []runs.ProbeStatus { return u.fleet.Probes(u.clock.Now()) },
		Bus:               u.busState,
		DispatchFailures:  u.failures,
		HeartbeatsRefused: u.fleet.Refused,
		Health:            u.health,
		Objectives:        func() []runs.ObjectiveStatus { return u.ledger.Objectives(u.clock.Now()) },
		Journeys:          u.journeys,
		Alerts:            u.alerts,
		Sinks:             opts.Sinks,
		Usual:             u.usually,
		Now:               opts.Clock.Now,
		Networks:          set.Fleet.Networks,
	})
	u.metrics.Define(set.Scenarios)
	return u
}

// ensureAgain is the pause between two attempts to create the streams.
const ensureAgain = 2 * time.Second

// ensureStreams creates the streams, and waits for a hub that cannot do so yet: a cluster that starts together with its coordinators has no leader for
// some seconds. The end of ctx is no error.
func (u *Unit) ensureStreams(ctx context.Context) error {
	for {
		err := u.hub.EnsureStreams(ctx, u.set.Fleet.Regions)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, bus.ErrUnavailable) {
			return err
		}
		u.log.Warn("streams not created yet, trying on", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(ensureAgain):
		}
	}
}

// Run works until ctx ends; no slot is planned after scheduling has ended. Whether it leads or not, a unit hears the probes and keeps its books in step
// with the streams, so that it can lead at once. It campaigns when its books are complete.
func (u *Unit) Run(ctx, scheduling context.Context) error {
	defer u.endPlan()
	if err := u.ensureStreams(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return u.hub.HearHeartbeats(ctx, u.hear) })
	group.Go(func() error { return u.listen(ctx) })
	group.Go(func() error { return u.follow(ctx) })
	group.Go(func() error { return u.watchRooms(ctx) })
	group.Go(func() error { return u.followWindows(ctx) })
	group.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-u.caughtUp:
		}
		took := time.Since(u.began)
		u.restored.Store(int64(took))
		u.ready.Store(true)
		u.log.Info("coordinator started", "scenarios", len(u.set.Scenarios), "regions", len(u.set.Fleet.Regions),
			"metrics", "http://"+u.opts.Address+"/metrics", "restored_in", took)
		return u.campaign(ctx, scheduling)
	})
	err := group.Wait()
	if u.opts.Snapshots != nil && u.ready.Load() && !errors.Is(err, bus.ErrRewound) {
		u.opts.Snapshots.write(u.memory, u.positions)
	}
	u.log.Info("coordinator stopped")
	return err
}

// follow keeps the memory in step with the streams. While another leads, a result opens its slot, since that one's plan is not in these
// books. A confirmation is in no book and in no metric of runs: it was asked for because something had failed. The engine decides by the time at which the
// hub stored a message, so that what comes late does not look like what happens now.
func (u *Unit) follow(ctx context.Context) error {
	from, began := maps.Clone(u.positions), u.clock.Now()
	// What was there before this process began, an earlier one has counted; but not where a snapshot says how far that one had read.
	observe := func(r *runs.Result, meta bus.Meta) {
		if from[meta.Stream].Sequence == 0 && meta.StoredAt.Before(began) {
			u.metrics.Remember(r)
			return
		}
		u.metrics.Observe(r)
	}
	return u.hub.Follow(ctx, u.set.Fleet.Regions, maps.Clone(from), bus.Handler{
		Lent: true,
		Result: func(r runs.Result, meta bus.Meta) {
			u.read(meta)
			if fromTheFuture(r.Slot, meta) {
				u.log.Warn("result of a slot in the future ignored", "run_id", r.RunID)
				return
			}
			if meta.StoredAt.Sub(r.Slot) > ledger.Retention { // its slot is final; books that are read back may not have forgotten it yet
				u.log.Warn("result came too late for its slot, and is ignored", "run_id", r.RunID, "stored_at", meta.StoredAt)
				return
			}
			if r.Trigger == runs.TriggerConfirm {
				u.engine.Result(&r, meta.StoredAt)
				observe(&r, meta)
				return
			}
			leads := u.leads()
			if u.ledger.Result(&r, !leads) != ledger.Entered {
				return
			}
			u.engine.Result(&r, meta.StoredAt)
			u.usual.Result(&r)
			observe(&r, meta)
			if leads && u.opts.Ended != nil {
				u.opts.Ended(&r)
			}
		},
		Verdict: func(v runs.Verdict, meta bus.Meta) {
			u.read(meta)
			if fromTheFuture(v.Minute, meta) {
				u.log.Warn("verdict on a minute in the future ignored", "region", v.Region, "minute", v.Minute)
				return
			}
			u.ledger.Verdict(&v)
			u.engine.Verdict(&v, meta.StoredAt)
		},
		Tick: u.tick,
		CaughtUp: func() {
			if u.opts.Snapshots != nil {
				u.opts.Snapshots.begin()
			}
			close(u.caughtUp)
		},
		Rejected: func(err *bus.RejectedError) { u.log.Warn("message rejected", "err", err) },
	})
}

// read notes how far a stream has been read.
func (u *Unit) read(meta bus.Meta) {
	u.positions[meta.Stream] = runs.Position{Stream: meta.Stream, Created: meta.Created, Sequence: meta.Sequence}
	u.behind.Store(int64(max(u.clock.Now().Sub(meta.StoredAt), 0)))
	u.heard.Store(true)
}

// forgetEvery is how often a coordinator that does not lead drops what is too old from its books.
const forgetEvery = time.Minute

// tick is called about once a second between messages.
func (u *Unit) tick() {
	if !u.heard.Swap(false) {
		u.behind.Store(0)
	}
	if now := u.clock.Now(); u.ready.Load() && !u.leads() && now.Sub(u.forgot) >= forgetEvery {
		u.forgot = now
		u.ledger.Forget(now)
	}
	if u.opts.Snapshots != nil && u.opts.Snapshots.due() {
		u.opts.Snapshots.write(u.memory, u.positions)
	}
}

// maxAhead is far more than clocks differ by.
const maxAhead = 24 * time.Hour

// fromTheFuture tells of a time that lies well after the message that speaks of it was stored. The histories of the ledger follow
// the newest time that they see, and would forget all others.
func fromTheFuture(at time.Time, meta bus.Meta) bool { return at.Sub(meta.StoredAt) > maxAhead }

// hear takes up a heartbeat.
func (u *Unit) hear(hb runs.Heartbeat) {
	if u.unknown(hb.Region) == "" {
		u.fleet.Heard(&hb, u.clock.Now())
	}
}

// unknown says what is wrong with a region, nothing where it is one of ours.
func (u *Unit) unknown(region string) string {
	if regions := u.set.Fleet.Regions; !slices.Contains(regions, region) {
		return fmt.Sprintf("unknown region: got %s, want one of %s (regions.yaml)", region, strings.Join(regions, ", "))
	}
	return ""
}

// Ledger returns the books.
func (u *Unit) Ledger() *ledger.Ledger { return u.ledger }

// Planned is closed when no slot will be planned any more.
func (u *Unit) Planned() <-chan struct{} { return u.planned }

// stopTime bounds the stop of the embedded server.
const stopTime = 10 * time.Second

// StopServer ends an embedded server, if there is one.
func StopServer(ctx context.Context, log *slog.Logger, server *bus.Server) {
	if server == nil {
		return
	}
	final, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	if err := server.Stop(final); err != nil {
		log.Error("nats server not stopped cleanly", "err", err)
	}
}

// CloseHub ends the connection to the hub.
func CloseHub(log *slog.Logger, hub *bus.Bus) {
	if err := hub.Close(); err != nil {
		log.Warn("bus not closed cleanly", "err", err)
	}
}
