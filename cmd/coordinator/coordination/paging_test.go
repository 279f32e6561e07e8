package coordination

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lastmile/internal/bus"
	"lastmile/internal/bus/orders"
	"lastmile/internal/cli/clitest"
	"lastmile/internal/notify"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/scenariofile"
	"lastmile/internal/spool"
	"lastmile/internal/worker"
)

// strict is a set with one scenario that pages, due every 10 s in two regions.
func strict(t *testing.T) scenariofile.Set { return apiEvery(t, "10s", "5s", "99%", "us", "eu") }

// ended publishes what became of the newest n slots in a region that are at least so old, by probe p.
func ended(t *testing.T, hub *bus.Bus, set scenariofile.Set, region string, state runs.State, n int, age time.Duration) {
	t.Helper()
	c := scenario.Combination{Scenario: "api", Region: region, Network: "none"}
	newest := time.Now().Add(-age)
	slots := set.Scenarios[0].Schedule.Slots(c, newest.Add(-time.Duration(n)*10*time.Second), newest, n)
	var results []runs.Result
	for _, slot := range slots {
		r := runs.Result{
			Schema: runs.Schema, RunID: runs.NewID(c, slot), Scenario: "api", Region: region, Network: "none", Slot: slot,
			Trigger: runs.TriggerSchedule, Probe: "p", State: state, StartedAt: slot, DurationMS: 5,
		}
		if state == runs.StateFailed {
			r.Cause = &runs.Cause{Class: runs.ClassHTTP5xx, Step: "step-1", Detail: "got status 503"}
		}
		results = append(results, r)
	}
	for _, r := range results { // in their order
		if err := hub.PublishResult(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
}

// hook is a webhook that remembers what it was told.
type hook struct {
	*httptest.Server
	mu   sync.Mutex
	told []told
}

type told struct {
	Status   string
	Labels   map[string]string
	StartsAt time.Time
}

func newHook(t *testing.T) *hook {
	t.Helper()
	h := &hook{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var payload struct{ Alerts []told }
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(body, &payload)
		}
		if err != nil {
			t.Errorf("webhook: %v", err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.told = append(h.told, payload.Alerts...)
	}))
	t.Cleanup(h.Close)
	return h
}

// of lists what it was told of an alert.
func (h *hook) of(name string) []told {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(h.told), func(a told) bool { return a.Labels["alertname"] != name })
}

// paging runs a unit with the webhook until stop is called.
func paging(t *testing.T, set scenariofile.Set, hub *bus.Bus, h *hook, o Options) (u *Unit, stop func()) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	n, err := notify.New(log, hub.Outbox(), notify.Config{Webhook: h.URL})
	if err != nil {
		t.Fatal(err)
	}
	o.Notifier, o.Grace = n, time.Hour
	u = New(log, set, hub, o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx, ctx) }()
	return u, sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func twoRegions(t *testing.T) *bus.Bus {
	t.Helper()
	_, hub := serverAndHub(t)
	if err := hub.EnsureStreams(t.Context(), []string{"us", "eu"}); err != nil {
		t.Fatal(err)
	}
	return hub
}

// downIn is the alert that a region is down, as a unit decided it.
func downIn(u *Unit, region string) (a runs.Alert, ok bool) {
	alerts := u.alerts()
	i := slices.IndexFunc(alerts, func(a runs.Alert) bool { return a.Name == runs.AlertDown && a.Region == region && a.Active() })
	if i < 0 {
		return a, false
	}
	return alerts[i], true
}

// ticks waits until a unit has decided a few times more. What the first of two comes to has a second to be told.
func ticks(t *testing.T, u *Unit, n int) {
	t.Helper()
	clitest.Eventually(t, "a leader that decides", u.decides)
	ticked := func() time.Time {
		var state struct{ Ticked time.Time }
		body, err := u.engine.State()
		if err == nil {
			err = json.Unmarshal(body, &state)
		}
		if err != nil {
			t.Fatal(err)
		}
		return state.Ticked
	}
	for last := ticked(); n > 0; n-- {
		clitest.Eventually(t, "a leader that decides again", func() bool { return ticked().After(last) })
		last = ticked()
	}
}

// faster has the scenario of a set due every four seconds, for what waits for slots.
func faster(t *testing.T, set scenariofile.Set) scenariofile.Set {
	t.Helper()
	every, err := scenario.ParseSchedule("@every 4s")
	if err != nil {
		t.Fatal(err)
	}
	set.Scenarios[0].Schedule, set.Scenarios[0].Timeout = every, scenario.Duration(2*time.Second)
	return set
}

// A page is sent once for an outage, whichever coordinators come and go meanwhile: with a snapshot of their own or with none, and even where the hub has lost
// what the leaders keep there for each other.
func TestAnOutagePagesOnceWhoeverLeads(t *testing.T) {
	t.Parallel()
	set, hub, h, dir := strict(t), twoRegions(t), newHook(t), t.TempDir()
	ended(t, hub, set, "eu", runs.StatePassed, 6, 0)
	ended(t, hub, set, "us", runs.StateFailed, 6, 0)
	first, stop := paging(t, set, hub, h, Options{Holder: "one", Snapshots: newSnapshots(t, dir)})
	clitest.Eventually(t, "a page", func() bool { return len(h.of(runs.AlertDown)) == 1 })
	began, ok := downIn(first, "us")
	if page := h.of(runs.AlertDown)[0]; !ok || page.Status != "firing" || page.Labels["severity"] != "page" || page.Labels["region"] != "us" || !page.StartsAt.Equal(began.StartsAt) {
		t.Errorf("got %+v, %t, want a page for us from %s", page, ok, began.StartsAt)
	}
	if first := began.Why.First; first == nil || first.Cause == nil || first.Cause.Class != runs.ClassHTTP5xx || began.Why.Bad < 5 {
		t.Errorf("got %+v, want why: at least 5 bad runs, and the first one", began.Why)
	}
	stop()
	for name, o := range map[string]Options{
		"another one, with nothing of its own": {Holder: "two"},
		"the first one again":                  {Holder: "one", Snapshots: newSnapshots(t, dir)},
	} {
		u, stop := paging(t, set, hub, h, o)
		ticks(t, u, 2)
		if got, ok := downIn(u, "us"); !ok || !got.StartsAt.Equal(began.StartsAt) {
			t.Errorf("%s: got %+v, %t, want the alert from %s", name, got.AlertKey, ok, began.StartsAt)
		}
		stop()
		if got := h.of(runs.AlertDown); len(got) != 1 {
			t.Errorf("%s: got %+v, want the one page", name, got)
		}
	}
	lose(t, hub)
	u, stop := paging(t, set, hub, h, Options{Holder: "one", Snapshots: newSnapshots(t, dir)})
	ticks(t, u, 2)
	if got, ok := downIn(u, "us"); !ok || !got.StartsAt.Equal(began.StartsAt) {
		t.Errorf("from the snapshot alone: got %+v, %t, want the alert from %s", got.AlertKey, ok, began.StartsAt)
	}
	stop()
	if got := h.of(runs.AlertDown); len(got) != 1 {
		t.Errorf("from the snapshot alone: got %+v, want the one page", got)
	}
}

// lose has the hub forget what the leaders keep for each other.
func lose(t *testing.T, hub *bus.Bus) {
	t.Helper()
	_, revision, err := hub.Alerts(t.Context())
	if err == nil {
		_, err = hub.SaveAlerts(t.Context(), orders.AlertState{Schema: runs.Schema}, revision)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Results that a region brings after it was cut off are in the books, and page nobody.
func TestLateResultsPageNobody(t *testing.T) {
	t.Parallel()
	set, hub, h := strict(t), twoRegions(t), newHook(t)
	u, stop := paging(t, set, hub, h, Options{})
	defer stop()
	ticks(t, u, 0)
	ended(t, hub, set, "eu", runs.StatePassed, 6, 0)
	ended(t, hub, set, "us", runs.StateFailed, 60, 30*time.Minute)
	clitest.Eventually(t, "the late results in the books", func() bool {
		var failed int64
		for _, a := range u.ledger.Accounts(time.Now()) {
			failed += a.Counts[runs.StateFailed]
		}
		return failed == 60
	})
	ticks(t, u, 2)
	if got := u.alerts(); len(got) > 0 {
		t.Errorf("got %+v, want no alert", got)
	}
	stop()
	again, stop := paging(t, set, hub, h, Options{}) // which reads them all anew
	ticks(t, again, 2)
	if got := again.alerts(); len(got) > 0 {
		t.Errorf("after a restart: got %+v, want no alert", got)
	}
	stop()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.told) > 0 {
		t.Errorf("got %+v told, want nothing", h.told)
	}
}

// A webhook that takes nothing holds up neither orders nor the closing of minutes nor the deciding.
func TestASlowSinkHoldsNothingUp(t *testing.T) {
	t.Parallel()
	set, hub := faster(t, strict(t)), twoRegions(t)
	hang := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	t.Cleanup(slow.Close)
	t.Cleanup(func() { close(hang) })
	ended(t, hub, set, "us", runs.StateFailed, 6, 0)
	u, stop := paging(t, set, hub, &hook{Server: slow}, Options{})
	defer stop()
	clitest.Eventually(t, "the alert", func() bool { _, ok := downIn(u, "us"); return ok })
	ended(t, hub, set, "eu", runs.StateFailed, 6, 0)
	clitest.Eventually(t, "another alert while the first one is being told", func() bool {
		return slices.ContainsFunc(u.alerts(), func(a runs.Alert) bool { return a.Name == runs.AlertOutage })
	})
	seen := u.ledger.Pending()
	clitest.Eventually(t, "slots that are planned meanwhile", func() bool { return u.ledger.Pending() > seen })
}

// actor runs what a probe is ordered: scheduled runs in us fail, all others pass.
type actor struct{ probe string }

func (a actor) RunAfter(ctx context.Context, as *runs.Assignment, begin func(context.Context) error, end func(*runs.Result)) runs.Result {
	r := a.Blank(as)
	if err := begin(ctx); err != nil {
		r.State, r.Cause = runs.StateInvalid, &runs.Cause{Class: runs.ClassProbe, Detail: err.Error()}
		return r
	}
	r.State, r.StartedAt, r.DurationMS = runs.StatePassed, time.Now().UTC(), 12
	if as.Region == "us" && as.Trigger == runs.TriggerSchedule {
		r.State, r.Cause = runs.StateFailed, &runs.Cause{Class: runs.ClassHTTP5xx, Detail: "got status 503"}
	}
	end(&r)
	return r
}

func (a actor) Blank(as *runs.Assignment) runs.Result {
	return runs.Result{
		Schema: runs.Schema, RunID: as.RunID, Scenario: as.Scenario.Name, Region: as.Region, Network: as.Network.Name, Slot: as.Slot,
		Trigger: as.Trigger, Probe: a.probe, Revision: as.Revision,
	}
}

// enlist has a probe work in a region until the test ends.
func enlist(t *testing.T, server *bus.Server, region, name string) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	kept, err := spool.Open(log, t.TempDir(), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	hub, err := bus.Connect(t.Context(), log, bus.Options{Server: server, Name: name})
	if err != nil {
		t.Fatal(err)
	}
	w := worker.New(log, hub, kept, actor{name}, worker.Options{Region: region, Probe: name, HTTPSlots: 2, Heartbeat: 500 * time.Millisecond})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = hub.Close()
		_ = kept.Close()
	})
}

// A failure is confirmed by the sibling of the probe that failed and by another region. What comes of that is in no book and in no metric of runs, and
// holds up no slot.
func TestAFailureIsConfirmed(t *testing.T) {
	t.Parallel()
	set := strict(t)
	server, hub := serverAndHub(t)
	if err := hub.EnsureStreams(t.Context(), []string{"us", "eu"}); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	confirmations := map[string][]string{} // probes by region
	scheduled := map[string]int{}
	var failed string
	ctx, end := context.WithCancel(t.Context())
	var reading sync.WaitGroup
	reading.Go(func() {
		_ = hub.Follow(ctx, []string{"us", "eu"}, nil, bus.Handler{
			Result: func(r runs.Result, _ bus.Meta) {
				mu.Lock()
				defer mu.Unlock()
				if r.Trigger != runs.TriggerConfirm {
					scheduled[r.Region]++
					if r.State == runs.StateFailed && failed == "" {
						failed = r.Probe
					}
					return
				}
				confirmations[r.Region] = append(confirmations[r.Region], r.Probe)
			},
			Verdict: func(runs.Verdict, bus.Meta) {},
		})
	})
	defer reading.Wait()
	defer end()
	ended(t, hub, set, "eu", runs.StatePassed, 6, 15*time.Second) // of slots that nobody is ordered to run any more
	for _, p := range []string{"us-one", "us-two", "eu-one"} {
		enlist(t, server, p[:2], p)
	}
	u, stop := paging(t, set, hub, newHook(t), Options{})
	defer stop()
	clitest.Eventually(t, "two confirmations", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(confirmations["us"]) > 0 && len(confirmations["eu"]) > 0
	})
	before := func() int { mu.Lock(); defer mu.Unlock(); return scheduled["us"] }()
	clitest.Eventually(t, "further slots", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return scheduled["us"] > before
	})
	mu.Lock()
	defer mu.Unlock()
	if by := confirmations["us"][0]; by == failed {
		t.Errorf("got the failure of %s confirmed by itself, want by its sibling", failed)
	}
	for _, a := range u.ledger.Accounts(time.Now()) {
		if a.Unscheduled != 0 || a.Duplicates != 0 || a.Counts[runs.StateSkipped] != 0 {
			t.Errorf("%s: got %d outside the books, %d repeated, %d skipped, want none", a.Region, a.Unscheduled, a.Duplicates, a.Counts[runs.StateSkipped])
		}
		if a.Region == "us" && a.Counts[runs.StatePassed] != 0 {
			t.Errorf("got %d passed runs in us, want the confirmation in no book", a.Counts[runs.StatePassed])
		}
	}
	var metrics strings.Builder
	u.metrics.WritePrometheus(&metrics)
	for line := range strings.Lines(metrics.String()) {
		if strings.HasPrefix(line, "lastmile_runs_total") && strings.Contains(line, `region="us"`) && strings.Contains(line, `state="passed"`) && !strings.HasSuffix(line, " 0\n") {
			t.Errorf("got %s, want no confirmation among the runs", line)
		}
	}
}
