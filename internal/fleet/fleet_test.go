package fleet

import (
	"fmt"
	"testing"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

var start = time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)

func beat(f *Fleet, region, probe string, at time.Time, running ...runs.ID) {
	f.Heard(&runs.Heartbeat{Schema: 1, Region: region, Probe: probe, SentAt: at.Add(200 * time.Millisecond), Slots: 4, Running: running}, at)
}

func TestReasons(t *testing.T) {
	f := New(start.Add(-time.Hour))
	id := func(n int) runs.ID {
		return runs.NewID(scenario.Combination{Scenario: "shop", Region: "us", Network: "none"}, start.Add(time.Duration(n)*time.Second))
	}
	for n := range 12 { // there from 0 s to 55 s
		beat(f, "us", "a", start.Add(time.Duration(n)*5*time.Second), id(10))
	}
	for _, tc := range []struct {
		name string
		id   runs.ID
		slot time.Duration
		want runs.Reason
	}{
		{"taken and never reported", id(10), 10 * time.Second, runs.ReasonLost},
		{"there, but did not take it", id(20), 20 * time.Second, runs.ReasonExpired},
		{"within the last heartbeat's silence", id(65), 65 * time.Second, runs.ReasonExpired},
		{"gone", id(90), 90 * time.Second, runs.ReasonNoProbe},
		{"not there yet", id(-60), -60 * time.Second, runs.ReasonNoProbe},
	} {
		slot := start.Add(tc.slot)
		if got := f.Reason(tc.id, "us", slot, slot.Add(10*time.Second)); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
		}
	}
	if got := f.Reason(id(20), "eu", start.Add(20*time.Second), start.Add(30*time.Second)); got != runs.ReasonNoProbe {
		t.Errorf("region without probes: got %s, want no_probe", got)
	}
}

// After a restart of the coordinator the probes are heard within their next heartbeat: slots from before were not without probes.
func TestRestartIsNotAnAbsenceOfProbes(t *testing.T) {
	f := New(start)
	id := runs.NewID(scenario.Combination{Scenario: "shop", Region: "us", Network: "none"}, start.Add(-time.Minute))
	beat(f, "us", "a", start.Add(4*time.Second))
	beat(f, "eu", "b", start.Add(time.Minute)) // came later
	for region, want := range map[string]runs.Reason{"us": runs.ReasonExpired, "eu": runs.ReasonNoProbe, "apac": runs.ReasonNoProbe} {
		if got := f.Reason(id, region, start.Add(-time.Minute), start.Add(-40*time.Second)); got != want {
			t.Errorf("slot from before the restart in %s: got %s, want %s", region, got, want)
		}
	}
}

func TestProbesGoDownWhenSilent(t *testing.T) {
	f := New(start)
	beat(f, "us", "a", start)
	beat(f, "eu", "b", start.Add(10*time.Second))
	got := f.Probes(start.Add(20 * time.Second))
	if len(got) != 2 || got[0].Region != "eu" || !got[0].Up || got[1].Up {
		t.Errorf("got %+v, want eu up and us down", got)
	}
	if got[0].ClockOffset != 200*time.Millisecond {
		t.Errorf("clock offset: got %s, want 200ms", got[0].ClockOffset)
	}
	if got := f.Probes(start.Add(25 * time.Hour)); len(got) != 2 {
		t.Errorf("a probe stays listed until another is heard: got %d", len(got))
	}
	beat(f, "us", "c", start.Add(25*time.Hour))
	if got := f.Probes(start.Add(25 * time.Hour)); len(got) != 1 || got[0].Name != "c" {
		t.Errorf("got %+v, want the long silent ones forgotten", got)
	}
}

func TestAFloodOfProbesIsBounded(t *testing.T) {
	f := New(start)
	for n := range maxProbes + 5 {
		f.mu.Lock()
		f.probes[fmt.Sprint(n)] = &runs.ProbeStatus{LastSeen: start}
		f.mu.Unlock()
		if n >= maxProbes-1 {
			break
		}
	}
	beat(f, "us", "one-more", start)
	if got := f.Refused(); got != 1 {
		t.Errorf("got %d refused, want 1", got)
	}
}

// A probe that has compared its clock says how it compares; what nobody can reckon with is not taken.
func TestClockOfAProbe(t *testing.T) {
	for name, tc := range map[string]struct {
		clock       *runs.Clock
		offset, err time.Duration
	}{
		"compared":     {&runs.Clock{OffsetMS: 2999.5, ErrorMS: 0.25}, -2999500 * time.Microsecond, 250 * time.Microsecond},
		"not yet":      {nil, -time.Second, 0},
		"nonsense":     {&runs.Clock{OffsetMS: 1e300, ErrorMS: 1}, -time.Second, 0},
		"below nought": {&runs.Clock{ErrorMS: -1}, -time.Second, 0},
	} {
		f := New(start)
		f.Heard(&runs.Heartbeat{Region: "us", Probe: "a", SentAt: start.Add(-time.Second), Clock: tc.clock}, start)
		if got := f.Probes(start)[0]; got.ClockOffset != tc.offset || got.ClockError != tc.err {
			t.Errorf("%s: got %s ± %s, want %s ± %s", name, got.ClockOffset, got.ClockError, tc.offset, tc.err)
		}
	}
}
