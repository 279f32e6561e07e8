// Package journey runs one assignment: it walks through the scenario's steps, hands each to the executor of its kind (a browser
// session or an HTTP session, opened when first needed), keeps the variables, and sums the steps up as one Result.
package journey

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"

	"lastmile/internal/journey/budget"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// Executor runs the steps of one kind within one run.
type Executor interface {
	// Step executes one step: it acts, asserts, and extracts into scope. What is wrong with the target is in the returned
	// step's State and Cause; an error means that we could not measure and wraps a *runs.Fault. ctx ends at the step's limit
	// or the run's.
	Step(ctx context.Context, step *scenario.Step, scope *vars.Scope) (runs.Step, error)
	// Close ends everything that the executor started, waits for it, and returns what came of the run beside its steps.
	Close() runs.Trail
}

// Access is the access network of one run. What is opened over it outlives the context that bounds the opening, and is closed before
// it.
type Access interface {
	// HTTP opens the executor of http steps, Bare that of steps in other protocols, Browser that of browser steps. An error wraps a
	// *runs.Fault.
	HTTP(ctx context.Context) (Executor, error)
	Bare(ctx context.Context) (Executor, error)
	Browser(ctx context.Context) (Executor, error)
	// Judge looks how the network did while a step was measured, for what Close returns.
	Judge(step string, from, to time.Time)
	// Close ends the network, waits for it, and returns what it really was.
	Close() runs.Link
}

// Connect makes the access network of a run. An error wraps a *runs.Fault.
type Connect func(ctx context.Context, a *runs.Assignment) (Access, error)

// Secrets finds the value of a secret by its name; the error says where it was looked for.
type Secrets func(name string) (vars.Secret, error)

// Runner runs assignments. It is safe for concurrent use.
type Runner struct {
	log     *slog.Logger
	probe   string
	connect Connect
	secrets Secrets
	options Options
}

// Options tune a Runner. The zero value keeps nothing of a run beside its result.
type Options struct {
	Keeper  Keeper             // nil = no artefacts are made
	Relay   Relay              // nil = there are no runs in other regions: one that replicates writes and reads
	Version string             // of the program, for the artefacts that name their maker
	Done    func(*runs.Result) // is told of every result, once it is complete, and must not wait; nil = nobody
}

// New returns a runner whose results carry the probe's name.
func New(log *slog.Logger, probe string, connect Connect, secrets Secrets, options Options) *Runner {
	return &Runner{log: log, probe: probe, connect: connect, secrets: secrets, options: options}
}

// Run executes the assignment and always returns a result: passed, degraded or failed where the service was measured, invalid
// where it was not: one over a link that was not the one named is not. It ends at the assignment's deadline, or after the scenario's
// timeout if that comes first; making the network and opening sessions do not count against the timeout.
func (r *Runner) Run(ctx context.Context, a *runs.Assignment) runs.Result {
	return r.RunAfter(ctx, a, func(context.Context) error { return nil }, func(*runs.Result) {})
}

// open makes the run's network. One that comes too late for any step is our fault, too.
func (r *Runner) open(ctx context.Context, a *runs.Assignment) (Access, error) {
	ctx, cancel := context.WithDeadline(ctx, a.Deadline)
	defer cancel()
	began := time.Now()
	access, err := r.connect(ctx, a)
	switch {
	case err != nil || ctx.Err() == nil:
		return access, err
	case errors.Is(ctx.Err(), context.Canceled):
		err = fault(runs.ClassProbe, "open network: stopped: the probe is shutting down")
	default:
		err = fault(runs.ClassOverloaded, "open network: took %s, and nothing of the run's time is left", time.Since(began).Round(time.Millisecond))
	}
	access.Close()
	return nil, err
}

// Blank returns the result of an assignment of which nothing is known yet: all that follows from the assignment is filled in.
func (r *Runner) Blank(a *runs.Assignment) runs.Result {
	return runs.Result{
		Schema:   runs.Schema,
		RunID:    a.RunID,
		Scenario: a.Scenario.Name,
		Revision: a.Revision,
		Region:   a.Region,
		Network:  a.Network.Name,
		Slot:     a.Slot,
		Trigger:  a.Trigger,
		Probe:    r.probe,
		Steps:    []runs.Step{},
		Requests: []runs.Request{},
		Link:     runs.Link{Profile: a.Network.Name, Version: a.Network.Version, Mode: runs.LinkNone},
	}
}

// resolve finds the values of the scenario's secrets. A secret that is not here is our fault, not the service's.
func (r *Runner) resolve(a *runs.Assignment) (map[string]vars.Secret, error) {
	values := map[string]vars.Secret{}
	for _, name := range a.Scenario.Secrets {
		value, err := r.secrets(name)
		if err != nil {
			return nil, fault(runs.ClassProbe, "secret %s: %w", name, err)
		}
		if len(value.Reveal()) < vars.MinSecret {
			return nil, fault(runs.ClassProbe, "secret %s: got under %d bytes, want more: a shorter one cannot be redacted safely", name, vars.MinSecret)
		}
		values[name] = value
	}
	return values, nil
}

func fault(class runs.Class, format string, args ...any) error {
	return &runs.Fault{Class: class, Err: fmt.Errorf(format, args...)}
}

// invalidate turns a result into one that says we could not measure.
func invalidate(result runs.Result, err error) runs.Result {
	cause := faultCause(err)
	if result.Cause != nil {
		cause.Step = result.Cause.Step
	}
	result.State = runs.StateInvalid
	result.Cause = cause
	return result
}

// faultCause says in a result what kept us from measuring.
func faultCause(err error) *runs.Cause {
	if f, ok := errors.AsType[*runs.Fault](err); ok {
		return &runs.Cause{Class: f.Class, Detail: f.Err.Error()}
	}
	return &runs.Cause{Class: runs.ClassProbe, Detail: err.Error()}
}

// family is a kind of steps that share a session.
type family int

// The families, in the order in which their sessions are closed.
const (
	ofBrowser family = iota
	ofHTTP
	ofBare
	families
)

// familyOf tells which session runs a type of step.
func familyOf(t scenario.StepType) family {
	switch {
	case t.Browser():
		return ofBrowser
	case t.Bare():
		return ofBare
	}
	return ofHTTP
}

// run is the state of one run under way. executors has the open sessions.
type run struct {
	a         *runs.Assignment
	access    Access
	started   time.Time
	opening   time.Duration // spent on opening sessions in the run's time, which is ours
	cleanup   time.Time     // when cleaning up must end; zero until the run's own time is up
	scope     *vars.Scope
	result    runs.Result
	executors [families]Executor // nil = not open
	holder    family             // whose session had the cookies last
	fault     error
	pass      *pass         // under way; nil where the scenario has no identities
	canaries  []vars.Secret // of identities, as far as they are known
	film      []runs.Picture
	lost      error // why artefacts are missing
}

// end is when the run's own time is up.
func (r *run) end() time.Time {
	end := r.started.Add(r.a.Scenario.Timeout.D() + r.opening)
	if r.a.Deadline.Before(end) {
		return r.a.Deadline
	}
	return end
}

// over reports whether the run's own time is up.
func (r *run) over(ctx context.Context) bool { return ctx.Err() != nil || !time.Now().Before(r.end()) }

// walk executes the steps in order, each under its id behind a prefix. After a failure or a fault only the steps marked always run, and
// they get a little time of their own where the run's is up. after is called when a step is over.
func (r *run) walk(ctx context.Context, prefix string, after func()) {
	stopped := r.fault != nil
	for i := range r.a.Scenario.Steps {
		step := r.a.Scenario.Steps[i]
		step.ID = stepID(prefix, &step, i)
		if stopped && !step.Always {
			r.result.Steps = append(r.result.Steps, runs.Step{ID: step.ID, Type: step.Type, State: runs.StepSkipped, Skipped: runs.SkipFailure})
			continue
		}
		if step.When != nil && step.When.Var != "" && !r.holds(step.When) {
			r.result.Steps = append(r.result.Steps, runs.Step{ID: step.ID, Type: step.Type, State: runs.StepSkipped, Skipped: runs.SkipWhen})
			continue
		}
		stopped = r.step(ctx, &step) || stopped
		after()
	}
}

// stepID is what a step is called in the result: what its scenario calls it, or its place.
func stepID(prefix string, step *scenario.Step, i int) string {
	if step.ID == "" {
		return prefix + strconv.Itoa(i+1)
	}
	return prefix + step.ID
}

// holds looks at a condition over a variable; those over pages are the browser's.
func (r *run) holds(when *scenario.Condition) bool {
	value, err := r.scope.Expand("${" + when.Var + "}")
	plain := when.Equals == nil && when.Contains == "" && when.Matches == ""
	if plain || err != nil {
		return (err == nil && value != "") != when.Not
	}
	as := scenario.Assertion{Equals: when.Equals, Contains: when.Contains, Matches: when.Matches, Not: when.Not}
	ok, _, err := as.Check(value, true, r.scope)
	return ok && err == nil
}

// cleanupTime is what all always steps together get after the run's own time is up.
const cleanupTime = 3 * time.Second

// step executes a step, and reports whether that ends what it is a part of.
func (r *run) step(ctx context.Context, step *scenario.Step) (ends bool) {
	done, err := r.execute(ctx, step)
	done.ID, done.Type = step.ID, step.Type
	if err != nil {
		done.State = runs.StepFailed
		done.Cause = faultCause(err)
	}
	if done.State == runs.StepFailed && done.Cause == nil {
		done.Cause = &runs.Cause{Class: runs.ClassScript, Detail: "the step failed without saying why"}
	}
	if done.Cause != nil {
		done.Cause.Step = step.ID
	}
	if err != nil && r.fault == nil && r.result.State != runs.StateFailed {
		r.fault = err
		r.result.Cause = done.Cause
	}
	if err == nil {
		r.photograph(ctx, &done)
	}
	budget.Check(&done, step.Budget)
	r.account(&done, step)
	r.result.Steps = append(r.result.Steps, done)
	r.result.DurationMS += done.DurationMS
	return err != nil || done.State == runs.StepFailed && (!step.Optional || isLeak(&done))
}

// execute runs the step within its limit. Opening a session (starting Chromium) is ours and does not count against the step.
func (r *run) execute(ctx context.Context, step *scenario.Step) (runs.Step, error) {
	wasOver, opened := r.over(ctx), r.opening
	executor, err := r.executor(ctx, familyOf(step.Type))
	if err != nil {
		return runs.Step{}, err
	}
	if err := r.handOver(ctx, familyOf(step.Type)); err != nil {
		return runs.Step{}, err
	}
	end := r.end()
	switch over := r.over(ctx); {
	case over && step.Always:
		if r.cleanup.IsZero() {
			r.cleanup = time.Now().Add(cleanupTime)
		}
		ctx, end = context.WithoutCancel(ctx), r.cleanup
	case over && !wasOver && ctx.Err() == nil && r.opening > opened:
		return runs.Step{}, fault(runs.ClassOverloaded, "open session: took %s, and nothing of the run's time is left", (r.opening - opened).Round(time.Millisecond))
	}
	if limit := time.Now().Add(r.a.Scenario.StepLimit(step)); limit.Before(end) {
		end = limit
	}
	stepCtx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	began := time.Now()
	done, err := executor.Step(stepCtx, step, r.scope)
	done.StartedMS = r.since(began)
	r.access.Judge(step.ID, began, time.Now())
	if (err != nil || done.State == runs.StepFailed && !isLeak(&done)) && errors.Is(ctx.Err(), context.Canceled) {
		// Whatever the step says, it was we who stopped it.
		err = fault(runs.ClassProbe, "stopped in mid-run: the probe is shutting down")
	}
	return done, err
}

// executor returns the open session for the kind of step, opening it first if need be.
func (r *run) executor(ctx context.Context, of family) (Executor, error) {
	if e := r.executors[of]; e != nil {
		return e, nil
	}
	open := [families]func(context.Context) (Executor, error){ofBrowser: r.access.Browser, ofHTTP: r.access.HTTP, ofBare: r.access.Bare}[of]
	// The session outlives the step that opens it; Close ends it.
	began := time.Now()
	e, err := open(context.WithoutCancel(ctx))
	r.opening += time.Since(began)
	if err != nil {
		return nil, err
	}
	r.executors[of] = e
	return e, r.watch(e)
}

// account lets a step's outcome bear on the run's. The first failure is the run's cause.
func (r *run) account(done *runs.Step, step *scenario.Step) {
	switch {
	case isLeak(done):
		r.expose(done)
	case done.State == runs.StepFailed && step.Optional:
		r.degrade(step.ID, "optional step failed: "+done.Cause.Detail)
	case done.State == runs.StepFailed && r.result.State != runs.StateFailed && r.fault == nil:
		r.result.State = runs.StateFailed
		r.result.Cause = done.Cause
	case done.State == runs.StepDegraded:
		r.degrade(step.ID, done.Warnings[0])
	}
}

func (r *run) degrade(step, detail string) {
	if r.result.State == "" && r.fault == nil {
		r.result.State = runs.StateDegraded
		r.result.Cause = &runs.Cause{Class: runs.ClassBudget, Step: step, Detail: detail}
	}
}

// finish closes the sessions and the network, and completes the result.
func (r *run) finish() {
	r.closeSessions()
	r.result.Link = r.access.Close()
	r.judgeLink()
	if r.result.State == "" {
		r.result.State = runs.StatePassed
	}
	if r.fault != nil {
		r.result = invalidate(r.result, r.fault)
	}
	r.result.DurationMS = math.Round(r.result.DurationMS*1000) / 1000
	r.result.Review()
	r.result.Summarise()
	r.redact()
}

// closeSessions ends what is open, and keeps what came of it.
func (r *run) closeSessions() {
	for i, e := range r.executors {
		if e != nil {
			r.add(e.Close())
			r.executors[i] = nil
		}
	}
}

// add puts what came of a session into the result.
func (r *run) add(trail runs.Trail) {
	for i := range trail.Requests {
		trail.Requests[i].StartedMS = r.since(trail.Requests[i].StartedAt)
	}
	for i := range trail.Navigations {
		trail.Navigations[i].StartedMS = r.since(trail.Navigations[i].StartedAt)
	}
	r.result.Requests = append(r.result.Requests, trail.Requests...)
	r.result.Dropped += trail.Dropped
	r.result.Navigations = append(r.result.Navigations, trail.Navigations...)
	r.result.Console = append(r.result.Console, trail.Console...)
	for i := range r.result.Steps {
		if late, ok := trail.Vitals[r.result.Steps[i].ID]; ok {
			r.result.Steps[i].Vitals = &late
		}
	}
	r.result.Tainted = append(r.result.Tainted, trail.Tainted...)
	r.film = append(r.film, trail.Film...)
	if trail.Load != nil {
		r.result.Load = trail.Load
	}
}

// since is how long after the run's start something was, in milliseconds; 0 where it is not known.
func (r *run) since(at time.Time) float64 {
	if at.IsZero() {
		return 0
	}
	return runs.Milliseconds(at.Sub(r.started))
}

// judgeLink lets what the network really was bear on the run. Off its profile, it has measured another network, whatever the steps say;
// what it had to block, the journey should not have tried.
func (r *run) judgeLink() {
	link := &r.result.Link
	if received := r.received(); link.Down != nil && received/2 > link.Down.Bytes-link.Down.CalibrationBytes {
		link.Verdict = runs.OffProfile
		link.Misses = append(link.Misses, fmt.Sprintf("got responses of %d bytes, of which only %d crossed the link",
			received, link.Down.Bytes-link.Down.CalibrationBytes))
	}
	switch {
	case r.leaked(): // which no link makes undone
	case link.Verdict == runs.OffProfile && r.fault == nil:
		r.fault = fault(runs.ClassLinkOffProfile, "network %s: %s", link.Profile, strings.Join(link.Misses, "; "))
		r.result.Cause = nil
	case link.Blocked > 0 && r.fault == nil:
		blocked := fmt.Sprintf("blocked %d attempts to reach %s", link.Blocked, strings.Join(link.BlockedHosts, ", "))
		switch cause := r.result.Cause; {
		case r.result.State != runs.StateFailed:
			r.result.State, r.result.Cause = runs.StateFailed, &runs.Cause{Class: runs.ClassBlockedHost, Detail: blocked}
		case cause.Class == runs.ClassDNS || cause.Class == runs.ClassConnect: // as which a browser inside the network sees it
			r.result.Cause = &runs.Cause{Class: runs.ClassBlockedHost, Step: cause.Step, Detail: cause.Detail + "; " + blocked}
		}
	}
}

// received is what the run's responses took up on the way, as far as requests tell: the size of a header that was compressed is a guess.
func (r *run) received() (bytes int64) {
	for i := range r.result.Requests {
		if q := &r.result.Requests[i]; q.BrowserCache == "" {
			bytes += q.Bytes
		}
	}
	return bytes
}

// redact removes secrets from every text of the result: it is about to leave the process.
func (r *run) redact() {
	cause := func(c *runs.Cause) {
		if c != nil {
			c.Detail = r.scope.Redact(c.Detail)
		}
	}
	cause(r.result.Cause)
	for i, host := range r.result.Link.BlockedHosts {
		r.result.Link.BlockedHosts[i] = r.scope.Redact(host)
	}
	for i := range r.result.Steps {
		step := &r.result.Steps[i]
		cause(step.Cause)
		for j, w := range step.Warnings {
			step.Warnings[j] = r.scope.Redact(w)
		}
		step.Selector = r.scope.Redact(step.Selector)
	}
	for i := range r.result.Requests {
		request := &r.result.Requests[i]
		request.URL = r.scope.Redact(request.URL)
		request.Method = r.scope.Redact(request.Method) // any word, where a page wants that
		request.RedirectedTo = r.scope.Redact(request.RedirectedTo)
		request.Error = r.scope.Redact(request.Error)
		request.ServedRegion = r.scope.Redact(request.ServedRegion) // what a header of the target says
		request.PoP = r.scope.Redact(request.PoP)
		request.Cache.Evidence = strings.TrimSuffix(r.scope.Redact(request.Cache.Evidence+"..."), "...") // a word of the target's, maybe cut off
	}
	for i := range r.result.Navigations {
		r.result.Navigations[i].URL = r.scope.Redact(r.result.Navigations[i].URL)
	}
	for i := range r.result.Console {
		message := &r.result.Console[i]
		message.URL = r.scope.Redact(message.URL)
		message.Text = shorten(r.scope.Redact(message.Text)) // a secret that is cut in two would not be found
	}
}

// maxConsoleText is how many bytes are kept of what a page says on its console.
const maxConsoleText = 500

func shorten(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxConsoleText)], "")
}
