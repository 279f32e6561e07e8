package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// patience bounds whatever a test waits for; nothing takes that long.
const patience = 30 * time.Second

// startServer runs a server with the bucket.
func startServer(t testing.TB, opts *server.Options) *server.Server {
	t.Helper()
	opts.Host, opts.NoSigs, opts.NoLog, opts.JetStream = "127.0.0.1", true, true, true
	if opts.Port == 0 {
		opts.Port = server.RANDOM_PORT
	}
	if opts.StoreDir == "" {
		opts.StoreDir = t.TempDir()
	}
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(patience) {
		t.Fatal("server is not ready")
	}
	if err := Ensure(soon(t), connect(t, s.ClientURL()), 1); err != nil {
		t.Fatal(err)
	}
	return s
}

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func connect(t testing.TB, url string) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectBufSize(-1))
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

// span is one leadership as its holder saw it.
type span struct {
	holder string
	term   Term
	began  time.Time
	ctx    context.Context // of the leadership
	alone  bool            // whether the contexts of all earlier ones had ended when it began
}

// candidate is one that campaigns during a test.
type candidate struct {
	id   string
	js   jetstream.JetStream
	stop context.CancelFunc
	done chan error
	led  chan span     // each leadership when it begins
	over chan struct{} // one for each that ends
}

// watch keeps the leaderships of all candidates of a test.
type watch struct {
	mu    sync.Mutex
	spans []span
}

// enter notes that a leadership begins.
func (w *watch) enter(ctx context.Context, holder string, term Term) span {
	w.mu.Lock()
	defer w.mu.Unlock()
	one := span{holder: holder, term: term, began: time.Now(), ctx: ctx, alone: true}
	for _, before := range w.spans {
		one.alone = one.alone && before.ctx.Err() != nil
	}
	w.spans = append(w.spans, one)
	return one
}

// campaign has a candidate campaign until it is stopped, or killed.
func (w *watch) campaign(t testing.TB, url, id string, ttl time.Duration) *candidate {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	c := &candidate{id: id, js: connect(t, url), stop: stop, done: make(chan error, 1), led: make(chan span, 100), over: make(chan struct{}, 100)}
	l := New(slog.New(slog.DiscardHandler), c.js, Options{Holder: id, TTL: ttl})
	go func() {
		c.done <- l.Run(ctx, func(ctx context.Context, term Term) error {
			one := w.enter(ctx, id, term)
			c.led <- one
			<-ctx.Done()
			c.over <- struct{}{}
			return nil
		})
		close(c.done)
	}()
	t.Cleanup(func() {
		stop()
		for range c.done { // an error has been looked at where one was to be expected
		}
	})
	return c
}

// kill cuts a candidate off for good, as if its process had gone: nothing is given back.
func (c *candidate) kill() { c.js.Conn().Close() }

// wantLead waits until one of the candidates leads.
func wantLead(t testing.TB, candidates ...*candidate) (leader *candidate, s span) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for _, c := range candidates {
			select {
			case s := <-c.led:
				return c, s
			default:
			}
		}
	}
	t.Fatal("got no leader")
	return nil, span{}
}

// check asserts that nobody led beside another, and that each leadership has a greater term than the one before.
func (w *watch) check(t testing.TB) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, s := range w.spans[1:] {
		before := w.spans[i]
		if !s.alone {
			t.Errorf("%s leads since %s, %s began at %s: want the one to have ended before the other begins", before.holder, before.began, s.holder, s.began)
		}
		if s.term.Number <= before.term.Number {
			t.Errorf("got term %d after %d, want a greater one", s.term.Number, before.term.Number)
		}
	}
}

// Leaders are cut off one after another. The next one waits for the whole TTL, and leads only when the one before has stopped.
func TestOneLeadsAtATime(t *testing.T) {
	t.Parallel()
	s := startServer(t, &server.Options{})
	const ttl = 900 * time.Millisecond
	var w watch
	candidates := []*candidate{w.campaign(t, s.ClientURL(), "a", ttl), w.campaign(t, s.ClientURL(), "b", ttl), w.campaign(t, s.ClientURL(), "c", ttl)}
	for round := range 4 {
		leader, now := wantLead(t, candidates...)
		if now.term.Began.IsZero() || time.Since(now.term.Began).Abs() > patience {
			t.Errorf("round %d: got a term that began %s by the hub's clock, want it to have begun now", round, now.term.Began)
		}
		for i, c := range candidates {
			if c == leader {
				candidates[i] = w.campaign(t, s.ClientURL(), fmt.Sprintf("%s%d", c.id, round), ttl)
			}
		}
		time.Sleep(ttl / 2) // there is a renewal in it
		leader.kill()
	}
	wantLead(t, candidates...)
	w.check(t)
}

// The TTL is an hour here: whoever leads in this test did not wait for it.
func TestHandOverIsImmediate(t *testing.T) {
	t.Parallel()
	s := startServer(t, &server.Options{})
	const ttl = time.Hour
	var w watch
	first := w.campaign(t, s.ClientURL(), "first", ttl)
	wantLead(t, first)
	second := w.campaign(t, s.ClientURL(), "second", ttl)
	first.stop()
	if err := <-first.done; err != nil {
		t.Errorf("clean stop: got %v, want nil", err)
	}
	wantLead(t, second)
	second.kill()
	again := w.campaign(t, s.ClientURL(), "second", ttl) // a process that was started anew
	_, now := wantLead(t, again)
	w.mu.Lock()
	terms := []uint64{w.spans[0].term.Number, w.spans[1].term.Number, now.term.Number}
	w.mu.Unlock()
	if terms[0] >= terms[1] || terms[1] >= terms[2] {
		t.Errorf("got terms %d, want them to grow", terms)
	}
}

// A hub that is away for longer than the TTL ends the leadership, and then somebody leads again.
func TestHubGoesAway(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startServer(t, &server.Options{StoreDir: dir})
	port := s.Addr().(*net.TCPAddr).Port
	const ttl = time.Second
	var w watch
	a, b := w.campaign(t, s.ClientURL(), "a", ttl), w.campaign(t, s.ClientURL(), "b", ttl)
	leader, _ := wantLead(t, a, b)
	s.Shutdown()
	s.WaitForShutdown()
	select {
	case <-leader.over:
	case <-time.After(patience):
		t.Fatal("hub gone: got a leader that leads on, want it to stop by itself")
	}
	startServer(t, &server.Options{StoreDir: dir, Port: port})
	wantLead(t, a, b)
	w.check(t)
}

func TestLeadThatEndsGivesTheLeaseBack(t *testing.T) {
	t.Parallel()
	s := startServer(t, &server.Options{})
	broken := errors.New("broken")
	l := New(slog.New(slog.DiscardHandler), connect(t, s.ClientURL()), Options{Holder: "a", TTL: time.Hour})
	if err := l.Run(soon(t), func(context.Context, Term) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v, want the leader's error", err)
	}
	var w watch
	wantLead(t, w.campaign(t, s.ClientURL(), "b", time.Hour))
	if err := New(slog.New(slog.DiscardHandler), nil, Options{}).Run(soon(t), nil); err == nil {
		t.Error("without a holder: got no error, want one")
	}
}

// put writes a record as somebody else might.
func put(t testing.TB, js jetstream.JetStream, body string) {
	t.Helper()
	kv, err := js.KeyValue(soon(t), bucket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.PutString(soon(t), key, body); err != nil {
		t.Fatal(err)
	}
}

// What the holder stored itself, without learning so, does not unseat it; another's record does.
func TestRenewalFindsAnotherRecord(t *testing.T) {
	t.Parallel()
	s := startServer(t, &server.Options{})
	js := connect(t, s.ClientURL())
	l := New(slog.New(slog.DiscardHandler), js, Options{Holder: "a", TTL: time.Hour})
	g, won, err := l.attempt(soon(t), &watched{})
	if !won || err != nil {
		t.Fatalf("got %v, %v, want the lease", won, err)
	}
	first := g
	put(t, js, fmt.Sprintf(`{"holder":"a","term":%d}`, g.term.Number))
	if err := l.renew(soon(t), &g); err != nil || g.revision <= first.revision || !g.since.After(first.since) {
		t.Errorf("own record at another revision: got %+v, %v, want it renewed since %+v", g, err, first)
	}
	put(t, js, fmt.Sprintf(`{"holder":"b","term":%d}`, g.term.Number+1_000_000))
	if err := l.renew(soon(t), &g); !errors.Is(err, errLost) {
		t.Errorf("another's record: got %v, want the lease lost", err)
	}
	put(t, js, fmt.Sprintf(`{"term":%d}`, g.term.Number+1_000_000)) // which b gives back
	if g, won, err = l.attempt(soon(t), &watched{}); !won || g.term.Number <= first.term.Number+1_000_000 {
		t.Errorf("after b: got %+v, %v, %v, want a term above b's", g, won, err)
	}
	put(t, js, fmt.Sprintf(`{"holder":"a","term":%d}`, g.term.Number+1))
	if err := l.renew(soon(t), &g); !errors.Is(err, errLost) {
		t.Errorf("a later term of the same id: got %v, want the lease lost", err)
	}
	if g, won, err = l.attempt(soon(t), &watched{}); won || err != nil { // or the two would unseat each other for ever
		t.Errorf("after another of the same id: got %+v, %v, %v, want to stand by", g, won, err)
	}
}

// A record that somebody deletes, or that the hub loses, unseats nobody: who leads goes on until it learns of it, so that whoever stands by waits as for
// any other.
func TestRecordThatIsDeletedIsWaitedFor(t *testing.T) {
	t.Parallel()
	js := connect(t, startServer(t, &server.Options{}).ClientURL())
	const term = 1 << 40
	put(t, js, fmt.Sprintf(`{"holder":"b","term":%d}`, term))
	l := New(slog.New(slog.DiscardHandler), js, Options{Holder: "a", TTL: time.Hour})
	var w watched
	if _, won, err := l.attempt(soon(t), &w); won || err != nil {
		t.Fatalf("another leads: got %v, %v, want to stand by", won, err)
	}
	kv, err := js.KeyValue(soon(t), bucket)
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.Purge(soon(t), key); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, won, err := l.attempt(soon(t), &w); won || err != nil {
			t.Fatalf("its record is gone: got %v, %v, want to stand by", won, err)
		}
	}
	w.since = w.since.Add(-2 * time.Hour)
	if g, won, err := l.attempt(soon(t), &w); !won || err != nil || g.term.Number <= term {
		t.Errorf("and the lease has run out: got term %d, %v, %v, want one above %d", g.term.Number, won, err, term)
	}
}

// A record that nobody can read may be a later version's: it is waited for like any other.
func TestUnreadableRecordRunsOut(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{"no record": "\x00not a record", "no term": `{"holder":"b","term":18446744073709551615}`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, &server.Options{})
			put(t, connect(t, s.ClientURL()), body)
			const ttl = 300 * time.Millisecond
			began := time.Now()
			var w watch
			_, now := wantLead(t, w.campaign(t, s.ClientURL(), "a", ttl))
			if waited := now.began.Sub(began); waited < ttl || now.term.Number == 0 {
				t.Errorf("got the lease of term %d after %s, want it after %s at the earliest", now.term.Number, waited, ttl)
			}
		})
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"holder":"a","term":1795292937,"version":"v1","address":"127.0.0.1:9464"}`))
	f.Add([]byte(`{"term":18446744073709551615}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r := decode(body)
		if next := (max(r.Term+1, uint64(time.Now().Unix()))); next <= r.Term {
			t.Fatalf("got term %d after %d, want a greater one", next, r.Term)
		}
	})
}
