package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lastmile/internal/cachestate"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// followed is a Follow that runs during a test and tells what it hands over, in order, as lines.
type followed struct {
	t      testing.TB
	lines  chan string
	done   chan error
	cancel context.CancelFunc
}

func follow(t testing.TB, b *Bus, regions ...string) *followed {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	f := &followed{t: t, lines: make(chan string, 1000), done: make(chan error, 1), cancel: cancel}
	go func() {
		f.done <- b.Follow(ctx, regions, nil, Handler{
			Result:   func(r runs.Result, m Meta) { f.lines <- fmt.Sprintf("result %s %s", r.RunID, m.Stream) },
			Verdict:  func(v runs.Verdict, m Meta) { f.lines <- fmt.Sprintf("verdict %s %d", v.Region, v.Minute.Unix()) },
			CaughtUp: func() { f.lines <- "caught up" },
			Rejected: func(err *RejectedError) { f.lines <- "rejected " + string(err.Kind) },
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err, open := <-f.done; open && err != nil {
			t.Errorf("follow: got %v, want nil after its context ended", err)
		}
	})
	return f
}

// wants reads as many lines as it is given and compares them, in any order.
func (f *followed) wants(want ...string) {
	f.t.Helper()
	var got []string
	for range want {
		select {
		case line := <-f.lines:
			got = append(got, line)
		case <-time.After(patience):
			f.t.Fatalf("got %q and then nothing, want %q", got, want)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		f.t.Fatalf("got %q, want %q", got, want)
	}
}

func mustPublish(t testing.TB, b *Bus, r runs.Result) {
	t.Helper()
	if err := b.PublishResult(soon(t), r); err != nil {
		t.Fatal(err)
	}
}

func verdictAt(region string, minute int64, ids ...runs.ID) runs.Verdict {
	v := runs.Verdict{Schema: runs.Schema, Region: region, Minute: time.Unix(minute*60, 0).UTC()}
	for _, id := range ids {
		v.Slots = append(v.Slots, runs.SlotVerdict{RunID: id, State: runs.StateMissing, Reason: runs.ReasonNoProbe})
	}
	return v
}

func TestFollowFromTheStartAndLive(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	us, eu := assignment(t, "shop", "us"), assignment(t, "shop", "eu")
	follow(t, b, "us", "eu").wants("caught up") // of nothing at all

	mustPublish(t, b, resultOf(us, "p1"))
	if created, err := b.PublishVerdict(soon(t), verdictAt("us", 100, us.RunID)); !created || err != nil {
		t.Fatalf("verdict: got %v, %v, want it created", created, err)
	}
	if _, err := b.PublishVerdict(soon(t), verdictAt("mars", 100)); err != nil { // not followed, though in the same stream
		t.Fatal(err)
	}
	f := follow(t, b, "us", "eu")
	f.wants("result "+string(us.RunID)+" RESULTS_us", "verdict us 6000", "caught up")
	mustPublish(t, b, resultOf(eu, "p2"))
	f.wants("result " + string(eu.RunID) + " RESULTS_eu")
	if _, err := b.PublishVerdict(soon(t), verdictAt("eu", 101)); err != nil {
		t.Fatal(err)
	}
	f.wants("verdict eu 6060")
	follow(t, b, "eu").wants("result "+string(eu.RunID)+" RESULTS_eu", "verdict eu 6060", "caught up")
}

func TestFollowKeepsTheOrderOfAStream(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	a := assignment(t, "shop", "us")
	var want []runs.ID
	for i := range 600 { // more than two batches
		one := runs.NewAssignment(a.Scenario, "us", a.Network, a.Slot.Add(time.Duration(i)*time.Minute))
		want = append(want, one.RunID)
		mustPublish(t, b, resultOf(one, "p1"))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []runs.ID
	var last uint64
	err := b.Follow(ctx, []string{"us"}, nil, Handler{
		Verdict: func(runs.Verdict, Meta) {},
		Result: func(r runs.Result, m Meta) {
			got = append(got, r.RunID)
			if m.Sequence != last+1 || m.StoredAt.IsZero() {
				t.Errorf("got sequence %d at %v, want %d and a time", m.Sequence, m.StoredAt, last+1)
			}
			last = m.Sequence
		},
		CaughtUp: cancel,
	})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %d results and %v, want all %d in their order", len(got), err, len(want))
	}
}

func TestVerdictIsWrittenOnce(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	us := assignment(t, "shop", "us")
	if created, err := b.PublishVerdict(soon(t), verdictAt("us", 100, us.RunID)); !created || err != nil {
		t.Fatalf("first: got %v, %v, want it created", created, err)
	}
	if created, err := b.PublishVerdict(soon(t), verdictAt("us", 100)); created || err != nil {
		t.Errorf("second: got %v, %v, want false and no error", created, err)
	}
	follow(t, b, "us").wants("verdict us 6000", "caught up")
	bad := verdictAt("us", 100, assignment(t, "shop", "eu").RunID)
	if _, err := b.PublishVerdict(soon(t), bad); err == nil || errors.Is(err, ErrUnavailable) {
		t.Errorf("run of another region: got %v, want a final error", err)
	}
	bad = verdictAt("us", 100)
	bad.Minute = bad.Minute.Add(time.Second)
	if _, err := b.PublishVerdict(soon(t), bad); err == nil || errors.Is(err, ErrUnavailable) {
		t.Errorf("half a minute: got %v, want a final error", err)
	}
}

func TestRepeatedResultIsStoredOnce(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	r := resultOf(assignment(t, "shop", "us"), "p1")
	mustPublish(t, b, r)
	mustPublish(t, b, r)
	other := r
	other.Probe = "p2"
	mustPublish(t, b, other) // another probe's is evidence of its own
	again := r
	again.StartedAt = again.StartedAt.Add(time.Second)
	mustPublish(t, b, again) // and so is a second execution
	line := "result " + string(r.RunID) + " RESULTS_us"
	follow(t, b, "us").wants(line, line, line, "caught up")
}

func TestLargeResultLosesItsLastRequests(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	r := resultOf(assignment(t, "shop", "us"), "p1")
	for i := range 3000 {
		r.Requests = append(r.Requests, runs.Request{
			Step: "1", URL: fmt.Sprintf("http://127.0.0.1/%d/%s", i, strings.Repeat("p", i%700)), Status: 200,
			Cache: cachestate.Result{State: cachestate.Hit},
		})
	}
	r.Summarise()
	mustPublish(t, b, r)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := b.Follow(ctx, []string{"us"}, nil, Handler{
		Verdict:  func(runs.Verdict, Meta) {},
		CaughtUp: cancel,
		Result: func(got runs.Result, _ Meta) {
			if n := len(got.Requests); n < 1000 || n >= 3000 || got.Requests[n-1].URL != r.Requests[n-1].URL || got.Cache.Hits != 3000 {
				t.Errorf("got %d requests and %d hits, want the first of 3000 and all the hits", n, got.Cache.Hits)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Requests) != 3000 {
		t.Errorf("got %d requests left in the caller's result, want it untouched", len(r.Requests))
	}
	r.Cause = &runs.Cause{Detail: strings.Repeat("x", 1<<20)}
	if err := b.PublishResult(soon(t), r); err == nil || errors.Is(err, ErrUnavailable) {
		t.Errorf("too large without requests: got %v, want a final error", err)
	}
	r.Probe = "p 2"
	if err := b.PublishResult(soon(t), r); err == nil || errors.Is(err, ErrUnavailable) {
		t.Errorf("probe that is no label: got %v, want a final error", err)
	}
}

// TestCorruptMessages puts what must not be there on every subject, past our own checks, and expects it counted and survived.
func TestCorruptMessages(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	us := assignment(t, "shop", "us")
	good := resultOf(us, "p1")
	garbage := map[string]string{
		"not JSON": "\x00\xff{", "empty": "", "wrong types": `{"schema":"one"}`, "null": "null",
		"future schema": `{"schema":99}`, "no steps": `{"schema":1,"run_id":"shop.us.none.60"}`,
	}
	raw := func(subject string, header nats.Header, body any) {
		t.Helper()
		data, isRaw := body.(string)
		if !isRaw {
			encoded, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			data = string(encoded)
		}
		if _, err := b.js.PublishMsg(soon(t), &nats.Msg{Subject: subject, Header: header, Data: []byte(data)}); err != nil {
			t.Fatal(err)
		}
	}
	i, jobs, results, verdicts := 0, 0, 0, 0
	for _, body := range garbage {
		i++
		raw(fmt.Sprintf("job.us.http.bad.none.%d", i), nil, body)
		raw("res.us.shop", nil, body)
		raw(fmt.Sprintf("verdict.us.%d", i), nil, body)
		jobs, results, verdicts = jobs+1, results+1, verdicts+1
	}
	run := nats.Header{runHeader: {string(good.RunID)}}
	raw("job.eu.http.shop.none.60", nil, us) // never reached by us
	raw("job.us.http.other.none.60", nil, us)
	raw("res.eu.shop", run, good)                                         // a region that speaks for another
	raw("res.us.other", run, good)                                        // another scenario
	raw("res.us.shop", nil, good)                                         // no header
	raw("res.us.shop", nats.Header{runHeader: {"shop.us.none.60"}}, good) // another run in the header
	raw("verdict.us.6000", nil, verdictAt("eu", 100))
	raw("verdict.us.abc", nil, verdictAt("us", 100))
	jobs, results, verdicts = jobs+1, results+4, verdicts+2

	mustDispatch(t, b, us) // and one of each that is sound
	mustPublish(t, b, good)
	if _, err := b.PublishVerdict(soon(t), verdictAt("us", 200)); err != nil {
		t.Fatal(err)
	}

	for range jobs {
		_, err := b.Take(soon(t), "us", scenario.PoolHTTP, patience)
		var rejected *RejectedError
		if !errors.As(err, &rejected) || rejected.Kind != KindAssignment || !strings.HasPrefix(rejected.Subject, "job.us.http.") {
			t.Fatalf("take: got %v, want a rejected job", err)
		}
	}
	if err := mustTake(t, b, us).Ack(soon(t)); err != nil {
		t.Fatal(err)
	}
	mustFindNoJob(t, b, "us", scenario.PoolHTTP) // none comes again

	want := []string{"result " + string(good.RunID) + " RESULTS_us", "verdict us 12000", "caught up"}
	want = append(want, slices.Repeat([]string{"rejected result"}, results)...)
	want = append(want, slices.Repeat([]string{"rejected verdict"}, verdicts)...)
	follow(t, b, "us", "eu").wants(want...)

	if _, err := b.js.PublishMsg(soon(t), &nats.Msg{Subject: "$KV.coord.cursor.us", Data: []byte("yesterday")}); err != nil {
		t.Fatal(err)
	}
	slot, revision, err := b.Cursor(soon(t), "us")
	if err != nil || !slot.IsZero() {
		t.Errorf("corrupt cursor: got %v, %v, want none", slot, err)
	}
	if _, err := b.AdvanceCursor(soon(t), "us", us.Slot, revision); err != nil {
		t.Errorf("replace a corrupt cursor: %v", err)
	}
	got := b.Stats().Rejected
	if got[KindAssignment] != int64(jobs) || got[KindResult] != int64(results) || got[KindVerdict] != int64(verdicts) || got[KindCursor] != 1 {
		t.Errorf("got %v, want %d assignments, %d results, %d verdicts, 1 cursor", got, jobs, results, verdicts)
	}
}

func TestFollowEndsWhenItsStreamIsNotTheSame(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	if err := b.Follow(soon(t), []string{"mars"}, nil, Handler{}); err == nil || !strings.Contains(err.Error(), "RESULTS_mars") {
		t.Errorf("region without a stream: got %v, want an error that names it", err)
	}
	f := follow(t, b, "us")
	f.wants("caught up")
	if err := b.js.DeleteStream(soon(t), verdictStream); err != nil {
		t.Fatal(err)
	}
	if err := b.EnsureStreams(soon(t), []string{"us"}); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-f.done:
		if err == nil || !strings.Contains(err.Error(), "follow VERDICT") {
			t.Errorf("got %v, want an error that names the stream", err)
		}
	case <-time.After(patience):
		t.Error("follow goes on with a stream that is not the same")
	}
	close(f.done)
}

// TestServerRestart stops the server under everybody and starts it again on the same store and port: nothing acknowledged is
// lost, nothing is handed over twice, and what waited goes on.
func TestServerRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := startTestServer(t, ServerOptions{Dir: dir, Listen: "127.0.0.1:0"})
	url := first.URL()
	coordinator, probe := connectTest(t, Options{URL: url, Name: "coordinator"}), connectTest(t, Options{URL: url, Name: "probe"})
	if err := coordinator.EnsureStreams(soon(t), []string{"us"}); err != nil {
		t.Fatal(err)
	}
	before, during := assignment(t, "before", "us"), assignment(t, "during", "us")
	mustDispatch(t, coordinator, before)
	mustPublish(t, probe, resultOf(before, "p1"))
	if _, err := coordinator.AdvanceCursor(soon(t), "us", before.Slot, 0); err != nil {
		t.Fatal(err)
	}
	f := follow(t, coordinator, "us")
	f.wants("result "+string(before.RunID)+" RESULTS_us", "caught up")
	job := mustTake(t, probe, before)

	stopTestServer(t, first)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := probe.PublishResult(ctx, resultOf(during, "p1")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("publish without a server: got %v, want ErrUnavailable", err)
	}
	if err := job.Ack(ctx); !errors.Is(err, ErrUnavailable) {
		t.Errorf("ack without a server: got %v, want ErrUnavailable", err)
	}
	dispatched := make(chan error, 1)
	go func() {
		created, err := coordinator.Dispatch(soon(t), during) // waits for the server
		if err == nil && !created {
			err = errors.New("got it there already, want it created")
		}
		dispatched <- err
	}()
	second, err := StartServer(coordinator.log, ServerOptions{Dir: dir, Listen: strings.TrimPrefix(url, "nats://")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopTestServer(t, second) })

	if err := <-dispatched; err != nil {
		t.Errorf("dispatch over a restart: %v", err)
	}
	if created, err := coordinator.Dispatch(soon(t), before); created || err != nil {
		t.Errorf("dispatch again after a restart: got %v, %v, want false and no error", created, err)
	}
	mustTake(t, probe, during)
	mustPublish(t, probe, resultOf(during, "p1"))
	f.wants("result " + string(during.RunID) + " RESULTS_us")
	if slot, _, err := coordinator.Cursor(soon(t), "us"); !slot.Equal(before.Slot) || err != nil {
		t.Errorf("cursor after a restart: got %v, %v, want %v", slot, err, before.Slot)
	}
	if s := coordinator.Stats(); !s.Connected || s.Reconnects != 1 {
		t.Errorf("got %+v, want connected again after one reconnect", s)
	}
}

// prefetched is a batch of messages that a client has already got, prefetcher the consumer that they are from.
type prefetched struct {
	jetstream.MessageBatch
	messages chan jetstream.Msg
}

func (p *prefetched) Messages() <-chan jetstream.Msg { return p.messages }
func (p *prefetched) Error() error                   { return nil }

type prefetcher struct {
	jetstream.Consumer
	batch *prefetched
}

func (p prefetcher) Fetch(int, ...jetstream.FetchOpt) (jetstream.MessageBatch, error) {
	return p.batch, nil
}

// numbered is a message that says where it stands.
type numbered struct {
	jetstream.Msg
	sequence uint64
}

func (n numbered) Metadata() (*jetstream.MsgMetadata, error) {
	return &jetstream.MsgMetadata{Sequence: jetstream.SequencePair{Consumer: n.sequence, Stream: n.sequence}, NumPending: 1}, nil
}
func (n numbered) Data() []byte { return nil }

// Whoever stops reading remembers up to where it has read: what came before that must have been handed over, all of it, however much is under way.
func TestFollowThatEndsLeavesNoGap(t *testing.T) {
	t.Parallel()
	for round := range 50 {
		s := &prefetched{messages: make(chan jetstream.Msg, 256)}
		for n := range uint64(cap(s.messages)) {
			s.messages <- numbered{sequence: n + 1}
		}
		close(s.messages)
		ctx, cancel := context.WithCancel(t.Context())
		f := &flow{work: make(chan *parcel), out: make(chan *parcel, parcels)}
		var decoding sync.WaitGroup
		decoding.Go(func() { // and it ends with the first or the second
			for range f.work {
				cancel()
			}
		})
		r := &reader{target: 1000}
		_, _ = r.batch(ctx, prefetcher{batch: s}, 0, f) // how it ends does not matter here
		close(f.work)
		close(f.out)
		decoding.Wait()
		last := uint64(0)
		for p := range f.out {
			for _, l := range p.letters {
				if l.meta.Sequence.Stream != last+1 {
					t.Fatalf("round %d: got message %d after %d, want no gap", round, l.meta.Sequence.Stream, last)
				}
				last++
			}
		}
		if r.seen != last {
			t.Fatalf("round %d: got it to have read up to %d, want %d", round, r.seen, last)
		}
	}
}

// One of several servers that has just become the leader of a stream may show less of it than the one before did. One that is alone has what it has.
func TestShortStreamIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	created := time.Unix(1_800_000_000, 0)
	look := func(r *reader, last uint64, replicas int) error {
		return r.judge(&jetstream.StreamInfo{
			Created: created, Config: jetstream.StreamConfig{Replicas: replicas}, State: jetstream.StreamState{FirstSeq: 1, LastSeq: last},
		})
	}
	r := &reader{seen: 10, created: created}
	for round := range 2 {
		for n := range shortLooks - 1 {
			if err := look(r, 9, 3); err == nil || errors.Is(err, ErrRewound) {
				t.Fatalf("round %d, look %d: got %v, want another look", round, n+1, err)
			}
		}
		if round == 0 {
			if err := look(r, 10, 3); err != nil {
				t.Fatalf("whole again: got %v", err)
			}
		}
	}
	if err := look(r, 9, 3); !errors.Is(err, ErrRewound) {
		t.Errorf("short for good: got %v, want it rewound", err)
	}
	if err := look(&reader{seen: 10, created: created}, 9, 1); !errors.Is(err, ErrRewound) {
		t.Errorf("on one server: got %v, want it rewound", err)
	}
}
