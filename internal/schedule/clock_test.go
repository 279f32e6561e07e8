package schedule

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lastmile/internal/ledger"
	"lastmile/internal/runs"
	"lastmile/internal/steady"
)

// site is one coordinator on a machine whose clocks the test sets, with probes elsewhere that run all they are asked to at once.
type site struct {
	*ledger.Ledger
	t         *testing.T
	scheduler *Scheduler
	clock     *steady.Clock
	began     time.Time

	mu    sync.Mutex
	wall  time.Duration // what the wall clock is ahead of the test's
	boot  time.Duration // what the time since boot is: suspended, while timers stood still
	asked map[runs.ID]int
}

func newSite(t *testing.T, p Plan) *site {
	s := &site{t: t, Ledger: ledger.New(), began: time.Now(), asked: map[runs.ID]int{}}
	s.clock = steady.New(steady.Options{
		Wall: func() time.Time {
			s.mu.Lock()
			defer s.mu.Unlock()
			return time.Now().Add(s.wall)
		},
		Boot: func() time.Duration {
			s.mu.Lock()
			defer s.mu.Unlock()
			return time.Since(s.began) + s.boot
		},
	})
	s.Define(p.Scenarios)
	s.scheduler = New(slog.New(slog.DiscardHandler), p, s, newHub(t), s, Options{Now: s.clock.Now, CursorEvery: 3 * time.Second})
	return s
}

// set sets the clocks.
func (s *site) set(wall, boot time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wall, s.boot = wall, boot
}

func (s *site) Dispatch(_ context.Context, a runs.Assignment) (bool, error) {
	s.mu.Lock()
	s.asked[a.RunID]++
	s.mu.Unlock()
	if s.clock.Now().After(a.StartBy) {
		s.t.Errorf("%s: slot %s ordered after its window", s.clock.Now(), a.RunID)
	}
	r := report(&a, runs.StatePassed)
	if got := s.Result(&r, false); got != ledger.Entered {
		s.t.Errorf("%s: the result of %s was not entered: got %d", s.clock.Now(), a.RunID, got)
	}
	return true, nil
}

// Reason implements ledger.Witness.
func (s *site) Reason(id runs.ID, _ string, _, _ time.Time) runs.Reason {
	reason, given := s.scheduler.GivenUp(id)
	if !given {
		s.t.Errorf("slot %s has no result, and nobody gave it up", id)
	}
	return reason
}

// pass lets time go by, and keeps the books.
func (s *site) pass(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(time.Second)
		synctest.Wait()
		const grace = 5 * time.Second
		now := s.clock.Now()
		if latest := s.scheduler.Entered(now).Add(grace); latest.Before(now) {
			now = latest
		}
		for _, v := range s.Closable(now, grace, s) {
			s.Verdict(&v)
		}
	}
}

// audit compares the books with the schedule: every slot since the first is in them, and none was ordered twice. It returns how many were
// missing.
func (s *site) audit(p Plan) (missing int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, n := range s.asked {
		if n != 1 {
			s.t.Errorf("slot %s: got it ordered %d times, want once", id, n)
		}
	}
	now := s.clock.Now()
	for _, a := range s.Accounts(now) {
		sc := &p.Scenarios[0]
		if sc.Name != a.Scenario {
			sc = &p.Scenarios[1]
		}
		first, _ := s.First(a.Combination)
		want := int64(len(sc.Timetable().Slots(a.Combination, first.Add(-time.Second), now, 100_000)))
		if a.Counts.Planned() != want || a.Counts[runs.StatePending] > 0 || a.Reasons[runs.ReasonCoordinatorDown] != a.Counts[runs.StateMissing] {
			s.t.Errorf("%+v: got %v and %v, want the schedule's %d slots since %s, all passed or coordinator_down", a.Combination, a.Counts, a.Reasons, want, first)
		}
		missing += a.Counts[runs.StateMissing]
	}
	return missing
}

// Whatever becomes of the clock, planned = accounted, no slot is ordered twice, and none is silently absent.
func TestClockJumps(t *testing.T) {
	for _, tc := range []struct {
		name     string
		jump     func(s *site)
		atLeast  int64 // of the two scenarios, one slot each 10 s and one each 20 s
		atMost   int64
		adopting bool
	}{
		{"forward and back", func(s *site) {
			s.set(time.Hour, 0)
			s.pass(20 * time.Second)
			s.set(0, 0)
			s.pass(3 * time.Minute)
		}, 0, 0, false},
		{"back and forward", func(s *site) {
			s.set(-time.Hour, 0)
			s.pass(20 * time.Second)
			s.set(0, 0)
			s.pass(3 * time.Minute)
		}, 0, 0, false},
		{"forward for good", func(s *site) {
			s.set(time.Hour, 0)
			s.pass(5 * time.Minute)
		}, 3600/10 + 3600/20 - 6, 3600/10 + 3600/20, true},
		{"back for good", func(s *site) {
			s.set(-time.Hour, 0)
			s.pass(70 * time.Minute)
		}, 0, 0, true},
		{"back for good, and forward again for good", func(s *site) {
			s.set(-time.Hour, 0)
			s.pass(10 * time.Minute)
			s.set(time.Hour, 0)
			s.pass(5 * time.Minute)
		}, 3600/10 + 3600/20, 4200/10 + 4200/20, true},
		{"suspended", func(s *site) {
			s.set(10*time.Minute, 10*time.Minute)
			s.pass(3 * time.Minute)
		}, 600/10 + 600/20 - 6, 600/10 + 600/20, true},
		{"a few small steps", func(s *site) {
			for range 20 {
				s.set(s.wall+900*time.Millisecond, 0)
				s.pass(10 * time.Second)
				s.set(s.wall-1800*time.Millisecond, 0)
				s.pass(10 * time.Second)
			}
		}, 0, 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := mixed(t, "@every 20s", "us")
				s := newSite(t, p)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				done := make(chan error, 1)
				go func() { done <- s.scheduler.Run(ctx) }()
				s.pass(3 * time.Minute)
				tc.jump(s)
				cancel()
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				s.pass(3 * time.Minute) // every minute is closed
				now, end := s.clock.Now(), time.Now()
				if got := now.Sub(end) == s.wall; got != tc.adopting && s.wall != 0 {
					t.Errorf("got the time %s from the test's, want the wall clock's %s: %t", now.Sub(end), s.wall, tc.adopting)
				}
				s.clockStops(now.Add(-3 * time.Minute))
				if got := s.audit(p); got < tc.atLeast || got > tc.atMost {
					t.Errorf("got %d slots missing, want %d to %d", got, tc.atLeast, tc.atMost)
				}
			})
		})
	}
}

// clockStops makes the clock say when the scheduler was stopped: the slots after are nobody's.
func (s *site) clockStops(at time.Time) {
	s.clock = steady.New(steady.Options{Wall: func() time.Time { return at }, Boot: func() time.Duration { return 0 }})
}

// A clock that is set ahead by days leaves older slots than a day's out of the books, as a long absence does, and says so once.
func TestAFarJumpIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		var ahead atomic.Int64
		h := newHub(t)
		now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		s := New(slog.New(slog.NewTextHandler(&log, nil)), plan(t, "us"), h, h, h, Options{Now: now})
		time.AfterFunc(30*time.Second, func() { ahead.Store(int64(72 * time.Hour)) })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if want := 24*360 + 6; len(h.plan) < want-2 || len(h.plan) > want+2 {
			t.Errorf("got %d slots entered, want those of a day and of a minute, about %d", len(h.plan), want)
		}
		for id := range h.plan {
			if h.jobs[id].IsZero() != unasked(s, id) {
				t.Errorf("slot %s: got it ordered at %s, given up: %t, want one of them", id, h.jobs[id], unasked(s, id))
			}
		}
		if got := strings.Count(log.String(), "older slots are left out"); got != 1 || !strings.Contains(log.String(), "combinations=1") {
			t.Errorf("got %d warnings, want one, for one combination, in\n%s", got, log.String())
		}
	})
}
