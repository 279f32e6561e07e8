package rulefile

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"lastmile/internal/scenario"
)

// What is said of the coordinator's alerts when Prometheus delivers them.
const (
	alertInterval = 15 * time.Second
	// alertPatience is how long an alert outlives the last that was heard of it: a takeover or a restart does not end it. It is less than the
	// 15 min for which the end of an alert is shown, and more than the time after which it pages that there is no coordinator.
	alertPatience = 5 * time.Minute
	// identity are the labels of an alert.
	identity = "severity, scope, scenario, region, network, slo"
)

// alertGroup are the coordinator's own alerts on a scenario, under the names and labels under which the coordinator sends them.
func alertGroup(s *scenario.Scenario) *group {
	g := &group{name: "lastmile-alerts-" + s.Name, scenario: s.Name, interval: alertInterval, comments: []string{
		"What the coordinator decided about " + s.Name + ", for Prometheus to deliver. Not beside --alertmanager and its like on the same coordinator.",
	}}
	for _, alert := range alertNames() {
		name, what := alert[0], alert[1]
		latest := func(metric string) string {
			return fmt.Sprintf("max by (%s) (last_over_time(%s{alertname=%q,scenario=%q}[%s])) == 1", identity, metric, name, s.Name, span(alertPatience))
		}
		where := "{{ if $labels.region }} in {{ $labels.region }}{{ end }}{{ if $labels.network }}, network {{ $labels.network }}{{ end }}" +
			"{{ if $labels.slo }}, objective {{ $labels.slo }}{{ end }}"
		g.rules = append(g.rules, rule{
			alert:  name,
			expr:   latest("lastmile_alert_active") + "\nunless\n" + latest("lastmile_alert_inhibited"),
			labels: ownLabels(s),
			annotations: withRunbook(s, pairs{
				{"summary", s.Name + where + ": " + what},
				{"description", "The coordinator decided it. It knows why (runs, burn, regions, first failure): its own notifications say all that, metrics cannot."},
				{"action", "Look at the dashboard of the scenario, and at the burn, coverage and evidence of its objectives."},
			}),
		})
	}
	return g
}

func sortedKeys(m map[string]string) []string {
	return slices.SortedFunc(maps.Keys(m), strings.Compare)
}
