package coordination

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lastmile/internal/bus"
	"lastmile/internal/cli/clitest"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/scenariofile"
)

// What a child of the tests is to be: a hub on a folder and an address, or a coordinator with scenarios at a hub.
const (
	childHub         = "LASTMILE_TEST_HUB"
	childCoordinator = "LASTMILE_TEST_COORDINATOR"
)

// TestMain has the test's own program be the processes that tests kill.
func TestMain(m *testing.M) {
	switch what := strings.Fields(os.Getenv(childHub) + os.Getenv(childCoordinator)); {
	case os.Getenv(childHub) != "":
		exitOn(serveHub(what[0], what[1]))
	case os.Getenv(childCoordinator) != "":
		exitOn(coordinate(what[0], what[1], what[2]))
	default:
		os.Exit(m.Run())
	}
}

func exitOn(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// serveHub is a NATS server until it is killed.
func serveHub(dir, listen string) error {
	server, err := bus.StartServer(slog.New(slog.DiscardHandler), bus.ServerOptions{Dir: dir, Listen: listen})
	if err != nil {
		return err
	}
	fmt.Println(server.URL())
	select {}
}

// coordinate is a coordinator until it is killed.
func coordinate(url, dir, name string) error {
	set, err := scenariofile.LoadDir(dir)
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	hub, err := bus.Connect(context.Background(), log, bus.Options{URL: url, Name: name})
	if err != nil {
		return err
	}
	u := New(log, set, hub, Options{Address: name, Grace: 30 * time.Second})
	go func() {
		<-u.caughtUp
		fmt.Println("caught up")
	}()
	return u.Run(context.Background(), context.Background())
}

// child starts this program as something else, and returns the first line that it says.
func child(t testing.TB, setting, value string) (c *exec.Cmd, said string) {
	t.Helper()
	c = exec.Command(os.Args[0])
	c.Env = append(os.Environ(), setting+"="+value)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(c) })
	said, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%s: %v", value, err)
	}
	return c, strings.TrimSpace(said)
}

// kill ends a child with SIGKILL, if it has not ended.
func kill(c *exec.Cmd) {
	if c.ProcessState == nil {
		_ = c.Process.Kill() // it may have ended meanwhile
		_ = c.Wait()         // of a signal
	}
}

// freeAddress is one at which nobody listens.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// many writes scenarios without a browser, all due every so often in region us.
func many(t testing.TB, n int, every string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	files := map[string]string{"regions.yaml": "apiVersion: lastmile/v1\nregions:\n  us: {description: here}\n"}
	for i := range n {
		files[fmt.Sprintf("s%03d.yaml", i)] = fmt.Sprintf(`apiVersion: lastmile/v1
scenario: s%03d
schedule: "@every %s"
timeout: 1s
regions: [us]
steps:
  - {type: http, url: "http://127.0.0.1:1/"}
`, i, every)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func load(t testing.TB, dir string) scenariofile.Set {
	t.Helper()
	set, err := scenariofile.LoadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func connect(t testing.TB, url string) *bus.Bus {
	t.Helper()
	hub, err := bus.Connect(t.Context(), slog.New(slog.DiscardHandler), bus.Options{URL: url, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hub.Close() })
	return hub
}

// crew are workers that take jobs, acknowledge each before they run it, and report it as passed.
type crew struct {
	mu    sync.Mutex
	ran   map[runs.ID][]time.Time // when the jobs that were run of a slot had been stored
	terms map[uint64]time.Time    // when the first job of a term was taken
	done  sync.WaitGroup
}

func hire(ctx context.Context, t testing.TB, hub *bus.Bus, n int) *crew {
	t.Helper()
	c := &crew{ran: map[runs.ID][]time.Time{}, terms: map[uint64]time.Time{}}
	for range n {
		c.done.Go(func() {
			for ctx.Err() == nil {
				if job, err := hub.Take(ctx, "us", scenario.PoolHTTP, time.Second); err == nil {
					c.work(ctx, hub, job)
				}
			}
		})
	}
	return c
}

// work runs a job if it can be acknowledged, and once only, as a worker does: what comes again of that very job is no second order.
func (c *crew) work(ctx context.Context, hub *bus.Bus, job *bus.Job) {
	a := &job.Assignment
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if job.Ack(limited) != nil {
		return
	}
	c.mu.Lock()
	again := slices.ContainsFunc(c.ran[a.RunID], job.Stored.Equal) // a server that was killed has forgotten the acknowledgement
	if !again {
		c.ran[a.RunID] = append(c.ran[a.RunID], job.Stored)
	}
	if _, ok := c.terms[a.Term]; !ok {
		c.terms[a.Term] = time.Now()
	}
	c.mu.Unlock()
	if again {
		return
	}
	r := runs.Result{
		Schema: runs.Schema, RunID: a.RunID, Scenario: a.Scenario.Name, Region: a.Region, Network: a.Network.Name, Slot: a.Slot,
		Trigger: a.Trigger, Probe: "p", State: runs.StatePassed, StartedAt: time.Now(), DurationMS: 1,
	}
	for range 200 { // as a spool does
		err := hub.PublishResult(context.WithoutCancel(ctx), r)
		if err == nil || !errors.Is(err, bus.ErrUnavailable) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// runs counts the slots that were run.
func (c *crew) runs() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.ran)
}

// checkOnce asserts that no slot was run twice, and returns how many were run.
func (c *crew) checkOnce(t *testing.T) int {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, jobs := range c.ran {
		if len(jobs) != 1 {
			t.Errorf("%s: got %d runs, by jobs stored at %v, want one", id, len(jobs), jobs)
		}
	}
	return len(c.ran)
}

// counts are the books of a unit, without what is beyond states.
func counts(u *Unit, now time.Time) map[scenario.Combination]runs.StateCounts {
	out := map[scenario.Combination]runs.StateCounts{}
	for _, a := range u.ledger.Accounts(now) {
		out[a.Combination] = maps.Clone(a.Counts)
		maps.DeleteFunc(out[a.Combination], func(_ runs.State, n int64) bool { return n == 0 })
	}
	return out
}

// settle closes what is open in the books of the units as if the time for it had come, and waits until the books are at one.
func settle(t *testing.T, units ...*Unit) {
	t.Helper()
	later := time.Now().Add(2 * time.Minute)
	clitest.Eventually(t, "books that are closed and the same", func() bool {
		settled := true
		for _, u := range units {
			for _, v := range u.ledger.Closable(later, 0, u) {
				settled = false
				if _, err := u.hub.PublishVerdict(t.Context(), v); err != nil {
					t.Fatal(err)
				}
			}
			settled = settled && u.ledger.Pending() == 0 && maps.EqualFunc(counts(u, later), counts(units[0], later), maps.Equal)
		}
		return settled
	})
}

// start follows the streams with a unit, and waits until its books are complete.
func start(ctx context.Context, t *testing.T, working *sync.WaitGroup, set scenariofile.Set, url string) *Unit {
	t.Helper()
	u := New(slog.New(slog.DiscardHandler), set, connect(t, url), Options{})
	working.Go(func() {
		if err := u.follow(ctx); err != nil {
			t.Error(err)
		}
	})
	working.Go(func() { _ = u.followWindows(ctx) }) // which has no error
	select {
	case <-u.caughtUp:
	case <-time.After(clitest.Patience):
		t.Fatal("books are not complete")
	}
	return u
}

// TestSplitBrainIsHarmless has two coordinators lead at once, as no lease would have it, on a hub that is killed now and then. Every slot
// is in the books of both and counted once, no slot is run twice, and whoever reads the streams anew comes to the same.
func TestSplitBrainIsHarmless(t *testing.T) {
	t.Parallel()
	dir, address := t.TempDir(), freeAddress(t)
	server, url := child(t, childHub, dir+" "+address)
	set := load(t, many(t, 120, "2s"))
	if err := connect(t, url).EnsureStreams(t.Context(), set.Fleet.Regions); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	leading, stop := context.WithCancel(ctx)
	var working, leaders sync.WaitGroup
	units := []*Unit{start(ctx, t, &working, set, url), start(ctx, t, &working, set, url)}
	taking, dismiss := context.WithCancel(ctx)
	workers := hire(taking, t, connect(t, url), 8)
	for i, u := range units {
		leaders.Go(func() {
			if err := u.lead(leading, leading, uint64(i+1)); err != nil {
				t.Error(err)
			}
		})
	}
	for range 3 {
		time.Sleep(1500 * time.Millisecond)
		kill(server)
		server, _ = child(t, childHub, dir+" "+address)
	}
	time.Sleep(1500 * time.Millisecond)
	clitest.Eventually(t, "as many runs as it takes to see something", func() bool { return workers.runs() > 100 })
	stopped := time.Now()
	stop()
	leaders.Wait()
	ended := time.Now()
	dismiss()
	workers.done.Wait()
	settle(t, units...)
	units = append(units, start(ctx, t, &working, set, url))
	settle(t, units...)
	ran, passed := workers.checkOnce(t), int64(0)
	for _, a := range units[1].ledger.Accounts(time.Now()) {
		s := &set.Scenarios[slices.IndexFunc(set.Scenarios, func(s scenario.Scenario) bool { return s.Name == a.Scenario })]
		first, _ := units[1].ledger.First(a.Combination)
		due := func(until time.Time) int64 {
			return int64(len(s.Timetable().Slots(a.Combination, first.Add(-time.Second), until, 1000)))
		}
		if planned := a.Counts.Planned(); planned < due(stopped) || planned > due(ended) || planned == 0 {
			var got []string
			for _, r := range units[1].ledger.Slots(a.Combination, first) {
				got = append(got, fmt.Sprintf("%d %s %s", r.Slot.Unix(), r.State, r.Reason))
			}
			t.Errorf("%s: got %v, want the %d slots that were due at %d, or as many as %d at %d; the books have %q", a.Scenario, a.Counts, due(stopped), stopped.Unix(), due(ended), ended.Unix(), got)
		}
		if a.Duplicates != 0 || a.Unscheduled != 0 {
			t.Errorf("%s: got %d duplicates and %d results outside the books, want none", a.Scenario, a.Duplicates, a.Unscheduled)
		}
		passed += a.Counts[runs.StatePassed]
	}
	if passed != int64(ran) {
		t.Errorf("got %d passed slots of %d that were run, want all of them", passed, ran)
	}
	t.Logf("%d slots run with two leaders and three kills of the hub", ran)
	cancel()
	working.Wait()
}

// coordinators are some that campaign beside each other.
type coordinators struct {
	t     *testing.T
	url   string
	set   scenariofile.Set
	units []*Unit
	gone  []chan error
	stops []context.CancelFunc
}

// add starts one more, with a hub of its own.
func (c *coordinators) add(opts Options) *Unit {
	c.t.Helper()
	hub, err := bus.Connect(c.t.Context(), slog.New(slog.DiscardHandler), bus.Options{URL: c.url, Name: "coordinator"})
	if err != nil {
		c.t.Fatal(err)
	}
	u := New(slog.New(slog.DiscardHandler), c.set, hub, opts)
	ctx, stop := context.WithCancel(c.t.Context())
	gone := make(chan error, 1)
	go func() {
		gone <- u.Run(ctx, ctx)
		close(gone)
	}()
	c.units, c.gone, c.stops = append(c.units, u), append(c.gone, gone), append(c.stops, stop)
	c.t.Cleanup(func() {
		stop()
		for range gone { // its error has been looked at where none was to be expected
		}
		_ = hub.Close()
	})
	clitest.Eventually(c.t, "a coordinator that is ready", func() bool { return u.readiness() == nil })
	return u
}

// leader waits until one leads.
func (c *coordinators) leader() (index int) {
	c.t.Helper()
	clitest.Eventually(c.t, "a coordinator that leads", func() bool {
		index = slices.IndexFunc(c.units, func(u *Unit) bool { return u.leads() && u.scheduler() != nil })
		return index >= 0
	})
	return index
}

// beat sends a heartbeat until somebody answers.
func beat(t *testing.T, hub *bus.Bus) (reply runs.HeartbeatReply) {
	t.Helper()
	clitest.Eventually(t, "an answer with a plan", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var err error
		reply, err = hub.Heartbeat(ctx, runs.Heartbeat{Schema: runs.Schema, Region: "us", Probe: "p", SentAt: time.Now(), Slots: 1, Pools: []string{scenario.PoolHTTP}})
		return err == nil && reply.Plan != ""
	})
	return reply
}

// TestStandbyTakesOver cuts the leader off from the hub, for good. The one that stood by is ready all the time, shows no books, and leads when
// the lease has run out; it runs each slot whose window is still open, none twice, and the books have no gap.
func TestStandbyTakesOver(t *testing.T) {
	t.Parallel()
	server, err := bus.StartServer(slog.New(slog.DiscardHandler), bus.ServerOptions{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop(context.WithoutCancel(t.Context())) })
	c := &coordinators{t: t, url: server.URL(), set: load(t, many(t, 20, "2s"))}
	const ttl = 1500 * time.Millisecond
	c.add(Options{Lease: ttl})
	old := c.leader()
	standby := c.add(Options{Lease: ttl})
	probe := connect(t, server.URL())
	taking, dismiss := context.WithCancel(t.Context())
	workers := hire(taking, t, probe, 4)
	defer func() {
		dismiss()
		workers.done.Wait()
	}()
	first := beat(t, probe)
	leader := c.units[old]
	if leader.health().Term != first.Term || standby.leads() || standby.health().Leading {
		t.Errorf("got an answer of term %d, want the leader's, %d; the other leads: %t", first.Term, leader.health().Term, standby.leads())
	}
	if plan, err := probe.Plan(t.Context(), "us"); err != nil || plan.Revision != first.Plan || len(plan.Scenarios) != 20 {
		t.Errorf("got %d scenarios of plan %s, %v, want the 20 of the one that the answer names, %s", len(plan.Scenarios), plan.Revision, err, first.Plan)
	}
	clitest.Eventually(t, "runs in both books", func() bool {
		n := 0
		for _, a := range standby.ledger.Accounts(time.Now()) {
			if a.Counts[runs.StatePassed] > 0 {
				n++
			}
		}
		return n == 20
	})
	clitest.Eventually(t, "a probe that the standby knows", func() bool { return len(standby.fleet.Probes(time.Now())) == 1 })
	_ = leader.hub.Close() // as good as dead: it reaches nobody any more
	clitest.Eventually(t, "the other one to lead", standby.leads)
	second := beat(t, probe)
	if second.Term <= first.Term || second.Plan != first.Plan {
		t.Errorf("got term %d with plan %s after term %d with %s, want a greater one with the same", second.Term, second.Plan, first.Term, first.Plan)
	}
	clitest.Eventually(t, "runs of the new term", func() bool {
		workers.mu.Lock()
		defer workers.mu.Unlock()
		_, ok := workers.terms[second.Term]
		return ok
	})
	dismiss()
	workers.done.Wait()
	workers.checkOnce(t)
	now := time.Now()
	for _, a := range standby.ledger.Accounts(now) {
		slots := standby.ledger.Slots(a.Combination, now.Add(-time.Minute))
		for i := 1; i < len(slots); i++ {
			if gap := slots[i].Slot.Sub(slots[i-1].Slot); gap != 2*time.Second {
				t.Errorf("%s: got slots %s and then %s, want one every 2 s", a.Scenario, slots[i-1].Slot, slots[i].Slot)
			}
		}
	}
}

// A coordinator that is stopped hands over at once: the lease's time is an hour here. Then it stands by.
func TestHandOver(t *testing.T) {
	t.Parallel()
	server, err := bus.StartServer(slog.New(slog.DiscardHandler), bus.ServerOptions{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop(context.WithoutCancel(t.Context())) })
	c := &coordinators{t: t, url: server.URL(), set: load(t, many(t, 2, "2s"))}
	c.add(Options{Lease: time.Hour})
	old := c.leader()
	next := c.add(Options{Lease: time.Hour})
	c.stops[old]()
	if err := <-c.gone[old]; err != nil {
		t.Errorf("clean stop: got %v, want nil", err)
	}
	clitest.Eventually(t, "the other one to lead", next.leads)
}
