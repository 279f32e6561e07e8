package evaluate_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// Enough regions failing at once is one page for all of them; what would say the same of a region is not sent.
func TestOutageInhibitsRegions(t *testing.T) {
	st := newStage(t, checkout(t, "1m", 12))
	st.play(time.Hour)
	st.outcome = failing("region-03")
	st.until(5*time.Minute, "page", st.begins(runs.AlertDown, "region-03"))
	st.outcome = failing("region-03", "region-04", "region-05", "region-06")
	st.until(3*time.Minute, "outage", st.begins(runs.AlertOutage, ""))
	a := st.find(runs.AlertOutage, "")
	if a.Severity != slo.SeverityPage || a.Scope != runs.ScopeGlobal || a.Why.Rule != runs.RuleQuorum || len(a.Why.Regions) < 3 || len(a.Why.Healthy) < 8 || a.Why.Bad < 6 || a.Why.Log10P > -5 || a.Why.First == nil || a.Why.Remaining == nil {
		t.Errorf("got %+v, want a global page by rule Q that says where", a)
	}
	st.until(5*time.Minute, "regional alert", st.begins(runs.AlertDown, "region-05"))
	if a := st.find(runs.AlertDown, "region-05"); !a.Inhibited {
		t.Error("got the region's alert to be sent, want it inhibited by the outage")
	}
	if a := st.find(runs.AlertDown, "region-03"); a.Inhibited {
		t.Error("got an alert inhibited that had been sent, want it to stay")
	}
	st.changed = nil
	st.outcome = failing("region-05") // the others are well: one region is what is left, and its own alert is to be sent
	st.until(40*time.Minute, "end of the outage", st.ends(runs.AlertOutage, ""))
	if a := st.find(runs.AlertDown, "region-05"); a == nil || a.Inhibited {
		t.Errorf("got %+v after the outage, want it to be sent", a)
	}
	if i := slices.IndexFunc(st.changed, func(a runs.Alert) bool { return a.Region == "region-05" && a.Active() && !a.Inhibited }); i < 0 {
		t.Errorf("got changes %+v, want the region's alert among them", st.changed)
	}
}

// All regions down page within a minute, all regions a little bad within half an hour, and once.
func TestDrift(t *testing.T) {
	st := newStage(t, checkout(t, "1m", 12))
	st.play(time.Hour)
	st.outcome = func(r *runs.Result) { fail(r) }
	st.until(time.Minute, "outage", st.begins(runs.AlertOutage, ""))

	st = newStage(t, checkout(t, "1m", 12))
	st.play(time.Hour)
	random := rand.New(rand.NewPCG(7, 7))
	st.outcome = func(r *runs.Result) {
		if random.Float64() < 0.04 {
			fail(r)
		}
	}
	took := st.until(90*time.Minute, "outage", st.begins(runs.AlertOutage, ""))
	a := st.find(runs.AlertOutage, "")
	t.Logf("4 %% of all runs: after %s, %d of %d", took, a.Why.Bad, a.Why.Of)
	if a.Why.Rule != runs.RuleDrift || a.Why.Bad < 4 || a.Why.Of < 2*a.Why.Bad || a.Why.Log10P > -4 || len(a.Why.Regions) < 3 {
		t.Errorf("got %+v, want rule G2 with what it was decided on", a)
	}
	st.play(3 * time.Hour)
	st.outcome = nil
	st.until(2*time.Hour, "end", st.ends(runs.AlertOutage, ""))
	outages := 0
	for _, a := range st.changed {
		if a.Name == runs.AlertOutage && a.Active() {
			outages++
		}
	}
	if outages > 2 {
		t.Errorf("got %d pages in one outage of three hours, want one, or two", outages)
	}
}

// A single region is never everywhere's trouble, however long it lasts and however few regions there are.
func TestOneRegionIsNoOutage(t *testing.T) {
	for _, regions := range []int{1, 2, 3, 12} {
		part := newStage(t, checkout(t, "1m", regions))
		part.outcome = every(2, "region-00", fail)
		part.play(6 * time.Hour)
		part.none(runs.AlertOutage)
		st := newStage(t, checkout(t, "1m", regions))
		st.outcome = failing("region-00")
		st.play(6 * time.Hour)
		st.none(runs.AlertOutage)
		if st.find(runs.AlertDown, "region-00") == nil {
			t.Errorf("%d regions: got no alert of the region that is down", regions)
		}
	}
}

// Too little measured freezes: nothing fires and nothing ends, and that is told instead.
func TestBlind(t *testing.T) {
	st := newStage(t, checkout(t, "1m", 3))
	st.play(time.Hour)
	n := 0
	st.silent = func(c scenario.Combination, _ time.Time) runs.State {
		if n++; c.Region == "region-01" && n%5 != 0 {
			return runs.StateMissing
		}
		return ""
	}
	st.until(10*time.Minute, "blindness", st.begins(runs.AlertBlind, "region-01"))
	a := st.find(runs.AlertBlind, "region-01")
	if a.Severity != slo.SeverityTicket || a.Scope != runs.ScopeRegion || a.Why.Rule != runs.RuleCoverage || a.Why.Coverage == nil || *a.Why.Coverage >= 0.9 || a.Why.Bad < 2 {
		t.Errorf("got %+v, want a ticket with the coverage", a)
	}
	if j := st.journey("region-01"); !j.Blind {
		t.Errorf("got %+v, want it blind", j)
	}
	st.outcome = failing("region-01")
	st.play(time.Hour)
	st.none(runs.AlertDown, runs.AlertOutage, runs.AlertDegraded)
	st.silent = nil
	st.until(40*time.Minute, "page once it is measured again", st.begins(runs.AlertDown, "region-01"))
	if st.find(runs.AlertBlind, "region-01") != nil {
		t.Error("got it blind still")
	}
	st.outcome = nil
	st.silent = func(c scenario.Combination, _ time.Time) runs.State { return runs.StateMissing }
	st.until(10*time.Minute, "blindness everywhere", st.begins(runs.AlertBlind, ""))
	if a := st.find(runs.AlertBlind, ""); a.Severity != slo.SeverityPage || a.Scope != runs.ScopeGlobal || len(a.Why.Regions) != 3 || a.Why.Rule != runs.RuleCoverage {
		t.Errorf("got %+v, want a global page", a)
	}
	st.play(time.Hour)
	if st.find(runs.AlertDown, "region-01") == nil {
		t.Error("got the alert ended while nothing is measured, want it to stay")
	}
	st.silent = nil
	st.until(time.Hour, "end", func() bool {
		return st.find(runs.AlertBlind, "") == nil && st.find(runs.AlertBlind, "region-00") == nil && st.find(runs.AlertDown, "region-01") == nil
	})
}

// Slots that are skipped on purpose, and a minute without anybody to measure, make nobody blind for good.
func TestMaintenanceIsNotBlindness(t *testing.T) {
	st := newStage(t, checkout(t, "1m", 3))
	st.play(time.Hour)
	st.silent = func(scenario.Combination, time.Time) runs.State { return runs.StateSkipped }
	st.play(2 * time.Hour)
	st.none()
	if st.journey("region-00").Blind {
		t.Error("got it blind in maintenance")
	}
}

// What is late corrects budgets, and alerts nobody.
func TestLateDataAlertsNobody(t *testing.T) {
	st := newStage(t, checkout(t, "1m", 3))
	st.play(time.Hour)
	late := 30*time.Second + 20*time.Second + 5*time.Minute + time.Second
	for back := range 50 {
		for _, c := range st.s.Combinations() {
			slot := st.s.Timetable().Next(c, st.now.Add(-time.Hour).Add(time.Duration(back)*time.Minute))
			if st.now.Sub(slot) < late {
				continue
			}
			r := st.result(c, slot.Add(time.Second), runs.TriggerSchedule) // a slot of its own: it was not measured before
			fail(r)
			r.Cause.Class = runs.ClassCacheLeak
			st.engine.Result(r, st.now)
			st.engine.Verdict(&runs.Verdict{Region: c.Region, Slots: []runs.SlotVerdict{{RunID: runs.NewID(c, slot.Add(2*time.Second)), State: runs.StateMissing}}}, st.now)
		}
	}
	before := st.engine.Journeys(st.now)
	st.play(30 * time.Minute)
	st.none()
	for i, j := range st.engine.Journeys(st.now) {
		if j.State != runs.JourneyOK || j.Blind || j.Evidence[0].Log10P != 0 || before[i].State != runs.JourneyOK {
			t.Errorf("got %+v, want it well", j)
		}
	}
}

// A verdict and the result that it did not wait for come in either order, and the slot was measured.
func TestVerdictAndResultInEitherOrder(t *testing.T) {
	for _, first := range []string{"verdict", "result"} {
		st := newStage(t, checkout(t, "1m", 1))
		c := st.s.Combinations()[0]
		for range 40 {
			st.now = st.now.Add(time.Minute)
			slot := st.s.Timetable().Next(c, st.now.Add(-2*time.Minute))
			v := &runs.Verdict{Region: c.Region, Slots: []runs.SlotVerdict{{RunID: runs.NewID(c, slot), State: runs.StateMissing, Reason: runs.ReasonLost}}}
			r := st.result(c, slot, runs.TriggerSchedule)
			if first == "verdict" {
				st.engine.Verdict(v, st.now)
				st.engine.Result(r, st.now)
			} else {
				st.engine.Result(r, st.now)
				st.engine.Verdict(v, st.now)
			}
			st.take(st.engine.Tick(st.now))
		}
		if st.journey(c.Region).Blind {
			t.Errorf("%s first: got it blind, want every slot measured", first)
		}
		st.none()
	}
}

// A leak pages at once and is over half an hour after the last one.
func TestCacheLeak(t *testing.T) {
	st := newStage(t, checkout(t, "1m", 3))
	st.play(time.Hour)
	leaked := false
	st.outcome = func(r *runs.Result) {
		if !leaked && r.Region == "region-02" {
			leaked = true
			r.State, r.Cause = runs.StateFailed, &runs.Cause{Class: runs.ClassCacheLeak, Step: "account", Detail: "the other's token"}
		}
	}
	st.until(time.Minute+2*time.Second, "page", st.begins(runs.AlertCacheLeak, "region-02"))
	a := st.find(runs.AlertCacheLeak, "region-02")
	if a.Severity != slo.SeverityPage || a.Why.Rule != runs.RuleLeak || a.Why.First == nil || a.Why.First.Cause.Step != "account" || !slices.Equal(a.Why.Regions, []string{"region-02"}) {
		t.Errorf("got %+v, want a page that says where", a)
	}
	if took := st.until(32*time.Minute, "end", st.ends(runs.AlertCacheLeak, "region-02")); took < 29*time.Minute {
		t.Errorf("got it ended after %s, want 30 min", took)
	}
	st.none(runs.AlertDown, runs.AlertOutage, runs.AlertDegraded)
}

// What comes and goes stays one alert.
func TestFlapping(t *testing.T) {
	st := newStage(t, checkout(t, "20s", 4))
	st.play(time.Hour)
	began, flapped := 0, false
	for range 8 {
		st.outcome = failing("region-01")
		st.play(3 * time.Minute)
		st.outcome = nil
		st.play(11 * time.Minute)
		if a := st.find(runs.AlertDown, "region-01"); a != nil {
			flapped = flapped || a.Flapping
		}
	}
	for _, a := range st.changed {
		if a.Name == runs.AlertDown && a.Active() {
			began++
		}
	}
	if began > 2 || !flapped {
		t.Errorf("got it begun %d times, flapping %v, want it kept open after the second time", began, flapped)
	}
	st.until(90*time.Minute, "end once it has rested", st.ends(runs.AlertDown, "region-01"))
}

// The alerts of a scenario that is gone end.
func TestUndefinedEnds(t *testing.T) {
	st := newStage(t, checkout(t, "1m", 2))
	st.outcome = failing("region-00")
	st.until(10*time.Minute, "page", st.begins(runs.AlertDown, "region-00"))
	fewer := st.s
	fewer.Regions = []string{"region-01"}
	st.changed = nil
	st.engine.Define([]scenario.Scenario{fewer})
	st.take(st.engine.Tick(st.now))
	if len(st.changed) != 1 || st.changed[0].Active() {
		t.Errorf("got changes %+v, want the alert of the region that is gone ended", st.changed)
	}
}

// A coordinator that was away for some minutes finds slots that nobody ordered: nobody is woken for them once it is back.
func TestShortAbsenceIsNotBlindness(t *testing.T) {
	st := newStage(t, checkout(t, "1m", 3))
	st.play(time.Hour)
	from := st.now
	st.silent = func(_ scenario.Combination, at time.Time) runs.State {
		if at.Before(from.Add(5 * time.Minute)) {
			return runs.StateMissing
		}
		return ""
	}
	for st.now.Before(from.Add(5*time.Minute - time.Second)) { // away: slots are closed when it is back, and nothing is decided meanwhile
		st.now = st.now.Add(time.Second)
	}
	st.play(time.Hour)
	st.none()
}
