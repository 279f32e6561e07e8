package coordination

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"lastmile/internal/cli/clitest"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/schedule"
	"lastmile/internal/steady"
)

// A combination is busy while a probe names an earlier run of it, and the books have no end of that.
func TestBusy(t *testing.T) {
	u := New(slog.New(slog.DiscardHandler), tenSeconds(t), emptyHub(t), Options{})
	now := u.clock.Now()
	slot := u.set.Scenarios[0].Schedule.Next(apiInUS, now.Add(-20*time.Second))
	next := slot.Add(10 * time.Second)
	id := runs.NewID(apiInUS, slot)
	u.ledger.Plan(apiInUS, slot, slot.Add(10*time.Second))
	busy := func(what string, want bool) {
		t.Helper()
		if got := u.busy(apiInUS, next); got != want {
			t.Errorf("%s: got the next slot busy: %t, want %t", what, got, want)
		}
	}
	busy("nothing heard", false)
	u.fleet.Heard(&runs.Heartbeat{Region: "us", Probe: "a", Slots: 1, Running: []runs.ID{id}}, now)
	busy("under way", true)
	u.deaf.Store(true)
	busy("nothing is heard of its end, should it have one", false)
	u.deaf.Store(false)
	if u.busy(apiInUS, slot) {
		t.Error("got a slot busy with its own run, want earlier ones only")
	}
	u.ledger.Result(&runs.Result{
		RunID: id, Scenario: "api", Region: "us", Network: "none", Slot: slot, Trigger: runs.TriggerSchedule, State: runs.StatePassed,
	}, false)
	busy("ended since the last heartbeat", false)
}

// The reason of a slot is that of the fleet for the scenario's pool, unless it was given up.
func TestReason(t *testing.T) {
	u := New(slog.New(slog.DiscardHandler), tenSeconds(t), emptyHub(t), Options{})
	now := u.clock.Now()
	id := func(n int) runs.ID { return runs.NewID(apiInUS, now.Add(time.Duration(n)*10*time.Second)) }
	u.fleet.Heard(&runs.Heartbeat{Region: "us", Probe: "a", Pools: []string{"browser"}}, now)
	ask := func(n int) runs.Reason { return u.Reason(id(n), "us", now, now.Add(10*time.Second)) }
	if got := ask(0); got != runs.ReasonNoProbe {
		t.Errorf("no probe of the pool: got %s, want no_probe", got)
	}
	u.fleet.Heard(&runs.Heartbeat{Region: "us", Probe: "b", Pools: []string{"http"}, Running: []runs.ID{id(1)}}, now)
	if got := ask(0); got != runs.ReasonExpired {
		t.Errorf("a probe was there: got %s, want expired", got)
	}
	if got := ask(1); got != runs.ReasonLost {
		t.Errorf("a probe had it: got %s, want lost", got)
	}
}

// A slot that was held since the run before it was under way is skipped where the probe goes on saying so, and not where that was its last word.
func TestReasonOfASlotThatWasHeld(t *testing.T) {
	for name, test := range map[string]struct {
		silent bool
		want   runs.Reason
	}{"heard on": {false, runs.ReasonOverlap}, "fell silent": {true, runs.ReasonCutOff}} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			var passed atomic.Int64
			now := func() time.Duration { return time.Since(began) + time.Duration(passed.Load()) }
			clock := steady.New(steady.Options{Wall: func() time.Time { return began.Add(now()) }, Boot: now})
			hub := emptyHub(t)
			u := New(slog.New(slog.DiscardHandler), tenSeconds(t), hub, Options{Clock: clock})
			u.fleet.Listening(clock.Now())
			l := &leadership{term: 1}
			l.scheduler.Store(schedule.New(u.log, schedule.Plan{Scenarios: u.set.Scenarios, Networks: u.set.Fleet.Networks}, hub, hub, u.ledger, schedule.Options{
				Now: clock.Now, Busy: func(scenario.Combination, time.Time) bool { return true },
			}))
			u.leading.Store(l)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- u.scheduler().Run(ctx) }()
			clitest.Eventually(t, "a scheduler that has looked at the plan", func() bool { return !u.scheduler().Entered(clock.Now()).IsZero() })
			slot := u.set.Scenarios[0].Schedule.Next(apiInUS, clock.Now())
			pass := func(to time.Time) {
				for clock.Now().Before(to) {
					passed.Add(int64(min(to.Sub(clock.Now()), 5*time.Second)))
					u.fleet.Listening(clock.Now()) // as it does each second
				}
			}
			beat := func() {
				u.fleet.Heard(&runs.Heartbeat{Region: "us", Probe: "a", Pools: []string{"http"}, Running: []runs.ID{runs.NewID(apiInUS, slot.Add(-10*time.Second))}}, clock.Now())
			}
			beat() // before the slot is due
			pass(slot)
			clitest.Eventually(t, "the slot in the books", func() bool {
				u.ledger.Accounts(clock.Now())
				return slices.ContainsFunc(u.ledger.Slots(apiInUS, slot), func(r runs.SlotRecord) bool { return r.Slot.Equal(slot) })
			})
			if pass(slot.Add(4 * time.Second)); !test.silent {
				beat()
			}
			pass(slot.Add(6 * time.Second)) // its window has closed
			id := runs.NewID(apiInUS, slot)
			clitest.Eventually(t, "the slot given up", func() bool {
				_, ok := u.givenUp(id)
				return ok
			})
			pass(slot.Add(46 * time.Second))
			if got := u.Reason(id, "us", slot, slot.Add(10*time.Second)); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// A coordinator that was stopped for 20 s has heard no heartbeat in that time, which says nothing of the probes. When it listens again, it does.
func TestReasonOfATimeInWhichItWasStopped(t *testing.T) {
	t.Parallel()
	began := time.Now()
	var stopped atomic.Int64
	now := func() time.Duration { return time.Since(began) + time.Duration(stopped.Load()) }
	clock := steady.New(steady.Options{Wall: func() time.Time { return began.Add(now()) }, Boot: now})
	hub := emptyHub(t)
	u := New(slog.New(slog.DiscardHandler), tenSeconds(t), hub, Options{Clock: clock})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx, ctx) }()
	clitest.Eventually(t, "a heartbeat heard", func() bool {
		_, _ = hub.Heartbeat(ctx, runs.Heartbeat{Schema: runs.Schema, Region: "us", Probe: "a", Pools: []string{"http"}}) // nobody may answer yet
		return len(u.fleet.Probes(clock.Now())) == 1
	})
	u.fleet.Listening(clock.Now()) // as it does each second
	reason := func(from, to time.Time) runs.Reason {
		other := apiInUS
		other.Scenario = "other" // of which the scheduler knows nothing
		return u.Reason(runs.NewID(other, from), "us", from, to)
	}
	asleep := clock.Now()
	stopped.Store(int64(20 * time.Second))
	if got := reason(asleep.Add(6*time.Second), asleep.Add(11*time.Second)); got != runs.ReasonCoordinatorDown {
		t.Errorf("stopped meanwhile: got %s, want coordinator_down", got)
	}
	clitest.Eventually(t, "a probe that is still silent cut off", func() bool {
		awake := clock.Now()
		return reason(awake.Truncate(time.Second), awake) == runs.ReasonCutOff
	})
	if got := reason(asleep.Add(6*time.Second), asleep.Add(11*time.Second)); got != runs.ReasonCoordinatorDown {
		t.Errorf("stopped meanwhile, asked later: got %s, want coordinator_down", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
