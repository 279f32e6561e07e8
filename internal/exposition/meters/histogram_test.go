package meters

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"lastmile/internal/exposition/sheet"
)

// lines are the series that the histograms write.
func lines(h *histograms, l sheet.Labels, known *memo) []string {
	s := sheet.New(100)
	h.write(s, l, known)
	var b bytes.Buffer
	s.WritePrometheus(&b)
	var out []string
	for line := range strings.Lines(b.String()) {
		if line[0] != '#' {
			out = append(out, strings.TrimSuffix(line, "\n"))
		}
	}
	return out
}

// TestHistograms has values on a bound be within it, and looks at what is written before and after each change: what was kept must never be shown
// once there is something new.
func TestHistograms(t *testing.T) {
	known := &memo{}
	step := sheet.Labels(nil).With("step", "a \"{\\\n} 1")
	regions := []sheet.Labels{sheet.Labels(nil).With("region", "eu"), sheet.Labels(nil).With("region", "u } s")}
	var sets [2]histograms
	for i := range sets {
		h := newHistograms()
		run := h.open("lastmile_run_duration_seconds", nil, []float64{0.1, 0.5})
		for _, v := range []float64{0, 0.1, 0.100001, 0.5, 1.5, -1, math.NaN(), math.Inf(1)}[i:] {
			h.add(run, v)
		}
		sets[i] = h
	}
	check := func(i int, want ...string) {
		t.Helper()
		for range 2 { // the second time from what is kept
			if got := lines(&sets[i], regions[i], known); strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	}
	eu := []string{
		`lastmile_run_duration_seconds_bucket{region="eu",le="0.1"} 2`, `lastmile_run_duration_seconds_bucket{region="eu",le="0.5"} 4`,
		`lastmile_run_duration_seconds_bucket{region="eu",le="+Inf"} 5`,
		`lastmile_run_duration_seconds_sum{region="eu"} 2.200001`, `lastmile_run_duration_seconds_count{region="eu"} 5`,
	}
	check(0, eu...)
	check(1, `lastmile_run_duration_seconds_bucket{region="u } s",le="0.1"} 1`, `lastmile_run_duration_seconds_bucket{region="u } s",le="0.5"} 3`,
		`lastmile_run_duration_seconds_bucket{region="u } s",le="+Inf"} 4`,
		`lastmile_run_duration_seconds_sum{region="u } s"} 2.200001`, `lastmile_run_duration_seconds_count{region="u } s"} 4`)
	opened := sets[0].open("lastmile_step_duration_seconds", step, []float64{1})
	of := `{region="eu",step="a \"{\\\n} 1"`
	check(0, append(eu, `lastmile_step_duration_seconds_bucket`+of+`,le="1"} 0`, `lastmile_step_duration_seconds_bucket`+of+`,le="+Inf"} 0`,
		`lastmile_step_duration_seconds_sum`+of+`} 0`, `lastmile_step_duration_seconds_count`+of+`} 0`)...)
	sets[0].add(opened, 1e6)
	check(0, append(eu, `lastmile_step_duration_seconds_bucket`+of+`,le="1"} 0`, `lastmile_step_duration_seconds_bucket`+of+`,le="+Inf"} 1`,
		`lastmile_step_duration_seconds_sum`+of+`} 1000000`, `lastmile_step_duration_seconds_count`+of+`} 1`)...)
}
