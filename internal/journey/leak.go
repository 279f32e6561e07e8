package journey

import (
	"context"
	"fmt"
	"strings"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// Watcher is an executor that can look for a secret in all that it gets.
type Watcher interface {
	// Watch has every answer from now on looked through for the secret, before anything else is made of it: the status line, the headers,
	// the decoded body. A step that got an answer which has it fails with class cache_leak. The detail tells which answer that was and
	// what the cache said of it, and has neither the secret nor anything else of the answer's content.
	Watch(secret vars.Secret)
}

// minCanary is the least length of a canary in bytes: under it, chance and ordinary text would look like a leak.
const minCanary = 16

// again is what the first identity is called in the last pass, behind its name.
const again = "-again"

// pass is the scenario's steps as one identity runs them, with sessions and variables of its own.
type pass struct {
	*scenario.Identity
	as     string // before the ids of the steps
	other  *pass  // whose canary must not show here
	canary vars.Secret
}

// passes runs the steps of a scenario of kind cache-leak: as the first identity, which fills the caches, as the second, which may find
// there what is the first's, and as the first again, for what the second has left there. Which of the passes come to nothing because one
// before them failed is in the steps, as skipped.
func (r *run) passes(ctx context.Context, secrets map[string]vars.Secret) {
	identities := r.a.Scenario.Identities
	first, second := &pass{Identity: &identities[0], as: identities[0].Name}, &pass{Identity: &identities[1], as: identities[1].Name}
	first.other, second.other = second, first
	last := &pass{Identity: first.Identity, as: first.Name + again, other: second}
	r.refuse(r.alike(first, second, secrets))
	for _, p := range []*pass{first, second, last} {
		r.enter(p, secrets)
		if unknown := p.other.canary == "" && p != first; r.fault != nil || r.leaked() || unknown {
			r.skip(p)
			continue
		}
		r.walk(ctx, p.as+"/", func() { r.learn(p) })
		if p != last {
			r.refuse(p.judge())
		}
	}
}

// enter begins a pass: with the identity's variables, and without what the one before it opened.
func (r *run) enter(p *pass, secrets map[string]vars.Secret) {
	r.closeSessions()
	r.pass, r.scope = p, r.scopeOf(p.Identity, secrets)
	r.learn(p) // as far as it is a secret
}

// scopeOf makes the variables of an identity. What is known of canaries is secret in it.
func (r *run) scopeOf(identity *scenario.Identity, secrets map[string]vars.Secret) *vars.Scope {
	scope := r.a.Scenario.Scope(r.a.Combination(), string(r.a.RunID), secrets)
	scope.Conceal(r.canaries...)
	for name, template := range identity.Vars {
		value, err := scope.Expand(template)
		if err != nil { // cannot happen: only secrets may be in it, and all of them are there
			r.refuse(fmt.Errorf("identity %s: vars.%s: %w", identity.Name, name, err))
		}
		scope.Set("vars."+name, value)
	}
	return scope
}

// learn makes a secret of the identity's canary as soon as it is known. It is known for good when the pass is over.
func (r *run) learn(p *pass) {
	text, err := r.scope.Expand(p.Canary)
	if err != nil {
		return
	}
	p.canary = vars.Secret(text)
	if len(text) >= vars.MinSecret {
		r.canaries = append(r.canaries, p.canary)
		r.scope.Conceal(p.canary)
	}
}

// alike says why two identities cannot tell a leak, as far as that shows before they run. What it learns of their canaries stays with them.
func (r *run) alike(first, second *pass, secrets map[string]vars.Secret) error {
	same := true
	scopes := [2]*vars.Scope{r.scopeOf(first.Identity, secrets), r.scopeOf(second.Identity, secrets)}
	for _, names := range []map[string]string{first.Vars, second.Vars} {
		for name := range names {
			one, _ := scopes[0].Expand("${vars." + name + "}") // its own, or the scenario's: one or the other is there
			two, _ := scopes[1].Expand("${vars." + name + "}")
			same = same && one == two
		}
	}
	if same {
		return fmt.Errorf("identities %s and %s: got the same vars, want those of two users", first.Name, second.Name)
	}
	for i, p := range []*pass{first, second} {
		r.scope = scopes[i]
		if r.learn(p); p.canary != "" { // a secret: else the steps extract it
			if err := p.judge(); err != nil {
				return err
			}
		}
	}
	return nil
}

// judge says what is wrong with the canary of a pass, when it must be known. One that is no good is forgotten.
func (p *pass) judge() (err error) {
	switch {
	case p.canary == "":
		err = fmt.Errorf("canary of %s: nothing that its steps did gave it a value", p.Name)
	case len(vars.Plain(p.canary)) < minCanary:
		err = fmt.Errorf("canary of %s: got %d bytes, want %d or more once percent-encoding and the like are undone", p.Name, len(vars.Plain(p.canary)), minCanary)
	case p.other.canary != "":
		err = apart(p.other, p)
	}
	if err != nil {
		p.canary = ""
	}
	return err
}

// apart says why the canaries of two identities cannot be told from each other.
func apart(one, two *pass) error {
	first, second := vars.Plain(one.canary).Reveal(), vars.Plain(two.canary).Reveal()
	if first == second {
		return fmt.Errorf("canaries of %s and %s: got the same, want something that only the one may see, and only the other", one.Name, two.Name)
	}
	if strings.Contains(first, second) || strings.Contains(second, first) {
		return fmt.Errorf("canaries of %s and %s: got one that is a part of the other, want neither in the other", one.Name, two.Name)
	}
	return nil
}

// refuse makes the run invalid for what is wrong with its identities. A service that failed before it came to that has failed.
func (r *run) refuse(err error) {
	if err == nil || r.fault != nil || r.result.State == runs.StateFailed {
		return
	}
	r.fault = fault(runs.ClassProbe, "%w", err)
	r.result.State, r.result.Cause = "", faultCause(r.fault)
}

// skip notes the steps of a pass that is not run.
func (r *run) skip(p *pass) {
	for i := range r.a.Scenario.Steps {
		step := r.a.Scenario.Steps[i]
		r.result.Steps = append(r.result.Steps, runs.Step{ID: stepID(p.as+"/", &step, i), Type: step.Type, State: runs.StepSkipped, Skipped: runs.SkipFailure})
	}
}

// watch has a session that has just been opened look for what must not show.
func (r *run) watch(e Executor) error {
	if r.pass == nil || r.pass.other.canary == "" {
		return nil
	}
	watcher, ok := e.(Watcher)
	if !ok {
		return fault(runs.ClassProbe, "look for the canary of %s: got steps whose answers cannot be looked through", r.pass.other.Name)
	}
	watcher.Watch(r.pass.other.canary)
	return nil
}

// isLeak reports whether a step found what is another user's.
func isLeak(done *runs.Step) bool {
	return done.Cause != nil && done.Cause.Class == runs.ClassCacheLeak
}

// leaked reports whether the run has found a leak.
func (r *run) leaked() bool {
	return r.result.Cause != nil && r.result.Cause.Class == runs.ClassCacheLeak
}

// expose makes a leak the run's cause, whatever else was wrong: with the service before, with the probe, or with the link, over which
// nothing of the kind must come either.
func (r *run) expose(done *runs.Step) {
	if r.leaked() {
		return // the first one tells it
	}
	done.Cause.Detail = fmt.Sprintf("%s was shown the canary of %s in region %s: %s", r.pass.Name, r.pass.other.Name, r.a.Region, done.Cause.Detail)
	r.fault = nil
	r.result.State, r.result.Cause = runs.StateFailed, done.Cause
}
