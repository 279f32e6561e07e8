// Package budget holds a step against what it may cost.
package budget

import (
	"fmt"
	"slices"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// Check degrades a passed step that cost more than its budget allows. What the page did not report is told and held against
// nobody: a page without text or pictures has no largest paint.
func Check(done *runs.Step, budget *scenario.Budget) {
	if budget == nil || done.State != runs.StepPassed {
		return
	}
	var breaches, unknown []string
	breach := func(format string, args ...any) { breaches = append(breaches, fmt.Sprintf(format, args...)) }
	if limit := runs.Milliseconds(budget.Duration.D()); limit > 0 && done.DurationMS > limit {
		breach("duration: got %.0f ms, want at most %.0f ms", done.DurationMS, limit)
	}
	var vitals runs.Vitals
	if done.Vitals != nil {
		vitals = *done.Vitals
	}
	for _, v := range []struct {
		name  string
		limit time.Duration
		got   *float64
	}{
		{"ttfb", budget.TTFB.D(), vitals.TTFB},
		{"fcp", budget.FCP.D(), vitals.FCP},
		{"lcp", budget.LCP.D(), vitals.LCP},
		{"inp", budget.INP.D(), vitals.INP},
	} {
		switch {
		case v.limit == 0:
		case v.got == nil:
			unknown = append(unknown, unreported(v.name))
		case *v.got > runs.Milliseconds(v.limit):
			breach("%s: got %.0f ms, want at most %.0f ms", v.name, *v.got, runs.Milliseconds(v.limit))
		}
	}
	switch {
	case budget.CLS == 0:
	case vitals.CLS == nil:
		unknown = append(unknown, unreported("cls"))
	case *vitals.CLS > budget.CLS:
		breach("cls: got %.3f, want at most %.3f", *vitals.CLS, budget.CLS)
	}
	if budget.Requests > 0 && done.Requests > budget.Requests {
		breach("requests: got %d, want at most %d", done.Requests, budget.Requests)
	}
	if budget.Bytes > 0 && done.Bytes > int64(budget.Bytes) {
		breach("bytes: got %d, want at most %d", done.Bytes, int64(budget.Bytes))
	}
	if len(breaches) > 0 {
		done.State = runs.StepDegraded
	}
	// The first is why the run is degraded.
	done.Warnings = slices.Concat(breaches, done.Warnings, unknown)
}

func unreported(vital string) string {
	return vital + ": the page reported none, so its budget was not checked"
}
