package exposition

import (
	"slices"
	"time"

	"lastmile/internal/exposition/sheet"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// Sink is how one receiver of alerts is served. What is not pending counts from the start of the process and never falls.
type Sink struct {
	Sink                  string // its name: alertmanager, pagerduty, webhook
	Sent, Failed, Dropped int64
	Pending               int64
}

// Usual is what is usual for a combination at this hour of the week: see package baseline.
type Usual struct {
	scenario.Combination
	Median, P95 time.Duration
	Runs        int  // that they come from
	Slower      bool // than usual: the runs of late are, on evidence and enough to matter
}

// wholePeriod is the window label for the whole period of an objective's budget. It is a word, since a period may be as long as another window.
const wholePeriod = "objective"

// leastLog10P stands for what is less likely: nobody can tell such numbers apart.
const leastLog10P = -300

// alerts adds alerts, journeys and sinks.
func (s *page) alerts(from *CoordinatorSources) {
	if from.Alerts != nil {
		for _, a := range apart(from.Alerts()) {
			s.Block(func() { s.alert(a) })
		}
	}
	if from.Sinks != nil {
		for _, sink := range from.Sinks() {
			s.Block(func() { s.sink(&sink) })
		}
	}
	if from.Journeys != nil {
		journeys := from.Journeys()
		for i := range journeys {
			s.Block(func() { s.journey(&journeys[i]) })
		}
	}
}

// apart leaves one alert for each series: one that ended and began anew is there twice, and the active one counts.
func apart(alerts []runs.Alert) []*runs.Alert {
	type identity struct {
		runs.AlertKey
		slo.Severity
	}
	places := map[identity]int{}
	var out []*runs.Alert
	for i := range alerts {
		a := &alerts[i]
		at, twice := places[identity{a.AlertKey, a.Severity}]
		switch {
		case !twice:
			places[identity{a.AlertKey, a.Severity}] = len(out)
			out = append(out, a)
		case a.Active():
			out[at] = a
		}
	}
	return out
}

// alert adds an alert.
func (s *page) alert(a *runs.Alert) {
	l := s.Labels().With("alertname", a.Name).With("severity", string(a.Severity)).With("scope", string(a.Scope)).
		With("scenario", a.Scenario).With("region", a.Region).With("network", a.Network).With("slo", a.SLO)
	s.Bool("lastmile_alert_active", l, a.Active())
	s.Bool("lastmile_alert_inhibited", l, a.Active() && a.Inhibited)
}

// sink adds a receiver of alerts.
func (s *page) sink(one *Sink) {
	l := s.Labels().With("sink", one.Sink)
	s.Int("lastmile_notify_sent_total", l, one.Sent)
	s.Int("lastmile_notify_failed_total", l, one.Failed)
	s.Int("lastmile_notify_dropped_total", l, one.Dropped)
	s.Int("lastmile_notify_pending", l, one.Pending)
}

// journey adds how a scenario in a region stands.
func (s *page) journey(j *runs.JourneyStatus) {
	l := s.Labels().With("scenario", j.Scenario).With("region", j.Region)
	for _, state := range runs.JourneyStates() {
		s.Bool("lastmile_journey_state", l.With("state", string(state)), j.State == state)
	}
	s.Bool("lastmile_journey_blind", l, j.Blind)
	for _, e := range j.Evidence {
		l := s.Labels().With("slo", e.SLO).With("scenario", j.Scenario).With("region", j.Region).With("window", e.Window.String())
		s.Float("lastmile_slo_evidence_log10_p", l, max(e.Log10P, leastLog10P))
	}
}

// usual adds what is usual.
func (s *page) usual(u *Usual) {
	l := s.Labels().With("scenario", u.Scenario).With("region", u.Region).With("network", u.Network)
	s.Seconds("lastmile_run_duration_usual_seconds", l.With("percentile", "50"), u.Median)
	s.Seconds("lastmile_run_duration_usual_seconds", l.With("percentile", "95"), u.P95)
	s.Int("lastmile_run_duration_usual_samples", l, int64(u.Runs))
	s.Bool("lastmile_run_slower_than_usual", l, u.Slower)
}

// objectives adds the objectives, those of everywhere and those of regions.
func (s *page) objectives(from *CoordinatorSources) {
	if from.Objectives == nil {
		return
	}
	objectives := from.Objectives()
	for i := range objectives {
		s.Block(func() { s.objective(&objectives[i]) })
	}
}

// objective adds how an objective stands.
func (s *page) objective(o *runs.ObjectiveStatus) {
	if o.Region == "" { // there is one such for each objective
		s.Int("lastmile_slo_info", s.Labels().With("slo", o.SLO.Name).With("scenario", o.Scenario).With("sli", string(indicator(&o.SLO))).With("period", period(&o.SLO)), 1)
	}
	l := s.Labels().With("slo", o.SLO.Name).With("scenario", o.Scenario).With("scope", string(o.Scope())).With("region", o.Region)
	s.Float("lastmile_slo_objective_ratio", l, float64(o.SLO.Objective))
	s.Float("lastmile_slo_error_budget_remaining_ratio", l, float64(o.Remaining))
	s.indicator(l.With("window", wholePeriod), o.Counts)
	for i := range o.Windows {
		w := &o.Windows[i]
		l := l.With("window", w.Window.String())
		s.Float("lastmile_slo_burn_rate", l, float64(w.Burn))
		if slices.Contains(shownWindows(), w.Window) {
			s.indicator(l, w.Counts)
		}
	}
}

// shownWindows are the windows beside the whole period whose indicators are shown: a few runs make no ratio.
func shownWindows() []slo.Window {
	return []slo.Window{slo.Window(time.Hour), slo.Window(24 * time.Hour)}
}

// indicator adds what a window's counts say.
func (s *page) indicator(l sheet.Labels, c slo.Counts) {
	if measured := c.Measured(); measured > 0 {
		s.Float("lastmile_slo_sli_ratio", l, float64(c.Good)/float64(measured))
	}
	if lower, upper, ok := c.Bounds(); ok {
		s.Float("lastmile_slo_sli_lower_ratio", l, float64(lower))
		s.Float("lastmile_slo_sli_upper_ratio", l, float64(upper))
	}
	if coverage, ok := c.Coverage(); ok {
		s.Float("lastmile_slo_coverage_ratio", l, float64(coverage))
	}
}

// indicator is what an objective counts.
func indicator(o *scenario.SLO) scenario.SLI {
	if o.SLI == "" {
		return scenario.SLIAvailability
	}
	return o.SLI
}

// period is that of an objective's budget.
func period(o *scenario.SLO) string {
	if o.Calendar != "" {
		return string(o.Calendar)
	}
	return o.Window.String()
}
