// Package catalogue lists the metrics of both programs: names, types, labels and help texts. HELP and TYPE on /metrics are written from it,
// and dashboards, rules and tests are held against it.
package catalogue

import (
	"slices"
	"strings"
)

// Type is a metric's type in the words of the text exposition format.
type Type string

// The types. A summary here has a sum and a count, and no quantiles.
const (
	Counter   Type = "counter"
	Gauge     Type = "gauge"
	Histogram Type = "histogram"
	Summary   Type = "summary"
)

// Origin says which of the two programs writes a metric.
type Origin string

// The origins.
const (
	FromCoordinator Origin = "coordinator"
	FromProbe       Origin = "probe"
	FromBoth        Origin = "both"
)

// Metric describes one metric. Labels are in the order in which they are written; the le of a histogram is not among them.
type Metric struct {
	Name   string
	Type   Type
	Help   string
	Labels []string
	Origin Origin
}

// All lists every metric of both programs by name. The caller owns it.
func All() []Metric {
	all := slices.Concat(slotMetrics(), runMetrics(), stepMetrics(), edgeMetrics(), replicationMetrics(), linkMetrics(), sloMetrics(), alertMetrics(),
		fleetMetrics(), loadMetrics(), healthMetrics(), hubMetrics(), workerMetrics(), processMetrics())
	slices.SortFunc(all, func(a, b Metric) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// metricsOf makes the metrics of one origin from rows of name, type, labels and help. "L" among the labels stands for the three
// names of a combination.
func metricsOf(origin Origin, rows [][4]string) []Metric {
	out := make([]Metric, len(rows))
	for i, row := range rows {
		out[i] = Metric{Name: row[0], Type: Type(row[1]), Help: row[3], Origin: origin}
		for _, label := range strings.Fields(row[2]) {
			if label == "L" {
				out[i].Labels = append(out[i].Labels, "scenario", "region", "network")
				continue
			}
			out[i].Labels = append(out[i].Labels, label)
		}
	}
	return out
}
