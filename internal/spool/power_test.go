package spool

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"lastmile/internal/runs"
)

// promises are what the calls so far have promised.
type promises struct {
	stored  map[runs.ID]bool           // Put or Resend has returned, and Remove has not been called
	results map[runs.ID]map[int64]bool // the durations of all results that Put was ever called with
	claimed map[runs.ID]bool           // Claim has returned, and neither Put has returned nor Release been called
	claims  map[runs.ID]bool           // all runs that Claim was ever called with
}

func (p *promises) clone() promises {
	results := map[runs.ID]map[int64]bool{}
	for id, all := range p.results {
		results[id] = maps.Clone(all)
	}
	return promises{stored: maps.Clone(p.stored), results: results, claimed: maps.Clone(p.claimed), claims: maps.Clone(p.claims)}
}

func (p *promises) print() string { return fmt.Sprint(p.stored, p.results, p.claimed, p.claims) }

// play makes calls on a spool, and keeps the promises up to date. Between calls and within them, the disk tells its state.
func play(s *Spool, p *promises) error {
	claim := func(n int64) error {
		a := assignment("a", n)
		p.claims[a.RunID] = true
		err := s.Claim(a)
		p.claimed[a.RunID] = true
		return err
	}
	store := func(n, duration int64) error {
		r := result("a", n)
		r.DurationMS = float64(duration)
		if p.results[r.RunID] == nil {
			p.results[r.RunID] = map[int64]bool{}
		}
		p.results[r.RunID][duration] = true
		err := s.Put(r)
		p.stored[r.RunID] = true
		delete(p.claimed, r.RunID)
		return err
	}
	remove := func(n int64) error {
		id := assignment("a", n).RunID
		delete(p.stored, id)
		return s.Remove(id)
	}
	release := func(n int64) error {
		id := assignment("a", n).RunID
		delete(p.claimed, id)
		return s.Release(id)
	}
	resend := func() error {
		_, err := s.Resend(time.Now().Add(time.Hour))
		for id := range s.results.byID {
			p.stored[id] = true
		}
		return err
	}
	for i, step := range []func() error{
		func() error { return claim(1) },
		func() error { return claim(2) },
		func() error { return store(1, 10) },
		func() error { return claim(3) },
		func() error { return release(3) },
		func() error { return store(2, 20) },
		func() error { return remove(1) },
		func() error { return store(4, 40) },
		func() error { return store(4, 41) }, // again
		func() error { return remove(2) },
		resend,
		func() error { return claim(4) }, // one that has a result already
		func() error { return remove(1) },
		func() error { return claim(1) }, // one that has been sent
		func() error { return store(1, 11) },
		func() error { return remove(1) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

// kept reads everything out of a spool as the next process does, and says what is against the promises.
func kept(s *Spool, p promises) error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	unfinished, waiting := map[runs.ID]bool{}, map[runs.ID]bool{}
	for _, c := range s.Unfinished() {
		unfinished[c.Assignment.RunID] = true
		if !p.claims[c.Assignment.RunID] {
			wrong("%s is unfinished and was never claimed", c.Assignment.RunID)
		}
	}
	for id := range s.results.byID {
		r, err := s.readResult(id)
		if err != nil || !p.results[id][int64(r.DurationMS)] {
			wrong("%s waits as %v, %v, which was never put", id, r, err)
		}
		waiting[id] = true
		if unfinished[id] {
			wrong("%s waits and is unfinished", id)
		}
	}
	for id := range p.stored {
		if !waiting[id] {
			wrong("%s was put and is lost", id)
		}
	}
	for id := range p.claimed {
		if !waiting[id] && !unfinished[id] {
			wrong("%s was claimed and is forgotten", id)
		}
	}
	if n := s.Corrupt(); n != 0 {
		wrong("%d files that cannot be read have names that finished ones have", n)
	}
	return errors.Join(errs...)
}

// held are the promises that a spool makes by telling what it has: whoever is told so acknowledges jobs.
func held(s *Spool, p promises) promises {
	p = p.clone()
	for id := range s.results.byID {
		p.stored[id] = true
	}
	for id := range s.unfinished {
		p.claimed[id] = true
	}
	return p
}

// cutEverywhere plays the calls on a disk, cuts power or kills the process after every change to the disk, and looks whether the promises are
// kept in every state that the disk may then be in; and again where power fails while that is recovered, or right after. It returns how many
// states those were, and how many changes to names were unsynced at most.
func cutEverywhere(noSync string) (states, unsynced int, err error) {
	type point struct {
		disk *sea
		promises
		depth int
	}
	seen := map[string]bool{}
	var todo []point
	cut := func(d *sea, p *promises, depth int) {
		unsynced = max(unsynced, len(d.unsynced))
		note := fmt.Sprint(depth, p.print())
		states := d.afterPowerCut(seen, note)
		if depth == 0 {
			states = append(states, d.afterKill())
		}
		for _, left := range states {
			left.noSync = noSync
			todo = append(todo, point{left, p.clone(), depth})
		}
	}
	opts := Options{Reserve: -1}
	p := promises{map[runs.ID]bool{}, map[runs.ID]map[int64]bool{}, map[runs.ID]bool{}, map[runs.ID]bool{}}
	first := newSea()
	first.noSync = noSync
	first.after = func() { cut(first, &p, 0) }
	s, err := openOn(first, discard(), "/data/spool", opts)
	if err != nil {
		return 0, 0, err
	}
	if err := play(s, &p); err != nil {
		return 0, 0, err
	}
	for len(todo) > 0 {
		now := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		states++
		was := now.disk.print()
		if now.depth < 2 {
			now.disk.after = func() { cut(now.disk, &now.promises, now.depth+1) }
		}
		s, err := openOn(now.disk, discard(), "/data/spool", opts)
		now.disk.after = nil
		if err == nil {
			err = kept(s, now.promises)
		}
		if err != nil {
			return states, unsynced, fmt.Errorf("%w\non the disk was\n%s", err, was)
		}
		if now.depth < 2 {
			told := held(s, now.promises)
			cut(now.disk, &told, now.depth+1)
		}
	}
	return states, unsynced, nil
}

func TestPowerCutAnywhere(t *testing.T) {
	t.Parallel()
	states, unsynced, err := cutEverywhere("")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d states of the disk, of up to %d changes that were not synced", states, unsynced)
	if states < 500 || unsynced > seaVaried {
		t.Errorf("got %d states of up to %d changes, want at least 500, and all of at most %d", states, unsynced, seaVaried)
	}
}

// The model finds what goes wrong without each of the two fsyncs.
func TestPowerCutIsFoundOut(t *testing.T) {
	t.Parallel()
	for _, without := range []string{"file", "folder"} {
		if _, _, err := cutEverywhere(without); err == nil {
			t.Errorf("without fsync of the %s: got nothing wrong, want a promise broken", without)
		}
	}
}

// The order of the system calls, as the package says it.
func TestOrderOfCalls(t *testing.T) {
	t.Parallel()
	d := newSea()
	s, err := openOn(d, discard(), "/data/spool", Options{Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	id := assignment("a", 1).RunID
	for _, step := range []struct {
		name string
		call func() error
		want string
	}{
		{"claim", func() error { return s.Claim(assignment("a", 1)) }, "create claims/ID.json.tmp, write claims/ID.json.tmp, fsync claims/ID.json.tmp, rename claims/ID.json.tmp claims/ID.json, sync claims"},
		{"put", func() error { return s.Put(result("a", 1)) }, "create results/ID.json.tmp, write results/ID.json.tmp, fsync results/ID.json.tmp, rename results/ID.json.tmp results/ID.json, sync results, remove claims/ID.json"},
		{"remove", func() error { return s.Remove(id) }, "rename results/ID.json sent/ID.json"},
		{"resend", func() error { _, err := s.Resend(time.Now().Add(time.Hour)); return err }, "rename sent/ID.json results/ID.json, sync results, sync sent"},
	} {
		d.log = nil
		if err := step.call(); err != nil {
			t.Fatal(err)
		}
		if got := strings.ReplaceAll(strings.Join(d.log, ", "), string(id), "ID"); got != step.want {
			t.Errorf("%s: got %s\nwant %s", step.name, got, step.want)
		}
	}
	if r, err := s.Next(t.Context()); err != nil || r.RunID != id {
		t.Errorf("got %v, %v, want the result again", r, err)
	}
}
