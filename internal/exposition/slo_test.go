package exposition

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"lastmile/internal/exposition/expositiontest"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// TestObjectives has each scope beside the other, and windows that cannot be mixed up.
func TestObjectives(t *testing.T) {
	got := series(t, written(fixedCoordinator(fixedSources(false)).WritePrometheus))
	region := `slo="availability",scenario="checkout",scope="region",region="eu-central"`
	want(t, got, map[string]float64{
		"lastmile_slo_objective_ratio{" + region + "}":                                                             0.99,
		"lastmile_slo_error_budget_remaining_ratio{" + region + "}":                                                float64(slo.BudgetRemaining(4, 43200, 0.99)),
		"lastmile_slo_sli_ratio{" + region + `,window="objective"}`:                                                90.0 / 94, // of what was measured
		"lastmile_slo_sli_lower_ratio{" + region + `,window="objective"}`:                                          0.90,      // of 100 that were due: skipped and pending ones are not
		"lastmile_slo_sli_upper_ratio{" + region + `,window="objective"}`:                                          0.96,
		"lastmile_slo_coverage_ratio{" + region + `,window="objective"}`:                                           0.94,
		"lastmile_slo_coverage_ratio{" + region + `,window="1h"}`:                                                  0.9,
		"lastmile_slo_burn_rate{" + region + `,window="1h"}`:                                                       float64(slo.BurnRate(4, 100, 0.99)),
		`lastmile_slo_info{slo="availability",scenario="checkout",sli="availability",period="30d"}`:                1,
		`lastmile_slo_info{slo="fast",scenario="checkout",sli="latency",period="month"}`:                           1,
		`lastmile_slo_objective_ratio{slo="fast",scenario="checkout",scope="global",region=""}`:                    0.95,
		`lastmile_slo_error_budget_remaining_ratio{slo="availability",scenario="search",scope="global",region=""}`: 1,
	})
	for id := range got {
		if strings.HasPrefix(id, "lastmile_slo_") && strings.Contains(id, `scenario="search"`) && strings.Contains(id, "sli_") {
			t.Errorf("got %s, want no ratio of what has not happened", id)
		}
		if strings.HasPrefix(id, "lastmile_slo_") && strings.Contains(id, "network=") {
			t.Errorf("got %s: an objective is one over all networks", id)
		}
	}
	var windows []string
	for _, w := range runs.BurnWindows() {
		windows = append(windows, w.String())
		if _, ok := got["lastmile_slo_burn_rate{"+region+`,window="`+w.String()+`"}`]; !ok {
			t.Errorf("got no burn rate over %s", w)
		}
	}
	if want := []string{"5m", "30m", "1h", "2h", "6h", "1d", "3d"}; !slices.Equal(windows, want) {
		t.Errorf("got windows %v, want %v", windows, want)
	}
}

// TestAPeriodAsLongAsAWindow has no series twice.
func TestAPeriodAsLongAsAWindow(t *testing.T) {
	sources := fixedSources(false)
	sources.Objectives = func() []runs.ObjectiveStatus {
		return []runs.ObjectiveStatus{status("checkout", "", scenario.SLO{Name: "daily", Objective: 0.9, Window: slo.Window(24 * time.Hour)}, 1)}
	}
	got := series(t, written(NewCoordinator(sources).WritePrometheus)) // which checks that
	daily := `slo="daily",scenario="checkout",scope="global",region=""`
	want(t, got, map[string]float64{"lastmile_slo_coverage_ratio{" + daily + `,window="objective"}`: 0.94, "lastmile_slo_coverage_ratio{" + daily + `,window="1d"}`: 0.9})
}

// TestAlerts has one series for an alert that came back, and shows ends and what is inhibited.
func TestAlerts(t *testing.T) {
	got := series(t, written(fixedCoordinator(fixedSources(false)).WritePrometheus))
	down := `{alertname="LastmileDown",severity="page",scope="region",scenario="checkout",region="eu-central",network="",slo=""}`
	slow := `{alertname="LastmileDegraded",severity="ticket",scope="region",scenario="checkout",region="eu-central",network="3g",slo="fast"}`
	outage := `{alertname="LastmileOutage",severity="page",scope="global",scenario="search",region="",network="",slo=""}`
	want(t, got, map[string]float64{
		"lastmile_alert_active" + down: 1, "lastmile_alert_inhibited" + down: 0,
		"lastmile_alert_active" + slow: 1, "lastmile_alert_inhibited" + slow: 1,
		"lastmile_alert_active" + outage: 0, "lastmile_alert_inhibited" + outage: 0,
	})
	alerts := fixedAlerts()
	slices.Reverse(alerts)
	sources := fixedSources(false)
	sources.Alerts = func() []runs.Alert { return alerts }
	want(t, series(t, written(NewCoordinator(sources).WritePrometheus)), map[string]float64{"lastmile_alert_active" + down: 1})
}

// TestJourneys has each in one state, and evidence that a panel can draw.
func TestJourneys(t *testing.T) {
	got := series(t, written(fixedCoordinator(fixedSources(false)).WritePrometheus))
	for _, j := range fixedJourneys() {
		of := fmt.Sprintf(`scenario="%s",region="%s"`, j.Scenario, j.Region)
		sum := 0.0
		for _, state := range runs.JourneyStates() {
			sum += got["lastmile_journey_state{"+of+`,state="`+string(state)+`"}`]
		}
		if sum != 1 {
			t.Errorf("%s: got %v states, want one", of, sum)
		}
		want(t, got, map[string]float64{"lastmile_journey_state{" + of + `,state="` + string(j.State) + `"}`: 1})
	}
	evidence := `lastmile_slo_evidence_log10_p{slo="availability",scenario="checkout",region="eu-central",window=`
	want(t, got, map[string]float64{
		`lastmile_journey_blind{scenario="checkout",region="eu-central"}`: 0, `lastmile_journey_blind{scenario="search",region="us-east"}`: 1,
		evidence + `"1h"}`: -7.25, evidence + `"6h"}`: leastLog10P, // which is impossible, and no number for a graph
	})
}

// TestSinks has the counters of one that was never told of anything.
func TestSinks(t *testing.T) {
	got := series(t, written(fixedCoordinator(fixedSources(false)).WritePrometheus))
	want(t, got, map[string]float64{
		`lastmile_notify_sent_total{sink="webhook"}`: 0, `lastmile_notify_failed_total{sink="webhook"}`: 0, `lastmile_notify_dropped_total{sink="webhook"}`: 0,
		`lastmile_notify_sent_total{sink="pagerduty"}`: 3, `lastmile_notify_failed_total{sink="pagerduty"}`: 2, `lastmile_notify_dropped_total{sink="pagerduty"}`: 1, `lastmile_notify_pending{sink="pagerduty"}`: 4,
	})
}

// TestWhatPagesIsLeftOutLast gives more than fits under the cap.
func TestWhatPagesIsLeftOutLast(t *testing.T) {
	sources := fixedSources(false)
	whole := series(t, ours(written(fixedCoordinator(sources).WritePrometheus)))
	sources.MaxSeries = 800
	c := fixedCoordinator(sources)
	got := series(t, ours(written(c.WritePrometheus)))
	if got["lastmile_series_dropped_total"] == 0 || len(got) > 802 {
		t.Fatalf("got %d series, %v dropped, want 800 at most, and some dropped", len(got), got["lastmile_series_dropped_total"])
	}
	for id := range whole {
		name, _, _ := strings.Cut(id, "{")
		if strings.HasPrefix(name, "lastmile_alert_") || strings.HasPrefix(name, "lastmile_notify_") || strings.HasPrefix(name, "lastmile_journey_") {
			if _, ok := got[id]; !ok {
				t.Errorf("got no %s, though combinations are what there is too much of", id)
			}
		}
	}
}

// TestConfirmationsAreInNoOtherCount has a confirmation change nothing but its own counter.
func TestConfirmationsAreInNoOtherCount(t *testing.T) {
	c := fixedCoordinator(fixedSources(false))
	before := series(t, ours(written(c.WritePrometheus)))
	r := result(runs.StatePassed, time.Second)
	r.Trigger = runs.TriggerConfirm
	c.Observe(r)
	confirmed := `lastmile_confirmation_runs_total{scenario="checkout",region="eu-central",state="passed"}`
	after := series(t, ours(written(c.WritePrometheus)))
	want(t, after, map[string]float64{confirmed: before[confirmed] + 1})
	after[confirmed]--
	want(t, after, before)
}

// TestStepsAndVitals reads the quantiles, how many samples they come from, and their intervals.
func TestStepsAndVitals(t *testing.T) {
	got := series(t, written(fixedCoordinator(fixedSources(false)).WritePrometheus))
	on := `scenario="search",region="us-east",network="none"`
	of := on + `,step="open"`
	want(t, got, map[string]float64{
		"lastmile_step_duration_samples{" + of + "}":                                                   80,
		"lastmile_step_duration_quantile_seconds{" + of + `,percentile="50"}`:                          0.49, // the 40th of 0.10, 0.11, ... 0.89
		"lastmile_step_duration_quantile_seconds{" + of + `,percentile="95"}`:                          0.85, // the 76th
		"lastmile_step_duration_quantile_upper_seconds{" + of + `,percentile="95"}`:                    0.89, // 80 are enough for an upper bound
		"lastmile_web_vital_samples{" + on + `,vital="lcp"}`:                                           80,
		"lastmile_web_vital_samples{" + on + `,vital="fcp"}`:                                           0,
		"lastmile_web_vital_seconds{" + on + `,vital="lcp"}`:                                           0.69, // the 60th
		"lastmile_web_vital_cls{" + on + "}":                                                           0.059,
		named("lastmile_step_duration_samples", `step="home"`):                                         3, // neither of the run that was tainted, nor of the invalid one
		named("lastmile_step_duration_samples", `step="2"`):                                            0, // it failed
		named("lastmile_step_duration_quantile_seconds", `step="pay",percentile="95"`):                 0.12,
		named("lastmile_step_duration_seconds_bucket", `step="pay",le="0.12"`):                         1, // the objective's threshold is a bound, and within it is good
		named("lastmile_web_vital_samples", `vital="cls"`):                                             3, // soft navigations are left out
		named("lastmile_web_vital_seconds", `vital="lcp"`):                                             1.80025,
		`lastmile_link_off_profile_total{region="eu-central",network="3g"}`:                            1,
		`lastmile_link_lateness_seconds_count{region="eu-central",network="3g"}`:                       5,
		`lastmile_link_lateness_seconds_bucket{region="eu-central",network="3g",le="0.0001"}`:          0, // the worse direction's
		`lastmile_link_lateness_seconds_bucket{region="eu-central",network="3g",le="0.0002"}`:          5,
		`lastmile_cdn_tier_responses_total{scenario="checkout",region="eu-central",tier="shield-hit"}`: 4,
		`lastmile_cdn_tier_responses_total{scenario="checkout",region="eu-central",tier="none"}`:       4,
	})
	if _, ok := got[named("lastmile_step_duration_quantile_upper_seconds", `step="home",percentile="95"`)]; ok {
		t.Error("got an upper bound of a P95 of three samples")
	}
}

// TestSamplesAgeOut has no quantile of what is more than a day old, and says so.
func TestSamplesAgeOut(t *testing.T) {
	now := at
	sources := fixedSources(false)
	sources.Now = func() time.Time { return now }
	c := fixedCoordinator(sources)
	of := `{scenario="search",region="us-east",network="none",step="open"}`
	want(t, series(t, written(c.WritePrometheus)), map[string]float64{"lastmile_step_duration_samples" + of: 80})
	now = now.Add(24*time.Hour - 40*time.Minute)
	want(t, series(t, written(c.WritePrometheus)), map[string]float64{"lastmile_step_duration_samples" + of: 40})
	now = now.Add(24 * time.Hour)
	got := series(t, written(c.WritePrometheus))
	want(t, got, map[string]float64{"lastmile_step_duration_samples" + of: 0})
	for id := range got {
		if strings.HasPrefix(id, "lastmile_step_duration_quantile") {
			t.Errorf("got %s of no sample", id)
		}
	}
}

// TestThresholdsAreBounds has each latency objective's threshold as a bound of the histogram that shows what it counts.
func TestThresholdsAreBounds(t *testing.T) {
	s := checkoutScenario()
	s.SLOs = nil
	for i, threshold := range []time.Duration{119 * time.Millisecond, 3217 * time.Millisecond, time.Second} {
		for _, step := range []string{"", "2", "pay"} {
			s.SLOs = append(s.SLOs, scenario.SLO{Name: fmt.Sprintf("fast-%d-%s", i, step), SLI: scenario.SLILatency, Step: step, Threshold: scenario.Duration(threshold), Objective: 0.9})
		}
	}
	c := NewCoordinator(fixedSources(false))
	c.Define([]scenario.Scenario{s})
	got := series(t, written(c.WritePrometheus))
	for _, le := range []string{"0.119", "3.217", "1"} {
		want(t, got, map[string]float64{
			named("lastmile_run_duration_seconds_bucket", `le="`+le+`"`):             0,
			named("lastmile_step_duration_seconds_bucket", `step="2",le="`+le+`"`):   0,
			named("lastmile_step_duration_seconds_bucket", `step="pay",le="`+le+`"`): 0,
		})
	}
	if _, ok := got[named("lastmile_step_duration_seconds_count", `step="home"`)]; ok {
		t.Error("got a histogram of a step that no objective names")
	}
}

// TestPromtoolFindsNothingInTwo has what two coordinators write, one of which leads, as a Prometheus that is asked for both gives it on.
func TestPromtoolFindsNothingInTwo(t *testing.T) {
	standby := fixedSources(false)
	standby.Health = func() CoordinatorHealth { return CoordinatorHealth{Term: 6} }
	type family struct{ head, body string }
	var names []string
	families := map[string]*family{}
	for instance, text := range []string{written(fixedCoordinator(fixedSources(false)).WritePrometheus), written(fixedCoordinator(standby).WritePrometheus)} {
		var in *family
		for line := range strings.Lines(text) {
			if help, ok := strings.CutPrefix(line, "# HELP "); ok {
				name, _, _ := strings.Cut(help, " ")
				if families[name] == nil {
					families[name] = &family{}
					names = append(names, name)
				}
				in = families[name]
				in.head = line
				continue
			}
			if strings.HasPrefix(line, "# TYPE ") {
				if !strings.Contains(in.head, line) {
					in.head += line
				}
				continue
			}
			name, rest, labelled := strings.Cut(line, "{")
			if labelled {
				in.body += fmt.Sprintf("%s{instance=\"%d\",%s", name, instance, rest)
				continue
			}
			name, rest, _ = strings.Cut(line, " ")
			in.body += fmt.Sprintf("%s{instance=\"%d\"} %s", name, instance, rest)
		}
	}
	var both strings.Builder
	for _, name := range names {
		both.WriteString(families[name].head + families[name].body)
	}
	cmd := exec.Command(expositiontest.Program(t, "promtool"), "check", "metrics")
	cmd.Stdin = strings.NewReader(both.String())
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
	if n := strings.Count(both.String(), "lastmile_coordinator_leader{"); n != 2 {
		t.Errorf("got %d coordinators, want both", n)
	}
}
