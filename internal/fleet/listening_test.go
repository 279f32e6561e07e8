package fleet

import (
	"testing"

	"lastmile/internal/runs"
)

// listening says each second from one to another that heartbeats get here.
func listening(f *Fleet, from, to int) {
	for n := from; n <= to; n++ {
		f.Listening(second(n))
	}
}

// What was not listened to says nothing of the probes, unless they were absent before and after.
func TestNoReasonFromWhatWasNotHeard(t *testing.T) {
	f := New(second(-600))
	probe := func(region string, pools ...string) runs.Heartbeat {
		return runs.Heartbeat{Region: region, Probe: "a", Pools: pools}
	}
	listening(f, -600, 100) // then not, for 40 s
	beats(f, probe("us", "http"), -600, 97)
	beats(f, probe("eu", "http"), -600, 97)
	beats(f, probe("sa", "http"), -600, 50) // falls silent before
	leaving := probe("ap", "http")
	beats(f, leaving, -600, 90)
	leaving.Leaving = true
	beats(f, leaving, 95, 95)
	listening(f, 140, 600)
	beats(f, probe("us", "http"), 142, 600) // eu does not come back
	beats(f, probe("me", "http"), 144, 600) // came meanwhile
	for _, tc := range []struct {
		name, region, pool string
		slot               int
		want               runs.Reason
	}{
		{"heard until the end of it", "us", "http", 95, runs.ReasonExpired},
		{"between the last heartbeat and the end of listening", "us", "http", 98, runs.ReasonCoordinatorDown},
		{"not listened at all", "us", "http", 110, runs.ReasonCoordinatorDown},
		{"heard again within the slot", "us", "http", 135, runs.ReasonExpired},
		{"heard again", "us", "http", 150, runs.ReasonExpired},
		{"its pool was never there", "us", "full", 110, runs.ReasonNoProbe},
		{"silent after it", "eu", "http", 110, runs.ReasonCoordinatorDown},
		{"silent after it, in part", "eu", "http", 139, runs.ReasonCoordinatorDown},
		{"silent since", "eu", "http", 141, runs.ReasonCutOff},
		{"silent before and after", "sa", "http", 110, runs.ReasonCutOff},
		{"had left", "ap", "http", 110, runs.ReasonNoProbe},
		{"there after it", "me", "http", 110, runs.ReasonCoordinatorDown},
		{"not there before it", "me", "http", 80, runs.ReasonNoProbe},
		{"never there", "zz", "http", 110, runs.ReasonNoProbe},
	} {
		if got := f.Reason(shop(tc.region, tc.slot), tc.pool, second(tc.slot+10), second(600)); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
		}
	}
}

// A program that wakes up is asked before it has noted anything.
func TestNoReasonRightAfterASilenceOfOurs(t *testing.T) {
	f := New(start)
	listening(f, 0, 100)
	beats(f, runs.Heartbeat{Region: "us", Probe: "a", Pools: []string{"http"}}, 1, 96)
	ask := func(region string, slot, now int) runs.Reason {
		return f.Reason(shop(region, slot), "http", second(slot+10), second(now))
	}
	if got := ask("us", 105, 120); got != runs.ReasonCoordinatorDown {
		t.Errorf("nothing noted yet: got %s, want coordinator_down", got)
	}
	f.Listening(second(120))
	for _, region := range []string{"us", "eu"} {
		if got := ask(region, 105, 125); got != runs.ReasonCoordinatorDown {
			t.Errorf("5 s after, in %s: got %s, want coordinator_down", region, got)
		}
	}
	listening(f, 121, 140)
	if got := ask("eu", 105, 140); got != runs.ReasonNoProbe {
		t.Errorf("20 s after, without any probe: got %s, want no_probe", got)
	}
}

// Listening that falters for a moment hides no absence, and what is remembered is bounded.
func TestListeningThatFalters(t *testing.T) {
	f := New(second(-600))
	beats(f, runs.Heartbeat{Region: "us", Probe: "a", Pools: []string{"http"}}, -600, 0)
	for n := 0; n <= 600; n += 7 {
		f.Listening(second(n))
	}
	if got := reason(f, "us", "http", 30); got != runs.ReasonCutOff || len(f.deaf) != 0 {
		t.Errorf("got %s with %d silences of ours, want cut_off with none", got, len(f.deaf))
	}
	for n := 700; n <= 100_000; n += 100 {
		f.Listening(second(n))
	}
	if len(f.deaf) != maxSpans {
		t.Errorf("got %d silences remembered, want %d", len(f.deaf), maxSpans)
	}
	f.Listening(second(50)) // our clock went back
	if got := f.listened; !got.Equal(second(50)) {
		t.Errorf("got the last word at %s, want it at %s", got, second(50))
	}
}

// A coordinator that has just started closes slots from before it began: it was not there to hear whether there were probes.
func TestNoReasonFromBeforeTheBeginning(t *testing.T) {
	f := New(start)
	listening(f, 0, 1)
	ask := func(now int) runs.Reason { return f.Reason(shop("us", -60), "http", second(-50), second(now)) }
	if got := ask(1); got != runs.ReasonCoordinatorDown {
		t.Errorf("a second after the start: got %s, want coordinator_down", got)
	}
	listening(f, 2, 60)
	if got := ask(60); got != runs.ReasonNoProbe {
		t.Errorf("a minute after the start, without any probe: got %s, want no_probe", got)
	}
}
