package evaluate_test

import (
	"slices"
	"testing"
	"time"

	"lastmile/internal/cachestate"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// A region that is down pages within five minutes, once, says why, and is over when it has been well for a while.
func TestRegionDown(t *testing.T) {
	st := newStage(t, checkout(t, "1m", 4))
	st.play(2 * time.Hour)
	st.none()
	st.outcome = failing("region-01")
	st.until(2*time.Minute, "suspicion", func() bool { return st.journey("region-01").State == runs.JourneySuspect })
	if len(st.asked) != 2 || st.asked[0].Combination.Region != "region-01" || st.asked[0].Avoid != "probe-1" || st.asked[1].Combination.Region != "region-02" || st.asked[1].Avoid != "" {
		t.Fatalf("got confirmations %+v, want one in the region by another probe, and one in the next that is well", st.asked)
	}
	for _, r := range st.asked {
		if slot := st.s.Timetable().Next(r.Combination, r.At.Add(-time.Second)); slot.Equal(r.At) || r.At.Nanosecond() != 0 || !r.At.After(st.now.Add(-2*time.Second)) {
			t.Errorf("got a confirmation at %s, want a second to come that is no slot", r.At)
		}
	}
	if took := st.until(5*time.Minute, "page", st.begins(runs.AlertDown, "region-01")); took < 2*time.Minute {
		t.Errorf("got the page %s after the first failure, want it on five bad runs", took)
	}
	a := st.find(runs.AlertDown, "region-01")
	if a.Severity != slo.SeverityPage || a.Scope != runs.ScopeRegion || a.Network != "" || a.SLO != "availability" || a.Team != "payments" || a.Runbook == "" || a.Labels["tier"] != "one" {
		t.Errorf("got %+v, want a page of the region with what the scenario says of itself", a)
	}
	w := a.Why
	if w.Rule != runs.RuleHard || w.Bad != 5 || w.Of != 6 || w.Expected < 0.001 || w.Log10P > -12 || len(w.Burn) != 7 || w.Remaining == nil || w.Exhaustion == nil || w.Coverage == nil || *w.Coverage != 1 {
		t.Errorf("got why %+v, want rule S1 on 5 of 6, the burn in each window, and what is left of the budget", w)
	}
	if !slices.Equal(w.Regions, []string{"region-01"}) || len(w.Healthy) != 3 || !slices.Equal(w.Networks, []string{"none"}) {
		t.Errorf("got affected %v on %v, well %v, want region-01 on none, and the other three", w.Regions, w.Networks, w.Healthy)
	}
	if w.First == nil || w.Latest == nil || !w.Latest.At.After(w.First.At) || w.First.Cause == nil || w.First.Cause.Step != "pay" || w.First.RunID == "" {
		t.Errorf("got first %+v and latest %+v, want the failures at both ends", w.First, w.Latest)
	}
	if len(w.Confirmations) != 2 || w.Confirmations[0].State != runs.StateFailed || !w.Confirmations[0].Sibling || w.Confirmations[1].State != runs.StatePassed || w.Confirmations[0].Probe == "" {
		t.Errorf("got confirmations %+v, want the one in the region failed and the other one passed", w.Confirmations)
	}
	st.play(20 * time.Minute)
	if st.journey("region-01").State != runs.JourneyDown {
		t.Errorf("got state %s, want down", st.journey("region-01").State)
	}
	st.outcome = nil
	st.until(2*time.Minute, "recovery", func() bool { return st.journey("region-01").State == runs.JourneyRecovering })
	if took := st.until(15*time.Minute, "end", st.ends(runs.AlertDown, "region-01")); took < 9*time.Minute {
		t.Errorf("got it ended %s after it began to recover, want ten minutes", took)
	}
	st.play(3 * time.Hour)
	if len(st.changed) != 2 || st.changed[0].Active() || len(st.changed) != 2 {
		if len(st.changed) != 2 || !st.changed[0].Active() || st.changed[1].Active() {
			t.Errorf("got changes %+v, want one beginning and one end", st.changed)
		}
	}
	if got := st.engine.Alerts(st.now); len(got) != 0 {
		t.Errorf("got alerts %+v hours later, want none", got)
	}
}

// What is well again within five minutes pages nobody.
func TestBlip(t *testing.T) {
	st := newStage(t, checkout(t, "1m", 3))
	st.play(time.Hour)
	st.outcome = failing("region-00")
	st.play(3 * time.Minute)
	st.outcome = nil
	st.until(5*time.Minute, "blip", func() bool { return st.journey("region-00").State == runs.JourneyBlip })
	st.until(12*time.Minute, "ok", func() bool { return st.journey("region-00").State == runs.JourneyOK })
	st.none()
}

// A schedule that is slow pages within minutes, since confirmations are asked for each minute, five at most.
func TestSlowScheduleIsConfirmed(t *testing.T) {
	st := newStage(t, checkout(t, "30m", 3))
	st.play(6 * time.Hour)
	st.outcome = failing("region-00")
	st.until(31*time.Minute, "suspicion", func() bool { return st.journey("region-00").State == runs.JourneySuspect })
	if took := st.until(6*time.Minute, "page", st.begins(runs.AlertDown, "region-00")); took < 2*time.Minute {
		t.Errorf("got the page after %s, want it on five bad runs", took)
	}
	if len(st.asked) != 5 {
		t.Errorf("got %d confirmations, want 5", len(st.asked))
	}

	lost := newStage(t, checkout(t, "30m", 3))
	lost.play(6 * time.Hour)
	lost.outcome = failing("region-00")
	lost.until(31*time.Minute, "suspicion", func() bool { return lost.journey("region-00").State == runs.JourneySuspect })
	lost.play(10 * time.Second)
	lost.deaf = true // nothing comes of any after the first
	lost.play(15 * time.Minute)
	if len(lost.asked) != 5 {
		t.Errorf("got %d confirmations where nothing comes of them, want 5", len(lost.asked))
	}

	calm := newStage(t, checkout(t, "30m", 3))
	calm.play(6 * time.Hour)
	calm.outcome = func(r *runs.Result) {
		if r.Trigger == runs.TriggerSchedule && r.Region == "region-00" {
			fail(r)
		}
	}
	calm.until(31*time.Minute, "suspicion", func() bool { return calm.journey("region-00").State == runs.JourneySuspect })
	calm.play(20 * time.Minute)
	if len(calm.asked) != 2 {
		t.Errorf("got %d confirmations where the first passed, want 2", len(calm.asked))
	}
	calm.none()
}

// A replication's reader cannot be run alone.
func TestReplicationIsNotConfirmed(t *testing.T) {
	s := checkout(t, "1m", 3)
	s.Kind = scenario.KindReplication
	st := newStage(t, s)
	st.outcome = failing("region-01")
	st.until(10*time.Minute, "page", st.begins(runs.AlertDown, "region-01"))
	if len(st.asked) != 0 {
		t.Errorf("got confirmations %+v, want none", st.asked)
	}
}

// Where only one of several networks fails, it is named, and stays named.
func TestOneNetworkDown(t *testing.T) {
	for _, all := range []bool{false, true} {
		st := newStage(t, checkout(t, "1m", 3, "3g", "wifi"))
		st.play(time.Hour)
		st.outcome = func(r *runs.Result) {
			if r.Region == "region-00" && (all || r.Network == "3g") {
				fail(r)
			}
		}
		st.until(6*time.Minute, "page", st.begins(runs.AlertDown, "region-00"))
		want, networks := "3g", []string{"3g"}
		if all {
			want, networks = "", []string{"3g", "wifi"}
		}
		if a := st.find(runs.AlertDown, "region-00"); a.Network != want || !slices.Equal(a.Why.Networks, networks) {
			t.Errorf("got network %q, affected %v, want %q, %v", a.Network, a.Why.Networks, want, networks)
		}
		st.outcome = failing("region-00")
		st.play(10 * time.Minute)
		if a := st.find(runs.AlertDown, "region-00"); a == nil || a.Network != want || len(a.Why.Networks) != 2 {
			t.Errorf("got %+v when all networks fail, want it under its old key", a)
		}
	}
}

// every makes each n-th run of a region bad in some way.
func every(n int, region string, bad func(*runs.Result)) func(*runs.Result) {
	count := 0
	return func(r *runs.Result) {
		if r.Region == region && r.Trigger == runs.TriggerSchedule {
			if count++; count%n == 0 {
				bad(r)
			}
		}
	}
}

// Part of the runs failing is a ticket on burn, evidence and spread, and a page where the scenario is critical.
func TestDegraded(t *testing.T) {
	for _, critical := range []bool{false, true} {
		s := checkout(t, "1m", 3)
		s.Alerts.Critical = critical
		st := newStage(t, s)
		st.play(2 * time.Hour)
		st.outcome = every(5, "region-02", fail)
		if took := st.until(40*time.Minute, "alert", st.begins(runs.AlertDegraded, "region-02")); took < 10*time.Minute {
			t.Errorf("got it after %s, want it on four failures", took)
		}
		a := st.find(runs.AlertDegraded, "region-02")
		want := slo.SeverityTicket
		if critical {
			want = slo.SeverityPage
		}
		w := a.Why
		if a.Severity != want || a.SLO != "availability" || w.Rule != runs.RuleBurn || w.Bad < 4 || w.Of < 55 || w.Over != slo.Window(time.Hour) || w.Log10P > -5 || w.Slices < 3 {
			t.Errorf("got %+v, want a %s by S5 over an hour", a, want)
		}
		if st.journey("region-02").State != runs.JourneyDegraded {
			t.Errorf("got state %s, want degraded", st.journey("region-02").State)
		}
		st.play(2 * time.Hour)
		st.outcome = nil
		if took := st.until(2*time.Hour, "end", st.ends(runs.AlertDegraded, "region-02")); took < 10*time.Minute {
			t.Errorf("got it ended after %s, want ten minutes at least", took)
		}
		if len(st.changed) != 2 {
			t.Errorf("got changes %+v, want one beginning and one end", st.changed)
		}
		st.none(runs.AlertDown, runs.AlertOutage)
	}
}

// A burst of failures is one event, whatever it burns.
func TestBurstIsNoDegradation(t *testing.T) {
	st := newStage(t, checkout(t, "20s", 3))
	st.play(2 * time.Hour)
	st.outcome = failing("region-01")
	st.deaf = true
	st.play(70 * time.Second)
	st.outcome = nil
	st.play(time.Hour)
	st.none()
}

// A slow burn is a ticket.
func TestSlowBurn(t *testing.T) {
	st := newStage(t, checkout(t, "1m", 3))
	st.outcome = every(70, "region-00", fail)
	st.until(72*time.Hour, "ticket", st.begins(runs.AlertSlowBurn, "region-00"))
	if a := st.find(runs.AlertSlowBurn, "region-00"); a.Severity != slo.SeverityTicket || a.Why.Over < slo.Window(24*time.Hour) || a.Why.Slices < 3 {
		t.Errorf("got %+v, want a ticket over a day or three", a)
	}
	st.none(runs.AlertDown, runs.AlertOutage)
}

// Objectives other than availability are held by the same rules.
func TestOtherObjectives(t *testing.T) {
	slow := func(r *runs.Result) { r.DurationMS = 5000 }
	request := func(state cachestate.State, served string) runs.Request {
		return runs.Request{URL: "https://shop.example/assets/a.js", Status: 200, Cache: cachestate.Result{State: state}, ServedRegion: served}
	}
	for name, tc := range map[string]struct {
		objective  scenario.SLO
		good, bad  func(r *runs.Result)
		quiet      bool
		kind       scenario.Kind
		everyOther int
	}{
		"latency": {objective: scenario.SLO{SLI: scenario.SLILatency, Objective: 0.95, Threshold: scenario.Duration(2 * time.Second)}, bad: slow, everyOther: 1},
		"tainted": {objective: scenario.SLO{SLI: scenario.SLILatency, Objective: 0.95, Threshold: scenario.Duration(2 * time.Second)}, quiet: true, everyOther: 1,
			bad: func(r *runs.Result) { slow(r); r.Tainted = []string{"busy"} }},
		"step": {objective: scenario.SLO{SLI: scenario.SLILatency, Step: "pay", Objective: 0.99, Threshold: scenario.Duration(2 * time.Second)}, everyOther: 2,
			bad: func(r *runs.Result) { r.Steps = []runs.Step{{ID: "pay", State: runs.StepPassed, DurationMS: 3000}} }},
		"step not run": {objective: scenario.SLO{SLI: scenario.SLILatency, Step: "pay", Objective: 0.99, Threshold: scenario.Duration(2 * time.Second)}, everyOther: 1, quiet: true,
			bad: func(r *runs.Result) { r.Steps = []runs.Step{{ID: "pay", State: runs.StepSkipped, DurationMS: 3000}} }},
		"optional step failed, fast": {objective: scenario.SLO{SLI: scenario.SLILatency, Step: "pay", Objective: 0.99, Threshold: scenario.Duration(2 * time.Second)}, everyOther: 2,
			bad: func(r *runs.Result) {
				r.Steps = []runs.Step{{ID: "pay", State: runs.StepFailed, DurationMS: 3, Cause: &runs.Cause{}}}
			}},
		"step seldom run": {objective: scenario.SLO{SLI: scenario.SLILatency, Step: "pay", Objective: 0.95, Threshold: scenario.Duration(2 * time.Second)}, everyOther: 4,
			bad: func(r *runs.Result) { r.Steps = []runs.Step{{ID: "pay", State: runs.StepPassed, DurationMS: 3000}} }}, // each time, one run of four
		"cache": {objective: scenario.SLO{SLI: scenario.SLICacheHit, Match: "*/assets/*", Objective: 0.9}, everyOther: 1,
			good: func(r *runs.Result) { r.Requests = slices.Repeat([]runs.Request{request(cachestate.Hit, "")}, 12) },
			bad:  func(r *runs.Result) { r.Requests = slices.Repeat([]runs.Request{request(cachestate.Miss, "")}, 12) }},
		"cache as promised": {objective: scenario.SLO{SLI: scenario.SLICacheHit, Objective: 0.9}, quiet: true, everyOther: 1,
			bad: func(r *runs.Result) {
				r.Requests = append(slices.Repeat([]runs.Request{request(cachestate.Hit, "")}, 19), request(cachestate.Miss, ""))
			}},
		"routing": {objective: scenario.SLO{SLI: scenario.SLIRouting, Objective: 0.995}, everyOther: 3,
			good: func(r *runs.Result) { r.Requests = []runs.Request{request("", r.Region)} },
			bad:  func(r *runs.Result) { r.Requests = []runs.Request{request("", "elsewhere")} }},
		"freshness": {objective: scenario.SLO{SLI: scenario.SLIFreshness, Objective: 0.99}, kind: scenario.KindReplication, everyOther: 2,
			good: func(r *runs.Result) { r.Replication = &runs.Replication{LagMS: new(100.0)} },
			bad:  func(r *runs.Result) { r.Replication = &runs.Replication{LagMS: new(4000.0)} }},
	} {
		t.Run(name, func(t *testing.T) {
			s := checkout(t, "1m", 2)
			tc.objective.Name, tc.objective.Window = "other", slo.Window(30*24*time.Hour)
			s.SLOs, s.Kind = append(s.SLOs, tc.objective), tc.kind
			if tc.kind == scenario.KindReplication {
				s.Replication = &scenario.Replication{VisibleWithin: scenario.Duration(time.Second)}
			}
			st := newStage(t, s)
			good := tc.good
			if good == nil {
				good = func(*runs.Result) {}
			}
			st.outcome = good
			st.play(6 * time.Hour)
			bad := every(tc.everyOther, "region-01", tc.bad)
			st.outcome = func(r *runs.Result) { good(r); bad(r) }
			if tc.quiet {
				st.play(3 * time.Hour)
				st.none()
				return
			}
			took := st.until(5*time.Hour, "alert", st.begins(runs.AlertDegraded, "region-01"))
			a := st.find(runs.AlertDegraded, "region-01")
			t.Logf("after %s: %d of %d over %s, p %.1f, %d slices", took, a.Why.Bad, a.Why.Of, a.Why.Over, a.Why.Log10P, a.Why.Slices)
			if a.SLO != "other" || a.Severity != slo.SeverityTicket || a.Why.First == nil || a.Why.First.Cause == nil {
				t.Errorf("got %+v, want a ticket of objective other, with what was bad first", a)
			}
			st.none(runs.AlertDown, runs.AlertOutage)
		})
	}
}

// Without an objective for availability there are no alerts of it.
func TestNoAvailabilityObjective(t *testing.T) {
	s := checkout(t, "1m", 3)
	s.SLOs = nil
	st := newStage(t, s)
	st.outcome = failing(s.Regions...)
	st.play(time.Hour)
	st.none()
	if len(st.asked) > 0 {
		t.Errorf("got confirmations %+v, want none", st.asked)
	}
}
