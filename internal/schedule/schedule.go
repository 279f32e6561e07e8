// Package schedule turns the plan into assignments: it knows when each combination of scenario, region and network is due, enters
// every slot in the ledger, and orders its run on the bus while the slot's start window is open.
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
	// Has reports whether the combination was planned before.
	Has(c scenario.Combination) bool
}

// Options tune a scheduler; the zero value is useful.
type Options struct {
	InFlight       int           // dispatches at once; default 64
	CursorEvery    time.Duration // default 5 s
	DispatchLagged func(region string, lag time.Duration)
}

// Scheduler dispatches due slots. Make one for each run of the program.
type Scheduler struct {
	log       *slog.Logger
	scenarios []scenario.Scenario
	dispatch  Dispatcher
	cursors   Cursors
	book      Book
	opts      Options

	mu           sync.Mutex
	inFlight     map[runs.ID]time.Time
	undispatched map[runs.ID]time.Time
	failures     atomic.Int64
}

// New returns a scheduler for scenarios whose regions are resolved.
func New(log *slog.Logger, scenarios []scenario.Scenario, d Dispatcher, c Cursors, b Book, opts Options) *Scheduler {
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
		log: log, scenarios: scenarios, dispatch: d, cursors: c, book: b, opts: opts,
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
	queue := s.queue(time.Now())
	var work errgroup.Group
	work.SetLimit(s.opts.InFlight)
	save := time.NewTicker(s.opts.CursorEvery)
	defer save.Stop()
	for {
		wake := time.NewTimer(queue.wait(time.Now()))
		select {
		case <-ctx.Done():
			wake.Stop()
			err := work.Wait()
			s.saveCursors(context.WithoutCancel(ctx), cursors, time.Now())
			return err
		case <-save.C:
			s.saveCursors(ctx, cursors, time.Now())
		case <-wake.C:
			for now := time.Now(); queue.due(now) && ctx.Err() == nil; {
				s.handle(ctx, &work, queue.pop(), cursors)
			}
		}
		wake.Stop()
	}
}

// handle enters one slot and starts its dispatch.
func (s *Scheduler) handle(ctx context.Context, work *errgroup.Group, e entry, cursors map[string]*cursor) {
	a := runs.NewAssignment(*e.scenario, e.combination.Region, e.network, e.slot)
	if !a.Deadline.After(s.book.ClosedUntil(e.combination.Region)) {
		return // settled before a restart
	}
	s.book.Plan(e.combination, a.Slot, a.Deadline)
	if time.Now().After(a.StartBy) {
		if a.Slot.After(cursors[a.Region].start) {
			s.giveUp(a.RunID, a.Deadline)
		}
		return
	}
	s.mu.Lock()
	s.inFlight[a.RunID] = a.Slot
	s.mu.Unlock()
	work.Go(func() error {
		s.order(ctx, a)
		s.mu.Lock()
		delete(s.inFlight, a.RunID)
		s.mu.Unlock()
		return nil
	})
}

// retryPause is the time between two attempts to create a job.
const retryPause = 500 * time.Millisecond

// order creates the job, again and again until the start window closes. Creating is idempotent, so an attempt whose answer was
// lost does no harm.
func (s *Scheduler) order(ctx context.Context, a runs.Assignment) {
	window, cancel := context.WithDeadline(ctx, a.StartBy)
	defer cancel()
	for {
		_, err := s.dispatch.Dispatch(window, a)
		if err == nil {
			s.opts.DispatchLagged(a.Region, time.Since(a.Slot))
			return
		}
		s.failures.Add(1)
		select {
		case <-window.Done():
			if ctx.Err() == nil { // while shutting down the next start finds the slot again
				s.giveUp(a.RunID, a.Deadline)
				s.log.Warn("slot not dispatched", "run_id", a.RunID, "err", err)
			}
			return
		case <-time.After(retryPause):
		}
	}
}

// giveUp records that nobody was asked to run the slot.
func (s *Scheduler) giveUp(id runs.ID, deadline time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.undispatched[id] = deadline
	for other, at := range s.undispatched {
		if deadline.Sub(at) > maxCatchUp {
			delete(s.undispatched, other)
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

// cursor is a region's position. start is where the previous coordinator had got to.
type cursor struct {
	start    time.Time
	revision uint64
}

func (s *Scheduler) loadCursors(ctx context.Context) (map[string]*cursor, error) {
	out := map[string]*cursor{}
	for i := range s.scenarios {
		for _, region := range s.scenarios[i].Regions {
			if out[region] != nil {
				continue
			}
			at, revision, err := s.cursors.Cursor(ctx, region)
			if err != nil {
				return nil, err
			}
			out[region] = &cursor{start: at, revision: revision}
		}
	}
	return out, nil
}

// saveCursors moves each region's cursor to the last time before which every slot has been dispatched or given up. A cursor that
// somebody else moved is left to them; being behind only means that slots are created again, which does nothing.
func (s *Scheduler) saveCursors(ctx context.Context, cursors map[string]*cursor, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	lowest := map[string]time.Time{}
	s.mu.Lock()
	for id, slot := range s.inFlight {
		c, _, err := id.Parse()
		if low, ok := lowest[c.Region]; err == nil && (!ok || slot.Before(low)) {
			lowest[c.Region] = slot
		}
	}
	s.mu.Unlock()
	for region, c := range cursors {
		to := now.Truncate(time.Second).Add(-time.Second)
		if low, ok := lowest[region]; ok && low.Before(to) {
			to = low.Add(-time.Second)
		}
		revision, err := s.cursors.AdvanceCursor(ctx, region, to, c.revision)
		if err != nil {
			if !errors.Is(err, context.DeadlineExceeded) {
				s.log.Warn("cursor not saved", "region", region, "err", err)
			}
			continue
		}
		c.revision = revision
	}
}

// entry is the next slot of one combination.
type entry struct {
	scenario    *scenario.Scenario
	combination scenario.Combination
	network     netprofile.Profile
	slot        time.Time
}

// agenda is a heap of entries, earliest slot first.
type agenda []entry

// queue fills the agenda: combinations that were planned before go on where the books end, new ones begin at now.
func (s *Scheduler) queue(now time.Time) *agenda {
	q := &agenda{}
	for i := range s.scenarios {
		sc := &s.scenarios[i]
		for _, c := range sc.Combinations() {
			from := now
			if closed := s.book.ClosedUntil(c.Region); s.book.Has(c) && !closed.IsZero() {
				from = closed.Add(-sc.Timeout.D() - sc.StartWindow()) // the earliest slot whose deadline may be open
			}
			if limit := now.Add(-maxCatchUp); from.Before(limit) {
				from = limit
			}
			network, ok := netprofile.Lookup(c.Network)
			if next := sc.Schedule.Next(c, from); ok && !next.IsZero() {
				*q = append(*q, entry{scenario: sc, combination: c, network: network, slot: next})
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
	return (*q)[0].slot.Sub(now)
}

func (q *agenda) due(now time.Time) bool { return len(*q) > 0 && !(*q)[0].slot.After(now) }

// pop takes the earliest entry and puts the combination's next slot in its place.
func (q *agenda) pop() entry {
	e := (*q)[0]
	if next := e.scenario.Schedule.Next(e.combination, e.slot); next.IsZero() {
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
func (q *agenda) Less(i, j int) bool { return (*q)[i].slot.Before((*q)[j].slot) }

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
