package budget

import (
	"slices"
	"strings"
	"testing"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

func TestBudgets(t *testing.T) {
	ms := func(n int) scenario.Duration { return scenario.Duration(time.Duration(n) * time.Millisecond) }
	measured := runs.Step{
		State: runs.StepPassed, DurationMS: 900, Requests: 12, Bytes: 5000,
		Vitals: &runs.Vitals{TTFB: new(80.0), FCP: new(300.0), LCP: new(1200.0), CLS: new(0.12), INP: new(64.0)},
	}
	bare := runs.Step{State: runs.StepPassed}
	failed := runs.Step{State: runs.StepFailed, DurationMS: 900}
	for name, tt := range map[string]struct {
		step   runs.Step
		budget *scenario.Budget
		state  runs.StepState
		want   []string // how each warning begins
	}{
		"none":        {measured, nil, runs.StepPassed, nil},
		"no bounds":   {measured, &scenario.Budget{}, runs.StepPassed, nil},
		"just enough": {measured, &scenario.Budget{Duration: ms(900), TTFB: ms(80), FCP: ms(300), LCP: ms(1200), INP: ms(64), CLS: 0.12, Requests: 12, Bytes: 5000}, runs.StepPassed, nil},
		"all too much": {measured, &scenario.Budget{Duration: ms(899), TTFB: ms(79), FCP: ms(299), LCP: ms(1199), INP: ms(63), CLS: 0.1, Requests: 11, Bytes: 4999}, runs.StepDegraded,
			[]string{"duration: got 900 ms, want at most 899 ms", "ttfb: got 80 ms", "fcp: got 300 ms", "lcp: got 1200 ms", "inp: got 64 ms", "cls: got 0.120, want at most 0.100",
				"requests: got 12, want at most 11", "bytes: got 5000, want at most 4999"}},
		"not reported": {bare, &scenario.Budget{TTFB: ms(1), FCP: ms(1), LCP: ms(1), INP: ms(1), CLS: 0.1}, runs.StepPassed,
			[]string{"ttfb: the page reported none", "fcp: the", "lcp: the", "inp: the", "cls: the"}},
		"a breach first": {runs.Step{State: runs.StepPassed, DurationMS: 2, Warnings: []string{"noted"}}, &scenario.Budget{Duration: ms(1), LCP: ms(1)}, runs.StepDegraded,
			[]string{"duration: got 2 ms", "noted", "lcp: the page reported none"}},
		"failed already": {failed, &scenario.Budget{Duration: ms(1)}, runs.StepFailed, nil},
	} {
		done := tt.step
		Check(&done, tt.budget)
		same := slices.EqualFunc(done.Warnings, tt.want, strings.HasPrefix)
		if done.State != tt.state || !same {
			t.Errorf("%s: got %s with %q, want %s with %q", name, done.State, done.Warnings, tt.state, tt.want)
		}
	}
}
