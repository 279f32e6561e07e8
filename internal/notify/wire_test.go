package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lastmile/internal/bus/embedded"
	"lastmile/internal/bus/outbox"
	"lastmile/internal/exposition/expositiontest"
	"lastmile/internal/notify/delivery"
	"lastmile/internal/notify/wording"
	"lastmile/internal/runs"
	"lastmile/internal/slo"
)

// service is a sink over HTTP that keeps the bodies that it has accepted.
type service struct {
	*httptest.Server
	status atomic.Int64
	asked  atomic.Int64

	mu     sync.Mutex
	bodies []string
}

func newService(t *testing.T) *service {
	s := &service{}
	s.status.Store(http.StatusAccepted)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // whoever sent it is gone
		}
		s.asked.Add(1)
		status := int(s.status.Load())
		if status < 300 {
			s.mu.Lock()
			s.bodies = append(s.bodies, string(body))
			s.mu.Unlock()
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(s.Close)
	return s
}

// count is how many of the bodies have a text in them.
func (s *service) count(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, body := range s.bodies {
		if strings.Contains(body, text) {
			n++
		}
	}
	return n
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not so after %s", what, patience)
		}
	}
}

// running runs a notifier until stop is called, and tells it ten times a second which alerts there are.
func running(t *testing.T, n *Notifier) (alerts *atomic.Pointer[[]runs.Alert], stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	alerts = new(atomic.Pointer[[]runs.Alert])
	var all sync.WaitGroup
	all.Go(func() {
		if err := n.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	all.Go(func() {
		for ctx.Err() == nil {
			if a := alerts.Load(); a != nil {
				if err := n.Refresh(ctx, *a); err != nil {
					t.Error(err)
				}
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		all.Wait()
	})
	t.Cleanup(stop)
	return alerts, stop
}

// tell announces, again where the machine was too slow: what is announced twice is told once.
func tell(t *testing.T, n *Notifier, alerts ...runs.Alert) {
	t.Helper()
	eventually(t, "announced", func() bool { return n.Announce(t.Context(), alerts) == nil })
}

// A sink that takes a message and never answers keeps nobody else waiting, neither another sink nor the end of the leadership.
func TestSinkThatNeverAnswers(t *testing.T) {
	t.Parallel()
	release, held := make(chan struct{}), atomic.Int64{}
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		held.Add(1)
		<-release
	}))
	t.Cleanup(silent.Close)
	t.Cleanup(func() { close(release) })
	duty, first := newService(t), newService(t)
	times := timings()
	times.attempt = time.Hour // it is not a limit of ours that lets the others through
	n, err := build(slog.New(slog.DiscardHandler), newBox(), Config{
		Alertmanagers: []string{first.URL, silent.URL}, PagerDutyKey: "pagerduty-key", PagerDutyURL: duty.URL, Webhook: silent.URL + "/hook",
	}, times)
	if err != nil {
		t.Fatal(err)
	}
	_, stop := running(t, n)
	a := down("eu")
	a.StartsAt = a.StartsAt.Add(-time.Minute)
	tell(t, n, a)
	eventually(t, "told", func() bool {
		return duty.count(`"trigger"`) == 1 && first.count("LastmileDown") == 1 && held.Load() == 2
	})
	tell(t, n, ended(a))
	eventually(t, "told of the end", func() bool { return duty.count(`"resolve"`) == 1 && first.count("LastmileDown") == 2 })
	eventually(t, "counted", func() bool { got := n.Stats(); return got[0].Sent == 2 && got[2].Sent == 2 })
	if got := n.Stats(); held.Load() != 2 || got[1].Pending != 2 || got[3].Pending != 2 {
		t.Errorf("got %d requests held and %+v, want one at each silent sink, and what else it is to be told pending", held.Load(), got)
	}
	began := time.Now()
	stop()
	if took := time.Since(began); took > patience {
		t.Errorf("stop: got %s", took)
	}
}

// hub runs a server on a folder, and returns an outbox on it.
func hub(t *testing.T, dir string) (box *outbox.Outbox, stop func()) {
	t.Helper()
	server, err := embedded.Start(slog.New(slog.DiscardHandler), embedded.Options{Dir: dir, SyncInterval: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(server.URL(), nats.InProcessServer(server))
	if err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		nc.Close()
		if err := server.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := outbox.Ensure(t.Context(), js, 1); err != nil {
		t.Fatal(err)
	}
	return outbox.New(js, func(what string, err error) error { return fmt.Errorf("%s: %w", what, err) }), stop
}

// A page that could not be delivered outlives its coordinator and the hub, and is delivered once by the next one; one that was delivered is not delivered
// again. No log has a secret in it.
func TestRestart(t *testing.T) {
	t.Parallel()
	const key, path = "secret-pagerduty-key", "secret-path"
	duty, hook := newService(t), newService(t)
	duty.status.Store(http.StatusServiceUnavailable)
	dir := t.TempDir()
	var log strings.Builder
	var logging sync.Mutex
	notifier := func(box Outbox) *Notifier {
		n, err := New(slog.New(slog.NewTextHandler(writer(func(p []byte) {
			logging.Lock()
			defer logging.Unlock()
			log.Write(p)
		}), &slog.HandlerOptions{Level: slog.LevelDebug})), box, Config{PagerDutyKey: key, PagerDutyURL: duty.URL, Webhook: hook.URL + "/" + path})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	box, stopHub := hub(t, dir)
	n := notifier(box)
	alerts, stop := running(t, n)
	a := down("eu")
	tell(t, n, a)
	alerts.Store(&[]runs.Alert{a})
	eventually(t, "tried", func() bool { return duty.asked.Load() >= 2 && hook.count("firing") == 1 && n.Stats()[1].Pending == 0 })
	stop()
	stopHub()

	duty.status.Store(http.StatusAccepted)
	box, stopHub = hub(t, dir)
	n = notifier(box)
	_, stop = running(t, n)
	eventually(t, "delivered by the next one", func() bool { return duty.count(`"trigger"`) == 1 && n.Stats()[0].Pending == 0 })
	stop()
	stopHub()

	box, _ = hub(t, dir)
	n = notifier(box)
	running(t, n)
	end := ended(a)
	tell(t, n, a, end) // the beginning once more, as if nobody had noted that it was announced
	eventually(t, "ended by the third", func() bool { return duty.count(`"resolve"`) == 1 && hook.count(`"status":"resolved"`) == 1 })
	if duty.count("") != 2 || hook.count("") != 2 {
		t.Errorf("got %d events and %d messages, want two of each", duty.count(""), hook.count(""))
	}
	logging.Lock()
	defer logging.Unlock()
	if text := log.String(); strings.Contains(text, key) || strings.Contains(text, path) || !strings.Contains(text, "not delivered") {
		t.Errorf("got log\n%swant the failure in it, and no secret", text)
	}
}

// writer is a function that writes.
type writer func([]byte)

func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

// fingerprints asks a real Alertmanager what it calls its alerts, by their regions.
func fingerprints(t *testing.T, base string) map[string]string {
	t.Helper()
	resp, err := http.Get(base + "/api/v2/alerts")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var alerts []struct {
		Fingerprint string
		Labels      map[string]string
	}
	if err := json.NewDecoder(resp.Body).Decode(&alerts); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, a := range alerts {
		out[a.Labels["region"]] = a.Fingerprint
	}
	return out
}

// held is what an Alertmanager holds: severity by region.
func held(t *testing.T, m *expositiontest.Alertmanager) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, a := range m.Alerts(t) {
		out[a.Labels["region"]] += a.Labels["severity"]
	}
	return out
}

// A real Alertmanager holds what is active, with our labels and words, though one alert of the batch is bad; it holds one that rises under its new severity
// only; it has all of it again after it has lost everything; and it holds what has ended no more.
func TestRealAlertmanager(t *testing.T) {
	t.Parallel()
	live := expositiontest.StartAlertmanager(t)
	var at atomic.Pointer[url.URL] // where the address leads to
	move := func(m *expositiontest.Alertmanager) {
		u, err := url.Parse(m.URL)
		if err != nil {
			t.Fatal(err)
		}
		at.Store(u)
	}
	move(live)
	address := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(at.Load()) }})
	t.Cleanup(address.Close)
	times := timings()
	times.resend = 500 * time.Millisecond
	n, err := build(slog.New(slog.DiscardHandler), newBox(), Config{Alertmanagers: []string{address.URL}}, times)
	if err != nil {
		t.Fatal(err)
	}
	words := wording.Words{External: "https://lastmile.example", Grafana: "https://grafana.example"}
	base, err := url.Parse(address.URL)
	if err != nil {
		t.Fatal(err)
	}
	n.sinks[0].to = delivery.NewAlertmanager(base, words, 4*time.Minute) // which a busy machine does not let pass
	alerts, _ := running(t, n)

	page, ticket, bad := down("eu"), degraded("us"), down("bad")
	page.StartsAt, ticket.StartsAt = page.StartsAt.Add(-time.Minute), ticket.StartsAt.Add(-time.Minute)
	page.Labels, bad.Labels = map[string]string{"service": "shop"}, map[string]string{"": "a label without a name"}
	tell(t, n, bad, page, ticket)
	alerts.Store(&[]runs.Alert{bad, page, ticket})
	eventually(t, "held", func() bool { return reflect.DeepEqual(held(t, live), map[string]string{"eu": "page", "us": "ticket"}) })
	for _, a := range live.Alerts(t) {
		want := page
		if a.Labels["region"] == "us" {
			want = ticket
		}
		if !reflect.DeepEqual(a.Labels, wording.Labels(&want)) || !reflect.DeepEqual(a.Annotations, words.Annotations(&want)) {
			t.Errorf("got\n%v\n%v\nwant\n%v\n%v", a.Labels, a.Annotations, wording.Labels(&want), words.Annotations(&want))
		}
	}
	for region, got := range fingerprints(t, live.URL) {
		want := page
		if region == "us" {
			want = ticket
		}
		if ours := delivery.Fingerprint(wording.Labels(&want)); ours != got {
			t.Errorf("%s: got fingerprint %s, Alertmanager has %s", region, ours, got)
		}
	}
	if got := n.Stats()[0]; got.Dropped != 1 {
		t.Errorf("got %+v, want the bad one dropped, once", got)
	}

	risen := ticket
	risen.Severity = slo.SeverityPage
	tell(t, n, risen)
	alerts.Store(&[]runs.Alert{bad, page, risen})
	eventually(t, "risen", func() bool { return reflect.DeepEqual(held(t, live), map[string]string{"eu": "page", "us": "page"}) })

	again := expositiontest.StartAlertmanager(t)
	move(again)
	eventually(t, "held again", func() bool { return reflect.DeepEqual(held(t, again), map[string]string{"eu": "page", "us": "page"}) })

	// Of one batch, the good one is accepted and the bad one is not.
	late := down("ap")
	err = n.sinks[0].to.Send(t.Context(), []delivery.Notice{delivery.NewNotice(&bad, 0, time.Now()), delivery.NewNotice(&late, 0, time.Now())})
	if no := new(delivery.Refusal); !errors.As(err, &no) || !strings.Contains(err.Error(), "got status 400") {
		t.Errorf("a batch with a bad alert: got %v, want a refusal with status 400", err)
	}
	if got := held(t, again); got["ap"] != "page" || got["bad"] != "" {
		t.Errorf("a batch with a bad alert: got %v, want the good one held", got)
	}

	end := ended(page)
	tell(t, n, end)
	alerts.Store(&[]runs.Alert{bad, end, risen})
	eventually(t, "ended", func() bool { return reflect.DeepEqual(held(t, again), map[string]string{"us": "page", "ap": "page"}) })
}
