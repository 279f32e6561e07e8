package coordination

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"lastmile/internal/ledger"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/scenariofile"
)

// eachMinute is a set with one scenario, due every minute in two regions.
func eachMinute(t *testing.T) scenariofile.Set { return apiEvery(t, "1m", "10s", "99.9%", "us", "eu") }

// upgraded is the memory of a coordinator that begins on the snapshot of a version that decided on no alerts.
func upgraded(t *testing.T, set scenariofile.Set, books *ledger.Ledger) memory {
	t.Helper()
	var saved bytes.Buffer
	if err := books.Save(&saved); err != nil {
		t.Fatal(err)
	}
	m := newMemory()
	if err := m.load(slog.New(slog.DiscardHandler), &saved); err != nil {
		t.Fatal(err)
	}
	m.ledger.Define(set.Scenarios)
	m.engine.Define(set.Scenarios)
	return m
}

// A coordinator is upgraded in the middle of an outage from a version that knew no alerts, and a minute's slots are missed meanwhile: it pages as soon as it
// has seen five runs fail, for what fails now and not for what is brought late.
func TestUpgradeInTheMiddleOfAnOutage(t *testing.T) {
	t.Parallel()
	set := eachMinute(t)
	old := newMemory()
	old.ledger.Define(set.Scenarios)
	result := func(m memory, region string, slot time.Time, state runs.State, stored time.Time) {
		c := scenario.Combination{Scenario: "api", Region: region, Network: "none"}
		slot = set.Scenarios[0].Schedule.Next(c, slot.Truncate(time.Minute).Add(-time.Nanosecond))
		r := runs.Result{
			Schema: runs.Schema, RunID: runs.NewID(c, slot), Scenario: "api", Region: region, Network: "none", Slot: slot, Trigger: runs.TriggerSchedule,
			Probe: "p", State: state, StartedAt: slot, DurationMS: 5,
		}
		if m.ledger.Result(&r, true) == ledger.Entered {
			m.engine.Result(&r, stored)
		}
	}
	began := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for i := range 120 {
		at := began.Add(time.Duration(i) * time.Minute)
		result(old, "eu", at, runs.StatePassed, at.Add(time.Second))
		state := runs.StatePassed
		if i >= 118 {
			state = runs.StateFailed
		}
		result(old, "us", at, state, at.Add(time.Second))
	}
	m := upgraded(t, set, old.ledger)
	stop := began.Add(120 * time.Minute)
	for _, region := range []string{"us", "eu"} { // the slots of the minute without a coordinator
		c := scenario.Combination{Scenario: "api", Region: region, Network: "none"}
		slot := set.Scenarios[0].Schedule.Next(c, stop.Add(-time.Nanosecond))
		v := runs.Verdict{Schema: runs.Schema, Region: region, Minute: slot.Truncate(time.Minute), Slots: []runs.SlotVerdict{{
			RunID: runs.NewID(c, slot), State: runs.StateMissing, Reason: runs.ReasonCoordinatorDown,
		}}}
		m.engine.Verdict(&v, slot.Add(90*time.Second))
	}
	for i := range 60 { // eu was cut off for an hour until now
		at := stop.Add(time.Duration(i-100) * time.Minute)
		result(m, "eu", at, runs.StateFailed, stop.Add(2*time.Minute))
	}
	var paged []string
	for at := stop.Add(time.Minute); at.Before(stop.Add(9 * time.Minute)); at = at.Add(time.Second) {
		if at.Second() == 40 {
			result(m, "us", at, runs.StateFailed, at)
			result(m, "eu", at, runs.StatePassed, at)
		}
		for _, a := range m.engine.Tick(at).Changed {
			paged = append(paged, fmt.Sprintf("%s %s %s after %s", a.Name, a.Region, a.Severity, at.Sub(stop).Truncate(time.Minute)))
		}
	}
	if want := "[LastmileDown us page after 5m0s]"; fmt.Sprint(paged) != want {
		t.Errorf("got %v, want %s", paged, want)
	}
}
