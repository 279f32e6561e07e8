package spool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"lastmile/internal/runs"
)

// smallDisk is the size of the disk that the tests fill, in bytes.
const smallDisk = 2 << 20

func mountSmall(dir string) error {
	return syscall.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d", smallDisk))
}

// exitRefused is how a process ends that may not mount a disk.
const exitRefused = 77

// refused reports whether the machine does not allow a process its own view of its disks: not at all, or, as a bound on name spaces, no
// more of them.
func refused(err error) bool {
	return errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL)
}

// TestFullDisk fills a disk: one in memory that the test simulates, and a real one, which it mounts in a process that has its own view of the
// machine's disks. Where a machine lets nobody have that, it says so, and the simulated one remains.
func TestFullDisk(t *testing.T) {
	if dir := os.Getenv(diskVariable); dir != "" {
		fillUp(t, machine{}, filepath.Join(dir, "spool"))
		return
	}
	t.Parallel()
	t.Run("simulated", func(t *testing.T) {
		t.Parallel()
		d := newSea()
		d.capacity = smallDisk
		fillUp(t, d, "/data/spool")
	})
	t.Run("real", func(t *testing.T) {
		t.Parallel()
		test := exec.Command(os.Args[0], "-test.run=^TestFullDisk$", "-test.v", "-test.timeout=2m")
		test.Env = append(os.Environ(), diskVariable+"="+t.TempDir())
		test.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		}
		out, err := test.CombinedOutput()
		var exit *exec.ExitError
		switch {
		case err == nil:
		case refused(err), errors.As(err, &exit) && exit.ExitCode() == exitRefused:
			t.Logf("this machine allows no disk of one's own, a full one is simulated only: %v %s", err, out)
		case errors.As(err, &exit):
			t.Errorf("%v\n%s", err, out)
		default:
			t.Error(err)
		}
	})
}

// attic is where the artefacts of the tests are: files that can be deleted, the oldest first.
type attic struct {
	t     *testing.T
	disk  disk
	paths []string
	size  int64
	shed  []string
}

func (a *attic) store(path string) {
	if err := writeFully(a.disk, path, make([]byte, a.size), false); err != nil {
		a.t.Fatal(err)
	}
	a.paths = append(a.paths, path)
}

func (a *attic) free(need int64) (freed int64) {
	for ; freed < need && len(a.paths) > 0; a.paths = a.paths[1:] {
		if err := a.disk.remove(a.paths[0]); err != nil {
			a.t.Error(err)
		}
		a.shed = append(a.shed, a.paths[0])
		freed += a.size
	}
	return freed
}

// ballast takes what there is of a disk.
type ballast struct {
	t     *testing.T
	disk  disk
	dir   string
	files []string
}

func (b *ballast) fill() {
	for size := 64 << 10; size >= block; {
		path := filepath.Join(b.dir, fmt.Sprint("ballast", len(b.files)))
		err := writeFully(b.disk, path, make([]byte, size), false)
		switch {
		case err == nil:
			b.files = append(b.files, path)
			continue
		case !noSpace(err):
			b.t.Fatal(err)
		}
		if err := b.disk.remove(path); err != nil {
			b.t.Fatal(err)
		}
		size /= 2
	}
}

func (b *ballast) drop() {
	for _, path := range b.files {
		if err := b.disk.remove(path); err != nil {
			b.t.Fatal(err)
		}
	}
	b.files = nil
}

// fillUp plays a disk that fills while runs are under way, up to the last byte, and then has room again.
func fillUp(t *testing.T, d disk, dir string) {
	store := &attic{t: t, disk: d, size: 20 << 10}
	opts := Options{Reserve: 2 * piece, Shed: store.free}
	s, err := openOn(d, discard(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	const under = 200
	for n := int64(1); n <= under; n++ {
		if err := s.Claim(assignment("a", n)); err != nil {
			t.Fatal(err)
		}
	}
	for n := int64(1); n <= 3; n++ { // these are acknowledged, and could be sent again
		put(t, s, result("a", n))
		if err := s.Remove(result("a", n).RunID); err != nil {
			t.Fatal(err)
		}
	}
	rest := &ballast{t: t, disk: d, dir: filepath.Dir(dir)}
	for n := range 3 {
		store.store(filepath.Join(filepath.Dir(dir), fmt.Sprint("artefact", n)))
	}
	oldest := store.paths[0]
	if st := s.Stats(); st.Full || st.Sent != 3 {
		t.Fatalf("got %+v before the disk is full, want 3 results that were sent", st)
	}

	rest.fill()
	put(t, s, result("a", 4)) // what was sent goes, then the oldest artefact
	if st := s.Stats(); !st.Full || st.Sent != 0 || st.SentDropped != 3 || st.ReserveTaken != 0 || len(store.shed) == 0 || store.shed[0] != oldest {
		t.Errorf("got %+v and %v deleted, want what was sent deleted, the oldest artefact, and nothing of the reserve", st, store.shed)
	}
	if err := s.Claim(assignment("b", 1)); !errors.Is(err, ErrFull) || s.Holds(assignment("b", 1).RunID) {
		t.Errorf("claim: got %v, want that it is full", err)
	}
	stored := int64(4)
	for ; stored < under; stored++ { // every byte that is given up goes to somebody else, but for those that a result takes
		rest.fill()
		if err := s.Put(result("a", stored+1)); err != nil {
			if !noSpace(err) {
				t.Fatal(err)
			}
			break
		}
	}
	st := s.Stats()
	if len(store.paths) != 0 || st.ShedBytes != 3*store.size || st.ReserveTaken == 0 {
		t.Errorf("got %+v and %v left, want all artefacts deleted before the reserve was taken", st, store.paths)
	}
	if stored < 5 || st.Pending != int(stored-3) || !s.Holds(assignment("a", stored+1).RunID) {
		t.Errorf("got %d results stored and %+v, want some, and the run claimed whose result found no room", stored, st)
	}
	s = emptied(t, s, d, dir, opts, rest, stored, under)
	if st := s.Stats(); st.Full || st.Corrupt != 0 || st.Torn != 0 {
		t.Errorf("got %+v, want nothing that is torn", st)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// emptied goes on where a disk is full to the last byte: a probe that starts now has what it had, and when the disk has room it goes on.
func emptied(t *testing.T, s *Spool, d disk, dir string, opts Options, rest *ballast, stored, under int64) *Spool {
	t.Helper()
	rest.fill()
	if err := s.Release(assignment("a", under).RunID); err != nil {
		t.Errorf("release on a full disk: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := openOn(d, discard(), dir, opts)
	if err != nil {
		t.Fatalf("open on a full disk: %v", err)
	}
	if st := s.Stats(); !st.Full || st.Pending != int(stored-3) || len(s.Unfinished()) != int(under-stored-1) {
		t.Errorf("got %+v and %d unfinished, want full, %d pending and %d unfinished", st, len(s.Unfinished()), stored-3, under-stored-1)
	}
	if err := s.Remove(assignment("a", 4).RunID); err != nil {
		t.Errorf("remove on a full disk: %v", err)
	}
	rest.drop()
	for limit := time.Now().Add(time.Minute); s.Full(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("full a minute after the disk has room")
		}
	}
	if len(s.room.pieces) != 2 {
		t.Errorf("got %d pieces of reserve, want the 2 again", len(s.room.pieces))
	}
	if err := s.Claim(assignment("b", 1)); err != nil {
		t.Errorf("claim: %v", err)
	}
	put(t, s, result("a", stored+1))
	var want []runs.ID
	for n := int64(5); n <= stored+1; n++ {
		want = append(want, result("a", n).RunID)
	}
	wantIDs(t, drain(t, s), want...)
	return s
}

// Where it is artefacts that fill the disk, they give way to new work too, not to results only, and no more of them than that needs.
func TestArtefactsGiveWay(t *testing.T) {
	t.Parallel()
	d := newSea()
	d.capacity = smallDisk
	store := &attic{t: t, disk: d, size: 64 << 10}
	s, err := openOn(d, discard(), "/data/spool", Options{Reserve: 2 * piece, Shed: store.free})
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; d.used() < d.capacity-store.size; n++ {
		store.store(fmt.Sprint("/data/artefact", n))
	}
	(&ballast{t: t, disk: d, dir: "/data"}).fill()
	if err := s.Claim(assignment("a", 1)); err != nil {
		t.Error(err)
	}
	put(t, s, result("a", 1))
	if st := s.Stats(); st.Full || st.ReserveTaken != 0 || len(store.paths) < 10 || len(store.shed) < 2 {
		t.Errorf("got %+v and %d artefacts left, want it not full, and not all of them deleted", st, len(store.paths))
	}
}

// At the bound nothing is claimed, what is under way is stored, what results take beyond it is taken from the artefacts, and work goes on
// when results have left.
func TestBound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var asked []int64
	opts := Options{MaxBytes: 5 * block, Reserve: -1, Shed: func(need int64) int64 { asked = append(asked, need); return need }}
	s, err := Open(discard(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	for n := int64(1); n <= 5; n++ {
		if err := s.Claim(assignment("a", n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Claim(assignment("a", 6)); !errors.Is(err, ErrFull) || !s.Full() || s.Bytes() != 5*block {
		t.Errorf("got %v with %d bytes, want that it is full", err, s.Bytes())
	}
	for n := int64(1); n <= 7; n++ {
		put(t, s, result("a", n)) // two of them more than were claimed
	}
	if st := s.Stats(); st.Bytes != 7*block || st.Limit != 5*block || st.Pending != 7 || !st.Full || st.ShedBytes != sum(asked) {
		t.Errorf("got %+v, want all 7 stored", st)
	}
	// Until its claim is deleted, a run takes two blocks.
	if len(asked) == 0 || asked[len(asked)-1] != block {
		t.Errorf("got %v bytes asked of the artefacts, want a block for each result beyond the bound", asked)
	}
	s.Close()
	if s, err = Open(discard(), dir, opts); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if st := s.Stats(); st.Bytes != 7*block || !st.Full {
		t.Errorf("got %+v after a restart, want the same", st)
	}
	for n := int64(1); n <= 3; n++ {
		if err := s.Remove(result("a", n).RunID); err != nil {
			t.Fatal(err)
		}
	}
	if st := s.Stats(); st.Full || st.Bytes != 4*block || st.SentBytes != block {
		t.Errorf("got %+v, want room for one claim, and one that was sent kept where there is room", st)
	}
	if err := s.Claim(assignment("a", 8)); err != nil {
		t.Error(err)
	}
	s.SetAside(result("a", 4).RunID, errors.New("refused"))
	if st := s.Stats(); st.CorruptBytes != block || !st.Full {
		t.Errorf("got %+v, want that what is set aside counts", st)
	}
	aside, err := filepath.Glob(filepath.Join(dir, corruptFolder, "*"))
	if err != nil || len(aside) != 1 || os.Remove(aside[0]) != nil {
		t.Fatalf("got %v and %v, want one file to delete", aside, err)
	}
	for limit := time.Now().Add(time.Minute); s.Full(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("full a minute after somebody has emptied the folder corrupt")
		}
	}
}

func sum(all []int64) (n int64) {
	for _, one := range all {
		n += one
	}
	return n
}

// Somebody deletes the spool's folder, or files of it, under a running probe.
func TestFolderVanishes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir)
	put(t, s, result("a", 1), result("a", 2), result("a", 3))
	if err := os.Remove(s.path(resultsFolder, result("a", 1).RunID)); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Next(t.Context()); err != nil || r.RunID != result("a", 2).RunID || s.Stats().Vanished != 1 {
		t.Errorf("got %v, %v and %+v, want the next one, and one counted that is gone", r.RunID, err, s.Stats())
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := s.Next(ended); !errors.Is(err, context.Canceled) || s.Stats().Vanished != 3 {
		t.Errorf("got %v and %+v, want nothing left, and all counted", err, s.Stats())
	}
	if err := s.Claim(assignment("a", 4)); err != nil {
		t.Error(err)
	}
	put(t, s, result("a", 4))
	if _, err := Open(discard(), dir, Options{}); err == nil {
		t.Error("another probe got the folder that was made anew")
	}
	wantIDs(t, drain(t, s), result("a", 4).RunID)
}
