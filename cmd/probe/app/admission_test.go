package app

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lastmile/internal/admission"
	"lastmile/internal/bus"
	"lastmile/internal/cli/clitest"
	"lastmile/internal/demosite"
	"lastmile/internal/journey"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/scenariofile"
)

// results follows what comes in from region us.
func (h *hall) results(t *testing.T) func() []runs.Result {
	t.Helper()
	var mu sync.Mutex
	var all []runs.Result
	ctx, cancel := context.WithCancel(context.Background())
	var following sync.WaitGroup
	following.Go(func() {
		_ = h.bus.Follow(ctx, []string{"us"}, nil, bus.Handler{
			Result: func(r runs.Result, _ bus.Meta) {
				mu.Lock()
				defer mu.Unlock()
				all = append(all, r)
			},
			Verdict:  func(runs.Verdict, bus.Meta) {},
			Rejected: func(err *bus.RejectedError) { t.Errorf("rejected: %v", err) },
		})
	})
	t.Cleanup(func() {
		cancel()
		following.Wait()
	})
	return func() []runs.Result {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

// visit orders a browser's visit of the shop at a slot.
func visit(t *testing.T, h *hall, site *demosite.Site, name string, slot time.Time, window time.Duration) runs.Assignment {
	t.Helper()
	file := scenarioFile(t, site.URL("us"), "steps: [{id: home, type: navigate, url: \"${vars.base}/\", assert: [{visible: \"#more article\"}]}]\n")
	known, err := scenariofile.FleetOf(file)
	if err != nil {
		t.Fatal(err)
	}
	s, err := scenariofile.Load(file, known)
	if err != nil {
		t.Fatal(err)
	}
	s.Resolve(known)
	s.Name = name
	network, _ := netprofile.Lookup(netprofile.None)
	a := runs.NewAssignment(s, "us", network, slot.UTC())
	a.StartBy, a.Deadline = slot.Add(window), slot.Add(window+20*time.Second)
	if _, err := h.bus.Dispatch(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	return a
}

// chromiumIsUp reports whether this process has a Chromium.
func chromiumIsUp(t *testing.T) bool {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range stats {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // ended meanwhile
		}
		_, name, _ := strings.Cut(string(stat), " (")
		name, rest, _ := strings.Cut(name, ") ")
		if fields := strings.Fields(rest); strings.HasPrefix(name, "chrom") && fields[0] != "Z" && fields[1] == fmt.Sprint(os.Getpid()) {
			return true
		}
	}
	return false
}

// A browser run that is ordered ahead has its browser before its slot, begins at the slot and not before it, and says so.
func TestBrowserIsUpBeforeTheSlot(t *testing.T) {
	h, site := newHall(t, "us"), shop(t)
	h.answer(t)
	came := h.results(t)
	background(t, serveArgs(t, h.url, "--browser-slots", "1", "--no-sandbox")...)
	slot := time.Now().Truncate(time.Second).Add(7 * time.Second)
	visit(t, h, site, "visit", slot, 20*time.Second)
	up := time.Time{}
	clitest.Eventually(t, "Chromium", func() bool {
		up = time.Now()
		return chromiumIsUp(t)
	})
	if !up.Before(slot) {
		t.Errorf("got Chromium %s after the slot, want it before: the run was ordered 6 s ahead", up.Sub(slot))
	}
	clitest.Eventually(t, "result", func() bool { return len(came()) == 1 })
	r := came()[0]
	if r.State != runs.StatePassed || r.StartedAt.Before(slot) || r.Load == nil {
		t.Fatalf("got %s %+v, begun at %s, load %+v, want passed, not begun before the slot at %s", r.State, r.Cause, r.StartedAt, r.Load, slot)
	}
	if late := runs.Milliseconds(r.StartedAt.Sub(slot)); r.Load.LateMS != late || r.Load.Weight != 1 || r.Load.Cores <= 0 {
		t.Errorf("got load %+v, want %v ms late, and the weight of a first run", *r.Load, late)
	}
	for i := range r.Requests {
		if r.Requests[i].StartedMS < 0 {
			t.Errorf("request %s: got begun %v ms before the run", r.Requests[i].URL, -r.Requests[i].StartedMS)
		}
	}
}

// More browser runs are due than the machine is said to take: they run one after another, those that find no time are invalid or not begun, the
// others say how late they began, and none is slow by the others.
func TestMoreIsDueThanTheMachineTakes(t *testing.T) {
	h, site := newHall(t, "us"), shop(t)
	h.answer(t)
	came := h.results(t)
	p := background(t, serveArgs(t, h.url, "--browser-slots", "4", "--cores", "0.2", "--no-sandbox")...)
	slot := time.Now().Truncate(time.Second).Add(2 * time.Second)
	windows := map[string]time.Duration{"a": time.Minute, "b": time.Minute, "c": time.Minute, "d": time.Millisecond}
	for _, name := range []string{"a", "b", "c", "d"} {
		visit(t, h, site, name, slot, windows[name])
	}
	clitest.Eventually(t, "all results, but of what no place was free for in time", func() bool {
		return float64(len(came()))+p.metric(t, "lastmile_worker_assignments_expired_total") == 4
	})
	measured := slices.DeleteFunc(came(), func(r runs.Result) bool { return !r.State.Measured() })
	slices.SortFunc(measured, func(a, b runs.Result) int { return a.StartedAt.Compare(b.StartedAt) })
	for _, r := range came() {
		if !r.State.Measured() && (r.Cause.Class != runs.ClassOverloaded || r.Scenario != "d") {
			t.Errorf("%s: got %s %+v, want only d invalid, as overloaded", r.Scenario, r.State, r.Cause)
		}
	}
	for i, r := range measured {
		if r.State != runs.StatePassed || r.Load == nil || r.Load.LateMS != runs.Milliseconds(r.StartedAt.Sub(slot)) {
			t.Errorf("%s: got %s %+v, load %+v, want passed, and how late", r.Scenario, r.State, r.Cause, r.Load)
		}
		if i == 0 {
			continue
		}
		if ended := measured[i-1].StartedAt.Add(measured[i-1].Duration()); r.StartedAt.Before(ended) {
			t.Errorf("%s: got begun %s before %s had ended, want one at a time", r.Scenario, ended.Sub(r.StartedAt), measured[i-1].Scenario)
		}
	}
	if len(measured) < 3 {
		t.Errorf("got %d runs measured, want at least 3", len(measured))
	}
	if bound, waiting := p.metric(t, "lastmile_worker_admission_bound_cores"), p.metric(t, "lastmile_worker_admission_waiting_runs"); bound != 0.1 || waiting != 0 {
		t.Errorf("got a bound of %v cores and %v waiting, want 0.1 and none", bound, waiting)
	}
}

// benchRounds is how many times each number of runs is done at once.
const benchRounds = 5

// BenchmarkAdmission runs the browse journey of the demo k at a time on this machine, as it comes and with admission, and gives the
// median duration of a run over that of one alone: above 1, a number is slow because the machine was busy. With admission runs start
// late instead: the metric late_ms is the median of that. Runs on an idle machine only.
func BenchmarkAdmission(b *testing.B) {
	site, err := demosite.Start(b.Context(), slog.New(slog.DiscardHandler), demosite.Options{Regions: []string{"us"}})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = site.Close() }()
	s, err := scenariofile.Load("../../../scenarios/browse.yaml", demoFleet(b))
	if err != nil {
		b.Fatal(err)
	}
	if err := scenariofile.Override(&s, []string{"us:base=" + site.URL("us")}); err != nil {
		b.Fatal(err)
	}
	network, _ := netprofile.Lookup(netprofile.None)
	runner, missing, err := newRunner(b.Context(), slog.New(slog.DiscardHandler), "bench", RunOptions{
		Chromium: Chromium{NoSandbox: os.Geteuid() == 0}, Link: Link{AllowNet: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
	})
	if err != nil || missing != nil {
		b.Fatal(err, missing)
	}
	order := func() *runs.Assignment {
		a := runs.NewAssignment(s, "us", network, time.Now().UTC())
		a.StartBy, a.Deadline = a.Slot.Add(time.Minute), a.Slot.Add(2*time.Minute)
		return &a
	}
	for b.Loop() {
		alone := 0.0
		for _, mode := range []string{"free", "admitted"} {
			room := admission.New(admission.ThisMachine(), 0)
			for k := 1; k <= 3; k++ {
				if mode == "free" {
					room = admission.New(admission.ThisMachine(), 1000)
				}
				took := atOnce(b, runner, room, order, k)
				if alone == 0 {
					alone = took.duration
				}
				b.ReportMetric(took.duration/alone, fmt.Sprintf("%s_k%d_x", mode, k))
				b.Logf("%-8s k=%d: %4.0f ms a run, %.2f of one alone; began %4.0f ms late; weight %.2f, pressure %.0f %%, tainted %d of %d",
					mode, k, took.duration, took.duration/alone, took.late, took.weight, took.pressure*100, took.tainted, k*benchRounds)
			}
		}
	}
	b.ReportMetric(0, "ns/op") // says nothing: all of them are in it
}

// crowd is what became of runs at once: medians, and how many were tainted.
type crowd struct {
	duration, late, weight, pressure float64
	tainted                          int
}

// atOnce does k runs at once, benchRounds times.
func atOnce(b *testing.B, runner *journey.Runner, room *admission.Room, order func() *runs.Assignment, k int) crowd {
	b.Helper()
	var mu sync.Mutex
	var durations, lates, weights, pressures []float64
	tainted := 0
	one := func() {
		a := order()
		ticket, err := room.Acquire(b.Context(), admission.NeedOf(a), a.StartBy)
		if err != nil {
			b.Error(err)
			return
		}
		defer ticket.Release()
		began := time.Time{}
		begin := func(ctx context.Context) error {
			defer func() { began = time.Now() }()
			return ticket.Start(ctx, a.StartBy)
		}
		r := runner.RunAfter(b.Context(), a, begin, func(r *runs.Result) {
			took := time.Since(began)
			ticket.Stamp(r)
			ticket.Release()
			mu.Lock()
			defer mu.Unlock()
			if r.Load.PressureCPU != nil {
				pressures = append(pressures, *r.Load.PressureCPU/milliseconds(took))
			}
		})
		mu.Lock()
		defer mu.Unlock()
		if r.State != runs.StatePassed && r.State != runs.StateDegraded {
			b.Errorf("got %s %+v, want passed", r.State, r.Cause)
			return
		}
		durations, lates, weights = append(durations, r.DurationMS), append(lates, r.Load.LateMS), append(weights, r.Load.Weight)
		if len(r.Tainted) > 0 {
			tainted++
		}
	}
	for range benchRounds {
		var all sync.WaitGroup
		for range k {
			all.Go(one)
		}
		all.Wait()
	}
	if b.Failed() || len(durations) == 0 {
		b.FailNow()
	}
	out := crowd{duration: median(durations), late: median(lates), weight: median(weights), tainted: tainted}
	if len(pressures) > 0 {
		out.pressure = median(pressures)
	}
	return out
}

// demoFleet is what the demo's scenarios are checked against.
func demoFleet(b *testing.B) scenario.Fleet {
	b.Helper()
	fleet, err := scenariofile.FleetOf("../../../scenarios/browse.yaml")
	if err != nil {
		b.Fatal(err)
	}
	return fleet
}
