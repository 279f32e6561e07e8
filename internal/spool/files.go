package spool

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"lastmile/internal/runs"
)

// The endings of finished and of unfinished files.
const (
	fileEnding = ".json"
	tempEnding = ".tmp"
)

// maxFile is the largest file that can be one of ours, in bytes.
const maxFile = 64 << 20

func (s *Spool) folder(name string) string { return filepath.Join(s.dir, name) }

func (s *Spool) path(folder string, id runs.ID) string {
	return filepath.Join(s.dir, folder, string(id)+fileEnding)
}

// makeFolders makes what is missing of the spool's folders.
func (s *Spool) makeFolders() error {
	if err := makeFolder(s.disk, s.dir); err != nil {
		return err
	}
	for _, name := range []string{resultsFolder, claimsFolder, corruptFolder, sentFolder, reserveFolder} {
		if err := makeFolder(s.disk, s.folder(name)); err != nil {
			return err
		}
	}
	return nil
}

// takeLock takes the folder for this process.
func (s *Spool) takeLock() error {
	lock, err := s.disk.lock(filepath.Join(s.dir, "lock"))
	if errors.Is(err, errHeld) {
		return fmt.Errorf("%s: in use by another probe; give each probe a folder of its own", s.dir)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock != nil {
		s.lock.Close() // of a file that somebody has deleted
	}
	s.lock = lock
	return nil
}

// restore makes the folders anew that somebody has deleted under a running probe: what it measures from now on is not to be lost too.
func (s *Spool) restore() error {
	s.room.mu.Lock() // whoever comes second finds the folders there, and must not take the lock from the first
	defer s.room.mu.Unlock()
	s.log.Error("a folder of the spool is gone; it is made anew", "folder", s.dir)
	_, err := s.disk.list(s.dir)
	if err := s.makeFolders(); err != nil {
		return err
	}
	if errors.Is(err, fs.ErrNotExist) { // and the lock with it
		return s.takeLock()
	}
	return nil
}

// strike takes the results out of the list that are gone from the disk: somebody has deleted them.
func (s *Spool) strike() error {
	s.mu.Lock()
	gone := make(map[string]runs.ID, len(s.results.queue)) // one that comes while the folder is read is not asked for
	for id := range s.results.byID {
		gone[string(id)+fileEnding] = id
	}
	s.mu.Unlock()
	found, err := s.disk.list(s.folder(resultsFolder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look for results: %w", err)
	}
	for _, e := range found {
		delete(gone, e.name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range gone {
		s.results.remove(id)
	}
	s.stats.Vanished += int64(len(gone))
	s.log.Error("results are gone from the disk", "folder", s.folder(resultsFolder), "results", len(gone))
	return nil
}

// recover reads the folders at the start. Results are only listed: each is checked when its turn comes.
func (s *Spool) recover() error {
	// A process that was killed may have left names that are not synced yet. Nobody is told of them before they are.
	for _, folder := range []string{s.dir, s.folder(resultsFolder), s.folder(claimsFolder), s.folder(sentFolder)} {
		if err := s.disk.sync(folder); err != nil {
			return err
		}
	}
	aside, err := s.disk.list(s.folder(corruptFolder))
	if err != nil {
		return err
	}
	for _, e := range aside {
		s.stats.CorruptBytes += onDisk(int(e.size))
	}
	waiting, err := s.list(resultsFolder)
	if err != nil {
		return err
	}
	for _, one := range waiting {
		s.results.put(one.id, one.size)
	}
	if err := s.recoverClaims(); err != nil {
		return err
	}
	return s.recoverSent()
}

// recoverClaims reads the claims; those that have a result are released.
func (s *Spool) recoverClaims() error {
	claimed, err := s.list(claimsFolder)
	if err != nil {
		return err
	}
	for _, one := range claimed {
		c, err := s.readClaim(one.id)
		if err != nil {
			s.setAside(s.path(claimsFolder, one.id), one.size, err)
			continue
		}
		s.claimed(one.id, one.size)
		if s.results.byID[one.id] == nil {
			s.unfinished[one.id] = c
		} else if err := s.release(one.id); err != nil {
			return err
		}
	}
	return nil
}

// recoverSent lists the acknowledged results. One that waits too was on its way from one folder to the other.
func (s *Spool) recoverSent() error {
	kept, err := s.list(sentFolder)
	if err != nil {
		return err
	}
	slices.SortFunc(kept, func(a, b sent) int { return a.at.Compare(b.at) })
	for _, one := range kept {
		if s.results.byID[one.id] == nil {
			s.sent.add(one)
		} else if err := s.disk.remove(s.path(sentFolder, one.id)); err != nil {
			return err
		}
	}
	s.trim(time.Now())
	return nil
}

// list returns the runs that a folder has files of. It deletes temporary files, which are what a crash left of calls that never returned,
// and sets everything else aside.
func (s *Spool) list(folder string) ([]sent, error) {
	entries, err := s.disk.list(s.folder(folder))
	if err != nil {
		return nil, err
	}
	ours := make([]sent, 0, len(entries))
	for _, e := range entries {
		path := filepath.Join(s.folder(folder), e.name)
		if e.regular && strings.HasSuffix(e.name, fileEnding+tempEnding) {
			if err := s.disk.remove(path); err != nil {
				return nil, err
			}
			s.stats.Torn++
			continue
		}
		name, named := strings.CutSuffix(e.name, fileEnding)
		_, _, err := runs.ID(name).Parse()
		if err == nil && (!named || !e.regular) {
			err = fmt.Errorf("got %q, want a file that ends in %s", e.name, fileEnding)
		}
		if err != nil {
			s.setAside(path, onDisk(int(e.size)), err)
			continue
		}
		ours = append(ours, sent{id: runs.ID(name), at: e.at, size: onDisk(int(e.size))})
	}
	return ours, nil
}

// setAside moves a file of so many bytes on disk to the folder corrupt, under a name that is still free there, and counts it. It must not be
// called with s.mu.
func (s *Spool) setAside(path string, size int64, reason error) {
	folder, name := filepath.Base(filepath.Dir(path)), filepath.Base(path)
	// The time keeps it from replacing an older one; a name that is too long with it is cut, its beginning says enough.
	to := fmt.Sprintf("%s-%.180s-%s", folder, name, strconv.FormatInt(time.Now().UnixNano(), 36))
	err := s.disk.rename(path, filepath.Join(s.folder(corruptFolder), to))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Corrupt++
	s.stats.CorruptBytes += size
	if err != nil {
		s.log.Error("unusable file not moved", "file", path, "reason", reason, "err", err)
		return
	}
	s.log.Warn("unusable file moved aside", "file", path, "to", filepath.Join(corruptFolder, to), "err", reason)
}

func (s *Spool) readResult(id runs.ID) (runs.Result, error) {
	var r runs.Result
	if err := s.readFile(s.path(resultsFolder, id), &r); err != nil {
		return r, err
	}
	if err := r.Check(); err != nil {
		return r, err
	}
	return r, sameRun(r.RunID, id)
}

func (s *Spool) readClaim(id runs.ID) (Claim, error) {
	var c Claim
	if err := s.readFile(s.path(claimsFolder, id), &c); err != nil {
		return c, err
	}
	if err := c.Assignment.Check(); err != nil {
		return c, err
	}
	return c, sameRun(c.Assignment.RunID, id)
}

func sameRun(got, want runs.ID) error {
	if got != want {
		return fmt.Errorf("got run id %s, want that of the file name, %s", got, want)
	}
	return nil
}

func (s *Spool) readFile(path string, into any) error {
	body, err := s.disk.read(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}
