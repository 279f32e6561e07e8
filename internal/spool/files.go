package spool

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
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

func (s *Spool) path(folder string, id runs.ID) string {
	return filepath.Join(s.dir, folder, string(id)+fileEnding)
}

// recover reads the folders at the start. Results are only listed: each is checked when its turn comes.
func (s *Spool) recover() error {
	ids, err := s.list(resultsFolder)
	if err != nil {
		return err
	}
	slices.SortFunc(ids, older)
	s.results = ids
	claimed, err := s.list(claimsFolder)
	if err != nil {
		return err
	}
	for _, id := range claimed {
		path := s.path(claimsFolder, id)
		c, err := readClaim(path, id)
		if err != nil {
			s.setAside(path, err)
			continue
		}
		s.claims[id] = true
		if _, done := slices.BinarySearchFunc(s.results, id, older); !done {
			s.unfinished[id] = c
		} else if err := s.release(id); err != nil {
			return err
		}
	}
	return nil
}

// list returns the runs that a folder has files of, and sets everything else in it aside: a temporary file is what a crash left of
// a call that never returned.
func (s *Spool) list(folder string) ([]runs.ID, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, folder))
	if err != nil {
		return nil, err
	}
	var ids []runs.ID
	for _, e := range entries {
		name, ours := strings.CutSuffix(e.Name(), fileEnding)
		_, _, err := runs.ID(name).Parse()
		if err == nil && (!ours || !e.Type().IsRegular()) {
			err = fmt.Errorf("got %q, want a file that ends in %s", e.Name(), fileEnding)
		}
		if err != nil {
			s.setAside(filepath.Join(s.dir, folder, e.Name()), err)
			continue
		}
		ids = append(ids, runs.ID(name))
	}
	return ids, nil
}

// setAside moves a file to the folder corrupt, under a name that is still free there, and counts it. It needs s.mu, or a spool that
// nobody else has yet.
func (s *Spool) setAside(path string, reason error) {
	s.corrupt++
	folder, name := filepath.Base(filepath.Dir(path)), filepath.Base(path)
	// The time keeps it from replacing an older one; a name that is too long with it is cut, its beginning says enough.
	to := fmt.Sprintf("%s-%.180s-%s", folder, name, strconv.FormatInt(time.Now().UnixNano(), 36))
	err := os.Rename(path, filepath.Join(s.dir, corruptFolder, to))
	if err != nil {
		s.log.Error("unusable file not moved", "file", path, "reason", reason, "err", err)
		return
	}
	s.log.Warn("unusable file moved aside", "file", path, "to", filepath.Join(corruptFolder, to), "err", reason)
}

func readResult(path string, id runs.ID) (runs.Result, error) {
	var r runs.Result
	if err := readFile(path, &r); err != nil {
		return r, err
	}
	if err := r.Check(); err != nil {
		return r, err
	}
	return r, sameRun(r.RunID, id)
}

func readClaim(path string, id runs.ID) (Claim, error) {
	var c Claim
	if err := readFile(path, &c); err != nil {
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

// readFile decodes a file of at most maxFile bytes.
func readFile(path string, into any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return err
	}
	if len(body) > maxFile {
		return fmt.Errorf("got more than %d bytes", maxFile)
	}
	return json.Unmarshal(body, into)
}

// writeFile makes a file that is either whole and on disk under its name, or not there under that name.
func writeFile(path string, body []byte) error {
	temp := path + tempEnding
	if err := writeTemp(temp, body); err != nil {
		os.Remove(temp) // on a full disk, gives back what it took
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		os.Remove(temp)
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func writeTemp(path string, body []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// syncFolder makes a rename last.
func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = f.Sync()
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}
