// Package worker is the probe's engine: it takes assignments off the bus, one for each free place, runs them when the machine has room
// and their slot has come, and reports what became of them. It never holds a result only in memory.
//
// An assignment may come before its slot. Then its browser and its network are made ready before, and its first step begins at the slot.
//
// The order of work for one assignment, and what a crash after each part costs:
//
//  1. take the job         the bus hands it out again after its ack wait
//  2. claim it on disk     at the next start the claim without a result is reported as invalid: we died in mid-run
//  3. run it               as above
//  4. put the result on disk (the claim goes with it)  nothing: the result is reported at the next start
//  5. acknowledge the job  nothing: a repeat is recognised by its run id
//  6. publish the result, wait for the hub's ack       nothing: the hub drops the repeat
//  7. remove it from the disk
package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"lastmile/internal/admission"
	"lastmile/internal/bus"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// Hub is the bus as a probe sees it.
type Hub interface {
	// Take waits for one job of the region's pool; see bus.Bus.
	Take(ctx context.Context, region, pool string, wait time.Duration) (*bus.Job, error)
	// PublishResult stores a result at the hub and returns when it is safe there.
	PublishResult(ctx context.Context, r runs.Result) error
	// Heartbeat tells the coordinator that this probe is there.
	Heartbeat(ctx context.Context, hb runs.Heartbeat) (runs.HeartbeatReply, error)
}

// Spool keeps claims and results on disk; see package spool.
type Spool interface {
	// Claim notes that a run is about to begin; it is on disk when Claim returns.
	Claim(a runs.Assignment) error
	// Put stores a result and ends its claim; it is on disk when Put returns.
	Put(r runs.Result) error
	// Holds reports whether the run is claimed or stored here.
	Holds(id runs.ID) bool
	// Next waits for the stored result with the oldest slot, the same until it is removed or set aside.
	Next(ctx context.Context) (runs.Result, error)
	// Pending counts the stored results.
	Pending() int
	// Remove forgets a result.
	Remove(id runs.ID) error
	// SetAside takes a result that can never be published out of the way, without deleting it.
	SetAside(id runs.ID, reason error)
}

// Runner executes assignments.
type Runner interface {
	// RunAfter gets an assignment ready, calls begin, and executes it when that returns; an error of begin, a *runs.Fault or that of
	// ctx, makes the run invalid. It calls end when a run that began no longer uses the machine; end may add to the result.
	RunAfter(ctx context.Context, a *runs.Assignment, begin func(context.Context) error, end func(*runs.Result)) runs.Result
	// Blank makes the result of an assignment that was never executed.
	Blank(a *runs.Assignment) runs.Result
}

// Options describe a probe. The zero values of the numbers mean their defaults.
type Options struct {
	Region       string
	Probe        string
	Version      string
	BrowserSlots int               // browser runs at once; 0 = this probe has no Chromium
	HTTPSlots    int               // http runs at once; default 4
	Grace        time.Duration     // how long runs under way may go on when the worker stops; default 10 s
	Heartbeat    time.Duration     // default 5 s
	Room         *admission.Room   // of this machine, shared by all its probes; a probe's own where nil
	Unfinished   []runs.Assignment // runs that an earlier process began and did not end

	Clock func() (clock runs.Clock, ok bool) // how this probe's clock compares with the hub's, for heartbeats and Stats; nil = as they themselves show
}

// Worker runs assignments. Make one with New and call Run once.
type Worker struct {
	log    *slog.Logger
	hub    Hub
	spool  Spool
	runner Runner
	opts   Options

	mu      sync.Mutex
	running map[runs.ID]bool // true while under way; false = taken since the last heartbeat and already done
	recent  recent
	stats   Stats
	refused string // the coordinator's reason, while it refuses us
}

// New returns a worker.
func New(log *slog.Logger, hub Hub, spool Spool, runner Runner, opts Options) *Worker {
	if opts.HTTPSlots == 0 {
		opts.HTTPSlots = 4
	}
	if opts.Grace == 0 {
		opts.Grace = 10 * time.Second
	}
	if opts.Heartbeat == 0 {
		opts.Heartbeat = 5 * time.Second
	}
	if opts.Room == nil {
		opts.Room = admission.New(admission.ThisMachine(), 0)
	}
	return &Worker{
		log: log, hub: hub, spool: spool, runner: runner, opts: opts,
		running: map[runs.ID]bool{}, stats: Stats{Results: map[runs.State]int64{}},
	}
}

// Run works until ctx ends. Then it takes nothing more, lets the runs under way finish within the grace, and publishes what it can;
// what remains on disk is published at the next start.
func (w *Worker) Run(ctx context.Context) error {
	w.reportUnfinished()
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	publishing, stopPublishing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopPublishing()

	var services, takers errgroup.Group
	services.Go(func() error { w.publish(publishing); return nil })
	services.Go(func() error { w.beat(ctx); return nil })
	for pool, places := range map[string]int{scenario.PoolBrowser: w.opts.BrowserSlots, scenario.PoolHTTP: w.opts.HTTPSlots} {
		for range places {
			takers.Go(func() error { w.take(ctx, working, pool); return nil })
		}
	}
	<-ctx.Done()
	grace := time.AfterFunc(w.opts.Grace, stop)
	defer grace.Stop()
	err := takers.Wait()
	w.drain()
	stopPublishing()
	return errors.Join(err, services.Wait())
}

// drain gives the publisher a little time to bring the last results to the hub.
func (w *Worker) drain() {
	limit := time.Now().Add(finalWork)
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for w.spool.Pending() > 0 && time.Now().Before(limit) {
		<-ticker.C
	}
}

// reportUnfinished turns the claims of a process that died into results that say so.
func (w *Worker) reportUnfinished() {
	for _, a := range w.opts.Unfinished {
		r := w.invalid(&a, runs.ClassProbe, "the probe died in mid-run")
		w.store(&r)
	}
}

// invalid is the result of a run that we did not execute.
func (w *Worker) invalid(a *runs.Assignment, class runs.Class, detail string) runs.Result {
	r := w.runner.Blank(a)
	r.State = runs.StateInvalid
	r.Cause = &runs.Cause{Class: class, Detail: detail}
	return r
}

// takeWait is how long one request for a job stays open.
const takeWait = 10 * time.Second

// take is one place: it takes and runs one job after another.
func (w *Worker) take(ctx, working context.Context, pool string) {
	for ctx.Err() == nil {
		if pool == scenario.PoolBrowser {
			w.opts.Room.Calm(ctx)
		}
		job, err := w.hub.Take(ctx, w.opts.Region, pool, takeWait)
		var rejected *bus.RejectedError
		switch {
		case errors.As(err, &rejected):
			w.count(func(s *Stats) { s.Rejected++ })
			w.log.Warn("job rejected", "err", err)
		case errors.Is(err, bus.ErrNoJob) || errors.Is(err, bus.ErrUnavailable) || ctx.Err() != nil:
			// Nothing to do, or nobody to ask: the bus itself waits and reconnects.
		case err != nil:
			w.log.Warn("no job taken", "pool", pool, "err", err)
		default:
			w.handle(working, job)
		}
	}
}

// handle does one job.
func (w *Worker) handle(ctx context.Context, job *bus.Job) {
	a := &job.Assignment
	switch {
	case w.spool.Holds(a.RunID) || w.knows(a.RunID):
		w.count(func(s *Stats) { s.Repeated++ })
		w.ack(ctx, job)
		return
	case time.Now().After(a.StartBy):
		w.count(func(s *Stats) { s.Expired++ })
		w.ack(ctx, job)
		return
	case !w.begin(a.RunID): // another place was faster
		w.count(func(s *Stats) { s.Repeated++ })
		w.ack(ctx, job)
		return
	}
	defer w.end(a.RunID)
	if err := w.spool.Claim(*a); err != nil {
		w.count(func(s *Stats) { s.SpoolErrors++ })
		w.log.Error("run not claimed on disk", "run_id", a.RunID, "err", err)
	}
	holding, release := context.WithCancel(ctx)
	var hold errgroup.Group
	hold.Go(func() error { w.hold(holding, job); return nil })
	result := w.run(ctx, a)
	release()
	_ = hold.Wait() // hold has no error
	if w.store(&result) {
		w.ack(ctx, job)
	}
}

// run executes the assignment when the machine has room for it and its slot has come.
func (w *Worker) run(ctx context.Context, a *runs.Assignment) runs.Result {
	ticket, err := w.opts.Room.Acquire(ctx, admission.NeedOf(a), a.StartBy)
	if err != nil {
		if fault, ok := errors.AsType[*runs.Fault](err); ok {
			return w.invalid(a, fault.Class, fault.Err.Error())
		}
		return w.invalid(a, runs.ClassProbe, "stopped before the run began: the probe is shutting down")
	}
	defer ticket.Release()
	begin := func(ctx context.Context) error {
		if err := w.await(ctx, a.Slot, ticket); err != nil {
			return err
		}
		return ticket.Start(ctx, a.StartBy)
	}
	return w.runner.RunAfter(ctx, a, begin, func(r *runs.Result) {
		ticket.Stamp(r)
		ticket.Release()
	})
}

// longestLead bounds the wait for a slot. Nobody orders a run that long before: the coordinator's clock is ahead of ours.
const longestLead = 30 * time.Second

// await waits until the slot, without its share of the cores.
func (w *Worker) await(ctx context.Context, slot time.Time, ticket *admission.Ticket) error {
	lead := min(time.Until(slot), longestLead)
	if lead <= 0 {
		return nil
	}
	ticket.Rest(time.Now().Add(lead))
	timer := time.NewTimer(lead)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// holdEvery is well under a third of the bus's ack wait, so that two lost signals do no harm.
const holdEvery = bus.AckWait / 4

// hold keeps the job ours until ctx ends.
func (w *Worker) hold(ctx context.Context, job *bus.Job) {
	ticker := time.NewTicker(holdEvery)
	defer ticker.Stop()
	for {
		if err := job.InProgress(ctx); err != nil && ctx.Err() == nil {
			w.log.Debug("job not held", "run_id", job.Assignment.RunID, "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// finalWork bounds what is done after ctx has ended.
const finalWork = 3 * time.Second

// ack ends a job. Where it fails the job comes again and is recognised.
func (w *Worker) ack(ctx context.Context, job *bus.Job) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalWork)
	defer cancel()
	if err := job.Ack(ctx); err != nil {
		w.log.Warn("job not acknowledged", "run_id", job.Assignment.RunID, "err", err)
	}
}

// store puts a result on disk and wakes the publisher. Where the disk refuses, the result goes straight to the hub, and only
// where that fails too is it given up: ok=false leaves the job to somebody else.
func (w *Worker) store(r *runs.Result) (ok bool) {
	err := w.spool.Put(*r)
	if err == nil {
		w.count(func(s *Stats) { s.Results[r.State]++ })
		return true
	}
	w.count(func(s *Stats) { s.SpoolErrors++ })
	ctx, cancel := context.WithTimeout(context.Background(), finalWork)
	defer cancel()
	if direct := w.hub.PublishResult(ctx, *r); direct != nil {
		w.log.Error("result lost", "run_id", r.RunID, "err", errors.Join(err, direct))
		return false
	}
	w.log.Error("result not spooled, published at once", "run_id", r.RunID, "err", err)
	w.count(func(s *Stats) { s.Results[r.State]++ })
	return true
}

// begin enters a run; false means that it was done before.
func (w *Worker) begin(id runs.ID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.recent.add(id) {
		return false
	}
	w.running[id] = true
	w.stats.Taken++
	return true
}

// knows reports whether the run was begun here lately.
func (w *Worker) knows(id runs.ID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, ok := w.recent.set[id]
	return ok
}

func (w *Worker) end(id runs.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running[id] = false
}

func (w *Worker) count(change func(*Stats)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.stats)
}

// Ready returns nil when the coordinator has answered a heartbeat lately, and did not refuse us.
func (w *Worker) Ready() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stats.LastHeartbeat.IsZero() {
		return errors.New("no coordinator has answered yet")
	}
	if age := time.Since(w.stats.LastHeartbeat); age > 3*w.opts.Heartbeat {
		return fmt.Errorf("no coordinator has answered for %s", age.Round(time.Second))
	}
	if w.refused != "" {
		return errors.New("refused by the coordinator: " + w.refused)
	}
	return nil
}
