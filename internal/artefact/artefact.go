// Package artefact keeps the artefacts of runs in a directory of the probe's own, bounded in size and age:
// <dir>/<scenario>/<run id>/<file>. What else is in the directory it leaves alone.
package artefact

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// Options say where artefacts are kept, and how much of them. The zero values of the limits are the defaults.
type Options struct {
	Dir   string        // made where it is missing
	Bytes int64         // of all artefacts; the oldest runs' are dropped first; default 1 GiB
	Age   time.Duration // after which a run's artefacts are gone; default 7 days
	Runs  int           // of which there are artefacts, as small files take more of a disk than their size; default 20,000
	Spare int64         // of the disk, left free for results; where there is less, the oldest make room or nothing is stored; default 64 MiB, none where negative
}

// The defaults.
const (
	defaultBytes = 1 << 30
	defaultAge   = 7 * 24 * time.Hour
	defaultRuns  = 20_000
	defaultSpare = 64 << 20
	sweepEvery   = time.Hour
)

func (o Options) orDefaults() Options {
	o.Bytes = cmp.Or(o.Bytes, defaultBytes)
	o.Age = cmp.Or(o.Age, defaultAge)
	o.Runs = cmp.Or(o.Runs, defaultRuns)
	o.Spare = max(cmp.Or(o.Spare, defaultSpare), 0)
	return o
}

// Stats are a store's state, and its counts since Open.
type Stats struct {
	Bytes   int64 // that are kept
	Files   int   // that are kept
	Dropped int64 // files deleted to make room for others
	Shed    int64 // files deleted to make room for results, by Shed
	Refused int64 // files not stored because the disk was nearly full
	Expired int64 // files deleted for their age
	Errors  int64 // files that could not be stored or deleted
}

// Store keeps artefacts. It is safe for concurrent use. Several processes may have the same directory open; the limits are then
// those of each.
type Store struct {
	log  *slog.Logger
	opts Options
	root *os.Root

	mu    sync.Mutex
	kept  []kept // the oldest first
	stats Stats
}

// kept is what there is of one run.
type kept struct {
	folder string // below the root: <scenario>/<run id>
	at     time.Time
	bytes  int64
	files  int
}

// Open opens the directory, drops what is too old or too much, and what a crash left unfinished. The caller closes the store.
func Open(log *slog.Logger, opts Options) (*Store, error) {
	opts = opts.orDefaults()
	dir, err := filepath.Abs(opts.Dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("open artefacts: %w", err)
	}
	opts.Dir = dir
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open artefacts: %w", err)
	}
	s := &Store{log: log, opts: opts, root: root}
	if err := s.find(); err != nil {
		_ = root.Close() // the error is told
		return nil, fmt.Errorf("open artefacts: %w", err)
	}
	s.Sweep(time.Now())
	return s, nil
}

// Close releases the directory.
func (s *Store) Close() error { return s.root.Close() }

// Run sweeps every hour until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			s.Sweep(now)
		}
	}
}

// Stats returns the state of the store.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// fileName is what the name of an artefact looks like; tempEnding is what a file has behind it until it is whole.
var fileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,119}$`)

const tempEnding = ".tmp"

// unfinished is the age at which a file that is not whole is what a crash left: until then another process may be writing it.
const unfinished = time.Minute

// find lists the runs that the directory has artefacts of.
func (s *Store) find() error {
	scenarios, err := fs.ReadDir(s.root.FS(), ".")
	if err != nil {
		return err
	}
	for _, of := range scenarios {
		if !of.IsDir() || !scenario.ValidName(of.Name()) {
			continue
		}
		folders, err := fs.ReadDir(s.root.FS(), of.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // another process has just dropped it
		}
		if err != nil {
			return err
		}
		for _, folder := range folders {
			if _, _, err := runs.ID(folder.Name()).Parse(); err != nil || !folder.IsDir() {
				continue
			}
			found, err := s.look(filepath.Join(of.Name(), folder.Name()))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			s.add(found)
		}
	}
	slices.SortFunc(s.kept, func(a, b kept) int { return a.at.Compare(b.at) })
	return nil
}

// look sums up a run's folder. It deletes what is unfinished there.
func (s *Store) look(folder string) (kept, error) {
	found := kept{folder: folder}
	info, err := s.root.Lstat(folder)
	if err != nil {
		return found, err
	}
	found.at = info.ModTime()
	files, err := fs.ReadDir(s.root.FS(), filepath.ToSlash(folder))
	if err != nil {
		return found, err
	}
	for _, file := range files {
		info, err := file.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if filepath.Ext(file.Name()) == tempEnding && time.Since(info.ModTime()) > unfinished {
			if err := s.root.Remove(filepath.Join(folder, file.Name())); err != nil {
				return found, err
			}
			continue
		}
		found.files++
		found.bytes += info.Size()
	}
	return found, nil
}

// add enters a run. It needs s.mu, or a store that nobody else has yet.
func (s *Store) add(k kept) {
	s.kept = append(s.kept, k)
	s.stats.Bytes += k.bytes
	s.stats.Files += k.files
}

// Sweep drops what is too old by now, and the oldest where there is too much.
func (s *Store) Sweep(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.kept) > 0 && now.Sub(s.kept[0].at) >= s.opts.Age {
		s.stats.Expired += s.drop()
	}
	s.makeRoom(0, 0)
}

// makeRoom drops the oldest runs until more runs with so many bytes fit. It needs s.mu.
func (s *Store) makeRoom(more int, size int64) {
	for len(s.kept) > 0 && (s.stats.Bytes+size > s.opts.Bytes || len(s.kept)+more > s.opts.Runs) {
		s.stats.Dropped += s.drop()
	}
}

// drop deletes the oldest run and returns how many files that were. It needs s.mu.
func (s *Store) drop() int64 {
	oldest := s.kept[0]
	s.kept = s.kept[1:]
	s.stats.Bytes -= oldest.bytes
	s.stats.Files -= oldest.files
	if err := s.root.RemoveAll(oldest.folder); err != nil {
		s.stats.Errors += int64(oldest.files)
		s.log.Error("artefacts not deleted", "folder", filepath.Join(s.opts.Dir, oldest.folder), "err", err)
		return 0
	}
	_ = s.root.Remove(filepath.Dir(oldest.folder)) // the scenario's, which goes with its last run; until then it cannot be removed
	return int64(oldest.files)
}

// Keep stores the files of a run, readable by the probe's user only, and says where they are. A file is there whole or not at all. Where
// one cannot be stored, the others still are, and the error says so.
func (s *Store) Keep(_ context.Context, a *runs.Assignment, files []runs.File) ([]runs.Artefact, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	run := kept{folder: filepath.Join(a.Scenario.Name, string(a.RunID)), at: now}
	if _, _, err := a.RunID.Parse(); err != nil || !scenario.ValidName(a.Scenario.Name) {
		return nil, fmt.Errorf("keep artefacts: got run %q of scenario %q, want names that are sound", a.RunID, a.Scenario.Name)
	}
	size := int64(0)
	for _, f := range files {
		size += int64(len(f.Data))
	}
	if size > s.opts.Bytes {
		return nil, fmt.Errorf("keep artefacts: got %d bytes, want at most %d", size, s.opts.Bytes)
	}
	s.forget(run.folder)
	s.makeRoom(1, size)
	if err := s.spare(size); err != nil {
		s.stats.Refused += int64(len(files))
		return nil, fmt.Errorf("keep artefacts: %w", err)
	}
	if err := s.root.MkdirAll(run.folder, 0o700); err != nil {
		s.stats.Errors += int64(len(files))
		return nil, fmt.Errorf("keep artefacts: %w", err)
	}
	var out []runs.Artefact
	var errs []error
	for _, f := range files {
		if err := s.write(run.folder, f); err != nil {
			s.stats.Errors++
			errs = append(errs, fmt.Errorf("keep artefact %s: %w", f.Name, err))
			continue
		}
		run.files++
		run.bytes += int64(len(f.Data))
		sum := sha256.Sum256(f.Data)
		out = append(out, runs.Artefact{
			Kind: f.Kind, Step: f.Step, Name: f.Name, ContentType: f.ContentType, Bytes: int64(len(f.Data)), SHA256: hex.EncodeToString(sum[:]),
			Store: runs.StoreDir, Location: filepath.Join(s.opts.Dir, run.folder, f.Name), ExpiresAt: now.Add(s.opts.Age).UTC(), Truncated: f.Truncated,
		})
	}
	if run.files == 0 {
		_ = s.root.Remove(run.folder) // it is empty, and nobody would look for it
		_ = s.root.Remove(filepath.Dir(run.folder))
		return nil, errors.Join(errs...)
	}
	s.add(run)
	return out, errors.Join(errs...)
}

// forget deletes what there is of an earlier execution of the same run: its files would be taken for those of this one. It needs s.mu.
func (s *Store) forget(folder string) {
	i := slices.IndexFunc(s.kept, func(k kept) bool { return k.folder == folder })
	if i < 0 {
		return
	}
	again := s.kept[i]
	s.kept = slices.Insert(slices.Delete(s.kept, i, i+1), 0, again)
	s.stats.Dropped += s.drop()
}

// write makes a file. It is not synced: an artefact that a power cut takes is no loss that a probe should wait for.
func (s *Store) write(folder string, f runs.File) error {
	if !fileName.MatchString(f.Name) || filepath.Ext(f.Name) == tempEnding {
		return fmt.Errorf("got a name that is not a plain file name, %q", f.Name)
	}
	path := filepath.Join(folder, f.Name)
	err := s.root.WriteFile(path+tempEnding, f.Data, 0o600)
	if err == nil {
		err = s.root.Rename(path+tempEnding, path)
	}
	if err != nil {
		_ = s.root.Remove(path + tempEnding) // on a full disk, gives back what it took
	}
	return err
}
