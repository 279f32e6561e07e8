package schedule

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// hub is a dispatcher, cursor store and book in memory. It fails the test when a job is created before its slot is in the book.
type hub struct {
	t      *testing.T
	mu     sync.Mutex
	jobs   map[runs.ID]time.Time // created at
	plan   map[runs.ID]bool
	cursor map[string]time.Time
	closed time.Time
	down   bool
}

func newHub(t *testing.T) *hub {
	return &hub{t: t, jobs: map[runs.ID]time.Time{}, plan: map[runs.ID]bool{}, cursor: map[string]time.Time{}}
}

func (h *hub) Dispatch(_ context.Context, a runs.Assignment) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.plan[a.RunID] {
		h.t.Errorf("job %s created before its slot was entered", a.RunID)
	}
	if h.down {
		return false, errors.New("hub down")
	}
	if _, ok := h.jobs[a.RunID]; ok {
		return false, nil
	}
	h.jobs[a.RunID] = time.Now()
	return true, nil
}

func (h *hub) Cursor(_ context.Context, region string) (time.Time, uint64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cursor[region], 0, nil
}

func (h *hub) AdvanceCursor(_ context.Context, region string, to time.Time, _ uint64) (uint64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down {
		return 0, errors.New("hub down")
	}
	h.cursor[region] = to
	return 0, nil
}

func (h *hub) Plan(c scenario.Combination, slot, _ time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.plan[runs.NewID(c, slot)] = true
}

func (h *hub) ClosedUntil(string) time.Time { return h.closed }

func (h *hub) First(c scenario.Combination) (first time.Time, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id := range h.plan {
		if got, slot, _ := id.Parse(); got == c && (!ok || slot.Before(first)) {
			first, ok = slot, true
		}
	}
	return first, ok
}

func (h *hub) set(down bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down = down
}

func scenarios(t *testing.T, regions ...string) []scenario.Scenario {
	t.Helper()
	schedule, err := scenario.ParseSchedule("@every 10s")
	if err != nil {
		t.Fatal(err)
	}
	return []scenario.Scenario{{
		Name: "shop", Schedule: schedule, Timeout: scenario.Duration(8 * time.Second), Regions: regions,
		Steps: []scenario.Step{{Type: scenario.StepHTTP, URL: "http://shop/"}},
	}}
}

// plan is that of scenarios.
func plan(t *testing.T, regions ...string) Plan {
	return Plan{Scenarios: scenarios(t, regions...), Networks: netprofile.Presets()}
}

// runFor runs a scheduler on the hub for a while.
func runFor(t *testing.T, h *hub, d time.Duration, regions ...string) *Scheduler {
	t.Helper()
	s := New(slog.New(slog.DiscardHandler), plan(t, regions...), h, h, h, Options{})
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEverySlotIsDispatchedOnceAndOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		runFor(t, h, time.Minute, "us", "eu")
		if len(h.jobs) != 12 {
			t.Errorf("got %d jobs in a minute, want 6 in each of two regions", len(h.jobs))
		}
		for id, at := range h.jobs {
			if _, slot, _ := id.Parse(); !at.Equal(slot) {
				t.Errorf("job %s: created at %s, want at its slot", id, at)
			}
		}
	})
}

func TestRestartFindsEverySlotAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		began := time.Now()
		h.closed = began
		runFor(t, h, 30*time.Second, "us")
		before := len(h.jobs)
		time.Sleep(time.Minute) // the coordinator is down
		s := runFor(t, h, 30*time.Second, "us")
		var given, ordered int
		for id := range h.plan {
			if _, slot, _ := id.Parse(); slot.Before(began) {
				continue // the cursor says that an earlier coordinator dispatched it
			}
			if _, ok := h.jobs[id]; ok {
				ordered++
			} else if unasked(s, id) {
				given++
			} else {
				t.Errorf("slot %s: neither dispatched nor given up", id)
			}
		}
		if ordered+given != 12 || ordered <= before || given < 5 {
			t.Errorf("got %d dispatched (%d before), %d given up; want 12 in two minutes, some again, at least 5 given up", ordered, before, given)
		}
	})
}

func TestHubDownGivesUpAtTheEndOfTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		h.set(true)
		s := runFor(t, h, 40*time.Second, "us")
		gone := 0
		for id := range h.plan {
			if unasked(s, id) {
				gone++
			}
		}
		if gone < 3 || s.Failures() == 0 || len(h.jobs) != 0 {
			t.Errorf("got %d given up, %d failures, %d jobs; want at least 3 given up and no job", gone, s.Failures(), len(h.jobs))
		}
	})
}

func TestHubComingBackWithinTheWindowLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		h.set(true)
		go func() {
			for { // back 3 s after the first slot was due
				time.Sleep(3 * time.Second)
				h.mu.Lock()
				seen := len(h.plan) > 0
				h.mu.Unlock()
				if seen {
					h.set(false)
					return
				}
			}
		}()
		s := runFor(t, h, 30*time.Second, "us")
		for id := range h.plan {
			if _, ok := h.jobs[id]; !ok || unasked(s, id) {
				t.Errorf("slot %s: not dispatched, want it dispatched late", id)
			}
		}
	})
}

// An assignment carries the whole link, so that a probe needs no file of the user's own networks. A network that is not in the plan
// is no reason to stop the others.
func TestAssignmentsCarryTheirNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		own := netprofile.Profile{Name: "subway", Down: 700 * netprofile.KbitPerSecond, RTT: 400 * time.Millisecond, Burst: &netprofile.Burst{LossBad: 0.5}}
		p := plan(t, "us")
		p.Networks = append(p.Networks, own)
		p.Scenarios[0].Networks = []string{"unheard-of", "subway", "3g"}
		var mu sync.Mutex
		got := map[string]netprofile.Profile{}
		dispatch := dispatchFunc(func(_ context.Context, a runs.Assignment) (bool, error) {
			mu.Lock()
			defer mu.Unlock()
			got[a.Network.Name] = a.Network
			return true, nil
		})
		h := newHub(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := New(slog.New(slog.DiscardHandler), p, dispatch, h, h, Options{}).Run(ctx); err != nil {
			t.Fatal(err)
		}
		preset, _ := netprofile.Lookup("3g")
		if len(got) != 2 || got["3g"] != preset || got["subway"] != own {
			t.Errorf("got runs over %+v, want subway and 3g with all their numbers", got)
		}
	})
}

func TestForecasts(t *testing.T) {
	from := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	got := Forecasts(scenarios(t, "us", "eu"), from, 10*time.Minute, 5)
	if len(got) != 2 || got[0].Region != "eu" || got[0].RunsPerMinute != 6 || got[0].BrowserRuns != 0 || len(got[0].Next) != 5 {
		t.Fatalf("got %+v, want two regions, 6 runs a minute, 5 next slots", got)
	}
	if want := 0.8; got[0].WorstCaseSlots < want-1e-9 || got[0].WorstCaseSlots > want+1e-9 {
		t.Errorf("worst case: got %v, want %v runs at once (6 a minute of 8 s)", got[0].WorstCaseSlots, want)
	}
	if !slices.IsSortedFunc(got[0].Next, func(a, b Upcoming) int { return a.Slot.Compare(b.Slot) }) {
		t.Errorf("got %v, want slots in order", got[0].Next)
	}
}

// unasked reports whether a slot was given up without a job.
func unasked(s *Scheduler, id runs.ID) bool {
	_, ok := s.GivenUp(id)
	return ok
}
