package schedule

import (
	"context"
	"errors"
	"time"

	"lastmile/internal/faultpoint"
)

// cursor is a region's position. start is where the previous coordinator had got to; deadlines before settled were closed by it.
type cursor struct {
	start    time.Time
	settled  time.Time
	at       time.Time // where it stands now
	revision uint64
	unsure   bool // the last move failed, or its answer was lost: the revision must be read again
}

// loadCursors makes the regions' lanes.
func (s *Scheduler) loadCursors(ctx context.Context) error {
	lanes := map[string]*lane{}
	now := s.opts.Now()
	for i := range s.programs {
		for _, region := range s.programs[i].template.Scenario.Regions {
			if lanes[region] != nil {
				continue
			}
			at, revision, err := s.cursors.Cursor(ctx, region)
			if err != nil {
				return err
			}
			settled := s.book.ClosedUntil(region)
			if settled.After(now) { // by a clock that was ahead: what is due from now on is not settled
				settled = now
			}
			lanes[region] = &lane{cursor: cursor{start: at, settled: settled, at: at, revision: revision}, open: map[*order]struct{}{}}
		}
	}
	s.lanes = lanes
	return nil
}

// keepCursors saves the cursors now and then until ctx ends, and looks after what grows. It has a loop of its own: the slots do not wait for
// the bus.
func (s *Scheduler) keepCursors(ctx context.Context) {
	ticker := time.NewTicker(s.opts.CursorEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := s.opts.Now()
		s.recordLater(ctx)
		s.saveCursors(ctx, now)
		closed := map[string]time.Time{}
		for region, l := range s.lanes {
			closed[region] = s.book.ClosedUntil(region)
			if failed, example, err := l.report(); failed > 0 {
				s.log.Warn("slots not dispatched", "region", region, "slots", failed, "one_of_them", example, "err", err)
			}
		}
		s.given.forget(now, closed)
	}
}

// saveCursors moves each region's cursor to the last time before which every slot has been dispatched or given up, and which is over:
// it does not go ahead with the leads, which differ. Being behind only means that slots are created again, which does nothing.
func (s *Scheduler) saveCursors(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, finalWork)
	defer cancel()
	limit := s.Entered(now.Truncate(time.Second)).Add(-time.Second)
	for region, l := range s.lanes {
		to := limit
		if low, ok := l.lowest(); ok && !low.After(to) {
			to = low.Add(-time.Second)
		}
		err := s.move(ctx, region, &l.cursor, to, now)
		if err != nil && !l.unsure && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
			s.log.Warn("cursor not saved", "region", region, "err", err)
		}
		l.unsure = err != nil
	}
}

// move saves one cursor. After a failure the stored one is read first: a move whose answer was lost has changed its revision, and
// another coordinator may have got further, which is left as it is. It goes back only from a time that is still to come: a clock that was
// ahead had got it there.
func (s *Scheduler) move(ctx context.Context, region string, c *cursor, to, now time.Time) error {
	if c.unsure {
		at, revision, err := s.cursors.Cursor(ctx, region)
		if err != nil {
			return err
		}
		c.at, c.revision = at, revision
	}
	if !to.After(c.at) && !c.at.After(now) {
		return nil
	}
	revision, err := s.cursors.AdvanceCursor(ctx, region, to, c.revision)
	if err == nil {
		faultpoint.Reached(faultpoint.CursorMoved)
		c.at, c.revision = to, revision
	}
	return err
}
