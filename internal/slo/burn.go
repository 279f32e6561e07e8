package slo

import (
	"math"
	"time"
)

// Burn is the pace at which error budget is spent: 1 spends exactly the whole
// budget in its period, 2 in half of it.
type Burn float64

// BurnRate is bad / ((1-T) planned), over any window. Bad is Counts.Lost;
// planned is the slots of the schedule in that window, less skipped ones, so
// that lost data cannot raise the pace. With nothing bad it is 0, also where
// nothing was planned. A bad slot was planned: planned below bad counts as bad,
// and no burn exceeds MaxBurn. Negative numbers count as 0. Here and below the
// objective must be valid (Objective.Validate).
func BurnRate(bad, planned int64, o Objective) Burn {
	if bad <= 0 {
		return 0
	}
	planned = max(planned, bad)
	return Burn(float64(bad) / (float64(o.Budget()) * float64(planned)))
}

// MaxBurn is the burn of a total outage, 1/(1-T): the greatest there can be.
func MaxBurn(o Objective) Burn { return Burn(1 / float64(o.Budget())) }

// BudgetRemaining is 1 - bad / ((1-T) plannedInWindow): 1 while nothing is
// bad, 0 when the budget is spent to the last slot, negative beyond.
// PlannedInWindow is what the schedule plans for the objective's whole window,
// less skipped slots, which nobody owes; also while that window has only begun:
// counting only the slots so far, one early failure would spend the whole budget.
func BudgetRemaining(bad, plannedInWindow int64, o Objective) Ratio {
	return Ratio(1 - float64(BurnRate(bad, plannedInWindow, o)))
}

// TimeToExhaustion is how long the remaining budget lasts at this pace,
// remaining x period / burn, where period is the objective's window. It is 0
// when nothing remains. It is false when the budget lasts for ever at this
// pace, or for longer than a time.Duration can say (292 years). It ignores that
// old failures leave a rolling window, so it errs on the early side.
func TimeToExhaustion(remaining Ratio, burn Burn, period Window) (time.Duration, bool) {
	if remaining <= 0 {
		return 0, true
	}
	ns := float64(remaining) * float64(period) / float64(burn)
	if !(burn > 0) || !(ns < math.MaxInt64) {
		return 0, false
	}
	return time.Duration(ns), true
}

// Severity is how an alert is delivered.
type Severity string

// The severities of the burn rules.
const (
	SeverityPage   Severity = "page"   // wake somebody
	SeverityTicket Severity = "ticket" // look at it in working hours
)

// BurnRule is a multiwindow burn-rate alert: the long window shows that the
// spending matters, the short one that it still goes on.
type BurnRule struct {
	Severity    Severity
	Long, Short Window
	Factor      Burn  // both windows must burn faster than this
	BudgetShare Ratio // of the period's budget, spent when Long has burnt at Factor
}

// WorkbookRules are the four rules for a period of 30 days in The Site
// Reliability Workbook (Beyer et al., O'Reilly 2018), chapter 5, "Multiwindow,
// Multi-Burn-Rate Alerts". The caller owns the slice.
//
// By themselves they suit services with many events: at one run a minute and
// 99.9 % a single failure meets the first. Ask for evidence as well.
func WorkbookRules() []BurnRule {
	const hour = Window(time.Hour)
	return []BurnRule{
		{Severity: SeverityPage, Long: hour, Short: hour / 12, Factor: 14.4, BudgetShare: 0.02},
		{Severity: SeverityPage, Long: 6 * hour, Short: hour / 2, Factor: 6, BudgetShare: 0.05},
		{Severity: SeverityTicket, Long: 24 * hour, Short: 2 * hour, Factor: 3, BudgetShare: 0.10},
		{Severity: SeverityTicket, Long: 72 * hour, Short: 6 * hour, Factor: 1, BudgetShare: 0.10},
	}
}

// Factor is the burn that spends share of the period's budget within long:
// share x period / long (the Workbook, chapter 5). A long of zero or less has
// none: it is +Inf, which no burn exceeds.
func Factor(share Ratio, period, long Window) Burn {
	if long <= 0 {
		return Burn(math.Inf(1))
	}
	return Burn(float64(share) * float64(period) / float64(long))
}

// CanFire is whether a total outage would meet the rule. One that cannot fire
// is an error in the configuration: 14.4 never does at 93 % or below.
func (r BurnRule) CanFire(o Objective) bool { return r.Met(MaxBurn(o), MaxBurn(o)) }

// Met is the rule's condition: both windows burn faster than the factor, and
// not merely as fast.
func (r BurnRule) Met(long, short Burn) bool { return long > r.Factor && short > r.Factor }
