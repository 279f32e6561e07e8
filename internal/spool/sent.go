package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"lastmile/internal/runs"
)

// shelve moves an acknowledged result to where Resend finds it, or deletes it. It needs the run's hold. Nothing is synced: after a power
// cut the result may wait again, or be gone, and the bus has it.
func (s *Spool) shelve(id runs.ID, now time.Time) (shelved bool, err error) {
	from := s.path(resultsFolder, id)
	if s.opts.MaxSent > 0 {
		// The time of the acknowledgement is the file's: that of the result may be long before.
		err := s.disk.touch(from, now)
		if err == nil {
			err = s.disk.rename(from, s.path(sentFolder, id))
		}
		if err == nil {
			return true, nil
		}
		// A disk may be too full for another name in a folder.
	}
	if err := s.disk.remove(from); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return false, nil
}

// trim deletes acknowledged results that are too old, or for which there is no room.
func (s *Spool) trim(now time.Time) {
	s.dropSent(func() bool {
		one := s.sent.order[0]
		if now.Sub(one.at) >= s.opts.SentAge {
			return true
		}
		if s.sent.bytes > min(s.opts.MaxSent, s.opts.MaxBytes-s.bytes()) {
			s.stats.SentDropped++
			return true
		}
		return false
	})
}

// freeSent deletes acknowledged results, the first first, until so many bytes are free, and returns how many are.
func (s *Spool) freeSent(need int64) (freed int64) {
	s.dropSent(func() bool {
		if freed >= need {
			return false
		}
		freed += s.sent.order[0].size
		s.stats.SentDropped++
		return true
	})
	return freed
}

// dropSent deletes the first acknowledged result as long as first says so, which is called with s.mu.
func (s *Spool) dropSent(first func() bool) {
	for {
		s.mu.Lock()
		if len(s.sent.order) == 0 || !first() {
			s.mu.Unlock()
			return
		}
		one := s.sent.first()
		s.mu.Unlock()
		// The run's hold is not taken: at worst a copy that was shelved anew in this moment goes too.
		if err := s.disk.remove(s.path(sentFolder, one.id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("acknowledged result not deleted", "run_id", one.id, "err", err)
		}
	}
}

// Resend lets the results wait again that were acknowledged before a time and are still there, and returns how many: for a hub that has
// lost what it acknowledged until then. They are pending when it returns, even if power fails. Where one cannot be moved the others are, and the
// error says so.
func (s *Spool) Resend(before time.Time) (n int, err error) {
	s.mu.Lock()
	taken := s.sent.take(func(one sent) bool { return one.at.Before(before) })
	s.mu.Unlock()
	var errs []error
	for _, one := range taken {
		moved, err := s.unshelve(one)
		if err != nil {
			errs = append(errs, err)
		}
		if moved {
			n++
		}
	}
	if n > 0 {
		for _, folder := range []string{resultsFolder, sentFolder} {
			if err := s.disk.sync(s.folder(folder)); err != nil {
				errs = append(errs, err)
			}
		}
		select {
		case s.more <- struct{}{}:
		default:
		}
	}
	s.mu.Lock()
	s.stats.Resent += int64(n)
	s.mu.Unlock()
	if err := errors.Join(errs...); err != nil {
		return n, fmt.Errorf("resend results: %w", err)
	}
	return n, nil
}

// unshelve lets an acknowledged result wait again. One that waits already, or that is gone, is no error.
func (s *Spool) unshelve(one sent) (moved bool, err error) {
	defer s.hold(one.id)()
	if _, waits := s.pendingSize(one.id); waits {
		return false, s.disk.remove(s.path(sentFolder, one.id))
	}
	err = s.disk.rename(s.path(sentFolder, one.id), s.path(resultsFolder, one.id))
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		s.sent.add(one)
		return false, err
	}
	s.results.put(one.id, one.size)
	return true, nil
}
