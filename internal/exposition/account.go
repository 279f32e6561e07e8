package exposition

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"lastmile/internal/cachestate"
	"lastmile/internal/runs"
	"lastmile/internal/slo"
)

// availability is the value of the slo label: so far accounts hold the budget of one kind of objective.
const availability = "availability"

// account adds the books of one combination.
func (s *sheet) account(a *runs.Account) {
	s.labels = combinationLabels(s.labels[:0], a.Combination)
	l := s.labels
	s.slots(l, a)
	s.causes(l, a)
	for _, window := range runs.LatencyWindows() {
		s.latency(l, window, a.Latency[window])
	}
	for _, state := range cacheStates() {
		s.int("lastmile_cdn_responses_total", l.with("cache", string(state)), a.Cache[state])
	}
	s.routing(l, a.Served)
	s.edge(l, a)
	if a.Budget != nil {
		s.budget(l, a.Budget)
	}
}

// slots adds the ledger itself.
func (s *sheet) slots(l labels, a *runs.Account) {
	for _, state := range runs.States() {
		s.int("lastmile_ledger_slots", l.with("state", string(state)), a.Counts[state])
	}
	for _, state := range []runs.State{runs.StatePassed, runs.StateDegraded, runs.StateFailed, runs.StateInvalid} {
		s.int("lastmile_runs_total", l.with("state", string(state)), a.Entered[state])
	}
	s.int("lastmile_slots_total", l.with("state", "planned").with("reason", ""), a.Entered[runs.StatePending])
	unknown := int64(0)
	for reason, n := range a.EverReasons {
		if stateOf(reason) == "" {
			unknown += n
		}
	}
	for _, reason := range reasons() {
		s.int("lastmile_slots_total", l.with("state", string(stateOf(reason))).with("reason", string(reason)), a.EverReasons[reason])
	}
	s.int("lastmile_slots_total", l.with("state", string(runs.StateMissing)).with("reason", other), unknown)
	s.int("lastmile_slots_amended_total", l, a.Amended)
	s.int("lastmile_runs_tainted_total", l, a.Tainted)
	s.int("lastmile_results_duplicate_total", l, a.Duplicates)
	s.int("lastmile_results_unscheduled_total", l, a.Unscheduled)
}

// reasons lists the known reasons of slots that were not run.
func reasons() []runs.Reason {
	return []runs.Reason{
		runs.ReasonNoProbe, runs.ReasonExpired, runs.ReasonLost, runs.ReasonCutOff, runs.ReasonCoordinatorDown,
		runs.ReasonMaintenance, runs.ReasonOverlap,
	}
}

// stateOf returns the state that a reason belongs to, or "" where this version does not know the reason.
func stateOf(reason runs.Reason) runs.State {
	switch reason {
	case runs.ReasonNoProbe, runs.ReasonExpired, runs.ReasonLost, runs.ReasonCutOff, runs.ReasonCoordinatorDown:
		return runs.StateMissing
	case runs.ReasonMaintenance, runs.ReasonOverlap:
		return runs.StateSkipped
	}
	return ""
}

// causes adds the causes of runs that did not simply pass. The class comes from a probe, perhaps of another version.
func (s *sheet) causes(l labels, a *runs.Account) {
	known := runs.Classes()
	var unknown int64
	for class, n := range a.Classes {
		if !slices.Contains(known, class) {
			unknown += n
		}
	}
	for _, class := range known {
		s.int("lastmile_run_errors_total", l.with("class", string(class)), a.Classes[class])
	}
	s.int("lastmile_run_errors_total", l.with("class", other), unknown)
}

// latency adds the quantiles of a window, as far as there are any.
func (s *sheet) latency(l labels, window time.Duration, latency runs.Latency) {
	name := windowName(window)
	s.int("lastmile_run_duration_samples", l.with("window", name), int64(latency.P95.N))
	for _, q := range []struct {
		percentile string
		estimate   slo.Estimate
	}{{"50", latency.P50}, {"95", latency.P95}} {
		if q.estimate.N == 0 {
			continue
		}
		l := l.with("percentile", q.percentile).with("window", name)
		s.seconds("lastmile_run_duration_quantile_seconds", l, q.estimate.Value)
		if q.estimate.HasLower {
			s.seconds("lastmile_run_duration_quantile_lower_seconds", l, q.estimate.Lower)
		}
		if q.estimate.HasUpper {
			s.seconds("lastmile_run_duration_quantile_upper_seconds", l, q.estimate.Upper)
		}
	}
}

// cacheStates lists what a CDN can have done.
func cacheStates() []cachestate.State {
	return []cachestate.State{
		cachestate.Hit, cachestate.Stale, cachestate.Revalidated, cachestate.Expired, cachestate.Miss,
		cachestate.Bypass, cachestate.Uncacheable, cachestate.Error, cachestate.Unknown,
	}
}

// routing adds which regions served the requests. Targets name the regions, so two long names may look the same once they are
// cut; their counts are added up, because a series may be written only once.
func (s *sheet) routing(l labels, served []runs.Served) {
	var expected, unexpected int64
	var merged []runs.Served
	for _, one := range served {
		if one.Expected {
			expected += one.Requests
		} else {
			unexpected += one.Requests
		}
		one.Region = clean(one.Region)
		i := slices.IndexFunc(merged, func(m runs.Served) bool { return m.Region == one.Region && m.Expected == one.Expected })
		if i < 0 {
			merged = append(merged, one)
			continue
		}
		merged[i].Requests += one.Requests
	}
	for _, one := range merged {
		s.int("lastmile_served_region_total", l.with("served", one.Region).with("expected", strconv.FormatBool(one.Expected)), one.Requests)
	}
	s.int("lastmile_routed_requests_total", l.with("expected", "true"), expected)
	s.int("lastmile_routed_requests_total", l.with("expected", "false"), unexpected)
}

// budget adds the state of an objective.
func (s *sheet) budget(l labels, b *runs.Budget) {
	l = l.with("slo", availability).with("window", b.Window.String())
	s.float("lastmile_slo_objective_ratio", l, float64(b.Objective))
	s.float("lastmile_slo_error_budget_remaining_ratio", l, float64(b.Remaining))
	if lower, upper, ok := b.Counts.Bounds(); ok {
		s.float("lastmile_slo_sli_lower_ratio", l, float64(lower))
		s.float("lastmile_slo_sli_upper_ratio", l, float64(upper))
	}
	if coverage, ok := b.Counts.Coverage(); ok {
		s.float("lastmile_slo_coverage_ratio", l, float64(coverage))
	}
}

func sortedKeys(m map[string]int64) []string { return slices.Sorted(maps.Keys(m)) }
