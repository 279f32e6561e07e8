package sli

import (
	"testing"
	"time"

	"lastmile/internal/cachestate"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

func TestCounts(t *testing.T) {
	up := scenario.SLO{}
	fast := scenario.SLO{SLI: scenario.SLILatency, Threshold: scenario.Duration(time.Second)}
	order := scenario.SLO{SLI: scenario.SLILatency, Threshold: scenario.Duration(time.Second), Step: "order"}
	good, bad, slow, invalid, skipped := slo.Counts{Good: 1}, slo.Counts{Bad: 1}, slo.Counts{Slow: 1}, slo.Counts{Invalid: 1}, slo.Counts{Skipped: 1}
	step := func(id string, state runs.StepState, ms float64) runs.Step {
		return runs.Step{ID: id, State: state, DurationMS: ms}
	}
	for name, c := range map[string]struct {
		result          runs.Result
		up, fast, order slo.Counts
	}{
		"passed":                  {runs.Result{State: runs.StatePassed, DurationMS: 900, Steps: []runs.Step{step("home", runs.StepPassed, 5000), step("order", runs.StepPassed, 800)}}, good, good, good},
		"degraded, at threshold":  {runs.Result{State: runs.StateDegraded, DurationMS: 1000, Steps: []runs.Step{step("order", runs.StepDegraded, 1000)}}, good, good, good},
		"slow":                    {runs.Result{State: runs.StatePassed, DurationMS: 1000.1, Steps: []runs.Step{step("order", runs.StepPassed, 1000.1)}}, good, slow, slow},
		"slow, fast step":         {runs.Result{State: runs.StatePassed, DurationMS: 2000, Steps: []runs.Step{step("order", runs.StepPassed, 10)}}, good, slow, good},
		"failed fast":             {runs.Result{State: runs.StateFailed, DurationMS: 10, Steps: []runs.Step{step("order", runs.StepPassed, 10)}}, bad, bad, bad},
		"failed before the step":  {runs.Result{State: runs.StateFailed, DurationMS: 10, Steps: []runs.Step{step("order", runs.StepSkipped, 0)}}, bad, bad, bad},
		"an optional step failed": {runs.Result{State: runs.StatePassed, DurationMS: 10, Steps: []runs.Step{step("order", runs.StepFailed, 10)}}, good, good, bad},
		"the step was not needed": {runs.Result{State: runs.StatePassed, DurationMS: 10, Steps: []runs.Step{step("order", runs.StepSkipped, 0)}}, good, good, skipped},
		"of a definition before":  {runs.Result{State: runs.StatePassed, DurationMS: 10}, good, good, skipped},
		"tainted":                 {runs.Result{State: runs.StatePassed, DurationMS: 9000, Tainted: []string{"busy"}}, good, invalid, invalid},
		"tainted failure":         {runs.Result{State: runs.StateFailed, DurationMS: 9000, Tainted: []string{"busy"}}, bad, invalid, invalid},
		"invalid":                 {runs.Result{State: runs.StateInvalid, DurationMS: 9000}, invalid, invalid, invalid},
	} {
		for _, one := range []struct {
			objective *scenario.SLO
			want      slo.Counts
		}{{&up, c.up}, {&fast, c.fast}, {&order, c.order}} {
			if got := Counts(one.objective, &c.result); got != one.want {
				t.Errorf("%s, sli %q of step %q: got %+v, want %+v", name, one.objective.SLI, one.objective.Step, got, one.want)
			}
		}
	}
}

func TestEvents(t *testing.T) {
	lag := func(ms float64) *float64 { return &ms }
	asset := runs.Request{URL: "https://shop/assets/a.css", Status: 200, Cache: cachestate.Result{State: cachestate.Hit}, ServedRegion: "us-1"}
	miss, again, browser, refused, index := asset, asset, asset, asset, asset
	miss.Cache.State, miss.ServedRegion = cachestate.Miss, "eu-1"
	again.Again, browser.BrowserCache, browser.ServedRegion, refused.Status, refused.ServedRegion = true, "disk", "", 0, ""
	index.URL, index.ServedRegion = "https://shop/", ""
	r := runs.Result{State: runs.StatePassed, Requests: []runs.Request{asset, miss, again, browser, refused, index}}
	invalid := r
	invalid.State = runs.StateInvalid
	replication := func(rep runs.Replication, tainted ...string) runs.Result {
		return runs.Result{State: runs.StatePassed, Replication: &rep, Tainted: tainted}
	}
	assets, all := scenario.SLO{SLI: scenario.SLICacheHit, Match: "*/assets/*"}, scenario.SLO{SLI: scenario.SLICacheHit}
	routing, fresh := scenario.SLO{SLI: scenario.SLIRouting}, scenario.SLO{SLI: scenario.SLIFreshness}
	for name, c := range map[string]struct {
		objective scenario.SLO
		result    runs.Result
		want      slo.Counts
	}{
		"assets":                  {assets, r, slo.Counts{Good: 1, Bad: 1}},
		"all":                     {all, r, slo.Counts{Good: 2, Bad: 1}},
		"routing":                 {routing, r, slo.Counts{Good: 1, Bad: 1}},
		"not measured":            {routing, invalid, slo.Counts{}},
		"no events":               {scenario.SLO{SLI: scenario.SLILatency}, r, slo.Counts{}},
		"no reader":               {fresh, r, slo.Counts{}},
		"the writer":              {fresh, replication(runs.Replication{From: "eu"}), slo.Counts{}},
		"in time":                 {fresh, replication(runs.Replication{LagMS: lag(1000)}), slo.Counts{Good: 1}},
		"too late":                {fresh, replication(runs.Replication{LagMS: lag(1000.1)}), slo.Counts{Bad: 1}},
		"too late, on a busy one": {fresh, replication(runs.Replication{LagMS: lag(1000.1)}, "busy"), slo.Counts{}},
		"lost, on a busy one":     {fresh, replication(runs.Replication{Lost: true}, "busy"), slo.Counts{Bad: 1}},
	} {
		if got := Events(&c.objective, &c.result, "us-1", time.Second); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}
