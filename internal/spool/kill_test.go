package spool

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"lastmile/internal/runs"
)

// The test program runs itself, as a probe that works until it is killed, or as the tests of a full disk on a disk of its own.
const (
	victimVariable = "SPOOL_TEST_VICTIM" // the folder and the first minute
	diskVariable   = "SPOOL_TEST_DISK"   // the folder on which a small disk is to be mounted
)

func TestMain(m *testing.M) {
	if of := os.Getenv(victimVariable); of != "" {
		var first int64
		var dir string
		_, err := fmt.Sscan(of, &first, &dir)
		if err == nil {
			err = victim(dir, first)
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if dir := os.Getenv(diskVariable); dir != "" {
		if err := mountSmall(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			if refused(err) {
				os.Exit(exitRefused)
			}
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// victim says what it has done, and of removing, what it is about to do.
func victim(dir string, first int64) error {
	s, err := Open(discard(), dir, Options{Reserve: -1})
	if err != nil {
		return err
	}
	for n := first; n < first+1_000_000; n++ {
		if err := s.Claim(assignment("a", n)); err != nil {
			return err
		}
		fmt.Println("claimed", n)
		if err := s.Put(result("a", n)); err != nil {
			return err
		}
		fmt.Println("put", n)
		if n%3 == 0 {
			fmt.Println("removing", n)
			if err := s.Remove(assignment("a", n).RunID); err != nil {
				return err
			}
		}
		if n%7 == 0 {
			if _, err := s.Resend(time.Now().Add(time.Millisecond)); err != nil {
				return err
			}
		}
	}
	return nil
}

// attack lets a victim work on a folder from a minute on, kills it after so many words, and returns the minutes of each word.
func attack(t *testing.T, dir string, first int64, words int) map[string]map[int64]bool {
	t.Helper()
	probe := exec.Command(os.Args[0], "-test.run=^$")
	probe.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", victimVariable, first, dir))
	out, err := probe.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := probe.Start(); err != nil {
		t.Fatal(err)
	}
	said := map[string]map[int64]bool{"claimed": {}, "put": {}, "removing": {}}
	scanner := bufio.NewScanner(out)
	for i := 0; scanner.Scan(); i++ {
		var word string
		var n int64
		if _, err := fmt.Sscan(scanner.Text(), &word, &n); err != nil || said[word] == nil {
			t.Fatalf("got %q, %v from the victim", scanner.Text(), err)
		}
		said[word][n] = true
		if i == words {
			if err := probe.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = probe.Wait() // killed
	return said
}

func TestKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := int64(1)
	for range 30 {
		// It has written as much to the pipe as it likes by the time it dies: that is wherever it happens to be.
		said := attack(t, dir, first, rand.IntN(40))
		s, err := Open(discard(), dir, Options{Reserve: -1})
		if err != nil {
			t.Fatal(err)
		}
		known := map[runs.ID]bool{}
		for _, c := range s.Unfinished() {
			known[c.Assignment.RunID] = true
			if err := s.Release(c.Assignment.RunID); err != nil {
				t.Error(err)
			}
		}
		if len(known) > 1 {
			t.Errorf("got %d unfinished runs, want at most the one under way", len(known))
		}
		waiting := map[runs.ID]bool{}
		for _, id := range drain(t, s) {
			if known[id] {
				t.Errorf("run %s has a result and is unfinished", id)
			}
			waiting[id] = true
		}
		for n := range said["claimed"] {
			if id := assignment("a", n).RunID; !said["put"][n] && !known[id] && !waiting[id] {
				t.Errorf("the run of minute %d is forgotten after its Claim returned", n)
			}
			first = max(first, n+2) // the next victim begins after the run that may not have been told of
		}
		for n := range said["put"] {
			if !said["removing"][n] && !waiting[assignment("a", n).RunID] {
				t.Errorf("the result of minute %d is lost after its Put returned", n)
			}
		}
		if s.Corrupt() != 0 {
			t.Errorf("got %d unreadable files, want none", s.Corrupt())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
