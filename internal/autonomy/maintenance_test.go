package autonomy

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// A probe on its own leaves out what its plan says is under maintenance, and nothing else: not before, not after, and no other scenario. It has not
// missed those.
func TestMaintenanceIsLeftOut(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		plan := planOf(t, "r1", "@every 1m", "@every 1m")
		from := time.Now().Add(5 * time.Minute)
		plan.Maintenance = []runs.Maintenance{
			{ID: "m-1", Scenario: "shop-0", Region: "us", From: from, To: from.Add(10 * time.Minute)},
			{ID: "m-2", Region: "eu", From: from, To: from.Add(time.Hour)},
		}
		p := start(t, &air{plan: plan}, newPlaces(10, 5*time.Second), Options{Dir: dir})
		defer p.stop()
		answers(p, "r1", 1)
		last := time.Now()
		time.Sleep(30 * time.Minute)
		want := slices.DeleteFunc(slots(plan, last, time.Now().Add(-time.Second)), func(id runs.ID) bool {
			c, slot, _ := id.Parse()
			return runs.UnderMaintenance(plan.Maintenance, c, slot)
		})
		if got := ids(p.ran()); !slices.Equal(got, want) || len(want) != 50 {
			t.Errorf("got %d runs, want the %d (50) slots that are not under maintenance:\n%v\n%v", len(got), len(want), got, want)
		}
		if s := p.Stats(); s.Missed != 0 || s.Runs != int64(len(want)) {
			t.Errorf("got %+v, want %d runs and nothing missed", s, len(want))
		}
	})
}

// The plan on disk has the windows: a probe that starts while it is cut off knows them.
func TestMaintenanceIsKeptOnDisk(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		plan := planOf(t, "r1", "@every 1m")
		plan.Maintenance = []runs.Maintenance{{ID: "m-1", From: time.Now(), To: time.Now().Add(time.Hour)}}
		first := start(t, &air{plan: plan}, newPlaces(10, time.Second), Options{Dir: dir})
		answers(first, "r1", 1)
		time.Sleep(time.Second)
		first.stop()
		again := start(t, &air{cut: true}, newPlaces(10, time.Second), Options{Dir: dir})
		defer again.stop()
		time.Sleep(58 * time.Minute)
		if got := again.ran(); !again.Alone() || len(got) != 0 {
			t.Errorf("got alone %t and %d runs under maintenance, want none", again.Alone(), len(got))
		}
		time.Sleep(10 * time.Minute)
		if got := again.ran(); len(got) < 6 {
			t.Errorf("got %d runs in the minutes after, want each of them", len(got))
		}
	})
}

// A plan that comes while a slot's window is open is gone by at once: also one in which the maintenance has been ended.
func TestMaintenanceThatIsEnded(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		plan := planOf(t, "r1", "@every 10m")
		c := scenario.Combination{Scenario: "shop-0", Region: "us", Network: "none"}
		plan.Maintenance = []runs.Maintenance{{ID: "m-1", From: time.Now(), To: time.Now().Add(time.Hour)}}
		hub := &air{plan: plan}
		p := start(t, hub, newPlaces(10, time.Second), Options{Dir: dir})
		defer p.stop()
		answers(p, "r1", 1)
		time.Sleep(time.Minute)
		slot := plan.Scenarios[0].Timetable().Next(c, time.Now())
		time.Sleep(time.Until(slot) + 5*time.Second)
		if got := p.ran(); len(got) != 0 {
			t.Fatalf("got %v under maintenance, want nothing", ids(got))
		}
		ended := *plan
		ended.Revision = "r2"
		ended.Maintenance = []runs.Maintenance{{ID: "m-1", From: plan.Maintenance[0].From, To: slot}}
		p.Pilot.mu.Lock()
		p.plan = &ended
		p.Pilot.start()
		p.Pilot.mu.Unlock()
		time.Sleep(time.Second)
		if got, want := ids(p.ran()), []runs.ID{runs.NewID(c, slot)}; !slices.Equal(got, want) {
			t.Errorf("got %v after the end, want the slot that is open: %v", got, want)
		}
	})
}
