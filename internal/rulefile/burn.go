package rulefile

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// AlertBurn is the name of the alerts of the burn-rate set.
const AlertBurn = "LastmileErrorBudgetBurn"

// The series that the burn-rate set records.
const (
	seriesDue    = "lastmile:slots_due:sum"     // counter: planned slots, less those skipped on purpose
	seriesLate   = "lastmile:slots_amended:sum" // counter: results that came after their slot had been closed
	seriesBad    = "lastmile:slo_bad:sum"       // counter: runs or events that spend an objective's budget
	seriesEvents = "lastmile:slo_events:sum"    // counter: all events of an objective that nothing plans
	seriesShare  = "lastmile:slots_late_ratio"  // share of a window's due slots for which results came late
	seriesBurn   = "lastmile:slo_burn_rate"
)

const (
	fastInterval = 15 * time.Second
	slowInterval = 2 * time.Minute // of what looks back for days

	// fastest is the longest window that is looked at each fastInterval.
	fastest = slo.Window(6 * time.Hour)
	// leastSlots is how many slots of a combination a long window must hold for a rule to make sense, and a short window half as many.
	leastSlots = 4
)

// burnRule is a rule of the workbook as it suits a schedule.
type burnRule struct {
	slo.BurnRule
	objective *scenario.SLO
}

// burnGroups are the recordings and alerts on a scenario's objectives.
func burnGroups(s *scenario.Scenario) []*group {
	if len(s.SLOs) == 0 {
		return nil
	}
	fast := &group{name: "lastmile-burn-" + s.Name, scenario: s.Name, interval: fastInterval, comments: []string{
		"Burn rates of " + s.Name + ", by region, and who is paged for them.",
	}}
	slow := &group{name: "lastmile-slow-burn-" + s.Name, scenario: s.Name, interval: slowInterval, comments: []string{
		"Burn rates of " + s.Name + " over days, and tickets.",
	}}
	var rules []burnRule
	for i := range s.SLOs {
		fit, left := fittingRules(s, &s.SLOs[i])
		rules = append(rules, fit...)
		fast.comments = append(fast.comments, left...)
	}
	fast.rules = counters(s, rules)
	for _, w := range runs.BurnWindows() {
		into := fast
		if w > fastest {
			into = slow
		}
		into.rules = append(into.rules, windowRules(s, rules, w)...)
	}
	for _, r := range rules {
		into := fast
		if r.Severity == slo.SeverityTicket {
			into = slow
		}
		into.rules = append(into.rules, r.alert(s))
	}
	return []*group{fast, slow}
}

// fittingRules are the workbook's rules that can say something about an objective of a scenario, and a line for each that cannot.
func fittingRules(s *scenario.Scenario, o *scenario.SLO) (fit []burnRule, left []string) {
	period := s.Schedule.Period()
	for _, r := range slo.WorkbookRules() {
		leave := func(why string) {
			left = append(left, fmt.Sprintf("No rule %s over %s on %s: %s.", r.Severity, r.Long, o.Name, why))
		}
		r.Short = widened(r.Short, period)
		switch {
		case !r.CanFire(o.Objective):
			leave(fmt.Sprintf("with %s no burn exceeds %.4g", o.Objective, float64(slo.MaxBurn(o.Objective))))
		case r.Long > o.Period():
			leave("its budget is for " + o.Period().String())
		case r.Long.Duration() < leastSlots*period || r.Short >= r.Long:
			leave(fmt.Sprintf("with a run each %s there are too few in it", span(period)))
		default:
			fit = append(fit, burnRule{r, o})
		}
	}
	return fit, left
}

// widened is the window, or the next longer one that always has two runs.
func widened(w slo.Window, period time.Duration) slo.Window {
	for _, wider := range runs.BurnWindows() {
		if wider >= w && wider.Duration() >= leastSlots/2*period {
			return wider
		}
	}
	return slo.MaxWindow
}

// counters record what is counted, as one series for whichever coordinator leads.
func counters(s *scenario.Scenario, rules []burnRule) []rule {
	sum := func(metric, selector, also string) string {
		return fmt.Sprintf("sum by (scenario, region) (max by (scenario, region, network%s) (%s{scenario=%q%s}))", also, metric, s.Name, selector)
	}
	var out []rule
	if slices.ContainsFunc(rules, func(r burnRule) bool { return !r.told() }) {
		out = append(out,
			rule{record: seriesDue, expr: sum("lastmile_slots_total", `,state="planned"`, "") + "\n- " + sum("lastmile_slots_total", `,state="skipped"`, ", reason")},
			rule{record: seriesLate, expr: sum("lastmile_slots_amended_total", "", "")})
	}
	for i := range s.SLOs {
		o := &s.SLOs[i]
		if !slices.ContainsFunc(rules, func(r burnRule) bool { return r.objective == o && !r.told() }) {
			continue
		}
		labels := pairs{{"slo", o.Name}}
		if planned(o) {
			out = append(out, rule{record: seriesBad, expr: sum("lastmile_runs_total", `,state="failed"`, ""), labels: labels})
			continue
		}
		selector := fmt.Sprintf(",slo=%q", o.Name)
		total := sum("lastmile_sli_total", selector, "")
		out = append(out,
			rule{record: seriesEvents, expr: total, labels: labels},
			rule{record: seriesBad, expr: total + "\n- " + sum("lastmile_sli_good_total", selector, ""), labels: labels})
	}
	return out
}

// planned reports whether the schedule plans what an objective counts, run by run.
func planned(o *scenario.SLO) bool { return o.SLI == "" || o.SLI == scenario.SLIAvailability }

// told reports whether only the coordinator's own burn rate tells what the rule asks: no counter has the slow runs.
func (r *burnRule) told() bool { return r.objective.SLI == scenario.SLILatency }

// windowRules record what the rules ask about a window.
func windowRules(s *scenario.Scenario, rules []burnRule, w slo.Window) []rule {
	uses := func(o *scenario.SLO) (told, ok bool) {
		at := slices.IndexFunc(rules, func(r burnRule) bool { return r.objective == o && (r.Long == w || r.Short == w) })
		return at >= 0 && rules[at].told(), at >= 0
	}
	var out []rule
	if slices.ContainsFunc(rules, func(r burnRule) bool { return !r.told() && r.Short == w }) {
		out = append(out, rule{record: seriesShare, labels: pairs{{"window", w.String()}}, expr: shareOf(grown(seriesLate, s, nil, w), grown(seriesDue, s, nil, w))})
	}
	for i := range s.SLOs {
		o := &s.SLOs[i]
		told, ok := uses(o)
		if !ok {
			continue
		}
		r := rule{record: seriesBurn, labels: pairs{{"slo", o.Name}, {"scope", string(runs.ScopeRegion)}, {"window", w.String()}}}
		budget := number(float64(o.Objective.Budget()))
		switch {
		case told:
			r.expr = fmt.Sprintf("max by (scenario, region) (lastmile_slo_burn_rate{scenario=%q,slo=%q,scope=%q,window=%q})", s.Name, o.Name, runs.ScopeRegion, w)
		case planned(o):
			r.expr = shareOf(grown(seriesBad, s, o, w), grown(seriesDue, s, nil, w)) + " / " + budget
		default:
			r.expr = shareOf(grown(seriesBad, s, o, w), grown(seriesEvents, s, o, w)) + " / " + budget
		}
		out = append(out, r)
	}
	return out
}

// shareOf is part by whole, and never more than all of it: what comes late may be more than what was due meanwhile. Of nothing there is none.
func shareOf(part, whole string) string {
	return fmt.Sprintf("clamp_max(\n  %s\n  / on (scenario, region)\n  (%s > 0),\n  1)", part, whole)
}

// grown is by how much a recorded counter has grown in a window.
func grown(series string, s *scenario.Scenario, o *scenario.SLO, w slo.Window) string {
	selector := fmt.Sprintf("%s{scenario=%q}[%s]", series, s.Name, w)
	if o != nil {
		selector = fmt.Sprintf("%s{scenario=%q,slo=%q}[%s]", series, s.Name, o.Name, w)
	}
	return fmt.Sprintf("(max_over_time(%s) - min_over_time(%s))", selector, selector)
}

// alert is the rule itself. The short window shows that it still goes on: what came late, and may all have been bad, is no sign of that.
func (r *burnRule) alert(s *scenario.Scenario) rule {
	o, factor, budget := r.objective, number(float64(r.Factor)), number(float64(r.objective.Objective.Budget()))
	burn := func(w slo.Window) string {
		return fmt.Sprintf("%s{scenario=%q,slo=%q,window=%q}", seriesBurn, s.Name, o.Name, w)
	}
	short := burn(r.Short)
	if !r.told() {
		short = fmt.Sprintf("(%s\n  - on (scenario, region) %s{scenario=%q,window=%q} / %s)", short, seriesShare, s.Name, r.Short, budget)
	}
	share := slo.Ratio(float64(r.Factor) * float64(r.Long) / float64(o.Period()))
	labels := append(pairs{{"severity", string(r.Severity)}, {"slo", o.Name}, {"scope", string(runs.ScopeRegion)}, {"window", r.Long.String()}}, ownLabels(s)...)
	return rule{
		alert:  AlertBurn,
		expr:   fmt.Sprintf("%s > %s\nand on (scenario, region)\n%s > %s", burn(r.Long), factor, short, factor),
		labels: labels,
		annotations: withRunbook(s, pairs{
			{"summary", s.Name + ` in {{ $labels.region }}: ` + o.Name + ` burns its error budget {{ printf ` + "`%.3g`" + ` $value }} times too fast`},
			{"description", fmt.Sprintf("Over %s and over %s the budget of the objective %s (%s over %s) burns more than %s times as fast as it may: %.2g %% of it in %s. "+
				"By burn rate alone: whether it is more than chance, the coordinator's own alerts say.",
				r.Long, r.Short, o.Name, o.Objective, o.Period(), factor, float64(share)*100, r.Long)},
			{"action", "Look at the dashboard of the scenario: what fails there, and since when."},
		}),
	}
}

// number is a number as PromQL reads it.
func number(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
