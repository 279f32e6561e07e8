package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"lastmile/internal/bus/layout"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// patience bounds whatever a test waits for; nothing takes that long.
const patience = 15 * time.Second

// startTestServer runs a server on a store that is gone after the test.
func startTestServer(t testing.TB, o ServerOptions) *Server {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	s, err := StartServer(slog.New(slog.DiscardHandler), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopTestServer(t, s) })
	return s
}

func stopTestServer(t testing.TB, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func connectTest(t testing.TB, o Options) *Bus {
	t.Helper()
	b, err := Connect(soon(t), slog.New(slog.DiscardHandler), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// newBus is a bus with its own server, set up for the regions us and eu.
func newBus(t testing.TB) *Bus {
	t.Helper()
	b := connectTest(t, Options{Server: startTestServer(t, ServerOptions{})})
	if err := b.EnsureStreams(soon(t), []string{"us", "eu"}); err != nil {
		t.Fatal(err)
	}
	return b
}

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// assignment is an http run in a region, due now.
func assignment(t testing.TB, name, region string) runs.Assignment {
	t.Helper()
	var s scenario.Scenario
	text := `{"apiVersion":"lastmile/v1","scenario":"` + name + `","schedule":"@every 1m","timeout":"10s","regions":["` + region + `"],
		"steps":[{"type":"http","url":"http://127.0.0.1/"}]}`
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	return runs.NewAssignment(s, region, netprofile.Profile{Name: netprofile.None, Version: "v1"}, time.Now().Truncate(time.Second))
}

func resultOf(a runs.Assignment, probe string) runs.Result {
	return runs.Result{
		Schema: runs.Schema, RunID: a.RunID, Scenario: a.Scenario.Name, Revision: a.Revision, Region: a.Region, Network: a.Network.Name,
		Slot: a.Slot, Trigger: a.Trigger, Probe: probe, State: runs.StatePassed, StartedAt: a.Slot, DurationMS: 12.5,
	}
}

func mustDispatch(t testing.TB, b *Bus, a runs.Assignment) {
	t.Helper()
	if created, err := b.Dispatch(soon(t), a); err != nil || !created {
		t.Fatalf("dispatch: got %v, %v, want it created", created, err)
	}
}

func mustTake(t testing.TB, b *Bus, a runs.Assignment) *Job {
	t.Helper()
	job, err := b.Take(soon(t), a.Region, a.Scenario.Pool(), patience)
	if err != nil {
		t.Fatal(err)
	}
	if job.Assignment.RunID != a.RunID {
		t.Fatalf("take: got run %s, want %s", job.Assignment.RunID, a.RunID)
	}
	return job
}

// mustFindNoJob takes with a short wait, which is the only way to see that nothing comes.
func mustFindNoJob(t testing.TB, b *Bus, region, pool string) {
	t.Helper()
	if job, err := b.Take(soon(t), region, pool, 300*time.Millisecond); !errors.Is(err, ErrNoJob) {
		t.Fatalf("take: got %v, %v, want no job", job, err)
	}
}

func TestServerRefusesToStart(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	first := startTestServer(t, ServerOptions{Listen: "127.0.0.1:0"})
	used := strings.TrimPrefix(first.URL(), "nats://")
	owned := t.TempDir()
	startTestServer(t, ServerOptions{Dir: owned})
	tests := map[string]struct {
		options ServerOptions
		want    string
	}{
		"port in use":               {ServerOptions{Dir: t.TempDir(), Listen: used}, used + ": bind: address already in use"},
		"open to all without token": {ServerOptions{Dir: t.TempDir(), Listen: "0.0.0.0:0"}, "without a token"},
		"any host without token":    {ServerOptions{Dir: t.TempDir(), Listen: ":0"}, "without a token"},
		"no port":                   {ServerOptions{Dir: t.TempDir(), Listen: "localhost"}, "want host:port"},
		"port out of range":         {ServerOptions{Dir: t.TempDir(), Listen: "localhost:70000"}, `got port "70000"`},
		"no folder":                 {ServerOptions{}, "got no folder"},
		"store in use":              {ServerOptions{Dir: owned}, "in use by another server"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := StartServer(log, test.options)
			if err == nil {
				stopTestServer(t, s)
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestConnectRefusals(t *testing.T) {
	t.Parallel()
	plain, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	plain.Start()
	defer plain.WaitForShutdown()
	defer plain.Shutdown()
	if !plain.ReadyForConnections(patience) {
		t.Fatal("plain server is not ready")
	}
	guarded := startTestServer(t, ServerOptions{Listen: "127.0.0.1:0", Token: "s3cret-right"})
	tests := map[string]struct {
		options Options
		want    string
	}{
		"no token":     {Options{URL: guarded.URL()}, "Authorization"},
		"wrong token":  {Options{URL: guarded.URL(), Token: "s3cret-wrong"}, "Authorization"},
		"token in URL": {Options{URL: strings.Replace(guarded.URL(), "//", "//s3cret-wrong@", 1)}, "Authorization"},
		"not a URL":    {Options{URL: "s3cret@:x y"}, "want nats://host:port"},
		"no scheme":    {Options{URL: "127.0.0.1:4222"}, "want nats://host:port"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b, err := Connect(soon(t), slog.New(slog.DiscardHandler), test.options)
			if err == nil {
				b.Close()
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("got error %v, want one with %q and without the token", err, test.want)
			}
		})
	}
	t.Run("no JetStream", func(t *testing.T) { // it may be a leaf without its link
		ctx, cancel := context.WithCancel(soon(t))
		defer cancel()
		_, err := Connect(ctx, slog.New(slog.NewTextHandler(onWrite(cancel), nil)), Options{URL: plain.ClientURL()}) // until it has said that it tries on
		if want := "connect bus " + plain.ClientURL() + ": server has no JetStream; start it with -js"; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want one with %q and the end of the context", err, want)
		}
	})
	t.Run("right token", func(t *testing.T) {
		b := connectTest(t, Options{URL: guarded.URL(), Token: "s3cret-right"})
		if s := b.Stats(); !s.Connected || s.Reconnects != 0 || len(s.Rejected) != len(Kinds()) {
			t.Errorf("got stats %+v, want connected, no reconnects, every kind", s)
		}
	})
	t.Run("in-process with token", func(t *testing.T) { connectTest(t, Options{Server: guarded}) })
}

// onWrite is called whenever something is written.
type onWrite func()

// Write implements io.Writer.
func (f onWrite) Write(b []byte) (int, error) {
	f()
	return len(b), nil
}

func TestConnectGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	s := startTestServer(t, ServerOptions{Listen: "127.0.0.1:0"})
	url := s.URL()
	stopTestServer(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := Connect(ctx, slog.New(slog.DiscardHandler), Options{URL: url})
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, nats.ErrNoServers) || !strings.Contains(err.Error(), url) {
		t.Errorf("got %v, want the address, the cause and the end of the context", err)
	}
}

func TestEnsureStreamsIsIdempotentAndUpdates(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	ctx := soon(t)
	stream, err := b.js.Stream(ctx, "JOBS_us")
	if err != nil {
		t.Fatal(err)
	}
	want := stream.CachedInfo().Config
	changed := want
	changed.MaxAge = time.Hour
	if _, err := b.js.UpdateStream(ctx, changed); err != nil {
		t.Fatal(err)
	}
	if err := b.EnsureStreams(ctx, []string{"us", "eu", "apac"}); err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if info.Config.MaxAge != 2*time.Hour || info.Config.MaxAge != want.MaxAge || !info.Config.AllowMsgTTL {
		t.Errorf("got %+v, want max age 2 h again and TTLs", info.Config)
	}
	if _, err := b.js.Consumer(ctx, "JOBS_apac", scenario.PoolBrowser); err != nil {
		t.Errorf("new region: %v", err)
	}
	if err := b.EnsureStreams(ctx, []string{"us.>"}); err == nil {
		t.Error("got no error for region us.>, want one")
	}
}

func TestDispatchIsCreateOnce(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	other := connectTest(t, Options{Server: b.opts.Server}) // a second coordinator that does not know of the first
	const slots = 40
	var mu sync.Mutex
	created := 0
	var wg sync.WaitGroup
	for _, coordinator := range []*Bus{b, other} {
		wg.Go(func() {
			for i := range slots {
				ok, err := coordinator.Dispatch(t.Context(), assignment(t, fmt.Sprintf("s%d", i), "us"))
				if err != nil {
					t.Error(err)
				}
				if ok {
					mu.Lock()
					created++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	// assignment truncates the clock, so a slot may differ where a second ended between the two; each is a slot of its own.
	stream, err := b.js.Stream(soon(t), "JOBS_us")
	if err != nil {
		t.Fatal(err)
	}
	if stored := int(stream.CachedInfo().State.Msgs); created != stored || stored < slots || stored > 2*slots {
		t.Errorf("got %d created and %d stored, want the same number", created, stored)
	}
	a := assignment(t, "again", "us")
	mustDispatch(t, b, a)
	if created, err := other.Dispatch(soon(t), a); created || err != nil {
		t.Errorf("second dispatch: got %v, %v, want false and no error", created, err)
	}
}

func TestDispatchAfterAckIsStillOnce(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	a := assignment(t, "shop", "us")
	mustDispatch(t, b, a)
	job := mustTake(t, b, a)
	if err := job.Ack(soon(t)); err != nil {
		t.Fatal(err)
	}
	if created, err := b.Dispatch(soon(t), a); created || err != nil {
		t.Errorf("dispatch after ack: got %v, %v, want false and no error", created, err)
	}
	mustFindNoJob(t, b, "us", scenario.PoolHTTP)
}

func TestDispatchRefusals(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	late := assignment(t, "shop", "us")
	late = runs.NewAssignment(late.Scenario, "us", late.Network, late.Slot.Add(-time.Hour))
	if _, err := b.Dispatch(soon(t), late); !errors.Is(err, ErrExpired) {
		t.Errorf("past start_by: got %v, want ErrExpired", err)
	}
	broken := assignment(t, "shop", "us")
	broken.Region = "us.eu"
	if _, err := b.Dispatch(soon(t), broken); err == nil || errors.Is(err, ErrUnavailable) {
		t.Errorf("wrong region: got %v, want a final error", err)
	}
	huge := assignment(t, "shop", "us")
	huge.Scenario.Steps[0].Body = strings.Repeat("x", 2<<20)
	if _, err := b.Dispatch(soon(t), huge); !errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, ErrUnavailable) {
		t.Errorf("too large: got %v, want a final error", err)
	}
	unknown := assignment(t, "shop", "mars")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := b.Dispatch(ctx, unknown); !errors.Is(err, ErrUnavailable) {
		t.Errorf("region without a stream: got %v, want ErrUnavailable", err)
	}
}

func TestJobExpiresByItself(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	ctx := soon(t)
	a := assignment(t, "shop", "us")
	mustDispatch(t, b, a)
	stream, err := b.js.Stream(ctx, "JOBS_us")
	if err != nil {
		t.Fatal(err)
	}
	msg, err := stream.GetLastMsgForSubject(ctx, jobSubject(&a))
	if err != nil {
		t.Fatal(err)
	}
	ttl, err := time.ParseDuration(msg.Header.Get("Nats-TTL"))
	if left := time.Until(a.StartBy) + keepAfterStart; err != nil || ttl < left-2*time.Second || ttl > left+2*time.Second {
		t.Errorf("got TTL %v (%v), want about %v", ttl, err, left)
	}
	// The same kind of message with the shortest life there is: the stream forgets it, and its subject is free.
	short := nats.NewMsg("job.us.http.brief.none.60")
	short.Header.Set("Nats-TTL", "1s")
	if _, err := b.js.PublishMsg(ctx, short); err != nil {
		t.Fatal(err)
	}
	for msg != nil {
		if msg, err = stream.GetLastMsgForSubject(ctx, short.Subject); err != nil && ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

func TestJobComesAgainWithoutAck(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	config := layout.Pool("us", scenario.PoolHTTP)
	config.AckWait = 200 * time.Millisecond
	if _, err := b.js.UpdateConsumer(soon(t), "JOBS_us", config); err != nil {
		t.Fatal(err)
	}
	a := assignment(t, "shop", "us")
	mustDispatch(t, b, a)
	for want := 1; want <= layout.MaxDeliveries; want++ {
		if job := mustTake(t, b, a); job.Delivery != want {
			t.Errorf("got delivery %d, want %d", job.Delivery, want)
		}
	}
	mustFindNoJob(t, b, "us", scenario.PoolHTTP) // the slot ends as missing: a job that kills three workers must not kill all
}

func TestJobHeldAndHandedBack(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	config := layout.Pool("us", scenario.PoolHTTP)
	config.AckWait = time.Second
	if _, err := b.js.UpdateConsumer(soon(t), "JOBS_us", config); err != nil {
		t.Fatal(err)
	}
	a := assignment(t, "shop", "us")
	mustDispatch(t, b, a)
	job := mustTake(t, b, a)
	for range 6 { // 1.8 s, nearly twice AckWait
		if err := job.InProgress(soon(t)); err != nil {
			t.Fatal(err)
		}
		mustFindNoJob(t, b, "us", scenario.PoolHTTP)
	}
	if err := job.Nak(soon(t)); err != nil {
		t.Fatal(err)
	}
	if again := mustTake(t, b, a); again.Delivery != 2 {
		t.Errorf("got delivery %d after handing back, want 2", again.Delivery)
	}
	if err := job.Ack(soon(t)); err == nil || errors.Is(err, ErrUnavailable) {
		t.Errorf("ack after nak: got %v, want a final error", err)
	}
}

func TestPoolsAndRegionsAreApart(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	mustDispatch(t, b, assignment(t, "shop", "us"))
	mustFindNoJob(t, b, "us", scenario.PoolBrowser)
	mustFindNoJob(t, b, "eu", scenario.PoolHTTP)
	if _, err := b.Take(soon(t), "us", "gpu", time.Second); err == nil || errors.Is(err, ErrUnavailable) {
		t.Errorf("unknown pool: got %v, want a final error", err)
	}
	if _, err := b.Take(soon(t), "mars", scenario.PoolHTTP, 200*time.Millisecond); !errors.Is(err, ErrUnavailable) {
		t.Errorf("region that is not set up: got %v, want ErrUnavailable", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Take(ctx, "us", scenario.PoolHTTP, patience); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v, want context.Canceled", err)
	}
}

func TestCursorIsCompareAndSwap(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	ctx := soon(t)
	slot, revision, err := b.Cursor(ctx, "us")
	if !slot.IsZero() || revision != 0 || err != nil {
		t.Fatalf("new region: got %v, %d, %v, want nothing", slot, revision, err)
	}
	first := time.Unix(1_800_000_000, 0).UTC()
	if revision, err = b.AdvanceCursor(ctx, "us", first, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := b.AdvanceCursor(ctx, "us", first.Add(time.Hour), 0); !errors.Is(err, ErrConflict) {
		t.Errorf("create twice: got %v, want ErrConflict", err)
	}
	next, err := b.AdvanceCursor(ctx, "us", first.Add(time.Minute), revision)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.AdvanceCursor(ctx, "us", first.Add(time.Hour), revision); !errors.Is(err, ErrConflict) {
		t.Errorf("stale revision: got %v, want ErrConflict", err)
	}
	if slot, revision, err = b.Cursor(ctx, "us"); !slot.Equal(first.Add(time.Minute)) || revision != next || err != nil {
		t.Errorf("got %v, %d, %v, want the second minute at revision %d", slot, revision, err, next)
	}
	if slot, _, err := b.Cursor(ctx, "eu"); !slot.IsZero() || err != nil {
		t.Errorf("other region: got %v, %v, want nothing", slot, err)
	}
	if _, _, err := b.Cursor(ctx, "*"); err == nil || errors.Is(err, ErrUnavailable) {
		t.Errorf("region *: got %v, want a final error", err)
	}
}

// With which slots combinations began changes by compare-and-swap too; what is no such record counts as rejected, and can be replaced.
func TestBeginningsAreCompareAndSwap(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	ctx := soon(t)
	record, revision, err := b.Begun(ctx, "us")
	if len(record.First) != 0 || revision != 0 || err != nil {
		t.Fatalf("new region: got %v, %d, %v, want nothing", record, revision, err)
	}
	record.First = map[string]int64{"shop.none": 1_800_000_000}
	if revision, err = b.SaveBegun(ctx, record, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := b.SaveBegun(ctx, record, 0); !errors.Is(err, ErrConflict) {
		t.Errorf("create twice: got %v, want ErrConflict", err)
	}
	record.First["shop.3g"] = 1_800_000_060
	next, err := b.SaveBegun(ctx, record, revision)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.SaveBegun(ctx, record, revision); !errors.Is(err, ErrConflict) {
		t.Errorf("stale revision: got %v, want ErrConflict", err)
	}
	if got, at, err := b.Begun(ctx, "us"); !reflect.DeepEqual(got, record) || at != next || err != nil {
		t.Errorf("got %v, %d, %v, want %v at revision %d", got, at, err, record, next)
	}
	entry, err := b.js.Stream(ctx, "KV_coord")
	if err != nil {
		t.Fatal(err)
	}
	stored, err := entry.GetLastMsgForSubject(ctx, "$KV.coord.begun.us")
	if err != nil {
		t.Fatal(err)
	}
	for n, body := range [][]byte{[]byte("yesterday"), stored.Data} { // the second one is another region's
		if _, err := b.js.PublishMsg(ctx, &nats.Msg{Subject: "$KV.coord.begun.eu", Data: body}); err != nil {
			t.Fatal(err)
		}
		got, at, err := b.Begun(ctx, "eu")
		if err != nil || len(got.First) != 0 || got.Region != "eu" || at == 0 {
			t.Errorf("corrupt record %d: got %v, %d, %v, want an empty one that can be replaced", n, got, at, err)
		}
		if rejected := b.Stats().Rejected[KindBegun]; rejected != int64(n+1) {
			t.Errorf("corrupt record %d: got %d rejected, want %d", n, rejected, n+1)
		}
		if _, err := b.SaveBegun(ctx, got, at); err != nil {
			t.Errorf("replace corrupt record %d: %v", n, err)
		}
	}
	if _, _, err := b.Begun(ctx, "*"); err == nil || errors.Is(err, ErrUnavailable) {
		t.Errorf("region *: got %v, want a final error", err)
	}
}

// Heartbeats get here as long as the server answers.
func TestHears(t *testing.T) {
	t.Parallel()
	server := startTestServer(t, ServerOptions{})
	b := connectTest(t, Options{Server: server})
	if !b.Hears(soon(t)) {
		t.Error("connected: got that no heartbeat gets here")
	}
	if err := server.Stop(soon(t)); err != nil {
		t.Fatal(err)
	}
	if b.Hears(soon(t)) {
		t.Error("server stopped: got that heartbeats get here")
	}
}

func TestHeartbeatRoundTrip(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	beat := runs.Heartbeat{Schema: runs.Schema, Region: "us", Probe: "probe-1", Version: "v0", Slots: 2, Running: []runs.ID{"a.us.none.60"}}
	if _, err := b.Heartbeat(soon(t), beat); !errors.Is(err, ErrUnavailable) {
		t.Errorf("without a coordinator: got %v, want ErrUnavailable", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	at := time.Unix(1_800_000_000, 0).UTC()
	var got []runs.Heartbeat
	go func() {
		served <- b.ServeHeartbeats(ctx, func(h runs.Heartbeat) runs.HeartbeatReply {
			got = append(got, h)
			return runs.HeartbeatReply{ReceivedAt: at}
		})
	}()
	reply, err := b.Heartbeat(soon(t), beat)
	for limit := soon(t); errors.Is(err, ErrUnavailable) && limit.Err() == nil; { // until the coordinator listens, as a probe does
		reply, err = b.Heartbeat(limit, beat)
	}
	if err != nil || !reply.ReceivedAt.Equal(at) {
		t.Fatalf("got %+v, %v, want the coordinator's answer", reply, err)
	}
	refused, err := b.nc.RequestWithContext(soon(t), "hb.eu.probe-1", []byte(`{"schema":1,"region":"us","probe":"probe-1"}`))
	if err != nil || !strings.Contains(refused.Header.Get(errorHeader), `got subject "hb.eu.probe-1"`) {
		t.Errorf("heartbeat for another region: got %+v, %v, want a refusal with its reason", refused, err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("serve: got %v, want nil after its context ended", err)
	}
	if len(got) != 1 || got[0].Slots != 2 || got[0].Running[0] != "a.us.none.60" {
		t.Errorf("got %+v, want the one sound heartbeat", got)
	}
	if n := b.Stats().Rejected[KindHeartbeat]; n != 1 {
		t.Errorf("got %d rejected heartbeats, want 1", n)
	}
}
