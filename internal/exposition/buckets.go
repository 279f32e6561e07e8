package exposition

import (
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

// runBuckets returns the upper bounds in seconds for the durations of a scenario's runs on a network that adds a round trip of rtt,
// 0 where that is not known. A successful run takes at least two round trips (connect, request) and at most the scenario's timeout.
// The thresholds of latency objectives are bounds themselves, so that the share of runs within one can be read exactly.
func runBuckets(rtt, timeout time.Duration, thresholds []time.Duration) []float64 {
	shortest := max(shortestRun, 2*rtt)
	exact := []float64{timeout.Seconds()}
	for _, t := range thresholds {
		if t > 0 && t < timeout {
			exact = append(exact, t.Seconds())
		}
	}
	bounds := slices.Clone(exact)
	for b := shortest.Seconds(); b < timeout.Seconds(); b *= bucketFactor {
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

// thresholds lists the run durations that a scenario's objectives ask for.
func thresholds(s *scenario.Scenario) []time.Duration {
	var out []time.Duration
	for _, o := range s.SLOs {
		if o.SLI == scenario.SLILatency && o.Step == "" {
			out = append(out, o.Threshold.D())
		}
	}
	return out
}
