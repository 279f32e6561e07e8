package schedule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// many is a plan of n scenarios like the test scenario.
func many(t *testing.T, n int, regions ...string) Plan {
	t.Helper()
	p := plan(t, regions...)
	for i := range n - 1 {
		next := p.Scenarios[0]
		next.Name = fmt.Sprintf("shop-%d", i)
		p.Scenarios = append(p.Scenarios, next)
	}
	return p
}

// A region whose bus hangs, or answers slowly, delays no other; its own slots are given up when their windows close, and what waits is
// never more than what is due.
func TestAHangingRegionDelaysNoOther(t *testing.T) {
	for name, hang := range map[string]func(ctx context.Context) error{
		"hangs": func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		},
		"fails slowly": func(ctx context.Context) error {
			select {
			case <-ctx.Done():
			case <-time.After(900 * time.Millisecond):
			}
			return errors.New("no answer")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { hangIn(t, "us", hang) })
		})
	}
}

// hangIn runs 50 scenarios in three regions, of which one hangs.
func hangIn(t *testing.T, bad string, hang func(ctx context.Context) error) {
	h := newHub(t)
	bus := dispatchFunc(func(ctx context.Context, a runs.Assignment) (bool, error) {
		if a.Region == bad {
			return false, hang(ctx)
		}
		return h.Dispatch(ctx, a)
	})
	p := many(t, 50, "us", "eu", "apac")
	s := New(slog.New(slog.DiscardHandler), p, bus, h, h, Options{InFlight: 4, CursorEvery: time.Second, DispatchLagged: func(region string, lag time.Duration) {
		if lag != 0 {
			t.Errorf("%s: got a lag of %s, want none", region, lag)
		}
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- s.Run(ctx) }()
	for range 119 {
		time.Sleep(time.Second)
		synctest.Wait()
		for region, l := range s.lanes {
			l.mu.Lock()
			waits := len(l.open)
			l.mu.Unlock()
			if region == bad && waits > 50 || region != bad && waits > 0 {
				t.Errorf("%s: got %d orders waiting, want at most one for each of 50 combinations where the bus hangs, and none elsewhere", region, waits)
			}
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	complete(t, h, p, began, time.Now().Add(-6*time.Second), func(id runs.ID) bool {
		c, _, _ := id.Parse()
		reason, given := s.GivenUp(id)
		return h.plan[id] && h.jobs[id].IsZero() == (c.Region == bad) && given == (c.Region == bad) && (!given || reason == runs.ReasonCoordinatorDown)
	})
}

// A shutdown does not wait for all that a hanging bus has in its line.
func TestShutdownIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		bus := dispatchFunc(func(ctx context.Context, _ runs.Assignment) (bool, error) {
			<-ctx.Done()
			return false, ctx.Err()
		})
		s := New(slog.New(slog.DiscardHandler), many(t, 300, "us"), bus, h, h, Options{InFlight: 2})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		began := time.Now()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began) - 20*time.Second; took > finalWork {
			t.Errorf("got a shutdown of %s, want at most %s", took, finalWork)
		}
		low, ok := s.lanes["us"].lowest()
		if at := h.at("us"); !ok || !at.Before(low) {
			t.Errorf("got a cursor at %s, want it before what was cut off, from %s on", at, low)
		}
	})
}

// A slot is held while an earlier run of its combination is under way, goes as soon as that ends, and is skipped where its window
// closes first. Others do not wait.
func TestOverlap(t *testing.T) {
	for _, tc := range []struct {
		name   string
		until  time.Duration // how long after the slot the earlier run is under way
		at     time.Duration // when the job is created
		reason runs.Reason
	}{
		{"has ended", -time.Second, 0, ""},
		{"ends in the window", 3 * time.Second, 3 * time.Second, ""},
		{"ends too late", 6 * time.Second, 0, runs.ReasonOverlap},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHub(t)
				slot := slotAfter(t, time.Now().Add(10*time.Second))
				busy := func(c scenario.Combination, at time.Time) bool {
					return c == shopIn("us") && at.Equal(slot) && time.Now().Before(slot.Add(tc.until))
				}
				s := run(t, h, many(t, 3, "us"), Options{Busy: busy, CursorEvery: time.Second, DispatchLagged: func(_ string, lag time.Duration) {
					if lag != 0 {
						t.Errorf("got a lag of %s, want none: what is held is not late", lag)
					}
				}}, 40*time.Second)
				id := runs.NewID(shopIn("us"), slot)
				reason, given := s.GivenUp(id)
				created := h.jobs[id]
				if given != (tc.reason != "") || reason != tc.reason || given != created.IsZero() {
					t.Fatalf("got it created at %s, given up: %t (%s), want reason %q", created, given, reason, tc.reason)
				}
				if late := created.Sub(slot); !given && (late < tc.at || late > tc.at+nap) {
					t.Errorf("got it created %s after its slot, want %s", late, tc.at)
				}
				for id := range h.plan {
					if _, given := s.GivenUp(id); given && tc.reason == "" || !given && h.jobs[id].IsZero() {
						t.Errorf("slot %s: not ordered, want it so", id)
					}
				}
				if behind := time.Since(h.at("us")); behind > 3*time.Second {
					t.Errorf("got a cursor %s behind, want it to have moved on", behind)
				}
			})
		})
	}
}

// While a slot is held the cursor stays before it: should the coordinator die, the next one finds it again.
func TestTheCursorDoesNotPassAHeldSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		slot := slotAfter(t, time.Now().Add(10*time.Second))
		busy := func(_ scenario.Combination, at time.Time) bool { return at.Equal(slot) }
		run(t, h, plan(t, "us"), Options{Busy: busy, CursorEvery: time.Second}, time.Until(slot)+4*time.Second)
		if at := h.at("us"); !at.Before(slot) {
			t.Errorf("got a cursor at %s, want it before the held slot at %s", at, slot)
		}
		s := run(t, h, plan(t, "us"), Options{}, time.Second/2)
		if id := runs.NewID(shopIn("us"), slot); h.jobs[id].IsZero() || unasked(s, id) {
			t.Errorf("slot %s: not ordered by the next coordinator, want it so", id)
		}
	})
}

// What was given up is kept by stretches, and forgotten when the minutes are closed.
func TestGivenUpTakesLittleRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		h.set(true)
		began := time.Now()
		s := New(slog.New(slog.DiscardHandler), plan(t, "us", "eu"), h, h, h, Options{})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if got := len(s.given.spans[shopIn("us")]); got != 1 {
			t.Errorf("got %d stretches, want one for two hours without a bus", got)
		}
		complete(t, h, plan(t, "us", "eu"), began, time.Now(), func(id runs.ID) bool { return unasked(s, id) })
		closed := time.Now().Add(-time.Minute)
		s.given.forget(time.Now(), map[string]time.Time{"us": time.Now().Add(2 * givenClosed), "eu": closed})
		if us, eu := len(s.given.spans[shopIn("us")]), len(s.given.spans[shopIn("eu")]); us != 0 || eu != 1 {
			t.Errorf("got %d and %d stretches, want none where all is closed, one where the newest minute is open", us, eu)
		}
		s.given.forget(time.Now().Add(givenFor+time.Minute), nil)
		if got := len(s.given.spans); got != 0 {
			t.Errorf("got stretches of %d combinations, want none after %s", got, givenFor)
		}
		if _, ok := s.GivenUp("nonsense"); ok {
			t.Error("got nonsense given up")
		}
	})
}

// One line a while says what could not be dispatched, not one for each slot.
func TestFailuresAreLoggedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		h := newHub(t)
		h.set(true)
		s := New(slog.New(slog.NewTextHandler(&log, nil)), many(t, 100, "us"), h, h, h, Options{})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		lines := strings.Count(log.String(), "slots not dispatched")
		if lines < 2 || lines > 6 || !strings.Contains(log.String(), "hub down") {
			t.Errorf("got %d lines, want one for each 5 s with the cause, in\n%s", lines, log.String())
		}
	})
}

// logBuffer is written by several goroutines.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// An order is the assignment that its scenario makes.
func TestOrderIsTheScenariosAssignment(t *testing.T) {
	p := large(t)
	p.Scenarios = append(p.Scenarios[:3], mixed(t, "*/5 * * * *", "region-1").Scenarios[1])
	for _, program := range programs(slog.New(slog.DiscardHandler), p) {
		c, network := program.combinations[0], program.networks[0]
		e := entry{program: &program, combination: c, network: network}
		e.advance(time.Time{}, program.timetable.Next(c, time.Now()))
		o := order{entry: e, startBy: e.slot.Add(program.window)}
		got := fmt.Sprintf("%+v", o.assignment())
		if want := fmt.Sprintf("%+v", runs.NewAssignment(program.template.Scenario, c.Region, *network, e.slot)); got != want {
			t.Fatalf("got\n%s, want\n%s", got, want)
		}
	}
}

// What is due asks for places: by how long runs take, or half their timeout where that is not known.
func TestDemand(t *testing.T) {
	p := mixed(t, "@every 20s", "us", "eu") // 8 s of timeout each: 10 s apart without, 20 s apart with a browser
	h := newHub(t)
	s := New(slog.New(slog.DiscardHandler), p, h, h, h, Options{})
	got := s.Demand(func(c scenario.Combination) (time.Duration, bool) { return 2 * time.Second, c == shopIn("us") })
	want := map[string]float64{"us": 2.0/10 + (5+4)/20.0, "eu": 4.0/10 + (5+4)/20.0}
	if len(got) != 2 || math.Abs(got["us"]-want["us"]) > 1e-9 || math.Abs(got["eu"]-want["eu"]) > 1e-9 {
		t.Errorf("got %v, want %v", got, want)
	}
}

// locked is a book that asks the scheduler while it holds its lock, as a ledger that closes minutes does.
type locked struct {
	*hub
	mu        sync.Mutex
	scheduler *Scheduler
}

func (l *locked) ClosedUntil(string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Time{}
}

func (l *locked) closeMinutes() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.scheduler.GivenUp(runs.NewID(shopIn("us"), time.Now()))
}

// The book may ask for a reason while it holds its lock; the scheduler never asks it anything while it holds its own.
func TestTheBookMayAskUnderItsLock(t *testing.T) {
	book := &locked{hub: newHub(t)}
	book.scheduler = New(slog.New(slog.DiscardHandler), plan(t, "us"), book, book, book, Options{CursorEvery: 10 * time.Microsecond})
	book.scheduler.given.spans[shopIn("us")] = []givenSpan{{until: time.Now().Add(time.Hour), reason: runs.ReasonOverlap}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- book.scheduler.Run(ctx) }()
	for range 5_000 {
		book.closeMinutes()
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("the scheduler hangs")
	}
}

// stuckCursors is a cursor store that answers the first question only.
type stuckCursors struct{ *hub }

func (s stuckCursors) AdvanceCursor(ctx context.Context, _ string, _ time.Time, _ uint64) (uint64, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

// Slots do not wait for cursors.
func TestStuckCursorsDelayNoSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		s := New(slog.New(slog.DiscardHandler), many(t, 20, "us", "eu"), h, stuckCursors{h}, h, Options{CursorEvery: time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if len(h.jobs) != 20*2*6 {
			t.Errorf("got %d jobs, want 6 of each of 40 combinations", len(h.jobs))
		}
		for id, at := range h.jobs {
			if _, slot, _ := id.Parse(); !at.Equal(slot) {
				t.Errorf("job %s: created at %s, want at its slot", id, at)
			}
		}
	})
}
