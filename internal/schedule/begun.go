package schedule

import (
	"context"
	"errors"
	"time"

	"lastmile/internal/runs/notes"
	"lastmile/internal/scenario"
)

// Beginnings keeps, for each region, with which slot each combination began.
type Beginnings interface {
	// Begun returns the stored record and its revision; an empty one where none is stored, or none that can be used.
	Begun(ctx context.Context, region string) (notes.Begun, uint64, error)
	// SaveBegun replaces the record if the revision is still the stored one, and returns the new revision.
	SaveBegun(ctx context.Context, record notes.Begun, revision uint64) (uint64, error)
}

const (
	// beginWait is how long the slots wait for a record that cannot be written. Then they are ordered all the same: to measure is worth more than
	// to be sure of the first slots of new combinations, and most runs leave a result, which makes the beginning as durable as the record does.
	beginWait = 3 * time.Second

	// begunFor is how long a combination that is in no plan any more is remembered. One that comes back later begins anew.
	begunFor = 72 * time.Hour
)

// begin reads each lane's record, and writes it where there are new combinations, whose first slot is the next after now. An error means that
// one could not be read. One that could not be written is written later: see keepCursors.
func (s *Scheduler) begin(ctx context.Context, now time.Time) error {
	if s.opts.Beginnings == nil {
		return nil
	}
	s.began = now
	errs := make(chan error, len(s.lanes))
	for region, l := range s.lanes {
		go func() { errs <- s.beginIn(ctx, region, l) }()
	}
	var err error
	for range s.lanes {
		err = errors.Join(err, <-errs)
	}
	return err
}

// beginIn does that for one region.
func (s *Scheduler) beginIn(ctx context.Context, region string, l *lane) error {
	ctx, cancel := context.WithTimeout(ctx, beginWait)
	defer cancel()
	for {
		err := s.record(ctx, region, l)
		if err == nil || l.begun == nil { // done, or not even read
			return err
		}
		select {
		case <-ctx.Done():
			l.unrecorded = true
			s.log.Warn("beginnings not recorded yet, ordering runs all the same", "region", region, "err", err)
			return nil
		case <-time.After(retryPause):
		}
	}
}

// record brings a region's record up to date. After a failure it is to be called again: another coordinator may have been faster, or the answer
// to our own write was lost.
func (s *Scheduler) record(ctx context.Context, region string, l *lane) error {
	record, revision, err := s.opts.Beginnings.Begun(ctx, region)
	if err != nil {
		return err
	}
	changed := s.extend(&record)
	l.begun = record.First
	if changed {
		_, err = s.opts.Beginnings.SaveBegun(ctx, record, revision)
	}
	return err
}

// recordLater writes the records that could not be written in time. Where each combination began stays as it was then.
func (s *Scheduler) recordLater(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, finalWork)
	defer cancel()
	for region, l := range s.lanes {
		if l.unrecorded && s.record(ctx, region, l) == nil {
			l.unrecorded = false
			s.log.Info("beginnings recorded", "region", region)
		}
	}
}

// extend brings a region's record up to date with the plan and the books, as of when this scheduler began, and reports whether it changed.
func (s *Scheduler) extend(record *notes.Begun) (changed bool) {
	now := s.began.Unix()
	if record.First == nil {
		record.First = map[string]int64{}
	}
	if record.Left == nil {
		record.Left = map[string]int64{}
	}
	planned := map[string]bool{}
	for i := range s.programs {
		p := &s.programs[i]
		for _, c := range p.combinations {
			if c.Region != record.Region {
				continue
			}
			key := notes.BegunKey(c)
			planned[key] = true
			first, known := record.First[key]
			if left, gone := record.Left[key]; gone {
				known = known && now-left <= int64(begunFor/time.Second)
				delete(record.Left, key)
				changed = true
			}
			if known && first <= now {
				continue
			}
			if next, ok := s.beginning(p, c); ok && next != first {
				record.First[key] = next
				changed = true
			}
		}
	}
	return s.retire(record, planned) || changed
}

// beginning is the first slot of a combination that the record does not know: that of the books, or the next one.
func (s *Scheduler) beginning(p *program, c scenario.Combination) (slot int64, ok bool) {
	if first, ok := s.book.First(c); ok && !first.After(s.began) {
		return first.Unix(), true
	}
	next := p.timetable.Next(c, s.began)
	return next.Unix(), !next.IsZero()
}

// retire notes which combinations are in no plan any more, and drops those that have long been gone.
func (s *Scheduler) retire(record *notes.Begun, planned map[string]bool) (changed bool) {
	now := s.began.Unix()
	for key := range record.First {
		left, gone := record.Left[key]
		switch {
		case planned[key]:
		case !gone:
			record.Left[key] = now
			changed = true
		case now-left > int64(begunFor/time.Second):
			delete(record.First, key)
			delete(record.Left, key)
			changed = true
		}
	}
	if len(record.First) > notes.MaxBegun { // what is planned comes first
		for key := range record.Left {
			delete(record.First, key)
		}
		clear(record.Left)
	}
	return changed
}

// first returns the combination's first slot, as the books or the record of its region know it.
func (s *Scheduler) first(c scenario.Combination) (slot time.Time, ok bool) {
	slot, ok = s.book.First(c)
	if at, known := s.lanes[c.Region].begun[notes.BegunKey(c)]; known && (!ok || at < slot.Unix()) {
		slot, ok = time.Unix(at, 0).UTC(), true
	}
	return slot, ok
}
