package journey

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"lastmile/internal/journey/budget"
	"lastmile/internal/runs"
	"lastmile/internal/runs/notes"
	"lastmile/internal/scenario"
)

// Relay connects the runs of a replication, which are in different regions.
type Relay interface {
	// Read reads this probe's clock, and says how it compares with the hub's; the error says that this is not known.
	Read() (now time.Time, clock runs.Clock, err error)
	// Publish makes known what has been written. It goes on trying until ctx ends.
	Publish(ctx context.Context, t notes.Token) error
	// Await waits until ctx ends for what has been written for the run of a reader. What it returns has passed Token.CheckFor.
	Await(ctx context.Context, a *runs.Assignment) (notes.Token, error)
}

// Forgetful is an executor that can forget requests, so that a run that looks a thousand times is no larger than one that looks once.
type Forgetful interface {
	// Forget drops the requests of those noted so far for which drop is true. They do not show in the trail.
	Forget(drop func(*runs.Request) bool)
}

const (
	reserve       = cleanupTime      // what a writer leaves of its run's time for cleaning up
	leastPatience = time.Second      // that a look which the end cuts off must have waited, to say something of the service
	shortestPause = time.Millisecond // between two looks
)

// replicate is a run of kind replication: it writes in the region that the scenario names, and reads in the others. Without a relay
// there are no others: the run does both, one after the other, by one clock.
func (r *run) replicate(ctx context.Context, relay Relay) {
	r.result.Replication = &runs.Replication{From: r.a.Scenario.Replication.From}
	switch {
	case relay == nil:
		r.rehearse(ctx)
	case r.a.Region == r.a.Scenario.Replication.From:
		r.write(ctx, relay)
	default:
		r.read(ctx, relay)
	}
}

// write is the run of the region that writes: it carries out the write steps and tells the others. When they have finished it cleans up,
// by the steps marked always; it cannot know when that is, and waits as long as they may take: for what starts as late as a run may,
// until the write is due to be visible and has been watched, but no longer than until three seconds before its own end.
// The token says when that is, and readers take nothing after that for a loss. A run without steps marked always does not wait.
func (r *run) write(ctx context.Context, relay Relay) {
	if _, _, err := relay.Read(); err != nil { // nobody could tell how long it took
		r.fault = fault(runs.ClassProbe, "%w", err)
		return
	}
	if token, stay, ok := r.put(ctx, relay.Read); ok {
		until := time.Now().Add(stay)
		limited, cancel := context.WithDeadline(ctx, r.end())
		err := relay.Publish(limited, token)
		cancel()
		switch {
		case err != nil && r.stopped(ctx):
		case err != nil:
			r.fault = fault(runs.ClassProbe, "%w", err)
		default:
			pause(ctx, time.Until(until))
		}
	}
	r.cleanUp(ctx)
}

// read is the run of a region that reads. That nothing was written is told by the run that ought to have; this one could not measure.
func (r *run) read(ctx context.Context, relay Relay) {
	if _, _, err := relay.Read(); err != nil {
		r.fault = fault(runs.ClassProbe, "%w", err)
		return
	}
	limited, cancel := context.WithDeadline(ctx, r.end())
	defer cancel()
	token, err := relay.Await(limited, r.a)
	switch {
	case err != nil && r.stopped(ctx):
		return
	case err != nil:
		r.fault = fault(runs.ClassProbe, "no token from region %s within the run's time: %w", r.a.Scenario.Replication.From, err)
		return
	}
	for name, value := range token.Values {
		r.scope.Set(name, value)
	}
	r.observe(ctx, &token, relay.Read)
}

// rehearse writes and reads in one run: as the region that writes, then, with sessions of its own, as the run's region, or the scenario's
// next where that is the same.
func (r *run) rehearse(ctx context.Context) {
	s := &r.a.Scenario
	at := r.a.Combination()
	if i := slices.IndexFunc(s.Regions, func(region string) bool { return region != s.Replication.From }); at.Region == s.Replication.From && i >= 0 {
		at.Region = s.Regions[i]
	}
	writer := at
	writer.Region = s.Replication.From
	clock := func() (time.Time, runs.Clock, error) { return time.Now(), runs.Clock{}, nil }
	s.Move(r.scope, writer, string(r.a.RunID))
	if token, _, ok := r.put(ctx, clock); ok {
		var sessions [families]Executor
		sessions, r.executors = r.executors, sessions
		s.Move(r.scope, at, string(r.a.RunID))
		token.Until = time.Time{}
		r.observe(ctx, &token, clock)
		r.closeSessions()
		r.executors = sessions
		s.Move(r.scope, writer, string(r.a.RunID))
	}
	r.cleanUp(ctx)
}

// reading is a look at the clock.
type reading func() (time.Time, runs.Clock, error)

// put carries out the write steps that are not marked always, and makes the token of what they did. What they wrote is to stay for a while
// before it is cleaned up. ok is false where there is nothing to tell.
func (r *run) put(ctx context.Context, read reading) (token notes.Token, stay time.Duration, ok bool) {
	def, ended := r.a.Scenario.Replication, false
	for i := range def.Write {
		if step := def.Write[i]; !step.Always {
			ended = r.one(ctx, &step, i, ended) || ended
		}
	}
	now, clock, err := read()
	if ended || r.fault != nil {
		return token, 0, false
	}
	if err != nil {
		r.fault = fault(runs.ClassProbe, "%w", err)
		return token, 0, false
	}
	token = notes.Token{
		Schema: runs.Schema, Scenario: r.a.Scenario.Name, Revision: r.a.Revision, Network: r.a.Network.Name, Slot: r.a.Slot, From: def.From,
		Probe: r.result.Probe, WrittenAt: now, Clock: clock, Values: map[string]string{},
	}
	r.result.Replication.WrittenAt = hubTime(now, clock).UTC()
	for _, name := range def.Pass {
		value, err := r.scope.Expand("${" + name + "}")
		if err == nil && len(value) > notes.MaxTokenValue {
			err = fmt.Errorf("got %d bytes, want at most %d", len(value), notes.MaxTokenValue)
		}
		if err != nil {
			r.fail(&runs.Cause{Class: runs.ClassScript, Detail: fmt.Sprintf("pass %s: %v", name, err)})
			return token, 0, false
		}
		token.Values[name] = value
	}
	if slices.ContainsFunc(def.Write, func(s scenario.Step) bool { return s.Always }) {
		most := def.VisibleWithin.D() + def.WatchTime() + r.a.Scenario.StartWindow()
		stay = max(min(most, time.Until(r.end())-reserve), 0)
		token.Until = now.Add(stay)
	}
	return token, stay, true
}

// cleanUp carries out the write steps that are marked always.
func (r *run) cleanUp(ctx context.Context) {
	def := r.a.Scenario.Replication
	for i := range def.Write {
		if step := def.Write[i]; step.Always {
			r.one(ctx, &step, i, false)
		}
	}
}

// one carries out one of the write steps, and reports whether those that are not marked always end with it.
func (r *run) one(ctx context.Context, step *scenario.Step, i int, ended bool) bool {
	if step.ID == "" {
		step.ID = "write-" + stepID("", step, i)
	}
	if reason := r.skips(step, ended); reason != "" {
		r.result.Steps = append(r.result.Steps, runs.Step{ID: step.ID, Type: step.Type, State: runs.StepSkipped, Skipped: reason})
		return false
	}
	return r.step(ctx, step)
}

// skips says why a step is not carried out; "" where it is.
func (r *run) skips(step *scenario.Step, ended bool) runs.SkipReason {
	switch {
	case ended && !step.Always:
		return runs.SkipFailure
	case step.When != nil && step.When.Var != "" && !r.holds(step.When):
		return runs.SkipWhen
	}
	return ""
}

// fail makes what is wrong with the service the run's cause, unless there is one.
func (r *run) fail(cause *runs.Cause) {
	if r.fault == nil && r.result.State != runs.StateFailed {
		r.result.State, r.result.Cause = runs.StateFailed, cause
	}
}

// stopped notes that the probe is shutting down, if it is.
func (r *run) stopped(ctx context.Context) bool {
	if !errors.Is(ctx.Err(), context.Canceled) {
		return false
	}
	r.fault = fault(runs.ClassProbe, "stopped in mid-run: the probe is shutting down")
	return true
}

// hubTime is what the hub's clock said when a probe's said now.
func hubTime(now time.Time, clock runs.Clock) time.Time { return now.Add(clock.Offset()) }

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// look is one pass over the scenario's steps.
type look struct {
	began, ended time.Time
	at           time.Time // ended, by the hub's clock
	err          time.Duration
	steps        []runs.Step
	defs         []scenario.Step
	cause        *runs.Cause // why it is not passed; nil = the write is visible
	cut          bool        // by the end of the time to look, so soon that it says nothing of who did not answer
}

// stale reports whether a look says that the write is not there, which is what a failed assertion and a status of 4xx do: a replica that
// has not got it yet answers with 404, with an empty list, with an older version. Whatever else goes wrong (no connection, a status of 5xx, no
// answer in time) says nothing of what is there; it fails the run as it would any other.
func (l *look) stale() bool {
	return l.cause != nil && (l.cause.Class == runs.ClassAssertion || l.cause.Class == runs.ClassHTTP4xx)
}

// look carries out the steps once.
func (r *run) look(ctx context.Context, read reading) (*look, error) {
	l := &look{began: time.Now()}
	for i := range r.a.Scenario.Steps {
		step := r.a.Scenario.Steps[i]
		step.ID = stepID("", &step, i)
		done := runs.Step{State: runs.StepSkipped, Skipped: r.skips(&step, l.cause != nil)}
		if done.Skipped == "" {
			var err error
			if done, err = r.execute(ctx, &step); err != nil {
				return nil, err
			}
			budget.Check(&done, step.Budget)
		}
		done.ID, done.Type = step.ID, step.Type
		if done.State == runs.StepFailed && done.Cause == nil {
			done.Cause = &runs.Cause{Class: runs.ClassScript, Detail: "the step failed without saying why"}
		}
		if done.Cause != nil {
			done.Cause.Step = step.ID
		}
		if done.State == runs.StepFailed && !step.Optional && l.cause == nil {
			l.cause = done.Cause
		}
		l.steps, l.defs = append(l.steps, done), append(l.defs, step)
	}
	l.ended = time.Now()
	now, clock, err := read()
	if err != nil {
		return nil, fault(runs.ClassProbe, "%w", err)
	}
	l.at, l.err = hubTime(now, clock), clock.Uncertainty()
	return l, nil
}

// sights are what the looks of a run came to.
type sights struct {
	written   time.Time // by the hub's clock
	err       time.Duration
	limit     time.Time                      // of looking
	first     *look                          // of all
	before    *look                          // the last one that was stale before the write was seen
	seen      *look                          // the first one that saw it
	backwards *look                          // the first one that no longer did
	broken    *look                          // the first one that failed for another reason
	last      *look                          //
	out       *runs.Replication              // the counts
	forget    func(func(*runs.Request) bool) // what is noted of requests
}

// observe looks until the write is visible, and then for as long as the scenario wants it watched.
func (r *run) observe(ctx context.Context, token *notes.Token, read reading) {
	s := &sights{written: hubTime(token.WrittenAt, token.Clock), err: token.Clock.Uncertainty(), out: r.result.Replication, forget: r.forget}
	s.out.WrittenAt = s.written.UTC()
	s.limit = r.end()
	now, clock, err := read()
	switch ahead := s.written.Sub(hubTime(now, clock)); {
	case err != nil:
		r.fault = fault(runs.ClassProbe, "%w", err)
		return
	case ahead > clock.Uncertainty()+s.err: // one of the two was compared with a hub's clock that has been set meanwhile, or stood still
		r.fault = fault(runs.ClassProbe, "the write is %s ahead of this probe's time, want at most %s, which is what both clocks may be off by",
			ahead.Round(time.Millisecond), (clock.Uncertainty() + s.err).Round(time.Millisecond))
		return
	}
	if !token.Until.IsZero() {
		left := hubTime(token.Until, token.Clock).Sub(hubTime(now, clock)) - clock.Uncertainty() - s.err
		if until := time.Now().Add(left); until.Before(s.limit) {
			s.limit = until
		}
	}
	looking, cancel := context.WithDeadline(ctx, s.limit)
	defer cancel()
	def := r.a.Scenario.Replication
	for looking.Err() == nil {
		l, err := r.look(looking, read)
		if err != nil {
			r.fault = err
			break
		}
		l.cut = l.cause != nil && l.cause.Class == runs.ClassTimeout && looking.Err() != nil &&
			l.ended.Sub(l.began) < max(def.VisibleWithin.D(), leastPatience)
		s.add(l)
		if s.seen != nil && time.Since(s.seen.ended) >= def.WatchTime() {
			break
		}
		pause(looking, max(def.LookTime()-time.Since(l.began), shortestPause))
	}
	if r.fault == nil && r.stopped(ctx) {
		return
	}
	r.conclude(s)
}

// forget has all sessions forget requests.
func (r *run) forget(drop func(*runs.Request) bool) {
	for _, e := range r.executors {
		if f, ok := e.(Forgetful); ok {
			f.Forget(drop)
		}
	}
}

// add takes up a look. What was noted of the one before is forgotten, unless it is one to tell of.
func (s *sights) add(l *look) {
	if previous := s.last; previous != nil && !s.telling(previous) {
		s.forget(func(q *runs.Request) bool {
			return !q.StartedAt.Before(previous.began) && !q.StartedAt.After(previous.ended)
		})
	}
	s.last = l
	if l.cut { // it was we who ended it
		return
	}
	if s.first == nil {
		s.first = l
	}
	s.out.Looks++
	switch {
	case l.cause == nil && s.seen == nil:
		s.seen = l
	case l.cause == nil:
	case l.stale() && s.seen == nil:
		s.out.StaleReads++
		s.before = l
	case l.stale():
		s.out.Backwards++
		if s.backwards == nil {
			s.backwards = l
		}
	case s.broken == nil:
		s.broken = l
	}
}

// telling reports whether a look is kept with its requests.
func (s *sights) telling(l *look) bool {
	return l == s.first || l == s.seen || l == s.backwards || l == s.broken
}

// conclude says what the looks mean. An error of the service is the run's cause wherever it was met; then what was read.
func (r *run) conclude(s *sights) {
	def, out := r.a.Scenario.Replication, s.out
	late := s.seen != nil && s.before == nil && s.since(s.first) > def.VisibleWithin.D() // it may have been visible for long
	if s.seen != nil && !late {
		out.LagMS, out.ErrorMS = s.lag()
	}
	shown := s.last
	switch {
	case r.fault != nil:
	case s.first == nil:
		r.fault = fault(runs.ClassProbe, "no time left to look: the token from region %s came when the write was about to be cleaned up, or the run to end", def.From)
	case s.broken != nil:
		shown = s.broken
		r.fail(s.broken.cause)
	case s.backwards != nil:
		shown = s.backwards
		r.fail(&runs.Cause{
			Class: runs.ClassReplication, Step: s.backwards.cause.Step,
			Detail: fmt.Sprintf("%d reads no longer saw the write after one had: %s", out.Backwards, s.backwards.cause.Detail),
		})
	case late:
		shown = s.seen
		r.fault = fault(runs.ClassProbe, "looked for the first time %s after the write, want within %s, when it is due to be visible: how long it took nobody can tell",
			s.since(s.first).Round(time.Millisecond), def.VisibleWithin)
	case s.seen != nil:
		shown = s.seen
	case s.lasting() < def.VisibleWithin.D():
		r.fault = fault(runs.ClassProbe, "looked only until %s after the write, want at least %s, when it is due to be visible: the write or its token was late",
			s.lasting().Round(time.Millisecond), def.VisibleWithin)
	default:
		out.Lost, shown = true, s.before
		r.fail(&runs.Cause{
			Class: runs.ClassReplication, Step: s.before.cause.Step,
			Detail: fmt.Sprintf("not visible within %s of the write: %s", s.lasting().Round(time.Millisecond), s.before.cause.Detail),
		})
	}
	if shown == nil {
		return
	}
	for i := range shown.steps {
		done := &shown.steps[i]
		if shown == s.seen {
			r.account(done, &shown.defs[i])
		}
		r.result.DurationMS += done.DurationMS
		r.result.Steps = append(r.result.Steps, *done)
	}
	if out.LagMS != nil && *out.LagMS > runs.Milliseconds(def.VisibleWithin.D()) {
		r.degrade(s.seen.defs[len(s.seen.defs)-1].ID, fmt.Sprintf("visible %.0f ms after the write, want within %s", *out.LagMS, def.VisibleWithin))
	}
}

// lag is how long after the write it was seen, and how far off that may be: it became visible at some time between the look before, or the
// write, and the answer that showed it. What was visible by the time that the write was acknowledged has no lag.
func (s *sights) lag() (lag *float64, errorMS float64) {
	took := max(s.seen.at.Sub(s.written), 0)
	gap := took
	if s.before != nil {
		gap = min(gap, s.seen.ended.Sub(s.before.began))
	}
	return new(runs.Milliseconds(took)), runs.Milliseconds(gap + s.err + s.seen.err)
}

// lasting is how long after the write the last look began that could tell, and did not see it: at least, as far as the clocks can tell.
func (s *sights) lasting() time.Duration {
	if s.before == nil {
		return 0
	}
	return s.since(s.before) - s.err - s.before.err
}

// since is how long after the write a look began.
func (s *sights) since(l *look) time.Duration { return l.at.Add(l.began.Sub(l.ended)).Sub(s.written) }
