package autonomy

import (
	"log/slog"
	"testing"
	"time"

	"lastmile/internal/runs"
)

// What a leader ordered that had been replaced is outdated where the plan of now says otherwise, and not before there was that plan.
func TestOutdated(t *testing.T) {
	plan := planOf(t, "new", "@every 10s")
	plan.Term, plan.MadeAt = 5, time.Now()
	p := New(slog.New(slog.DiscardHandler), &air{}, Options{Region: "us", Probe: "one", Dir: t.TempDir()})
	same := runs.NewAssignment(plan.Scenarios[0], "us", plan.Networks[0], plan.MadeAt.Truncate(time.Second))
	other := same
	other.Revision = "another"
	gone := same
	gone.Scenario.Name = "gone"
	for name, tc := range map[string]struct {
		a      runs.Assignment
		term   uint64
		stored time.Duration
		want   bool
	}{
		"another journey, late":       {other, 4, 10 * time.Second, true},
		"no longer in the plan":       {gone, 4, 10 * time.Second, true},
		"the same journey":            {same, 4, 10 * time.Second, false},
		"ordered before the plan":     {other, 4, -time.Second, false},
		"within what clocks may say":  {other, 4, time.Second, false},
		"of the leader of now":        {other, 5, 10 * time.Second, false},
		"of one that is not known of": {other, 6, 10 * time.Second, false},
		"of nobody":                   {other, 0, 10 * time.Second, false},
	} {
		tc.a.Term = tc.term
		p.plan = nil
		if p.Outdated(&tc.a, plan.MadeAt.Add(tc.stored)) {
			t.Errorf("%s: got outdated without a plan", name)
		}
		p.plan = plan
		if got := p.Outdated(&tc.a, plan.MadeAt.Add(tc.stored)); got != tc.want {
			t.Errorf("%s: got outdated %v, want %v", name, got, tc.want)
		}
	}
}
