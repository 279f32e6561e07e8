package exposition

import (
	"math"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// month is the period of the fixed objectives.
const month = slo.Window(30 * 24 * time.Hour)

// status makes an objective's, where bad of a hundred slots are bad in each of its windows.
func status(of, region string, o scenario.SLO, bad int64) runs.ObjectiveStatus {
	out := runs.ObjectiveStatus{
		Scenario: of, Region: region, SLO: o, Planned: 43200,
		Counts:    slo.Counts{Good: 94 - bad, Bad: bad, Invalid: 1, Missing: 5, Skipped: 1, Pending: 2},
		Remaining: slo.BudgetRemaining(bad, 43200, o.Objective),
	}
	for _, w := range runs.BurnWindows() {
		out.Windows = append(out.Windows, runs.WindowCounts{
			WindowBurn: runs.WindowBurn{Window: w, Burn: slo.BurnRate(bad, 100, o.Objective)},
			Counts:     slo.Counts{Good: 90 - bad, Bad: bad, Missing: 10},
		})
	}
	return out
}

// fixedObjectives are those of the checkout scenario, and one that has seen nothing.
func fixedObjectives() []runs.ObjectiveStatus {
	available := scenario.SLO{Name: "availability", Objective: 0.99, Window: month}
	fast := scenario.SLO{Name: "fast", SLI: scenario.SLILatency, Objective: 0.95, Calendar: scenario.CalendarMonth, Threshold: scenario.Duration(4 * time.Second)}
	return []runs.ObjectiveStatus{
		status("checkout", "", available, 4), status("checkout", "eu-central", available, 4),
		status("checkout", "", fast, 2), status("checkout", "eu-central", fast, 2),
		{Scenario: "search", SLO: available, Remaining: 1}, {Scenario: "search", Region: "us-east", SLO: available, Remaining: 1},
	}
}

func fixedJourneys() []runs.JourneyStatus {
	return []runs.JourneyStatus{
		{Scenario: "checkout", Region: "eu-central", State: runs.JourneyDown, Since: at, Evidence: []runs.EvidenceStatus{
			{SLO: "availability", Window: slo.Window(time.Hour), Log10P: -7.25}, {SLO: "availability", Window: slo.Window(6 * time.Hour), Log10P: math.Inf(-1)},
			{SLO: "fast", Window: slo.Window(time.Hour)},
		}},
		{Scenario: "search", Region: "us-east", State: runs.JourneyOK, Blind: true},
	}
}

func fixedAlerts() []runs.Alert {
	down := runs.AlertKey{Name: runs.AlertDown, Scope: runs.ScopeRegion, Scenario: "checkout", Region: "eu-central"}
	return []runs.Alert{
		{AlertKey: down, Severity: slo.SeverityPage, StartsAt: at.Add(-time.Hour), EndsAt: at.Add(-5 * time.Minute)},
		{AlertKey: down, Severity: slo.SeverityPage, StartsAt: at},
		{AlertKey: runs.AlertKey{Name: runs.AlertDegraded, Scope: runs.ScopeRegion, Scenario: "checkout", Region: "eu-central", Network: "3g", SLO: "fast"}, Severity: slo.SeverityTicket, StartsAt: at, Inhibited: true},
		{AlertKey: runs.AlertKey{Name: runs.AlertOutage, Scope: runs.ScopeGlobal, Scenario: "search"}, Severity: slo.SeverityPage, StartsAt: at.Add(-time.Hour), EndsAt: at.Add(-time.Minute), Inhibited: true},
	}
}

// fixedSinks are two that have had n notifications, and one that had none.
func fixedSinks(n int64) []Sink {
	return []Sink{{Sink: "alertmanager", Sent: 7 * n}, {Sink: "pagerduty", Sent: 3 * n, Failed: 2 * n, Dropped: n, Pending: 4}, {Sink: "webhook"}}
}
