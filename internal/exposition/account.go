package exposition

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"lastmile/internal/cachestate"
	"lastmile/internal/exposition/sheet"
	"lastmile/internal/runs"
	"lastmile/internal/slo"
)

// other is the label value for what has no name of its own.
const other = "other"

// account adds the books of one combination.
func (s *page) account(a *runs.Account) {
	l := s.Labels().With("scenario", a.Scenario).With("region", a.Region).With("network", a.Network)
	s.slots(l, a)
	s.causes(l, a)
	for _, window := range runs.LatencyWindows() {
		s.latency(l, window, a.Latency[window])
	}
	for _, state := range cacheStates() {
		s.Int("lastmile_cdn_responses_total", l.With("cache", string(state)), a.Cache[state])
	}
	s.routing(l, a.Served)
	s.edge(l, a)
}

// slots adds the ledger itself.
func (s *page) slots(l sheet.Labels, a *runs.Account) {
	for _, state := range runs.States() {
		s.Int("lastmile_ledger_slots", l.With("state", string(state)), a.Counts[state])
	}
	for _, state := range []runs.State{runs.StatePassed, runs.StateDegraded, runs.StateFailed, runs.StateInvalid} {
		s.Int("lastmile_runs_total", l.With("state", string(state)), a.Entered[state])
	}
	s.Int("lastmile_slots_total", l.With("state", "planned").With("reason", ""), a.Entered[runs.StatePending])
	unknown := int64(0)
	for reason, n := range a.EverReasons {
		if stateOf(reason) == "" {
			unknown += n
		}
	}
	for _, reason := range reasons() {
		s.Int("lastmile_slots_total", l.With("state", string(stateOf(reason))).With("reason", string(reason)), a.EverReasons[reason])
	}
	s.Int("lastmile_slots_total", l.With("state", string(runs.StateMissing)).With("reason", other), unknown)
	s.Int("lastmile_slots_amended_total", l, a.Amended)
	s.Int("lastmile_runs_tainted_total", l, a.Tainted)
	s.Int("lastmile_results_duplicate_total", l, a.Duplicates)
	s.Int("lastmile_results_unscheduled_total", l, a.Unscheduled)
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
func (s *page) causes(l sheet.Labels, a *runs.Account) {
	known := runs.Classes()
	var unknown int64
	for class, n := range a.Classes {
		if !slices.Contains(known, class) {
			unknown += n
		}
	}
	for _, class := range known {
		s.Int("lastmile_run_errors_total", l.With("class", string(class)), a.Classes[class])
	}
	s.Int("lastmile_run_errors_total", l.With("class", other), unknown)
}

// leaks adds how often one user was shown what is another's, by scenario and region. It comes from the books, which outlive a restart: a count that
// begins anew with the process would look like news.
func (s *page) leaks(accounts []runs.Account) {
	type place struct{ scenario, region string }
	counts := map[place]int64{}
	var order []place
	for i := range accounts {
		a := &accounts[i]
		at := place{a.Scenario, a.Region}
		if _, known := counts[at]; !known {
			order = append(order, at)
		}
		counts[at] += a.Classes[runs.ClassCacheLeak]
	}
	for _, at := range order {
		s.Block(func() {
			s.Int("lastmile_cache_leaks_total", s.Labels().With("scenario", at.scenario).With("region", at.region), counts[at])
		})
	}
}

// latency adds the quantiles of a window, as far as there are any.
func (s *page) latency(l sheet.Labels, window time.Duration, latency runs.Latency) {
	name := windowName(window)
	s.Int("lastmile_run_duration_samples", l.With("window", name), int64(latency.P95.N))
	for _, q := range []struct {
		percentile string
		estimate   slo.Estimate
	}{{"50", latency.P50}, {"95", latency.P95}} {
		if q.estimate.N == 0 {
			continue
		}
		l := l.With("percentile", q.percentile).With("window", name)
		s.Seconds("lastmile_run_duration_quantile_seconds", l, q.estimate.Value)
		if q.estimate.HasLower {
			s.Seconds("lastmile_run_duration_quantile_lower_seconds", l, q.estimate.Lower)
		}
		if q.estimate.HasUpper {
			s.Seconds("lastmile_run_duration_quantile_upper_seconds", l, q.estimate.Upper)
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
func (s *page) routing(l sheet.Labels, served []runs.Served) {
	var expected, unexpected int64
	var merged []runs.Served
	for _, one := range served {
		if one.Expected {
			expected += one.Requests
		} else {
			unexpected += one.Requests
		}
		one.Region = sheet.Clean(one.Region)
		i := slices.IndexFunc(merged, func(m runs.Served) bool { return m.Region == one.Region && m.Expected == one.Expected })
		if i < 0 {
			merged = append(merged, one)
			continue
		}
		merged[i].Requests += one.Requests
	}
	for _, one := range merged {
		s.Int("lastmile_served_region_total", l.With("served", one.Region).With("expected", strconv.FormatBool(one.Expected)), one.Requests)
	}
	s.Int("lastmile_routed_requests_total", l.With("expected", "true"), expected)
	s.Int("lastmile_routed_requests_total", l.With("expected", "false"), unexpected)
}

func sortedKeys(m map[string]int64) []string { return slices.Sorted(maps.Keys(m)) }
