package ledger

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"lastmile/internal/runs"
	"lastmile/internal/runs/sli"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// The model: two regions with a stream of results each, one stream of verdicts in which the first word on a minute of a region stands, and two
// coordinators of which either may lead, for a moment even both. They read the streams each at its own pace, plan, close minutes, save themselves, and
// begin anew from what they saved last, which loses what they had only planned.

const (
	modelSlots = 24
	modelEvery = 20 * time.Second
)

func modelCombinations() []scenario.Combination {
	return []scenario.Combination{
		{Scenario: "shop", Region: "eu", Network: "none"}, {Scenario: "shop", Region: "eu", Network: "3g"}, {Scenario: "shop", Region: "us", Network: "none"}, {Scenario: "shop", Region: "us", Network: "3g"},
	}
}

type model struct {
	t         *rapid.T
	scenarios []scenario.Scenario
	schedule  scenario.Schedule
	results   map[string][]*runs.Result // by region, as stored
	verdicts  []*runs.Verdict
	closed    map[string]bool
	now       time.Time
	nodes     []*node
}

// node is a coordinator.
type node struct {
	ledger  *Ledger
	read    map[string]int // of each region's results
	judged  int            // verdicts that were read
	planned map[scenario.Combination]int
	leads   bool
	saved   []byte
	at      map[string]int // what had been read when it was saved
	atJudge int
}

func newModel(t *rapid.T) *model {
	schedule, err := scenario.ParseSchedule("@every 20s")
	if err != nil {
		t.Fatal(err)
	}
	m := &model{t: t, schedule: schedule, results: map[string][]*runs.Result{}, closed: map[string]bool{}, now: start}
	m.scenarios = []scenario.Scenario{{
		Name: "shop", Schedule: schedule, Regions: []string{"eu", "us"}, Networks: []string{"none", "3g"},
		SLOs: []scenario.SLO{{Name: "availability", Objective: 0.9, Window: slo.Window(24 * time.Hour)}, {Name: "region", SLI: scenario.SLIRouting, Objective: 0.9, Window: slo.Window(24 * time.Hour)},
			{Name: "fast", SLI: scenario.SLILatency, Step: "order", Threshold: scenario.Duration(time.Second), Objective: 0.9, Window: slo.Window(24 * time.Hour)},
			{Name: "month", SLI: scenario.SLILatency, Threshold: scenario.Duration(time.Minute), Objective: 0.9, Calendar: scenario.CalendarMonth},
		},
	}}
	for range 2 {
		n := &node{}
		m.begin(n)
		m.nodes = append(m.nodes, n)
	}
	m.nodes[0].leads = true
	return m
}

// begin starts a coordinator from what it saved last.
func (m *model) begin(n *node) {
	n.ledger, n.read, n.judged, n.planned, n.leads = New(), map[string]int{}, n.atJudge, map[scenario.Combination]int{}, false
	if n.saved != nil {
		if err := n.ledger.Load(bytes.NewReader(n.saved)); err != nil {
			m.t.Fatal(err)
		}
	}
	for region, k := range n.at {
		n.read[region] = k
	}
	n.ledger.Define(m.scenarios)
}

func (m *model) slot(c scenario.Combination, k int) time.Time {
	return m.schedule.Next(c, start).Add(time.Duration(k) * modelEvery)
}

func (m *model) node() *node { return m.nodes[rapid.IntRange(0, len(m.nodes)-1).Draw(m.t, "node")] }

func (m *model) combination() scenario.Combination {
	return rapid.SampledFrom(modelCombinations()).Draw(m.t, "combination")
}

// plan enters the next slots of a combination. Every now and then it goes back: a plan that was lost is made again.
func (m *model) plan(t *rapid.T) {
	n, c := m.node(), m.combination()
	if !n.leads {
		return
	}
	if rapid.IntRange(0, 5).Draw(t, "again") == 0 {
		n.planned[c] = 0
	}
	limit := time.Duration(rapid.SampledFrom([]int{15, 15, 75}).Draw(t, "deadline")) * time.Second // a definition may change
	for range rapid.IntRange(1, 6).Draw(t, "slots") {
		if k := n.planned[c]; k < modelSlots {
			n.ledger.Plan(c, m.slot(c, k), m.slot(c, k).Add(limit))
			n.planned[c]++
		}
	}
}

// report stores a result of a slot: the first one or a further one, on time or long after.
func (m *model) report(t *rapid.T) {
	c := m.combination()
	due := int(m.now.Sub(m.slot(c, 0))/modelEvery) + 1
	slot := m.slot(c, rapid.IntRange(0, max(0, min(due, modelSlots-1))).Draw(t, "slot"))
	if m.now.Before(slot) {
		m.now = slot
	}
	r := &runs.Result{
		Schema: runs.Schema, RunID: runs.NewID(c, slot), Scenario: c.Scenario, Region: c.Region, Network: c.Network, Slot: slot,
		Trigger: runs.TriggerSchedule, Autonomous: rapid.Bool().Draw(t, "autonomous"),
		State:      rapid.SampledFrom([]runs.State{runs.StatePassed, runs.StateDegraded, runs.StateFailed, runs.StateInvalid}).Draw(t, "state"),
		DurationMS: float64(rapid.IntRange(1, 90_000).Draw(t, "duration")),
		Requests:   []runs.Request{{Status: 200, ServedRegion: rapid.SampledFrom([]string{c.Region, "asia"}).Draw(t, "served")}},
		Steps:      []runs.Step{{ID: "order", State: runs.StepPassed, DurationMS: float64(rapid.IntRange(900, 1100).Draw(t, "order"))}},
	}
	switch rapid.IntRange(0, 6).Draw(t, "kind") {
	case 0:
		r.Steps[0].State = runs.StepSkipped
	case 1:
		r.Tainted = []string{"busy"}
	}
	if r.State != runs.StatePassed {
		r.Cause = &runs.Cause{Class: runs.ClassTimeout, Detail: fmt.Sprint("no answer, ", len(m.results[c.Region]))}
	}
	for range rapid.IntRange(1, 2).Draw(t, "copies") {
		m.results[c.Region] = append(m.results[c.Region], r)
	}
}

// follow reads some of one stream.
func (m *model) follow(t *rapid.T) {
	n, some := m.node(), rapid.IntRange(1, 8).Draw(t, "messages")
	switch from := rapid.IntRange(0, 2).Draw(t, "stream"); from {
	case 0, 1:
		m.readResults(n, []string{"eu", "us"}[from], some)
	default:
		m.readVerdicts(n, some)
	}
}

func (m *model) readResults(n *node, region string, some int) {
	for ; some > 0 && n.read[region] < len(m.results[region]); some-- {
		r := m.results[region][n.read[region]]
		n.read[region]++
		if n.ledger.Result(r, !n.leads) == Unscheduled {
			m.t.Fatalf("result of %s: got it outside the books, want it in them", r.RunID)
		}
	}
}

func (m *model) readVerdicts(n *node, some int) {
	for ; some > 0 && n.judged < len(m.verdicts); some-- {
		n.ledger.Verdict(m.verdicts[n.judged])
		n.judged++
	}
}

// Reason implements Witness: coordinators do not agree.
func (n *node) Reason(id runs.ID, _ string, _, _ time.Time) runs.Reason {
	return runs.Reasons()[(len(id)+int(id[len(id)-2])+n.judged)%len(runs.Reasons())]
}

// closeMinutes writes the verdicts that a coordinator has. It need not have read all there is.
func (m *model) closeMinutes(n *node) (written int) {
	for _, v := range n.ledger.Closable(m.now, 10*time.Second, n) {
		key := v.Region + v.Minute.String()
		if m.closed[key] { // another one was first
			continue
		}
		m.closed[key] = true
		m.verdicts = append(m.verdicts, &v)
		written++
	}
	return written
}

func (m *model) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"plan": m.plan, "plan more": m.plan, "report": m.report, "report more": m.report, "follow": m.follow, "follow more": m.follow,
		"time passes": func(t *rapid.T) {
			m.now = m.now.Add(time.Duration(rapid.IntRange(1, 90).Draw(t, "seconds")) * time.Second)
		},
		"close": func(*rapid.T) {
			if n := m.node(); n.leads {
				m.closeMinutes(n)
			}
		},
		"elect": func(*rapid.T) { m.node().leads = true },
		"step down": func(*rapid.T) {
			if n := m.node(); n.leads {
				n.leads = false
				n.ledger.Rest(m.now)
				n.planned = map[scenario.Combination]int{}
			}
		},
		"save": func(*rapid.T) {
			n := m.node()
			n.saved, n.atJudge, n.at = saved(m.t, n.ledger), n.judged, map[string]int{"eu": n.read["eu"], "us": n.read["us"]}
		},
		"die": func(*rapid.T) { m.begin(m.node()) },
	}
}

// check asserts what holds at any moment.
func (m *model) check() {
	for _, n := range m.nodes {
		for _, a := range n.ledger.Accounts(m.now) {
			if a.Counts.Planned() != a.Entered[runs.StatePending] || a.Budget.Counts.Planned() != a.Counts.Planned() {
				m.t.Fatalf("%+v: got %v, %d in the history, want the sum of the %d planned", a.Combination, a.Counts, a.Budget.Counts.Planned(), a.Entered[runs.StatePending])
			}
			states := runs.StateCounts{}
			for _, s := range n.ledger.Slots(a.Combination, time.Time{}) {
				states[s.State]++
			}
			for state, count := range a.Counts {
				if states[state] != count {
					m.t.Fatalf("%+v: got %v by slot, want %v", a.Combination, states, a.Counts)
				}
			}
		}
	}
}

// expected works out from the streams alone what has become of each slot: of its results the first of the highest rank, else the first
// verdict on it.
type expected struct {
	state   map[runs.ID]runs.State
	reason  map[runs.ID]runs.Reason
	entered map[scenario.Combination]int64 // results
	all     map[scenario.Combination]int64
	served  map[scenario.Combination]int64

	decided    map[runs.ID]*runs.Result // which result did
	objectives map[[2]string]slo.Counts // by name and region, "" = everywhere
}

func (m *model) expect() expected {
	e := expected{map[runs.ID]runs.State{}, map[runs.ID]runs.Reason{}, map[scenario.Combination]int64{}, map[scenario.Combination]int64{}, map[scenario.Combination]int64{}, map[runs.ID]*runs.Result{}, nil}
	for _, stream := range m.results {
		for _, r := range stream {
			c, was := r.Combination(), e.state[r.RunID]
			e.all[c]++
			if was == "" || was == runs.StateInvalid && r.State != runs.StateInvalid {
				e.state[r.RunID], e.decided[r.RunID] = r.State, r
				e.entered[c]++
				if r.State.Measured() {
					e.served[c]++
				}
			}
		}
	}
	for _, v := range m.verdicts {
		for _, s := range v.Slots {
			if e.state[s.RunID] == "" {
				e.state[s.RunID], e.reason[s.RunID] = s.State, s.Reason
			}
		}
	}
	e.objectives = m.expectObjectives(e)
	return e
}

// expectObjectives counts what each objective asks for, slot by slot.
func (m *model) expectObjectives(e expected) map[[2]string]slo.Counts {
	out := map[[2]string]slo.Counts{}
	for id, state := range e.state {
		c, _, err := id.Parse()
		if err != nil {
			m.t.Fatal(err)
		}
		for i := range m.scenarios[0].SLOs {
			o := &m.scenarios[0].SLOs[i]
			n := state.Counts()
			if r := e.decided[id]; o.SLI == scenario.SLIRouting {
				n = slo.Counts{}
				if r != nil {
					n = sli.Events(o, r, c.Region, 0)
				}
			} else if r != nil {
				n = sli.Counts(o, r)
			}
			for _, region := range []string{"", c.Region} {
				key := [2]string{o.Name, region}
				out[key] = out[key].Add(n)
			}
		}
	}
	return out
}

// Whatever happens, and in whatever order: at each moment planned is the sum of all states, and in the end every coordinator has the same
// books, which are what the streams say, each slot and each result counted once.
func TestBooksAreWhatTheStreamsSay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		m.nodes[1].leads = rapid.Bool().Draw(t, "split brain")
		actions := m.actions()
		names := slices.Sorted(maps.Keys(actions))
		for _, name := range rapid.SliceOfN(rapid.SampledFrom(names), 60, 160).Draw(t, "actions") {
			actions[name](t)
			m.check()
		}
		m.end()
	})
}

// end lets the first coordinator lead until nothing is open, and all read everything.
func (m *model) end() {
	m.now = m.now.Add(time.Hour)
	leader := m.nodes[0]
	leader.leads = true
	for _, c := range modelCombinations() {
		for k := range modelSlots {
			leader.ledger.Plan(c, m.slot(c, k), m.slot(c, k).Add(15*time.Second))
		}
	}
	for range 200 {
		for _, n := range m.nodes {
			for _, region := range []string{"eu", "us"} {
				m.readResults(n, region, 1<<20)
			}
			m.readVerdicts(n, 1<<20)
		}
		m.now = m.now.Add(time.Minute)
		if m.closeMinutes(leader) == 0 && leader.ledger.Pending() == 0 {
			break
		}
	}
	m.check()
	fresh := &node{}
	m.begin(fresh) // it reads verdicts first
	m.readVerdicts(fresh, 1<<20)
	m.readResults(fresh, "us", 1<<20)
	m.readResults(fresh, "eu", 1<<20)
	e := m.expect()
	for i, n := range append(m.nodes, fresh) {
		if n.ledger.Pending() != 0 {
			m.t.Fatalf("coordinator %d: got %d slots without an end", i, n.ledger.Pending())
		}
		for _, c := range modelCombinations() {
			m.compare(n.ledger, c, e)
		}
		for _, o := range n.ledger.Objectives(m.now) {
			if want := e.objectives[[2]string{o.SLO.Name, o.Region}]; o.Counts != want {
				m.t.Fatalf("coordinator %d: objective %s in region %q: got %+v, want %+v", i, o.SLO.Name, o.Region, o.Counts, want)
			}
		}
	}
}

func (m *model) compare(l *Ledger, c scenario.Combination, e expected) {
	slots := l.Slots(c, time.Time{})
	counts, samples := runs.StateCounts{}, 0
	for _, s := range slots {
		if s.State != e.state[s.RunID] || s.Reason != e.reason[s.RunID] {
			m.t.Fatalf("slot %s: got %s %s, want %s %s", s.RunID, s.State, s.Reason, e.state[s.RunID], e.reason[s.RunID])
		}
		if (s.Cause != nil) != (s.State == runs.StateInvalid || s.State == runs.StateFailed || s.State == runs.StateDegraded) {
			m.t.Fatalf("slot %s: got cause %+v of one that is %s", s.RunID, s.Cause, s.State)
		}
		counts[s.State]++
		if s.State == runs.StatePassed || s.State == runs.StateDegraded {
			if len(e.decided[s.RunID].Tainted) == 0 {
				samples++
			}
		}
	}
	if len(slots) != modelSlots {
		m.t.Fatalf("%+v: got %d slots, want %d", c, len(slots), modelSlots)
	}
	for _, a := range l.Accounts(m.now) {
		if a.Combination != c {
			continue
		}
		entered := a.Entered[runs.StateInvalid] + a.Entered[runs.StatePassed] + a.Entered[runs.StateDegraded] + a.Entered[runs.StateFailed]
		if entered != e.entered[c] || a.Duplicates != e.all[c]-e.entered[c] || a.Unscheduled != 0 {
			m.t.Fatalf("%+v: got %d results entered, %d repeated, %d outside, want %d of %d", c, entered, a.Duplicates, a.Unscheduled, e.entered[c], e.all[c])
		}
		if good := a.Budget.Counts.Good; good != counts[runs.StatePassed]+counts[runs.StateDegraded] || a.Budget.Counts.Bad != counts[runs.StateFailed] {
			m.t.Fatalf("%+v: got %+v in the history, want %v", c, a.Budget.Counts, counts)
		}
		if n := a.Latency[24*time.Hour].P95.N; n != samples {
			m.t.Fatalf("%+v: got %d durations, want %d", c, n, samples)
		}
		if a.Indicators[0].Total != e.served[c] {
			m.t.Fatalf("%+v: got %d answers counted, want %d", c, a.Indicators[0].Total, e.served[c])
		}
	}
}
