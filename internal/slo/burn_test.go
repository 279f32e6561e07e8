package slo_test

import (
	"math"
	"testing"
	"time"

	"lastmile/internal/slo"
)

const (
	hour = slo.Window(time.Hour)
	day  = 24 * hour
)

func near(got, want, relative float64) bool {
	return got == want || math.Abs(got-want) <= relative*math.Abs(want)
}

func TestCountsSums(t *testing.T) {
	c := slo.Counts{Good: 100, Bad: 20, Slow: 3, Invalid: 4, Missing: 5, Skipped: 6, Pending: 7}
	for name, test := range map[string]struct{ got, want int64 }{
		"planned":    {c.Planned(), 145},
		"due":        {c.Due(), 132},
		"measured":   {c.Measured(), 123},
		"unmeasured": {c.Unmeasured(), 9},
		"lost":       {c.Lost(), 23},
	} {
		if test.got != test.want {
			t.Errorf("%s = %d, want %d", name, test.got, test.want)
		}
	}
	d := slo.Counts{Good: 1, Bad: 2, Slow: 3, Invalid: 4, Missing: 5, Skipped: 6, Pending: 7}
	if got, want := c.Add(d), (slo.Counts{Good: 101, Bad: 22, Slow: 6, Invalid: 8, Missing: 10, Skipped: 12, Pending: 14}); got != want {
		t.Errorf("Add = %+v, want %+v", got, want)
	}
	if got := c.Add(d).Sub(d); got != c {
		t.Errorf("Add then Sub = %+v, want %+v", got, c)
	}
}

func TestBoundsAndCoverage(t *testing.T) {
	for name, test := range map[string]struct {
		counts          slo.Counts
		lower, upper    slo.Ratio
		coverage        slo.Ratio
		nothingMeasured bool
	}{
		"all good":               {slo.Counts{Good: 10}, 1, 1, 1, false},
		"one bad of ten":         {slo.Counts{Good: 9, Bad: 1}, 0.9, 0.9, 1, false},
		"slow is not good":       {slo.Counts{Good: 8, Slow: 2}, 0.8, 0.8, 1, false},
		"lost data widens":       {slo.Counts{Good: 6, Bad: 1, Invalid: 1, Missing: 2}, 0.6, 0.9, 0.7, false},
		"silence says nothing":   {slo.Counts{Missing: 5}, 0, 1, 0, false},
		"maintenance is no loss": {slo.Counts{Good: 4, Skipped: 6}, 1, 1, 1, false},
		"not due yet":            {slo.Counts{Good: 4, Pending: 1}, 1, 1, 1, false},
		"nothing planned":        {slo.Counts{}, 0, 0, 0, true},
		"nothing due":            {slo.Counts{Skipped: 3, Pending: 2}, 0, 0, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			lower, upper, ok := test.counts.Bounds()
			if lower != test.lower || upper != test.upper || ok == test.nothingMeasured {
				t.Errorf("Bounds = %v, %v, %v, want %v, %v, %v",
					lower, upper, ok, test.lower, test.upper, !test.nothingMeasured)
			}
			coverage, ok := test.counts.Coverage()
			if coverage != test.coverage || ok == test.nothingMeasured {
				t.Errorf("Coverage = %v, %v, want %v, %v", coverage, ok, test.coverage, !test.nothingMeasured)
			}
		})
	}
}

func TestBurnAndBudget(t *testing.T) {
	for name, test := range map[string]struct {
		bad, planned int64
		objective    slo.Objective
		burn         slo.Burn
		remaining    slo.Ratio
	}{
		"nothing bad":                      {0, 43200, 0.999, 0, 1},
		"nothing planned":                  {0, 0, 0.999, 0, 1},
		"a quarter spent":                  {10, 40000, 0.999, 0.25, 0.75},
		"spent to the last slot":           {1, 1000, 0.999, 1, 0},
		"overspent":                        {3, 1000, 0.999, 3, -2},
		"one failure an hour":              {1, 60, 0.999, 1 / 0.06, 1 - 1/0.06},
		"all bad":                          {60, 60, 0.95, 20, -19},
		"a bad slot counts as planned":     {2, 0, 0.95, 20, -19},
		"negative numbers count as no bad": {-1, -5, 0.95, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := slo.BurnRate(test.bad, test.planned, test.objective); !near(float64(got), float64(test.burn), 1e-12) {
				t.Errorf("BurnRate = %v, want %v", got, test.burn)
			}
			got := slo.BudgetRemaining(test.bad, test.planned, test.objective)
			if math.Abs(float64(got-test.remaining)) > 1e-9 || (test.remaining == 0 && got != 0) {
				t.Errorf("BudgetRemaining = %v, want %v", got, test.remaining)
			}
		})
	}
}

func TestTimeToExhaustion(t *testing.T) {
	for name, test := range map[string]struct {
		remaining slo.Ratio
		burn      slo.Burn
		want      time.Duration
		ok        bool
	}{
		"full budget at pace 1":    {1, 1, 720 * time.Hour, true},
		"full budget at page pace": {1, 14.4, 50 * time.Hour, true},
		"half left":                {0.5, 6, 60 * time.Hour, true},
		"already spent":            {0, 1, 0, true},
		"overspent, now quiet":     {-0.5, 0, 0, true},
		"not burning":              {1, 0, 0, false},
		"longer than can be said":  {1, 1e-12, 0, false},
		"no burn known":            {1, slo.Burn(math.NaN()), 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := slo.TimeToExhaustion(test.remaining, test.burn, 30*day)
			if (got-test.want).Abs() > time.Microsecond || ok != test.ok {
				t.Errorf("TimeToExhaustion = %v, %v, want %v, %v", got, ok, test.want, test.ok)
			}
		})
	}
}

func TestWorkbookRulesAgreeWithTheirFormula(t *testing.T) {
	rules := slo.WorkbookRules()
	want := []string{"page 1h 5m", "page 6h 30m", "ticket 1d 2h", "ticket 3d 6h"}
	if len(rules) != len(want) {
		t.Fatalf("%d rules, want %d", len(rules), len(want))
	}
	for i, r := range rules {
		if got := string(r.Severity) + " " + r.Long.String() + " " + r.Short.String(); got != want[i] {
			t.Errorf("rule %d is %q, want %q", i, got, want[i])
		}
		if got := slo.Factor(r.BudgetShare, 30*day, r.Long); !near(float64(got), float64(r.Factor), 1e-12) {
			t.Errorf("rule %d: the formula gives %v, the table %v", i, got, r.Factor)
		}
	}
	if got := slo.Factor(0.02, 30*day, 0); !math.IsInf(float64(got), 1) {
		t.Errorf("factor of no window = %v, want +Inf", got)
	}
}

func TestRuleThatCannotFire(t *testing.T) {
	rules := slo.WorkbookRules()
	for _, test := range []struct {
		rule      int
		objective slo.Objective
		want      bool
	}{
		{0, 0.999, true}, {0, 0.9306, true}, {0, 0.9305, false}, {0, 0.9, false},
		{1, 0.834, true}, {1, 0.833, false},
		{2, 0.67, true}, {2, 0.66, false},
		{3, 0.01, true}, {3, 1e-6, true},
	} {
		if got := rules[test.rule].CanFire(test.objective); got != test.want {
			t.Errorf("rule %d at %v: CanFire = %v, want %v", test.rule, test.objective, got, test.want)
		}
	}
	if got := slo.MaxBurn(0.99); got != 100 {
		t.Errorf("MaxBurn(99%%) = %v, want 100", got)
	}
}

func TestRuleNeedsBothWindowsOverTheFactor(t *testing.T) {
	rule := slo.WorkbookRules()[0]
	for _, test := range []struct {
		long, short slo.Burn
		want        bool
	}{
		{14.5, 14.5, true},
		{100, 0, false},    // over already
		{0, 100, false},    // only a moment
		{14.4, 100, false}, // as fast is not faster
		{100, 14.4, false},
		{slo.BurnRate(144, 1000, 0.99), 100, false},
		{slo.BurnRate(145, 1000, 0.99), 100, true},
		{slo.BurnRate(1, 60, 0.999), slo.BurnRate(1, 5, 0.999), true}, // why evidence is asked for as well
		{slo.Burn(math.NaN()), 100, false},
	} {
		if got := rule.Met(test.long, test.short); got != test.want {
			t.Errorf("Met(%v, %v) = %v, want %v", test.long, test.short, got, test.want)
		}
	}
}
