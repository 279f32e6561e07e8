package meters

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"lastmile/internal/scenario"
)

// The shape of the buckets of run durations: a factor of 1.35 keeps a P95 read from them within about 15 %.
const (
	shortestRun    = 10 * time.Millisecond
	bucketFactor   = 1.35
	unknownTimeout = time.Minute // of a scenario that is no longer defined
)

// shape is what bounds are worked out from.
type shape struct {
	lag, lateness     bool
	shortest, longest time.Duration
	thresholds        string
}

// shaped returns the bounds of a shape, which histograms share. The caller holds the lock.
func (m *Meters) shaped(of shape, thresholds ...time.Duration) []float64 {
	of.thresholds = fmt.Sprint(thresholds)
	known := m.shapes[of]
	if known == nil {
		switch {
		case of.lag:
			known = lagBuckets()
		case of.lateness:
			known = latenessBuckets()
		default:
			known = buckets(of.shortest, of.longest, thresholds)
		}
		m.shapes[of] = known
	}
	return known
}

// runShape is that of the durations of a scenario's runs on a network that adds a round trip of rtt, 0 where that is not known. A successful run
// takes at least two round trips (connect, request) and at most the scenario's timeout.
func runShape(rtt, timeout time.Duration) shape {
	return shape{shortest: max(shortestRun, 2*rtt), longest: timeout}
}

// stepShape is that of a step's durations: one over a connection that is there takes one round trip.
func stepShape(rtt, timeout time.Duration) shape {
	return shape{shortest: max(shortestRun, rtt), longest: timeout}
}

// buckets returns the upper bounds in seconds for what takes from shortest to longest. The thresholds of latency objectives are bounds
// themselves, so that the share of what is within one can be read exactly.
func buckets(shortest, longest time.Duration, thresholds []time.Duration) []float64 {
	exact := []float64{longest.Seconds()}
	for _, t := range thresholds {
		if t > 0 && t < longest {
			exact = append(exact, t.Seconds())
		}
	}
	bounds := slices.Clone(exact)
	for b := shortest.Seconds(); b < longest.Seconds(); b *= bucketFactor {
		if !slices.ContainsFunc(exact, func(e float64) bool { return b < e*1.1 && e < b*1.1 }) {
			bounds = append(bounds, threeDigits(b))
		}
	}
	slices.Sort(bounds)
	return slices.Compact(bounds)
}

// threeDigits rounds to three significant digits, for le labels that a person can read.
func threeDigits(x float64) float64 {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 3, 64), 64)
	if err != nil {
		return x
	}
	return rounded
}

// lagBuckets are the bounds in seconds of the dispatcher's lag: 1 ms to a minute.
func lagBuckets() []float64 {
	var bounds []float64
	for b := 0.001; b < 60; b *= 1.5 {
		bounds = append(bounds, threeDigits(b))
	}
	return append(bounds, 60)
}

// latenessBuckets are the bounds in seconds of a link's lateness. Beyond half a millisecond, or 0.5 % of the round trip where that is more, a
// link is off its profile.
func latenessBuckets() []float64 {
	return []float64{0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1}
}

// thresholds lists the durations that a scenario's objectives ask for of a step, or of the whole run where it is "".
func thresholds(s *scenario.Scenario, step string) []time.Duration {
	var out []time.Duration
	for _, o := range s.SLOs {
		if o.SLI == scenario.SLILatency && o.Step == step {
			out = append(out, o.Threshold.D())
		}
	}
	return out
}
