package browser

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lastmile/internal/browser/tab"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// failure is what is wrong with the target. It is data, not a fault of ours.
type failure struct {
	class  runs.Class
	detail string
}

// scriptFault is the class of what the page did unexpectedly.
const scriptFault = runs.ClassScript

// Error implements error.
func (f *failure) Error() string { return string(f.class) + ": " + f.detail }

func failf(class runs.Class, format string, args ...any) error {
	return &failure{class: class, detail: fmt.Sprintf(format, args...)}
}

// action is one step under way.
type action struct {
	session *Session
	step    *scenario.Step
	scope   *vars.Scope
	out     runs.Step
	before  tab.Document // when the step began
	ours    time.Duration
	doing   string // what a timeout would say
}

// Step executes one step. What is wrong with the target is in the returned step; an error means that we could not measure and
// wraps a *runs.Fault. ctx ends at the step's limit. Not safe for concurrent use.
func (s *Session) Step(ctx context.Context, step *scenario.Step, scope *vars.Scope) (runs.Step, error) {
	before, _ := s.tab.Document()
	a := &action{
		session: s, step: step, scope: scope, before: before,
		out: runs.Step{ID: step.ID, Type: step.Type, State: runs.StepPassed},
	}
	s.tab.Begin(step.ID)
	started := time.Now()
	err := a.run(ctx)
	a.out.DurationMS = max(0, float64(time.Since(started)-a.ours)/float64(time.Millisecond))
	if now, _ := s.tab.Document(); err == nil && now.Commits > before.Commits {
		limit := time.Now().Add(settleCap)
		a.settle(ctx, started, limit)
		a.vitals(ctx, limit)
	}
	cause, err := a.judge(ctx, err)
	var forbidden string
	a.out.Requests, a.out.Bytes, forbidden = s.tab.Tally()
	if lost := s.tab.Lost(); err == nil && lost != nil { // whatever the page made of it
		err = &runs.Fault{Class: lost.Class, Err: fmt.Errorf("step %s: %s", step.ID, lost.Detail)}
	}
	if err != nil {
		return a.out, err
	}
	if forbidden != "" { // whatever else went wrong, it may be because of this
		cause = &runs.Cause{Class: runs.ClassBlockedHost,
			Detail: fmt.Sprintf("request to %s: not in allowHosts, so it was blocked", forbidden)}
	}
	if cause != nil {
		a.out.State, a.out.Cause = runs.StepFailed, cause
	}
	return a.out, nil
}

// run acts, asserts and extracts.
func (a *action) run(ctx context.Context) error {
	var err error
	switch a.step.Type {
	case scenario.StepNavigate:
		err = a.navigate(ctx)
	case scenario.StepSetViewport:
		err = a.setViewport(ctx)
	case scenario.StepClick:
		err = a.click(ctx)
	case scenario.StepChange:
		err = a.change(ctx)
	case scenario.StepWaitForElement:
		err = a.waitForElement(ctx)
	default:
		return fmt.Errorf("run step %s: got type %q, want a browser step", a.step.ID, a.step.Type)
	}
	if err == nil {
		err = a.assertedEvents(ctx)
	}
	if err == nil {
		err = a.assertions(ctx)
	}
	if err == nil {
		err = a.extract(ctx)
	}
	return err
}

// judge sorts what ended the step: nothing, the target (a cause), or us (a fault).
func (a *action) judge(ctx context.Context, err error) (*runs.Cause, error) {
	if err == nil {
		return nil, nil
	}
	if fault := a.session.browser.Fault(err); fault != nil { // what a dying browser says of the target is not to be believed
		return nil, fault
	}
	var f *failure
	failed := errors.As(err, &f)
	switch {
	case errors.As(err, new(*runs.Fault)):
		return nil, fmt.Errorf("step %s: %w", a.step.ID, err)
	case failed && ctx.Err() == nil:
		return &runs.Cause{Class: f.class, Detail: f.detail}, nil
	case errors.Is(err, tab.ErrGone):
		return &runs.Cause{Class: scriptFault, Detail: "the page closed its own window"}, nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		// A browser that hangs must not be taken for a slow target: it gets one more chance to show that it lives.
		a.session.browser.Ping()
		if fault := a.session.browser.Fault(err); fault != nil {
			return nil, fault
		}
		if failed {
			return &runs.Cause{Class: f.class, Detail: f.detail}, nil
		}
		return &runs.Cause{Class: runs.ClassTimeout, Detail: "time is up while " + a.doing}, nil
	}
	return nil, a.session.faultOf(ctx, fmt.Errorf("step %s: %w", a.step.ID, err))
}

// The page is quiet after this long without a request in flight; it is given so long to become it.
const (
	quiet     = 500 * time.Millisecond
	settleCap = 2 * time.Second
)

// settle waits until the page is quiet. A page that is not in time is left as it is.
func (a *action) settle(ctx context.Context, started, limit time.Time) {
	ctx, cancel := context.WithDeadline(ctx, limit)
	defer cancel()
	if last, ok := a.session.tab.Settle(ctx, a.session.quiet); ok {
		settled := max(float64(last.Sub(started))/float64(time.Millisecond), a.out.DurationMS)
		a.out.SettledMS = &settled
	}
}

// vitals reads the web vitals of the document that the step led to. A page that needs no more requests may still be busy with its
// first paint, so that it is given the rest of the time. A page without vitals (no paint) is none the worse.
func (a *action) vitals(ctx context.Context, limit time.Time) {
	attempts := a.out.Attempts
	defer func() { a.out.Attempts = attempts }()
	err := a.poll(ctx, pollEvery, func() (bool, error) {
		got, err := evaluate[*runs.Vitals](ctx, a.session, `() => globalThis.lastmileVitals?.read() ?? null`, nil)
		if err != nil {
			return time.Now().After(limit), err
		}
		if got != nil && *got != (runs.Vitals{}) {
			a.out.Vitals = got
		}
		return got == nil || got.FCP != nil && got.LCP != nil || time.Now().After(limit), nil
	})
	if err != nil {
		a.session.log.Debug("no vitals", "step", a.step.ID, "err", err)
	}
}
