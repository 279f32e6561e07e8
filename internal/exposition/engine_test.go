package exposition

import (
	"fmt"
	"testing"
	"time"

	"lastmile/internal/evaluate"
	"lastmile/internal/ledger"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// TestRealBooksAndEngine has a real ledger and a real engine live through an hour in which one region fails and another does not, and reads
// what they say off a scrape.
func TestRealBooksAndEngine(t *testing.T) {
	s := checkoutScenario()
	s.Regions = scenario.Strings{"eu-central", "us-east"}
	s.SLOs = append(s.SLOs, scenario.SLO{Name: "availability", SLI: scenario.SLIAvailability, Objective: 0.99, Window: month})
	books := ledger.New()
	books.Define([]scenario.Scenario{s})
	engine := evaluate.New(books)
	engine.Define([]scenario.Scenario{s})
	now := at
	sources := fixedSources(false)
	sources.Accounts = func() []runs.Account { return books.Accounts(now) }
	sources.Objectives = func() []runs.ObjectiveStatus { return books.Objectives(now) }
	sources.Journeys = func() []runs.JourneyStatus { return engine.Journeys(now) }
	sources.Alerts = func() []runs.Alert { return engine.Alerts(now) }
	sources.Now = func() time.Time { return now }
	c := NewCoordinator(sources)
	c.Define([]scenario.Scenario{s})
	for range 60 {
		for _, of := range s.Combinations() {
			r := result(runs.StatePassed, time.Second)
			if of.Region == "us-east" {
				r = result(runs.StateFailed, time.Second)
				r.Cause = &runs.Cause{Class: runs.ClassHTTP5xx, Step: "2"}
			}
			r.Region, r.Slot = of.Region, s.Timetable().Next(of, now)
			r.RunID = runs.NewID(of, r.Slot)
			if books.Result(r, true) != ledger.Entered {
				t.Fatalf("%s: the ledger did not take it", r.RunID)
			}
			c.Observe(r)
			engine.Result(r, r.Slot.Add(time.Second))
		}
		now = now.Add(time.Minute)
		engine.Tick(now)
	}
	got := series(t, written(c.WritePrometheus))
	for _, o := range s.SLOs {
		for _, place := range []string{`scope="global",region=""`, `scope="region",region="eu-central"`, `scope="region",region="us-east"`} {
			of := fmt.Sprintf(`{slo=%q,scenario="checkout",%s}`, o.Name, place)
			want(t, got, map[string]float64{"lastmile_slo_objective_ratio" + of: float64(o.Objective)})
			if _, ok := got["lastmile_slo_error_budget_remaining_ratio"+of]; !ok {
				t.Errorf("got no budget of %s", of)
			}
		}
	}
	for place, ratio := range map[string]float64{`scope="global",region=""`: 0.5, `scope="region",region="eu-central"`: 1, `scope="region",region="us-east"`: 0} {
		of := `slo="availability",scenario="checkout",` + place
		want(t, got, map[string]float64{
			"lastmile_slo_sli_ratio{" + of + `,window="objective"}`:      ratio,
			"lastmile_slo_coverage_ratio{" + of + `,window="objective"}`: 1,
		})
		if burn := got["lastmile_slo_burn_rate{"+of+`,window="30m"}`]; (burn > 10) != (ratio < 1) {
			t.Errorf("%s: got burn %v over half an hour with a share of %v", place, burn, ratio)
		}
	}
	for _, region := range s.Regions {
		sum := 0.0
		for _, state := range runs.JourneyStates() {
			sum += got[fmt.Sprintf(`lastmile_journey_state{scenario="checkout",region=%q,state=%q}`, region, state)]
		}
		evidence := got[fmt.Sprintf(`lastmile_slo_evidence_log10_p{slo="availability",scenario="checkout",region=%q,window=%q}`, region, slo.Window(time.Hour))]
		if sum != 1 || (evidence < -5) != (region == "us-east") {
			t.Errorf("%s: got %v states and evidence %v, want one state, and evidence where it fails", region, sum, evidence)
		}
	}
	if got[`lastmile_journey_state{scenario="checkout",region="us-east",state="ok"}`] != 0 {
		t.Error("a journey that has failed for an hour is ok")
	}
}
