package fleet

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

var start = time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)

// beat is a heartbeat of a probe without a browser.
func beat(f *Fleet, region, probe string, at time.Time, running ...runs.ID) {
	f.Heard(&runs.Heartbeat{Schema: 1, Region: region, Probe: probe, SentAt: at.Add(200 * time.Millisecond), Slots: 4, Running: running}, at)
}

// beats are heartbeats of a probe every 5 s from one second after the start to another.
func beats(f *Fleet, hb runs.Heartbeat, from, to int) {
	for n := from; n <= to; n += 5 {
		f.Heard(&hb, second(n))
	}
}

func second(n int) time.Time { return start.Add(time.Duration(n) * time.Second) }

func shop(region string, n int) runs.ID {
	return runs.NewID(scenario.Combination{Scenario: "shop", Region: region, Network: "none"}, second(n))
}

// reason asks about a slot, with 10 s until its deadline, when its verdict is due.
func reason(f *Fleet, region, pool string, n int) runs.Reason {
	return f.Reason(shop(region, n), pool, second(n+10), second(n+40))
}

func TestReasons(t *testing.T) {
	f := New(start.Add(-time.Hour))
	probe := func(region, name string, pools ...string) runs.Heartbeat {
		return runs.Heartbeat{Region: region, Probe: name, Pools: pools}
	}
	busy := probe("us", "a", "http")
	busy.Running = []runs.ID{shop("us", 10)}
	beats(f, busy, 0, 55)
	beats(f, probe("us", "c", "http", "browser"), 0, 30) // falls silent while a goes on
	leaving := probe("eu", "a", "http")
	beats(f, leaving, 0, 50)
	leaving.Leaving = true
	beats(f, leaving, 53, 53)
	beats(f, probe("eu", "a", "http"), 100, 120) // and back
	beats(f, probe("ap", "a", "http"), 0, 50)
	beats(f, probe("ap", "b", "http"), 0, 60)
	leaving = probe("ap", "b", "http")
	leaving.Leaving = true
	beats(f, leaving, 62, 62) // a had fallen silent before
	for _, tc := range []struct {
		name, region, pool string
		slot               int
		want               runs.Reason
	}{
		{"taken and never reported", "us", "http", 10, runs.ReasonLost},
		{"there, but did not take it", "us", "http", 20, runs.ReasonExpired},
		{"fell silent in its time", "us", "http", 50, runs.ReasonExpired},
		{"fell silent before", "us", "http", 56, runs.ReasonCutOff},
		{"long silent", "us", "http", 600, runs.ReasonCutOff},
		{"silent for days", "us", "http", 2 * 86400, runs.ReasonNoProbe},
		{"not there yet", "us", "http", -60, runs.ReasonNoProbe},
		{"its pool was there", "us", "browser", 25, runs.ReasonExpired},
		{"its pool fell silent, the region did not", "us", "browser", 40, runs.ReasonNoProbe},
		{"its pool and then the region fell silent", "us", "browser", 90, runs.ReasonCutOff},
		{"no probe ever had its pool", "us", "full", 20, runs.ReasonNoProbe},
		{"nor had when all fell silent", "us", "full", 90, runs.ReasonNoProbe},
		{"there until it left", "eu", "http", 50, runs.ReasonExpired},
		{"left", "eu", "http", 54, runs.ReasonNoProbe},
		{"came back in its time", "eu", "http", 95, runs.ReasonExpired},
		{"back", "eu", "http", 110, runs.ReasonExpired},
		{"silent after it was back", "eu", "http", 130, runs.ReasonCutOff},
		{"the last one left, though another had fallen silent", "ap", "http", 70, runs.ReasonCutOff},
		{"region without probes", "sa", "http", 20, runs.ReasonNoProbe},
	} {
		if got := reason(f, tc.region, tc.pool, tc.slot); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
		}
	}
	if got := f.Reason(shop("us", 56), "http", second(58), second(60)); got != runs.ReasonExpired {
		t.Errorf("5 s after a probe's last word: got %s, want expired: it has not fallen silent", got)
	}
}

// After a restart of the coordinator the probes are heard within their next heartbeat: slots from before were not without probes.
func TestRestartIsNotAnAbsenceOfProbes(t *testing.T) {
	f := New(start)
	beat(f, "us", "a", start.Add(4*time.Second))
	beat(f, "eu", "b", start.Add(time.Minute)) // came later
	for region, want := range map[string]runs.Reason{"us": runs.ReasonExpired, "eu": runs.ReasonNoProbe, "apac": runs.ReasonNoProbe} {
		if got := reason(f, region, "http", -60); got != want {
			t.Errorf("slot from before the restart in %s: got %s, want %s", region, got, want)
		}
	}
}

// Only the last heartbeat of a probe says what is under way, for runs of its own region, and not for long.
func TestRunning(t *testing.T) {
	f := New(start)
	c := scenario.Combination{Scenario: "shop", Region: "us", Network: "none"}
	running := func(before, now int) int { return len(f.Running(c, second(before), second(now))) }
	beat(f, "us", "a", second(5), shop("us", 0), shop("us", 10), "nonsense")
	beat(f, "eu", "x", second(5), shop("us", -10))
	beat(f, "us", "b", second(5), shop("us", 0)) // handed on
	for _, tc := range []struct{ before, now, want int }{{0, 6, 0}, {1, 6, 2}, {60, 6, 3}, {60, 12, 3}, {60, 13, 0}, {60, -600, 0}} {
		if got := running(tc.before, tc.now); got != tc.want {
			t.Errorf("before %d s, at %d s: got %d under way, want %d", tc.before, tc.now, got, tc.want)
		}
	}
	beat(f, "us", "a", second(10), shop("us", 10))
	if got := running(60, 11); got != 2 {
		t.Errorf("after the run of one probe ended: got %d under way, want 2", got)
	}
	f.Heard(&runs.Heartbeat{Region: "us", Probe: "b", Running: []runs.ID{shop("us", 0)}, Ended: []runs.ID{shop("us", 0)}}, second(10))
	if got := running(60, 11); got != 1 {
		t.Errorf("after another one ended, whose result is on its way: got %d under way, want 1", got)
	}
	f.Heard(&runs.Heartbeat{Region: "us", Probe: "a", Leaving: true, Running: []runs.ID{shop("us", 10)}}, second(11))
	beat(f, "us", "b", second(11))
	if got := running(60, 11); got != 0 || len(f.current) != 0 {
		t.Errorf("after one probe left and the other was done: got %d under way (%v), want none", got, f.current)
	}
	if got := reason(f, "us", "http", 10); got != runs.ReasonLost {
		t.Errorf("a run that was handed back and never reported: got %s, want lost", got)
	}
}

// What was taken is remembered for at least half an hour, and forgotten in the end; what one heartbeat may name is bounded.
func TestTakenIsBounded(t *testing.T) {
	f := New(start)
	beat(f, "us", "a", second(0), shop("us", 0))
	beat(f, "us", "a", start.Add(takenFor-time.Second))
	beat(f, "us", "a", start.Add(takenFor+2*sweepEvery))
	if got := reason(f, "us", "http", 0); got != runs.ReasonLost {
		t.Errorf("after half an hour: got %s, want lost", got)
	}
	beat(f, "us", "a", start.Add(2*takenFor+4*sweepEvery))
	if got := reason(f, "us", "http", 0); got != runs.ReasonExpired {
		t.Errorf("after an hour: got %s, want it forgotten: expired", got)
	}
	many := make([]runs.ID, maxListed+10)
	for n := range many {
		many[n] = shop("us", n)
	}
	beat(f, "us", "b", start, many...)
	if got := len(f.Running(scenario.Combination{Scenario: "shop", Region: "us", Network: "none"}, second(maxListed*2), start)); got != maxListed || f.Refused() != 1 {
		t.Errorf("got %d runs of one heartbeat, %d refusals, want %d and 1", got, f.Refused(), maxListed)
	}
}

// A probe's status is what its last heartbeat said.
func TestStatus(t *testing.T) {
	f := New(start)
	f.Heard(&runs.Heartbeat{Region: "us", Probe: "a", Slots: 1e9, Pools: []string{"http", "full", "made-up", "full"}, Autonomous: true, SpoolBytes: 7}, start)
	f.Heard(&runs.Heartbeat{Region: "us", Probe: "b", Slots: -1, Browser: true, Leaving: true}, start)
	got := f.Probes(second(1))
	if len(got) != 2 || !got[0].Up || !got[0].Autonomous || got[0].SpoolBytes != 7 || !slices.Equal(got[0].Pools, []string{"full", "http"}) || got[0].Slots != maxListed {
		t.Errorf("got %+v, want a probe on its own, with two pools, 7 bytes spooled and no more places than anybody has", got)
	}
	if got[1].Up || !got[1].Left || got[1].Slots != 0 || !slices.Equal(got[1].Pools, []string{"browser", "http"}) {
		t.Errorf("got %+v, want a probe that left, with the pools of its kind", got[1])
	}
	f.Heard(&runs.Heartbeat{Region: "us", Probe: "a"}, second(1))
	if got := f.Probes(second(1))[0]; got.Autonomous || !slices.Equal(got.Pools, []string{"http"}) {
		t.Errorf("got %+v, want it back under the coordinator", got)
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
		f.probes[fmt.Sprint(n)] = &member{ProbeStatus: runs.ProbeStatus{LastSeen: start}}
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
