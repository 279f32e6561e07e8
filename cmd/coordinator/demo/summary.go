package demo

import (
	"fmt"
	"io"
	"time"

	"lastmile/internal/cli"
	"lastmile/internal/console"
	"lastmile/internal/runs"
)

// summary is what a demo ends with. Its field names are for scripts.
type summary struct {
	Planned      int64                `json:"planned"`
	Accounted    int64                `json:"accounted"`
	Seconds      float64              `json:"seconds"`
	Data         string               `json:"data"`
	Faults       []string             `json:"faults"`
	Regions      []regionSummary      `json:"regions"`
	Combinations []combinationSummary `json:"combinations"`
	Alerts       []runs.Alert         `json:"alerts"` // all that were announced, as they were last, in the order in which they began
}

type regionSummary struct {
	Region    string           `json:"region"`
	Planned   int64            `json:"planned"`
	Accounted int64            `json:"accounted"`
	States    runs.StateCounts `json:"states"`
}

type combinationSummary struct {
	Scenario        string                `json:"scenario"`
	Region          string                `json:"region"`
	Network         string                `json:"network"`
	Planned         int64                 `json:"planned"`
	Accounted       int64                 `json:"accounted"`
	States          runs.StateCounts      `json:"states"`
	Reasons         map[runs.Reason]int64 `json:"reasons"`
	P95MS           *float64              `json:"p95_ms"` // null without a successful run
	P95UpperMS      *float64              `json:"p95_upper_ms"`
	Samples         int                   `json:"samples"`
	Tainted         int64                 `json:"tainted"`         // runs on a machine too busy to trust their times: not among the samples
	CacheHitRatio   *float64              `json:"cache_hit_ratio"` // null where no answer could have been a hit
	Exposed         int64                 `json:"exposed"`         // answers that a shared cache ought not to have given
	BudgetRemaining *float64              `json:"budget_remaining"`
	LastProblem     *runs.Cause           `json:"last_problem"`
}

func newSummary(d *demo) summary {
	accounts := d.unit.Ledger().Accounts(time.Now())
	s := summary{Seconds: time.Since(d.started).Seconds(), Data: d.opts.Data, Faults: append([]string{}, d.site.Faults().Active()...), Alerts: d.alerts.list()}
	for _, total := range runs.Totals(accounts) {
		s.Planned += total.Planned
		s.Accounted += total.Accounted
		s.Regions = append(s.Regions, regionSummary{Region: total.Region, Planned: total.Planned, Accounted: total.Accounted, States: total.Counts})
	}
	for i := range accounts {
		s.Combinations = append(s.Combinations, summariseCombination(&accounts[i]))
	}
	return s
}

func summariseCombination(a *runs.Account) combinationSummary {
	out := combinationSummary{
		Scenario: a.Scenario, Region: a.Region, Network: a.Network,
		Planned: a.Counts.Planned(), Accounted: a.Counts.Accounted(), States: a.Counts, Reasons: a.Reasons, Tainted: a.Tainted, Exposed: a.Exposed, LastProblem: a.Last,
	}
	p95 := a.Latency[time.Hour].P95
	out.Samples = p95.N
	if p95.N > 0 {
		out.P95MS = millis(p95.Value)
	}
	if p95.HasUpper {
		out.P95UpperMS = millis(p95.Upper)
	}
	if ratio, ok := a.CacheRatio(); ok {
		value := float64(ratio)
		out.CacheHitRatio = &value
	}
	if a.Budget != nil {
		value := float64(a.Budget.Remaining)
		out.BudgetRemaining = &value
	}
	return out
}

func millis(d time.Duration) *float64 {
	value := float64(d) / float64(time.Millisecond)
	return &value
}

func (s *summary) writeJSON(w io.Writer) error {
	return cli.PrintJSON(w, s)
}

func (s *summary) writeText(w io.Writer) {
	for _, r := range s.Regions {
		fmt.Fprintf(w, "%-8s %4d slots planned, %4d accounted for\n", r.Region, r.Planned, r.Accounted)
	}
	fmt.Fprintf(w, "%-8s %4d slots planned, %4d accounted for, in %.0f s\n", "all", s.Planned, s.Accounted, s.Seconds)
	if open := s.Planned - s.Accounted; open > 0 {
		fmt.Fprintf(w, "%d slots were still open when the demo stopped\n", open)
	}
	for i := range s.Alerts {
		a := &s.Alerts[i]
		until := "still active"
		if !a.Active() {
			until = "until " + a.EndsAt.Local().Format(time.TimeOnly)
		}
		fmt.Fprintf(w, "alert    %s (%s) of %s from %s, %s\n", a.Name, a.Severity, console.Where(a), a.StartsAt.Local().Format(time.TimeOnly), until)
	}
	fmt.Fprintf(w, "data and log: %s\n", s.Data)
}
