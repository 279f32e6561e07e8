package spool

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"lastmile/internal/runs"
)

// Many places of a probe and its publisher use the spool at once, and for the same runs too. What it counts is then what there is.
func TestTogether(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	s, err := openOn(unsynced{}, discard(), dir, Options{MaxBytes: 40 * block, MaxSent: 10 * block, Shed: func(need int64) int64 { return need }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	var group, publisher sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 100 {
				n := rand.Int64N(20) + 1
				if err := s.Claim(assignment("a", n)); err != nil && !s.Full() {
					t.Error(err)
				}
				if rand.IntN(4) == 0 {
					if err := s.Release(assignment("a", n).RunID); err != nil {
						t.Error(err)
					}
					continue
				}
				put(t, s, result("a", n))
				if !s.Holds(assignment("a", n).RunID) && s.Stats().Pending > 20 {
					t.Error("more results than runs")
				}
			}
		})
	}
	publisher.Go(func() {
		for {
			r, err := s.Next(ctx)
			if err != nil {
				return // the others are done
			}
			switch rand.IntN(20) {
			case 0:
				s.SetAside(r.RunID, errHeld)
			case 1:
				if _, err := s.Resend(time.Now().Add(time.Second)); err != nil {
					t.Error(err)
				}
			default:
				if err := s.Remove(r.RunID); err != nil {
					t.Error(err)
				}
			}
		}
	})
	group.Wait()
	end()
	publisher.Wait()
	st := s.Stats()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := openOn(unsynced{}, discard(), dir, Options{MaxBytes: 40 * block, MaxSent: 10 * block})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	found := again.Stats()
	// A claim that was replaced while its result was put is released by the next start.
	if found.Pending != st.Pending || found.CorruptBytes != st.CorruptBytes || found.Torn != 0 || found.Corrupt != 0 || found.Bytes > st.Bytes {
		t.Errorf("got %+v on disk, want what was counted, %+v", found, st)
	}
	waiting := map[runs.ID]bool{}
	for _, id := range drain(t, again) {
		waiting[id] = true
	}
	if len(waiting) != st.Pending || again.Corrupt() != 0 {
		t.Errorf("got %d results and %d unreadable, want %d whole ones", len(waiting), again.Corrupt(), st.Pending)
	}
}
