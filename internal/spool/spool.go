// Package spool keeps results on a probe's disk until the bus has acknowledged them, and remembers which runs were under way, so
// that a probe that dies in the middle of anything loses nothing but the run itself, and says so afterwards.
//
// The order that makes this true: Claim, run, Put, acknowledge the job, publish, wait for the bus's acknowledgement, Remove. A crash
//
//   - before Claim returned: the job comes again, to this or another probe;
//   - between Claim and Put: Unfinished names the run at the next start, to be reported as invalid;
//   - after Put returned: Next gives the result at the next start, even if power failed;
//   - after publishing, before Remove took effect: the result is published again, and dropped as a repeat.
//
// A claim or result is written to a temporary file, synced, renamed to its name, and the folder is synced; only then does the call
// return. Removal is not synced: what comes back after a power failure is a repeat, which the bus and the ledger drop.
//
// The folder grows while the bus is away. When the disk is full, Put and Claim return the error and leave everything else as it was;
// it is for the caller to count the run as lost. Files that cannot be read are moved to the folder corrupt, never deleted; nobody
// but a person empties it.
package spool

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"lastmile/internal/runs"
)

// Claim is a run that was taken.
type Claim struct {
	Assignment runs.Assignment `json:"assignment"`
	ClaimedAt  time.Time       `json:"claimed_at"`
}

// Spool is a folder of claims and results. One process at a time may have it open. It is safe for concurrent use.
type Spool struct {
	log  *slog.Logger
	dir  string
	lock *os.File
	more chan struct{} // has room for one sign that a result came

	mu         sync.Mutex
	results    []runs.ID // on disk, oldest slot first
	claims     map[runs.ID]bool
	unfinished map[runs.ID]Claim // those of claims that an earlier process made
	corrupt    int64
}

// The folders inside the spool's.
const (
	resultsFolder = "results"
	claimsFolder  = "claims"
	corruptFolder = "corrupt"
)

// Open takes a folder, makes it where it is missing, and reads what an earlier process left. It refuses a folder that another
// process has open. The caller closes the spool.
func Open(log *slog.Logger, dir string) (*Spool, error) {
	s := &Spool{log: log, dir: dir, more: make(chan struct{}, 1), claims: map[runs.ID]bool{}, unfinished: map[runs.ID]Claim{}}
	for _, folder := range []string{resultsFolder, claimsFolder, corruptFolder} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o700); err != nil {
			return nil, fmt.Errorf("open spool: %w", err)
		}
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("open spool %s: in use by another probe; give each probe a folder of its own", dir)
		}
		return nil, fmt.Errorf("open spool %s: lock: %w", dir, err)
	}
	s.lock = lock
	if err := s.recover(); err != nil {
		lock.Close()
		return nil, fmt.Errorf("open spool %s: %w", dir, err)
	}
	return s, nil
}

// Close lets go of the folder. What is in it stays.
func (s *Spool) Close() error { return s.lock.Close() }

// Claim records that a run is about to start. It replaces an earlier claim of the same run.
func (s *Spool) Claim(a runs.Assignment) error {
	if err := a.Check(); err != nil {
		return fmt.Errorf("claim run: %w", err)
	}
	body, err := json.Marshal(Claim{Assignment: a, ClaimedAt: time.Now()})
	if err != nil {
		return fmt.Errorf("claim run %s: %w", a.RunID, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := writeFile(s.path(claimsFolder, a.RunID), body); err != nil {
		return fmt.Errorf("claim run %s: %w", a.RunID, err)
	}
	s.claims[a.RunID] = true
	delete(s.unfinished, a.RunID)
	return nil
}

// Release forgets the claim of a run that will not be run here after all.
func (s *Spool) Release(id runs.ID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.release(id); err != nil {
		return fmt.Errorf("release run %s: %w", id, err)
	}
	return nil
}

// release needs s.mu. An id that was never claimed may not even be a file name.
func (s *Spool) release(id runs.ID) error {
	if !s.claims[id] {
		return nil
	}
	if err := os.Remove(s.path(claimsFolder, id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	delete(s.claims, id)
	delete(s.unfinished, id)
	return nil
}

// Unfinished returns the runs that an earlier process claimed and left without a result, oldest slot first. Each stays in the list
// until it is Put or Released.
func (s *Spool) Unfinished() []Claim {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.unfinished), func(a, b Claim) int { return older(a.Assignment.RunID, b.Assignment.RunID) })
}

// Holds reports whether the run is claimed or has a result here: its job has been seen and must not be run again.
func (s *Spool) Holds(id runs.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, found := slices.BinarySearchFunc(s.results, id, older)
	return found || s.claims[id]
}

// Put stores a result, replacing an earlier one of the same run, and ends the run's claim. When it returns nil the result is safe.
// An error means that it is not stored; claims and other results are as they were.
func (s *Spool) Put(r runs.Result) error {
	if err := r.Check(); err != nil {
		return fmt.Errorf("spool result: %w", err)
	}
	body, err := json.Marshal(&r)
	if err != nil {
		return fmt.Errorf("spool result %s: %w", r.RunID, err)
	}
	if len(body) > maxFile {
		return fmt.Errorf("spool result %s: got %d bytes, want at most %d", r.RunID, len(body), maxFile)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := writeFile(s.path(resultsFolder, r.RunID), body); err != nil {
		return fmt.Errorf("spool result %s: %w", r.RunID, err)
	}
	if i, found := slices.BinarySearchFunc(s.results, r.RunID, older); !found {
		s.results = slices.Insert(s.results, i, r.RunID)
	}
	select {
	case s.more <- struct{}{}:
	default:
	}
	// The result first, then the claim: a crash between the two leaves both, and recover knows that the result counts.
	if err := s.release(r.RunID); err != nil {
		s.log.Warn("claim not removed", "run_id", r.RunID, "err", err)
	}
	return nil
}

// Pending returns how many results wait to be acknowledged.
func (s *Spool) Pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.results)
}

// Corrupt returns how many files have been moved aside since Open.
func (s *Spool) Corrupt() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.corrupt
}

// Next returns the pending result with the oldest slot, and waits for one until ctx ends. It returns the same again until that is
// removed or set aside; one goroutine at a time may call it. Files that turn out to be unreadable are set aside on the way.
func (s *Spool) Next(ctx context.Context) (runs.Result, error) {
	for {
		id, found := s.oldest()
		if !found {
			select {
			case <-s.more:
				continue
			case <-ctx.Done():
				return runs.Result{}, fmt.Errorf("wait for a result: %w", ctx.Err())
			}
		}
		r, err := readResult(s.path(resultsFolder, id), id)
		switch {
		case err == nil:
			return r, nil
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE): // says nothing about the file
			return runs.Result{}, fmt.Errorf("read result %s: %w", id, err)
		}
		s.SetAside(id, err)
	}
}

func (s *Spool) oldest() (id runs.ID, found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.results) == 0 {
		return "", false
	}
	return s.results[0], true
}

// Remove forgets a result that the bus has acknowledged. An id that is not pending is no error.
func (s *Spool) Remove(id runs.ID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, found := slices.BinarySearchFunc(s.results, id, older)
	if !found {
		return nil
	}
	if err := os.Remove(s.path(resultsFolder, id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove result %s: %w", id, err)
	}
	s.results = slices.Delete(s.results, i, i+1)
	return nil
}

// SetAside moves a pending result that can never be published to the folder corrupt, counts it and logs why, so that it does not
// stand before the others. An id that is not pending is ignored.
func (s *Spool) SetAside(id runs.ID, reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, found := slices.BinarySearchFunc(s.results, id, older); found {
		s.results = slices.Delete(s.results, i, i+1) // even where the file cannot be moved: the next start will try again
		s.setAside(s.path(resultsFolder, id), reason)
	}
}

// older orders runs by slot, then by name. Ids in the spool have passed Parse.
func older(a, b runs.ID) int {
	_, slotA, _ := a.Parse()
	_, slotB, _ := b.Parse()
	return cmp.Or(slotA.Compare(slotB), cmp.Compare(a, b))
}
