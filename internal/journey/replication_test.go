package journey

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/runs/notes"
	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// air carries tokens between relays, and is what the hub's clock says: the real time.
type air struct {
	mu     sync.Mutex
	tokens map[time.Time]notes.Token
	came   chan struct{} // closed when the first one has come
	down   error         // why nothing can be published
	late   time.Duration // after which a token arrives
	busy   time.Duration // how long it takes to publish one
}

func newAir() *air { return &air{tokens: map[time.Time]notes.Token{}, came: make(chan struct{})} }

// relay is a probe's end of it, with a clock that is off by shift, and known to be to within off.
type relay struct {
	*air
	shift, off time.Duration
	wrong      time.Duration // what nobody knows that it is off by
	unknown    error
}

func (r relay) Read() (time.Time, runs.Clock, error) {
	return time.Now().Add(r.shift), runs.Clock{OffsetMS: runs.Milliseconds(r.wrong - r.shift), ErrorMS: runs.Milliseconds(r.off)}, r.unknown
}

func (r relay) Publish(ctx context.Context, t notes.Token) error {
	if r.down != nil {
		<-ctx.Done()
		return r.down
	}
	if err := t.Check(); err != nil {
		return err
	}
	time.Sleep(r.busy)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tokens[t.Slot] = t
	close(r.came)
	return nil
}

func (r relay) Await(ctx context.Context, a *runs.Assignment) (notes.Token, error) {
	select {
	case <-r.came:
	case <-ctx.Done():
		return notes.Token{}, ctx.Err()
	}
	time.Sleep(r.late)
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tokens[a.Slot]
	return t, t.CheckFor(a)
}

// shop is a service whose replicas see an order for a while: when says what a read gets that begins so long after the write.
type shop struct {
	mu      sync.Mutex
	written time.Time
	removed time.Time
	fails   string        // step of the writer that fails
	slow    time.Duration // what the write takes
	stuck   time.Duration // how long after the write reads get no answer any more; 0 = they always do
	when    func(since time.Duration) *runs.Cause
	tokens  []string // what the readers asked for
}

const requestTime = 10 * time.Millisecond

// teller is a session with the shop.
type teller struct {
	*shop
	requests []runs.Request
}

func (s *teller) Step(ctx context.Context, step *scenario.Step, scope *vars.Scope) (runs.Step, error) {
	began := time.Now()
	done := runs.Step{State: runs.StepPassed, DurationMS: runs.Milliseconds(requestTime)}
	url, err := scope.Expand(step.URL)
	if err != nil {
		return runs.Step{State: runs.StepFailed, Cause: &runs.Cause{Class: runs.ClassScript, Detail: err.Error()}}, nil
	}
	s.requests = append(s.requests, runs.Request{Step: step.ID, URL: url, StartedAt: began})
	took := requestTime
	if step.ID == "put" {
		took += s.slow
	}
	s.mu.Lock()
	if s.stuck > 0 && step.ID == "see" && began.Sub(s.written) >= s.stuck {
		took = time.Hour
	}
	s.mu.Unlock()
	select {
	case <-time.After(took):
	case <-ctx.Done():
		return runs.Step{State: runs.StepFailed, Cause: &runs.Cause{Class: runs.ClassTimeout, Detail: "timed out"}}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case step.ID == s.fails:
		done.Cause = &runs.Cause{Class: runs.ClassHTTP5xx, Detail: "got 503"}
	case step.ID == "put":
		s.written = time.Now()
		scope.Set("order", "17")
	case step.ID == "undo":
		s.removed = time.Now()
	case strings.HasPrefix(step.ID, "see"):
		s.tokens = append(s.tokens, url)
		done.Cause = s.when(began.Sub(s.written))
		if !s.removed.IsZero() && began.After(s.removed) {
			done.Cause = stale
		}
	}
	if done.Cause != nil {
		done.Cause = new(*done.Cause)
		done.State = runs.StepFailed
	}
	return done, nil
}

func (s *teller) Close() runs.Trail { return runs.Trail{Requests: s.requests} }

func (s *teller) Forget(drop func(*runs.Request) bool) {
	s.requests = slices.DeleteFunc(s.requests, func(q runs.Request) bool { return drop(&q) })
}

var stale = &runs.Cause{Class: runs.ClassHTTP4xx, Detail: "got 404"}

// after is a replica that is behind by lag.
func after(lag time.Duration) func(time.Duration) *runs.Cause {
	return func(since time.Duration) *runs.Cause {
		if since < lag {
			return stale
		}
		return nil
	}
}

// replicated is the assignment of a run in a region.
func replicated(region string, change func(*scenario.Scenario)) *runs.Assignment {
	a := assignment(httpStep("see"))
	s := a.Scenario
	s.Kind, s.Regions = scenario.KindReplication, scenario.Strings{"us", "eu", "apac"}
	s.Vars, s.RegionVars = map[string]scenario.Text{"base": "http://us"}, map[string]map[string]scenario.Text{"eu": {"base": "http://eu"}}
	s.Steps[0].URL = "${vars.base}/${order}"
	put, undo := httpStep("put"), httpStep("undo")
	put.URL, undo.URL, undo.Always, put.Timeout = "${vars.base}/", "${vars.base}/${order}", true, scenario.Duration(20*time.Second)
	s.Replication = &scenario.Replication{From: "us", Write: []scenario.Step{put, undo}, Pass: []string{"order"}, VisibleWithin: scenario.Duration(2 * time.Second)}
	if change != nil {
		change(&s)
	}
	made := runs.NewAssignment(s, region, a.Network, a.Slot)
	return &made
}

// play runs a writer in us and a reader in eu.
func play(t *testing.T, s *shop, writer, reader relay, change func(*scenario.Scenario)) (wrote, read runs.Result) {
	t.Helper()
	var both sync.WaitGroup
	run := func(region string, r relay) (out runs.Result) {
		a := replicated(region, change)
		link := &access{http: &teller{shop: s}, link: runs.Link{Profile: "none", Mode: runs.LinkDirect}}
		return New(over(link, nil).log, "probe-"+region, link.connect, nil, Options{Relay: r}).Run(t.Context(), a)
	}
	both.Go(func() { wrote = run("us", writer) })
	both.Go(func() { read = run("eu", reader) })
	both.Wait()
	for _, r := range []*runs.Result{&wrote, &read} {
		if err := r.Check(); err != nil {
			t.Errorf("result does not pass its own check: %v", err)
		}
	}
	return wrote, read
}

func TestReplicationLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, shift := range []time.Duration{0, 3 * time.Second, -3 * time.Second} {
			a, s := newAir(), &shop{when: after(735 * time.Millisecond)}
			began := time.Now()
			wrote, read := play(t, s, relay{air: a, off: 2 * time.Millisecond}, relay{air: a, shift: shift, off: 3 * time.Millisecond}, nil)
			if wrote.State != runs.StatePassed || read.State != runs.StatePassed {
				t.Fatalf("got %s %+v and %s %+v, want both passed", wrote.State, wrote.Cause, read.State, read.Cause)
			}
			// Looks begin every 100 ms from the write on; that of 800 ms is answered at 810. The one before it began at 700.
			out := read.Replication
			if out.LagMS == nil || *out.LagMS != 810 || out.ErrorMS != 110+2+3 || out.StaleReads != 8 || out.Looks != 8+1+10 || out.Lost || out.Backwards != 0 || out.From != "us" {
				t.Errorf("shift %s: got %+v, want visible after 810 ms to within 115 ms, after 8 stale reads", shift, show(out))
			}
			if want := began.Add(requestTime); !out.WrittenAt.Equal(want) || !wrote.Replication.WrittenAt.Equal(want) || wrote.Replication.LagMS != nil {
				t.Errorf("shift %s: got written at %s and %s, want %s", shift, out.WrittenAt, wrote.Replication.WrittenAt, want)
			}
			if read.Clock == nil || read.Clock.OffsetMS != runs.Milliseconds(-shift) || read.Clock.ErrorMS != 3 {
				t.Errorf("shift %s: got clock %+v", shift, read.Clock)
			}
			if s.tokens[0] != "http://eu/17" {
				t.Errorf("got %s read, want the reader's own region and the writer's order", s.tokens[0])
			}
			if got := stepsOf(&wrote); got != "put undo" {
				t.Errorf("writer: got steps %s, want put undo", got)
			}
			if len(read.Steps) != 1 || read.Steps[0].State != runs.StepPassed || read.DurationMS != 10 {
				t.Errorf("reader: got steps %+v in %v ms, want the look that saw it, 10 ms", read.Steps, read.DurationMS)
			}
			if len(read.Requests) != 3 || read.Requests[1].StartedMS != 810 || read.Requests[0].StartedMS != 10 {
				t.Errorf("reader: got requests %+v, want the first, the one that saw it, and the last", read.Requests)
			}
			// The write stays until everybody has done with it: 2 s, 1 s of watching, and the start window, but for the last 3 s of the run.
			if stayed := s.removed.Sub(s.written); stayed != 17*time.Second {
				t.Errorf("got the write cleaned up after %s, want 17s", stayed)
			}
		}
	})
}

func show(r *runs.Replication) string {
	lag := math.NaN()
	if r.LagMS != nil {
		lag = *r.LagMS
	}
	return fmt.Sprintf("lag %v %+v", lag, *r)
}

func stepsOf(r *runs.Result) string {
	var out []string
	for i := range r.Steps {
		name := r.Steps[i].ID
		if r.Steps[i].State != runs.StepPassed {
			name += "(" + string(r.Steps[i].State) + ")"
		}
		out = append(out, name)
	}
	return strings.Join(out, " ")
}

func TestReplicationVerdicts(t *testing.T) {
	never := func(time.Duration) *runs.Cause { return stale }
	between := func(from, to time.Duration, cause *runs.Cause) func(time.Duration) *runs.Cause {
		return func(since time.Duration) *runs.Cause {
			if since >= from && since < to {
				return cause
			}
			return nil
		}
	}
	down := &runs.Cause{Class: runs.ClassConnect, Detail: "refused"}
	for _, c := range []struct {
		name   string
		shop   *shop
		change func(*scenario.Scenario)
		state  runs.State
		class  runs.Class
		detail string
		check  func(*runs.Replication) bool
	}{
		{"at once", &shop{when: after(0)}, nil, runs.StatePassed, "", "", func(r *runs.Replication) bool { return *r.LagMS == 10 && r.ErrorMS == 10 && r.Looks == 11 }},
		{"too slow", &shop{when: after(2500 * time.Millisecond)}, nil, runs.StateDegraded, runs.ClassBudget, "visible 2510 ms after the write, want within 2s", func(r *runs.Replication) bool { return *r.LagMS == 2510 && !r.Lost }},
		{"lost", &shop{when: never}, nil, runs.StateFailed, runs.ClassReplication, "not visible within 16.9s of the write: got 404", func(r *runs.Replication) bool {
			return r.Lost && r.LagMS == nil && r.StaleReads == r.Looks && r.Looks == 170
		}},
		{"an old version", &shop{when: between(0, 200*time.Millisecond, &runs.Cause{Class: runs.ClassAssertion, Detail: "got 1"})}, nil, runs.StatePassed, "", "", func(r *runs.Replication) bool { return r.StaleReads == 2 }},
		{"backwards", &shop{when: between(500*time.Millisecond, 800*time.Millisecond, stale)}, nil, runs.StateFailed, runs.ClassReplication, "3 reads no longer saw the write after one had: got 404", func(r *runs.Replication) bool {
			return r.Backwards == 3 && r.StaleReads == 0 && *r.LagMS == 10 && !r.Lost
		}},
		{"backwards when it is over", &shop{when: between(1200*time.Millisecond, 2*time.Second, stale)}, nil, runs.StatePassed, "", "", func(r *runs.Replication) bool { return r.Backwards == 0 }},
		{"a longer watch", &shop{when: between(1200*time.Millisecond, 2*time.Second, stale)}, func(s *scenario.Scenario) { s.Replication.Watch = scenario.Duration(5 * time.Second) }, runs.StateFailed, runs.ClassReplication, "8 reads", func(r *runs.Replication) bool { return r.Backwards == 8 }},
		{"broken", &shop{when: between(300*time.Millisecond, 400*time.Millisecond, down)}, nil, runs.StateFailed, runs.ClassConnect, "refused", func(r *runs.Replication) bool { return r.StaleReads == 0 && r.Backwards == 0 && *r.LagMS == 10 }},
		{"broken all the time", &shop{when: between(0, time.Hour, down)}, nil, runs.StateFailed, runs.ClassConnect, "refused", func(r *runs.Replication) bool { return !r.Lost && r.LagMS == nil && r.StaleReads == 0 && r.Looks > 100 }},
		{"written late", &shop{when: never, slow: 15 * time.Second}, nil, runs.StateInvalid, runs.ClassProbe, "looked only until 1.9s after the write, want at least 2s", func(r *runs.Replication) bool { return !r.Lost && r.LagMS == nil }},
		{"written late, and visible", &shop{when: after(time.Second), slow: 15 * time.Second}, nil, runs.StatePassed, "", "", func(r *runs.Replication) bool { return *r.LagMS == 1010 }},
		{"nothing to clean up", &shop{when: never}, func(s *scenario.Scenario) { s.Replication.Write = s.Replication.Write[:1] }, runs.StateFailed, runs.ClassReplication, "not visible within 19.9s", func(r *runs.Replication) bool { return r.Lost }},
		{"looks less often", &shop{when: after(735 * time.Millisecond)}, func(s *scenario.Scenario) { s.Replication.Every = scenario.Duration(time.Second) }, runs.StatePassed, "", "", func(r *runs.Replication) bool { return *r.LagMS == 1010 && r.ErrorMS == 1010 }},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := newAir()
			wrote, read := play(t, c.shop, relay{air: a}, relay{air: a}, c.change)
			if wrote.State != runs.StatePassed {
				t.Errorf("%s: the writer: got %s %+v, want passed", c.name, wrote.State, wrote.Cause)
			}
			var cause runs.Cause
			if read.Cause != nil {
				cause = *read.Cause
			}
			if read.State != c.state || cause.Class != c.class || !strings.Contains(cause.Detail, c.detail) || read.State == runs.StateFailed && cause.Step != "see" {
				t.Errorf("%s: got %s %+v, want %s %s %q", c.name, read.State, cause, c.state, c.class, c.detail)
			}
			if !c.check(read.Replication) {
				t.Errorf("%s: got %s", c.name, show(read.Replication))
			}
			if len(read.Requests) > 5 {
				t.Errorf("%s: got %d requests kept, want a few of %d", c.name, len(read.Requests), read.Replication.Looks)
			}
		})
	}
}

// What is not the service's is nobody's lost write.
func TestReplicationWithoutAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, s := newAir(), &shop{fails: "put", when: after(0)}
		wrote, read := play(t, s, relay{air: a}, relay{air: a}, nil)
		if wrote.State != runs.StateFailed || wrote.Cause.Class != runs.ClassHTTP5xx || wrote.Cause.Step != "put" || stepsOf(&wrote) != "put(failed) undo(failed)" {
			t.Errorf("a write that fails: got %s %+v, %s, want it the writer's failure", wrote.State, wrote.Cause, stepsOf(&wrote))
		}
		if read.State != runs.StateInvalid || read.Cause.Class != runs.ClassProbe || !strings.Contains(read.Cause.Detail, "no token from region us") || read.Replication.Lost {
			t.Errorf("its reader: got %s %+v, want invalid: no token", read.State, read.Cause)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		a, s := newAir(), &shop{when: after(0)}
		a.down = errors.New("bus unavailable")
		wrote, read := play(t, s, relay{air: a}, relay{air: a}, nil)
		if wrote.State != runs.StateInvalid || wrote.Cause.Class != runs.ClassProbe || stepsOf(&wrote) != "put undo" || s.removed.IsZero() {
			t.Errorf("a token that cannot be published: got %s %+v, %s, want invalid, and the write cleaned up", wrote.State, wrote.Cause, stepsOf(&wrote))
		}
		if read.State != runs.StateInvalid {
			t.Errorf("its reader: got %s", read.State)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		a, s := newAir(), &shop{when: after(0)}
		a.late = 17 * time.Second // when the write is gone
		_, read := play(t, s, relay{air: a}, relay{air: a}, nil)
		if read.State != runs.StateInvalid || read.Cause.Class != runs.ClassProbe || !strings.Contains(read.Cause.Detail, "no time left to look") || read.Replication.Lost {
			t.Errorf("a token that comes late: got %s %+v, want invalid", read.State, read.Cause)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		a, s := newAir(), &shop{when: after(0)}
		wrote, read := play(t, s, relay{air: a, unknown: errors.New("not known yet")}, relay{air: a}, nil)
		if wrote.State != runs.StateInvalid || !s.written.IsZero() || !strings.Contains(wrote.Cause.Detail, "not known yet") || read.State != runs.StateInvalid {
			t.Errorf("a writer without the time: got %s %+v, want invalid, and nothing written", wrote.State, wrote.Cause)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		a, s := newAir(), &shop{when: after(0)}
		_, read := play(t, s, relay{air: a}, relay{air: a, unknown: errors.New("not known yet")}, nil)
		if read.State != runs.StateInvalid || !strings.Contains(read.Cause.Detail, "not known yet") || read.Clock != nil {
			t.Errorf("a reader without the time: got %s %+v, want invalid", read.State, read.Cause)
		}
	})
}

// A reader that comes late cannot tell how long the write took to be visible, and one that is cut off at once not whether it is.
func TestReplicationReadLate(t *testing.T) {
	for _, c := range []struct {
		name   string
		late   time.Duration
		shop   *shop
		state  runs.State
		class  runs.Class
		detail string
	}{
		{"visible for long", 5 * time.Second, &shop{when: after(0)}, runs.StateInvalid, runs.ClassProbe, "looked for the first time 5s after the write, want within 2s"},
		{"in time", time.Second, &shop{when: after(0)}, runs.StatePassed, "", ""},
		{"late, and not visible even then", 5 * time.Second, &shop{when: after(6 * time.Second)}, runs.StateDegraded, runs.ClassBudget, "visible 6010 ms after the write"},
		{"cut off at once", 16985 * time.Millisecond, &shop{when: after(0)}, runs.StateInvalid, runs.ClassProbe, "no time left to look"},
		{"no answer any more", 0, &shop{when: after(time.Hour), stuck: time.Second}, runs.StateFailed, runs.ClassTimeout, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := newAir()
			a.late = c.late
			_, read := play(t, c.shop, relay{air: a}, relay{air: a}, func(s *scenario.Scenario) { s.Steps[0].Timeout = scenario.Duration(time.Minute) })
			var cause runs.Cause
			if read.Cause != nil {
				cause = *read.Cause
			}
			if read.State != c.state || cause.Class != c.class || !strings.Contains(cause.Detail, c.detail) {
				t.Errorf("%s: got %s %+v, want %s %s %q", c.name, read.State, cause, c.state, c.class, c.detail)
			}
			if out := read.Replication; (out.LagMS != nil) != (c.state == runs.StatePassed || c.state == runs.StateDegraded) || out.Lost {
				t.Errorf("%s: got %s", c.name, show(out))
			}
		})
	}
}

// Clocks that cannot both be right, as when the hub's has been set between two comparisons, tell no lag. Nor is a write lost, where that
// depends on how far off they are.
func TestReplicationWithClocksThatAreOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAir()
		_, read := play(t, &shop{when: after(0)}, relay{air: a, off: time.Millisecond}, relay{air: a, off: time.Millisecond, wrong: -time.Second}, nil)
		if read.State != runs.StateInvalid || !strings.Contains(read.Cause.Detail, "the write is 1s ahead of this probe's time, want at most 2ms") || read.Replication.LagMS != nil {
			t.Errorf("got %s %+v %s, want invalid: a read before the write", read.State, read.Cause, show(read.Replication))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		a, s := newAir(), &shop{when: after(time.Hour), slow: 14800 * time.Millisecond} // leaves 2.2 s to look
		_, read := play(t, s, relay{air: a, off: 50 * time.Millisecond}, relay{air: a, off: 50 * time.Millisecond}, nil)
		if read.State != runs.StateInvalid || read.Replication.Lost || !strings.Contains(read.Cause.Detail, "looked only until 1.9") {
			t.Errorf("got %s %+v %s, want invalid: 2.1 s may as well be 1.9 s", read.State, read.Cause, show(read.Replication))
		}
	})
}

// However long it takes to make the token known, the write is gone when it says, and the run ends in time.
func TestReplicationPublishedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, s := newAir(), &shop{when: after(0)}
		a.busy = 5 * time.Second
		wrote, _ := play(t, s, relay{air: a}, relay{air: a}, nil)
		if stayed := s.removed.Sub(s.written); wrote.State != runs.StatePassed || stayed != 17*time.Second {
			t.Errorf("got %s %+v, cleaned up after %s, want 17s", wrote.State, wrote.Cause, stayed)
		}
	})
}

// A probe that shuts down cleans up, and what it has measured stands.
func TestReplicationIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{when: after(0)}
		link := &access{http: &teller{shop: s}, link: runs.Link{Profile: "none", Mode: runs.LinkDirect}}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		wrote := New(over(link, nil).log, "p", link.connect, nil, Options{Relay: relay{air: newAir()}}).Run(ctx, replicated("us", nil))
		if wrote.State != runs.StatePassed || s.removed.Sub(s.written) > 2*time.Second || s.removed.IsZero() {
			t.Errorf("writer: got %s %+v, cleaned up after %s, want passed, cleaned up at once", wrote.State, wrote.Cause, s.removed.Sub(s.written))
		}
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		read := New(over(link, nil).log, "p", link.connect, nil, Options{Relay: relay{air: newAir()}}).Run(ctx, replicated("eu", nil))
		if read.State != runs.StateInvalid || !strings.Contains(read.Cause.Detail, "shutting down") {
			t.Errorf("reader: got %s %+v, want invalid: shutting down", read.State, read.Cause)
		}
	})
}

// Without a fleet a run writes and reads by itself.
func TestReplicationAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, region := range []string{"us", "eu"} {
			s := &shop{when: after(735 * time.Millisecond)}
			link := &access{http: &teller{shop: s}, link: runs.Link{Profile: "none", Mode: runs.LinkDirect}}
			got := over(link, nil).Run(t.Context(), replicated(region, nil))
			if got.State != runs.StatePassed || got.Replication.LagMS == nil || *got.Replication.LagMS != 810 || got.Replication.ErrorMS != 110 || got.Clock != nil {
				t.Errorf("%s: got %s %+v %s, want visible after 810 ms", region, got.State, got.Cause, show(got.Replication))
			}
			if stepsOf(&got) != "put see undo" || s.tokens[0] != "http://eu/17" || s.removed.Sub(s.written) > 3*time.Second {
				t.Errorf("%s: got steps %s, %s read, cleaned up after %s, want it written in us, read in eu, and removed at once", region, stepsOf(&got), s.tokens[0], s.removed.Sub(s.written))
			}
		}
	})
}
