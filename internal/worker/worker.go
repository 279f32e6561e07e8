// Package worker is the probe's engine: it takes assignments off the bus, one for each free place, or is offered the probe's own where
// there is no coordinator, runs them when the machine has room and their slot has come, and reports what became of them. It never holds a
// result only in memory.
//
// An assignment may come before its slot. Then its browser and its network are made ready before, and its first step begins at the slot. Slots,
// start windows, deadlines and the start that a result bears are by the hub's clock, not by this machine's.
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
//
// A job that comes again while the result of our death is on its way to the hub is left alone, for the next delivery: whoever gets that one runs
// it, and a real result outranks the report. A run that is to confirm what this probe found is handed on to a sibling; where none takes it, it is
// run here. While the spool is full nothing is taken. A run that has not begun when the probe stops is
// handed back, for another probe or the next process.
package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"lastmile/internal/admission"
	"lastmile/internal/bus"
	"lastmile/internal/faultpoint"
	"lastmile/internal/hubtime"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// Hub is the bus as a probe sees it.
type Hub interface {
	// Take waits for one job of the region's pool; see bus.Bus.
	Take(ctx context.Context, region, pool string, wait time.Duration) (*bus.Job, error)
	// PublishResults stores results at the hub, each by itself, and returns when they are safe there: the error of each, nil where it is.
	PublishResults(ctx context.Context, results []runs.Result) []error
	// Heartbeat tells the coordinator that this probe is there.
	Heartbeat(ctx context.Context, hb runs.Heartbeat) (runs.HeartbeatReply, error)
}

// Spool keeps claims and results on disk; see package spool.
type Spool interface {
	// Claim notes that a run is about to begin; it is on disk when Claim returns. spool.ErrFull: the run is not to begin.
	Claim(a runs.Assignment) error
	// Full reports whether nothing more is claimed.
	Full() bool
	// Bytes is what the spool takes on disk.
	Bytes() int64
	// Release forgets the claim of a run that is not run here after all.
	Release(id runs.ID) error
	// Put stores a result and ends its claim; it is on disk when Put returns.
	Put(r runs.Result) error
	// Holds reports whether the run is claimed or stored here.
	Holds(id runs.ID) bool
	// Batch waits for stored results, and returns up to n, that with the oldest slot among them; the same until they are removed or set aside.
	Batch(ctx context.Context, n int) ([]runs.Result, error)
	// Pending counts the stored results.
	Pending() int
	// Remove forgets a result.
	Remove(id runs.ID) error
	// SetAside takes a result that can never be published out of the way, without deleting it.
	SetAside(id runs.ID, reason error)
	// Resend lets results wait again that were removed before a time, as far as they are still there, and returns how many.
	Resend(before time.Time) (n int, err error)
}

// Runner executes assignments.
type Runner interface {
	// RunAfter gets an assignment ready, calls begin, and executes it when that returns; an error of begin, a *runs.Fault or that of
	// ctx, makes the run invalid. It calls end when a run that began no longer uses the machine; end may add to the result.
	RunAfter(ctx context.Context, a *runs.Assignment, begin func(context.Context) error, end func(*runs.Result)) runs.Result
	// Blank makes the result of an assignment that was never executed.
	Blank(a *runs.Assignment) runs.Result
}

// Autonomy has the probe order its own runs where there is no coordinator; see package autonomy.
type Autonomy interface {
	// Answered is told what a coordinator answered to a heartbeat.
	Answered(reply runs.HeartbeatReply)
	// Alone reports whether the probe orders its own runs.
	Alone() bool
	// Elsewhere reports whether another probe of the region has the run, or had it lately.
	Elsewhere(id runs.ID) bool
	// Outdated reports whether the assignment, stored then, is of a leader that was no more, and not what the leader of now orders.
	Outdated(a *runs.Assignment, stored time.Time) bool
}

// Options describe a probe. The zero values of the numbers mean their defaults.
type Options struct {
	Region       string
	Probe        string
	Version      string
	BrowserSlots int               // browser runs at once; 0 = this probe has no Chromium
	BrowserPools []string          // which of them it can run; default scenario.PoolBrowser
	HTTPSlots    int               // http runs at once; default 4
	Grace        time.Duration     // how long runs under way may go on when the worker stops; default 10 s
	Heartbeat    time.Duration     // default 5 s
	Room         *admission.Room   // of this machine, shared by all its probes; a probe's own where nil
	Unfinished   []runs.Assignment // runs that an earlier process began and did not end

	Clock    func() (clock runs.Clock, ok bool) // how this probe's clock compares with the hub's, for heartbeats and Stats; nil = as they themselves show
	Time     *hubtime.Clock                     // the hub's clock; nil = this machine's
	Autonomy Autonomy                           // nil = the probe runs only what a coordinator orders
}

// Worker runs assignments. Make one with New and call Run once.
type Worker struct {
	log    *slog.Logger
	hub    Hub
	spool  Spool
	runner Runner
	opts   Options
	places []*place
	began  time.Time

	mu      sync.Mutex
	running map[runs.ID]bool // true while under way; false = taken since the last heartbeat and already done
	recent  recent
	died    map[runs.ID]bool // what an earlier process began, did not end, and we report
	stats   Stats
	refused string    // the coordinator's reason, while it refuses us
	skewed  bool      // it has been said that this machine's clock is off
	resent  time.Time // what the hub lost that was acknowledged before has been sent again
}

// New returns a worker.
func New(log *slog.Logger, hub Hub, spool Spool, runner Runner, opts Options) *Worker {
	opts.HTTPSlots = cmp.Or(opts.HTTPSlots, 4)
	opts.Grace = cmp.Or(opts.Grace, 10*time.Second)
	opts.Heartbeat = cmp.Or(opts.Heartbeat, 5*time.Second)
	if opts.Room == nil {
		opts.Room = admission.New(admission.ThisMachine(), 0)
	}
	if opts.Time == nil {
		opts.Time = hubtime.New(hubtime.Options{})
	}
	if len(opts.BrowserPools) == 0 {
		opts.BrowserPools = []string{scenario.PoolBrowser}
	}
	return &Worker{
		log: log, hub: hub, spool: spool, runner: runner, opts: opts, places: placesFor(opts), began: time.Now(),
		running: map[runs.ID]bool{}, died: map[runs.ID]bool{}, stats: Stats{Results: map[runs.State]int64{}},
	}
}

// Run works until ctx ends. Then it takes nothing more, lets the runs under way finish within the grace, publishes what it can, and says
// that it leaves; what remains on disk is published at the next start.
func (w *Worker) Run(ctx context.Context) error {
	w.reportUnfinished()
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	publishing, stopPublishing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopPublishing()

	var services, takers errgroup.Group
	services.Go(func() error { w.publish(publishing); return nil })
	services.Go(func() error { w.beat(ctx); return nil })
	for _, p := range w.places {
		takers.Go(func() error { w.serve(ctx, working, p); return nil })
	}
	<-ctx.Done()
	grace := time.AfterFunc(w.opts.Grace, stop)
	defer grace.Stop()
	err := takers.Wait()
	w.drain()
	stopPublishing()
	err = errors.Join(err, services.Wait())
	w.leave()
	return err
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
		w.died[a.RunID] = true
		r := w.invalid(&a, runs.ClassProbe, "the probe died in mid-run")
		w.store(&r)
	}
}

// invalid is the result of a run that we did not execute.
func (w *Worker) invalid(a *runs.Assignment, class runs.Class, detail string) runs.Result {
	r := w.runner.Blank(a)
	r.State, r.Autonomous = runs.StateInvalid, a.Autonomous
	r.Cause = &runs.Cause{Class: class, Detail: detail}
	return r
}

// handle does one job, or says why not.
func (w *Worker) handle(ctx context.Context, job *bus.Job) {
	id := job.Assignment.RunID
	held := w.spool.Holds(id)
	switch {
	case held && w.diedIn(id):
		return // the report of it is on its way: the next delivery is run
	case held || w.knows(id):
		w.count(func(s *Stats) { s.Repeated++ })
	case w.opts.Autonomy != nil && w.opts.Autonomy.Outdated(&job.Assignment, job.Stored):
		w.count(func(s *Stats) { s.Fenced++ })
		w.log.Warn("job of a leader that is no more, not run", "run_id", id, "term", job.Assignment.Term)
	case w.opts.Time.Now().After(job.Assignment.StartBy):
		if w.early() {
			return // it may be our clock: when the job comes again, we shall know
		}
		w.count(func(s *Stats) { s.Expired++ })
	case w.opts.Autonomy != nil && w.opts.Autonomy.Elsewhere(id):
		w.count(func(s *Stats) { s.Repeated++ })
		return // should the other one die, the job comes again
	case job.Assignment.Avoid == w.opts.Probe && !job.Last():
		w.handOn(ctx, job)
		return
	case !w.begin(id): // another place was faster
		w.count(func(s *Stats) { s.Repeated++ })
	default:
		w.do(ctx, &job.Assignment, job)
		return
	}
	w.ack(ctx, job)
}

// early reports whether this probe has just begun, and does not know yet how its clock compares with the hub's, as it will.
func (w *Worker) early() bool { return time.Since(w.began) < bus.AckWait && !w.opts.Time.Settled() }

// do executes a run that has begun, and stores what became of it. job is nil where the probe ordered it itself.
func (w *Worker) do(ctx context.Context, a *runs.Assignment, job *bus.Job) {
	defer w.end(a.RunID)
	faultpoint.Reached(faultpoint.JobTaken)
	switch err := w.spool.Claim(*a); {
	case err != nil && w.spool.Full():
		w.log.Error("run not begun", "run_id", a.RunID, "err", err)
		w.giveBack(ctx, a.RunID, job)
		return
	case err != nil:
		w.count(func(s *Stats) { s.SpoolErrors++ })
		w.log.Error("run not claimed on disk", "run_id", a.RunID, "err", err)
	}
	faultpoint.Reached(faultpoint.RunClaimed)
	holding, release := context.WithCancel(ctx)
	var hold errgroup.Group
	if job != nil {
		hold.Go(func() error { w.hold(holding, job); return nil })
	}
	result, ran := w.run(ctx, a)
	release()
	_ = hold.Wait() // hold has no error
	if !ran {
		if err := w.spool.Release(a.RunID); err != nil { // the next process reports it as one that we died in
			w.log.Warn("claim not removed", "run_id", a.RunID, "err", err)
		}
		w.giveBack(ctx, a.RunID, job)
		return
	}
	faultpoint.Reached(faultpoint.RunEnded)
	switch stored := w.store(&result); {
	case stored && job != nil:
		faultpoint.Reached(faultpoint.ResultStored)
		w.end(a.RunID) // it is over, however long a hub that does not answer is waited for
		w.ack(ctx, job)
		faultpoint.Reached(faultpoint.JobDone)
	case !stored && job != nil:
		w.mu.Lock()
		w.died[a.RunID] = true // as good as: should the job come again, it is not taken for one that was done
		w.recent.remove(a.RunID)
		w.mu.Unlock()
	}
}

// giveBack leaves a run that has not begun after all to others.
func (w *Worker) giveBack(ctx context.Context, id runs.ID, job *bus.Job) {
	w.mu.Lock()
	w.recent.remove(id)
	w.mu.Unlock()
	if job != nil {
		w.handBack(ctx, job)
	}
}

// run executes the assignment when the machine has room for it and its slot has come; ran=false where ctx ended before it began.
func (w *Worker) run(ctx context.Context, a *runs.Assignment) (r runs.Result, ran bool) {
	here := *a // its limits by this machine's clock, and safe from whoever sets that
	here.StartBy, here.Deadline = w.opts.Time.Local(a.StartBy), w.opts.Time.Local(a.Deadline)
	ticket, err := w.opts.Room.Acquire(ctx, admission.NeedOf(&here), here.StartBy)
	if err != nil {
		if fault, ok := errors.AsType[*runs.Fault](err); ok {
			return w.invalid(a, fault.Class, fault.Err.Error()), true
		}
		return r, false
	}
	defer ticket.Release()
	still := standstill{now: time.Now}
	defer still.end()
	begin := func(ctx context.Context) error {
		if err := w.await(ctx, a.Slot, ticket); err != nil {
			return err
		}
		err := ticket.Start(ctx, here.StartBy)
		if err == nil {
			still.begin()
		}
		return err
	}
	began := false
	r = w.runner.RunAfter(ctx, &here, begin, func(r *runs.Result) {
		began = true
		still.judge(r)
		w.date(a, r)
		ticket.Stamp(r)
		ticket.Release()
	})
	if !began {
		w.date(a, &r)
	}
	return r, began || ctx.Err() == nil
}

// date enters in a result when it began, by the hub's clock, and who ordered it.
func (w *Worker) date(a *runs.Assignment, r *runs.Result) {
	r.Autonomous = a.Autonomous
	if !r.StartedAt.IsZero() {
		r.StartedAt = w.opts.Time.Of(r.StartedAt)
	}
}

const (
	// longestLead bounds the wait for a slot. Nobody orders a run that long before: some clock is wrong.
	longestLead = 30 * time.Second
	// lookAgain is how often the hub's clock is looked at meanwhile, which may become known, or better known.
	lookAgain = time.Second
)

// await waits until the slot, without its share of the cores.
func (w *Worker) await(ctx context.Context, slot time.Time, ticket *admission.Ticket) error {
	for began := time.Now(); ; {
		lead := min(slot.Sub(w.opts.Time.Now()), longestLead-time.Since(began))
		if lead <= 0 {
			return nil
		}
		ticket.Rest(time.Now().Add(lead))
		rest(ctx, min(lead, lookAgain))
		if err := ctx.Err(); err != nil {
			return err
		}
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
	if direct := w.hub.PublishResults(ctx, []runs.Result{*r})[0]; direct != nil {
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
	return w.enter(id)
}

// enter needs w.mu.
func (w *Worker) enter(id runs.ID) bool {
	if !w.recent.add(id, time.Now()) {
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
	return w.recent.has(id)
}

// diedIn reports whether an earlier process of this probe began the run and did not end it.
func (w *Worker) diedIn(id runs.ID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.died[id]
}

func (w *Worker) end(id runs.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.recent.has(id) { // it was given back: there is nothing to tell
		delete(w.running, id)
		return
	}
	w.running[id] = false
	w.recent.touch(id, time.Now())
	if len(w.running) <= maxTold {
		return
	}
	// Nobody has answered for long: a heartbeat of all that was done meanwhile would once be too large for the server, and never be answered.
	for _, old := range w.recent.order {
		if under, told := w.running[old]; told && !under {
			delete(w.running, old)
			return
		}
	}
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
