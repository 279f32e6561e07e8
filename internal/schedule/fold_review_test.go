package schedule

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lastmile/internal/ledger"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// world is what outlives coordinators: jobs, streams and cursors, and probes that take jobs, lose some, and have clocks of their own.
type world struct {
	t      *testing.T
	random *rand.Rand
	plan   Plan
	skew   time.Duration // of the probes' clocks, ahead
	probes sync.WaitGroup

	mu       sync.Mutex
	jobs     map[runs.ID]bool
	begun    map[runs.ID]int
	results  []runs.Result
	verdicts []runs.Verdict
	closed   map[string]bool
	cursor   map[string]time.Time
	lives    []*life
}

// report is a scheduled run's result.
func report(a *runs.Assignment, state runs.State) runs.Result {
	c := a.Combination()
	return runs.Result{
		RunID: a.RunID, Scenario: c.Scenario, Region: c.Region, Network: c.Network, Slot: a.Slot, Trigger: runs.TriggerSchedule, State: state,
	}
}

// take is what becomes of a job: of ten, one is never taken, one ends with its probe, one is invalid.
func (w *world) take(a runs.Assignment) {
	fate := w.random.IntN(10)
	if fate == 0 {
		return
	}
	w.probes.Go(func() {
		time.Sleep(time.Until(a.Slot.Add(-w.skew)))
		w.mu.Lock()
		w.begun[a.RunID]++
		w.mu.Unlock()
		time.Sleep(time.Duration(100+fate*100) * time.Millisecond)
		w.mu.Lock()
		defer w.mu.Unlock()
		switch fate {
		case 1:
		case 2:
			w.results = append(w.results, report(&a, runs.StateInvalid))
		default:
			w.results = append(w.results, report(&a, runs.StatePassed))
		}
	})
}

// publish stores a verdict, once.
func (w *world) publish(v runs.Verdict) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if key := v.Region + v.Minute.String(); !w.closed[key] {
		w.closed[key] = true
		w.verdicts = append(w.verdicts, v)
	}
}

// life is one coordinator, from its start to its end.
type life struct {
	*ledger.Ledger
	world     *world
	scheduler *Scheduler
	dead      bool // under the world's lock
	results   int  // read so far
	verdicts  int
}

// Dispatch takes so long that a coordinator that comes back has much to do at once.
func (l *life) Dispatch(_ context.Context, a runs.Assignment) (bool, error) {
	time.Sleep(300 * time.Millisecond)
	l.world.mu.Lock()
	defer l.world.mu.Unlock()
	if l.dead || time.Now().After(a.StartBy) {
		return false, errors.New("not stored")
	}
	if l.world.jobs[a.RunID] {
		return false, nil
	}
	l.world.jobs[a.RunID] = true
	l.world.take(a)
	return true, nil
}

func (l *life) Cursor(_ context.Context, region string) (time.Time, uint64, error) {
	l.world.mu.Lock()
	defer l.world.mu.Unlock()
	return l.world.cursor[region], 0, nil
}

func (l *life) AdvanceCursor(_ context.Context, region string, to time.Time, _ uint64) (uint64, error) {
	l.world.mu.Lock()
	defer l.world.mu.Unlock()
	if l.dead {
		return 0, errors.New("not stored")
	}
	l.world.cursor[region] = to
	return 0, nil
}

// Reason implements ledger.Witness.
func (l *life) Reason(id runs.ID, _ string, _, _ time.Time) runs.Reason {
	l.world.mu.Lock()
	defer l.world.mu.Unlock()
	switch {
	case l.world.begun[id] > 0:
		return runs.ReasonLost
	case unasked(l.scheduler, id):
		return runs.ReasonCoordinatorDown
	case !l.world.jobs[id] && !slices.ContainsFunc(l.world.lives, func(earlier *life) bool { return unasked(earlier.scheduler, id) }):
		l.world.t.Errorf("slot %s closed as expired: nobody ever ordered it or gave it up", id)
	}
	return runs.ReasonExpired
}

// read takes up what is new in the streams.
func (l *life) read(replay bool) {
	l.world.mu.Lock()
	results, verdicts := l.world.results[l.results:], l.world.verdicts[l.verdicts:]
	l.world.mu.Unlock()
	l.results, l.verdicts = l.results+len(results), l.verdicts+len(verdicts)
	for i := range results {
		if l.Result(&results[i], replay) == ledger.Unscheduled {
			l.world.t.Errorf("%s: the result of %s found no slot", time.Now(), results[i].RunID)
		}
	}
	for i := range verdicts {
		l.Verdict(&verdicts[i])
	}
}

// run lives for a while, and checks the books all the time. A crash stores nothing any more.
func (l *life) run(ctx context.Context, d time.Duration, crash bool) {
	l.read(true)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- l.scheduler.Run(ctx) }()
	planned := map[scenario.Combination]int64{}
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		l.read(false)
		for _, a := range l.Accounts(time.Now()) {
			n := a.Entered[runs.StatePending]
			if a.Counts.Planned() != n || n < planned[a.Combination] || a.Counts[runs.StatePending] < 0 {
				l.world.t.Errorf("%s %+v: got %v, %d planned after %d, want their sum, and never fewer", time.Now(), a.Combination, a.Counts, n, planned[a.Combination])
			}
			planned[a.Combination] = n
		}
		const grace = 5 * time.Second
		now, entered := time.Now(), l.scheduler.Entered(time.Now())
		if latest := entered.Add(grace); latest.Before(now) {
			now = latest
		}
		for _, v := range l.Closable(now, grace, l) {
			l.world.publish(v)
		}
	}
	l.world.mu.Lock()
	l.dead = crash
	l.world.mu.Unlock()
	cancel()
	if err := <-done; err != nil {
		l.world.t.Error(err)
	}
}

// begin makes a coordinator that knows nothing yet.
func (w *world) begin() *life {
	l := &life{Ledger: ledger.New(), world: w}
	l.Define(w.plan.Scenarios)
	l.scheduler = New(slog.New(slog.DiscardHandler), w.plan, l, l, l, Options{InFlight: 1, CursorEvery: 3 * time.Second})
	w.lives = append(w.lives, l)
	return l
}

// Coordinators come and go at any moment, with a crash or in order, before slots and after; probes lose runs, and their clocks are off
// by more than the lead. Every slot since the first is in the books once, in the end with one state, and no run happens twice.
func TestBooksOverManyLives(t *testing.T) {
	for _, seed := range []uint64{5, 6, 7} { // the last one has results that overtake their plan
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 7))
			w := &world{
				t: t, random: random, plan: mixed(t, []string{"@every 20s", "@every 7s", "@every 4s"}[seed%3], "us", "eu"),
				skew: time.Duration(random.IntN(13)-6) * time.Second,
				jobs: map[runs.ID]bool{}, begun: map[runs.ID]int{}, closed: map[string]bool{}, cursor: map[string]time.Time{},
			}
			for range 8 {
				w.begin().run(t.Context(), time.Duration(random.IntN(100_000))*time.Millisecond, random.IntN(2) == 0)
				time.Sleep(time.Duration(random.IntN(3)*random.IntN(20_000)) * time.Millisecond)
			}
			last := w.begin()
			last.run(t.Context(), 3*time.Minute, false)
			w.audit(last, time.Now())
			w.probes.Wait()
		})
	}
}

// audit compares the books with the schedule.
func (w *world) audit(l *life, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, n := range w.begun {
		if n != 1 {
			w.t.Errorf("run %s: got it begun %d times, want once", id, n)
		}
	}
	for _, a := range l.Accounts(now) {
		first, _ := l.First(a.Combination)
		s := &w.plan.Scenarios[0]
		if s.Name != a.Scenario {
			s = &w.plan.Scenarios[1]
		}
		want := int64(len(s.Schedule.Slots(a.Combination, first.Add(-time.Second), now, 10_000)))
		if open := a.Counts[runs.StatePending]; a.Counts.Planned() != want || open > int64(2*time.Minute/s.Schedule.Period()) {
			w.t.Errorf("%+v: got %d slots planned, want the %d of the schedule since %s, and none open but the newest: %v", a.Combination, a.Counts.Planned(), want, first, a.Counts)
		}
	}
}
