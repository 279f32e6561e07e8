package meters

import (
	"bytes"
	"math"

	"github.com/VictoriaMetrics/metrics"

	"lastmile/internal/exposition/sheet"
)

// histograms are those of one thing that is observed, in a set of their own. What the set writes is kept until one of them changes: most have not
// when the next scrape comes. It is the lock of Meters that guards them.
type histograms struct {
	set     *metrics.Set
	changed bool // since the set was written last
	columns sheet.Columns
}

func newHistograms() histograms { return histograms{set: metrics.NewSet(), changed: true} }

// open adds a histogram. The labels are its own; those that all in the set have in common come with write.
func (h *histograms) open(name string, own sheet.Labels, bounds []float64) *metrics.PrometheusHistogram {
	h.changed = true
	if len(own) > 0 {
		name += "{" + string(own) + "}"
	}
	return h.set.GetOrCreatePrometheusHistogramExt(name, bounds)
}

// histogramSeries is the number of series of a histogram: its buckets, le="+Inf", sum and count.
func histogramSeries(bounds []float64) int { return len(bounds) + 3 }

// add has a histogram of the set take up a value. What is negative, infinite or no number is left out.
func (h *histograms) add(to *metrics.PrometheusHistogram, v float64) {
	if v >= 0 && !math.IsInf(v, 1) { // the sum would be infinite for good
		to.Update(v)
		h.changed = true
	}
}

// write adds the histograms to a sheet.
func (h *histograms) write(s *sheet.Sheet, l sheet.Labels, known *memo) {
	if h.changed {
		known.text.Reset()
		h.set.WritePrometheus(&known.text)
		h.columns = known.layouts.Split(known.text.Bytes(), h.columns)
		h.changed = false
	}
	s.Columns(h.columns, l)
}

// memo is what is worked out once for all combinations.
type memo struct {
	ranks   ranks
	layouts sheet.Layouts
	text    bytes.Buffer // of a set
}
