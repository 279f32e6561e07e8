package spool

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// Whoever can write to the folder makes neither the probe wait nor another file change.
func TestLinksAndPipes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, result("a", 1), result("a", 2), result("a", 3), result("a", 9))
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for n, make := range []func(path string) error{
		func(path string) error { return os.Symlink(outside, path) },
		func(path string) error { return syscall.Mkfifo(path, 0o600) },
		func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		path := s.path(resultsFolder, result("a", int64(n+1)).RunID)
		if err := errors.Join(os.Remove(path), make(path)); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := s.Next(t.Context()); err != nil || r.RunID != result("a", 9).RunID || s.Corrupt() != 3 {
		t.Errorf("got %v, %v and %d set aside, want the sound one and 3", r.RunID, err, s.Corrupt())
	}
	if err := os.Symlink(outside, s.path(resultsFolder, result("a", 4).RunID)+tempEnding); err != nil {
		t.Fatal(err)
	}
	put(t, s, result("a", 4))
	if body, err := os.ReadFile(outside); err != nil || string(body) != "precious" {
		t.Errorf("got %q and %v in the file outside, want it untouched", body, err)
	}
	huge := s.path(resultsFolder, result("a", 5).RunID)
	put(t, s, result("a", 5))
	if err := os.Truncate(huge, 1<<40); err != nil { // a hole: it takes no room
		t.Fatal(err)
	}
	wantIDs(t, drain(t, s), result("a", 4).RunID, result("a", 9).RunID)
	if got := s.Corrupt(); got != 4 {
		t.Errorf("got %d set aside, want 4", got)
	}
}

// broken is a disk on which a call fails.
type broken struct {
	disk
	call string
	err  error
}

func (b *broken) read(path string) ([]byte, error) {
	if b.call == "read" {
		return nil, b.err
	}
	return b.disk.read(path)
}

func (b *broken) rename(from, to string) error {
	if strings.HasPrefix(b.call, "rename") {
		return b.err
	}
	return b.disk.rename(from, to)
}

func (b *broken) remove(path string) error {
	if b.call == "rename and remove" {
		return b.err
	}
	return b.disk.remove(path)
}

func (b *broken) create(path string) (file, error) {
	f, err := b.disk.create(path)
	return brokenFile{f, b}, err
}

type brokenFile struct {
	file
	of *broken
}

func (f brokenFile) Sync() error {
	if f.of.call == "fsync" {
		return f.of.err
	}
	return f.file.Sync()
}

// A disk that gives errors loses nothing that it was given before, and every error is told.
func TestDiskErrors(t *testing.T) {
	t.Parallel()
	d := &broken{disk: newSea(), err: syscall.EIO}
	s, err := openOn(d, discard(), "/data/spool", Options{Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, result("a", 1))
	if err := s.Claim(assignment("a", 2)); err != nil {
		t.Fatal(err)
	}
	for _, call := range []string{"fsync", "rename"} {
		d.call = call
		if err := s.Put(result("a", 2)); !errors.Is(err, syscall.EIO) || s.Pending() != 1 || !s.Holds(result("a", 2).RunID) || s.Full() {
			t.Errorf("%s: got %v and %+v, want the disk's error, and all as it was", call, err, s.Stats())
		}
		if err := s.Claim(assignment("a", 3)); !errors.Is(err, syscall.EIO) || errors.Is(err, ErrFull) || s.Holds(result("a", 3).RunID) {
			t.Errorf("%s: got %v, want the disk's error", call, err)
		}
	}
	if err := s.Remove(result("a", 1).RunID); err != nil { // where it cannot be kept, it is deleted
		t.Error(err)
	}
	if st := s.Stats(); st.Sent != 0 || st.Pending != 0 {
		t.Errorf("got %+v, want nothing sent that is there", st)
	}
	d.call = ""
	put(t, s, result("a", 1))
	d.call = "rename and remove"
	if err := s.Remove(result("a", 1).RunID); !errors.Is(err, syscall.EIO) || s.Pending() != 0 {
		t.Errorf("got %v and %d pending, want the disk's error, and a result that is at the hub not sent over and over", err, s.Pending())
	}
	d.call = ""
	put(t, s, result("a", 2), result("a", 3))
	d.call = "read"
	s.SetAside("never.us.none.60", d.err)
	d.err = syscall.EMFILE
	if _, err := s.Next(t.Context()); !errors.Is(err, syscall.EMFILE) || s.Pending() != 2 {
		t.Errorf("got %v, want an error that says nothing about the file", err)
	}
	d.call = ""
	wantIDs(t, drain(t, s), result("a", 2).RunID, result("a", 3).RunID)
}

// Errors of permission name the file. The thread asks as a user who has no rights, whoever runs the tests.
func TestPermissions(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir)
	put(t, s, result("a", 1))
	if err := os.Chmod(s.folder(resultsFolder), 0o500); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if os.Getuid() == 0 {
			if _, _, errno := syscall.RawSyscall(syscall.SYS_SETFSUID, 65534, 0, 0); errno != 0 {
				done <- errno
				return
			}
		}
		done <- s.Put(result("a", 2))
	}()
	err := <-done
	if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "spool result a.us.none.120: open "+dir) {
		t.Errorf("got %v, want that the file may not be written", err)
	}
	if err := os.Chmod(s.folder(resultsFolder), 0o700); err != nil {
		t.Fatal(err)
	}
	wantIDs(t, drain(t, s), result("a", 1).RunID)
}
