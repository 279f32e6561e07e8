package journey

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// pageRun is a run of one browser step whose network takes 2 s to make and whose browser takes 3 s to start; log has what happened when.
func pageRun(t *testing.T) (r *Runner, a *runs.Assignment, network *access, log *[]string) {
	t.Helper()
	log = &[]string{}
	from := time.Now()
	note := func(what string) { *log = append(*log, what+" "+time.Since(from).String()) }
	s := &script{answers: map[string]func(context.Context) (runs.Step, error){"home": func(context.Context) (runs.Step, error) {
		note("step")
		time.Sleep(time.Second)
		return runs.Step{State: runs.StepPassed, DurationMS: 1000}, nil
	}}}
	network = &access{browser: s, opening: func() {
		note("browser")
		time.Sleep(3 * time.Second)
	}}
	connect := func(context.Context, *runs.Assignment) (Access, error) {
		note("network")
		time.Sleep(2 * time.Second)
		return network, nil
	}
	a = assignment(scenario.Step{ID: "home", Type: scenario.StepNavigate, URL: "http://shop/"})
	return New(slog.New(slog.DiscardHandler), "probe-1", connect, nil, Options{}), a, network, log
}

// What is ours is over before the run begins, and the run begins when it is told to.
func TestARunIsPreparedBeforeItBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, a, network, log := pageRun(t)
		slot := time.Now().Add(10 * time.Second)
		ended := 0
		got := r.RunAfter(t.Context(), a, func(context.Context) error {
			time.Sleep(time.Until(slot))
			return nil
		}, func(r *runs.Result) {
			if ended++; network.closed != 1 || r.State != runs.StatePassed {
				t.Errorf("told of the end with the network closed %d times and a run that is %q, want once, and passed", network.closed, r.State)
			}
			r.Tainted = append(r.Tainted, "machine busy")
		})
		if want := "network 0s,browser 2s,step 10s"; strings.Join(*log, ",") != want {
			t.Errorf("got %s, want %s", strings.Join(*log, ","), want)
		}
		if got.State != runs.StatePassed || !got.StartedAt.Equal(slot) || got.DurationMS != 1000 || ended != 1 || len(got.Tainted) != 1 {
			t.Errorf("got %s, started %s after its slot, %v ms, told of its end %d times, tainted %v; want passed, at its slot, 1000 ms, once, and what was added",
				got.State, got.StartedAt.Sub(slot), got.DurationMS, ended, got.Tainted)
		}
	})
}

func TestARunThatMayNotBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, a, network, log := pageRun(t)
		ended := func(*runs.Result) { t.Error("told of the end of a run that did not begin") }
		full := func(context.Context) error {
			return &runs.Fault{Class: runs.ClassOverloaded, Err: errors.New("no room")}
		}
		got := r.RunAfter(t.Context(), a, full, ended)
		if got.State != runs.StateInvalid || got.Cause.Class != runs.ClassOverloaded || got.Cause.Detail != "no room" || len(*log) != 2 || network.closed != 1 {
			t.Errorf("no room: got %s %+v after %v, network closed %d times; want invalid: overloaded, no step, closed", got.State, got.Cause, *log, network.closed)
		}
		if s := network.browser.(*script); s.closed != 1 {
			t.Errorf("no room: got the browser closed %d times, want once", s.closed)
		}

		r, a, network, _ = pageRun(t)
		ctx, cancel := context.WithCancel(t.Context())
		got = r.RunAfter(ctx, a, func(ctx context.Context) error {
			cancel()
			return ctx.Err()
		}, ended)
		if got.State != runs.StateInvalid || got.Cause.Class != runs.ClassProbe || network.closed != 1 {
			t.Errorf("shutting down: got %s %+v, network closed %d times, want invalid by the probe, and closed", got.State, got.Cause, network.closed)
		}

		r, a, network, log = pageRun(t)
		network.browser = nil
		got = r.RunAfter(t.Context(), a, full, ended)
		if got.State != runs.StateInvalid || got.Cause.Class != runs.ClassProbe || len(*log) != 2 || network.closed != 1 {
			t.Errorf("no browser: got %s %+v after %v, want invalid by the probe before anything was tried", got.State, got.Cause, *log)
		}
	})
}
