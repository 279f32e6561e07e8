package evaluate_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"slices"
	"testing"
	"time"

	"lastmile/internal/evaluate"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// A burst that lies across two slices of five minutes is one event, and with one failure for no reason and another one no degradation.
func TestBurstAcrossSlicesIsOneEvent(t *testing.T) {
	s := checkout(t, "1m", 3)
	s.Alerts.Critical = true
	for shift := range 5 {
		st := newStage(t, s)
		st.deaf = true
		st.play(2*time.Hour + time.Duration(shift)*time.Minute)
		st.outcome = failing("region-01")
		st.play(3 * time.Minute)
		st.outcome = nil
		st.play(15 * time.Minute)
		st.outcome = failing("region-01")
		st.play(time.Minute)
		st.outcome = nil
		st.play(time.Hour)
		st.none()
	}
}

// How long all must be well before an alert ends is the scenario's to say; five good runs it takes anyway.
func TestRecoveryTime(t *testing.T) {
	for _, tc := range []struct {
		recovery, least, most time.Duration
	}{{10 * time.Second, 75 * time.Second, 2 * time.Minute}, {5 * time.Minute, 5 * time.Minute, 6 * time.Minute}, {time.Hour, time.Hour, 62 * time.Minute}} {
		for _, regions := range []int{1, 4} { // of four that fail: one page, everywhere
			s := checkout(t, "20s", 4)
			s.Alerts.Recovery = new(scenario.Duration(tc.recovery))
			st := newStage(t, s)
			st.play(time.Hour)
			name, region := runs.AlertDown, s.Regions[0]
			if regions > 1 {
				name, region = runs.AlertOutage, ""
			}
			st.outcome = failing(s.Regions[:regions]...)
			st.until(5*time.Minute, "page", st.begins(name, region))
			st.play(10 * time.Minute)
			st.outcome = nil
			if took := st.until(tc.most, "end", st.ends(name, region)); regions == 1 && took < tc.least || took < tc.recovery-20*time.Second { // the last run of an outage may have been that long ago
				t.Errorf("%d regions: got the end after %s, want %s at least", regions, took, tc.least)
			}
		}
	}
}

// On a slow schedule runs are asked for to tell that what was bad is well again: an alert ends minutes after the first good run of the schedule, not after
// five of them.
func TestSlowScheduleRecovers(t *testing.T) {
	t.Parallel()
	recovers := func(st *stage, name string, most time.Duration) (asked int) {
		st.t.Helper()
		before := len(st.asked)
		st.outcome = nil
		st.until(3*time.Hour, "recovery", func() bool { return st.journey("region-00").State == runs.JourneyRecovering })
		if took := st.until(most, "end", st.ends(name, "region-00")); took < 10*time.Minute {
			t.Errorf("got %s ended after %s, want ten minutes at least", name, took)
		}
		for i, r := range st.asked[before:] {
			if r.Combination.Region != "region-00" || r.Avoid != "" || i > 0 && r.At.Sub(st.asked[before+i-1].At) < time.Minute {
				t.Errorf("got %+v asked for, want runs in the region, by whichever probe, a minute apart at least", st.asked[before:])
			}
		}
		asked = len(st.asked) - before
		st.play(2 * time.Hour)
		if now := len(st.asked) - before; now != asked {
			t.Errorf("got %d more runs asked for after the end, want none", now-asked)
		}
		return asked
	}
	for _, networks := range [][]string{nil, {"3g", "wifi"}} {
		down := newStage(t, checkout(t, "30m", 3, networks...))
		down.play(6 * time.Hour)
		down.outcome = failing("region-00")
		down.until(time.Hour, "page", down.begins(runs.AlertDown, "region-00"))
		if asked := recovers(down, runs.AlertDown, 25*time.Minute); asked < 1 || asked > 5 {
			t.Errorf("networks %v: got %d runs asked for, want as many as were wanting of five", networks, asked)
		}
	}

	for name, bad := range map[string]func(*runs.Result){"failed": fail, "slow": func(r *runs.Result) { r.DurationMS = 9000 }} {
		s := checkout(t, "10m", 3)
		s.SLOs = append(s.SLOs, scenario.SLO{Name: "fast", SLI: scenario.SLILatency, Objective: 0.99, Threshold: scenario.Duration(2 * time.Second), Window: s.SLOs[0].Window})
		degraded := newStage(t, s)
		degraded.play(12 * time.Hour)
		degraded.outcome = every(2, "region-00", bad)
		degraded.until(6*time.Hour, "alert", degraded.begins(runs.AlertDegraded, "region-00"))
		if asked := recovers(degraded, runs.AlertDegraded, 25*time.Minute); asked < 1 || asked > 5 {
			t.Errorf("%s: got %d runs asked for, want as many as were wanting of five", name, asked)
		}
	}

	lost := newStage(t, checkout(t, "30m", 3))
	lost.play(6 * time.Hour)
	lost.outcome = failing("region-00")
	lost.until(time.Hour, "page", lost.begins(runs.AlertDown, "region-00"))
	lost.outcome, lost.deaf = nil, true // nothing comes of any that is asked for
	lost.until(time.Hour, "recovery", func() bool { return lost.journey("region-00").State == runs.JourneyRecovering })
	before := len(lost.asked)
	lost.until(3*time.Hour, "end", lost.ends(runs.AlertDown, "region-00"))
	if asked := len(lost.asked) - before; asked > 10 {
		t.Errorf("got %d runs asked for where nothing comes of them, want ten at most", asked)
	}

	fast := newStage(t, checkout(t, "1m", 3))
	fast.outcome = failing("region-00")
	fast.until(10*time.Minute, "page", fast.begins(runs.AlertDown, "region-00"))
	if asked := recovers(fast, runs.AlertDown, 15*time.Minute); asked != 0 {
		t.Errorf("got %d runs asked for on a schedule of a minute, want none", asked)
	}
}

// What an outage had kept from being sent is not sent at its end, when all are getting well: only what goes on is.
func TestEndOfOutageIsNoNews(t *testing.T) {
	for _, critical := range []bool{false, true} {
		s := checkout(t, "1m", 4)
		s.Alerts.Critical = critical
		st := newStage(t, s)
		st.play(time.Hour)
		st.outcome = failing(s.Regions...)
		st.play(40 * time.Minute)
		st.outcome = nil
		st.play(4 * time.Hour)
		for _, a := range st.changed {
			if a.Active() && !a.Inhibited && a.Name != runs.AlertOutage {
				t.Errorf("critical %v: got %s %s of %s at %s sent, begun at %s, want the outage alone", critical, a.Severity, a.Name, a.Region, st.now, a.StartsAt)
			}
		}
		if a := st.engine.Alerts(st.now); len(a) > 0 {
			t.Errorf("got %+v hours later, want none", a)
		}
	}
	st := newStage(t, checkout(t, "1m", 12))
	st.play(time.Hour)
	st.outcome = failing(st.s.Regions...)
	st.play(40 * time.Minute)
	st.outcome = failing("region-07")
	st.until(30*time.Minute, "page of what goes on", func() bool {
		a := st.find(runs.AlertDown, "region-07")
		return a != nil && !a.Inhibited && st.find(runs.AlertOutage, "") == nil
	})
}

// dark is a stage on which nothing is measured in some regions, and that is said as late as a coordinator does.
func dark(st *stage, regions ...string) {
	st.silent = func(c scenario.Combination, _ time.Time) runs.State {
		if slices.Contains(regions, c.Region) {
			return runs.StateMissing
		}
		return ""
	}
}

// absent lets time pass with nobody to order a run, or to decide: the slots are closed when somebody is back.
func (st *stage) absent(d time.Duration) {
	from, until, was := st.now, st.now.Add(d), st.silent
	st.silent = func(c scenario.Combination, at time.Time) runs.State {
		if at.After(from) && at.Before(until) {
			return runs.StateMissing
		}
		if was != nil {
			return was(c, at)
		}
		return ""
	}
	st.now = until
}

// A fleet that has just started is not blind while its probes are coming, whoever is to be woken for it; one to which none come is.
func TestStartIsNotBlindness(t *testing.T) {
	for _, every := range []string{"10s", "1m", "5m"} {
		s := checkout(t, every, 3)
		s.Alerts.Critical = true
		st := newStage(t, s)
		dark(st, s.Regions...)
		st.play(8 * time.Minute)
		st.silent = nil
		st.play(2 * time.Hour)
		st.none()

		st = newStage(t, s)
		dark(st, s.Regions...)
		if took := st.until(25*time.Minute, "blindness", st.begins(runs.AlertBlind, "")); took < 10*time.Minute {
			t.Errorf("%s: got it after %s, want time for probes to come", every, took)
		}
	}
}

// While no coordinator was there nothing was ordered: when one is back, that makes no region blind, whatever the schedule. A region of which nothing is
// measured after that either is blind, and one that was blind before stays so: it is not told to be well in between.
func TestAbsenceIsNotBlindness(t *testing.T) {
	t.Parallel()
	for _, every := range []string{"10s", "1m", "2m", "5m", "7m", "15m"} {
		for _, away := range []time.Duration{3 * time.Minute, 12 * time.Minute, 40 * time.Minute} {
			s := checkout(t, every, 3)
			s.Alerts.Critical = true
			st := newStage(t, s)
			st.play(time.Hour + 12*s.Schedule.Period())
			st.absent(away)
			st.play(time.Hour + 12*s.Schedule.Period())
			if st.none(); t.Failed() {
				t.Fatalf("every %s, away for %s", every, away)
			}
		}
	}
	for _, every := range []string{"20s", "1m", "2m"} {
		for _, handed := range []bool{false, true} {
			st := newStage(t, checkout(t, every, 3))
			st.play(time.Hour)
			st.absent(20 * time.Minute)
			if handed {
				handOver(t, st)
			}
			dark(st, "region-01")
			st.until(16*time.Minute, "blindness", st.begins(runs.AlertBlind, "region-01"))
			began := st.find(runs.AlertBlind, "region-01").StartsAt
			st.play(time.Hour)
			st.absent(50 * time.Minute)
			if handed {
				handOver(t, st)
			}
			dark(st, "region-01")
			st.changed = nil
			st.play(time.Hour)
			if a := st.find(runs.AlertBlind, "region-01"); a == nil || !a.StartsAt.Equal(began) || len(st.changed) > 0 {
				t.Errorf("every %s, handed over %v: got %+v, changes %+v, want the same alert as before", every, handed, a, told(st.changed))
			}
			st.silent = nil
			st.until(40*time.Minute, "end", st.ends(runs.AlertBlind, "region-01"))
		}
	}
}

// handOver has an engine go on that has the evidence, and what the leader had decided by its state.
func handOver(t *testing.T, st *stage) {
	t.Helper()
	state, err := st.engine.State()
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := st.engine.Save(&file); err != nil {
		t.Fatal(err)
	}
	st.engine = evaluate.New(openBooks{})
	st.engine.Define([]scenario.Scenario{st.s})
	if err := st.engine.Load(&file); err != nil {
		t.Fatal(err)
	}
	if err := st.engine.Adopt(state); err != nil {
		t.Fatal(err)
	}
}

// The leader goes within seconds, again and again: what is unmeasured is told all the same.
func TestBlindAcrossLeaders(t *testing.T) {
	st := newStage(t, checkout(t, "1m", 3))
	st.play(time.Hour)
	dark(st, "region-02")
	from := st.now
	for st.find(runs.AlertBlind, "region-02") == nil && st.now.Sub(from) < 16*time.Minute {
		st.play(2 * time.Minute)
		handOver(t, st)
		st.now = st.now.Add(15 * time.Second)
	}
	if a := st.find(runs.AlertBlind, "region-02"); a == nil {
		t.Error("got no alert of a region that is not measured, want one within 15 min")
	}
}

// When regions are measured again one after another, those that are about to be are no news.
func TestEndOfBlindnessIsNoNews(t *testing.T) {
	s := checkout(t, "1m", 4)
	s.Alerts.Critical = true
	st := newStage(t, s)
	st.play(time.Hour)
	dark(st, s.Regions...)
	st.until(20*time.Minute, "blindness", st.begins(runs.AlertBlind, ""))
	st.play(20 * time.Minute)
	st.changed = nil
	for n := range s.Regions {
		dark(st, s.Regions[n+1:]...)
		st.play(40 * time.Second)
	}
	st.silent = nil
	st.play(2 * time.Hour)
	for _, a := range st.changed {
		if a.Active() && a.Name == runs.AlertBlind && !a.Inhibited {
			t.Errorf("got %s of %q sent, want only the end of blindness everywhere", a.Name, a.Region)
		}
	}
	if a := st.engine.Alerts(st.now); len(a) > 0 {
		t.Errorf("got %+v, want none", a)
	}
}

// State of 10,000 combinations that are all down, and of as many that have just got well, packed as it is kept, leaves room in a message of 1 MB; here is
// an eighth of it all. The next
// leader changes nothing, and knows of each alert what its scenario says.
func TestStateOfMany(t *testing.T) {
	const combinations, most = many / 8, 700_000 / 8 // bytes
	e, results := fleetOf(t, combinations)
	at := epoch
	play := func(minutes int, state runs.State) {
		for range minutes {
			for group := range 2 {
				now := at.Add(time.Duration(group)*30*time.Second + time.Duration(group)*1234567)
				for i := group; i < len(results); i += 2 {
					r := results[i]
					r.Slot = at.Add(time.Duration(i%60) * time.Second)
					r.RunID, r.State, r.Probe, r.Cause = runs.NewID(r.Combination(), r.Slot), state, fmt.Sprintf("probe-%s-%d", r.Region, i%7), nil
					if state == runs.StateFailed {
						r.Cause = &runs.Cause{Class: runs.ClassHTTP5xx, Step: "pay", Detail: fmt.Sprintf("got 503 after %d ms, want 200", i*7919%1000)}
					}
					e.Result(r, r.Slot.Add(takes+time.Duration(i*7919%1e9)))
				}
				e.Tick(now)
			}
			at = at.Add(time.Minute)
		}
	}
	check := func(when string) {
		t.Helper()
		state, err := e.State()
		if err != nil {
			t.Fatal(err)
		}
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		if _, err := w.Write(state); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d alerts, %d bytes, %d packed", when, len(e.Alerts(at)), len(state), packed.Len())
		if packed.Len() > most || len(state) > 12<<20/8 {
			t.Errorf("%s: got %d bytes, %d packed, want at most an eighth of 12 MB and %d", when, len(state), packed.Len(), most)
		}
		next, _ := fleetOf(t, combinations)
		if err := next.Adopt(state); err != nil {
			t.Fatal(err)
		}
		if d := next.Tick(at); len(d.Changed)+len(d.Confirm) > 0 {
			t.Errorf("%s: got %d changes and %d requests by the next leader, want none", when, len(d.Changed), len(d.Confirm))
		}
		for _, a := range next.Alerts(at) {
			if a.Labels["tier"] != "one" || a.Team != "payments" || a.Runbook == "" || a.Why.Rule == "" {
				t.Fatalf("%s: got %+v, want what its scenario says of itself", when, a)
			}
		}
	}
	play(9, runs.StateFailed)
	if got := len(e.Alerts(at)); got < combinations {
		t.Fatalf("got %d alerts, want one of each of %d", got, combinations)
	}
	check("all down")
	play(13, runs.StatePassed)
	check("all well again")
}

// When nothing is measured anywhere, that is one alert, however critical the scenario: not one of each region first. A region that is blind while another
// one is measured in part is told all the same.
func TestBlindEverywhereIsOneAlert(t *testing.T) {
	for _, every := range []string{"10s", "1m", "5m"} {
		s := checkout(t, every, 6)
		s.Alerts.Critical = true
		st := newStage(t, s)
		st.play(2 * time.Hour)
		dark(st, s.Regions...)
		st.play(2 * time.Hour)
		sent := 0
		for _, a := range st.changed {
			if a.Active() && !a.Inhibited {
				sent++
			}
		}
		if sent != 1 || st.find(runs.AlertBlind, "") == nil {
			t.Errorf("every %s: got %d alerts sent, want the one of everywhere", every, sent)
		}
	}
	st := newStage(t, checkout(t, "1m", 2))
	st.play(time.Hour)
	n := 0
	st.silent = func(c scenario.Combination, _ time.Time) runs.State {
		if n++; c.Region == "region-01" || n%4 == 0 { // every other run of region-00
			return runs.StateMissing
		}
		return ""
	}
	st.until(20*time.Minute, "blindness that is told", func() bool {
		a := st.find(runs.AlertBlind, "region-01")
		return a != nil && !a.Inhibited
	})
}

// A scenario that has no objective for availability any more is not down for ever: its other objectives are held.
func TestAvailabilityGivenUp(t *testing.T) {
	s := checkout(t, "1m", 2)
	s.SLOs = append(s.SLOs, scenario.SLO{Name: "fast", SLI: scenario.SLILatency, Objective: 0.95, Threshold: scenario.Duration(2 * time.Second), Window: s.SLOs[0].Window})
	st := newStage(t, s)
	st.outcome = failing("region-00")
	st.until(10*time.Minute, "page", st.begins(runs.AlertDown, "region-00"))
	state, err := st.engine.State()
	if err != nil {
		t.Fatal(err)
	}
	s.SLOs = s.SLOs[1:]
	next := newStage(t, s)
	next.now = st.now
	for i := range next.slots {
		next.slots[i].at = s.Timetable().Next(next.slots[i].of, next.now)
	}
	next.first = next.now
	if err := next.engine.Adopt(state); err != nil {
		t.Fatal(err)
	}
	next.play(20 * time.Minute)
	if j := next.journey("region-00"); j.State == runs.JourneyDown || next.find(runs.AlertDown, "region-00") != nil {
		t.Errorf("got %+v, want nothing known of its availability", j)
	}
	next.outcome = func(r *runs.Result) {
		if r.Region == "region-00" {
			r.DurationMS = 9000
		}
	}
	next.until(2*time.Hour, "alert of what is slow", next.begins(runs.AlertDegraded, "region-00"))
}
