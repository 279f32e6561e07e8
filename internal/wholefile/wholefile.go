// Package wholefile replaces files as a whole: whatever dies in between, there is the old file or the new one under the name, never a part.
package wholefile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// Step is how far a replacement has got.
type Step int

// The steps. A crash before Renamed leaves the old file, one after it the new one: on the disk for good when Replace has returned nil.
const (
	Written Step = iota // the new file is beside the old one, and all of it on the disk
	Renamed             // it has the name; its folder is not synced yet
)

// ending is that of a file that is being written.
const ending = ".new"

// Replace puts what write writes in the place of the file at path, readable by its owner only: written beside it, synced and renamed, and the
// folder synced. On an error before the renaming the old file stays, and what was written beside it is removed. reached is told of each step; it may
// be nil. Two replacements of one file at once are not provided for; what a crash leaves beside it is overwritten by the next one.
func Replace(path string, write func(io.Writer) error, reached func(Step)) error {
	if reached == nil {
		reached = func(Step) {}
	}
	beside := path + ending
	if err := create(beside, write); err != nil {
		return errors.Join(err, remove(beside)) // on a full disk this gives back what it took
	}
	reached(Written)
	if err := os.Rename(beside, path); err != nil {
		return errors.Join(err, remove(beside))
	}
	reached(Renamed)
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// create makes a file and syncs it.
func create(path string, write func(io.Writer) error) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := write(f); err != nil {
		return err
	}
	return f.Sync()
}

// remove removes a file, if it is there.
func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
