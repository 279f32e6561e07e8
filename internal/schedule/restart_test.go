package schedule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// shopIn is the combination of the test scenario in a region.
func shopIn(region string) scenario.Combination {
	return scenario.Combination{Scenario: "shop", Region: region, Network: "none"}
}

// known enters a slot as if an earlier ledger had had it.
func (h *hub) known(slot time.Time) { h.plan[runs.NewID(shopIn("us"), slot)] = true }

// slotAfter is the test scenario's first slot after a time.
func slotAfter(t *testing.T, at time.Time) time.Time {
	t.Helper()
	return scenarios(t, "us")[0].Schedule.Next(shopIn("us"), at)
}

// A deadline on the very end of the last closed minute is not in that minute: its slot is still open.
func TestDeadlineAtTheEndOfTheClosedMinuteIsEntered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		slot := slotAfter(t, time.Now().Add(-time.Minute))
		h.known(slot.Add(-10 * time.Minute))
		h.closed = slot.Add(13 * time.Second) // the window of 5 s and the timeout of 8 s
		runFor(t, h, time.Second, "us")
		if !h.plan[runs.NewID(shopIn("us"), slot)] {
			t.Errorf("slot with its deadline at %s: not entered, want it entered: minutes before that are closed", h.closed)
		}
	})
}

// Slots before the first one that was ever known were nobody's, and must not show up as missing.
func TestNoSlotIsInventedBeforeTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		first := slotAfter(t, time.Now().Add(-15*time.Second))
		h.known(first)
		h.closed = time.Now().Add(-5 * time.Minute) // other scenarios were closed till then
		runFor(t, h, time.Second, "us")
		for id := range h.plan {
			if _, slot, _ := id.Parse(); slot.Before(first) {
				t.Errorf("got slot %s entered, want none before the first one known, at %s", id, first)
			}
		}
	})
}

// A crash before the first verdict leaves no closed minute; the slots since the first known one are still in the books.
func TestRestartBeforeTheFirstVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		first := slotAfter(t, time.Now().Add(-time.Minute))
		h.known(first)
		runFor(t, h, time.Second, "us")
		for slot := first; slot.Before(time.Now()); slot = slot.Add(10 * time.Second) {
			if !h.plan[runs.NewID(shopIn("us"), slot)] {
				t.Errorf("slot at %s: not entered, want all since %s", slot, first)
			}
		}
	})
}

// A coordinator whose clock was ahead closed minutes that are still to come. What is due now is entered and ordered all the same.
func TestMinutesClosedInTheFutureStopNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		h.known(slotAfter(t, time.Now().Add(-time.Hour)))
		h.closed = time.Now().Add(time.Hour)
		runFor(t, h, time.Minute, "us")
		if len(h.jobs) < 5 {
			t.Errorf("got %d jobs in a minute, want one every 10 s", len(h.jobs))
		}
	})
}

// What was being ordered when we were told to stop was not ordered: the cursor must not say so.
func TestCursorDoesNotPassWhatAShutdownCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		failing := dispatchFunc(func(context.Context, runs.Assignment) (bool, error) { return false, errors.New("hub down") })
		s := New(slog.New(slog.DiscardHandler), plan(t, "us"), failing, h, h, Options{CursorEvery: time.Second})
		slot := slotAfter(t, time.Now())
		ctx, cancel := context.WithDeadline(t.Context(), slot.Add(4*time.Second)) // within its window of 5 s
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if got := h.cursor["us"]; got.IsZero() || !got.Before(slot) {
			t.Errorf("got cursor %s, want one before the slot at %s that was not ordered", got, slot)
		}
	})
}

// A dispatch under way when we are told to stop is let finish: its slot was as good as ordered.
func TestShutdownLetsDispatchesFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		slow := dispatchFunc(func(ctx context.Context, a runs.Assignment) (bool, error) {
			select {
			case <-time.After(time.Second):
				return h.Dispatch(ctx, a)
			case <-ctx.Done():
				return false, ctx.Err()
			}
		})
		s := New(slog.New(slog.DiscardHandler), plan(t, "us"), slow, h, h, Options{})
		slot := slotAfter(t, time.Now())
		ctx, cancel := context.WithDeadline(t.Context(), slot.Add(500*time.Millisecond))
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if id := runs.NewID(shopIn("us"), slot); h.jobs[id].IsZero() || unasked(s, id) {
			t.Errorf("slot %s: not ordered, want its dispatch finished", id)
		}
	})
}

// Where dispatches are held up, later slots are not even entered yet: neither the cursor nor Entered may be past them.
func TestBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		stuck := dispatchFunc(func(ctx context.Context, _ runs.Assignment) (bool, error) {
			<-ctx.Done()
			return false, ctx.Err()
		})
		regions := []string{"us", "eu", "apac", "latam", "me", "uk"}
		s := New(slog.New(slog.DiscardHandler), plan(t, regions...), stuck, h, h, Options{InFlight: 1, CursorEvery: time.Second})
		if got := s.Entered(time.Now()); !got.IsZero() {
			t.Errorf("before the start: got entered until %s, want zero", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
		defer cancel()
		done := make(chan error, 1)
		began := time.Now()
		go func() { done <- s.Run(ctx) }()
		for range 39 {
			time.Sleep(time.Second)
			synctest.Wait()
			entered := s.Entered(time.Now())
			for _, region := range regions {
				for slot := range dueSlots(t, region, began, entered) {
					if h.mu.Lock(); !h.plan[runs.NewID(shopIn(region), slot)] {
						t.Errorf("at %s: entered until %s, but %s at %s is not in the book", time.Now(), entered, region, slot)
					}
					h.mu.Unlock()
				}
			}
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		for id := range h.plan {
			if !unasked(s, id) {
				t.Errorf("slot %s: not ordered and not given up", id)
			}
		}
	})
}

// dueSlots are the test scenario's slots in a region after from and before to.
func dueSlots(t *testing.T, region string, from, to time.Time) func(func(time.Time) bool) {
	t.Helper()
	schedule := scenarios(t, region)[0].Schedule
	return func(yield func(time.Time) bool) {
		for slot := schedule.Next(shopIn(region), from); slot.Before(to); slot = schedule.Next(shopIn(region), slot) {
			if !yield(slot) {
				return
			}
		}
	}
}

// A long absence gives up many slots at once, oldest first; that must not take longer than the next slot can wait.
func TestLongAbsence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		var regions []string
		for i := range 4 {
			region := fmt.Sprintf("r%d", i)
			regions = append(regions, region)
			h.plan[runs.NewID(shopIn(region), scenarios(t, region)[0].Schedule.Next(shopIn(region), time.Now().Add(-30*time.Hour)))] = true
		}
		h.closed = time.Now().Add(-25 * time.Hour)
		s := New(slog.New(slog.DiscardHandler), plan(t, regions...), h, h, h, Options{})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		given := 0
		for id := range h.plan {
			if unasked(s, id) {
				given++
			}
		}
		if want := 4 * 24 * 360; given < want-100 || given > want {
			t.Errorf("got %d slots given up, want those of a day, %d or a few less", given, want)
		}
	})
}

// swaps is a cursor store with revisions; answers to moves can be lost.
type swaps struct {
	at       time.Time
	revision uint64
	lose     bool
}

func (s *swaps) Cursor(context.Context, string) (time.Time, uint64, error) {
	return s.at, s.revision, nil
}

func (s *swaps) AdvanceCursor(_ context.Context, _ string, to time.Time, revision uint64) (uint64, error) {
	if revision != s.revision {
		return 0, errors.New("changed by another coordinator")
	}
	s.at, s.revision = to, s.revision+1
	if s.lose {
		s.lose = false
		return 0, errors.New("no answer")
	}
	return s.revision, nil
}

// A move that was stored, but whose answer was lost, must not end all later ones.
func TestCursorMovesOnAfterALostAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, store := newHub(t), &swaps{lose: true}
		s := New(slog.New(slog.DiscardHandler), plan(t, "us"), h, store, h, Options{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if behind := time.Since(store.at); behind > 15*time.Second {
			t.Errorf("got a cursor %s behind, want it to have moved on", behind)
		}
	})
}

// dispatchFunc is a dispatcher.
type dispatchFunc func(context.Context, runs.Assignment) (bool, error)

func (f dispatchFunc) Dispatch(ctx context.Context, a runs.Assignment) (bool, error) {
	return f(ctx, a)
}
