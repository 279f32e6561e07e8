package steps

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lastmile/internal/browser/elements"
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
	player  *Player
	step    *scenario.Step
	scope   *vars.Scope
	out     runs.Step
	frame   tab.Frame    // in which the step takes place, as it was when it began
	page    tab.Document // what the page of the frame showed then
	started time.Time
	ours    time.Duration // of the time since, what a person would not have waited
	doing   string        // what a timeout would say
}

// errSkipped is what run ends with where the step's condition does not hold.
var errSkipped = errors.New("the condition does not hold")

// Step executes one step. What is wrong with the target is in the returned step; an error means that we could not measure and
// wraps a *runs.Fault. ctx ends at the step's limit. Not safe for concurrent use.
func (p *Player) Step(ctx context.Context, step *scenario.Step, scope *vars.Scope) (runs.Step, error) {
	a := &action{
		player: p, step: step, scope: scope, started: time.Now(),
		out: runs.Step{ID: step.ID, Type: step.Type, State: runs.StepPassed},
	}
	before, _ := p.tab.Document()
	p.tab.Begin(step.ID)
	err := a.run(ctx)
	if errors.Is(err, errSkipped) {
		return runs.Step{ID: step.ID, Type: step.Type, State: runs.StepSkipped, Skipped: runs.SkipWhen}, nil
	}
	a.out.DurationMS = max(0, runs.Milliseconds(time.Since(a.started)-a.ours))
	if err == nil {
		now, _ := p.tab.Document()
		page, _ := p.tab.Frame(a.frame.Page)
		a.settle(ctx, now.Commits > before.Commits, page.Document.Commits > a.page.Commits)
		a.vitals(ctx)
		err = a.problems()
	}
	cause, err := a.judge(ctx, err)
	a.out.Warnings = append(a.out.Warnings, p.tab.Notes()...)
	var forbidden string
	a.out.Requests, a.out.Bytes, forbidden = p.tab.Tally()
	if lost := p.tab.Lost(); err == nil && lost != nil { // whatever the page made of it
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

// run decides whether to act, acts, asserts and extracts.
func (a *action) run(ctx context.Context) error {
	holds, err := a.holds(ctx)
	switch {
	case err != nil:
		return err
	case !holds:
		return errSkipped
	}
	a.started = time.Now() // waiting for a condition is nobody's waiting for the page
	a.ours = 0
	if a.frame.ID == "" {
		err = a.locate(ctx)
	}
	for _, do := range []func(context.Context) error{a.act, a.assertedEvents, a.assertions, a.extract} {
		if err == nil {
			err = do(ctx)
		}
	}
	return err
}

// act does what the step's type says.
func (a *action) act(ctx context.Context) error {
	switch a.step.Type {
	case scenario.StepNavigate:
		return a.navigate(ctx)
	case scenario.StepSetViewport:
		return a.setViewport(ctx)
	case scenario.StepNetworkConditions:
		a.networkConditions()
		return nil
	case scenario.StepClick:
		return a.click(ctx, 1)
	case scenario.StepDoubleClick:
		return a.click(ctx, 2)
	case scenario.StepHover:
		return a.hover(ctx)
	case scenario.StepChange:
		return a.change(ctx)
	case scenario.StepKeyDown:
		return a.key(ctx, a.player.hand.Down)
	case scenario.StepKeyUp:
		return a.key(ctx, a.player.hand.Up)
	case scenario.StepScroll:
		return a.scroll(ctx)
	case scenario.StepClose:
		return a.closePage(ctx)
	case scenario.StepWaitForElement:
		return a.waitForElement(ctx)
	case scenario.StepWaitForExpression:
		return a.waitForExpression(ctx)
	case scenario.StepCustom:
		return nil
	}
	return fmt.Errorf("run step %s: got type %q, want a browser step", a.step.ID, a.step.Type)
}

// judge sorts what ended the step: nothing, the target (a cause), or us (a fault).
func (a *action) judge(ctx context.Context, err error) (*runs.Cause, error) {
	if err != nil {
		// What may be the browser's own doing gets a chance to show: a browser that hangs must not be taken for a slow target, and the
		// answer to a call may be ahead of the news of a crash.
		a.player.browser.Ping()
		a.player.browser.Check()
	}
	if cause := a.player.browser.Condemned(); cause != nil { // whatever the step came to, or comes to without its browser
		return cause, nil
	}
	if err == nil {
		return nil, nil
	}
	if fault := a.player.browser.Fault(err); fault != nil { // what a dying browser says of the target is not to be believed
		return nil, fault
	}
	if thrown, ok := errors.AsType[*elements.PageError](err); ok {
		err = &failure{class: scriptFault, detail: thrown.Text}
	}
	var f *failure
	failed := errors.As(err, &f)
	switch {
	case errors.As(err, new(*runs.Fault)):
		return nil, fmt.Errorf("step %s: %w", a.step.ID, err)
	case failed && ctx.Err() == nil:
		return &runs.Cause{Class: f.class, Detail: f.detail}, nil
	case errors.Is(err, tab.ErrGone):
		return &runs.Cause{Class: scriptFault, Detail: a.gone()}, nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		if failed {
			return &runs.Cause{Class: f.class, Detail: f.detail}, nil
		}
		return &runs.Cause{Class: runs.ClassTimeout, Detail: "time is up while " + a.doing}, nil
	}
	return nil, a.player.Fault(ctx, fmt.Errorf("step %s: %w", a.step.ID, err))
}

// settleCap is what a page is given to become quiet after a navigation, where nothing else is said.
const settleCap = 2 * time.Second

// settle gives the page time to become quiet, as the step says; where it does not, after a navigation of the run's page or of another
// only. A page that is not in time is left as it is.
func (a *action) settle(ctx context.Context, main, other bool) {
	give := time.Duration(0)
	switch {
	case a.step.Settle != nil:
		give = a.step.Settle.D()
	case main || other:
		give = a.player.opts.SettleTime()
	}
	limit := time.Now().Add(give)
	if give > 0 {
		quiet, cancel := context.WithDeadline(ctx, limit)
		last, ok := a.player.tab.Settle(quiet, a.player.opts.Quiet)
		cancel()
		if ok {
			settled := max(runs.Milliseconds(last.Sub(a.started)), a.out.DurationMS)
			a.out.SettledMS = &settled
		}
	}
	if main {
		a.painted(ctx, limit)
	}
}

// painted gives the page the rest of the time for its paints: one that needs no more requests may still be busy with the first.
func (a *action) painted(ctx context.Context, limit time.Time) {
	ctx, cancel := context.WithDeadline(ctx, limit)
	defer cancel()
	a.player.tab.Painted(ctx)
}

// answerLimit is what a page gets to tell how long it took to answer an interaction; 50 to 100 ms after it is usual.
const answerLimit = 500 * time.Millisecond

// vitals takes the web vitals of the step as they are now. How soon the page answered what was done is waited for only where the step's
// budget asks for it; without, it is in the trail (see runs.Trail).
func (a *action) vitals(ctx context.Context) {
	if b := a.step.Budget; b != nil && b.INP > 0 {
		ctx, cancel := context.WithTimeout(ctx, answerLimit)
		defer cancel()
		a.player.tab.Answered(ctx)
	}
	a.out.Vitals = a.player.tab.Vitals()
}
