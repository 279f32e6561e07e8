package schedule

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// between says yes to slots of a region from a time on and before another.
func between(region string, from, to time.Time) func(scenario.Combination, time.Time) bool {
	m := runs.Maintenance{Region: region, From: from, To: to}
	return m.Covers
}

// tend runs a scheduler for a while.
func tend(t *testing.T, h *hub, d time.Duration, o Options, regions ...string) *Scheduler {
	t.Helper()
	s := New(slog.New(slog.DiscardHandler), plan(t, regions...), h, h, h, o)
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

// accounted holds every slot of the region since a time against what was ordered, and what the scheduler says of it.
func accounted(t *testing.T, h *hub, s *Scheduler, since time.Time, covered func(scenario.Combination, time.Time) bool) (ordered, left int) {
	t.Helper()
	for id := range h.plan {
		c, slot, err := id.Parse()
		if err != nil {
			t.Fatal(err)
		}
		if slot.Before(since) {
			continue
		}
		_, job := h.jobs[id]
		reason, given := s.GivenUp(id)
		switch {
		case covered(c, slot) && (job || !given || reason != runs.ReasonMaintenance):
			t.Errorf("%s under maintenance: got job %t, given up %t for %q; want no job, and the reason", id, job, given, reason)
		case !covered(c, slot) && (!job || given):
			t.Errorf("%s: got job %t, given up %t for %q; want a job", id, job, given, reason)
		}
		if job {
			ordered++
		} else {
			left++
		}
	}
	return ordered, left
}

// A slot under maintenance is in the book and never ordered; those before, after and elsewhere are.
func TestMaintenanceIsNotOrdered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		began := time.Now()
		covered := between("us", began.Add(time.Minute), began.Add(3*time.Minute))
		s := tend(t, h, 5*time.Minute, Options{Maintenance: covered}, "us", "eu")
		if ordered, left := accounted(t, h, s, began, covered); ordered != 48 || left != 12 {
			t.Errorf("got %d runs ordered and %d left out in 5 minutes, want 48 and 12", ordered, left)
		}
		if cursor := h.cursor["us"]; cursor.Before(began.Add(4 * time.Minute)) {
			t.Errorf("got the cursor at %s after 5 minutes, want it past the maintenance", cursor.Sub(began))
		}
	})
}

// One who takes over while there is maintenance, or after it, says the same of each slot that is not settled: also of those that it enters too late to
// order them, and of those that it cannot tell from ordered ones.
func TestMaintenanceOutlivesItsScheduler(t *testing.T) {
	for name, away := range map[string]time.Duration{"at once": 0, "after a while": 90 * time.Second, "when it is over": 5 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHub(t)
				began := time.Now()
				h.closed = began
				covered := between("us", began.Add(time.Minute), began.Add(3*time.Minute))
				tend(t, h, 95*time.Second, Options{Maintenance: covered}, "us")
				time.Sleep(away)
				h.plan = map[runs.ID]bool{runs.NewID(scenario.Combination{Scenario: "shop", Region: "us", Network: "none"}, began.Add(-time.Hour)): true}
				h.closed = began.Add(30 * time.Second)
				s := tend(t, h, 10*time.Second, Options{Maintenance: covered}, "us")
				seen := 0
				for id := range h.plan {
					c, slot, err := id.Parse()
					if err != nil {
						t.Fatal(err)
					}
					reason, given := s.GivenUp(id)
					_, job := h.jobs[id]
					switch {
					case covered(c, slot):
						if seen++; !given || reason != runs.ReasonMaintenance || job {
							t.Errorf("%s under maintenance: got given up %t for %q, job %t", id, given, reason, job)
						}
					case given && reason != runs.ReasonCoordinatorDown:
						t.Errorf("%s: got given up for %q, want maintenance for slots under it only", id, reason)
					}
				}
				if want := min(int((45*time.Second+away)/(10*time.Second)), 12); seen < want {
					t.Errorf("got %d slots under maintenance, want at least %d", seen, want)
				}
			})
		})
	}
}

// Maintenance that is announced while orders wait, for an earlier run or for a bus that is away, takes those that are still to come out.
func TestMaintenanceOfWhatWaits(t *testing.T) {
	t.Run("held", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newHub(t)
			began := time.Now()
			var announced atomic.Bool
			s := tend(t, h, 12*time.Second, Options{
				Busy: func(scenario.Combination, time.Time) bool {
					time.AfterFunc(2*time.Second, func() { announced.Store(true) })
					return true
				},
				Maintenance: func(scenario.Combination, time.Time) bool { return announced.Load() },
			}, "us")
			if ordered, left := accounted(t, h, s, began, func(scenario.Combination, time.Time) bool { return true }); ordered != 0 || left == 0 {
				t.Errorf("got %d ordered, %d left out, want all left out", ordered, left)
			}
		})
	})
	t.Run("no bus", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newHub(t)
			began := time.Now()
			var announced atomic.Bool
			var tried atomic.Int64
			refuse := func(context.Context, runs.Assignment) {
				tried.Add(1)
				announced.Store(true)
			}
			o := Options{Maintenance: func(scenario.Combination, time.Time) bool { return announced.Load() }}
			s := New(slog.New(slog.DiscardHandler), plan(t, "us"), away{h, refuse}, h, h, o)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if err := s.Run(ctx); err != nil {
				t.Fatal(err)
			}
			if ordered, left := accounted(t, h, s, began, func(scenario.Combination, time.Time) bool { return true }); ordered != 0 || left != 3 || tried.Load() != 1 {
				t.Errorf("got %d ordered, %d left out, %d attempts, want all 3 left out after one", ordered, left, tried.Load())
			}
		})
	})
	t.Run("behind an order that gets no answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newHub(t)
			p := plan(t, "us")
			rare := p.Scenarios[0]
			rare.Name = "rare"
			rare.Schedule, _ = scenario.ParseSchedule("@every 10m")
			p.Scenarios = append(p.Scenarios, rare)
			var began, announced atomic.Int64
			hang := func(ctx context.Context, a runs.Assignment) {
				if a.Scenario.Name == "rare" && began.CompareAndSwap(0, time.Now().UnixNano()) {
					next := p.Scenarios[0].Timetable().Next(scenario.Combination{Scenario: "shop", Region: "us", Network: "none"}, time.Now())
					time.AfterFunc(time.Until(next)+2*time.Second, func() { announced.Store(time.Now().UnixNano()) })
				}
				<-ctx.Done()
			}
			o := Options{InFlight: 1, Maintenance: func(scenario.Combination, time.Time) bool { return announced.Load() != 0 }}
			s := New(slog.New(slog.DiscardHandler), p, away{h, hang}, h, h, o)
			ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute)
			defer cancel()
			if err := s.Run(ctx); err != nil {
				t.Fatal(err)
			}
			waited := 0
			for id := range h.plan {
				c, slot, _ := id.Parse()
				if closes := slot.Add(p.Scenarios[0].StartWindow()); c.Scenario == "rare" || slot.UnixNano() < began.Load() || closes.UnixNano() < announced.Load() {
					continue
				}
				if slot.UnixNano() < announced.Load() {
					waited++
				}
				if reason, _ := s.GivenUp(id); reason != runs.ReasonMaintenance {
					t.Errorf("%s, open when it was announced: got %q, want maintenance", id, reason)
				}
			}
			if waited == 0 {
				t.Error("got no slot that waited when the maintenance was announced")
			}
		})
	})
}

// away is a bus that takes nothing.
type away struct {
	*hub
	meanwhile func(context.Context, runs.Assignment)
}

func (a away) Dispatch(ctx context.Context, order runs.Assignment) (bool, error) {
	a.meanwhile(ctx, order)
	return false, errors.New("no bus")
}
