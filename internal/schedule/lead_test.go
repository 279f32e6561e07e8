package schedule

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// mixed is a plan of the http scenario, and of one with a browser whose schedule is given.
func mixed(t *testing.T, every string, regions ...string) Plan {
	t.Helper()
	p := plan(t, regions...)
	page := p.Scenarios[0]
	schedule, err := scenario.ParseSchedule(every)
	if err != nil {
		t.Fatal(err)
	}
	page.Name, page.Schedule, page.Steps = "page", schedule, []scenario.Step{{Type: scenario.StepNavigate, URL: "http://shop/"}}
	p.Scenarios = append(p.Scenarios, page)
	return p
}

// run runs a scheduler of a plan for a while.
func run(t *testing.T, h *hub, p Plan, opts Options, d time.Duration) *Scheduler {
	t.Helper()
	s := New(slog.New(slog.DiscardHandler), p, h, h, h, opts)
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

// A browser takes seconds to start: its run is ordered that much earlier, though never more than half its period, and that is not
// a lag.
func TestBrowserRunsAreOrderedAhead(t *testing.T) {
	for every, lead := range map[string]time.Duration{"@every 20s": 5 * time.Second, "@every 4s": 2 * time.Second, "@every 1s": 500 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			h := newHub(t)
			began := time.Now()
			lag := func(_ string, lag time.Duration) {
				if lag != 0 && !time.Now().Equal(began) {
					t.Errorf("%s: got a lag of %s, want none", every, lag)
				}
			}
			run(t, h, mixed(t, every, "us"), Options{DispatchLagged: lag, InFlight: 1}, time.Minute)
			pages := 0
			for id, at := range h.jobs {
				c, slot, _ := id.Parse()
				want := map[string]time.Duration{"page": lead, "shop": 0}[c.Scenario]
				if slot.Sub(at) != want && !at.Equal(began) {
					t.Errorf("%s: job %s: got created %s before its slot, want %s", every, id, slot.Sub(at), want)
				}
				if c.Scenario == "page" {
					pages++
				}
			}
			if pages < 3 {
				t.Errorf("%s: got %d browser jobs in a minute, want them all", every, pages)
			}
		})
	}
}

// Leads differ, so slots are not entered in their order. Still all before Entered are in the book, and nothing before the cursor was
// left out.
func TestEnteredWithLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		h.set(true)
		p := mixed(t, "@every 7s", "us", "eu", "apac", "latam")
		s := New(slog.New(slog.DiscardHandler), p, h, h, h, Options{InFlight: 2, CursorEvery: time.Second})
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		for i := range 119 {
			if i == 40 {
				h.set(false)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			entered := s.Entered(time.Now())
			if entered.After(time.Now()) {
				t.Errorf("got entered until %s, want no later than now", entered)
			}
			complete(t, h, p, began, entered, func(id runs.ID) bool { return h.plan[id] })
			for _, region := range p.Scenarios[0].Regions {
				complete(t, h, plan(t, region), began, h.at(region), func(id runs.ID) bool { return !h.jobs[id].IsZero() || unasked(s, id) })
			}
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if behind := time.Since(h.at("us")); behind > 3*time.Second {
			t.Errorf("got a cursor %s behind, want it to follow", behind)
		}
	})
}

// at returns a region's cursor.
func (h *hub) at(region string) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cursor[region]
}

// complete checks each slot of a plan between two times.
func complete(t *testing.T, h *hub, p Plan, from, to time.Time, ok func(runs.ID) bool) {
	t.Helper()
	for i := range p.Scenarios {
		for _, c := range p.Scenarios[i].Combinations() {
			for at := p.Scenarios[i].Schedule.Next(c, from); at.Before(to); at = p.Scenarios[i].Schedule.Next(c, at) {
				h.mu.Lock()
				if id := runs.NewID(c, at); !ok(id) {
					t.Errorf("at %s: slot %s is not there, want all before %s", time.Now(), id, to)
				}
				h.mu.Unlock()
			}
		}
	}
}

// A coordinator that dies after it ordered a run and before the run is due has asked for it once: the next one finds the slot again,
// asks nobody twice, and loses none.
func TestRestartBetweenOrderAndSlot(t *testing.T) {
	for _, absence := range []time.Duration{time.Second, 4 * time.Second, 8 * time.Second, 2 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			h, p := newHub(t), mixed(t, "@every 20s", "us")
			c := scenario.Combination{Scenario: "page", Region: "us", Network: "none"}
			slot := p.Scenarios[1].Schedule.Next(c, time.Now().Add(30*time.Second))
			run(t, h, p, Options{}, time.Until(slot)-3*time.Second)
			id := runs.NewID(c, slot)
			if h.jobs[id].IsZero() {
				t.Fatalf("slot %s not ordered 3 s before it is due, want it 5 s before", id)
			}
			first, ordered := slot.Add(-20*time.Second), h.jobs[id]
			h.plan = map[runs.ID]bool{runs.NewID(c, first): true} // what a new ledger reads back: the run that has ended
			time.Sleep(absence)
			s := run(t, h, p, Options{}, 40*time.Second)
			complete(t, h, Plan{Scenarios: p.Scenarios[1:], Networks: p.Networks}, first, time.Now(), func(id runs.ID) bool {
				return h.plan[id] && (!h.jobs[id].IsZero() || unasked(s, id))
			})
			if !h.jobs[id].Equal(ordered) || absence < 7*time.Second && unasked(s, id) {
				t.Errorf("away for %s: slot %s ordered at %s and given up: %t, want it ordered once, at %s", absence, id, h.jobs[id], unasked(s, id), ordered)
			}
		})
	}
}
