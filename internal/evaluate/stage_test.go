package evaluate_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"lastmile/internal/evaluate"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// stage plays runs to an engine, in simulated time.
type stage struct {
	t       testing.TB
	engine  *evaluate.Engine
	s       scenario.Scenario
	now     time.Time
	slots   []slot
	first   time.Time // when the first of them is due
	pending []evaluate.ConfirmRequest
	asked   []evaluate.ConfirmRequest
	changed []runs.Alert

	// outcome says what becomes of a run; nil = it passes. It may change all of the result.
	outcome func(r *runs.Result)
	// silent: nothing comes of the run, and its slot is closed.
	silent func(c scenario.Combination, at time.Time) runs.State
	deaf   bool // confirmations are not run
}

// slot is when a combination runs next.
type slot struct {
	of scenario.Combination
	at time.Time
}

// openBooks know of one objective what they are told.
type openBooks struct{}

func (openBooks) Objective(name, region, objective string, _ time.Time) (runs.ObjectiveStatus, bool) {
	status := runs.ObjectiveStatus{Scenario: name, Region: region, SLO: scenario.SLO{Name: objective, Objective: 0.999, Window: slo.Window(30 * 24 * time.Hour)}, Remaining: 0.4}
	for _, w := range runs.BurnWindows() {
		status.Windows = append(status.Windows, runs.WindowCounts{WindowBurn: runs.WindowBurn{Window: w, Burn: 2}})
	}
	return status, true
}

func checkout(t testing.TB, every string, regions int, networks ...string) scenario.Scenario {
	t.Helper()
	schedule, err := scenario.ParseSchedule("@every " + every)
	if err != nil {
		t.Fatal(err)
	}
	s := scenario.Scenario{
		Name: "checkout", Owner: "payments", Runbook: "https://runbooks.example/checkout", Schedule: schedule, Timeout: scenario.Duration(20 * time.Second),
		Networks: networks, Alerts: scenario.Alerts{Labels: map[string]string{"tier": "one"}},
		SLOs: []scenario.SLO{{Name: "availability", Objective: 0.999, Window: slo.Window(30 * 24 * time.Hour)}},
	}
	for i := range regions {
		s.Regions = append(s.Regions, fmt.Sprintf("region-%02d", i))
	}
	return s
}

func newStage(t testing.TB, s scenario.Scenario) *stage {
	st := &stage{t: t, engine: evaluate.New(openBooks{}), s: s, now: epoch, first: epoch}
	st.engine.Define([]scenario.Scenario{s})
	timetable := s.Timetable()
	for _, c := range s.Combinations() {
		st.slots = append(st.slots, slot{c, timetable.Next(c, epoch)})
	}
	return st
}

// result is a run that passed.
func (st *stage) result(c scenario.Combination, slot time.Time, trigger runs.Trigger) *runs.Result {
	return &runs.Result{
		Schema: runs.Schema, RunID: runs.NewID(c, slot), Scenario: c.Scenario, Region: c.Region, Network: c.Network, Slot: slot, Trigger: trigger,
		Probe: "probe-1", State: runs.StatePassed, DurationMS: 800,
	}
}

// play lets time pass second by second.
func (st *stage) play(d time.Duration) {
	st.t.Helper()
	for end := st.now.Add(d); st.now.Before(end); {
		st.now = st.now.Add(time.Second)
		if !st.now.Before(st.first.Add(takes)) {
			st.run()
		}
		st.pending = slices.DeleteFunc(st.pending, func(r evaluate.ConfirmRequest) bool {
			if st.now.Before(r.At.Add(takes)) {
				return false
			}
			st.give(st.result(r.Combination, r.At, runs.TriggerConfirm))
			return true
		})
		st.take(st.engine.Tick(st.now))
	}
}

// run has the slots measured that are due, or closed.
func (st *stage) run() {
	timetable := st.s.Timetable()
	for i := range st.slots {
		c, at := st.slots[i].of, st.slots[i].at
		if !st.now.Before(at.Add(takes)) {
			st.slots[i].at = timetable.Next(c, at)
			state := runs.State("")
			if st.silent != nil {
				state = st.silent(c, at)
			}
			if state == "" {
				st.give(st.result(c, at, runs.TriggerSchedule))
			} else {
				st.engine.Verdict(&runs.Verdict{Schema: runs.Schema, Region: c.Region, Minute: at.Truncate(time.Minute), Slots: []runs.SlotVerdict{
					{RunID: runs.NewID(c, at), State: state, Reason: runs.ReasonLost},
				}}, st.now)
			}
		}
		if next := st.slots[i].at; i == 0 || next.Before(st.first) {
			st.first = next
		}
	}
}

func (st *stage) give(r *runs.Result) {
	if st.outcome != nil {
		st.outcome(r)
	}
	st.engine.Result(r, st.now)
}

func (st *stage) take(d evaluate.Decisions) {
	if !st.deaf {
		st.pending = append(st.pending, d.Confirm...)
	}
	st.asked = append(st.asked, d.Confirm...)
	st.changed = append(st.changed, d.Changed...)
}

// journey is the state of a region.
func (st *stage) journey(region string) runs.JourneyStatus {
	st.t.Helper()
	for _, j := range st.engine.Journeys(st.now) {
		if j.Region == region {
			return j
		}
	}
	st.t.Fatalf("got no journey of %s", region)
	return runs.JourneyStatus{}
}

// until plays on until done, for at most so long, and returns how long it took.
func (st *stage) until(most time.Duration, what string, done func() bool) time.Duration {
	st.t.Helper()
	from := st.now
	for !done() {
		if st.now.Sub(from) >= most {
			st.t.Fatalf("got no %s in %s; alerts %+v", what, most, st.engine.Alerts(st.now))
		}
		st.play(time.Second)
	}
	return st.now.Sub(from)
}

// find returns the alert of a name that is active; nil = there is none.
func (st *stage) find(name, region string) *runs.Alert {
	for _, a := range st.engine.Alerts(st.now) {
		if a.Name == name && a.Region == region && a.Active() {
			return &a
		}
	}
	return nil
}

// begins returns an until condition.
func (st *stage) begins(name, region string) func() bool {
	return func() bool { return st.find(name, region) != nil }
}

func (st *stage) ends(name, region string) func() bool {
	return func() bool { return st.find(name, region) == nil }
}

// fail makes a run fail.
func fail(r *runs.Result) {
	r.State, r.Cause = runs.StateFailed, &runs.Cause{Class: runs.ClassHTTP5xx, Step: "pay", Detail: "got 503, want 200"}
}

// failing makes all runs of some regions fail.
func failing(regions ...string) func(*runs.Result) {
	return func(r *runs.Result) {
		if slices.Contains(regions, r.Region) {
			fail(r)
		}
	}
}

// none fails the test where there was any alert of the names; no names = any at all.
func (st *stage) none(names ...string) {
	st.t.Helper()
	for _, a := range st.changed {
		if len(names) == 0 || slices.Contains(names, a.Name) {
			st.t.Errorf("got %s %s in %q at %s by rule %s: %d of %d; want none", a.Severity, a.Name, a.Region, a.StartsAt, a.Why.Rule, a.Why.Bad, a.Why.Of)
		}
	}
}
