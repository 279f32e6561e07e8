package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lastmile/internal/notify/delivery"
	"lastmile/internal/runs"
	"lastmile/internal/slo"
	"lastmile/internal/vars"
)

// patience bounds whatever a test waits for; nothing takes that long.
const patience = 30 * time.Second

// box is an outbox in memory that outlives its notifiers, and fails when it is told to.
type box struct {
	mu       sync.Mutex
	last     uint64
	kept     []entry
	ids      map[string]uint64
	done     map[string]uint64
	failPut  bool
	failAll  bool
	failNote bool // Done fails
}

type entry struct {
	sink, alert string
	sequence    uint64
	body        []byte
}

var errBox = errors.New("the hub is away")

func newBox() *box { return &box{ids: map[string]uint64{}, done: map[string]uint64{}} }

func (b *box) Put(_ context.Context, sink, alert, id string, body []byte) (uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failPut || b.failAll {
		return 0, errBox
	}
	if sequence, ok := b.ids[id]; ok {
		return sequence, nil
	}
	b.last++
	b.ids[id] = b.last
	b.kept = append(b.kept, entry{sink, alert, b.last, body})
	return b.last, nil
}

func (b *box) Done(_ context.Context, sink, alert string, sequence uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failAll || b.failNote {
		return errBox
	}
	b.done[sink+alert] = max(b.done[sink+alert], sequence)
	return nil
}

func (b *box) Load(_ context.Context, each func(string, string, uint64, bool, []byte)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failAll {
		return errBox
	}
	for _, e := range b.kept {
		each(e.sink, e.alert, e.sequence, e.sequence <= b.done[e.sink+e.alert], e.body)
	}
	return nil
}

// fail has the outbox fail or work.
func (b *box) fail(put, all bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failPut, b.failAll, b.failNote = put, all, false
}

// receiver stands in for a sink: it answers what the test says, and keeps what it accepts.
type receiver struct {
	mu       sync.Mutex
	answer   func(n *delivery.Notice) error // nil = it accepts all
	accepted []string                       // severity, region, whether it fires, one for each
	keys     []string
	attempts []time.Time
}

// Send implements sender.
func (r *receiver) Send(_ context.Context, notices []delivery.Notice) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attempts = append(r.attempts, time.Now())
	var err error
	for i := range notices {
		n := &notices[i]
		if r.answer != nil {
			if bad := r.answer(n); bad != nil {
				err = bad
				continue
			}
		}
		what := "fires"
		if !n.Firing() {
			what = "ended"
		}
		r.accepted = append(r.accepted, fmt.Sprintf("%s %s %s", n.Alert.Severity, n.Alert.Region, what))
		r.keys = append(r.keys, n.Key)
	}
	return err
}

func (r *receiver) set(answer func(n *delivery.Notice) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// got is what the receiver has accepted, in its order.
func (r *receiver) got() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.accepted, ", ")
}

// forget empties it.
func (r *receiver) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.accepted, r.keys, r.attempts = nil, nil, nil
}

func (r *receiver) want(t *testing.T, when, want string) {
	t.Helper()
	if got := r.got(); got != want {
		t.Errorf("%s: got %q, want %q", when, got, want)
	}
}

// Kinds of sinks, as the configuration makes them.
const (
	manager = iota
	pager
	hook
)

// world is a notifier with receivers in place of its sinks, on an outbox that outlives it.
type world struct {
	t         *testing.T
	box       *box
	receivers [3]*receiver
	log       *strings.Builder
	n         *Notifier
	stop      func()
}

func newWorld(t *testing.T) *world {
	return &world{t: t, box: newBox(), receivers: [3]*receiver{{}, {}, {}}, log: &strings.Builder{}, stop: func() {}}
}

// lead makes a notifier of another coordinator that leads from now on.
func (w *world) lead() {
	w.t.Helper()
	w.stop()
	n, err := New(slog.New(slog.NewTextHandler(w.log, nil)), w.box, Config{
		Alertmanagers: []string{"http://alertmanager.invalid"}, PagerDutyKey: vars.Secret("pagerduty-key"), Webhook: "http://hook.invalid/secret-path",
	})
	if err != nil {
		w.t.Fatal(err)
	}
	for i, s := range n.sinks {
		s.to = w.receivers[i]
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	w.n = n
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
		w.stop = func() {}
	}
	synctest.Wait()
}

// announce announces, and waits until all is done that can be done now.
func (w *world) announce(alerts ...runs.Alert) {
	w.t.Helper()
	if err := w.n.Announce(w.t.Context(), alerts); err != nil {
		w.t.Error(err)
	}
	synctest.Wait()
}

// refresh tells once a second for so long which alerts there are.
func (w *world) refresh(d time.Duration, alerts ...runs.Alert) {
	w.t.Helper()
	for ; d > 0; d -= time.Second {
		if err := w.n.Refresh(w.t.Context(), alerts); err != nil {
			w.t.Error(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
	}
}

// bubble runs a test in simulated time.
func bubble(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.lead()
		defer func() { w.stop() }()
		test(t, w)
	})
}

// down is a page that begins now, in a region.
func down(region string) runs.Alert {
	return runs.Alert{
		AlertKey: runs.AlertKey{Name: runs.AlertDown, Scope: runs.ScopeRegion, Scenario: "checkout", Region: region, SLO: "availability"},
		Severity: slo.SeverityPage, StartsAt: time.Now().UTC(), Why: runs.Why{Rule: runs.RuleHard, Bad: 6, Of: 6, Expected: 0.001, Log10P: -18},
	}
}

// degraded is a ticket that begins now.
func degraded(region string) runs.Alert {
	a := down(region)
	a.Name, a.Severity, a.Why.Rule = runs.AlertDegraded, slo.SeverityTicket, runs.RuleBurn
	return a
}

// ended is an alert that has just ended.
func ended(a runs.Alert) runs.Alert {
	a.EndsAt = time.Now().UTC()
	return a
}
