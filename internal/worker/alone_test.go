package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lastmile/internal/bus"
	"lastmile/internal/hubtime"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/spool"
)

// away is a hub that cannot be reached.
type away struct{}

func (away) Take(ctx context.Context, _, _ string, wait time.Duration) (*bus.Job, error) {
	rest(ctx, wait)
	return nil, bus.ErrUnavailable
}
func (away) PublishResults(_ context.Context, results []runs.Result) []error {
	return slices.Repeat([]error{bus.ErrUnavailable}, len(results))
}
func (away) Heartbeat(context.Context, runs.Heartbeat) (runs.HeartbeatReply, error) {
	return runs.HeartbeatReply{}, bus.ErrUnavailable
}

// cutOff runs a worker that has no hub, with a spool of its own.
func cutOff(t *testing.T, s *stage, opts Options) (*Worker, *spool.Spool) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	kept, err := spool.Open(log, t.TempDir(), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	opts.Region, opts.Probe, opts.Grace = "us", "probe-1", 50*time.Millisecond
	w := New(log, away{}, kept, s, opts)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = kept.Close()
	})
	return w, kept
}

// offered waits until a place takes the run.
func offered(t *testing.T, w *Worker, a runs.Assignment) {
	t.Helper()
	wait(t, "a free place for "+string(a.RunID), func() bool { return w.Offer(a) })
}

// Without a hub the probe's own runs are done at free places, each once, and their results wait on disk.
func TestARunOfItsOwn(t *testing.T) {
	t.Parallel()
	s := newStage()
	s.hold = make(chan struct{})
	w, kept := cutOff(t, s, Options{HTTPSlots: 1})
	a := assignment(t, "shop")
	a.Autonomous = true
	offered(t, w, a)
	if !w.Offer(a) && s.runs() > 1 {
		t.Error("got the same run begun twice")
	}
	<-s.begun
	if !w.Has(a.RunID) || !slices.Contains(w.Recent(), a.RunID) {
		t.Error("got a run that is under way not known, and siblings not told of it")
	}
	if w.Offer(assignment(t, "other")) {
		t.Error("got a second run taken where there is one place")
	}
	close(s.hold)
	wait(t, "result on disk", func() bool { return kept.Pending() == 1 })
	r, err := kept.Next(t.Context())
	if err != nil || r.RunID != a.RunID || !r.Autonomous || r.State != runs.StatePassed || !r.Slot.Equal(a.Slot) {
		t.Errorf("got %+v (%v), want the run passed, marked as the probe's own, at its slot", r, err)
	}
	wait(t, "a place that waits", func() bool { return w.Offer(a) }) // it was done: nothing is begun
	offered(t, w, assignment(t, "next"))
	wait(t, "the next run", func() bool { return s.runs() == 2 })
	page := assignment(t, "page")
	page.Scenario.Steps[0].Type = scenario.StepNavigate
	if w.Offer(page) {
		t.Error("got a browser run taken without a place for it")
	}
	if !slices.Contains(w.Recent(), a.RunID) {
		t.Error("got a run that has ended forgotten at once, want siblings told of it")
	}
}

// A place that waits for a job takes an own run at once, and jobs after it.
func TestOwnRunsAndJobs(t *testing.T) {
	h, s := newHall(t), newStage()
	w, _, _ := begin(t, h, s, t.TempDir(), Options{HTTPSlots: 1})
	began := time.Now()
	for i := range 5 {
		a := assignment(t, fmt.Sprint("own-", i))
		a.Autonomous = true
		offered(t, w, a)
		<-s.begun
	}
	if took := time.Since(began); took >= 10*takeWait/2 {
		t.Errorf("got five own runs begun in %s, want none to wait for the end of a request for jobs", took)
	}
	a := h.order(t, "job", nil)
	wait(t, "results", func() bool { return len(h.came()) == 6 })
	for _, r := range h.came() {
		if r.Autonomous == (r.RunID == a.RunID) {
			t.Errorf("got %s autonomous %v, want the probe's own runs marked and no other", r.RunID, r.Autonomous)
		}
	}
}

// A place takes from every pool that it can serve, and from no other.
func TestPoolsOfAPlace(t *testing.T) {
	browser := func(engine scenario.Engine) func(*runs.Assignment) {
		return func(a *runs.Assignment) {
			a.Scenario.Steps[0].Type, a.Scenario.Engine = scenario.StepNavigate, engine
		}
	}
	h, s := newHall(t), newStage()
	_, _, stop := begin(t, h, s, t.TempDir(), Options{BrowserSlots: 1, BrowserPools: []string{scenario.PoolFull}, Heartbeat: 50 * time.Millisecond})
	h.order(t, "shell", browser(scenario.EngineShell))
	full := h.order(t, "full", browser(scenario.EngineFull))
	wait(t, "the full browser's run", func() bool { return len(h.came()) == 1 })
	if got := h.came()[0]; got.RunID != full.RunID {
		t.Errorf("got %s, want %s only: there is no other browser", got.RunID, full.RunID)
	}
	stop()
	h.mu.Lock()
	beats := slices.Clone(h.beats)
	h.mu.Unlock()
	last := beats[len(beats)-1]
	if !last.Leaving || len(last.Running) > 1 || !slices.Equal(last.Pools, []string{scenario.PoolFull, scenario.PoolHTTP}) {
		t.Errorf("got a last heartbeat %+v, want it to say that the probe leaves, and its pools", last)
	}
	if slices.ContainsFunc(beats[:len(beats)-1], func(hb runs.Heartbeat) bool { return hb.Leaving }) {
		t.Error("got an earlier heartbeat that says so, too")
	}
	begin(t, h, s, t.TempDir(), Options{BrowserSlots: 1, BrowserPools: []string{scenario.PoolBrowser, scenario.PoolFull}, Probe: "probe-2"})
	h.order(t, "full-2", browser(scenario.EngineFull))
	wait(t, "the runs of both", func() bool { return len(h.came()) == 3 })
}

// brim is a spool that is full when it is told to be.
type brim struct {
	Spool
	full  atomic.Bool
	claim atomic.Bool // it fills up when a run is claimed
}

func (b *brim) Full() bool { return b.full.Load() || b.Spool.Full() }

func (b *brim) Claim(a runs.Assignment) error {
	if b.claim.Load() {
		b.full.Store(true)
	}
	if b.full.Load() {
		return spool.ErrFull
	}
	return b.Spool.Claim(a)
}

// A probe whose spool is full takes nothing. What it had just taken it hands back, and another one runs it.
func TestAFullSpoolTakesNothing(t *testing.T) {
	h, s := newHall(t), newStage()
	log := slog.New(slog.DiscardHandler)
	kept, err := spool.Open(log, t.TempDir(), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = kept.Close() }()
	b := &brim{Spool: kept}
	b.claim.Store(true)
	w := New(log, h.hub, b, s, Options{Region: "us", Probe: "probe-0", HTTPSlots: 1, Heartbeat: 50 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	a := h.order(t, "shop", nil)
	wait(t, "a full spool", func() bool { return w.Stats().Full })
	if w.Offer(assignment(t, "own")) || s.runs() != 0 || w.Has(a.RunID) {
		t.Errorf("got %d runs and %s known %v, want nothing begun", s.runs(), a.RunID, w.Has(a.RunID))
	}
	wait(t, "a heartbeat that says so", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.beats) > 0 && h.beats[len(h.beats)-1].Slots == 0
	})
	begin(t, h, s, t.TempDir(), Options{})
	wait(t, "result of the other probe", func() bool { return len(h.came()) == 1 })
	if got := h.came()[0]; got.RunID != a.RunID || got.State != runs.StatePassed {
		t.Errorf("got %s %s, want %s passed", got.RunID, got.State, a.RunID)
	}
	b.claim.Store(false)
	b.full.Store(false)
	wait(t, "room again", func() bool { return !w.Stats().Full })
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// A probe dies in mid-run. Its job comes to a sibling, or to its own next process, while the start window is open; the report of the death is
// outranked.
func TestAProbeDiesInMidRun(t *testing.T) {
	t.Parallel()
	h, s := newHall(t), newStage()
	dir := t.TempDir()
	a := h.order(t, "shop", nil)
	job, err := h.hub.Take(t.Context(), "us", scenario.PoolHTTP, 10*time.Second)
	if err != nil || job.Assignment.RunID != a.RunID {
		t.Fatalf("got %+v, %v", job, err)
	}
	kept, err := spool.Open(slog.New(slog.DiscardHandler), dir, spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(kept.Claim(a), kept.Close()); err != nil { // and then the process was killed
		t.Fatal(err)
	}
	begin(t, h, s, t.TempDir(), Options{Probe: "sibling"})
	begin(t, h, s, dir, Options{Probe: "probe-1"})
	wait(t, "report and result", func() bool { return len(h.came()) == 2 })
	var measured []runs.Result
	for _, r := range h.came() {
		switch {
		case r.State.Measured():
			measured = append(measured, r)
		case r.State != runs.StateInvalid || !strings.Contains(r.Cause.Detail, "died in mid-run"):
			t.Errorf("got %s %+v, want the death reported", r.State, r.Cause)
		}
	}
	if len(measured) != 1 || !measured[0].State.Outranks(runs.StateInvalid) || measured[0].StartedAt.After(a.StartBy) || s.runs() != 1 {
		t.Errorf("got %+v and %d runs, want one real result, begun within the start window", measured, s.runs())
	}
}

// others is what siblings have.
type others struct{ has atomic.Bool }

func (o *others) Answered(runs.HeartbeatReply) {}
func (o *others) Alone() bool                  { return true }
func (o *others) Elsewhere(runs.ID) bool       { return o.has.Load() }

// Outdated is what term 4 orders.
func (o *others) Outdated(a *runs.Assignment, stored time.Time) bool {
	return a.Term == 4 && time.Since(stored) < time.Hour
}

// A job that a sibling has is neither run nor ended: should the sibling die, it comes again.
func TestAJobThatASiblingHas(t *testing.T) {
	t.Parallel()
	h, s := newHall(t), newStage()
	sibling := &others{}
	sibling.has.Store(true)
	w, _, _ := begin(t, h, s, t.TempDir(), Options{Autonomy: sibling, Heartbeat: 50 * time.Millisecond})
	h.order(t, "shop", nil)
	wait(t, "the job", func() bool { return w.Stats().Repeated == 1 })
	if s.runs() != 0 {
		t.Errorf("got %d runs, want none: a sibling has it", s.runs())
	}
	sibling.has.Store(false)
	wait(t, "the result", func() bool { return len(h.came()) == 1 })
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.beats[0].Autonomous {
		t.Error("got a heartbeat that does not say that the probe was on its own")
	}
}

// A job that is outdated is not run, and ended.
func TestAnOutdatedJobIsEnded(t *testing.T) {
	t.Parallel()
	h, s := newHall(t), newStage()
	w, _, _ := begin(t, h, s, t.TempDir(), Options{Autonomy: &others{}, Heartbeat: 50 * time.Millisecond})
	h.order(t, "old", func(a *runs.Assignment) { a.Term = 4 })
	now := h.order(t, "now", func(a *runs.Assignment) { a.Term = 5 })
	wait(t, "both", func() bool { return w.Stats().Fenced == 1 && len(h.came()) == 1 })
	if got := h.came()[0].RunID; got != now.RunID || s.runs() != 1 {
		t.Errorf("got %s and %d runs, want %s only", got, s.runs(), now.RunID)
	}
}

// A machine whose clock is minutes off runs at the right time all the same, and says when that was by the hub's clock.
func TestAClockThatIsOff(t *testing.T) {
	for name, off := range map[string]time.Duration{"slow": 3 * time.Minute, "fast": -3 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			read := func() (time.Time, runs.Clock, error) {
				return time.Now(), runs.Clock{OffsetMS: runs.Milliseconds(off), ErrorMS: 2}, nil
			}
			clock := func() (runs.Clock, bool) { _, c, err := read(); return c, err == nil }
			s := newStage()
			w, kept := cutOff(t, s, Options{HTTPSlots: 1, Time: hubtime.New(hubtime.Options{Read: read}), Clock: clock})
			a := assignment(t, "shop")
			slot := time.Now().Add(off + time.Second).UTC().Truncate(time.Second).Add(time.Second)
			a = runs.NewAssignment(a.Scenario, "us", a.Network, slot)
			offered(t, w, a)
			wait(t, "result", func() bool { return kept.Pending() == 1 })
			r, err := kept.Next(t.Context())
			if err != nil || r.State != runs.StatePassed || r.StartedAt.Before(slot) || r.StartedAt.After(a.StartBy) {
				t.Errorf("got %s %+v started at %s (%v), want it passed and started in the window from %s", r.State, r.Cause, r.StartedAt, err, slot)
			}
			if stats := w.Stats(); !stats.ClockCorrected || stats.ClockOffset != -off {
				t.Errorf("got %+v, want the clock flagged as %s off", stats, -off)
			}
		})
	}
}

// A probe whose clock is minutes ahead, and which does not know it yet, ends no job for that.
func TestAJobBeforeTheClockIsKnown(t *testing.T) {
	t.Parallel()
	h, s := newHall(t), newStage()
	var known atomic.Bool
	ahead := func() time.Time { return time.Now().Add(3 * time.Minute) }
	clock := hubtime.New(hubtime.Options{Machine: ahead, Read: func() (time.Time, runs.Clock, error) {
		if !known.Load() {
			return ahead(), runs.Clock{}, errors.New("not known yet")
		}
		return ahead(), runs.Clock{OffsetMS: -180_000, ErrorMS: 1}, nil
	}})
	w, _, _ := begin(t, h, s, t.TempDir(), Options{Time: clock, HTTPSlots: 1})
	a := h.order(t, "shop", nil)
	time.Sleep(2 * time.Second) // it has come by now, or comes when all is known
	known.Store(true)
	wait(t, "the result", func() bool { return len(h.came()) == 1 })
	if r := h.came()[0]; r.State != runs.StatePassed || r.StartedAt.After(a.StartBy) || w.Stats().Expired != 0 {
		t.Errorf("got %s begun at %s, and %d expired, want it passed in its window", r.State, r.StartedAt, w.Stats().Expired)
	}
}

// Where nobody knows better, heartbeats show a clock that is far off.
func TestAClockThatHeartbeatsShowToBeOff(t *testing.T) {
	var log strings.Builder
	w := New(slog.New(slog.NewTextHandler(&log, nil)), away{}, nil, newStage(), Options{Region: "us", Probe: "one"})
	for _, tc := range []struct {
		off  time.Duration
		want bool
	}{{0, false}, {4 * time.Second, false}, {time.Minute, true}, {time.Minute, true}, {0, false}} {
		w.answered(&runs.Heartbeat{}, runs.HeartbeatReply{ReceivedAt: time.Now().Add(-tc.off)}, time.Now(), time.Now())
		w.watchClock()
		if got := w.Stats().ClockCorrected; got != tc.want {
			t.Errorf("%s ahead: got flagged %v, want %v", tc.off, got, tc.want)
		}
	}
	if n := strings.Count(log.String(), "clock is wrong"); n != 1 {
		t.Errorf("got it said %d times, want once:\n%s", n, log.String())
	}
}
