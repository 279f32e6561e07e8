package schedule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lastmile/internal/bus"
	"lastmile/internal/fleet"
	"lastmile/internal/ledger"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// patience is how long a test waits for what must come, on a machine that has other things to do.
const patience = 30 * time.Second

// realBus starts a server with the streams of a region, and connects to it as a coordinator with a clock.
func realBus(t *testing.T, region string, now func() time.Time) *bus.Bus {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	server, err := bus.StartServer(log, bus.ServerOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop(context.Background()) })
	hub, err := bus.Connect(t.Context(), log, bus.Options{Server: server, Name: "test", Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hub.Close() })
	if err := hub.EnsureStreams(t.Context(), []string{region}); err != nil {
		t.Fatal(err)
	}
	return hub
}

// every sets the schedule of all scenarios of a plan.
func every(t *testing.T, p Plan, period, timeout time.Duration) Plan {
	t.Helper()
	schedule, err := scenario.ParseSchedule("@every " + period.String())
	if err != nil {
		t.Fatal(err)
	}
	for i := range p.Scenarios {
		p.Scenarios[i].Schedule, p.Scenarios[i].Timeout = schedule, scenario.Duration(timeout)
	}
	return p
}

// step is a place in the work for one slot at which a coordinator dies.
type step int

const (
	beforeEntering step = iota
	entered             // in a ledger that dies with it
	stored              // the job is on the bus, and nobody knows
	ordered
	passed // the cursor is past it
)

func (s step) String() string {
	return []string{"before it is entered", "entered", "stored", "ordered", "cursor moved"}[s]
}

var errDead = errors.New("dead")

// mortal is a coordinator's bus and book, which ends it at a step of one slot: nothing of it gets out any more.
type mortal struct {
	*ledger.Ledger
	hub  *bus.Bus
	slot time.Time
	at   step
	dead atomic.Bool
	kill context.CancelFunc
}

// reach ends the coordinator if this is the step.
func (m *mortal) reach(at step, slot time.Time) bool {
	if m.at == at && !slot.Before(m.slot) {
		m.dead.Store(true)
		m.kill()
	}
	return m.dead.Load()
}

func (m *mortal) Plan(c scenario.Combination, slot, deadline time.Time) {
	if m.reach(beforeEntering, slot) {
		return
	}
	m.Ledger.Plan(c, slot, deadline)
	m.reach(entered, slot)
}

func (m *mortal) Dispatch(ctx context.Context, a runs.Assignment) (bool, error) {
	if m.dead.Load() {
		return false, errDead
	}
	created, err := m.hub.Dispatch(context.WithoutCancel(ctx), a)
	if m.reach(stored, a.Slot) {
		return false, errDead
	}
	m.reach(ordered, a.Slot)
	return created, err
}

func (m *mortal) Cursor(ctx context.Context, region string) (time.Time, uint64, error) {
	return m.hub.Cursor(ctx, region)
}

func (m *mortal) AdvanceCursor(ctx context.Context, region string, to time.Time, revision uint64) (uint64, error) {
	if m.dead.Load() {
		return 0, errDead
	}
	revision, err := m.hub.AdvanceCursor(ctx, region, to, revision)
	if err == nil {
		m.reach(passed, to)
	}
	return revision, err
}

// A coordinator that dies at any step of a slot leaves it to the next one, which orders it while its window is open, once, and has it in its
// books in any case. After the window it is coordinator_down unless it had been asked for as far as the cursor tells.
func TestKilledAtEachStep(t *testing.T) {
	for at := beforeEntering; at <= passed; at++ {
		for _, late := range []bool{false, true} {
			name := fmt.Sprintf("%s, next coordinator in time", at)
			if late {
				name = fmt.Sprintf("%s, next coordinator too late", at)
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				killAt(t, at, late)
			})
		}
	}
}

// killAt takes one slot through the life of two coordinators.
func killAt(t *testing.T, at step, late bool) {
	p := every(t, plan(t, "us"), 40*time.Second, 30*time.Second) // a window of 20 s
	slot := p.Scenarios[0].Schedule.Next(shopIn("us"), time.Now().Add(-time.Hour))
	ahead := time.Until(slot) - 100*time.Millisecond // of the coordinators' clock, which is an hour behind: the slot is due at once
	now := func() time.Time { return time.Now().Add(ahead) }
	hub := realBus(t, "us", now)
	id := runs.NewID(shopIn("us"), slot)

	live := func(at step) (*mortal, *Scheduler, chan error) {
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		m := &mortal{Ledger: ledger.New(), hub: hub, slot: slot, at: at, kill: cancel}
		m.Define(p.Scenarios)
		earlier := slot.Add(-40 * time.Second)
		m.Result(&runs.Result{RunID: runs.NewID(shopIn("us"), earlier), Scenario: "shop", Region: "us", Network: "none", Slot: earlier,
			Trigger: runs.TriggerSchedule, State: runs.StatePassed}, true)
		s := New(slog.New(slog.DiscardHandler), p, m, m, m, Options{Now: now, CursorEvery: 20 * time.Millisecond})
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		return m, s, done
	}
	_, _, done := live(at)
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("the first coordinator did not get to its end")
	}
	if late {
		ahead += 25 * time.Second
	}
	second, s, done := live(-1)
	await(t, "the slot handled", func() bool { return s.Entered(now()).After(slot) && second.Pending() == 1 && s.idle() })
	second.kill()
	if err := <-done; err != nil {
		t.Fatal(err)
	}

	reason, given := s.GivenUp(id)
	if want := late && at < passed; given != want || given && reason != runs.ReasonCoordinatorDown {
		t.Errorf("got it given up: %t (%s), want %t", given, reason, want)
	}
	want := 1
	if late && at < stored {
		want = 0
	}
	if got := jobs(t, hub, "us"); len(got) != want || want == 1 && got[0] != id {
		t.Errorf("got jobs %v, want %d of %s", got, want, id)
	}
	if got := second.Accounts(now())[0].Counts; got.Planned() != 2 {
		t.Errorf("got %v, want the slot and the one before", got)
	}
}

// idle reports whether no order is open.
func (s *Scheduler) idle() bool {
	for _, l := range s.lanes {
		if _, open := l.lowest(); open {
			return false
		}
	}
	return true
}

// await polls until ok.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("got none within %s: %s", patience, what)
		}
	}
}

// jobs takes all that is on the bus for a region, and acknowledges it.
func jobs(t *testing.T, hub *bus.Bus, region string) (out []runs.ID) {
	t.Helper()
	for {
		job, err := hub.Take(t.Context(), region, scenario.PoolHTTP, 300*time.Millisecond)
		if errors.Is(err, bus.ErrNoJob) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, job.Assignment.RunID)
		if err := job.Ack(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// overloaded is a region with a fleet that is far too small.
type overloaded struct {
	*ledger.Ledger
	t     *testing.T
	hub   *bus.Bus
	fleet *fleet.Fleet
	runs  time.Duration // what a run takes
	sched *Scheduler

	mu      sync.Mutex
	begun   []runs.ID
	skipped int
}

// work is a probe with one place: it runs what it gets in time, and passes over what has expired.
func (o *overloaded) work(ctx context.Context) {
	beat := func(running ...runs.ID) {
		o.fleet.Heard(&runs.Heartbeat{Region: "us", Probe: "a", Pools: []string{scenario.PoolHTTP}, Slots: 1, Running: running}, time.Now())
	}
	for ctx.Err() == nil {
		beat()
		job, err := o.hub.Take(ctx, "us", scenario.PoolHTTP, 200*time.Millisecond)
		if err != nil {
			continue // there is none, or it is over
		}
		a := &job.Assignment
		if time.Now().After(a.StartBy) {
			o.mu.Lock()
			o.skipped++
			o.mu.Unlock()
		} else {
			o.mu.Lock()
			o.begun = append(o.begun, a.RunID)
			o.mu.Unlock()
			beat(a.RunID)
			time.Sleep(o.runs)
			r := report(a, runs.StatePassed)
			if got := o.Result(&r, false); got != ledger.Entered {
				o.t.Errorf("result of %s: got %d, want it entered", a.RunID, got)
			}
		}
		if err := job.Ack(context.WithoutCancel(ctx)); err != nil {
			o.t.Errorf("job %s: %v", a.RunID, err)
		}
	}
}

// Reason implements ledger.Witness.
func (o *overloaded) Reason(id runs.ID, _ string, _, deadline time.Time) runs.Reason {
	if reason, given := o.sched.GivenUp(id); given {
		return reason
	}
	pool := scenario.PoolHTTP
	if c, _, _ := id.Parse(); c.Scenario == "page" {
		pool = scenario.PoolBrowser
	}
	return o.fleet.Reason(id, pool, deadline, time.Now())
}

// More is due than the fleet can run: ten times as much in one pool, and all of another pool that no probe has. What does not fit ends as
// missing, with its reason, and nothing piles up.
func TestOverload(t *testing.T) {
	t.Parallel()
	o := &overloaded{Ledger: ledger.New(), t: t, hub: realBus(t, "us", nil), fleet: fleet.New(time.Now().Add(-time.Hour)), runs: 400 * time.Millisecond}
	p := every(t, many(t, 25, "us"), time.Second, time.Second) // 25 a second, of which one place does two and a half
	page := every(t, mixed(t, "@every 1s", "us"), time.Second, time.Second).Scenarios[1]
	p.Scenarios = append(p.Scenarios, page)
	o.Define(p.Scenarios)
	o.sched = New(slog.New(slog.DiscardHandler), p, o.hub, o.hub, o, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- o.sched.Run(ctx) }()
	working, stop := context.WithCancel(t.Context())
	var probe sync.WaitGroup
	probe.Go(func() { o.work(working) })
	t.Cleanup(func() {
		stop()
		probe.Wait()
	})

	await(t, "three runs", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return len(o.begun) >= 3 && o.skipped >= 25
	})
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	quiet, handled := time.Now(), -1
	await(t, "all jobs taken", func() bool { // what has not begun when its window of half a second closes expires
		o.mu.Lock()
		defer o.mu.Unlock()
		if n := len(o.begun) + o.skipped; n != handled {
			quiet, handled = time.Now(), n
		}
		return time.Since(quiet) > time.Second
	})
	stop()
	probe.Wait()
	if left := jobs(t, o.hub, "us"); len(left) != 0 {
		t.Errorf("got %d jobs left, want none: a queue that is longer than the windows", len(left))
	}
	o.audit()
}

// audit closes the books and looks at them.
func (o *overloaded) audit() {
	end := time.Now().Add(2 * time.Minute)
	for _, v := range o.Closable(end, 0, o) {
		o.Verdict(&v)
	}
	slices.Sort(o.begun)
	if n := len(slices.Compact(slices.Clone(o.begun))); n != len(o.begun) {
		o.t.Errorf("got %d runs of %d slots, want one each", len(o.begun), n)
	}
	var passed, expired int64
	for _, a := range o.Accounts(end) {
		want := runs.ReasonExpired
		if a.Scenario == "page" {
			want = runs.ReasonNoProbe
		}
		if a.Counts[runs.StatePending] != 0 || a.Reasons[want] != a.Counts[runs.StateMissing] || a.Counts[runs.StatePassed]+a.Counts[runs.StateMissing] != a.Counts.Planned() {
			o.t.Errorf("%s: got %v for %v, want all that is missing as %s", a.Scenario, a.Counts, a.Reasons, want)
		}
		passed += a.Counts[runs.StatePassed]
		expired += a.Reasons[runs.ReasonExpired]
	}
	if passed != int64(len(o.begun)) || expired < 25 {
		o.t.Errorf("got %d passed and %d expired, want the %d runs and at least 25", passed, expired, len(o.begun))
	}
}
