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
// Claim and Put write a temporary file, fsync it, rename it to its name, and fsync the folder; only then do they return. Open fsyncs the
// folders before it tells what is in them, as a killed process may have left names that no fsync has reached, and those above a folder that
// it makes; Resend fsyncs both folders that it moves files between. Nothing else is synced, as what a power cut undoes of it does no harm: a
// claim that comes back is released by its result or reported again, a result that comes back is a repeat, which the bus and the ledger drop.
// This holds where an fsync reaches the medium, and a rename either happens or does not, as on every file system with a journal.
//
// # Room
//
// Results are never dropped to make room. What is acknowledged stays in the folder sent for a day, so that a hub that lost its disk can
// have it again; that goes first when room is needed, then what Options.Shed can free, the artefacts. Results and claims may take
// MaxBytes; then the spool is Full and claims nothing more, while the results of the runs under way are still stored. A full disk makes it
// Full too. The results under way then go into a reserve, files that hold the place for them and are deleted one by one.
//
// Files that cannot be read are moved to the folder corrupt, never deleted, and count as results do; nobody but a person empties it.
package spool

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"log/slog"
	"maps"
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

// Options bound a spool. The zero value is useful.
type Options struct {
	MaxBytes int64         // that results and claims may take on disk, each rounded up to blocks of 4 KiB; default 1 GiB
	MaxSent  int64         // that acknowledged results may take beside them, as long as MaxBytes holds for all; default 256 MiB, none where negative
	SentAge  time.Duration // after which an acknowledged result is deleted; default 24 h
	Reserve  int64         // of the disk, held for the results of runs under way on a full disk; default 4 MiB, none where negative

	// Shed frees at least need bytes of the disk if it can, by deleting what is worth less than a result, and returns how many it freed. It
	// is called when the disk is full, and when results pass MaxBytes, with what they take beyond it. Nil frees nothing. It must not call the spool.
	Shed func(need int64) (freed int64)
}

// The defaults.
const (
	defaultMaxBytes = 1 << 30
	defaultMaxSent  = 256 << 20
	defaultSentAge  = 24 * time.Hour
	defaultReserve  = 4 << 20
)

func (o Options) orDefaults() Options {
	o.MaxBytes = cmp.Or(o.MaxBytes, defaultMaxBytes)
	o.MaxSent = max(cmp.Or(o.MaxSent, defaultMaxSent), 0)
	o.SentAge = cmp.Or(o.SentAge, defaultSentAge)
	o.Reserve = max(cmp.Or(o.Reserve, defaultReserve), 0)
	return o
}

// Stats are a spool's state, and its counts since Open.
type Stats struct {
	Pending      int   // results that wait to be acknowledged
	Bytes        int64 // of disk that results, claims and what is set aside take
	Limit        int64 // of Bytes, from which on nothing is claimed
	Full         bool  // nothing is claimed
	Sent         int   // acknowledged results that are still there
	SentBytes    int64 // of disk that those take
	SentDropped  int64 // acknowledged results deleted before their time, to make room
	Resent       int64 // acknowledged results that wait again, by Resend
	ShedBytes    int64 // that Shed freed for results
	ReserveTaken int64 // times that a result needed a piece of the reserve
	Corrupt      int64 // files set aside
	CorruptBytes int64 // of disk that all files set aside take, those of earlier processes too
	Torn         int64 // files of calls that a crash ended before they returned, deleted by Open
	Vanished     int64 // results that somebody else deleted
}

// Spool is a folder of claims and results. One process at a time may have it open. It is safe for concurrent use.
type Spool struct {
	log  *slog.Logger
	disk disk
	dir  string
	opts Options
	more chan struct{} // has room for one sign that a result came

	seed maphash.Seed
	runs [64]sync.Mutex // a run's is held while its files change: two calls for one run must not write one temporary file

	room room

	mu         sync.Mutex // never held while a file is synced
	lock       io.Closer
	results    results
	claims     map[runs.ID]int64 // their sizes on disk
	claimBytes int64
	unfinished map[runs.ID]Claim // those of claims that an earlier process made
	sent       shelf
	stats      Stats // the counts
}

// The folders inside the spool's.
const (
	resultsFolder = "results"
	claimsFolder  = "claims"
	corruptFolder = "corrupt"
	sentFolder    = "sent"
	reserveFolder = "reserve"
)

// Open takes a folder, makes it where it is missing, and reads what an earlier process left. It refuses a folder that another
// process has open. A full disk is no error; the spool is then Full. The caller closes the spool.
func Open(log *slog.Logger, dir string, opts Options) (*Spool, error) {
	return openOn(machine{}, log, dir, opts)
}

func openOn(d disk, log *slog.Logger, dir string, opts Options) (*Spool, error) {
	s := &Spool{
		log: log, disk: d, dir: dir, opts: opts.orDefaults(), more: make(chan struct{}, 1), seed: maphash.MakeSeed(),
		results: results{byID: map[runs.ID]*pending{}}, claims: map[runs.ID]int64{}, unfinished: map[runs.ID]Claim{},
		sent: shelf{has: map[runs.ID]bool{}},
	}
	if err := s.makeFolders(); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	if err := s.takeLock(); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	if err := s.recover(); err != nil {
		s.lock.Close()
		return nil, fmt.Errorf("open spool %s: %w", dir, err)
	}
	s.holdReserve()
	return s, nil
}

// Close lets go of the folder. What is in it stays.
func (s *Spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lock.Close()
}

// hold keeps other calls for the run out until the returned function is called.
func (s *Spool) hold(id runs.ID) (release func()) {
	m := &s.runs[maphash.String(s.seed, string(id))%uint64(len(s.runs))]
	m.Lock()
	return m.Unlock
}

// Claim records that a run is about to start. It replaces an earlier claim of the same run. Where the spool is full the error is ErrFull,
// and the run is not to be started.
func (s *Spool) Claim(a runs.Assignment) error {
	if err := a.Check(); err != nil {
		return fmt.Errorf("claim run: %w", err)
	}
	body, err := json.Marshal(Claim{Assignment: a, ClaimedAt: time.Now()})
	if err != nil {
		return fmt.Errorf("claim run %s: %w", a.RunID, err)
	}
	defer s.hold(a.RunID)()
	if s.Full() {
		return fmt.Errorf("claim run %s: %w", a.RunID, s.fullness())
	}
	if err := s.write(claimsFolder, a.RunID, body); err != nil {
		return fmt.Errorf("claim run %s: %w", a.RunID, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claimed(a.RunID, onDisk(len(body)))
	delete(s.unfinished, a.RunID)
	return nil
}

// claimed enters a claim. It needs s.mu.
func (s *Spool) claimed(id runs.ID, size int64) {
	s.claimBytes += size - s.claims[id]
	s.claims[id] = size
}

// Release forgets the claim of a run that will not be run here after all.
func (s *Spool) Release(id runs.ID) error {
	defer s.hold(id)()
	if err := s.release(id); err != nil {
		return fmt.Errorf("release run %s: %w", id, err)
	}
	return nil
}

// release needs the run's hold. An id that was never claimed may not even be a file name.
func (s *Spool) release(id runs.ID) error {
	s.mu.Lock()
	size, claimed := s.claims[id]
	s.mu.Unlock()
	if !claimed {
		return nil
	}
	if err := s.disk.remove(s.path(claimsFolder, id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.claims, id)
	delete(s.unfinished, id)
	s.claimBytes -= size
	return nil
}

// Unfinished returns the runs that an earlier process claimed and left without a result, oldest slot first. Each stays in the list
// until it is Put or Released.
func (s *Spool) Unfinished() []Claim {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.unfinished), func(a, b Claim) int {
		return cmp.Or(a.Assignment.Slot.Compare(b.Assignment.Slot), cmp.Compare(a.Assignment.RunID, b.Assignment.RunID))
	})
}

// Holds reports whether the run is claimed or has a result here that waits: its job has been seen and must not be run again.
func (s *Spool) Holds(id runs.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, claimed := s.claims[id]
	return claimed || s.results.byID[id] != nil
}

// Put stores a result, replacing an earlier one of the same run, and ends the run's claim. When it returns nil the result is safe. It
// stores it in a Full spool too. An error means that it is not known to be safe; claims and other results are as they were.
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
	defer s.hold(r.RunID)()
	if err := s.write(resultsFolder, r.RunID, body); err != nil {
		return fmt.Errorf("spool result %s: %w", r.RunID, err)
	}
	s.mu.Lock()
	before := s.bytes()
	s.results.put(r.RunID, onDisk(len(body)))
	over := min(s.bytes()-before, s.bytes()-s.opts.MaxBytes)
	s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
	// The result first, then the claim: a crash between the two leaves both, and recover knows that the result counts.
	if err := s.release(r.RunID); err != nil {
		s.log.Warn("claim not removed", "run_id", r.RunID, "err", err)
	}
	s.trim(time.Now())
	if over > 0 {
		s.shed(over)
	}
	return nil
}

// Pending returns how many results wait to be acknowledged.
func (s *Spool) Pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.results.queue)
}

// Corrupt returns how many files have been moved aside since Open.
func (s *Spool) Corrupt() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats.Corrupt
}

// Next returns the pending result with the oldest slot, and waits for one until ctx ends. It returns the same again until that is
// removed or set aside, or an older one comes; one goroutine at a time may call it. Files that turn out to be unreadable are set aside on
// the way.
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
		r, err := s.readResult(id)
		switch {
		case err == nil:
			return r, nil
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM): // says nothing about the file
			return runs.Result{}, fmt.Errorf("read result %s: %w", id, err)
		case errors.Is(err, fs.ErrNotExist):
			if err := s.strike(); err != nil {
				return runs.Result{}, err
			}
			continue
		}
		s.SetAside(id, err)
	}
}

// Batch returns up to n pending results: that of Next, for which it waits, and others, in no particular order. One goroutine at a time may call
// Batch and Next.
func (s *Spool) Batch(ctx context.Context, n int) ([]runs.Result, error) {
	first, err := s.Next(ctx)
	if err != nil {
		return nil, err
	}
	batch := []runs.Result{first}
	for _, id := range s.some(n) {
		if id == first.RunID {
			continue
		}
		if r, err := s.readResult(id); err == nil { // where there is an error, Next meets it
			batch = append(batch, r)
		}
	}
	return batch, nil
}

// some names up to n pending results, the oldest among them.
func (s *Spool) some(n int) []runs.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]runs.ID, min(n, len(s.results.queue)))
	for i := range ids {
		ids[i] = s.results.queue[i].id
	}
	return ids
}

func (s *Spool) oldest() (id runs.ID, found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.results.queue) == 0 {
		return "", false
	}
	return s.results.queue[0].id, true
}

// pendingSize returns what a pending result takes on disk.
func (s *Spool) pendingSize(id runs.ID) (size int64, found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, found := s.results.byID[id]
	if !found {
		return 0, false
	}
	return p.size, true
}

// Remove takes a result off that the bus has acknowledged, and keeps it for Resend while there is room. An id that is not pending is no
// error.
func (s *Spool) Remove(id runs.ID) error {
	defer s.hold(id)()
	size, found := s.pendingSize(id)
	if !found {
		return nil
	}
	now := time.Now()
	shelved, err := s.shelve(id, now)
	s.mu.Lock()
	s.results.remove(id) // even where the disk refuses, or it would be sent over and over; the next start finds it, and that is a repeat
	if shelved {
		s.sent.add(sent{id: id, at: now, size: size})
	}
	s.mu.Unlock()
	s.trim(now)
	if err != nil {
		return fmt.Errorf("remove result %s: %w", id, err)
	}
	return nil
}

// SetAside moves a pending result that can never be published to the folder corrupt, counts it and logs why, so that it does not
// stand before the others. An id that is not pending is ignored.
func (s *Spool) SetAside(id runs.ID, reason error) {
	defer s.hold(id)()
	size, found := s.pendingSize(id)
	if !found {
		return
	}
	s.setAside(s.path(resultsFolder, id), size, reason)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.results.remove(id) // even where the file cannot be moved: the next start will try again
}
