package chromium

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// runDir is what one browser writes into. Its lock is this process's, and the kernel drops it when the process dies, however that
// comes about: a run directory whose lock is free is one that nobody will remove any more. It goes after the last process that works
// in it, so that what is left behind of a browser can always be found by its directory.
type runDir struct {
	path string
	lock *os.File // the directory itself, under flock
}

// runPrefix begins the name of every run directory, and of nothing else.
const runPrefix = "lastmile-run-"

// makeRunDir makes a run directory with a profile in it.
func makeRunDir(parent string) (*runDir, error) {
	for range 100 {
		d, err := claimRunDir(filepath.Join(parent, runPrefix+strings.ToLower(rand.Text()[:6])))
		switch {
		case err != nil:
			return nil, err
		case d == nil:
			continue
		}
		profile := filepath.Join(d.path, "profile/Default")
		if err = os.MkdirAll(profile, 0o700); err == nil {
			err = os.WriteFile(filepath.Join(profile, "Preferences"), []byte(preferences), 0o600)
		}
		if err != nil {
			return nil, errors.Join(err, d.remove())
		}
		return d, nil
	}
	return nil, fmt.Errorf("make directory in %s: got 100 names that are taken, want a free one", parent)
}

// claimRunDir makes the directory and locks it. It returns nil where the name is taken, or a sweep took the directory for a dead one
// before it was locked.
func claimRunDir(path string) (*runDir, error) {
	if err := os.Mkdir(path, 0o700); errors.Is(err, os.ErrExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	lock, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if !locked(lock) || !sameFile(lock, path) {
		return nil, lock.Close()
	}
	return &runDir{path: path, lock: lock}, nil
}

// remove deletes the directory, then gives its lock back: what could not be deleted is for a sweep.
func (d *runDir) remove() error { return errors.Join(os.RemoveAll(d.path), d.lock.Close()) }

// leaderFile, in a run directory, says which process group the browser is.
const leaderFile = "leader"

// leader names the process that leads a browser's group.
type leader struct {
	pid     int
	started string
	name    string
}

// note writes down which process group works in the directory: Chromium's helpers carry no other sign of where they belong.
func (d *runDir) note(p *process) error {
	s, ok := statOf(p.pid)
	if !ok {
		return nil // it has ended, and the group with it
	}
	text := fmt.Sprintf("%d %s %s\n", p.pid, s.started, p.name)
	return os.WriteFile(filepath.Join(d.path, leaderFile), []byte(text), 0o600)
}

// group returns the processes that are left of the browser in a run directory. A group's number is not given to another process
// while one of the group lives; where it has been since, its leader started at another time.
func group(dir string) (left []int) {
	text, err := os.ReadFile(filepath.Join(dir, leaderFile))
	var l leader
	if err == nil {
		_, err = fmt.Sscan(string(text), &l.pid, &l.started, &l.name)
	}
	if err != nil || l.pid <= 1 {
		return nil
	}
	if s, ok := statOf(l.pid); ok && s.started != l.started {
		return nil
	}
	for _, pid := range pids() {
		if s, ok := statOf(pid); ok && s.group == l.pid && s.name == l.name && s.state != "Z" {
			left = append(left, pid)
		}
	}
	return left
}

// locked takes the lock of a directory unless somebody else has it. On a file system that has no locks everybody gets it: nothing is
// swept there.
func locked(dir *os.File) bool {
	return !errors.Is(syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

// abandoned takes the lock of a directory if nobody has it.
func abandoned(dir *os.File) bool {
	return syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}

// sameFile reports whether the path still leads to the open directory.
func sameFile(open *os.File, path string) bool {
	a, err := open.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(path)
	return err == nil && os.SameFile(a, b)
}

// sweepEvery is how often a probe looks for what others left behind, at most: before a launch, which is not measured.
const sweepEvery = 10 * time.Minute

// sweep removes the run directories of this user's probes that have died, and kills what is left of their browsers. Directories of
// living probes, whichever container they are in, and of other users are left alone.
func sweep(log *slog.Logger, parent string) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		log.Warn("run directories not swept", "err", err)
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), runPrefix) || !entry.IsDir() {
			continue
		}
		path := filepath.Join(parent, entry.Name())
		if removed, err := sweepOne(path); err != nil {
			log.Warn("run directory of a dead probe not removed", "dir", path, "err", err)
		} else if removed {
			log.Info("removed what a dead probe left behind", "dir", path)
		}
	}
}

func sweepOne(path string) (removed bool, err error) {
	dir, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_DIRECTORY, 0)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return false, nil // another sweep was faster, or another user's
	} else if err != nil {
		return false, err
	}
	d := &runDir{path: path, lock: dir}
	info, err := dir.Stat()
	if err != nil {
		return false, errors.Join(err, dir.Close())
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); !ok || int(owner.Uid) != os.Geteuid() || !abandoned(dir) || !sameFile(dir, path) {
		return false, dir.Close()
	}
	deadline := time.Now().Add(stopLimit)
	for left := group(path); len(left) > 0 && time.Now().Before(deadline); left = group(path) {
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL) // ESRCH: ended meanwhile
		}
		time.Sleep(2 * time.Millisecond) // as in killStrays
	}
	if err := killStrays(path, deadline); err != nil {
		return false, errors.Join(err, dir.Close())
	}
	return true, d.remove()
}

// killStrays kills what works in a run directory, and waits until none of it is left.
func killStrays(dir string, deadline time.Time) error {
	for strays := map[int]bool{}; !swept(dir, strays); {
		if time.Now().After(deadline) {
			return fmt.Errorf("stop chromium: got a process of %s alive after SIGKILL, want none", dir)
		}
		time.Sleep(2 * time.Millisecond) // the kernel tells no one when somebody else's process ends
	}
	return nil
}
