package evaluate_test

import (
	"testing"
	"time"

	"lastmile/internal/evaluate"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// A confirmation that two probes have executed, or one of them twice, is one of the last six runs and no more.
func TestAConfirmationCountsOnce(t *testing.T) {
	for times, want := range []bool{1: false, 2: false, 6: false} {
		s := checkout(t, "1m", 1)
		e := evaluate.New(openBooks{})
		e.Define([]scenario.Scenario{s})
		c := s.Combinations()[0]
		report := func(trigger runs.Trigger, state runs.State, slot time.Time, probe string) {
			e.Result(&runs.Result{
				Schema: runs.Schema, RunID: runs.NewID(c, slot), Scenario: c.Scenario, Region: c.Region, Network: c.Network, Slot: slot, Trigger: trigger, Probe: probe,
				State: state, StartedAt: slot, DurationMS: 10,
			}, slot.Add(5*time.Second))
		}
		slot := s.Schedule.Next(c, time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC))
		for _, state := range []runs.State{runs.StatePassed, runs.StatePassed, runs.StateFailed, runs.StateFailed, runs.StateFailed} {
			report(runs.TriggerSchedule, state, slot, "one")
			e.Tick(slot.Add(6 * time.Second))
			slot = slot.Add(time.Minute)
		}
		for i := range times {
			report(runs.TriggerConfirm, runs.StateFailed, slot.Add(-50*time.Second), []string{"one", "two"}[i%2])
		}
		d := e.Tick(slot.Add(-40 * time.Second))
		if got := len(d.Changed) > 0; got != want {
			t.Errorf("a confirmation that was executed %d times: got %+v", times, d.Changed)
		}
		report(runs.TriggerSchedule, runs.StateFailed, slot, "one")
		if d := e.Tick(slot.Add(6 * time.Second)); times > 0 && (len(d.Changed) != 1 || d.Changed[0].Why.Bad != 5) {
			t.Errorf("and one more run fails: got %+v, want the region down for 5 bad runs", d.Changed)
		}
	}
}

// An engine that knows nothing of the time before its first slot, since the snapshot is of a version without one, is not blind for a slot that was missed
// when its coordinator was started: what is down is paged as soon as five runs have failed.
func TestOneMissedSlotAtTheBeginningFreezesNothing(t *testing.T) {
	s := checkout(t, "1m", 1, "4g", "fiber")
	e := evaluate.New(openBooks{})
	e.Define([]scenario.Scenario{s})
	began := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	v := runs.Verdict{Schema: runs.Schema, Region: s.Regions[0], Minute: began}
	next := map[scenario.Combination]time.Time{}
	for _, c := range s.Combinations() {
		slot := s.Schedule.Next(c, began.Add(-time.Second))
		v.Slots = append(v.Slots, runs.SlotVerdict{RunID: runs.NewID(c, slot), State: runs.StateMissing, Reason: runs.ReasonCoordinatorDown})
		next[c] = s.Schedule.Next(c, slot)
	}
	var paged time.Duration
	for now := began; now.Before(began.Add(12*time.Minute)) && paged == 0; now = now.Add(time.Second) {
		for c, slot := range next {
			if now.Sub(slot) < 5*time.Second {
				continue
			}
			next[c] = s.Schedule.Next(c, slot)
			e.Result(&runs.Result{
				Schema: runs.Schema, RunID: runs.NewID(c, slot), Scenario: c.Scenario, Region: c.Region, Network: c.Network, Slot: slot, Trigger: runs.TriggerSchedule,
				Probe: "p", State: runs.StateFailed, StartedAt: slot, DurationMS: 10,
			}, now)
		}
		if now.Equal(began.Add(90 * time.Second)) {
			e.Verdict(&v, now)
		}
		if d := e.Tick(now); len(d.Changed) > 0 {
			paged = now.Sub(began)
		}
	}
	if paged == 0 || paged > 7*time.Minute {
		t.Errorf("got a page after %s, want one within 7 minutes", paged)
	}
}
