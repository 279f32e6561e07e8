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
// A step that retries makes further attempts after one without an answer, or with a server's error. It never does better than
// degraded, and says why the first attempt failed: first attempts are what counts. Where all fail, the cause is that of the last one
// that the step's limit did not cut off.
//
// ctx ends at the step's limit, which is the target's failure (class timeout), or is cancelled, which is ours (a *runs.Fault).
func (s *Session) Step(ctx context.Context, step *scenario.Step, scope *vars.Scope) (runs.Step, error) {
	p, err := newPlan(step, scope, s.options.UserAgent, s.judge)
	if err != nil {
		return runs.Step{State: runs.StepFailed, Cause: causef(runs.ClassScript, "%s", scope.Redact(err.Error()))}, nil
	}
	if part := s.guard.Asks(p.url, p.header, p.body); part != "" {
		return runs.Step{}, &runs.Fault{Class: runs.ClassProbe, Err: fmt.Errorf(
			"run http step: got the canary of another in the %s that it sends, want none there: a server that repeats it would look like a leak", part)}
	}
	e := &exchange{session: s, plan: p, began: time.Now(), out: runs.Step{State: runs.StepPassed}}
	if step.Poll == nil {
		err = e.tries(ctx, step.Retries)
	} else {
		err = e.poll(ctx, step.Poll)
	}
	if e.leak != nil { // in whichever attempt, and whatever came of the next
		e.out.Cause, err = e.leak, nil
	}
	e.out.DurationMS = runs.Milliseconds(max(e.ended.Sub(e.began), 0))
	if e.out.Cause != nil {
		e.out.State = runs.StepFailed
	}
	return e.out, err
}

// The pauses before a step's second attempt and, each twice the one before, the next ones.
const (
	firstPause = 100 * time.Millisecond
	maxPause   = time.Second
)

// tries makes an attempt, and so many more as long as they have no answer, or one of a server in trouble.
func (e *exchange) tries(ctx context.Context, retries int) error {
	err := e.once(ctx)
	if retries == 0 || err != nil {
		return err
	}
	e.out.Attempts = 1
	first, pause := e.out.Cause, firstPause
	for ; e.out.Cause != nil && e.again && e.leak == nil && e.out.Attempts <= retries && wait(ctx, pause); pause = min(2*pause, maxPause) {
		last := e.out.Cause
		e.out.Attempts++
		if err := e.once(ctx); err != nil {
			return err
		}
		if e.out.Cause != nil && ctx.Err() != nil {
			e.out.Cause = last
		}
	}
	if e.out.Attempts > 1 {
		e.out.State = runs.StepDegraded
		warning := fmt.Sprintf("attempt 1 of %d failed: %s: %s", e.out.Attempts, first.Class, first.Detail)
		e.out.Warnings = append(e.out.Warnings, clip(warning, maxDetail))
	}
	if e.out.Cause == nil {
		return nil
	}
	return stopped(ctx)
}

// wait lets time pass, and reports whether there is any left. It does not wait for the end.
func wait(ctx context.Context, pause time.Duration) bool {
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= pause {
		return false
	}
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// once makes a single attempt and takes the variables out of it.
func (e *exchange) once(ctx context.Context) error {
	got, err := e.attempt(ctx)
	if got == nil || err != nil {
		return err
	}
	if missing := e.session.judge.Extract(e.plan.step, got, e.plan.scope); e.out.Cause == nil {
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
		if err != nil || e.out.Cause == nil || e.leak != nil || e.out.Cause.Class == runs.ClassBlockedHost { // which no waiting would change
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
