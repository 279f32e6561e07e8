package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"lastmile/internal/bus/layout"
	"lastmile/internal/bus/lease"
	"lastmile/internal/bus/objects"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// newCluster makes three servers of a cluster, on ports that nobody has.
func newCluster(t *testing.T) (servers []*server.Server) {
	t.Helper()
	var routes []*url.URL
	var ports []int
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		ports = append(ports, port)
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", port)})
		defer l.Close() // all three at once, so that they differ
	}
	for i, port := range ports {
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprintf("n%d", i), Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
			JetStream: true, StoreDir: t.TempDir(), Routes: routes,
			Cluster: server.ClusterOpts{Name: "hub", Host: "127.0.0.1", Port: port},
		})
		if err != nil {
			t.Fatal(err)
		}
		servers = append(servers, s)
	}
	return servers
}

// runCluster starts the servers, and returns their addresses for clients when they have a leader.
func runCluster(t *testing.T, servers []*server.Server) (urls string) {
	t.Helper()
	for i, s := range servers {
		s.Start()
		t.Cleanup(func() {
			s.Shutdown()
			s.WaitForShutdown()
		})
		if !s.ReadyForConnections(patience) {
			t.Fatal("server is not ready")
		}
		if i > 0 {
			urls += ","
		}
		urls += s.ClientURL()
	}
	for deadline := time.Now().Add(2 * patience); !slices.ContainsFunc(servers, (*server.Server).JetStreamIsLeader); {
		if time.Now().After(deadline) {
			t.Fatal("cluster has no leader")
		}
		time.Sleep(10 * time.Millisecond)
	}
	return urls
}

// replicas lists on how many servers each stream of the bus is kept.
func replicas(t *testing.T, b *Bus) map[string]int {
	t.Helper()
	out := map[string]int{}
	all := b.js.ListStreams(soon(t))
	for info := range all.Info() {
		out[info.Config.Name] = info.Config.Replicas
	}
	if all.Err() != nil {
		t.Fatal(all.Err())
	}
	return out
}

// A cluster of three bears the loss of one server: what was stored is there, jobs are handed out once, and the books go on. Streams that were made
// with one copy get three when they are asked for, and keep them when nothing is said.
func TestClusterBearsTheLossOfAServer(t *testing.T) {
	t.Parallel()
	servers := newCluster(t)
	urls := runCluster(t, servers)
	b := connectTest(t, Options{URL: urls, Name: "coordinator"})
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	ensure := func(b *Bus) {
		t.Helper()
		var err error
		for range 100 { // a cluster that has just come up may not place streams yet
			if err = b.EnsureStreams(ctx, []string{"us"}); err == nil || !errors.Is(err, ErrUnavailable) {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	ensure(b)
	b.opts.Replicas = 3
	ensure(b)
	b.opts.Replicas = 0
	ensure(b)
	if err := b.Artefacts("us").Ensure(ctx, objects.Limits{Bytes: 1 << 20, Age: time.Hour}); err != nil {
		t.Fatal(err)
	}
	got := replicas(t, b)
	for _, want := range []string{"JOBS_us", "RESULTS_us", "VERDICT", "TOKENS_us", "KV_coord", "KV_lease", "KV_sched", "NOTIFY", "AUDIT", "OBJ_ARTEFACTS_us"} {
		if got[want] != 3 {
			t.Errorf("%s: got %d replicas, want 3; all: %v", want, got[want], got)
		}
	}
	awaitCurrent(t, b)
	const jobs = 30
	for i := range jobs {
		a := assignment(t, fmt.Sprintf("s%d", i), "us")
		if i == jobs/3 { // the one that leads the jobs' stream
			lose(t, b, servers)
		}
		if created, err := b.Dispatch(ctx, a); err != nil || !created && i != jobs/3 {
			t.Fatalf("dispatch %d: got %v, %v, want it created", i, created, err)
		}
	}
	seen := map[runs.ID]int{}
	for range jobs {
		job, err := b.Take(ctx, "us", scenario.PoolHTTP, 2*patience)
		for errors.Is(err, ErrUnavailable) && ctx.Err() == nil {
			job, err = b.Take(ctx, "us", scenario.PoolHTTP, 2*patience)
		}
		if err != nil {
			t.Fatal(err)
		}
		seen[job.Assignment.RunID]++
		if err := job.Ack(ctx); err != nil {
			t.Fatal(err)
		}
		if err := b.PublishResult(ctx, resultOf(job.Assignment, "p")); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) != jobs {
		t.Errorf("got %d different jobs, want each of the %d once", len(seen), jobs)
	}
}

// awaitCurrent waits until every stream has three copies that are the same: until then, a loss is one too many.
func awaitCurrent(t *testing.T, b *Bus) {
	t.Helper()
	for ctx := soon(t); ; time.Sleep(20 * time.Millisecond) {
		behind := ""
		all := b.js.ListStreams(ctx)
		for info := range all.Info() {
			if !whole(info.Cluster) {
				behind += " " + info.Config.Name
			}
		}
		for _, pool := range scenario.Pools() {
			if c, err := b.js.Consumer(ctx, "JOBS_us", pool); err != nil || !whole(c.CachedInfo().Cluster) {
				behind += " " + pool
			}
		}
		if all.Err() == nil && behind == "" {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("got copies that are behind:%s, %v", behind, all.Err())
		}
	}
}

// whole reports whether there are three copies that are the same.
func whole(c *jetstream.ClusterInfo) bool {
	if c == nil || c.Leader == "" || len(c.Replicas) != 2 {
		return false
	}
	return !slices.ContainsFunc(c.Replicas, func(p *jetstream.PeerInfo) bool { return !p.Current })
}

// lose stops the server that leads the jobs' stream.
func lose(t *testing.T, b *Bus, servers []*server.Server) {
	t.Helper()
	stream, err := b.js.Stream(soon(t), "JOBS_us")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		if s.Name() == stream.CachedInfo().Cluster.Leader {
			s.Shutdown()
			return
		}
	}
	t.Fatalf("got leader %q, want one of the three", stream.CachedInfo().Cluster.Leader)
}

// older is what the version before this one made.
func older(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	configs := []jetstream.StreamConfig{
		{Name: "JOBS_us", Subjects: []string{"job.us.*.*.*.*"}, MaxAge: 2 * time.Hour, MaxBytes: 256 << 20, Discard: jetstream.DiscardNew, AllowMsgTTL: true},
		{Name: "RESULTS_us", Subjects: []string{"res.us.*"}, Compression: jetstream.S2Compression, MaxAge: 30 * 24 * time.Hour, MaxBytes: 1 << 30,
			Discard: jetstream.DiscardNew, DenyDelete: true, DenyPurge: true, Duplicates: time.Minute},
		{Name: "VERDICT", Subjects: []string{"verdict.*.*"}, MaxAge: 40 * 24 * time.Hour},
	}
	for _, c := range configs {
		if _, err := js.CreateStream(soon(t), c); err != nil {
			t.Fatal(err)
		}
	}
}

// Streams of the version before are brought up to date with what is in them.
func TestEnsureStreamsUpdatesOlderOnes(t *testing.T) {
	t.Parallel()
	b := connectTest(t, Options{Server: startTestServer(t, ServerOptions{})})
	older(t, b.js)
	a := assignment(t, "shop", "us")
	mustDispatch(t, b, a)
	mustPublish(t, b, resultOf(a, "p"))
	if err := b.EnsureStreams(soon(t), []string{"us"}); err != nil {
		t.Fatal(err)
	}
	for stream, want := range map[string]func(jetstream.StreamConfig) bool{
		"JOBS_us":    func(c jetstream.StreamConfig) bool { return c.MaxMsgsPerSubject == 1 },
		"RESULTS_us": func(c jetstream.StreamConfig) bool { return c.Duplicates == 10*time.Minute },
	} {
		s, err := b.js.Stream(soon(t), stream)
		if err != nil {
			t.Fatal(err)
		}
		if info := s.CachedInfo(); !want(info.Config) || info.State.Msgs != 1 {
			t.Errorf("%s: got %+v with %d messages, want it up to date with the one that was there", stream, info.Config, info.State.Msgs)
		}
	}
	mustTake(t, b, a)
}

// stale has two coordinators: one whose term has passed, and the one that leads.
func stale(t *testing.T) (old, now *Bus) {
	t.Helper()
	now = newBus(t)
	old = connectTest(t, Options{Server: now.opts.Server})
	now.term = lease.Term{Number: 7, Began: time.Now().Add(-time.Minute)} // the server's clock is ours here
	return old, now
}

// termed is an assignment in the name of a term; body tells one plan from another.
func termed(a runs.Assignment, term uint64, body string) runs.Assignment {
	a.Term = term
	a.Scenario.Steps = slices.Clone(a.Scenario.Steps)
	a.Scenario.Steps[0].Body = body
	return a
}

// stored returns the job that stands for an assignment.
func stored(t *testing.T, b *Bus, a runs.Assignment) (got runs.Assignment) {
	t.Helper()
	stream, err := b.js.Stream(soon(t), "JOBS_us")
	if err != nil {
		t.Fatal(err)
	}
	msg, err := stream.GetLastMsgForSubject(soon(t), jobSubject(&a))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(msg.Data, &got); err != nil {
		t.Fatal(err)
	}
	if header := msg.Header.Get("Lastmile-Term"); header != fmt.Sprint(got.Term) {
		t.Errorf("got header %q, want the body's term %d", header, got.Term)
	}
	return got
}

// An order of a stale leader gives way where it says something else and nobody has it; it stands where it says the same, where a worker has it,
// and where it is from before the term.
func TestStaleOrders(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		first, second uint64
		same, taken   bool
		began         time.Duration // of the term, from now
		want          bool
	}{
		"another plan":          {first: 6, second: 7, began: -time.Minute, want: true},
		"the same plan":         {first: 6, second: 7, began: -time.Minute, same: true},
		"a worker has it":       {first: 6, second: 7, began: -time.Minute, taken: true},
		"from before the term":  {first: 6, second: 7, began: time.Minute},
		"of the same term":      {first: 7, second: 7, began: -time.Minute},
		"of a later term":       {first: 8, second: 7, began: -time.Minute},
		"we do not lead":        {first: 5, second: 6, began: -time.Minute},
		"an order without term": {first: 6, second: 0, began: -time.Minute},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			old, now := stale(t)
			now.term.Began = time.Now().Add(test.began)
			a := assignment(t, "shop", "us")
			first, second := termed(a, test.first, "old"), termed(a, test.second, "new")
			if test.same {
				second = termed(a, test.second, "old")
			}
			mustDispatch(t, old, first)
			if test.taken {
				mustTake(t, now, first)
			}
			replaced, err := now.Dispatch(soon(t), second)
			if err != nil || replaced != test.want {
				t.Fatalf("got %v, %v, want %v", replaced, err, test.want)
			}
			want := first
			if test.want {
				want = second
			}
			if test.first > 0 && stored(t, now, a).Term != want.Term {
				t.Errorf("got the order of term %d, want that of %d", stored(t, now, a).Term, want.Term)
			}
			if again, err := now.Dispatch(soon(t), second); again || err != nil {
				t.Errorf("once more: got %v, %v, want it to stand", again, err)
			}
			if test.taken {
				mustFindNoJob(t, now, "us", scenario.PoolHTTP)
				return
			}
			if job := mustTake(t, now, a); job.Assignment.Term != want.Term {
				t.Errorf("got the job of term %d, want that of %d", job.Assignment.Term, want.Term)
			}
			mustFindNoJob(t, now, "us", scenario.PoolHTTP) // the one that gave way is gone
		})
	}
}

// Many orders at once by a stale leader and by the one that leads, with hungry workers: each slot is handed out once.
func TestTwoLeadersOrderOnce(t *testing.T) {
	t.Parallel()
	old, now := stale(t)
	const slots = 200
	done := make(chan error, 2)
	for _, c := range []struct {
		bus  *Bus
		term uint64
	}{{old, 6}, {now, 7}} {
		go func() {
			for i := range slots {
				a := assignment(t, fmt.Sprintf("s%d", i), "us")
				a = runs.NewAssignment(a.Scenario, "us", a.Network, a.Slot.Truncate(time.Minute))
				a.StartBy, a.Deadline = a.Slot.Add(time.Hour), a.Slot.Add(2*time.Hour)
				a.Term = c.term
				if _, err := c.bus.Dispatch(t.Context(), a); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	seen := map[runs.ID]int{}
	limit := soon(t)
	for len(seen) < slots && limit.Err() == nil {
		job, err := now.Take(limit, "us", scenario.PoolHTTP, patience)
		if err != nil {
			t.Fatal(err)
		}
		seen[job.Assignment.RunID]++
		if err := job.Ack(limit); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	mustFindNoJob(t, now, "us", scenario.PoolHTTP)
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s: got it %d times, want once", id, n)
		}
	}
}

// The layout names what Follow reads.
func TestStreamsAreThoseOfTheLayout(t *testing.T) {
	t.Parallel()
	if got, want := Streams([]string{"us"}), []string{layout.Verdicts, layout.ResultsStream("us")}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
