package httprunner

import (
	"context"
	"fmt"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// minEvery bounds how fast a step polls.
const minEvery = 10 * time.Millisecond

// Step carries out one http step: the request, with its redirects; the assertions; then the variables, which are taken from a
// failed response too, as far as they are there, so that a step which cleans up later knows what to remove.
//
// A step that polls repeats its request until the assertions hold. Its duration is then the time from the first request's
// start to the end of the first success. The end of Poll.For cuts off an attempt under way; the cause is that of the last
// attempt that was not cut off, if there was one.
//
// ctx ends at the step's limit, which is the target's failure (class timeout), or is cancelled, which is ours (a *runs.Fault).
func (s *Session) Step(ctx context.Context, step *scenario.Step, scope *vars.Scope) (runs.Step, error) {
	p, err := newPlan(step, scope, s.options.UserAgent, s.paths)
	if err != nil {
		return runs.Step{State: runs.StepFailed, Cause: causef(runs.ClassScript, "%s", scope.Redact(err.Error()))}, nil
	}
	e := &exchange{session: s, plan: p, began: time.Now(), out: runs.Step{State: runs.StepPassed}}
	if step.Poll == nil {
		err = e.once(ctx)
	} else {
		err = e.poll(ctx, step.Poll)
	}
	e.out.DurationMS = runs.Milliseconds(max(e.ended.Sub(e.began), 0))
	if e.out.Cause != nil {
		e.out.State = runs.StepFailed
	}
	return e.out, err
}

// once makes a single attempt and takes the variables out of it.
func (e *exchange) once(ctx context.Context) error {
	response, err := e.attempt(ctx)
	if response == nil || err != nil {
		return err
	}
	if missing := response.extract(); e.out.Cause == nil {
		e.out.Cause = missing
	}
	return nil
}

// poll makes attempts until one succeeds or the poll's time is up.
func (e *exchange) poll(ctx context.Context, poll *scenario.Poll) error {
	bounded, cancel := context.WithTimeout(ctx, poll.For.D())
	defer cancel()
	for {
		began, last := time.Now(), e.out.Cause
		e.out.Attempts++
		err := e.once(bounded)
		if err != nil || e.out.Cause == nil || e.out.Cause.Class == runs.ClassBlockedHost { // which no waiting would change
			return err
		}
		if bounded.Err() != nil && last != nil {
			e.out.Cause = last
		}
		select {
		case <-time.After(max(poll.Every.D(), minEvery) - time.Since(began)):
		case <-bounded.Done():
		}
		if bounded.Err() != nil {
			return e.giveUp(ctx)
		}
	}
}

// giveUp ends a poll whose time is up.
func (e *exchange) giveUp(ctx context.Context) error {
	e.ended = time.Now()
	if err := stopped(ctx); err != nil {
		e.out.Cause = nil
		return err
	}
	suffix := fmt.Sprintf(", after %d attempts in %s", e.out.Attempts, e.ended.Sub(e.began).Round(time.Millisecond))
	e.out.Cause = causef(e.out.Cause.Class, "%s%s", clip(e.out.Cause.Detail, maxDetail-len(suffix)), suffix)
	return nil
}
