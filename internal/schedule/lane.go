package schedule

import (
	"context"
	"sync"
	"time"

	"lastmile/internal/faultpoint"
	"lastmile/internal/runs"
)

// lane holds one region's orders, so that a region whose bus is slow or down delays no other. It holds no more than what is due: an order
// whose start window has closed leaves it.
type lane struct {
	cursor // where the previous coordinator had got to, and where we have

	begun      map[string]int64 // with which slots the region's combinations began, as recorded: see notes.Begun
	unrecorded bool             // the record is still to be written

	mu      sync.Mutex
	open    map[*order]struct{} // waiting, held or under way, and those that a shutdown cut off
	waiting []*order            // in the order in which they came
	held    []*order            // while an earlier run of their combination is under way
	working int                 // dispatches under way
	failed  int                 // orders given up since the last report
	example *order              // one of them
	cause   error               // and why
}

// order is the run of one slot that has been entered.
type order struct {
	entry
	startBy time.Time
	due     time.Time // when the job ought to be created
}

// deadline is when the run must have ended.
func (o *order) deadline() time.Time { return o.startBy.Add(o.program.timeout) }

// assignment is the order as the probe gets it.
func (o *order) assignment() runs.Assignment {
	a := o.program.template
	a.RunID = runs.NewID(o.combination, o.slot)
	a.Region, a.Network = o.combination.Region, *o.network
	a.Slot, a.StartBy, a.Deadline = o.slot, o.startBy, o.deadline()
	return a
}

// hold keeps an order back.
func (l *lane) hold(o *order) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[o] = struct{}{}
	l.held = append(l.held, o)
}

// unhold takes out all orders that are held back.
func (l *lane) unhold() []*order {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := l.held
	l.held = nil
	return held
}

// expired takes out the orders that wait and whose window has closed.
func (l *lane) expired(now time.Time) []*order {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*order
	kept := l.waiting[:0]
	for _, o := range l.waiting {
		if now.After(o.startBy) {
			out = append(out, o)
		} else {
			kept = append(kept, o)
		}
	}
	clear(l.waiting[len(kept):])
	l.waiting = kept
	return out
}

// add puts an order at the end of the line, and reports whether another dispatch is to be started for it.
func (l *lane) add(o *order, limit int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[o] = struct{}{}
	l.waiting = append(l.waiting, o)
	if l.working >= limit {
		return false
	}
	l.working++
	return true
}

// take takes the first order that waits; nil where there is none, and then the dispatch ends.
func (l *lane) take() *order {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		l.waiting = nil
		l.working--
		return nil
	}
	o := l.waiting[0]
	l.waiting[0] = nil
	l.waiting = l.waiting[1:]
	return o
}

// landed takes out an order that has come to its end.
func (l *lane) landed(o *order) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, o)
}

// lowest returns the earliest slot that is open.
func (l *lane) lowest() (low time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for o := range l.open {
		if !ok || o.slot.Before(low) {
			low, ok = o.slot, true
		}
	}
	return low, ok
}

// fail notes that an order could not be placed.
func (l *lane) fail(o *order, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed++
	l.example, l.cause = o, err
}

// report returns what has failed since the last report: how many, one of them, and why.
func (l *lane) report() (failed int, example runs.ID, cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed > 0 {
		failed, example, cause = l.failed, runs.NewID(l.example.combination, l.example.slot), l.cause
		l.failed, l.example, l.cause = 0, nil, nil
	}
	return failed, example, cause
}

// crew is what the dispatches of one Run share.
type crew struct {
	stopping context.Context // ends when Run is told to stop
	final    context.Context // ends when even what was under way by then has no time left
	work     sync.WaitGroup
}

// start puts an order in its lane, and sees to it that somebody takes it.
func (s *Scheduler) start(crew *crew, l *lane, o *order) {
	if !l.add(o, s.opts.InFlight) {
		return
	}
	crew.work.Go(func() {
		for o := l.take(); o != nil; o = l.take() {
			s.order(crew, l, o)
		}
	})
}

const (
	retryPause = 500 * time.Millisecond // between two attempts to create a job
	finalWork  = 2 * time.Second        // for what is under way when Run is told to stop
)

// order creates the job, again and again until the start window closes. Creating is idempotent, so an attempt whose answer was
// lost does no harm. A shutdown lets the attempt under way finish; a slot that it cuts off all the same stays open, so that the
// cursor does not pass it and the next start finds it again.
func (s *Scheduler) order(crew *crew, l *lane, o *order) {
	a := o.assignment()
	err := context.DeadlineExceeded
	for {
		if s.underMaintenance(o) {
			s.giveUp(l, o, runs.ReasonMaintenance)
			return
		}
		left := o.startBy.Sub(s.opts.Now())
		if left < 0 {
			l.fail(o, err)
			s.giveUp(l, o, runs.ReasonCoordinatorDown)
			return
		}
		attempt, cancel := context.WithTimeout(crew.final, left)
		_, err = s.dispatch.Dispatch(attempt, a)
		cancel()
		if err == nil {
			faultpoint.Reached(faultpoint.SlotOrdered)
			s.opts.DispatchLagged(o.combination.Region, s.opts.Now().Sub(o.due))
			l.landed(o)
			return
		}
		s.failures.Add(1)
		retry := time.NewTimer(retryPause)
		select {
		case <-retry.C:
		case <-crew.stopping.Done():
			retry.Stop()
			s.given.add(o, runs.ReasonCoordinatorDown)
			return
		}
	}
}
