// Package schedule turns the plan into assignments: it knows when each combination of scenario, region and network is due, enters
// every slot in the ledger, and orders its run on the bus while the slot's start window is open. A run that needs a browser is ordered
// some seconds before it is due, its lead, so that the browser's start is not in what is measured; the slot is in the ledger by then,
// which counts it from its own time on.
//
// Order of work for one slot, so that a crash at any point loses nothing: enter it in the ledger, create its job on the bus
// (create-once, so a repeat after a restart does nothing), and only later move the region's cursor past it. After a restart the
// slots since the last closed minute are entered anew; those still in their window are ordered (again), those up to the cursor
// were ordered before, and the rest were nobody's: coordinator_down.
//
// With which slot each combination began is recorded before any slot is entered or ordered: where there is neither a result nor a verdict yet, that
// record is all that is left of a coordinator that died, and the next one accounts for what was due since. The order at the start of a term is thus: read cursors and
// records, write the records of new combinations, and only then enter, order, move the cursors. Where a record cannot be written the slots wait for three
// seconds, and are then ordered all the same; it is tried on, and a crash before that, and before the first result or verdict, forgets what was due
// of the new combinations.
//
// Slots are entered by one loop, which never waits for the bus: each region has a lane of its own in which its orders wait for one of a
// few dispatches at once. What does not get out while its window is open is given up, so that a lane never holds more than what is due.
// A combination has one run at a time: while an earlier one is still under way its slot is held, and skipped when its window closes.
//
// Under maintenance a slot is entered like any other and never ordered: it is given up, and its verdict will be skipped. That is looked at until the
// job has been created; a run that was ordered before the maintenance was announced is measured, and counts.
package schedule

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"lastmile/internal/faultpoint"
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
	InFlight       int                                    // dispatches at once in each region; default 64
	CursorEvery    time.Duration                          // default 5 s
	DispatchLagged func(region string, lag time.Duration) // told of each job how long after its time it was created

	Beginnings Beginnings // nil = they are not kept, and a combination has begun where the books have a slot of it

	// Now is the time by which slots are due; nil = time.Now. One that goes back plans nothing twice, and nothing at all until it is where it was;
	// one that jumps ahead leaves the slots between as coordinator_down.
	Now func() time.Time

	// Busy reports whether a run of the combination, of a slot before this one, is still under way; nil = never. It is asked
	// often, and must answer at once.
	Busy func(c scenario.Combination, slot time.Time) bool

	// Maintenance reports whether the slot is to be left out on purpose; nil = none is. It is asked often, and must answer at once.
	Maintenance func(c scenario.Combination, slot time.Time) bool
}

// Scheduler dispatches due slots. Make one for each run of the program.
type Scheduler struct {
	log      *slog.Logger
	programs []program
	dispatch Dispatcher
	cursors  Cursors
	book     Book
	opts     Options
	given    givenUp
	lanes    map[string]*lane // by region; made by Run, and not changed after
	began    time.Time        // when Run began: combinations that are new then begin after it

	mu       sync.Mutex
	next     time.Time // when the next slot will be entered; zero before Run knows
	ended    bool      // no slot will be entered any more
	failures atomic.Int64
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
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Busy == nil {
		opts.Busy = func(scenario.Combination, time.Time) bool { return false }
	}
	if opts.Maintenance == nil {
		opts.Maintenance = func(scenario.Combination, time.Time) bool { return false }
	}
	return &Scheduler{
		log: log, programs: programs(log, plan), dispatch: d, cursors: c, book: b, opts: opts,
		given: givenUp{spans: map[scenario.Combination][]givenSpan{}},
	}
}

const (
	maxCatchUp = 24 * time.Hour         // how far back slots are entered after a long absence
	nap        = 250 * time.Millisecond // the longest that Run sleeps: timers do not know of clocks that are set, nor of suspended time
)

// Run dispatches until ctx ends, then waits for the dispatches under way. An error means that the cursors, or the beginnings, could not be read.
func (s *Scheduler) Run(ctx context.Context) error {
	if err := s.loadCursors(ctx); err != nil {
		return fmt.Errorf("run scheduler: %w", err)
	}
	now := s.opts.Now()
	if err := s.begin(ctx, now); err != nil {
		return fmt.Errorf("run scheduler: %w", err)
	}
	queue := s.queue(now)
	s.proceed(queue)
	final, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	crew := &crew{stopping: ctx, final: final}
	var keeper sync.WaitGroup
	keeper.Go(func() { s.keepCursors(ctx) })
	for {
		wake := time.NewTimer(min(queue.wait(s.opts.Now()), nap))
		select {
		case <-ctx.Done():
			wake.Stop()
			s.enter(crew, queue) // what was due when we were told to stop is in the book too
			defer time.AfterFunc(finalWork, cancel).Stop()
			crew.work.Wait()
			s.end()
			keeper.Wait()
			s.recordLater(context.WithoutCancel(ctx))
			s.saveCursors(context.WithoutCancel(ctx), s.opts.Now())
			return nil
		case <-wake.C:
			s.enter(crew, queue)
			s.review(crew)
		}
	}
}

// enter handles all slots that are due.
func (s *Scheduler) enter(crew *crew, queue *agenda) {
	now := s.opts.Now()
	if n := queue.skip(now.Add(-maxCatchUp)); n > 0 {
		s.log.Warn("clock far ahead, older slots are left out of the books", "combinations", n, "to", now.Add(-maxCatchUp))
	}
	for queue.due(now) {
		s.handle(crew, queue.pop())
		s.proceed(queue)
	}
}

// proceed notes how far the book is complete.
func (s *Scheduler) proceed(queue *agenda) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended = len(*queue) == 0; !s.ended {
		s.next = (*queue)[0].orderAt
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

// handle enters one slot and puts its order in the region's lane.
func (s *Scheduler) handle(crew *crew, e entry) {
	o := &order{entry: e, startBy: e.slot.Add(e.program.window), due: e.orderAt}
	lane := s.lanes[e.combination.Region]
	if o.deadline().Before(lane.settled) {
		return
	}
	s.book.Plan(e.combination, e.slot, o.deadline())
	faultpoint.Reached(faultpoint.SlotEntered)
	switch {
	case s.underMaintenance(o):
		s.given.add(o, runs.ReasonMaintenance) // though an earlier leader may have ordered it: then a probe knows of it, or its result comes
	case s.opts.Now().After(o.startBy):
		if e.slot.After(lane.start) {
			s.given.add(o, runs.ReasonCoordinatorDown)
		}
	case s.opts.Busy(e.combination, e.slot):
		lane.hold(o)
	default:
		s.start(crew, lane, o)
	}
}

// review looks after the orders that wait: those whose window has closed are given up, those whose predecessor has ended may go.
func (s *Scheduler) review(crew *crew) {
	now := s.opts.Now()
	for _, lane := range s.lanes {
		for _, o := range lane.expired(now) {
			s.giveUp(lane, o, runs.ReasonCoordinatorDown)
		}
		for _, o := range lane.unhold() {
			switch {
			case s.underMaintenance(o):
				s.giveUp(lane, o, runs.ReasonMaintenance)
			case now.After(o.startBy):
				s.giveUp(lane, o, runs.ReasonOverlap)
			case s.opts.Busy(o.combination, o.slot):
				lane.hold(o)
			default:
				o.due = now
				s.start(crew, lane, o)
			}
		}
	}
}

// underMaintenance reports whether an order is for a slot that is left out on purpose.
func (s *Scheduler) underMaintenance(o *order) bool { return s.opts.Maintenance(o.combination, o.slot) }

// giveUp ends an order without a job, for a reason; under maintenance there is no other.
func (s *Scheduler) giveUp(l *lane, o *order, reason runs.Reason) {
	if s.underMaintenance(o) {
		reason = runs.ReasonMaintenance
	}
	s.given.add(o, reason)
	l.landed(o)
}

// GivenUp reports whether the slot was given up without a job, and why: coordinator_down, overlap, or maintenance.
func (s *Scheduler) GivenUp(id runs.ID) (runs.Reason, bool) { return s.given.reason(id) }

// Failures counts attempts to create a job that failed.
func (s *Scheduler) Failures() int64 { return s.failures.Load() }
