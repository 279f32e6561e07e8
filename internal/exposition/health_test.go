package exposition

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// perProcess are the metrics of which each coordinator has its own; all others are written by the one that leads.
func perProcess(name string) bool {
	return !strings.HasPrefix(name, "lastmile_") || strings.HasPrefix(name, "lastmile_coordinator_") || slices.Contains([]string{
		"lastmile_bus_connected", "lastmile_nats_reconnects_total", "lastmile_series", "lastmile_series_dropped_total",
	}, name)
}

// TestSumsOverCoordinatorsHold has one coordinator lead and another stand by, both with the same books: what Prometheus adds up over both is
// what the leader says.
func TestSumsOverCoordinatorsHold(t *testing.T) {
	standby := fixedSources(false)
	standby.Health = func() CoordinatorHealth {
		h := fixedHealth()
		h.Leading = false
		return h
	}
	leader := series(t, written(fixedCoordinator(fixedSources(false)).WritePrometheus))
	got := series(t, written(fixedCoordinator(standby).WritePrometheus))
	want(t, got, map[string]float64{
		"lastmile_coordinator_leader": 0, "lastmile_coordinator_term": 7, "lastmile_bus_connected": 1,
		"lastmile_coordinator_snapshot_bytes": 3 << 20, `lastmile_coordinator_info{version="v1.2.3"}`: 1,
	})
	want(t, leader, map[string]float64{"lastmile_coordinator_leader": 1, `lastmile_region_places{region="eu-central"}`: 4, named("lastmile_runs_total", `state="passed"`): 80})
	for id := range got {
		if name, _, _ := strings.Cut(id, "{"); !perProcess(name) {
			t.Errorf("a coordinator that stands by writes %s: a sum over both counts it twice", id)
		}
	}
	for id := range leader {
		name, _, _ := strings.Cut(id, "{")
		if _, ok := got[id]; perProcess(name) && !ok {
			t.Errorf("a coordinator that stands by does not write %s, which is about itself", id)
		}
	}
}

// TestACoordinatorThatTakesOver shows the books, whole, at the first scrape after it began to lead, and no longer once it ended.
func TestACoordinatorThatTakesOver(t *testing.T) {
	health := fixedHealth()
	sources := fixedSources(false)
	sources.Health = func() CoordinatorHealth { return health }
	c := fixedCoordinator(sources)
	before := ours(written(c.WritePrometheus))
	health.Leading = false
	if text := written(c.WritePrometheus); strings.Contains(text, "lastmile_ledger_slots") || strings.Contains(text, "lastmile_run_duration_seconds") {
		t.Error("got books of a coordinator that stands by, want none")
	}
	health.Leading = true
	if after := ours(written(c.WritePrometheus)); after != before {
		t.Errorf("got %d bytes of books after standing by, want the same %d as before", len(after), len(before))
	}
}

// TestWhatIsNotThereYetIsNotZero leaves out the age of a snapshot that was never taken and the time of a restore that goes on.
func TestWhatIsNotThereYetIsNotZero(t *testing.T) {
	sources := fixedSources(false)
	sources.Health = func() CoordinatorHealth { return CoordinatorHealth{ClockOffset: time.Millisecond} }
	text := written(fixedCoordinator(sources).WritePrometheus)
	for _, name := range []string{"lastmile_coordinator_snapshot_timestamp_seconds", "lastmile_coordinator_restore_seconds"} {
		if strings.Contains(text, name) {
			t.Errorf("got %s, want none", name)
		}
	}
	want(t, series(t, text), map[string]float64{"lastmile_coordinator_leader": 0, "lastmile_coordinator_clock_offset_seconds": 0.001})
}
