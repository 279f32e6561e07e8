package coordination

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lastmile/internal/bus"
	"lastmile/internal/cli/clitest"
	"lastmile/internal/runs"
	"lastmile/internal/runs/notes"
	"lastmile/internal/scenario"
	"lastmile/internal/scenariofile"
)

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tenSeconds is a set with one scenario, due every 10 s in region us.
func tenSeconds(t *testing.T) scenariofile.Set { return apiEvery(t, "10s", "5s", "99%", "us") }

// apiEvery is a set with one scenario, with an objective of availability.
func apiEvery(t *testing.T, every, timeout, objective string, regions ...string) scenariofile.Set {
	t.Helper()
	dir := t.TempDir()
	fleet := "apiVersion: lastmile/v1\nregions:\n"
	for _, region := range regions {
		fleet += "  " + region + ": {description: somewhere}\n"
	}
	write(t, dir, "regions.yaml", fleet)
	write(t, dir, "api.yaml", fmt.Sprintf(`apiVersion: lastmile/v1
scenario: api
schedule: "@every %s"
timeout: %s
regions: [%s]
slos: [{name: up, objective: %s, window: 7d}]
steps:
  - {type: http, url: "http://127.0.0.1:1/"}
`, every, timeout, strings.Join(regions, ", "), objective))
	set, err := scenariofile.LoadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// serverAndHub starts a NATS server without streams, and connects to it.
func serverAndHub(t *testing.T) (*bus.Server, *bus.Bus) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	server, err := bus.StartServer(log, bus.ServerOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop(context.Background()) })
	hub, err := bus.Connect(t.Context(), log, bus.Options{Server: server, Name: "coordinator"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hub.Close() })
	return server, hub
}

// emptyHub is a hub with the streams of region us.
func emptyHub(t *testing.T) *bus.Bus {
	t.Helper()
	_, hub := serverAndHub(t)
	if err := hub.EnsureStreams(t.Context(), []string{"us"}); err != nil {
		t.Fatal(err)
	}
	return hub
}

var apiInUS = scenario.Combination{Scenario: "api", Region: "us", Network: "none"}

// passed publishes a passed run of a slot.
func passed(t *testing.T, hub *bus.Bus, slot time.Time) {
	t.Helper()
	err := hub.PublishResult(t.Context(), runs.Result{
		Schema: runs.Schema, RunID: runs.NewID(apiInUS, slot), Scenario: "api", Region: "us", Network: "none", Slot: slot,
		Trigger: runs.TriggerSchedule, Probe: "p", State: runs.StatePassed, StartedAt: slot, DurationMS: 5,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestRestartAccountsForTheAbsence starts a coordinator on what an earlier one left: results, but no verdict after them. Every slot
// since the first one ends in the books, and a result of a far future does not wipe their history.
func TestRestartAccountsForTheAbsence(t *testing.T) {
	t.Parallel()
	set, hub := tenSeconds(t), emptyHub(t)
	schedule := set.Scenarios[0].Schedule
	now := time.Now()
	first := schedule.Next(apiInUS, now.Add(-10*time.Minute))
	passed(t, hub, first)
	passed(t, hub, schedule.Next(apiInUS, now.Add(-2*time.Minute)))
	passed(t, hub, schedule.Next(apiInUS, now.Add(50*365*24*time.Hour)))
	u := New(slog.New(slog.DiscardHandler), set, hub, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx, ctx) }()
	var got runs.Account
	clitest.Eventually(t, "verdicts on the absence", func() bool {
		got = u.ledger.Accounts(time.Now())[0]
		return got.Counts[runs.StateMissing] >= 45
	})
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	want := int64(len(schedule.Slots(apiInUS, first.Add(-time.Second), time.Now(), 1000)))
	if planned := got.Counts.Planned(); planned < want-1 || planned > want+1 || got.Counts[runs.StatePassed] != 2 {
		t.Errorf("got %v, want the %d slots since %s, two of them passed", got.Counts, want, first)
	}
	if got.Reasons[runs.ReasonCoordinatorDown] != got.Counts[runs.StateMissing] {
		t.Errorf("got reasons %v, want all of them coordinator_down", got.Reasons)
	}
	if got.Budget == nil || got.Budget.Counts.Planned() != got.Counts.Planned() {
		t.Errorf("got a history of %+v, want the %d slots of the books", got.Budget, got.Counts.Planned())
	}
}

// What was due before the first result or verdict is accounted for, though the coordinator whose plan it was has left nothing but the
// beginning; a first coordinator leaves that.
func TestRestartBeforeTheFirstResult(t *testing.T) {
	set, hub := tenSeconds(t), emptyHub(t)
	live := func(until func(*Unit) bool) {
		t.Helper()
		u := New(slog.New(slog.DiscardHandler), set, hub, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- u.Run(ctx, ctx) }()
		clitest.Eventually(t, "the books in order", func() bool { return until(u) })
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	var record notes.Begun
	live(func(*Unit) (ok bool) {
		var err error
		if record, _, err = hub.Begun(t.Context(), "us"); err != nil {
			t.Error(err)
		}
		return len(record.First) > 0
	})
	if first := time.Unix(record.First["api.none"], 0); first.Before(began.Add(-time.Second)) || first.After(time.Now().Add(10*time.Second)) {
		t.Errorf("got the beginning %s, want the first slot after %s", first, began)
	}

	const earlier = 12 // slots that were due in an earlier life
	_, revision, err := hub.Begun(t.Context(), "us")
	if err != nil {
		t.Fatal(err)
	}
	record.First["api.none"] -= earlier * 10
	if _, err := hub.SaveBegun(t.Context(), record, revision); err != nil {
		t.Fatal(err)
	}
	live(func(u *Unit) bool {
		return u.ledger.Accounts(time.Now())[0].Counts.Planned() >= earlier
	})
}

// A coordinator that goes away between the order of a run and its slot leaves a run that nobody's books know of. The next one accounts for
// it, whether it starts before the slot or after the run.
func TestRestartBetweenOrderAndSlot(t *testing.T) {
	t.Parallel()
	for name, early := range map[string]bool{"back before the slot": true, "back after the run": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set, hub := faster(t, tenSeconds(t)), emptyHub(t)
			set.Scenarios[0].Steps = []scenario.Step{{Type: scenario.StepNavigate, URL: "http://127.0.0.1:1/"}}
			start := func() (u *Unit, stop func()) {
				u = New(slog.New(slog.DiscardHandler), set, hub, Options{})
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- u.Run(ctx, ctx) }()
				return u, func() {
					cancel()
					if err := <-done; err != nil {
						t.Error(err)
					}
				}
			}
			u, stop := start()
			job, err := hub.Take(t.Context(), "us", scenario.PoolBrowser, clitest.Patience)
			if err != nil {
				t.Fatal(err)
			}
			slot := job.Assignment.Slot
			now := time.Now()
			if counts := u.ledger.Accounts(now)[0].Counts; now.Before(slot) && counts.Planned() != 0 {
				t.Errorf("%s before its slot: got %v, want the run not counted before it is due", slot.Sub(now), counts)
			}
			stop()
			if early {
				u, stop = start()
			}
			time.Sleep(time.Until(slot))
			passed(t, hub, slot)
			if err := job.Ack(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !early {
				u, stop = start()
			}
			defer stop()
			clitest.Eventually(t, "the run in the books, and later slots", func() bool {
				got := u.ledger.Accounts(time.Now())[0]
				return got.Counts[runs.StatePassed] == 1 && got.Entered[runs.StatePending] >= 2
			})
			got := u.ledger.Accounts(time.Now())[0]
			if got.Unscheduled != 0 || got.Counts.Planned() != got.Entered[runs.StatePending] {
				t.Errorf("got %v of %d planned, %d outside the books, want all inside", got.Counts, got.Entered[runs.StatePending], got.Unscheduled)
			}
		})
	}
}

// Metrics are those of whole books, from the first scrape on: a counter that runs up while results are read back would look like news.
func TestMetricsWaitForTheBooks(t *testing.T) {
	t.Parallel()
	set, hub := tenSeconds(t), emptyHub(t)
	const results = 50
	for i := range time.Duration(results) {
		passed(t, hub, set.Scenarios[0].Schedule.Next(apiInUS, time.Now().Add(-time.Hour+i*10*time.Second)))
	}
	u := New(slog.New(slog.DiscardHandler), set, hub, Options{})
	var f Front
	f.Show(u)
	var page strings.Builder
	if f.metrics(&page); page.String() != "" {
		t.Errorf("before the results are read back: got metrics\n%s\nwant none", &page)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx, ctx) }()
	clitest.Eventually(t, "metrics of the one that leads", func() bool {
		page.Reset()
		f.metrics(&page)
		return strings.Contains(page.String(), "lastmile_coordinator_leader 1\n")
	})
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	first, want := page.String(), fmt.Sprintf(`lastmile_runs_total{scenario="api",region="us",network="none",state="passed"} %d`+"\n", results)
	if !strings.Contains(first, want) || !strings.Contains(first, `class="cache_leak"} 0`+"\n") || !strings.Contains(first, "lastmile_coordinator_info{") {
		t.Errorf("got as the first metrics\n%s\nwant %sa leak counter of 0 and word of the coordinator", first, want)
	}
}

// Nothing is closed before the plan is in the books: a minute closed too early would leave slots out for good.
func TestVerdictsWaitForThePlan(t *testing.T) {
	set, hub := tenSeconds(t), emptyHub(t)
	u := New(slog.New(slog.DiscardHandler), set, hub, Options{})
	slot := set.Scenarios[0].Schedule.Next(apiInUS, time.Now().Add(-10*time.Minute))
	u.ledger.Result(&runs.Result{
		RunID: runs.NewID(apiInUS, slot), Scenario: "api", Region: "us", Network: "none", Slot: slot, Trigger: runs.TriggerSchedule, State: runs.StatePassed,
	}, true)
	if got := u.closable(time.Now()); len(got) != 0 {
		t.Errorf("before the plan is known: got verdicts %+v, want none", got)
	}
}
