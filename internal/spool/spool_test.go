package spool

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func open(t testing.TB, dir string) *Spool {
	t.Helper()
	s, err := Open(discard(), dir, Options{Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// assignment is a run of a scenario in the n-th minute.
func assignment(name string, n int64) runs.Assignment {
	var s scenario.Scenario
	text := `{"apiVersion":"lastmile/v1","scenario":"` + name + `","schedule":"@every 1m","timeout":"10s","regions":["us"],
		"steps":[{"type":"http","url":"http://127.0.0.1/"}]}`
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		panic(err)
	}
	return runs.NewAssignment(s, "us", netprofile.Profile{Name: netprofile.None, Version: "v1"}, time.Unix(n*60, 0).UTC())
}

func result(name string, n int64) runs.Result {
	a := assignment(name, n)
	return runs.Result{
		Schema: runs.Schema, RunID: a.RunID, Scenario: name, Revision: a.Revision, Region: a.Region, Network: a.Network.Name,
		Slot: a.Slot, Trigger: a.Trigger, Probe: "p1", State: runs.StatePassed, StartedAt: a.Slot, DurationMS: 1,
	}
}

func put(t testing.TB, s *Spool, all ...runs.Result) {
	t.Helper()
	for _, r := range all {
		if err := s.Put(r); err != nil {
			t.Fatal(err)
		}
	}
}

// drain takes everything out of the spool in its order.
func drain(t testing.TB, s *Spool) []runs.ID {
	t.Helper()
	var ids []runs.ID
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // Next looks before it waits
	for {
		r, err := s.Next(ctx)
		if errors.Is(err, context.Canceled) {
			return ids
		}
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.RunID)
		if err := s.Remove(r.RunID); err != nil {
			t.Fatal(err)
		}
	}
}

func wantIDs(t testing.TB, got []runs.ID, want ...runs.ID) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestOldestSlotFirst(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, result("b", 100), result("a", 9), result("a", 100), result("a", 9), result("c", 20)) // one of them twice
	if s.Pending() != 4 {
		t.Errorf("got %d pending, want 4", s.Pending())
	}
	want := []runs.ID{"a.us.none.540", "c.us.none.1200", "a.us.none.6000", "b.us.none.6000"}
	s.Close()
	again := open(t, dir) // the order does not depend on who put them
	if again.Pending() != 4 || !again.Holds("c.us.none.1200") || again.Holds("c.us.none.60") {
		t.Errorf("got %d pending after a restart, want the 4", again.Pending())
	}
	wantIDs(t, drain(t, again), want...)
	if again.Pending() != 0 || again.Holds("c.us.none.1200") {
		t.Error("got results left after all were removed")
	}
}

func TestNextGivesTheResultAsItWas(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	want := result("a", 1)
	want.State, want.Cause = runs.StateFailed, &runs.Cause{Class: runs.ClassTimeout, Step: "home", Detail: "waited for #pay"}
	put(t, s, want)
	for range 2 { // the same until it is removed
		got, err := s.Next(t.Context())
		if err != nil || got.RunID != want.RunID || got.State != want.State || *got.Cause != *want.Cause || !got.Slot.Equal(want.Slot) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	if err := s.Remove("never.us.none.60"); err != nil {
		t.Errorf("remove what is not there: %v", err)
	}
}

func TestBatchHasTheOldest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	for _, minute := range []int64{5, 3, 1, 4, 2} {
		put(t, s, result("a", minute))
	}
	batch, err := s.Batch(t.Context(), 3)
	seen := map[runs.ID]bool{}
	for _, r := range batch {
		seen[r.RunID] = true
	}
	if err != nil || len(batch) != 3 || len(seen) != 3 || batch[0].RunID != result("a", 1).RunID {
		t.Errorf("got %v (%v), want three results, the oldest first", seen, err)
	}
	for _, minute := range []int64{1, 2} {
		if err := os.WriteFile(s.path(resultsFolder, result("a", minute).RunID), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if batch, err = s.Batch(t.Context(), 100); err != nil || batch[0].RunID != result("a", 3).RunID || len(batch) != 3 || s.Corrupt() != 2 {
		t.Errorf("got %d results (%v) and %d set aside, want the three that can be read", len(batch), err, s.Corrupt())
	}
}

func TestNextWaitsForAResult(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, dir)
		got := make(chan runs.Result)
		go func() {
			r, err := s.Next(t.Context())
			if err != nil {
				t.Error(err)
			}
			got <- r
		}()
		synctest.Wait() // it waits now
		put(t, s, result("a", 1))
		if r := <-got; r.RunID != "a.us.none.60" {
			t.Errorf("got %s, want the result that was put", r.RunID)
		}
		if err := s.Remove("a.us.none.60"); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := s.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the context's end", err)
		}
	})
}

func TestClaims(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	for n := int64(5); n >= 1; n-- {
		if err := s.Claim(assignment("a", n)); err != nil {
			t.Fatal(err)
		}
	}
	put(t, s, result("a", 1))
	if err := s.Release("a.us.none.120"); err != nil {
		t.Fatal(err)
	}
	if err := s.Release("../../lock"); err != nil {
		t.Fatal(err)
	}
	if !s.Holds("a.us.none.180") || s.Holds("a.us.none.120") || len(s.Unfinished()) != 0 {
		t.Error("a claim of this process is held, a released one is not, and none is unfinished")
	}
	s.Close() // as if the process had died

	again := open(t, dir)
	unfinished := again.Unfinished()
	if len(unfinished) != 3 {
		t.Fatalf("got %d unfinished, want 3", len(unfinished))
	}
	for i, c := range unfinished {
		want := assignment("a", int64(i+3))
		got := c.Assignment
		if got.RunID != want.RunID || got.Combination() != want.Combination() || !got.Slot.Equal(want.Slot) || got.Revision != want.Revision ||
			c.ClaimedAt.IsZero() {
			t.Errorf("got %+v, want run %s and the time it was claimed", c, want.RunID)
		}
	}
	if !again.Holds("a.us.none.180") {
		t.Error("an unfinished run is not held: its job would be run twice")
	}
	invalid := result("a", 3)
	invalid.State, invalid.Cause = runs.StateInvalid, &runs.Cause{Class: runs.ClassProbe, Detail: "probe died in mid-run"}
	put(t, again, invalid)
	if err := again.Release("a.us.none.240"); err != nil {
		t.Fatal(err)
	}
	if left := again.Unfinished(); len(left) != 1 || left[0].Assignment.RunID != "a.us.none.300" {
		t.Errorf("got %v, want the last one only", left)
	}
	wantIDs(t, drain(t, again), "a.us.none.60", "a.us.none.180")
}

func TestCrashBetweenResultAndClaim(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	if err := s.Claim(assignment("a", 1)); err != nil {
		t.Fatal(err)
	}
	claim := s.path(claimsFolder, "a.us.none.60")
	body, err := os.ReadFile(claim)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, result("a", 1))
	if err := os.WriteFile(claim, body, 0o600); err != nil { // as if Put had not come to remove it
		t.Fatal(err)
	}
	s.Close()
	again := open(t, dir)
	if n := len(again.Unfinished()); n != 0 {
		t.Errorf("got %d unfinished, want none: the run has a result", n)
	}
	wantIDs(t, drain(t, again), "a.us.none.60")
	if _, err := os.Stat(claim); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want the claim gone", err)
	}
}

func TestFolderHasOneOwner(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := Open(discard(), dir, Options{}); err == nil || !strings.Contains(err.Error(), dir+": in use by another probe") {
		t.Errorf("got %v, want a clear refusal", err)
	}
	s.Close()
	open(t, dir)
}

func TestUnusableFilesAreSetAside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, result("a", 3), result("z", 3))
	for n := int64(1); n <= 2; n++ {
		if err := s.Claim(assignment("c", n)); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	whole, err := os.ReadFile(s.path(resultsFolder, "a.us.none.180"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{
		"results/a.us.none.60.json":          whole[:len(whole)/2], // torn
		"results/b.us.none.60.json":          {},                   // empty
		"results/c.us.none.60.json":          whole,                // another run's
		"results/d.us.none.60.json":          make([]byte, 4096),   // what some file systems leave after a power cut
		"results/notes.txt":                  []byte("hello"),
		"results/f.us.none.60":               whole,
		"claims/c.us.none.60.json":           []byte(`{"assignment":`),
		"claims/d.us.none.60.json":           []byte(`{}`),
		"claims/" + strings.Repeat("x", 250): {},
	}
	for name, body := range files {
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	temporary := []string{s.path(resultsFolder, "e.us.none.240") + tempEnding, s.path(claimsFolder, "e.us.none.60") + tempEnding}
	for _, path := range temporary {
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "results", "g.us.none.60.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir)
	wantIDs(t, drain(t, again), "a.us.none.180", "z.us.none.180")
	if left := again.Unfinished(); len(left) != 1 || left[0].Assignment.RunID != "c.us.none.120" {
		t.Errorf("got unfinished %v, want the sound claim only", left)
	}
	aside, err := os.ReadDir(filepath.Join(dir, corruptFolder))
	if err != nil {
		t.Fatal(err)
	}
	if want := len(files) + 1; len(aside) != want || again.Corrupt() != int64(want) {
		t.Errorf("got %d files set aside and %d counted, want %d", len(aside), again.Corrupt(), want)
	}
	for _, path := range temporary { // of calls that never returned
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("got %v for %s, want it deleted", err, path)
		}
	}
	if got := again.Stats().Torn; got != 2 {
		t.Errorf("got %d torn files counted, want 2", got)
	}
}

func TestSetAsideLetsTheNextOnePass(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	put(t, s, result("a", 1), result("a", 2))
	s.SetAside("a.us.none.60", errors.New("refused by the bus"))
	s.SetAside("a.us.none.60", errors.New("not pending any more"))
	wantIDs(t, drain(t, s), "a.us.none.120")
	if s.Corrupt() != 1 {
		t.Errorf("got %d counted, want 1", s.Corrupt())
	}
}

func TestPutRefusesWhatCannotBeReadAgain(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	bad := result("a", 1)
	bad.RunID = "../../etc/passwd"
	if err := s.Put(bad); err == nil {
		t.Error("put: got no error for a run id that is a path")
	}
	claim := assignment("a", 1)
	claim.RunID = "../../etc/passwd"
	if err := s.Claim(claim); err == nil {
		t.Error("claim: got no error for a run id that is a path")
	}
	bad = result("a", 1)
	bad.State = runs.StatePending
	if err := s.Put(bad); err == nil || s.Pending() != 0 {
		t.Errorf("put: got %v for a result that is none", err)
	}
}

// FuzzOpen starts on a folder with one sound result and one file of any name and content.
func FuzzOpen(f *testing.F) {
	f.Add(true, "a.us.none.60.json", []byte(`{"schema":1}`))
	f.Add(false, "a.us.none.60.json", []byte(`{"assignment":{"schema":1,"run_id":"a.us.none.60"}}`))
	f.Add(true, "good.us.none.600.json.tmp", []byte(``))
	f.Add(false, ".json", []byte(`null`))
	f.Fuzz(func(t *testing.T, inResults bool, name string, body []byte) {
		dir := t.TempDir()
		good := result("good", 10)
		s := open(t, dir)
		put(t, s, good)
		s.Close()
		folder := claimsFolder
		if inResults {
			folder = resultsFolder
		}
		path := filepath.Join(dir, folder, filepath.Base(name))
		if path == s.path(resultsFolder, good.RunID) || os.WriteFile(path, body, 0o600) != nil {
			return // not a name for a file beside the sound one
		}
		again := open(t, dir)
		unfinished := len(again.Unfinished())
		superseded := path == s.path(claimsFolder, good.RunID) && again.Corrupt() == 0
		results := drain(t, again)
		if !slices.Contains(results, good.RunID) {
			t.Fatal("the sound result is lost")
		}
		accounted := len(results) - 1 + unfinished + int(again.Stats().Corrupt+again.Stats().Torn)
		if superseded {
			accounted++
		}
		if accounted != 1 {
			t.Fatalf("got %d results, %d unfinished, %d corrupt, want the other file in one of them", len(results), unfinished, again.Corrupt())
		}
	})
}
