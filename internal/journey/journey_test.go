package journey

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lastmile/internal/cachestate"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// script answers steps by id; a step without an answer passes in 10 ms.
type script struct {
	answers map[string]func(context.Context) (runs.Step, error)
	ran     []string
	closed  int
	region  string // what the requests name as the one that served them
	bytes   int64  // of the run's one request
}

func (s *script) Step(ctx context.Context, step *scenario.Step, _ *vars.Scope) (runs.Step, error) {
	s.ran = append(s.ran, step.ID)
	if answer, ok := s.answers[step.ID]; ok {
		return answer(ctx)
	}
	return runs.Step{State: runs.StepPassed, DurationMS: 10, Bytes: 100}, nil
}

func (s *script) Close() runs.Trail {
	s.closed++
	return runs.Trail{Requests: []runs.Request{{Step: "1", URL: "http://shop/?", Status: 200, ServedRegion: s.region, Bytes: s.bytes}}}
}

func fails(detail string) func(context.Context) (runs.Step, error) {
	return func(context.Context) (runs.Step, error) {
		return runs.Step{State: runs.StepFailed, DurationMS: 5, Cause: &runs.Cause{Class: runs.ClassAssertion, Detail: detail}}, nil
	}
}

func assignment(steps ...scenario.Step) *runs.Assignment {
	none, _ := netprofile.Lookup("none")
	schedule, err := scenario.ParseSchedule("@every 1m")
	if err != nil {
		panic(err)
	}
	a := runs.NewAssignment(scenario.Scenario{
		Name: "shop", Schedule: schedule, Timeout: scenario.Duration(20 * time.Second), Steps: steps,
	}, "us", none, time.Now().Truncate(time.Second))
	return &a
}

func httpStep(id string) scenario.Step {
	return scenario.Step{ID: id, Type: scenario.StepHTTP, URL: "http://shop/"}
}

// access hands out executors; nil ones cannot be opened.
type access struct {
	http, browser Executor
	opening       func() // called when an executor is opened
	link          runs.Link
	closed        int
	judged        []string
}

func (a *access) open(e Executor) (Executor, error) {
	if a.opening != nil {
		a.opening()
	}
	if e == nil {
		return nil, &runs.Fault{Class: runs.ClassProbe, Err: errors.New("nothing to open")}
	}
	return e, nil
}

func (a *access) HTTP(context.Context) (Executor, error)    { return a.open(a.http) }
func (a *access) Browser(context.Context) (Executor, error) { return a.open(a.browser) }
func (a *access) Bare(context.Context) (Executor, error)    { return a.open(nil) }

func (a *access) Judge(step string, from, to time.Time) {
	a.judged = append(a.judged, step+" "+to.Sub(from).String())
}

func (a *access) Close() runs.Link {
	a.closed++
	return a.link
}

func (a *access) connect(context.Context, *runs.Assignment) (Access, error) { return a, nil }

func runner(http Executor, secrets map[string]string) *Runner {
	return over(&access{http: http, link: runs.Link{Profile: "none", Mode: runs.LinkDirect}}, secrets)
}

func over(a *access, secrets map[string]string) *Runner {
	return New(slog.New(slog.DiscardHandler), "probe-1", a.connect, func(name string) (vars.Secret, error) {
		value, ok := secrets[name]
		if !ok {
			return "", errors.New("not set")
		}
		return vars.Secret(value), nil
	}, Options{})
}

func TestPassedRunSumsItsSteps(t *testing.T) {
	s := &script{}
	a := assignment(httpStep("home"), httpStep(""))
	got := runner(s, nil).Run(t.Context(), a)
	if got.State != runs.StatePassed || got.DurationMS != 20 || s.closed != 1 || len(got.Requests) != 1 {
		t.Errorf("got state %s, %v ms, closed %d, %d requests; want passed, 20 ms, closed once, 1 request", got.State, got.DurationMS, s.closed, len(got.Requests))
	}
	if got.Steps[1].ID != "2" {
		t.Errorf("step without id: got %q, want its position 2", got.Steps[1].ID)
	}
	if err := got.Check(); err != nil {
		t.Errorf("result does not pass its own check: %v", err)
	}
}

func TestFailureStopsTheJourneyButNotItsCleanUp(t *testing.T) {
	s := &script{answers: map[string]func(context.Context) (runs.Step, error){"pay": fails("got 1, want 2"), "undo": fails("later")}}
	undo := httpStep("undo")
	undo.Always = true
	got := runner(s, nil).Run(t.Context(), assignment(httpStep("home"), httpStep("pay"), httpStep("after"), undo))
	if want := "home pay undo"; strings.Join(s.ran, " ") != want {
		t.Errorf("got steps %v, want %s", s.ran, want)
	}
	if got.State != runs.StateFailed || got.Cause.Step != "pay" || got.Cause.Detail != "got 1, want 2" {
		t.Errorf("got %s %+v, want failed at pay", got.State, got.Cause)
	}
	if got.Steps[2].State != runs.StepSkipped {
		t.Errorf("step after the failure: got %s, want skipped", got.Steps[2].State)
	}
}

func TestOptionalStepAndBudgetDegrade(t *testing.T) {
	s := &script{answers: map[string]func(context.Context) (runs.Step, error){"banner": fails("no banner")}}
	banner := httpStep("banner")
	banner.Optional = true
	got := runner(s, nil).Run(t.Context(), assignment(banner, httpStep("home")))
	if got.State != runs.StateDegraded || got.Cause.Step != "banner" {
		t.Errorf("optional step: got %s %+v, want degraded by banner", got.State, got.Cause)
	}
	slow := httpStep("slow")
	slow.Budget = &scenario.Budget{Duration: scenario.Duration(9 * time.Millisecond), Bytes: 99}
	got = runner(&script{}, nil).Run(t.Context(), assignment(slow))
	if got.State != runs.StateDegraded || len(got.Steps[0].Warnings) != 2 || got.Cause.Class != runs.ClassBudget {
		t.Errorf("budget: got %s %+v, want degraded with two breaches", got.State, got.Steps[0])
	}
}

func TestLCPBudgetThatCannotBeCheckedSaysSo(t *testing.T) {
	home := httpStep("home")
	home.Budget = &scenario.Budget{LCP: scenario.Duration(time.Second)}
	got := runner(&script{}, nil).Run(t.Context(), assignment(home))
	if got.State != runs.StatePassed || len(got.Steps[0].Warnings) != 1 {
		t.Errorf("got %s %v, want passed with a warning that no LCP was reported", got.State, got.Steps[0].Warnings)
	}
}

func TestOurFaultIsInvalidNeverFailed(t *testing.T) {
	crash := func(context.Context) (runs.Step, error) {
		return runs.Step{}, &runs.Fault{Class: runs.ClassBrowserCrash, Err: errors.New("renderer gone")}
	}
	s := &script{answers: map[string]func(context.Context) (runs.Step, error){"pay": crash}}
	got := runner(s, nil).Run(t.Context(), assignment(httpStep("pay"), httpStep("after")))
	if got.State != runs.StateInvalid || got.Cause.Class != runs.ClassBrowserCrash || got.Cause.Step != "pay" {
		t.Errorf("crash: got %s %+v, want invalid browser_crash at pay", got.State, got.Cause)
	}

	browser := runner(&script{}, nil).Run(t.Context(), assignment(scenario.Step{Type: scenario.StepNavigate, URL: "http://shop/"}))
	if browser.State != runs.StateInvalid || browser.Cause.Class != runs.ClassProbe {
		t.Errorf("no Chromium: got %s %+v, want invalid", browser.State, browser.Cause)
	}
}

func TestShutDownIsNotTheServicesFailure(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	stopped := func(context.Context) (runs.Step, error) {
		cancel()
		return runs.Step{State: runs.StepFailed, Cause: &runs.Cause{Class: runs.ClassTimeout, Detail: "cancelled"}}, nil
	}
	s := &script{answers: map[string]func(context.Context) (runs.Step, error){"home": stopped}}
	if got := runner(s, nil).Run(ctx, assignment(httpStep("home"))); got.State != runs.StateInvalid {
		t.Errorf("got %s %+v, want invalid", got.State, got.Cause)
	}
}

func TestTimeLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answers: map[string]func(context.Context) (runs.Step, error){"slow": waits}}
		step := httpStep("slow")
		step.Timeout = scenario.Duration(3 * time.Second)
		got := runner(s, nil).Run(t.Context(), assignment(step))
		if got.State != runs.StateFailed || got.Cause.Class != runs.ClassTimeout || got.DurationMS != 3000 {
			t.Errorf("step limit: got %s %v ms, want failed by timeout after 3000 ms", got.State, got.DurationMS)
		}
		a := assignment(step)
		a.Deadline = time.Now().Add(time.Second)
		if got := runner(s, nil).Run(t.Context(), a); got.DurationMS != 1000 {
			t.Errorf("deadline: got %v ms, want 1000 ms", got.DurationMS)
		}
	})
}

func TestSecretsNeverLeave(t *testing.T) {
	const secret = "hunter2hunter2"
	s := &script{answers: map[string]func(context.Context) (runs.Step, error){"login": fails("page says hunter2hunter2")}, region: "us-" + secret}
	a := assignment(httpStep("login"))
	a.Scenario.Secrets = []string{"PASSWORD"}
	got := runner(s, map[string]string{"PASSWORD": secret}).Run(t.Context(), a)
	if body, err := json.Marshal(got); err != nil || strings.Contains(string(body), secret) {
		t.Errorf("secret in the result: %s (%v)", body, err)
	}
	for name, value := range map[string]string{"absent": "", "short": "abc"} {
		values := map[string]string{}
		if value != "" {
			values["PASSWORD"] = value
		}
		if got := runner(s, values).Run(t.Context(), a); got.State != runs.StateInvalid {
			t.Errorf("%s secret: got %s, want invalid", name, got.State)
		}
	}
}

// speaker is a session whose answers say of their caches what a target made up.
type speaker struct {
	script
	said []string
}

func (s *speaker) Close() (trail runs.Trail) {
	for _, said := range s.said {
		trail.Requests = append(trail.Requests, runs.Request{Status: 200, Cache: cachestate.Classify(http.Header{"Cache-Status": {"edge; fwd=" + said}})})
	}
	return trail
}

// What a cache says of itself is kept as evidence, cut to a word: a server may well put there what the request came with.
func TestSecretsNeverLeaveAsEvidence(t *testing.T) {
	const secret = "hunter2hunter2-0123456789-0123456789-0123456789"
	s := &speaker{said: []string{secret, secret[:14] + ".rest", "nonsense", "miss"}}
	a := assignment(httpStep("login"))
	a.Scenario.Secrets = []string{"LONG", "DOTTED"}
	got := runner(s, map[string]string{"LONG": secret, "DOTTED": secret[:14] + ".rest"}).Run(t.Context(), a)
	if body, err := json.Marshal(got); err != nil || strings.Contains(string(body), "hunter2") {
		t.Errorf("secret in the result: %s (%v)", body, err)
	}
	if one, two := got.Requests[2].Cache.Evidence, got.Requests[3].Cache.Evidence; one != "Cache-Status: fwd=nonsense" || two != "Cache-Status: fwd=miss" {
		t.Errorf("got evidence %q and %q, want what is no secret as it was", one, two)
	}
}

// The cause of an invalid run is the step that met the fault, whatever its cleaning up costs.
func TestCleanUpDoesNotHideTheFault(t *testing.T) {
	crash := func(context.Context) (runs.Step, error) {
		return runs.Step{}, &runs.Fault{Class: runs.ClassBrowserCrash, Err: errors.New("renderer gone")}
	}
	undo := httpStep("undo")
	undo.Always, undo.Budget = true, &scenario.Budget{Bytes: 1}
	s := &script{answers: map[string]func(context.Context) (runs.Step, error){"pay": crash}}
	got := runner(s, nil).Run(t.Context(), assignment(httpStep("pay"), undo))
	if got.State != runs.StateInvalid || got.Cause.Step != "pay" || got.Cause.Class != runs.ClassBrowserCrash {
		t.Errorf("got %s %+v, want invalid browser_crash at pay", got.State, got.Cause)
	}
}

// waits is a step that hangs until its time is up.
func waits(ctx context.Context) (runs.Step, error) {
	began := time.Now()
	<-ctx.Done()
	return runs.Step{
		State: runs.StepFailed, DurationMS: runs.Milliseconds(time.Since(began)), Cause: &runs.Cause{Class: runs.ClassTimeout, Detail: "waiting"},
	}, nil
}

// A browser that takes long to start costs the service none of its time.
func TestOpeningIsNotTheServicesTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answers: map[string]func(context.Context) (runs.Step, error){"slow": waits}}
		var opening, connecting time.Duration
		network := &access{browser: s, opening: func() { time.Sleep(opening) }}
		connect := func(context.Context, *runs.Assignment) (Access, error) {
			time.Sleep(connecting)
			return network, nil
		}
		r := New(slog.New(slog.DiscardHandler), "probe-1", connect, nil, Options{})
		step := scenario.Step{ID: "slow", Type: scenario.StepNavigate, URL: "http://shop/", Timeout: scenario.Duration(time.Minute)}

		opening = 5 * time.Second
		got := r.Run(t.Context(), assignment(step)) // 20 s, and 30 s of start window of which nothing was used
		if got.State != runs.StateFailed || got.DurationMS != 20_000 {
			t.Errorf("opened in 5 s: got %s after %v ms, want failed after the whole timeout of 20 s", got.State, got.DurationMS)
		}
		opening = 90 * time.Second
		got = r.Run(t.Context(), assignment(step))
		if got.State != runs.StateInvalid || got.Cause.Class != runs.ClassOverloaded {
			t.Errorf("opened after the deadline: got %s %+v, want invalid: overloaded", got.State, got.Cause)
		}
		opening, connecting = 0, 5*time.Second
		got = r.Run(t.Context(), assignment(step))
		if got.State != runs.StateFailed || got.DurationMS != 20_000 {
			t.Errorf("network made in 5 s: got %s after %v ms, want failed after the whole timeout of 20 s", got.State, got.DurationMS)
		}
		connecting, network.closed = 90*time.Second, 0
		got = r.Run(t.Context(), assignment(step))
		if got.State != runs.StateInvalid || got.Cause.Class != runs.ClassOverloaded || network.closed != 1 {
			t.Errorf("network made after the deadline: got %s %+v, closed %d times; want invalid: overloaded, closed once", got.State, got.Cause, network.closed)
		}
	})
}

// However many steps clean up, they have one bounded time for it after the run's is up.
func TestCleanUpIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answers: map[string]func(context.Context) (runs.Step, error){}}
		steps := []scenario.Step{httpStep("slow")}
		for _, id := range []string{"slow", "a", "b", "c", "d"} {
			s.answers[id] = waits
			if id != "slow" {
				undo := httpStep(id)
				undo.Always = true
				steps = append(steps, undo)
			}
		}
		for i := range steps {
			steps[i].Timeout = scenario.Duration(time.Minute)
		}
		began := time.Now()
		got := runner(s, nil).Run(t.Context(), assignment(steps...))
		if took := time.Since(began); took > 20*time.Second+cleanupTime || len(s.ran) != 5 {
			t.Errorf("got %s and steps %v, want all steps, and at most %s after the timeout of 20 s", took, s.ran, cleanupTime)
		}
		if got.State != runs.StateFailed || got.Cause.Step != "slow" {
			t.Errorf("got %s %+v, want failed at slow", got.State, got.Cause)
		}
	})
}

// The numbers of a run over another link than the one named are no numbers of the service, good or bad.
func TestLinkOffProfileIsInvalid(t *testing.T) {
	off := runs.Link{Profile: "3g", Mode: runs.LinkProxy, Verdict: runs.OffProfile, Misses: []string{"rtt: got 400 ms, want 300 ms"}}
	for name, steps := range map[string]*script{
		"passed": {},
		"failed": {answers: map[string]func(context.Context) (runs.Step, error){"home": fails("slow")}},
	} {
		network := &access{http: steps, link: off}
		got := over(network, nil).Run(t.Context(), assignment(httpStep("home")))
		if got.State != runs.StateInvalid || got.Cause.Class != runs.ClassLinkOffProfile || !strings.Contains(got.Cause.Detail, "got 400 ms") {
			t.Errorf("%s: got %s %+v, want invalid: link_off_profile with what was off", name, got.State, got.Cause)
		}
		if got.Link.Verdict != runs.OffProfile || network.closed != 1 {
			t.Errorf("%s: got link %+v, closed %d times; want it reported, and closed once", name, got.Link, network.closed)
		}
	}
}

// However good a link was, what did not cross it was measured over another network.
func TestResponsesThatDidNotCrossTheLinkAreInvalid(t *testing.T) {
	for bytes, want := range map[int64]runs.State{400: runs.StateInvalid, 900: runs.StatePassed} {
		good := runs.Link{
			Profile: "3g", Mode: runs.LinkProxy, Verdict: runs.OnProfile, Down: &runs.LinkTraffic{Bytes: 50_000 + bytes, CalibrationBytes: 50_000},
		}
		got := over(&access{http: &script{bytes: 1000}, link: good}, nil).Run(t.Context(), assignment(httpStep("home")))
		if got.State != want || want == runs.StateInvalid && (got.Cause.Class != runs.ClassLinkOffProfile || got.Link.Verdict != runs.OffProfile) {
			t.Errorf("1000 bytes of responses, %d over the link: got %s %+v, want %s", bytes, got.State, got.Cause, want)
		}
	}
}

// Whatever of a journey tried to go elsewhere, a worker or a page's script, the run says so.
func TestBlockedAttemptsFailTheRun(t *testing.T) {
	blocked := runs.Link{Profile: "none", Mode: runs.LinkDirect, Blocked: 2, BlockedHosts: []string{"tracker.test"}}
	got := over(&access{http: &script{}, link: blocked}, nil).Run(t.Context(), assignment(httpStep("home")))
	if got.State != runs.StateFailed || got.Cause.Class != runs.ClassBlockedHost || !strings.Contains(got.Cause.Detail, "tracker.test") {
		t.Errorf("got %s %+v, want failed: blocked_host, naming the host", got.State, got.Cause)
	}
}

// A browser inside the network takes a refusal for a failed look-up or connect: that is not the service's failure.
func TestBlockedLooksLikeAFailedLookUp(t *testing.T) {
	blocked := runs.Link{Profile: "3g", Mode: runs.LinkNamespace, Verdict: runs.OnProfile, Blocked: 1, BlockedHosts: []string{"inside.test"}}
	steps := &script{answers: map[string]func(context.Context) (runs.Step, error){"home": func(context.Context) (runs.Step, error) {
		return runs.Step{State: runs.StepFailed, Cause: &runs.Cause{Class: runs.ClassDNS, Detail: "not resolved"}}, nil
	}}}
	got := over(&access{http: steps, link: blocked}, nil).Run(t.Context(), assignment(httpStep("home")))
	if got.State != runs.StateFailed || got.Cause.Class != runs.ClassBlockedHost || got.Cause.Step != "home" || !strings.Contains(got.Cause.Detail, "inside.test") {
		t.Errorf("got %s %+v, want failed: blocked_host at home, naming the host", got.State, got.Cause)
	}
}

// The network is judged for the time of each step alone.
func TestNetworkIsJudgedStepByStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(context.Context) (runs.Step, error) {
			time.Sleep(3 * time.Second)
			return runs.Step{State: runs.StepPassed}, nil
		}
		network := &access{
			http: &script{answers: map[string]func(context.Context) (runs.Step, error){"slow": slow}}, opening: func() { time.Sleep(time.Second) },
		}
		over(network, nil).Run(t.Context(), assignment(httpStep("home"), httpStep("slow")))
		if want := "home 0s,slow 3s"; strings.Join(network.judged, ",") != want {
			t.Errorf("got judged %q, want %s", network.judged, want)
		}
	})
}

func TestNetworkThatCannotBeMadeIsInvalid(t *testing.T) {
	connect := func(context.Context, *runs.Assignment) (Access, error) {
		return nil, &runs.Fault{Class: runs.ClassProbe, Err: errors.New("no more descriptors")}
	}
	got := New(slog.New(slog.DiscardHandler), "probe-1", connect, nil, Options{}).Run(t.Context(), assignment(httpStep("home")))
	if got.State != runs.StateInvalid || got.Cause.Class != runs.ClassProbe || got.Link.Mode != runs.LinkNone {
		t.Errorf("got %s %+v over %q, want invalid: probe over an unavailable link", got.State, got.Cause, got.Link.Mode)
	}
}
