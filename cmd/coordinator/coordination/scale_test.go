package coordination

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lastmile/internal/bus"
	"lastmile/internal/cachestate"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/scenariofile"
)

// The size of what BenchmarkFleet runs: 12 regions, 3 networks, and this many scenarios. 278 of them make 10,008 combinations.
const (
	fleetScenarios = "LASTMILE_BENCH_SCENARIOS" // default 28
	fleetSeconds   = "LASTMILE_BENCH_SECONDS"   // how long is measured; default 20
	fleetHub       = "LASTMILE_BENCH_HUB"       // for the fakes: the hub's address
	fleetToken     = "benchmark"
	fleetWarmUp    = 15 * time.Second
	fakeWorkers    = 4 // in each region
)

func fleetRegions() (names []string) {
	for i := range 12 {
		names = append(names, fmt.Sprintf("region-%02d", i))
	}
	return names
}

// setting is a number from the environment.
func setting(t testing.TB, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s: got %q, want a number from 1", name, text)
	}
	return n
}

// fleetSet is a fleet of http scenarios due every minute, from files as people write them.
func fleetSet(t testing.TB, scenarios int) scenariofile.Set {
	t.Helper()
	dir := t.TempDir()
	regions := "apiVersion: lastmile/v1\nregions:\n"
	for _, name := range fleetRegions() {
		regions += "  " + name + ": {description: somewhere}\n"
	}
	files := map[string]string{"regions.yaml": regions}
	for i := range scenarios {
		name := fmt.Sprintf("journey-%03d", i)
		files[name+".yaml"] = `apiVersion: lastmile/v1
scenario: ` + name + `
schedule: "@every 1m"
timeout: 10s
regions: all
networks: [none, 3g, 4g]
slos: [{name: up, objective: 99%, window: 30d}, {name: fast, sli: latency, threshold: 2s, objective: 95%, window: 30d}]
steps:
  - {id: home, type: http, url: "http://192.0.2.1/"}
  - {id: order, type: http, url: "http://192.0.2.1/order"}
`
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set, err := scenariofile.LoadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range set.Scenarios {
		set.Scenarios[i].Resolve(set.Fleet)
	}
	return set
}

// BenchmarkFleet is one coordinator with its embedded server, synced at every write, and a fleet of many combinations due every minute; the
// probes are fakes in another process, which take each job and report at once. What it says is of the coordinator's process alone.
func BenchmarkFleet(b *testing.B) {
	scenarios, seconds := setting(b, fleetScenarios, 28), setting(b, fleetSeconds, 20)
	set := fleetSet(b, scenarios)
	combinations := 0
	for i := range set.Scenarios {
		combinations += len(set.Scenarios[i].Combinations())
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	server, err := bus.StartServer(log, bus.ServerOptions{Dir: b.TempDir(), Listen: "127.0.0.1:0", Token: fleetToken})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = server.Stop(context.WithoutCancel(b.Context())) }()
	hub, err := bus.Connect(b.Context(), log, bus.Options{Server: server, Name: "coordinator"})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = hub.Close() }()
	for b.Loop() {
		before := heap()
		u := New(log, set, hub, Options{})
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan error, 1)
		go func() { done <- u.Run(ctx, ctx) }()
		fakes := startFakes(b, server.URL())
		time.Sleep(fleetWarmUp)
		fakes.say(b, "measure")
		cpu, began := processor(b), time.Now()
		time.Sleep(time.Duration(seconds) * time.Second)
		used, took := processor(b)-cpu, time.Since(began)
		fakes.say(b, "end")
		heard := fakes.wait(b)
		scrape, page := time.Now(), new(bytes.Buffer)
		u.metrics.WritePrometheus(page)
		b.ReportMetric(float64(time.Since(scrape).Milliseconds()), "scrape-ms")
		b.ReportMetric(float64(page.Len())/1e6, "scrape-MB")
		b.ReportMetric(float64(resident(b))/1e6, "RSS-MB")
		page = nil
		b.ReportMetric(float64(heap()-before)/float64(combinations), "heap-B/combination")
		b.ReportMetric(used.Seconds()/took.Seconds(), "cores")
		b.ReportMetric(float64(heard.Runs)/took.Seconds(), "runs/s")
		b.ReportMetric(heard.P50MS, "lag-p50-ms")
		b.ReportMetric(heard.P99MS, "lag-p99-ms")
		b.ReportMetric(heard.MaxMS, "lag-max-ms")
		b.ReportMetric(float64(combinations), "combinations")
		tellStates(b, u)
		cancel()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		if heard.Errors > 0 || heard.Runs < int64(combinations)*int64(seconds)/60*9/10 {
			b.Errorf("got %d runs and %d errors of the fakes, want nine tenths of what was due and no error", heard.Runs, heard.Errors)
		}
	}
}

// tellStates says what did not go as it should: slots that nothing came of.
func tellStates(b *testing.B, u *Unit) {
	states := runs.StateCounts{}
	for _, a := range u.ledger.Accounts(time.Now()) {
		for state, n := range a.Counts {
			states[state] += n
		}
	}
	b.Logf("books: %v", states)
	b.ReportMetric(float64(states[runs.StateMissing]), "missing")
}

// heap is what is in use after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// processor is the time that this process has had on processors.
func processor(t testing.TB) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// resident is this process's memory.
func resident(t testing.TB) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// fakes are the process of the fake probes.
type fakes struct {
	command *exec.Cmd
	in      io.WriteCloser
	out     bytes.Buffer
}

// heard is what the fakes have to tell.
type heard struct {
	Runs   int64
	Errors int64
	P50MS  float64 // from the slot to the job in a fake's hands
	P99MS  float64
	MaxMS  float64
}

func startFakes(t testing.TB, url string) *fakes {
	t.Helper()
	f := &fakes{command: exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestFakeProbes$", "-test.timeout", "0")}
	f.command.Env = append(os.Environ(), fleetHub+"="+url)
	f.command.Stderr = os.Stderr
	f.command.Stdout = &f.out
	var err error
	if f.in, err = f.command.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := f.command.Start(); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fakes) say(t testing.TB, word string) {
	t.Helper()
	if _, err := io.WriteString(f.in, word+"\n"); err != nil {
		t.Fatal(err)
	}
}

func (f *fakes) wait(t testing.TB) (h heard) {
	t.Helper()
	if err := f.command.Wait(); err != nil {
		t.Fatalf("fakes: %v: %s", err, &f.out)
	}
	line, _, _ := strings.Cut(f.out.String(), "\n")
	if err := json.Unmarshal([]byte(line), &h); err != nil {
		t.Fatalf("fakes: %v: %s", err, &f.out)
	}
	return h
}

// TestFakeProbes is no test: it is the other process of BenchmarkFleet. Without that there is nothing to do.
func TestFakeProbes(t *testing.T) {
	url := os.Getenv(fleetHub)
	if url == "" {
		return
	}
	var lags struct {
		sync.Mutex
		all []time.Duration
	}
	var failures atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var working sync.WaitGroup
	for _, region := range fleetRegions() {
		hub, err := bus.Connect(ctx, slog.New(slog.DiscardHandler), bus.Options{URL: url, Token: fleetToken, Name: region})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = hub.Close() }()
		probe := &fake{hub: hub, region: region, failed: func() { failures.Add(1) }, took: func(lag time.Duration) {
			lags.Lock()
			defer lags.Unlock()
			lags.all = append(lags.all, lag)
		}}
		working.Go(func() { probe.beat(ctx) })
		for range fakeWorkers {
			working.Go(func() { probe.work(ctx) })
		}
	}
	words := bufio.NewScanner(os.Stdin)
	for words.Scan() && words.Text() == "measure" {
		lags.Lock()
		lags.all = nil
		lags.Unlock()
		failures.Store(0)
	}
	lags.Lock()
	all, failed := slices.Sorted(slices.Values(lags.all)), failures.Load()
	lags.Unlock()
	cancel()
	working.Wait()
	h := heard{Runs: int64(len(all)), Errors: failed}
	if n := len(all); n > 0 {
		h.P50MS, h.P99MS, h.MaxMS = runs.Milliseconds(all[n/2]), runs.Milliseconds(all[n*99/100]), runs.Milliseconds(all[n-1])
	}
	if err := json.NewEncoder(os.Stdout).Encode(h); err != nil {
		t.Fatal(err)
	}
}

// fake is a probe that runs nothing.
type fake struct {
	hub    *bus.Bus
	region string
	took   func(lag time.Duration)
	failed func()
}

func (f *fake) work(ctx context.Context) {
	for ctx.Err() == nil {
		job, err := f.hub.Take(ctx, f.region, scenario.PoolHTTP, 10*time.Second)
		if err != nil {
			continue // none yet, or no stream yet
		}
		f.took(max(time.Since(job.Assignment.Slot), 0))
		r := reportOf(&job.Assignment)
		if f.hub.PublishResult(ctx, r) != nil && ctx.Err() == nil {
			f.failed()
		}
		if job.Ack(ctx) != nil && ctx.Err() == nil {
			f.failed()
		}
	}
}

func (f *fake) beat(ctx context.Context) {
	ticker := time.NewTicker(2 * time.Second)
	defer ticker.Stop()
	for {
		hb := runs.Heartbeat{Schema: runs.Schema, Region: f.region, Probe: "fake", Version: "v0", Slots: fakeWorkers, SentAt: time.Now().UTC()}
		_, _ = f.hub.Heartbeat(ctx, hb)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// reportOf is what a run of two small steps reports.
func reportOf(a *runs.Assignment) runs.Result {
	now := time.Now().UTC()
	ms := 12.345
	r := runs.Result{
		Schema: runs.Schema, RunID: a.RunID, Scenario: a.Scenario.Name, Revision: a.Revision, Region: a.Region, Network: a.Network.Name,
		Slot: a.Slot, Trigger: a.Trigger, Probe: "fake", State: runs.StatePassed, StartedAt: now, DurationMS: 2 * ms,
		Link: runs.Link{Profile: a.Network.Name, Mode: runs.LinkDirect}, Load: &runs.Load{Cores: 2, LateMS: 1},
	}
	for _, id := range []string{"home", "order"} {
		r.Steps = append(r.Steps, runs.Step{ID: id, Type: scenario.StepHTTP, State: runs.StepPassed, DurationMS: ms, Requests: 1, Bytes: 1234})
		r.Requests = append(r.Requests, runs.Request{
			Step: id, URL: "http://192.0.2.1/" + id, Method: "GET", Status: 200, Protocol: "h2", Phases: runs.Phases{Wait: &ms, Receive: &ms}, Bytes: 1234,
			Cache: cachestate.Result{State: cachestate.Miss, Evidence: "X-Cache: MISS"},
		})
	}
	r.Summarise()
	return r
}
