// Package wording puts alerts into labels and words. All that a sink is told of an alert is made here, once.
package wording

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/slo"
)

// labelSeverity is the one label that is no part of who an alert is.
const labelSeverity = "severity"

// Labels returns an alert's labels: those of its scenario, and ours, which none of those replaces. No value, run or time is in them.
func Labels(a *runs.Alert) map[string]string {
	labels := map[string]string{}
	for name, value := range a.Labels {
		labels[name] = value
	}
	for name, value := range map[string]string{
		"alertname": a.Name, labelSeverity: string(a.Severity), "scope": string(a.Scope), "scenario": a.Scenario, "region": a.Region, "network": a.Network,
		"slo": a.SLO, "team": a.Team,
	} {
		if delete(labels, name); value != "" {
			labels[name] = value
		}
	}
	maps.DeleteFunc(labels, func(_, value string) bool { return value == "" }) // to Alertmanager, an empty label is none
	return labels
}

// Words puts alerts into words, and knows where links lead to.
type Words struct {
	External, Grafana string // base URLs without a slash at the end; "" = no links
}

// run is the link to a run; "" = none.
func (w Words) run(f *runs.Failure) string {
	if f == nil || f.RunID == "" || w.External == "" {
		return ""
	}
	return w.External + "/api/v1/runs/" + url.PathEscape(string(f.RunID))
}

// dashboard is the link to an alert's dashboard; "" = none.
func (w Words) dashboard(a *runs.Alert) string {
	if w.Grafana == "" {
		return ""
	}
	region := a.Region
	if region == "" {
		region = "$__all"
	}
	return w.Grafana + "/d/lastmile-scenario?var-scenario=" + url.QueryEscape(a.Scenario) + "&var-region=" + url.QueryEscape(region)
}

// Annotations says all that is known of an alert: a summary in one line, a description in sentences, and each fact by itself. None is empty.
func (w Words) Annotations(a *runs.Alert) map[string]string {
	y := &a.Why
	out := map[string]string{
		"summary":         summary(a),
		"description":     w.description(a),
		"runbook_url":     a.Runbook,
		"dashboard_url":   w.dashboard(a),
		"run_url":         w.run(y.First),
		"latest_run_url":  w.run(y.Latest),
		"rule":            string(y.Rule),
		counting(y):       counted(y, ""),
		"evidence":        evidence(y),
		"burn":            burns(y),
		"budget_left":     share(y.Remaining),
		"coverage":        share(y.Coverage),
		"regions":         strings.Join(y.Regions, ", "),
		"healthy_regions": strings.Join(y.Healthy, ", "),
		"networks":        strings.Join(y.Networks, ", "),
		"first_failure":   failed(y.First),
		"latest_failure":  failed(y.Latest),
		"confirmations":   confirmations(y.Confirmations),
		"usual":           y.Usual,
	}
	if y.Of > 0 && y.Rule != runs.RuleCoverage {
		out["p0"] = percent(y.Expected)
	}
	if y.Exhaustion != nil {
		out["exhaustion"] = span(*y.Exhaustion)
	}
	if y.Slices > 0 {
		out["bad_slices"] = strconv.Itoa(y.Slices)
	}
	if a.Flapping {
		out["flapping"] = "true"
	}
	maps.DeleteFunc(out, func(_, value string) bool { return value == "" })
	return out
}

// summary is one line.
func summary(a *runs.Alert) string {
	y := &a.Why
	text := a.Where()
	switch a.Name {
	case runs.AlertDown:
		text += " is down: " + badly(y)
	case runs.AlertOutage:
		text += " fails across regions"
		if n := len(y.Regions); n > 0 {
			text = fmt.Sprintf("%s fails in %d of %d regions: %s", a.Where(), n, n+len(y.Healthy), listed(y.Regions))
		}
	case runs.AlertDegraded:
		text += fmt.Sprintf(" burns its %s budget%s: %s", a.SLO, pace(y), badly(y))
	case runs.AlertSlowBurn:
		text += fmt.Sprintf(" burns its %s budget slowly%s: %s", a.SLO, pace(y), badly(y))
	case runs.AlertBlind:
		text += " is not being measured"
		if y.Coverage != nil {
			text += ": only " + percent(*y.Coverage) + " of its slots are"
		}
	case runs.AlertCacheLeak:
		text += " was shown another user's data from a cache"
	default:
		text += ": " + a.Name
	}
	if a.Flapping {
		text += " (flapping)"
	}
	return Clip(text, maxText)
}

// pace is the greatest burn.
func pace(y *runs.Why) string {
	if len(y.Burn) == 0 {
		return ""
	}
	top := slices.MaxFunc(y.Burn, func(a, b runs.WindowBurn) int {
		return int(math.Copysign(1, float64(a.Burn-b.Burn)))
	})
	return fmt.Sprintf(" %s times as fast as it lasts", times(top.Burn))
}

// description says in sentences why.
func (w Words) description(a *runs.Alert) string {
	y := &a.Why
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)+".") }
	switch {
	case y.Of > 0 && y.Rule == runs.RuleCoverage:
		say("Not measured: %d of %d slots in %s", y.Bad, y.Of, y.Over)
	case y.Of > 0:
		text := "Measured: " + badly(y) + ", where " + percent(y.Expected) + " would be if all were well"
		if y.Log10P != 0 {
			text += "; the probability that chance makes so many is " + evidence(y)
		}
		say("%s", text)
	}
	if y.Rule != "" {
		say("Rule %s: %s", y.Rule, ruleText(y.Rule))
	}
	if len(y.Burn) > 0 {
		say("Burn rate of the error budget: %s", burns(y))
	}
	switch {
	case y.Remaining != nil && *y.Remaining <= 0:
		say("None of the budget is left (%s)", percent(*y.Remaining))
	case y.Remaining != nil && y.Exhaustion != nil:
		say("%s of the budget are left, at this pace for %s", percent(*y.Remaining), span(*y.Exhaustion))
	case y.Remaining != nil:
		say("%s of the budget are left", percent(*y.Remaining))
	}
	if y.Coverage != nil {
		say("%s of the slots were measured of late", percent(*y.Coverage))
	}
	if len(y.Regions) > 0 {
		text := "Affected: " + strings.Join(y.Regions, ", ")
		if len(y.Healthy) > 0 {
			text += "; not affected: " + strings.Join(y.Healthy, ", ")
		}
		say("%s", text)
	}
	if len(y.Networks) > 0 {
		say("Networks: %s", strings.Join(y.Networks, ", "))
	}
	if y.First != nil {
		say("First failure: %s", failed(y.First))
	}
	if y.Latest != nil && (y.First == nil || y.Latest.RunID != y.First.RunID) {
		say("Latest failure: %s", failed(y.Latest))
	}
	if len(y.Confirmations) > 0 {
		say("Asked again: %s", confirmations(y.Confirmations))
	}
	if y.Usual != "" {
		say("%s", y.Usual)
	}
	return strings.Join(out, " ")
}

// ruleText says what a rule asks for.
func ruleText(r runs.Rule) string {
	switch r {
	case runs.RuleHard:
		return "at least five of the last six runs bad"
	case runs.RuleBurn:
		return "the budget burns too fast over a long and a short window, chance does not explain it, and it is no single burst"
	case runs.RuleQuorum:
		return "two of the last three runs bad in a quarter of the regions or more"
	case runs.RuleDrift:
		return "failures add up over all regions"
	case runs.RuleCoverage:
		return "less than 90 % of the slots were measured, so that nothing can be said"
	case runs.RuleLeak:
		return "a run saw the mark of another user"
	}
	return "see the coordinator"
}

// counting names what is counted: bad runs or events, or where nothing can be said of those, slots.
func counting(y *runs.Why) string {
	if y.Rule == runs.RuleCoverage {
		return "unmeasured"
	}
	return "bad"
}

// counted is k of n, with a word between n and where it was counted; "" where nothing was.
func counted(y *runs.Why, word string) string {
	switch {
	case y.Of <= 0:
		return ""
	case y.Over > 0:
		return fmt.Sprintf("%d of %d%s in %s", y.Bad, y.Of, word, y.Over)
	}
	return fmt.Sprintf("%d of the last %d%s", y.Bad, y.Of, word)
}

// badly says it in words.
func badly(y *runs.Why) string {
	if y.Of <= 0 {
		return "runs bad"
	}
	return counted(y, " bad")
}

// evidence is a probability, as a power of ten: it may be far too small for a number.
func evidence(y *runs.Why) string {
	if y.Log10P == 0 {
		return ""
	}
	return "10^" + strconv.FormatFloat(y.Log10P, 'f', 1, 64)
}

func burns(y *runs.Why) string {
	var out []string
	for _, b := range y.Burn {
		out = append(out, fmt.Sprintf("%s over %s", times(b.Burn), b.Window))
	}
	return strings.Join(out, ", ")
}

func times(b slo.Burn) string { return digits(float64(b)) }

func percent(r slo.Ratio) string { return digits(float64(r)*100) + " %" }

// digits is a number with three significant digits, or all of those before the point.
func digits(f float64) string {
	if math.Abs(f) >= 100 {
		return strconv.FormatFloat(f, 'f', 0, 64)
	}
	return strconv.FormatFloat(f, 'g', 3, 64)
}

func share(r *slo.Ratio) string {
	if r == nil {
		return ""
	}
	return percent(*r)
}

// span is a time in its two largest units.
func span(d time.Duration) string {
	d = max(d, 0)
	switch days, hours, minutes := d/(24*time.Hour), d/time.Hour, d/time.Minute; {
	case days > 0:
		return fmt.Sprintf("%d d %d h", days, hours%24)
	case hours > 0:
		return fmt.Sprintf("%d h %d min", hours, minutes%60)
	}
	return fmt.Sprintf("%d min", d/time.Minute)
}

// failed says which run failed, when, where in the journey and why.
func failed(f *runs.Failure) string {
	if f == nil {
		return ""
	}
	text := fmt.Sprintf("run %s of %s", f.RunID, f.At.UTC().Format("2006-01-02 15:04:05 UTC"))
	if f.Cause == nil {
		return text
	}
	if f.Cause.Step != "" {
		text += fmt.Sprintf(", step %q", f.Cause.Step)
	}
	return text + fmt.Sprintf(", %s: %s", f.Cause.Class, f.Cause.Detail)
}

func confirmations(all []runs.Confirmation) string {
	var out []string
	for _, c := range all {
		text := c.Region
		if c.Probe != "" {
			text += " (" + c.Probe + ")"
		}
		if c.Sibling {
			text += ", same region"
		}
		out = append(out, text+": "+string(c.State))
	}
	return strings.Join(out, "; ")
}

// listed names some.
func listed(all []string) string {
	const most = 5
	if len(all) <= most {
		return strings.Join(all, ", ")
	}
	return strings.Join(all[:most], ", ") + fmt.Sprintf(" and %d more", len(all)-most)
}

// Source is the link to where an alert comes from: the first run that failed, or else the dashboard.
func (w Words) Source(a *runs.Alert) string {
	if link := w.run(a.Why.First); link != "" {
		return link
	}
	return w.dashboard(a)
}

// Identity is a hash of an alert's labels but for its severity: what rises is still the same.
func Identity(a *runs.Alert) string {
	labels := Labels(a)
	delete(labels, labelSeverity)
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		fmt.Fprintf(&b, "%q=%q\n", name, labels[name])
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:16])
}

// maxText bounds a summary, in bytes.
const maxText = 1000

// Clip shortens a text to so many bytes, and makes it one that JSON can hold.
func Clip(text string, most int) string {
	text = strings.ToValidUTF8(text, "?")
	if len(text) <= most {
		return text
	}
	const more = "..."
	return strings.ToValidUTF8(text[:most-len(more)], "") + more
}

// Text puts an alert into a form that a person reads.
func (w Words) Text(a *runs.Alert, whom string) string {
	var b strings.Builder
	status, at := "FIRING", "since "+a.StartsAt.UTC().Format("2006-01-02 15:04:05 UTC")
	if !a.Active() {
		status, at = "RESOLVED", at+" until "+a.EndsAt.UTC().Format("2006-01-02 15:04:05 UTC")
	}
	fmt.Fprintf(&b, "dry run, to %s: %s %s %s, %s\n", whom, status, a.Severity, a.Name, at)
	annotations := w.Annotations(a)
	line := func(name, value string) { fmt.Fprintf(&b, "  %-16s %s\n", name, printable(value)) }
	for _, name := range []string{"summary", "description"} {
		line(name, annotations[name])
		delete(annotations, name)
	}
	for _, name := range slices.Sorted(maps.Keys(annotations)) {
		line(name, annotations[name])
	}
	var labels []string
	all := Labels(a)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		labels = append(labels, name+"="+all[name])
	}
	line("labels", strings.Join(labels, " "))
	return b.String()
}

// printable keeps what a service answered from moving the cursor.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r <= 0x9f {
			return ' '
		}
		return r
	}, text)
}
