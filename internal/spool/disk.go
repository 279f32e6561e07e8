package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// disk is the file system as the spool uses it: what is not named here the promises of the package cannot depend on. It is as wide as
// that, so that a test can put a disk in its place that forgets what was not synced, at every step.
type disk interface {
	// lock takes a file for this process alone, or says that another has it with errHeld.
	lock(path string) (io.Closer, error)
	// mkdir makes a folder whose parent is there. One that is there already is fs.ErrExist.
	mkdir(path string) error
	// list reads a folder, in no order.
	list(folder string) ([]entry, error)
	// read returns a regular file of at most maxFile bytes.
	read(path string) ([]byte, error)
	// create makes a file that was not there.
	create(path string) (file, error)
	rename(from, to string) error
	remove(path string) error
	// touch sets the time that list tells.
	touch(path string, at time.Time) error
	// sync makes what was done to the names in a folder last.
	sync(folder string) error
	// free returns the bytes that can still be written.
	free(folder string) (int64, error)
}

// file is one that is being written. Sync makes its bytes last, not its name.
type file interface {
	io.WriteCloser
	Sync() error
}

// entry is a name in a folder.
type entry struct {
	name    string
	regular bool // neither folder, link nor pipe
	size    int64
	at      time.Time
}

// errHeld says that a lock is another's.
var errHeld = errors.New("held by another process")

// machine is the disk of this machine.
type machine struct{}

func (machine) lock(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = errHeld
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

func (machine) mkdir(path string) error { return os.Mkdir(path, 0o700) }

func (machine) list(folder string) ([]entry, error) {
	f, err := os.Open(folder)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	found, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	all := make([]entry, 0, len(found))
	for _, e := range found {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, entry{name: e.Name(), regular: info.Mode().IsRegular(), size: info.Size(), at: info.ModTime()})
	}
	return all, nil
}

// read neither follows a link nor waits for the other end of a pipe: whoever put one there is not to stop the probe.
func (machine) read(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("got a file of mode %s and %d bytes, want a regular one of at most %d", info.Mode(), info.Size(), maxFile)
	}
	body := make([]byte, info.Size())
	if _, err := io.ReadFull(f, body); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return body, nil
}

// create refuses to write through a link or into a pipe.
func (machine) create(path string) (file, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
}

func (machine) rename(from, to string) error          { return os.Rename(from, to) }
func (machine) remove(path string) error              { return os.Remove(path) }
func (machine) touch(path string, at time.Time) error { return os.Chtimes(path, at, at) }

func (machine) sync(folder string) error {
	f, err := os.Open(folder)
	if err != nil {
		return err
	}
	err = f.Sync()
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

func (machine) free(folder string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(folder, &st); err != nil {
		return 0, fmt.Errorf("look for room on the disk of %s: %w", folder, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// makeFolder makes a folder and those above it, and makes them last: a synced file in a folder whose own name is not synced can be gone
// after a power cut.
func makeFolder(d disk, path string) error {
	err := d.mkdir(path)
	if errors.Is(err, fs.ErrNotExist) && filepath.Dir(path) != path {
		if err := makeFolder(d, filepath.Dir(path)); err != nil {
			return err
		}
		err = d.mkdir(path)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return err
	}
	return d.sync(filepath.Dir(path))
}

// noSpace reports whether a disk or a quota was full.
func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
