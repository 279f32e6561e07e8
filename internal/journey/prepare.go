package journey

import (
	"context"
	"errors"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// RunAfter is Run for an assignment that comes before it is due. It gets everything ready that takes time and is not the service's:
// secrets, the network with its calibration, the browser. Then it calls begin, which returns when the first step may begin; where it
// returns an error, which wraps a *runs.Fault, the run is invalid by that. end is told of a run that began, when its browser and its
// network are gone and its result is complete but for its artefacts, and may add to it.
func (r *Runner) RunAfter(ctx context.Context, a *runs.Assignment, begin func(context.Context) error, end func(*runs.Result)) runs.Result {
	result := r.runAfter(ctx, traced(a), begin, end)
	if r.options.Done != nil {
		r.options.Done(&result)
	}
	return result
}

func (r *Runner) runAfter(ctx context.Context, a *runs.Assignment, begin func(context.Context) error, end func(*runs.Result)) runs.Result {
	if r.options.Keeper == nil {
		a = muted(a)
	}
	result := r.Blank(a)
	result.TraceID = a.TraceID
	result.StartedAt = time.Now().UTC() // of what never begins, this is all there is to tell
	secrets, err := r.resolve(a)
	if err != nil {
		return invalidate(result, err)
	}
	access, err := r.open(ctx, a)
	if err != nil {
		return invalidate(result, err)
	}
	run := &run{
		a:       a,
		access:  access,
		started: time.Now(),
		scope:   a.Scenario.Scope(a.Combination(), string(a.RunID), secrets),
		result:  result,
	}
	run.fault = run.prepare(ctx, begin)
	if run.fault != nil {
		run.finish()
		return run.result
	}
	run.started, run.opening = time.Now(), 0
	run.result.StartedAt = run.started.UTC()
	switch a.Scenario.Kind {
	case scenario.KindCacheLeak:
		run.passes(ctx, secrets)
	case scenario.KindReplication:
		run.replicate(ctx, r.options.Relay)
	default:
		run.walk(ctx, "", func() {})
	}
	if r.options.Relay != nil {
		if _, clock, err := r.options.Relay.Read(); err == nil {
			run.result.Clock = &clock
		}
	}
	run.finish()
	end(&run.result)
	run.keep(ctx, r.options.Keeper, r.options.Version)
	return run.result
}

// prepare starts the browser, if the run needs one, and waits until the run may begin.
func (r *run) prepare(ctx context.Context, begin func(context.Context) error) error {
	if r.a.Scenario.NeedsBrowser() {
		opening := time.Now()
		if _, err := r.executor(ctx, ofBrowser); err != nil {
			return err
		}
		if !time.Now().Before(r.a.Deadline) {
			return fault(runs.ClassOverloaded, "open browser: took %s, and nothing of the run's time is left", time.Since(opening).Round(time.Millisecond))
		}
	}
	err := begin(ctx)
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return fault(runs.ClassProbe, "stopped before the run began: the probe is shutting down")
	}
	return err
}
