package journey

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// mirror answers each step with the user's own canary, unless shows says what else, and looks for what it was told to.
type mirror struct {
	own     map[string]string                    // canaries by user
	shows   map[string]string                    // by the step's id: what is answered in place of the user's own canary
	answers map[string]func() (runs.Step, error) // by the step's id
	watched vars.Secret
	log     []string // of each step: id, user, what is looked for
	closed  int
}

func (m *mirror) Watch(secret vars.Secret) { m.watched = secret }

func (m *mirror) Step(_ context.Context, step *scenario.Step, scope *vars.Scope) (runs.Step, error) {
	user, err := scope.Expand("${vars.user}")
	if err != nil {
		return runs.Step{}, err
	}
	m.log = append(m.log, strings.TrimSpace(step.ID+" "+user+" "+m.watched.Reveal()))
	got, ok := m.shows[step.ID]
	if !ok {
		got = m.own[user]
	}
	if m.watched != "" && strings.Contains(got, m.watched.Reveal()) {
		return runs.Step{State: runs.StepFailed, Cause: &runs.Cause{Class: runs.ClassCacheLeak, Detail: "found in the body of http://shop/me: status 200, cache hit"}}, nil
	}
	if strings.HasSuffix(step.ID, "/me") {
		scope.Set("canary", got)
	}
	if answer := m.answers[step.ID]; answer != nil {
		return answer()
	}
	return runs.Step{State: runs.StepPassed, DurationMS: 10, Warnings: []string{"got " + got}}, nil
}

func (m *mirror) Close() runs.Trail {
	m.watched = ""
	m.closed++
	return runs.Trail{Requests: []runs.Request{{URL: "http://shop/me", Status: 200, Error: "said " + m.own["alice"] + " and " + m.own["bob"]}}}
}

const (
	aliceCanary = "canary-of-alice-0001"
	bobCanary   = "canary-of-bob-000002"
)

func newMirror() *mirror {
	return &mirror{
		own: map[string]string{"alice": aliceCanary, "bob": bobCanary}, shows: map[string]string{}, answers: map[string]func() (runs.Step, error){},
	}
}

// identities is a scenario of kind cache-leak: sign in, see your own, sign out.
func identities() *runs.Assignment {
	out := httpStep("out")
	out.Always = true
	a := assignment(httpStep("in"), httpStep("me"), out)
	a.Scenario.Kind = scenario.KindCacheLeak
	a.Scenario.Identities = []scenario.Identity{
		{Name: "alice", Vars: map[string]string{"user": "alice"}, Canary: "${canary}"},
		{Name: "bob", Vars: map[string]string{"user": "bob"}, Canary: "${canary}"},
	}
	return a
}

// told is what a result says: its steps with their states.
func told(r *runs.Result) (out []string) {
	for _, step := range r.Steps {
		out = append(out, step.ID+" "+string(step.State))
	}
	return out
}

func TestIdentitiesTakeTurns(t *testing.T) {
	m := newMirror()
	got := runner(m, nil).Run(t.Context(), identities())
	if got.State != runs.StatePassed || got.Cause != nil {
		t.Fatalf("got %s %+v, want passed", got.State, got.Cause)
	}
	want := []string{
		"alice/in alice", "alice/me alice", "alice/out alice",
		"bob/in bob " + aliceCanary, "bob/me bob " + aliceCanary, "bob/out bob " + aliceCanary,
		"alice-again/in alice " + bobCanary, "alice-again/me alice " + bobCanary, "alice-again/out alice " + bobCanary,
	}
	if !slices.Equal(m.log, want) {
		t.Errorf("got %q,\nwant %q", m.log, want)
	}
	if m.closed != 3 || len(got.Requests) != 3 || got.DurationMS != 90 {
		t.Errorf("got %d sessions, %d requests, %v ms; want a session for each pass and the steps of all", m.closed, len(got.Requests), got.DurationMS)
	}
	text, err := json.Marshal(got)
	if err != nil || strings.Contains(string(text), "canary-of") || !strings.Contains(string(text), "redacted") {
		t.Errorf("got %s (%v), want no canary in it, and the places where they were", text, err)
	}
	if err := got.Check(); err != nil {
		t.Error(err)
	}
}

func TestLeakIsFoundInEitherDirectionAndOutranksAllElse(t *testing.T) {
	fault := func() (runs.Step, error) {
		return runs.Step{}, &runs.Fault{Class: runs.ClassProbe, Err: errors.New("out of sockets")}
	}
	unlike := func() (runs.Step, error) {
		return runs.Step{State: runs.StepFailed, Cause: &runs.Cause{Class: runs.ClassAssertion, Detail: "want no-store"}}, nil
	}
	for name, c := range map[string]struct {
		prepare func(*mirror, *runs.Assignment)
		step    string
		detail  string
		last    string // the state of the last steps
	}{
		"to the second": {func(m *mirror, _ *runs.Assignment) { m.shows["bob/me"] = "{" + aliceCanary + "}" }, "bob/me", "bob was shown the canary of alice in region us: found", "bob/me failed, bob/out passed, alice-again/in skipped, alice-again/me skipped, alice-again/out skipped"},
		"to the first":  {func(m *mirror, _ *runs.Assignment) { m.shows["alice-again/me"] = bobCanary }, "alice-again/me", "alice was shown the canary of bob in region us: found", "alice-again/me failed, alice-again/out passed"},
		"in cleaning up": {func(m *mirror, _ *runs.Assignment) {
			m.answers["bob/me"] = unlike
			m.shows["bob/out"] = aliceCanary
		}, "bob/out", "bob was shown", "bob/me failed, bob/out failed, alice-again/in skipped, alice-again/me skipped, alice-again/out skipped"},
		"after a failure": {func(m *mirror, _ *runs.Assignment) {
			m.answers["alice/me"] = unlike
			m.shows["bob/in"] = aliceCanary
		}, "bob/in", "bob was shown", "alice/out passed, bob/in failed, bob/me skipped, bob/out passed, alice-again/in skipped, alice-again/me skipped, alice-again/out skipped"},
		"before and after a fault": {func(m *mirror, _ *runs.Assignment) {
			m.answers["bob/in"] = fault
			m.shows["bob/out"] = aliceCanary
		}, "bob/out", "bob was shown", "bob/in failed, bob/me skipped, bob/out failed, alice-again/in skipped, alice-again/me skipped, alice-again/out skipped"},
		"in an optional step": {func(m *mirror, a *runs.Assignment) {
			a.Scenario.Steps[1].Optional = true
			m.shows["bob/me"] = aliceCanary
		}, "bob/me", "bob was shown", "bob/me failed, bob/out passed, alice-again/in skipped, alice-again/me skipped, alice-again/out skipped"},
	} {
		t.Run(name, func(t *testing.T) {
			m, a := newMirror(), identities()
			c.prepare(m, a)
			network := &access{http: m, link: runs.Link{Profile: "none", Verdict: runs.OffProfile, Misses: []string{"too slow"}}}
			got := over(network, nil).Run(t.Context(), a)
			if got.State != runs.StateFailed || got.Cause.Class != runs.ClassCacheLeak || got.Cause.Step != c.step || !strings.HasPrefix(got.Cause.Detail, c.detail) {
				t.Errorf("got %s %+v, want failed for a leak at %s: %s", got.State, got.Cause, c.step, c.detail)
			}
			if steps := strings.Join(told(&got), ", "); !strings.HasSuffix(steps, c.last) {
				t.Errorf("got %s, want at the end %s", steps, c.last)
			}
		})
	}
}

func TestFailureWithoutALeakStaysWhatItIs(t *testing.T) {
	m := newMirror()
	m.answers["bob/in"] = func() (runs.Step, error) {
		return runs.Step{State: runs.StepFailed, Cause: &runs.Cause{Class: runs.ClassHTTP5xx, Detail: "got 503"}}, nil
	}
	got := runner(m, nil).Run(t.Context(), identities())
	if got.State != runs.StateFailed || got.Cause.Class != runs.ClassHTTP5xx || got.Cause.Step != "bob/in" {
		t.Errorf("got %s %+v, want the 503 of bob's", got.State, got.Cause)
	}
	want := "alice/in passed, alice/me passed, alice/out passed, bob/in failed, bob/me skipped, bob/out passed, " +
		"alice-again/in skipped, alice-again/me skipped, alice-again/out skipped" // what bob might have left is not known
	if steps := strings.Join(told(&got), ", "); steps != want {
		t.Errorf("got %s, want %s", steps, want)
	}
}

func TestCanariesThatTellNothingMakeARunInvalid(t *testing.T) {
	secret := func(a *runs.Assignment) {
		a.Scenario.Secrets = []string{"ONE", "TWO"}
		a.Scenario.Identities[0].Canary, a.Scenario.Identities[1].Canary = "${secrets.ONE}", "id-${secrets.TWO}"
	}
	for name, c := range map[string]struct {
		prepare func(*mirror, *runs.Assignment)
		secrets map[string]string
		detail  string
		ran     int
	}{
		"too short":   {func(m *mirror, _ *runs.Assignment) { m.own["alice"] = "short-canary-15" }, nil, "canary of alice: got 15 bytes, want 16 or more", 3},
		"other short": {func(m *mirror, _ *runs.Assignment) { m.own["bob"] = "bob" }, nil, "canary of bob: got 3 bytes, want 16 or more", 6},
		"short name":  {func(m *mirror, _ *runs.Assignment) { m.own["alice"] = "%D0%98%D0%B2%D0%B0%D0%BD" }, nil, "canary of alice: got 8 bytes, want 16 or more", 3},
		"same name": {func(m *mirror, _ *runs.Assignment) {
			m.own["alice"], m.own["bob"] = "canary%20of%20everybody", "canary of everybody"
		},
			nil, "canaries of alice and bob: got the same", 6},
		"not there":    {func(_ *mirror, a *runs.Assignment) { a.Scenario.Identities[0].Canary = "${other}" }, nil, "canary of alice: nothing that its steps did gave it a value", 3},
		"one in other": {func(m *mirror, _ *runs.Assignment) { m.own["alice"] = "id-" + bobCanary }, nil, "canaries of alice and bob: got one that is a part of the other", 6},
		"same user":    {func(_ *mirror, a *runs.Assignment) { a.Scenario.Identities[1].Vars["user"] = "alice" }, nil, "identities alice and bob: got the same vars, want those of two users", 0},
		"same secret": {func(_ *mirror, a *runs.Assignment) { secret(a); a.Scenario.Identities[1].Canary = "${secrets.TWO}" },
			map[string]string{"ONE": aliceCanary, "TWO": aliceCanary}, "canaries of alice and bob: got the same", 0},
		"short secret": {func(_ *mirror, a *runs.Assignment) { secret(a) }, map[string]string{"ONE": "123456789", "TWO": bobCanary}, "canary of alice: got 9 bytes, want 16 or more", 0},
	} {
		t.Run(name, func(t *testing.T) {
			m, a := newMirror(), identities()
			c.prepare(m, a)
			got := runner(m, c.secrets).Run(t.Context(), a)
			if got.State != runs.StateInvalid || got.Cause.Class != runs.ClassProbe || !strings.HasPrefix(got.Cause.Detail, c.detail) {
				t.Errorf("got %s %+v, want invalid: %s", got.State, got.Cause, c.detail)
			}
			if len(m.log) != c.ran || len(got.Steps) != 9 {
				t.Errorf("got %d steps run and %d told, want %d of 9: %v", len(m.log), len(got.Steps), c.ran, m.log)
			}
		})
	}
}

func TestCanariesThatAreSecretsAreLookedForFromTheStart(t *testing.T) {
	m, a := newMirror(), identities()
	a.Scenario.Secrets = []string{"ONE", "TWO"}
	a.Scenario.Identities[0].Canary, a.Scenario.Identities[1].Canary = "${secrets.ONE}", "${secrets.TWO}"
	m.shows["alice/in"] = bobCanary // which a run before this one has left in a cache
	got := runner(m, map[string]string{"ONE": aliceCanary, "TWO": bobCanary}).Run(t.Context(), a)
	if got.State != runs.StateFailed || got.Cause.Class != runs.ClassCacheLeak || got.Cause.Step != "alice/in" {
		t.Errorf("got %s %+v, want a leak at alice/in", got.State, got.Cause)
	}
}

func TestIdentitiesOfSecrets(t *testing.T) {
	m, a := newMirror(), identities()
	a.Scenario.Secrets = []string{"BOB"}
	a.Scenario.Vars = map[string]scenario.Text{"user": "alice"}
	a.Scenario.Identities[0].Vars = nil
	a.Scenario.Identities[1].Vars["user"] = "${secrets.BOB}"
	m.own["bob-the-second"] = bobCanary
	got := runner(m, map[string]string{"BOB": "bob-the-second"}).Run(t.Context(), a)
	if got.State != runs.StatePassed || m.log[0] != "alice/in alice" || m.log[3] != "bob/in bob-the-second "+aliceCanary {
		t.Errorf("got %s %+v, %q; want vars of the scenario where an identity has none, and secrets in those it has", got.State, got.Cause, m.log)
	}
}

func TestStepsThatCannotBeLookedThroughAreOurFault(t *testing.T) {
	plain := &script{}
	a := identities()
	a.Scenario.Secrets = []string{"ONE", "TWO"}
	a.Scenario.Identities[0].Canary, a.Scenario.Identities[1].Canary = "${secrets.ONE}", "${secrets.TWO}"
	got := runner(plain, map[string]string{"ONE": aliceCanary, "TWO": bobCanary}).Run(t.Context(), a)
	if got.State != runs.StateInvalid || got.Cause.Class != runs.ClassProbe || !strings.Contains(got.Cause.Detail, "answers cannot be looked through") {
		t.Errorf("got %s %+v, want invalid: not looked through is not passed", got.State, got.Cause)
	}
}
