package worker

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"lastmile/internal/bus"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/spool"
)

// hall is a hub with a coordinator's view of it.
type hall struct {
	server *bus.Server
	hub    *bus.Bus

	mu      sync.Mutex
	results []runs.Result
	beats   []runs.Heartbeat
	reply   runs.HeartbeatReply // but for the time
}

// newHall starts a real server with the streams of region us, and reads what comes.
func newHall(t *testing.T) *hall {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	server, err := bus.StartServer(log, bus.ServerOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	hub, err := bus.Connect(t.Context(), log, bus.Options{Server: server, Name: "coordinator"})
	if err != nil {
		t.Fatal(err)
	}
	if err := hub.EnsureStreams(t.Context(), []string{"us"}); err != nil {
		t.Fatal(err)
	}
	h := &hall{server: server, hub: hub}
	ctx, cancel := context.WithCancel(context.Background())
	var readers sync.WaitGroup
	readers.Go(func() {
		_ = hub.Follow(ctx, []string{"us"}, nil, bus.Handler{
			Result:   func(r runs.Result, _ bus.Meta) { h.add(func() { h.results = append(h.results, r) }) },
			Verdict:  func(runs.Verdict, bus.Meta) {},
			Rejected: func(err *bus.RejectedError) { t.Errorf("rejected: %v", err) },
		})
	})
	readers.Go(func() {
		_ = hub.ServeHeartbeats(ctx, func(hb runs.Heartbeat) runs.HeartbeatReply {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.beats = append(h.beats, hb)
			reply := h.reply
			reply.ReceivedAt = time.Now()
			return reply
		})
	})
	t.Cleanup(func() {
		cancel()
		readers.Wait()
		_ = hub.Close()
		_ = server.Stop(context.Background())
	})
	return h
}

func (h *hall) add(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
}

func (h *hall) came() []runs.Result {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.results)
}

// order dispatches a run that is due now.
func (h *hall) order(t *testing.T, name string, change func(*runs.Assignment)) runs.Assignment {
	t.Helper()
	a := assignment(t, name)
	if change != nil {
		change(&a)
	}
	if _, err := h.hub.Dispatch(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	return a
}

func assignment(t *testing.T, name string) runs.Assignment {
	t.Helper()
	schedule, err := scenario.ParseSchedule("@every 1m")
	if err != nil {
		t.Fatal(err)
	}
	none, _ := netprofile.Lookup(netprofile.None)
	return runs.NewAssignment(scenario.Scenario{
		APIVersion: scenario.APIVersion, Name: name, Schedule: schedule, Timeout: scenario.Duration(10 * time.Second), Regions: scenario.Strings{"us"},
		Steps: []scenario.Step{{Type: scenario.StepHTTP, URL: "http://shop/"}},
	}, "us", none, time.Now().UTC().Truncate(time.Second))
}

// stage is a runner whose runs last until they are let go.
type stage struct {
	mu      sync.Mutex
	ran     []runs.ID
	prepare func(*runs.Assignment) // called before a run begins
	hold    chan struct{}          // nil = runs end at once
	begun   chan runs.ID
}

func newStage() *stage { return &stage{begun: make(chan runs.ID, 100)} }

func (s *stage) RunAfter(ctx context.Context, a *runs.Assignment, begin func(context.Context) error, end func(*runs.Result)) (r runs.Result) {
	r = s.Blank(a)
	if s.prepare != nil {
		s.prepare(a)
	}
	if err := begin(ctx); err != nil {
		r.State, r.Cause = runs.StateInvalid, &runs.Cause{Class: runs.ClassProbe, Detail: err.Error()}
		if fault, ok := errors.AsType[*runs.Fault](err); ok {
			r.Cause = &runs.Cause{Class: fault.Class, Detail: fault.Err.Error()}
		}
		return r
	}
	defer func() { end(&r) }()
	s.mu.Lock()
	s.ran = append(s.ran, a.RunID)
	s.mu.Unlock()
	s.begun <- a.RunID
	r.State, r.StartedAt, r.DurationMS = runs.StatePassed, time.Now().UTC(), 12
	if s.hold != nil {
		select {
		case <-s.hold:
		case <-ctx.Done():
			r.State, r.Cause = runs.StateInvalid, &runs.Cause{Class: runs.ClassProbe, Detail: "stopped"}
		}
	}
	return r // as end leaves it
}

func (s *stage) Blank(a *runs.Assignment) runs.Result {
	return runs.Result{
		Schema: runs.Schema, RunID: a.RunID, Scenario: a.Scenario.Name, Region: a.Region, Network: a.Network.Name, Slot: a.Slot,
		Trigger: a.Trigger, Probe: "probe-1", Revision: a.Revision,
	}
}

func (s *stage) runs() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ran)
}

// begin starts a worker on a spool in dir; stop ends it and waits.
func begin(t *testing.T, h *hall, runner Runner, dir string, opts Options) (w *Worker, kept *spool.Spool, stop func()) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	kept, err := spool.Open(log, dir, spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	hub, err := bus.Connect(t.Context(), log, bus.Options{Server: h.server, Name: "probe"})
	if err != nil {
		t.Fatal(err)
	}
	opts.Region, opts.Probe = "us", cmp.Or(opts.Probe, "probe-1")
	for _, c := range kept.Unfinished() {
		opts.Unfinished = append(opts.Unfinished, c.Assignment)
	}
	w = New(log, hub, kept, runner, opts)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("worker: %v", err)
			}
			_ = hub.Close()
			_ = kept.Close()
		})
	}
	t.Cleanup(stop)
	return w, kept, stop
}

// wait polls until check holds.
func wait(t *testing.T, what string, check func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !check() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestAJobBecomesAResult(t *testing.T) {
	h, s := newHall(t), newStage()
	w, kept, _ := begin(t, h, s, t.TempDir(), Options{Heartbeat: 50 * time.Millisecond})
	a := h.order(t, "shop", nil)
	wait(t, "result", func() bool { return len(h.came()) == 1 })
	if got := h.came()[0]; got.RunID != a.RunID || got.State != runs.StatePassed {
		t.Errorf("got %s %s, want %s passed", got.RunID, got.State, a.RunID)
	}
	wait(t, "empty spool", func() bool { return kept.Pending() == 0 })
	wait(t, "heartbeat with the run", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return slices.ContainsFunc(h.beats, func(hb runs.Heartbeat) bool { return slices.Contains(hb.Running, a.RunID) })
	})
	wait(t, "readiness", func() bool { return w.Ready() == nil })
	stats := w.Stats()
	if stats.Taken != 1 || stats.Results[runs.StatePassed] != 1 || stats.Running != 0 {
		t.Errorf("got %+v, want one taken, one passed, none running", stats)
	}
	if stats.ClockOffset > stats.ClockError || stats.ClockOffset < -stats.ClockError {
		t.Errorf("clock offset: got %s, want within %s of zero: both sides read one clock", stats.ClockOffset, stats.ClockError)
	}
}

func TestALateJobIsNotRun(t *testing.T) {
	h, s := newHall(t), newStage()
	a := h.order(t, "shop", func(a *runs.Assignment) { a.StartBy = time.Now().Add(300 * time.Millisecond) })
	time.Sleep(time.Until(a.StartBy) + 10*time.Millisecond) // nobody was there in time
	w, _, _ := begin(t, h, s, t.TempDir(), Options{})
	wait(t, "expired job", func() bool { return w.Stats().Expired == 1 })
	if s.runs() != 0 {
		t.Errorf("got %d runs, want none after the start window", s.runs())
	}
}

func TestARunIsNotRepeated(t *testing.T) {
	h, s := newHall(t), newStage()
	w, _, _ := begin(t, h, s, t.TempDir(), Options{})
	a := assignment(t, "shop")
	job := &bus.Job{Assignment: a}
	if !w.begin(a.RunID) {
		t.Fatal("first begin refused")
	}
	if w.begin(job.Assignment.RunID) {
		t.Error("got the same run begun twice, want the second recognised")
	}
	if s.runs() != 0 {
		t.Errorf("got %d runs, want none", s.runs())
	}
}

func TestDeathInMidRunIsReportedAtTheNextStart(t *testing.T) {
	h, s := newHall(t), newStage()
	dir := t.TempDir()
	kept, err := spool.Open(slog.New(slog.DiscardHandler), dir, spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	a := assignment(t, "shop")
	if err := kept.Claim(a); err != nil { // and then the process was killed
		t.Fatal(err)
	}
	if err := kept.Close(); err != nil {
		t.Fatal(err)
	}
	begin(t, h, s, dir, Options{})
	wait(t, "result of the lost run", func() bool { return len(h.came()) == 1 })
	if got := h.came()[0]; got.State != runs.StateInvalid || got.RunID != a.RunID || got.Cause.Class != runs.ClassProbe {
		t.Errorf("got %s %s %+v, want %s invalid by the probe", got.RunID, got.State, got.Cause, a.RunID)
	}
	if s.runs() != 0 {
		t.Errorf("got %d runs, want none: it is not run again", s.runs())
	}
}

func TestShutDownLetsRunsFinish(t *testing.T) {
	h, s := newHall(t), newStage()
	s.hold = make(chan struct{})
	_, kept, stop := begin(t, h, s, t.TempDir(), Options{Grace: 10 * time.Second})
	h.order(t, "shop", nil)
	<-s.begun
	go func() {
		time.Sleep(100 * time.Millisecond) // the worker has been told to stop by now
		close(s.hold)
	}()
	stop()
	wait(t, "result", func() bool { return len(h.came()) == 1 })
	if got := h.came()[0].State; got != runs.StatePassed || kept.Pending() != 0 {
		t.Errorf("got %s and %d on disk, want passed and published before the end", got, kept.Pending())
	}
}

func TestShutDownEndsRunsAfterTheGrace(t *testing.T) {
	h, s := newHall(t), newStage()
	s.hold = make(chan struct{})
	_, _, stop := begin(t, h, s, t.TempDir(), Options{Grace: 50 * time.Millisecond})
	h.order(t, "shop", nil)
	<-s.begun
	stop()
	wait(t, "result", func() bool { return len(h.came()) == 1 })
	if got := h.came()[0].State; got != runs.StateInvalid {
		t.Errorf("got %s, want invalid: we stopped it", got)
	}
}

func TestNoRoomBeforeTheWindowCloses(t *testing.T) {
	h, s := newHall(t), newStage()
	begin(t, h, s, t.TempDir(), Options{BrowserSlots: 1, Room: full(t)})
	h.order(t, "shop", func(a *runs.Assignment) {
		a.Scenario.Steps[0].Type = scenario.StepNavigate
		a.StartBy = time.Now().Add(300 * time.Millisecond)
	})
	wait(t, "result", func() bool { return len(h.came()) == 1 })
	if got := h.came()[0]; got.State != runs.StateInvalid || got.Cause.Class != runs.ClassOverloaded || s.runs() != 0 {
		t.Errorf("got %s %+v, want invalid: overloaded, and not a late run", got.State, got.Cause)
	}
}

// fullDisk refuses every result, and fails the test if a job could be acknowledged before its result is safe.
type fullDisk struct{ Spool }

func (fullDisk) Put(runs.Result) error { return errors.New("no space left on device") }

func TestFullDiskPublishesAtOnce(t *testing.T) {
	h, s := newHall(t), newStage()
	log := slog.New(slog.DiscardHandler)
	kept, err := spool.Open(log, t.TempDir(), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = kept.Close() }()
	w := New(log, h.hub, fullDisk{kept}, s, Options{Region: "us", Probe: "probe-1"})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	h.order(t, "shop", nil)
	wait(t, "result", func() bool { return len(h.came()) == 1 })
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if stats := w.Stats(); stats.SpoolErrors == 0 || stats.Results[runs.StatePassed] != 1 {
		t.Errorf("got %+v, want the disk's refusal counted and the result reported", stats)
	}
}

// shortOfFiles is a spool that cannot open a file for a moment.
type shortOfFiles struct {
	Spool
	once sync.Once
}

func (s *shortOfFiles) Batch(ctx context.Context, n int) (batch []runs.Result, err error) {
	s.once.Do(func() { err = errors.New("too many open files") })
	if err != nil {
		return nil, err
	}
	return s.Spool.Batch(ctx, n)
}

func TestPublisherOutlivesAnUnreadableMoment(t *testing.T) {
	h, s := newHall(t), newStage()
	log := slog.New(slog.DiscardHandler)
	kept, err := spool.Open(log, t.TempDir(), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = kept.Close() }()
	w := New(log, h.hub, &shortOfFiles{Spool: kept}, s, Options{Region: "us", Probe: "probe-1"})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	h.order(t, "shop", nil)
	wait(t, "result", func() bool { return len(h.came()) == 1 })
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if w.Stats().SpoolErrors != 1 {
		t.Errorf("got %d spool errors, want the one counted", w.Stats().SpoolErrors)
	}
}

func TestShutDownDoesNotWaitForRoom(t *testing.T) {
	h, s, dir := newHall(t), newStage(), t.TempDir()
	w, _, stop := begin(t, h, s, dir, Options{BrowserSlots: 1, Room: full(t), Grace: 50 * time.Millisecond})
	a := h.order(t, "shop", func(a *runs.Assignment) { a.Scenario.Steps[0].Type = scenario.StepNavigate })
	wait(t, "job taken", func() bool { return w.Stats().Taken == 1 })
	began := time.Now()
	stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("got a shutdown of %s, want it shortly after the grace of 50ms: the start window is 30s", took)
	}
	handedBack(t, h, dir, scenario.PoolBrowser, a)
}

// A job that comes again after its start window was run: it has not expired.
func TestARepeatIsNotCountedAsExpired(t *testing.T) {
	h, log := newHall(t), slog.New(slog.DiscardHandler)
	kept, err := spool.Open(log, t.TempDir(), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = kept.Close() }()
	w := New(log, h.hub, kept, newStage(), Options{Region: "us", Probe: "probe-1"})
	a := h.order(t, "shop", func(a *runs.Assignment) { a.StartBy = time.Now().Add(300 * time.Millisecond) })
	w.begin(a.RunID)
	w.end(a.RunID)
	job, err := h.hub.Take(t.Context(), "us", scenario.PoolHTTP, 5*time.Second) // its acknowledgement was lost
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(a.StartBy) + 10*time.Millisecond)
	w.handle(t.Context(), job)
	if stats := w.Stats(); stats.Repeated != 1 || stats.Expired != 0 {
		t.Errorf("got %d repeated and %d expired, want 1 and 0", stats.Repeated, stats.Expired)
	}
}

// What the probe knows of its clock is in its heartbeats and Stats: it is surer than what the heartbeats themselves show.
func TestClockOfTheProbe(t *testing.T) {
	h := newHall(t)
	w, _, _ := begin(t, h, newStage(), t.TempDir(), Options{
		Heartbeat: 20 * time.Millisecond, Clock: func() (runs.Clock, bool) { return runs.Clock{OffsetMS: 3000, ErrorMS: 0.5}, true },
	})
	wait(t, "heartbeat with the clock", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.beats) > 0 && h.beats[0].Clock != nil && h.beats[0].Clock.OffsetMS == 3000
	})
	if stats := w.Stats(); stats.ClockOffset != -3*time.Second || stats.ClockError != 500*time.Microsecond {
		t.Errorf("got a clock %s off, to within %s, want -3s and 500µs", stats.ClockOffset, stats.ClockError)
	}
}
