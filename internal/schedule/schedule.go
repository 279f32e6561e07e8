// Package schedule turns the plan into assignments: it knows when each combination of scenario, region and network is due, enters
// every slot in the ledger, and orders its run on the bus while the slot's start window is open. A run that needs a browser is ordered
// some seconds before it is due, its lead, so that the browser's start is not in what is measured; the slot is in the ledger by then,
// which counts it from its own time on.
//
// Order of work for one slot, so that a crash at any point loses nothing: enter it in the ledger, create its job on the bus
// (create-once, so a repeat after a restart does nothing), and only later move the region's cursor past it. After a restart the
// slots since the last closed minute are entered anew; those still in their window are ordered (again), those up to the cursor
// were ordered before, and the rest were nobody's: coordinator_down.
package schedule

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// Dispatcher creates jobs on the bus.
type Dispatcher interface {
	// Dispatch creates the assignment's job unless it exists; created=false means that it did.
	Dispatch(ctx context.Context, a runs.Assignment) (created bool, err error)
}

// Cursors keeps, for each region, the time up to which slots have been dispatched.
type Cursors interface {
	// Cursor returns the stored time and its revision; the zero time where none is stored.
	Cursor(ctx context.Context, region string) (time.Time, uint64, error)
	// AdvanceCursor replaces the time if the revision is still the stored one, and returns the new revision.
	AdvanceCursor(ctx context.Context, region string, to time.Time, revision uint64) (uint64, error)
}

// Book is where planned slots are entered.
type Book interface {
	Plan(c scenario.Combination, slot, deadline time.Time)
	// ClosedUntil returns the time before which all deadlines of the region are settled.
	ClosedUntil(region string) time.Time
	// First returns the earliest slot of the combination that is known; ok=false where none is.
	First(c scenario.Combination) (slot time.Time, ok bool)
}

// Plan is what is to be run: scenarios whose regions are resolved, and the networks that they name.
type Plan struct {
	Scenarios []scenario.Scenario
	Networks  netprofile.Set
}

// Options tune a scheduler; the zero value is useful.
type Options struct {
	InFlight       int                                    // dispatches at once; default 64
	CursorEvery    time.Duration                          // default 5 s
	DispatchLagged func(region string, lag time.Duration) // told of each job how long after its time it was created
}

// Scheduler dispatches due slots. Make one for each run of the program.
type Scheduler struct {
	log      *slog.Logger
	plan     Plan
	dispatch Dispatcher
	cursors  Cursors
	book     Book
	opts     Options

	mu           sync.Mutex
	inFlight     map[runs.ID]time.Time // slots being ordered, and those whose order a shutdown cut off
	undispatched map[runs.ID]time.Time // given up -> deadline
	next         time.Time             // when the next slot will be entered; zero before Run knows
	ended        bool                  // no slot will be entered any more
	failures     atomic.Int64
}

// New returns a scheduler for a plan.
func New(log *slog.Logger, plan Plan, d Dispatcher, c Cursors, b Book, opts Options) *Scheduler {
	if opts.InFlight == 0 {
		opts.InFlight = 64
	}
	if opts.CursorEvery == 0 {
		opts.CursorEvery = 5 * time.Second
	}
	if opts.DispatchLagged == nil {
		opts.DispatchLagged = func(string, time.Duration) {}
	}
	return &Scheduler{
		log: log, plan: plan, dispatch: d, cursors: c, book: b, opts: opts,
		inFlight: map[runs.ID]time.Time{}, undispatched: map[runs.ID]time.Time{},
	}
}

// maxCatchUp bounds how far back slots are entered after a long absence.
const maxCatchUp = 24 * time.Hour

// Run dispatches until ctx ends, then waits for the dispatches under way. An error means that the cursors could not be read.
func (s *Scheduler) Run(ctx context.Context) error {
	cursors, err := s.loadCursors(ctx)
	if err != nil {
		return fmt.Errorf("run scheduler: %w", err)
	}
	queue := s.queue(time.Now(), cursors)
	s.proceed(queue)
	var work errgroup.Group
	work.SetLimit(s.opts.InFlight)
	save := time.NewTicker(s.opts.CursorEvery)
	defer save.Stop()
	for {
		wake := time.NewTimer(queue.wait(time.Now()))
		select {
		case <-ctx.Done():
			wake.Stop()
			s.enter(ctx, &work, queue, cursors) // what was due when we were told to stop is in the book too
			err := work.Wait()
			s.end()
			s.saveCursors(context.WithoutCancel(ctx), cursors, time.Now())
			return err
		case <-save.C:
			s.saveCursors(ctx, cursors, time.Now())
			s.forget(time.Now())
		case <-wake.C:
			s.enter(ctx, &work, queue, cursors)
		}
		wake.Stop()
	}
}

// enter handles all slots that are due.
func (s *Scheduler) enter(ctx context.Context, work *errgroup.Group, queue *agenda, cursors map[string]*cursor) {
	for now := time.Now(); queue.due(now); {
		s.handle(ctx, work, queue.pop(), cursors)
		s.proceed(queue)
	}
}

// proceed notes how far the book is complete.
func (s *Scheduler) proceed(queue *agenda) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended = len(*queue) == 0; !s.ended {
		s.next = (*queue)[0].orderAt()
	}
}

func (s *Scheduler) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}

// Entered returns the time, no later than now, before which every slot is in the book; zero before Run has looked at the plan.
// Nobody may close a minute that is not over by then: slots of it may still be entered. Slots are entered at their own time or before, so that
// all before the time at which the next is to be entered are there.
func (s *Scheduler) Entered(now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.next.After(now) {
		return now
	}
	return s.next
}

// handle enters one slot and starts its dispatch.
func (s *Scheduler) handle(ctx context.Context, work *errgroup.Group, e entry, cursors map[string]*cursor) {
	startBy := e.slot.Add(e.window)
	deadline := startBy.Add(e.scenario.Timeout.D())
	region := cursors[e.combination.Region]
	if deadline.Before(region.settled) {
		return
	}
	s.book.Plan(e.combination, e.slot, deadline)
	if time.Now().After(startBy) {
		if e.slot.After(region.start) {
			s.giveUp(runs.NewID(e.combination, e.slot), deadline)
		}
		return
	}
	a := runs.NewAssignment(*e.scenario, e.combination.Region, e.network, e.slot)
	s.mu.Lock()
	s.inFlight[a.RunID] = a.Slot
	s.mu.Unlock()
	work.Go(func() error {
		s.order(ctx, a, e.orderAt())
		return nil
	})
}

const (
	retryPause = 500 * time.Millisecond // between two attempts to create a job
	finalWork  = 2 * time.Second        // for what is under way when Run is told to stop
)

// order creates the job, again and again until the start window closes. Creating is idempotent, so an attempt whose answer was
// lost does no harm. A shutdown lets the attempt under way finish; a slot that it cuts off all the same stays in flight, so that the
// cursor does not pass it and the next start finds it again.
func (s *Scheduler) order(ctx context.Context, a runs.Assignment, due time.Time) {
	window, cancel := context.WithDeadline(context.WithoutCancel(ctx), a.StartBy)
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(finalWork, cancel) })()
	for {
		_, err := s.dispatch.Dispatch(window, a)
		if err == nil {
			s.opts.DispatchLagged(a.Region, time.Since(due))
			s.landed(a.RunID)
			return
		}
		s.failures.Add(1)
		select {
		case <-window.Done():
		case <-ctx.Done():
		case <-time.After(retryPause):
			continue
		}
		s.giveUp(a.RunID, a.Deadline)
		if ctx.Err() == nil {
			s.landed(a.RunID)
			s.log.Warn("slot not dispatched", "run_id", a.RunID, "err", err)
		}
		return
	}
}

// landed takes a slot out of flight.
func (s *Scheduler) landed(id runs.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.inFlight, id)
}

// giveUp records that nobody was asked to run the slot.
func (s *Scheduler) giveUp(id runs.ID, deadline time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.undispatched[id] = deadline
}

// forget drops given up slots whose verdict has long been written.
func (s *Scheduler) forget(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, deadline := range s.undispatched {
		if now.Sub(deadline) > 2*maxCatchUp {
			delete(s.undispatched, id)
		}
	}
}

// Undispatched reports whether the slot was given up without a job.
func (s *Scheduler) Undispatched(id runs.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.undispatched[id]
	return ok
}

// Failures counts attempts to create a job that failed.
func (s *Scheduler) Failures() int64 { return s.failures.Load() }

// cursor is a region's position. start is where the previous coordinator had got to; deadlines before settled were closed by it.
type cursor struct {
	start    time.Time
	settled  time.Time
	revision uint64
	unsure   bool // the last move failed, or its answer was lost: the revision must be read again
}

func (s *Scheduler) loadCursors(ctx context.Context) (map[string]*cursor, error) {
	out := map[string]*cursor{}
	now := time.Now()
	for i := range s.plan.Scenarios {
		for _, region := range s.plan.Scenarios[i].Regions {
			if out[region] != nil {
				continue
			}
			at, revision, err := s.cursors.Cursor(ctx, region)
			if err != nil {
				return nil, err
			}
			settled := s.book.ClosedUntil(region)
			if settled.After(now) { // by a clock that was ahead: what is due from now on is not settled
				settled = now
			}
			out[region] = &cursor{start: at, settled: settled, revision: revision}
		}
	}
	return out, nil
}

// saveCursors moves each region's cursor to the last time before which every slot has been dispatched or given up, and which is over:
// it does not go ahead with the leads, which differ. Being behind only means that slots are created again, which does nothing.
func (s *Scheduler) saveCursors(ctx context.Context, cursors map[string]*cursor, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, finalWork)
	defer cancel()
	limit := s.Entered(now.Truncate(time.Second)).Add(-time.Second)
	lowest := s.lowestInFlight()
	for region, c := range cursors {
		to := limit
		if low, ok := lowest[region]; ok && !low.After(to) {
			to = low.Add(-time.Second)
		}
		err := s.move(ctx, region, c, to)
		if err != nil && !c.unsure && !errors.Is(err, context.DeadlineExceeded) {
			s.log.Warn("cursor not saved", "region", region, "err", err)
		}
		c.unsure = err != nil
	}
}

// lowestInFlight returns the earliest slot of each region that is in flight.
func (s *Scheduler) lowestInFlight() map[string]time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	lowest := map[string]time.Time{}
	for id, slot := range s.inFlight {
		c, _, err := id.Parse()
		if low, ok := lowest[c.Region]; err == nil && (!ok || slot.Before(low)) {
			lowest[c.Region] = slot
		}
	}
	return lowest
}

// move saves one cursor. After a failure the stored one is read first: a move whose answer was lost has changed its revision, and
// another coordinator may have got further, which is left as it is.
func (s *Scheduler) move(ctx context.Context, region string, c *cursor, to time.Time) error {
	if c.unsure {
		at, revision, err := s.cursors.Cursor(ctx, region)
		if err != nil {
			return err
		}
		c.revision = revision
		if !to.After(at) {
			return nil
		}
	}
	revision, err := s.cursors.AdvanceCursor(ctx, region, to, c.revision)
	if err == nil {
		c.revision = revision
	}
	return err
}

// entry is the next slot of one combination.
type entry struct {
	scenario    *scenario.Scenario
	combination scenario.Combination
	network     netprofile.Profile
	window      time.Duration
	lead        time.Duration
	slot        time.Time
}

// orderAt is when the slot is to be entered and its run ordered.
func (e *entry) orderAt() time.Time { return e.slot.Add(-e.lead) }

// agenda is a heap of entries, the one to be ordered first at the top.
type agenda []entry

// queue fills the agenda: combinations that were planned before go on where the books end, new ones begin at now.
func (s *Scheduler) queue(now time.Time, cursors map[string]*cursor) *agenda {
	q := &agenda{}
	for i := range s.plan.Scenarios {
		sc := &s.plan.Scenarios[i]
		window, lead := sc.StartWindow(), sc.Lead()
		for _, c := range sc.Combinations() {
			from := now
			if first, ok := s.book.First(c); ok && !first.After(now) {
				from = first
				if open := cursors[c.Region].settled.Add(-sc.Timeout.D() - window); open.After(from) { // the earliest slot whose deadline may be open
					from = open
				}
				from = from.Add(-time.Second) // itself included
			}
			if limit := now.Add(-maxCatchUp); from.Before(limit) {
				s.log.Warn("absent for long, older slots are left out of the books", "scenario", c.Scenario, "region", c.Region, "from", from, "to", limit)
				from = limit
			}
			network, ok := s.plan.Networks.Lookup(c.Network)
			if !ok {
				s.log.Error("unknown network, nothing of it is planned", "scenario", c.Scenario, "region", c.Region, "network", c.Network)
				continue
			}
			if next := sc.Timetable().Next(c, from); !next.IsZero() {
				*q = append(*q, entry{scenario: sc, combination: c, network: network, window: window, lead: lead, slot: next})
			}
		}
	}
	heap.Init(q)
	return q
}

// idleWait is how long an empty agenda sleeps.
const idleWait = time.Hour

func (q *agenda) wait(now time.Time) time.Duration {
	if len(*q) == 0 {
		return idleWait
	}
	return (*q)[0].orderAt().Sub(now)
}

func (q *agenda) due(now time.Time) bool { return len(*q) > 0 && !(*q)[0].orderAt().After(now) }

// pop takes the earliest entry and puts the combination's next slot in its place.
func (q *agenda) pop() entry {
	e := (*q)[0]
	if next := e.scenario.Timetable().Next(e.combination, e.slot); next.IsZero() {
		heap.Pop(q)
	} else {
		(*q)[0].slot = next
		heap.Fix(q, 0)
	}
	return e
}

// Len implements heap.Interface.
func (q *agenda) Len() int { return len(*q) }

// Less implements heap.Interface.
func (q *agenda) Less(i, j int) bool { return (*q)[i].orderAt().Before((*q)[j].orderAt()) }

// Swap implements heap.Interface.
func (q *agenda) Swap(i, j int) { (*q)[i], (*q)[j] = (*q)[j], (*q)[i] }

// Push implements heap.Interface.
func (q *agenda) Push(x any) { *q = append(*q, x.(entry)) }

// Pop implements heap.Interface.
func (q *agenda) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	*q = (*q)[:last]
	return e
}
