package coordination

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lastmile/internal/bus"
	"lastmile/internal/cli/clitest"
	"lastmile/internal/evaluate"
	"lastmile/internal/ledger"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/steady"
)

// warp is a clock that a test can put forward, as if the time had passed.
type warp struct {
	*steady.Clock
	passed atomic.Int64
}

func newWarp() *warp {
	w, began := &warp{}, time.Now()
	now := func() time.Duration { return time.Since(began) + time.Duration(w.passed.Load()) }
	w.Clock = steady.New(steady.Options{Wall: func() time.Time { return began.Add(now()) }, Boot: now})
	return w
}

func (w *warp) pass(d time.Duration) { w.passed.Add(int64(d)) }

// leading runs a unit, and returns when it leads and has looked at the plan.
func leading(t *testing.T, u *Unit) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx, ctx) }()
	clitest.Eventually(t, "a scheduler that has looked at the plan", func() bool {
		s := u.scheduler()
		return s != nil && !s.Entered(u.clock.Now()).IsZero()
	})
	return func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

func announce(t *testing.T, hub *bus.Bus, list ...runs.Maintenance) {
	t.Helper()
	_, revision, _ := hub.Maintenance(t.Context())
	if _, err := hub.SaveMaintenance(t.Context(), list, revision); err != nil {
		t.Fatal(err)
	}
}

func maintenanceOf(from time.Time, d time.Duration) runs.Maintenance {
	return runs.Maintenance{ID: "m-1", Scenario: "api", Region: "us", From: from, To: from.Add(d), Why: "database", By: "ana", MadeAt: from}
}

// slotsIn lists what the books say of the slots in a stretch of time.
func slotsIn(u *Unit, from, to time.Time) (out []runs.SlotRecord) {
	for _, r := range u.ledger.Slots(apiInUS, from) {
		if !r.Slot.Before(from) && r.Slot.Before(to) {
			out = append(out, r)
		}
	}
	return out
}

// Slots under maintenance end as skipped, are owed by nobody, and are left out by probes on their own as well. When it has been ended slots are run
// again. A result that comes nevertheless counts.
func TestMaintenanceInTheBooks(t *testing.T) {
	t.Parallel()
	set, hub, clock := tenSeconds(t), emptyHub(t), newWarp()
	from := clock.Now().UTC().Truncate(time.Second)
	announce(t, hub, maintenanceOf(from, time.Hour))
	var log clitest.Output
	u := New(slog.New(slog.NewTextHandler(&log, nil)), set, hub, Options{Clock: clock.Clock})
	defer leading(t, u)()

	clock.pass(150 * time.Second)
	clitest.Eventually(t, "the slots of a minute skipped", func() bool { return u.accounts()[0].Reasons[runs.ReasonMaintenance] >= 6 })
	account := u.accounts()[0]
	if account.Counts[runs.StateSkipped] != account.Reasons[runs.ReasonMaintenance] || account.Counts[runs.StateMissing] != 0 {
		t.Errorf("got %v for %v, want nothing but skipped slots and such as are still open", account.Counts, account.Reasons)
	}
	if c := account.Budget.Counts; c.Due() != 0 || c.Skipped != account.Counts[runs.StateSkipped] {
		t.Errorf("got the budget's counts %+v, want the slots skipped, and none owed", c)
	}
	clitest.Eventually(t, "word of them", func() bool { return strings.Contains(log.String(), `level=INFO msg="slots without a result"`) })
	if strings.Contains(log.String(), `level=WARN msg="slots without a result"`) {
		t.Errorf("got a warning of what is left out on purpose:\n%s", log.String())
	}
	during, err := hub.Plan(t.Context(), "us")
	if err != nil || len(during.Maintenance) != 1 || during.Maintenance[0].To != from.Add(time.Hour) || during.Maintenance[0].Why+during.Maintenance[0].By != "" {
		t.Errorf("got %+v, %v in the plan, want when there is maintenance, and nothing of who and why", during.Maintenance, err)
	}
	if reply := u.reply(u.leading.Load(), &runs.Heartbeat{Region: "us"}); reply.Plan != during.Revision {
		t.Errorf("got probes told of plan %s, want %s", reply.Plan, during.Revision)
	}

	first := slotsIn(u, from, clock.Now())[0]
	passed(t, hub, first.Slot)
	clitest.Eventually(t, "a run of it measured", func() bool { return u.accounts()[0].Counts[runs.StatePassed] == 1 })
	if c := u.accounts()[0].Budget.Counts; c.Due() != 1 || c.Good != 1 {
		t.Errorf("got the budget's counts %+v, want the one that was measured", c)
	}

	end := clock.Now().UTC().Truncate(time.Second)
	announce(t, hub, maintenanceOf(from, end.Sub(from)))
	clitest.Eventually(t, "a plan in which it has ended", func() bool {
		after, err := hub.Plan(t.Context(), "us")
		told := u.reply(u.leading.Load(), &runs.Heartbeat{Region: "us"})
		return err == nil && after.Revision != during.Revision && after.Maintenance[0].To.Equal(end) && told.Plan == after.Revision
	})
	if u.underMaintenance(apiInUS, end) || !u.underMaintenance(apiInUS, end.Add(-time.Second)) {
		t.Error("got the end of maintenance elsewhere than where it was set")
	}
	known := clock.Now() // a slot that was due before may have been left out by then
	clock.pass(150 * time.Second)
	clitest.Eventually(t, "slots owed again", func() bool { return u.accounts()[0].Counts[runs.StateMissing] >= 6 })
	for _, r := range slotsIn(u, from, clock.Now()) {
		want := runs.StateMissing
		if r.Slot.Before(end) {
			want = runs.StateSkipped
		}
		between := !r.Slot.Before(end) && r.Slot.Before(known)
		if r.State != want && r.State != runs.StatePending && r.Slot != first.Slot && !between {
			t.Errorf("slot %s, %s after the end: got %s, %s, want %s", r.Slot, r.Slot.Sub(end), r.State, r.Reason, want)
		}
	}
}

// A coordinator that takes over when the maintenance is over accounts for its slots as the one before would have, and for those after it otherwise.
func TestMaintenanceIsKnownToTheNext(t *testing.T) {
	t.Parallel()
	set, hub, clock := tenSeconds(t), emptyHub(t), newWarp()
	from := clock.Now().UTC().Truncate(time.Second)
	announce(t, hub, maintenanceOf(from, 80*time.Second))
	u := New(slog.New(slog.DiscardHandler), set, hub, Options{Clock: clock.Clock})
	stop := leading(t, u)
	clock.pass(30 * time.Second)
	clitest.Eventually(t, "slots in the books", func() bool { return len(slotsIn(u, from, clock.Now())) >= 2 })
	stop()

	clock.pass(4 * time.Minute)
	next := New(slog.New(slog.DiscardHandler), set, hub, Options{Clock: clock.Clock})
	defer leading(t, next)()
	var closed []runs.SlotRecord
	clitest.Eventually(t, "the absence accounted for", func() bool {
		next.accounts()
		closed = slices.DeleteFunc(slotsIn(next, from, from.Add(3*time.Minute)), func(r runs.SlotRecord) bool { return r.State == runs.StatePending })
		return len(closed) >= 17
	})
	for _, r := range closed {
		want := runs.ReasonCoordinatorDown
		if r.Slot.Before(from.Add(80 * time.Second)) {
			want = runs.ReasonMaintenance
		}
		if r.Reason != want {
			t.Errorf("slot %s after it began: got %s, %s, want %s", r.Slot.Sub(from), r.State, r.Reason, want)
		}
	}
}

// A run that a probe took before the maintenance was announced, and never reported, is lost: it was owed.
func TestMaintenanceExcusesNoRunUnderWay(t *testing.T) {
	t.Parallel()
	set, hub, clock := tenSeconds(t), emptyHub(t), newWarp()
	from := clock.Now().UTC().Truncate(time.Second)
	announce(t, hub, maintenanceOf(from, time.Hour))
	u := New(slog.New(slog.DiscardHandler), set, hub, Options{Clock: clock.Clock})
	defer leading(t, u)()
	slot := set.Scenarios[0].Timetable().Next(apiInUS, clock.Now())
	id := runs.NewID(apiInUS, slot)
	clock.pass(slot.Sub(clock.Now()) + time.Second)
	clitest.Eventually(t, "the slot given up", func() bool {
		_, ok := u.givenUp(id)
		return ok
	})
	if got := u.Reason(id, "us", slot, slot.Add(10*time.Second)); got != runs.ReasonMaintenance {
		t.Errorf("nobody had it: got %s, want maintenance", got)
	}
	u.fleet.Heard(&runs.Heartbeat{Region: "us", Probe: "a", Pools: []string{"http"}, Running: []runs.ID{id}}, clock.Now())
	if got := u.Reason(id, "us", slot, slot.Add(10*time.Second)); got != runs.ReasonLost {
		t.Errorf("a probe had it: got %s, want lost", got)
	}
}

// What ended three days ago is dropped, by the leader, and nothing else happens then.
func TestWindowsAreLookedAfter(t *testing.T) {
	t.Parallel()
	set, hub, clock := tenSeconds(t), emptyHub(t), newWarp()
	seldom, err := scenario.ParseSchedule("@every 1h") // three days of slots every ten seconds are many
	if err != nil {
		t.Fatal(err)
	}
	set.Scenarios[0].Schedule = seldom
	from := clock.Now().UTC().Truncate(time.Second)
	old, long := maintenanceOf(from, time.Minute), maintenanceOf(from, 80*24*time.Hour)
	long.ID, long.Region = "m-2", ""
	announce(t, hub, old, long)
	var log clitest.Output
	u := New(slog.New(slog.NewTextHandler(&log, nil)), set, hub, Options{Clock: clock.Clock})
	defer leading(t, u)()
	list, _ := u.windows.look()
	if len(list) != 2 {
		t.Fatalf("got %+v, want both windows", list)
	}
	clock.pass(72*time.Hour + 2*time.Minute)
	clitest.Eventually(t, "the old one dropped", func() bool {
		stored, _, err := hub.Maintenance(t.Context())
		list, _ := u.windows.look()
		return err == nil && len(stored) == 1 && stored[0].ID == "m-2" && len(list) == 1
	})

	changed := func() <-chan struct{} { _, c := u.windows.look(); return c }()
	u.windows.set(slices.Clone(list[1:]))
	select {
	case <-changed:
		t.Error("got the same windows taken for others")
	default:
	}
	other := apiInUS
	other.Scenario = "shop"
	if at := clock.Now(); !u.underMaintenance(apiInUS, at) || u.underMaintenance(other, at) {
		t.Error("got another answer than the window that is left gives")
	}
	if n := strings.Count(log.String(), "maintenance windows read"); n != 2 {
		t.Errorf("got %d log lines about new windows, want 2:\n%s", n, log.String())
	}
}

// An hour of slots that are skipped freezes nothing and wakes nobody, as an hour of slots that are missing does.
func TestMaintenanceWakesNobody(t *testing.T) {
	for state, want := range map[runs.State]int{runs.StateSkipped: 0, runs.StateMissing: 1} {
		t.Run(string(state), func(t *testing.T) {
			set := tenSeconds(t)
			books := ledger.New()
			books.Define(set.Scenarios)
			engine := evaluate.New(books)
			engine.Define(set.Scenarios)
			began := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
			maintenance := began.Add(30 * time.Minute)
			alerts, blind := map[runs.AlertKey]bool{}, false
			reason := map[runs.State]runs.Reason{runs.StateSkipped: runs.ReasonMaintenance, runs.StateMissing: runs.ReasonNoProbe}[state]
			for minute := began; minute.Before(maintenance.Add(time.Hour)); minute = minute.Add(time.Minute) {
				v := runs.Verdict{Schema: runs.Schema, Region: "us", Minute: minute}
				for _, slot := range set.Scenarios[0].Timetable().Slots(apiInUS, minute.Add(-time.Second), minute.Add(59*time.Second), 10) {
					id := runs.NewID(apiInUS, slot)
					if slot.Before(maintenance) {
						engine.Result(&runs.Result{
							Schema: runs.Schema, RunID: id, Scenario: "api", Region: "us", Network: "none", Slot: slot, Trigger: runs.TriggerSchedule, State: runs.StatePassed, StartedAt: slot,
						}, slot.Add(time.Second))
						continue
					}
					v.Slots = append(v.Slots, runs.SlotVerdict{RunID: id, State: state, Reason: reason})
				}
				engine.Verdict(&v, minute.Add(90*time.Second))
				d := engine.Tick(minute.Add(91 * time.Second))
				for _, a := range d.Changed {
					alerts[a.AlertKey] = true
				}
				if len(d.Confirm) > 0 {
					t.Errorf("%s: got confirmations asked for: %+v", minute, d.Confirm)
				}
				for _, j := range engine.Journeys(minute.Add(91 * time.Second)) {
					blind = blind || j.Blind
				}
			}
			regional := 0
			for key := range alerts {
				if key.Name != runs.AlertBlind {
					t.Errorf("got alert %+v, want none that says that the service is down", key)
				} else if key.Scope == runs.ScopeRegion {
					regional++
				}
			}
			if regional != want || blind != (want > 0) {
				t.Errorf("got %d alerts of a region that is blind, blind %t, want %d", regional, blind, want)
			}
		})
	}
}

func TestRegionWindows(t *testing.T) {
	us, eu, all := maintenanceOf(time.Unix(1e9, 0), time.Hour), maintenanceOf(time.Unix(1e9, 0), time.Hour), maintenanceOf(time.Unix(1e9, 0), time.Hour)
	us.Region, eu.Region, all.Region = "us", "eu", ""
	list := []runs.Maintenance{us, eu, all}
	got := regionWindows(list, "us")
	if len(got) != 2 || got[0].Region != "us" || got[1].Region != "" || got[0].Why+got[0].By != "" {
		t.Errorf("got %+v, want those of the region and of all, without who and why", got)
	}
	if list[0].Why == "" {
		t.Error("got the list changed")
	}
	for _, c := range []scenario.Combination{apiInUS, {Scenario: "api", Region: "eu", Network: "none"}} {
		if !runs.UnderMaintenance(list, c, time.Unix(1e9, 0)) || runs.UnderMaintenance(list, c, time.Unix(1e9, 0).Add(time.Hour)) {
			t.Errorf("%v: got a window that does not begin at its beginning, or not end at its end", c)
		}
	}
}
