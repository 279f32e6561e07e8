package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lastmile/internal/bus/embedded"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
	"lastmile/internal/runs/notes"
	"lastmile/internal/scenario"
)

// patience bounds whatever a test waits for; nothing takes that long.
const patience = 20 * time.Second

// start starts a hub with the streams of regions us and eu, which answers what its clock says.
func start(t testing.TB, o embedded.Options) (*embedded.Server, jetstream.JetStream) {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	server, err := embedded.Start(slog.New(slog.DiscardHandler), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop(context.Background()) })
	js := connect(t, server)
	if err := Ensure(soon(t), js, []string{"us", "eu"}, 1); err != nil {
		t.Fatal(err)
	}
	return server, js
}

// connect is a connection of its own, by TCP where the server listens.
func connect(t testing.TB, server *embedded.Server) jetstream.JetStream {
	t.Helper()
	opts := []nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectBufSize(-1)}
	if server.URL() == "" {
		opts = append(opts, nats.InProcessServer(server))
	}
	nc, err := nats.Connect(server.URL(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// background runs f until the test is over, and waits for it.
func background(t testing.TB, f func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { f(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
}

// serveTime answers for a hub whose clock is off by shift.
func serveTime(t testing.TB, js jetstream.JetStream, shift time.Duration) {
	background(t, func(ctx context.Context) {
		if err := ServeTime(ctx, js.Conn(), func() time.Time { return time.Now().Add(shift) }); err != nil {
			t.Error(err)
		}
	})
	wait(t, "time service", func() bool {
		_, err := js.Conn().RequestWithContext(soon(t), "time.test", nil)
		return err == nil
	})
}

// join is a probe's relay that has reached the hub.
func join(t testing.TB, server *embedded.Server, region string, o Options) *Relay {
	t.Helper()
	r := New(slog.New(slog.DiscardHandler), region, o)
	js := connect(t, server)
	background(t, func(ctx context.Context) { r.Run(ctx, js) })
	wait(t, "hub", func() bool { _, err := r.connection(); return err == nil })
	return r
}

func wait(t testing.TB, what string, check func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !check() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, patience)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// reader is the assignment of a run that reads in eu what us writes, and the token of that.
func reader(t testing.TB, network string) (runs.Assignment, notes.Token) {
	t.Helper()
	schedule, err := scenario.ParseSchedule("@every 1m")
	if err != nil {
		t.Fatal(err)
	}
	a := runs.NewAssignment(scenario.Scenario{
		APIVersion: scenario.APIVersion, Name: "copy", Kind: scenario.KindReplication, Schedule: schedule, Timeout: scenario.Duration(10 * time.Second), Regions: scenario.Strings{"us", "eu"},
		Replication: &scenario.Replication{
			From: "us", Write: []scenario.Step{{Type: scenario.StepHTTP, URL: "http://shop/"}}, Pass: []string{"order"}, VisibleWithin: scenario.Duration(time.Second),
		},
		Steps: []scenario.Step{{Type: scenario.StepHTTP, URL: "http://shop/${order}"}},
	}, "eu", netprofile.Profile{Name: network, Version: "v1"}, time.Now().UTC().Truncate(time.Second))
	return a, notes.Token{
		Schema: runs.Schema, Scenario: "copy", Revision: a.Revision, Network: network, Slot: a.Slot, From: "us", Probe: "p1",
		WrittenAt: a.Slot.Add(time.Second), Until: a.Slot.Add(5 * time.Second), Clock: runs.Clock{OffsetMS: -2, ErrorMS: 0.5}, Values: map[string]string{"order": "17"},
	}
}

func mustPublish(t testing.TB, r *Relay, token notes.Token) {
	t.Helper()
	if err := r.Publish(soon(t), token); err != nil {
		t.Fatal(err)
	}
}

// Whichever comes first, writer or reader, the token is found, once and for all.
func TestTokenIsFound(t *testing.T) {
	server, _ := start(t, embedded.Options{})
	us, eu := join(t, server, "us", Options{}), join(t, server, "eu", Options{})
	a, token := reader(t, "none")
	mustPublish(t, us, token)
	later, err := eu.Await(soon(t), &a)
	if err != nil || !later.WrittenAt.Equal(token.WrittenAt) || later.Values["order"] != "17" || later.Clock != token.Clock || !later.Until.Equal(token.Until) {
		t.Fatalf("a reader that comes later: got %+v and %v, want %+v", later, err, token)
	}
	second := token
	second.Values = map[string]string{"order": "18"}
	mustPublish(t, us, second) // the run was executed twice
	if again, err := eu.Await(soon(t), &a); err != nil || again.Values["order"] != "17" {
		t.Errorf("after a second write: got %+v and %v, want the first token for all readers", again, err)
	}

	b, other := reader(t, "3g")
	got := make(chan error, 2)
	for range 2 { // several readers
		go func() {
			token, err := eu.Await(soon(t), &b)
			if err == nil && token.Network != "3g" {
				err = errors.New("got the token of network " + token.Network)
			}
			got <- err
		}()
	}
	time.Sleep(50 * time.Millisecond) // they wait; if not, they come later, which is as good
	mustPublish(t, us, other)
	for range 2 {
		if err := <-got; err != nil {
			t.Error("a reader that was there before:", err)
		}
	}
}

func TestNoToken(t *testing.T) {
	server, js := start(t, embedded.Options{})
	us, eu := join(t, server, "us", Options{}), join(t, server, "eu", Options{})
	a, token := reader(t, "none")
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	if _, err := eu.Await(ctx, &a); err == nil || !strings.Contains(err.Error(), "await token of copy.us.none.") {
		t.Errorf("got %v, want an error that names the run that ought to have written", err)
	}
	if err := eu.Publish(t.Context(), token); err == nil || !strings.Contains(err.Error(), "region us") {
		t.Errorf("publish for another region: got %v, want an error", err)
	}
	token.From = "eu"
	if err := us.Publish(t.Context(), token); err == nil {
		t.Error("publish for another region: got no error")
	}
	big := token
	big.From, big.Values = "us", map[string]string{"order": strings.Repeat("x", notes.MaxTokenValue+1)}
	if err := us.Publish(t.Context(), big); err == nil || !strings.Contains(err.Error(), "4097 bytes") {
		t.Errorf("a value too large: got %v, want an error with its size", err)
	}
	if err := js.DeleteStream(soon(t), "TOKENS_us"); err != nil {
		t.Fatal(err)
	}
	if _, err := eu.Await(ctx, &a); err == nil {
		t.Error("without the stream: got a token")
	}
	alone := New(slog.New(slog.DiscardHandler), "us", Options{})
	if _, err := alone.Await(ctx, &a); !errors.Is(err, errNoHub) {
		t.Errorf("without a hub: got %v, want %v", err, errNoHub)
	}
	if _, _, err := alone.Read(); err == nil {
		t.Error("without a hub: got a clock that is compared with it")
	}
}

// What is not for the run is refused, and said so in the log, once; what is good and comes after it is taken.
func TestTokenIsRefused(t *testing.T) {
	server, js := start(t, embedded.Options{})
	a, token := reader(t, "none")
	subject := tokenSubject(token.Combination(), token.Slot)
	change := func(change func(*notes.Token)) []byte {
		one := token
		change(&one)
		body, err := json.Marshal(one)
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	for name, body := range map[string][]byte{
		"no JSON":          []byte("{"),
		"nothing":          []byte("null"),
		"another schema":   change(func(t *notes.Token) { t.Schema = 2 }),
		"another revision": change(func(t *notes.Token) { t.Revision = "abc" }),
		"another slot":     change(func(t *notes.Token) { t.Slot = t.Slot.Add(time.Second) }),
		"another scenario": change(func(t *notes.Token) { t.Scenario = "x" }),
		"another network":  change(func(t *notes.Token) { t.Network = "3g" }),
		"another region":   change(func(t *notes.Token) { t.From = "eu" }),
		"no probe":         change(func(t *notes.Token) { t.Probe = "" }),
		"no time":          change(func(t *notes.Token) { t.WrittenAt = time.Time{} }),
		"gone before":      change(func(t *notes.Token) { t.Until = t.WrittenAt.Add(-1) }),
		"error below zero": change(func(t *notes.Token) { t.Clock.ErrorMS = -1 }),
		"endless error":    change(func(t *notes.Token) { t.Clock.ErrorMS = 1e300 }),
		"no value":         change(func(t *notes.Token) { t.Values = nil }),
		"another value":    change(func(t *notes.Token) { t.Values = map[string]string{"order": "1", "vars.base": "http://evil"} }),
		"a large value": change(func(t *notes.Token) {
			t.Values = map[string]string{"order": strings.Repeat("x", notes.MaxTokenValue+1)}
		}),
	} {
		var log bytes.Buffer
		eu := New(slog.New(slog.NewTextHandler(&log, nil)), "eu", Options{})
		eu.hub.Store(&hub{nc: js.Conn(), js: js})
		if _, err := js.Publish(soon(t), subject, body); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
		if got, err := eu.Await(ctx, &a); err == nil || !strings.Contains(err.Error(), "token: ") {
			t.Errorf("%s: got %+v and %v, want it refused, and why", name, got, err)
		}
		cancel()
		if n := strings.Count(log.String(), "token refused"); n != 1 {
			t.Errorf("%s: got %d log lines, want 1:\n%s", name, n, log.String())
		}
	}
	if _, err := js.Publish(soon(t), subject, bytes.Repeat([]byte("x"), notes.MaxTokenSize+2*headroom)); err == nil {
		t.Error("a message over the limit: got it stored")
	}
	if _, err := js.Publish(soon(t), subject, change(func(*notes.Token) {})); err != nil {
		t.Fatal(err)
	}
	eu := join(t, server, "eu", Options{})
	if _, err := eu.Await(soon(t), &a); err != nil {
		t.Errorf("a good one after bad ones: got %v", err)
	}
}

// A hub that restarts keeps nobody from their token, but for one that it had in memory.
func TestTokenAcrossARestart(t *testing.T) {
	dir := t.TempDir()
	first, _ := start(t, embedded.Options{Dir: dir, Listen: "127.0.0.1:0"})
	us, eu := join(t, first, "us", Options{}), join(t, first, "eu", Options{})
	a, token := reader(t, "none")
	got := make(chan error, 1)
	go func() { _, err := eu.Await(soon(t), &a); got <- err }()
	address := strings.TrimPrefix(first.URL(), "nats://")
	if err := first.Stop(soon(t)); err != nil {
		t.Fatal(err)
	}
	published := make(chan error, 1)
	go func() { published <- us.Publish(soon(t), token) }()
	start(t, embedded.Options{Dir: dir, Listen: address})
	if err := <-published; err != nil {
		t.Error("publish over a restart:", err)
	}
	if err := <-got; err != nil {
		t.Error("await over a restart:", err)
	}
}

// A probe's clock that is off is found to be, to within the error that is said.
func TestClock(t *testing.T) {
	server, js := start(t, embedded.Options{})
	const hubAhead = 700 * time.Millisecond
	serveTime(t, js, hubAhead)
	for _, shift := range []time.Duration{0, 3 * time.Second, -3 * time.Second, 30 * 24 * time.Hour} {
		r := join(t, server, "eu", Options{Now: func() time.Time { return time.Now().Add(shift) }})
		wait(t, "clock", func() bool { _, ok := r.Clock(); return ok })
		now, clock, err := r.Read()
		if err != nil {
			t.Fatal(err)
		}
		if off := clock.Offset() - (hubAhead - shift); off.Abs() > clock.Uncertainty() || clock.Uncertainty() <= 0 {
			t.Errorf("shift %s: got offset %s, want %s to within %s", shift, clock.Offset(), hubAhead-shift, clock.Uncertainty())
		}
		if truth := time.Now().Add(hubAhead); now.Add(clock.Offset()).Sub(truth) > clock.Uncertainty() {
			t.Errorf("shift %s: got the hub's time %s, want %s", shift, now.Add(clock.Offset()), truth)
		}
	}
}

// The error grows with the time since the comparison, and what somebody does to the clock meanwhile does not show.
func TestClockBetweenComparisons(t *testing.T) {
	at := time.Now()
	s := &sample{anchor: at, at: at, offset: time.Second, err: time.Millisecond}
	r := New(slog.New(slog.DiscardHandler), "eu", Options{Now: func() time.Time { return at.Add(100 * time.Second) }})
	r.latest.Store(s)
	now, clock, err := r.Read()
	if err != nil || !now.Equal(at.Add(100*time.Second)) || clock.OffsetMS != 1000 {
		t.Errorf("got %s, %+v and %v, want 100 s later, a second off", now, clock, err)
	}
	if want := 6.0; clock.ErrorMS < want || clock.ErrorMS > want+0.01 { // 1 ms, and 50 ppm of 100 s
		t.Errorf("got an error of %v ms, want %v", clock.ErrorMS, want)
	}
}

// The sample with the shortest round trip counts: here the first exchange is slow on one way only, which would be taken for an offset.
func TestClockTakesTheShortestTrip(t *testing.T) {
	server, js := start(t, embedded.Options{})
	var mu sync.Mutex
	asked := 0
	sub, err := js.Conn().Subscribe("time.*", func(msg *nats.Msg) {
		received := time.Now()
		mu.Lock()
		asked++
		first := asked == 1
		mu.Unlock()
		body, _ := json.Marshal(timeAnswer{Received: received.UnixNano(), Sent: time.Now().UnixNano()})
		if first {
			time.Sleep(200 * time.Millisecond)
		}
		_ = msg.Respond(body)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := js.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	r := New(slog.New(slog.DiscardHandler), "eu", Options{})
	own := connect(t, server)
	r.hub.Store(&hub{nc: own.Conn(), js: own})
	if err := r.compare(soon(t)); err != nil {
		t.Fatal(err)
	}
	_, clock, err := r.Read()
	if err != nil || clock.Uncertainty() >= 100*time.Millisecond || clock.Offset().Abs() > clock.Uncertainty() || asked != exchanges {
		t.Errorf("got %+v and %v after %d exchanges, want the slow one of %d left out", clock, err, asked, exchanges)
	}
}

func TestEstimate(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	answer := func(received, sent time.Duration) []byte {
		body, _ := json.Marshal(timeAnswer{Received: at.Add(received).UnixNano(), Sent: at.Add(sent).UnixNano()})
		return body
	}
	// Asked at 0, received 10 ms later by a clock that is 3 s ahead, answered 2 ms after that, back after another 20 ms.
	offset, e, err := estimate(at, at.Add(32*time.Millisecond), answer(3*time.Second+10*time.Millisecond, 3*time.Second+12*time.Millisecond))
	if err != nil || offset != 3*time.Second-5*time.Millisecond || e != 15*time.Millisecond {
		t.Errorf("got %s ± %s and %v, want 2.995s ± 15ms", offset, e, err)
	}
	for name, body := range map[string][]byte{
		"nothing": nil, "no JSON": []byte("{"), "no numbers": []byte("{}"), "long": bytes.Repeat([]byte(" "), longestAnswer+1),
		"sent before it was received": answer(time.Second, 0), "held for longer than it took": answer(0, time.Minute),
	} {
		if _, _, err := estimate(at, at.Add(time.Millisecond), body); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}

func FuzzToken(f *testing.F) {
	a, token := reader(f, "none")
	body, err := json.Marshal(token)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Add(body[:len(body)/2])
	f.Add([]byte(`null`))
	f.Add([]byte(`{"schema":1,"slot":"9999-12-31T23:59:59Z","clock":{"offset_ms":1e308}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := decode(body, &a)
		if err != nil {
			return
		}
		if got.Combination() != token.Combination() || !got.Slot.Equal(a.Slot) || len(got.Values) != 1 || len(got.Values["order"]) > notes.MaxTokenValue || got.Clock.ErrorMS < 0 {
			t.Fatalf("accepted %q", body)
		}
	})
}

func FuzzEstimate(f *testing.F) {
	at := time.Unix(1_800_000_000, 0)
	f.Add([]byte(`{"received":1800000000000000000,"sent":1800000000000000001}`), int64(time.Millisecond))
	f.Add([]byte(`{"received":-9223372036854775808,"sent":9223372036854775807}`), int64(0))
	f.Fuzz(func(t *testing.T, body []byte, took int64) {
		if took < 0 || took > int64(exchangeTime) {
			return
		}
		_, e, err := estimate(at, at.Add(time.Duration(took)), body)
		if err == nil && (e < 0 || e > time.Duration(took)) {
			t.Fatalf("got an error of %s for an exchange of %s", e, time.Duration(took))
		}
	})
}
