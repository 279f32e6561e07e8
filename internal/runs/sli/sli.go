// Package sli says what a run is for an objective: a slot that was good, bad or slow, or so many events.
package sli

import (
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// Counts returns what a result is for an objective that counts runs: one slot, of which exactly one field is 1. For availability that is what its state
// says. For latency a failed run is bad; one whose times are not to be trusted is invalid, whatever its state; one in which the objective's
// step did not run, though nothing failed, is skipped; and one that took longer than the threshold is slow. Of an objective that counts
// events see Events.
func Counts(o *scenario.SLO, r *runs.Result) slo.Counts {
	if o.SLI != scenario.SLILatency || !r.State.Measured() {
		return r.State.Counts()
	}
	switch took, step, _ := Took(o, r); {
	case len(r.Tainted) > 0:
		return slo.Counts{Invalid: 1}
	case r.State == runs.StateFailed || step == runs.StepFailed: // an optional one
		return slo.Counts{Bad: 1}
	case step == runs.StepSkipped:
		return slo.Counts{Skipped: 1}
	case took > runs.Milliseconds(o.Threshold.D()):
		return slo.Counts{Slow: 1}
	}
	return slo.Counts{Good: 1}
}

// Took is how long what a latency objective is about took, in milliseconds, what became of it, and why where that is a failed step; a step that a
// result does not have is skipped.
func Took(o *scenario.SLO, r *runs.Result) (ms float64, state runs.StepState, why *runs.Cause) {
	if o.Step == "" {
		return r.DurationMS, runs.StepPassed, nil
	}
	for i := range r.Steps {
		if s := &r.Steps[i]; s.ID == o.Step {
			return s.DurationMS, s.State, s.Cause
		}
	}
	return 0, runs.StepSkipped, nil
}

// Events counts the good and the bad events of a result for an objective with sli cache-hit, routing or freshness; there are none in a run
// that was not measured, and none for any other objective. Only first attempts count: of a step that polls or retries, the others are what
// no user had. expected is the region that ought to serve the run's (scenario.ExpectedRegion); within is how soon a write must be visible.
func Events(o *scenario.SLO, r *runs.Result, expected string, within time.Duration) (n slo.Counts) {
	if !r.State.Measured() {
		return n
	}
	event := func(good bool) {
		if good {
			n.Good++
		} else {
			n.Bad++
		}
	}
	switch o.SLI {
	case scenario.SLICacheHit:
		for i := range r.Requests {
			if q := &r.Requests[i]; CacheAnswer(q) && Concerns(o, q) {
				event(q.Cache.State.Hit())
			}
		}
	case scenario.SLIRouting:
		for i := range r.Requests {
			if q := &r.Requests[i]; !q.Again && q.ServedRegion != "" {
				event(q.ServedRegion == expected)
			}
		}
	case scenario.SLIFreshness: // a reader's that could tell, and whose times are to be trusted
		if rep := r.Replication; rep != nil && (rep.Lost || rep.LagMS != nil && len(r.Tainted) == 0) {
			event(!rep.Lost && rep.LagMS != nil && *rep.LagMS <= runs.Milliseconds(within))
		}
	}
	return n
}

// CacheAnswer reports whether a shared cache answered, or could have: in the first attempt of its step, over the network.
func CacheAnswer(q *runs.Request) bool {
	return !q.Again && q.BrowserCache == "" && q.Status != 0 && q.Cache.State.Counts()
}

// Concerns reports whether an objective with sli cache-hit is about a request.
func Concerns(o *scenario.SLO, q *runs.Request) bool {
	return o.Match == "" || scenario.Glob(o.Match, q.URL)
}
