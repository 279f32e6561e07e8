// Package rulefile writes rules for Prometheus (2.42 or later) and vmalert (1.79 or later): those that guard the fleet, and by choice such as
// page for what the scenarios measure.
//
// Their queries are of the one PromQL that means the same to both. Where increase() and rate() do not (at the birth of a series, which with
// a new leader comes with all that has ever been counted), rules first record one counter for whoever leads, and take the difference of the
// greatest and the least of it.
package rulefile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"lastmile/dashboards"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// Options say what there is beside the guard set.
type Options struct {
	BurnRate bool // the workbook's rules on each objective
	Alerts   bool // the coordinator's own alerts, for Prometheus to deliver
	NoLeaks  bool // no rule of Prometheus' own on cache leaks: the coordinator delivers its alert itself. Alerts has one in its place.
}

// leaks is the group of the guard set that says what an alert of the coordinator says as well.
const leaks = "lastmile-leaks"

// Compose returns the text of a file of rules. The scenarios must be sound, with their regions resolved; only BurnRate and Alerts look at them.
func Compose(scenarios []scenario.Scenario, opts Options) string {
	var b strings.Builder
	b.WriteString(guard(dashboards.Rules(), opts.NoLeaks || opts.Alerts))
	sorted := slices.Clone(scenarios)
	slices.SortFunc(sorted, func(a, b scenario.Scenario) int { return strings.Compare(a.Name, b.Name) })
	for i := range sorted {
		if opts.BurnRate {
			for _, g := range burnGroups(&sorted[i]) {
				g.write(&b)
			}
		}
		if opts.Alerts {
			alertGroup(&sorted[i]).write(&b)
		}
	}
	return b.String()
}

// groupHead begins a group in the guard set.
const groupHead = "  - name: "

// guard returns the guard set, without the group on leaks where somebody else tells of them. Comments above a group belong to it.
func guard(text string, withoutLeaks bool) string {
	if !withoutLeaks {
		return text
	}
	var b strings.Builder
	leave := false
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(line, groupHead); ok {
			leave = strings.TrimSpace(name) == leaks
		}
		if !leave {
			b.WriteString(line)
		}
	}
	return b.String()
}

// group is rules that are evaluated together, one after another.
type group struct {
	name     string
	scenario string   // that all of it is about
	comments []string // lines above it
	interval time.Duration
	rules    []rule
}

// rule records a series or raises an alert.
type rule struct {
	record, alert string // one of them
	expr          string // lines
	labels        pairs
	annotations   pairs
}

// pairs are names with values, in the order in which they are written.
type pairs [][2]string

// write appends the group as YAML.
func (g *group) write(b *strings.Builder) {
	b.WriteString("\n")
	for _, line := range g.comments {
		fmt.Fprintf(b, "  # %s\n", line)
	}
	if len(g.rules) == 0 {
		return
	}
	fmt.Fprintf(b, "%s%s\n    interval: %s\n    rules:\n", groupHead, g.name, span(g.interval))
	for _, r := range g.rules {
		r.labels = append(pairs{{"scenario", g.scenario}}, r.labels...) // the query's answer has it too: without it rules of two scenarios look the same
		r.write(b)
	}
}

func (r *rule) write(b *strings.Builder) {
	if r.record != "" {
		fmt.Fprintf(b, "      - record: %s\n", r.record)
	} else {
		fmt.Fprintf(b, "      - alert: %s\n", r.alert)
	}
	b.WriteString("        expr: |\n")
	for line := range strings.Lines(r.expr) {
		fmt.Fprintf(b, "          %s\n", strings.TrimSuffix(line, "\n"))
	}
	r.labels.write(b, "labels")
	r.annotations.write(b, "annotations")
}

func (p pairs) write(b *strings.Builder, key string) {
	if len(p) == 0 {
		return
	}
	fmt.Fprintf(b, "        %s:\n", key)
	for _, pair := range p {
		fmt.Fprintf(b, "          %s: %s\n", pair[0], quoted(pair[1]))
	}
}

// quoted is a text as YAML has it in double quotes, whose escapes Go's are among. Only of what is no text nothing is kept.
func quoted(text string) string { return strconv.Quote(strings.ToValidUTF8(text, "\ufffd")) }

// plain is a text of the user's where templates are expanded, so that it comes out as it is.
func plain(text string) string { return strings.ReplaceAll(text, "{{", "{{`{{`}}") }

// span is a duration as Prometheus writes it, in its largest exact unit.
func span(d time.Duration) string {
	switch {
	case d%(24*time.Hour) == 0:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// ownLabels are those of every alert of a scenario: its team, and what it asks for itself.
func ownLabels(s *scenario.Scenario) pairs {
	var out pairs
	for _, name := range sortedKeys(s.Alerts.Labels) {
		out = append(out, [2]string{name, plain(s.Alerts.Labels[name])})
	}
	if s.Owner != "" {
		out = append(out, [2]string{"team", plain(s.Owner)})
	}
	return out
}

// withRunbook adds the scenario's runbook to annotations.
func withRunbook(s *scenario.Scenario, p pairs) pairs {
	if s.Runbook == "" {
		return p
	}
	return append(p, [2]string{"runbook_url", plain(s.Runbook)})
}

// alertNames are the alerts that a coordinator decides, with what each means.
func alertNames() pairs {
	return pairs{
		{runs.AlertOutage, "it fails across regions"},
		{runs.AlertDown, "hardly any run passes"},
		{runs.AlertDegraded, "it spends its error budget fast, on evidence"},
		{runs.AlertSlowBurn, "it spends its error budget too fast, on evidence"},
		{runs.AlertBlind, "too few runs are measured to tell how it is"},
		{runs.AlertCacheLeak, "a cache shows one user what is another's"},
	}
}
