package ledger

import (
	"bytes"
	"compress/gzip"
	"io"
	"math"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"lastmile/internal/cachestate"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// journey has objectives of all kinds but freshness, in two regions on two networks.
func journey(t testing.TB) scenario.Scenario {
	t.Helper()
	schedule, err := scenario.ParseSchedule("@every 10s")
	if err != nil {
		t.Fatal(err)
	}
	const hour, day = slo.Window(time.Hour), slo.Window(24 * time.Hour)
	return scenario.Scenario{
		Name: "shop", Schedule: schedule, Regions: []string{"us", "eu"}, Networks: []string{"none", "3g"},
		Routing: &scenario.Routing{Header: "X-Region"},
		SLOs: []scenario.SLO{
			{Name: "up", Objective: 0.99, Window: day},
			{Name: "fast", SLI: scenario.SLILatency, Threshold: scenario.Duration(time.Second), Objective: 0.95, Window: day},
			{Name: "fast-order", SLI: scenario.SLILatency, Step: "order", Threshold: scenario.Duration(200 * time.Millisecond), Objective: 0.9, Window: hour},
			{Name: "assets", SLI: scenario.SLICacheHit, Match: "*/assets/*", Objective: 0.9, Window: hour},
			{Name: "region", SLI: scenario.SLIRouting, Objective: 0.9, Window: hour},
			{Name: "month", Objective: 0.9, Calendar: scenario.CalendarMonth},
		},
	}
}

// run is a result of the journey: a whole one, whose order took some milliseconds; orderMS below 0: it had no order.
func run(region, network string, slot time.Time, state runs.State, tookMS, orderMS float64) *runs.Result {
	c := scenario.Combination{Scenario: "shop", Region: region, Network: network}
	r := &runs.Result{
		Schema: runs.Schema, RunID: runs.NewID(c, slot), Scenario: c.Scenario, Region: c.Region, Network: c.Network, Slot: slot,
		Trigger: runs.TriggerSchedule, State: state, DurationMS: tookMS,
	}
	if orderMS >= 0 {
		r.Steps = []runs.Step{{ID: "home", State: runs.StepPassed, DurationMS: 5000}, {ID: "order", State: runs.StepPassed, DurationMS: orderMS}}
	}
	if state != runs.StatePassed {
		r.Cause = &runs.Cause{Class: runs.ClassHTTP5xx}
	}
	return r
}

func statusOf(t *testing.T, l *Ledger, name, region string, now time.Time) runs.ObjectiveStatus {
	t.Helper()
	status, ok := l.Objective("shop", region, name, now)
	if !ok {
		t.Fatalf("objective %s in region %q: got none", name, region)
	}
	return status
}

func TestObjectivesOfAllKinds(t *testing.T) {
	l := New()
	l.Define([]scenario.Scenario{journey(t)})
	slow, late, absent, busy := slotAt(1), slotAt(2), slotAt(3), slotAt(4)
	tainted := run("us", "none", busy, runs.StatePassed, 90_000, 90_000)
	tainted.Tainted = []string{"busy"}
	taintedFailure := run("us", "none", slotAt(5), runs.StateFailed, 90_000, 90_000)
	taintedFailure.Tainted = []string{"busy"}
	optional := run("eu", "3g", slotAt(6), runs.StatePassed, 500, 100)
	optional.Steps[1].State = runs.StepFailed
	skipped := run("eu", "3g", slotAt(7), runs.StatePassed, 500, 100)
	skipped.Steps[1].State = runs.StepSkipped
	events := run("eu", "3g", slotAt(8), runs.StateDegraded, 1000, 200) // both at the threshold, which is not over it
	events.Requests = []runs.Request{
		answer("https://shop/assets/a.css", cachestate.Hit, "FRA", time.Minute), answer("https://shop/assets/b.css", cachestate.Miss, "FRA", 0),
		answer("https://shop/index", cachestate.Miss, "FRA", 0), routed("eu", 10), routed("eu", 10), routed("us", 10),
	}
	for _, r := range []*runs.Result{
		run("us", "none", slotAt(0), runs.StatePassed, 500, 100), run("us", "none", slow, runs.StatePassed, 1000.5, 100),
		run("us", "3g", late, runs.StatePassed, 900, 201), run("us", "none", absent, runs.StatePassed, 800, -1), tainted, taintedFailure,
		run("us", "none", slotAt(9), runs.StateFailed, 10, 10), run("us", "none", slotAt(10), runs.StateInvalid, 10, -1), optional, skipped, events,
	} {
		for _, outcome := range []Outcome{Entered, Duplicate} { // a repeat changes nothing
			if got := l.Result(r, true); got != outcome {
				t.Fatalf("result of %s: got outcome %d, want %d", r.RunID, got, outcome)
			}
		}
	}
	l.Verdict(&runs.Verdict{Region: "eu", Minute: start, Slots: []runs.SlotVerdict{
		{RunID: runs.NewID(scenario.Combination{Scenario: "shop", Region: "eu", Network: "none"}, slotAt(0)), State: runs.StateMissing, Reason: runs.ReasonLost},
		{RunID: runs.NewID(scenario.Combination{Scenario: "shop", Region: "eu", Network: "none"}, slotAt(1)), State: runs.StateSkipped, Reason: runs.ReasonMaintenance},
	}})
	l.Plan(scenario.Combination{Scenario: "shop", Region: "us", Network: "3g"}, slotAt(12), slotAt(13))
	now := slotAt(12)
	for _, want := range []struct {
		slo    string
		us, eu slo.Counts
	}{
		{"up", slo.Counts{Good: 5, Bad: 2, Invalid: 1, Pending: 1}, slo.Counts{Good: 3, Missing: 1, Skipped: 1}},
		{"fast", slo.Counts{Good: 3, Bad: 1, Slow: 1, Invalid: 3, Pending: 1}, slo.Counts{Good: 3, Missing: 1, Skipped: 1}},
		{"fast-order", slo.Counts{Good: 2, Bad: 1, Slow: 1, Invalid: 3, Skipped: 1, Pending: 1}, slo.Counts{Good: 1, Bad: 1, Missing: 1, Skipped: 2}},
		{"assets", slo.Counts{}, slo.Counts{Good: 1, Bad: 1}},
		{"region", slo.Counts{}, slo.Counts{Good: 2, Bad: 1}},
	} {
		for region, counts := range map[string]slo.Counts{"us": want.us, "eu": want.eu, "": want.us.Add(want.eu)} {
			status := statusOf(t, l, want.slo, region, now)
			if status.Counts != counts || status.Scenario != "shop" || status.Region != region || status.SLO.Name != want.slo {
				t.Errorf("%s in region %q: got %+v, want %+v", want.slo, region, status, counts)
			}
			for i, w := range status.Windows {
				if w.Window != runs.BurnWindows()[i] || w.Counts != counts {
					t.Errorf("%s in region %q over %s: got %+v, want %+v", want.slo, region, w.Window, w.Counts, counts)
				}
			}
		}
	}
}

// The slots that a budget is of are those of the schedule, known in advance; the events are those that such slots have at the rate so far. A burn is of
// the events that there were.
func TestBudgetAndBurnOfObjectives(t *testing.T) {
	l := New()
	l.Define([]scenario.Scenario{journey(t)})
	bad := run("us", "none", slotAt(0), runs.StateFailed, 10, 10)
	bad.Requests = []runs.Request{routed("eu", 10), routed("us", 10), routed("us", 10), routed("us", 10)}
	l.Result(bad, true)
	now := slotAt(1)
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-9 {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	const perMinute, day = 6, 24 * 60
	for region, combinations := range map[string]float64{"us": 2, "": 4} {
		up := statusOf(t, l, "up", region, now)
		near("planned in "+region, float64(up.Planned), combinations*perMinute*day)
		near("remaining in "+region, float64(up.Remaining), 1-1/(0.01*combinations*perMinute*day))
		near("burn over 5m in "+region, float64(up.Windows[0].Burn), 1/(0.01*combinations*perMinute*5))
		near("burn over 3d in "+region, float64(up.Windows[6].Burn), 1/(0.01*combinations*perMinute*day*3))
		routing := statusOf(t, l, "region", region, now)
		near("planned events in "+region, float64(routing.Planned), 0)
		near("remaining of events in "+region, float64(routing.Remaining), 1-1/(0.1*4*combinations*perMinute*60)) // at four a run
		near("burn of events in "+region, float64(routing.Windows[0].Burn), 1/(0.1*4))
	}
	if eu := statusOf(t, l, "up", "eu", now); eu.Remaining != 1 || eu.Windows[0].Burn != 0 {
		t.Errorf("where nothing was bad: got %+v, want all of the budget", eu)
	}
	if region := statusOf(t, l, "region", "eu", now); region.Remaining != 1 || region.Windows[0].Burn != 0 {
		t.Errorf("where there was no event: got %+v, want all of the budget", region)
	}
	for n := range 30 { // of the five minutes, all but the failed slot are skipped in both networks
		for _, network := range []string{"none", "3g"} {
			id := runs.NewID(scenario.Combination{Scenario: "shop", Region: "us", Network: network}, slotAt(n))
			l.Verdict(&runs.Verdict{Region: "us", Minute: start, Slots: []runs.SlotVerdict{{RunID: id, State: runs.StateSkipped, Reason: runs.ReasonMaintenance}}})
		}
	}
	if up := statusOf(t, l, "up", "us", slotAt(29)); up.Counts.Skipped < 50 {
		t.Errorf("got %+v under maintenance, want the slots skipped", up.Counts)
	} else {
		near("remaining under maintenance", float64(up.Remaining), 1-1/(0.01*(2*perMinute*day-float64(up.Counts.Skipped))))
	}
	near("burn over 5m under maintenance", float64(statusOf(t, l, "up", "us", slotAt(29)).Windows[0].Burn), 1/(0.01*1))
}

func TestObjectivesAreThoseOfDefinedScenarios(t *testing.T) {
	l := New()
	first, second := journey(t), journey(t)
	second.Name, second.Regions, second.SLOs = "api", []string{"us"}, second.SLOs[:2]
	l.Define([]scenario.Scenario{first, second})
	stranger := run("us", "none", slotAt(0), runs.StatePassed, 1, 1)
	stranger.Scenario, stranger.RunID = "gone", runs.NewID(scenario.Combination{Scenario: "gone", Region: "us", Network: "none"}, slotAt(0))
	l.Result(stranger, true)
	var got []string
	for _, o := range l.Objectives(slotAt(1)) {
		got = append(got, o.Scenario+"/"+o.Region+"/"+o.SLO.Name)
		if single, ok := l.Objective(o.Scenario, o.Region, o.SLO.Name, slotAt(1)); !ok || !reflect.DeepEqual(single, o) {
			t.Errorf("objective by itself: got %+v, %t, want %+v", single, ok, o)
		}
	}
	var want []string
	for _, s := range []scenario.Scenario{second, first} {
		for _, region := range append([]string{""}, slices.Sorted(slices.Values(s.Regions))...) {
			for _, o := range s.SLOs {
				want = append(want, s.Name+"/"+region+"/"+o.Name)
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, name := range [][3]string{{"gone", "us", "up"}, {"shop", "asia", "up"}, {"shop", "us", "down"}, {"api", "eu", "up"}, {"api", "", "region"}} {
		if status, ok := l.Objective(name[0], name[1], name[2], slotAt(1)); ok {
			t.Errorf("%v: got %+v, want none", name, status)
		}
	}
	l.Define([]scenario.Scenario{second})
	if n := len(l.Objectives(slotAt(1))); n != 4 {
		t.Errorf("after one scenario is gone: got %d objectives, want the other's 4", n)
	}
}

// A budget of the calendar begins anew with its period; a result that comes late counts in the period of its slot.
func TestCalendarBudgets(t *testing.T) {
	l := New()
	l.Define([]scenario.Scenario{journey(t)})
	endOfNovember := time.Date(2026, 11, 30, 23, 59, 50, 0, time.UTC)
	month := func(now time.Time) runs.ObjectiveStatus { return statusOf(t, l, "month", "us", now) }
	l.Result(run("us", "none", endOfNovember, runs.StateFailed, 1, 1), true)
	november := month(endOfNovember)
	if november.Counts != (slo.Counts{Bad: 1}) || november.Planned != 2*6*60*24*30 {
		t.Errorf("in November: got %+v of %d, want a bad one of 30 days", november.Counts, november.Planned)
	}
	december := endOfNovember.Add(10 * time.Second)
	if got := month(december); got.Counts != (slo.Counts{}) || got.Remaining != 1 || got.Planned != 2*6*60*24*31 || got.Windows[0].Counts.Bad != 1 {
		t.Errorf("in December: got %+v, want a new budget of 31 days, and the bad one in the last five minutes", got)
	}
	l.Result(run("us", "none", december, runs.StatePassed, 1, 1), true)
	l.Result(run("us", "none", endOfNovember.Add(-time.Hour), runs.StateFailed, 1, 1), true)
	if got := month(december); got.Counts != (slo.Counts{Good: 1}) {
		t.Errorf("after a late failure of November: got %+v in December, want the good one alone", got.Counts)
	}
	if got := month(endOfNovember); got.Counts != (slo.Counts{Bad: 2}) { // a clock that was set back
		t.Errorf("November again: got %+v, want both bad ones", got.Counts)
	}
}

// The budget of a combination may be of the calendar too.
func TestAccountOfACalendarBudget(t *testing.T) {
	s := journey(t)
	s.SLOs = s.SLOs[5:]
	l := New()
	l.Define([]scenario.Scenario{s})
	l.Result(run("eu", "3g", start, runs.StateFailed, 1, 1), true)
	got := l.Accounts(start)[0].Budget
	want := runs.Budget{Objective: 0.9, Window: slo.Window(30 * 24 * time.Hour), Planned: 6 * 60 * 24 * 30, Counts: slo.Counts{Bad: 1}}
	want.Remaining = slo.BudgetRemaining(1, want.Planned, 0.9)
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("got %+v, want %+v", *got, want)
	}
}

// A slot that was missing and is measured after all moves from one count to another in all objectives, in the window it was due in.
func TestLateResultsCorrectObjectives(t *testing.T) {
	l := New()
	l.Define([]scenario.Scenario{journey(t)})
	c := scenario.Combination{Scenario: "shop", Region: "us", Network: "none"}
	l.Plan(c, slotAt(0), slotAt(1))
	now := start.Add(2 * time.Hour)
	for _, v := range l.Closable(now, 0, lost{}) {
		l.Verdict(&v)
	}
	if got := statusOf(t, l, "fast", "us", now); got.Counts != (slo.Counts{Missing: 1}) || got.Windows[3].Counts.Missing != 0 || got.Windows[4].Counts.Missing != 1 {
		t.Errorf("closed: got %+v, want it missing, two hours ago", got)
	}
	l.Result(run("us", "none", slotAt(0), runs.StateInvalid, 1, 1), false)
	if got := statusOf(t, l, "fast", "us", now); got.Counts != (slo.Counts{Invalid: 1}) {
		t.Errorf("invalid: got %+v, want it invalid", got)
	}
	l.Result(run("us", "none", slotAt(0), runs.StatePassed, 2000, 1), false)
	if got := statusOf(t, l, "fast", "us", now); got.Counts != (slo.Counts{Slow: 1}) || got.Remaining >= 1 {
		t.Errorf("measured: got %+v, want it slow, and off the budget", got)
	}
	if got := statusOf(t, l, "up", "us", now); got.Counts != (slo.Counts{Good: 1}) {
		t.Errorf("measured: got %+v, want it good where its time does not matter", got)
	}
}

// An objective that has become another kind under its old name begins anew; one that is gone for a while finds what it had.
func TestRedefinedObjectives(t *testing.T) {
	l := New()
	s := journey(t)
	l.Define([]scenario.Scenario{s})
	l.Result(run("us", "none", slotAt(0), runs.StatePassed, 2000, 1), true)
	without := s
	without.SLOs = s.SLOs[:1]
	l.Define([]scenario.Scenario{without})
	l = loaded(t, saved(t, l))
	l.Define([]scenario.Scenario{s})
	if got := statusOf(t, l, "fast", "us", slotAt(1)); got.Counts != (slo.Counts{Slow: 1}) {
		t.Errorf("gone and back: got %+v, want what it had", got.Counts)
	}
	other := s
	other.SLOs = slices.Clone(s.SLOs)
	other.SLOs[1].SLI = scenario.SLIRouting
	l.Define([]scenario.Scenario{other})
	if got := statusOf(t, l, "fast", "us", slotAt(1)); got.Counts != (slo.Counts{}) {
		t.Errorf("of another kind: got %+v, want none", got.Counts)
	}
	for n := range 200 { // names that come and go do not make the books grow without end
		other.SLOs[1].Name = "n" + string(rune('a'+n%26)) + string(rune('a'+n/26))
		l.Define([]scenario.Scenario{other})
		r := run("us", "none", slotAt(1+n), runs.StatePassed, 1, 1)
		r.Requests = []runs.Request{routed("us", 1)}
		l.Result(r, true)
	}
	if got := statusOf(t, l, other.SLOs[1].Name, "us", slotAt(201)); got.Counts != (slo.Counts{Good: 1}) {
		t.Errorf("the newest of many names: got %+v, want its own event", got.Counts)
	}
	if got := statusOf(t, l, "assets", "us", slotAt(201)); got.Counts != (slo.Counts{}) {
		t.Errorf("one that stayed: got %+v, want no event of another", got.Counts)
	}
	again := loaded(t, saved(t, l))
	again.Define([]scenario.Scenario{other})
	if got, want := again.Objectives(slotAt(201)), l.Objectives(slotAt(201)); !reflect.DeepEqual(got, want) {
		t.Errorf("loaded after many names: got %+v, want %+v", got, want)
	}
}

// What ran while an objective was not defined it knows nothing of: that it ended well does not make it fast.
func TestObjectiveThatWasGone(t *testing.T) {
	l := New()
	s := journey(t)
	s.Regions, s.Networks = []string{"us"}, []string{"none"}
	l.Define([]scenario.Scenario{s})
	l.Result(run("us", "none", slotAt(0), runs.StatePassed, 2000, 1), true)
	without := s
	without.SLOs = s.SLOs[:1]
	l.Define([]scenario.Scenario{without})
	l.Result(run("us", "none", slotAt(60), runs.StatePassed, 2000, 1), true)
	l = loaded(t, saved(t, l))
	l.Define([]scenario.Scenario{without})
	l.Result(run("us", "none", slotAt(120), runs.StatePassed, 2000, 1), true)
	l.Define([]scenario.Scenario{s})
	l.Define([]scenario.Scenario{s})
	for n := range 6 {
		l.Result(run("us", "none", slotAt(126+n), runs.StatePassed, 2000-float64(n)*300, 1), true)
	}
	if got := statusOf(t, l, "fast", "us", slotAt(132)); got.Counts != (slo.Counts{Good: 2, Slow: 4}) {
		t.Errorf("back again: got %+v, want four slow of six, and nothing of the time between", got.Counts)
	}
	if got := statusOf(t, l, "up", "us", slotAt(132)); got.Counts != (slo.Counts{Good: 9}) {
		t.Errorf("got %+v, want all of them in the objective that stayed", got.Counts)
	}
	again := loaded(t, saved(t, l))
	again.Define([]scenario.Scenario{s})
	same(t, "saved", again, l, slotAt(132))
}

// What failed under a denser schedule is held against the slots that there were, and not against the few of now.
func TestBudgetAfterAChangeOfSchedule(t *testing.T) {
	l := New()
	s := journey(t)
	s.Regions, s.Networks, s.SLOs = []string{"us"}, []string{"none"}, s.SLOs[:2]
	l.Define([]scenario.Scenario{s})
	const slots = 6 * 60 * 20 // of 20 h of 24
	for n := range slots {
		state := runs.StatePassed
		if n%1000 == 0 {
			state = runs.StateFailed
		}
		l.Result(run("us", "none", slotAt(n), state, 1, 1), true)
	}
	now := slotAt(slots - 1)
	want := statusOf(t, l, "up", "us", now).Remaining
	var err error
	if s.Schedule, err = scenario.ParseSchedule("@every 10m"); err != nil {
		t.Fatal(err)
	}
	l.Define([]scenario.Scenario{s})
	for _, name := range []string{"up", "fast"} {
		got := statusOf(t, l, name, "us", now)
		if got.Planned != 6*24 || got.Remaining < 0.85 || got.Remaining > want && name == "up" {
			t.Errorf("%s: got %v of the budget left and %d planned, want a little less than %v: 8 of %d runs were bad", name, got.Remaining, got.Planned, want, slots)
		}
	}
	if got := l.Accounts(now)[0].Budget; got.Remaining < 0.85 {
		t.Errorf("budget of the combination: got %v left, want about %v", got.Remaining, want)
	}
}

// The first bad event of a month does not spend the month's budget.
func TestBudgetOfEventsOnTheFirstDayOfAMonth(t *testing.T) {
	l := New()
	s := journey(t)
	s.SLOs = []scenario.SLO{{Name: "region", SLI: scenario.SLIRouting, Objective: 0.99, Calendar: scenario.CalendarMonth}}
	l.Define([]scenario.Scenario{s})
	first := time.Date(2026, 12, 1, 0, 0, 10, 0, time.UTC)
	for n, served := range []string{"eu", "us", "us"} {
		r := run("us", "none", first.Add(time.Duration(n)*10*time.Second), runs.StatePassed, 1, 1)
		r.Requests = []runs.Request{routed(served, 10), routed("us", 10)}
		l.Result(r, true)
	}
	got := statusOf(t, l, "region", "us", first.Add(time.Minute))
	if want := slo.BudgetRemaining(1, 2*2*6*60*24*31, 0.99); got.Counts != (slo.Counts{Good: 5, Bad: 1}) || got.Remaining != want {
		t.Errorf("got %+v and %v of the budget left, want %v: one bad of six events, two a run", got.Counts, got.Remaining, want)
	}
}

// Books that the version before has saved are read: what they have, and nothing of what they had not.
func TestBooksOfTheVersionBeforeAreLoaded(t *testing.T) {
	file, err := os.Open("testdata/version1.books.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	packed, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(packed)
	if err != nil {
		t.Fatal(err)
	}
	l := loaded(t, data)
	s := journey(t)
	s.Regions, s.Networks = []string{"us"}, []string{"none"}
	l.Define([]scenario.Scenario{s})
	now := start.Add(20 * time.Minute)
	want := slo.Counts{Good: 11, Bad: 2, Invalid: 2, Missing: 25}
	if got := statusOf(t, l, "up", "", now); got.Counts != want {
		t.Errorf("got %+v, want %+v", got.Counts, want)
	}
	checkSum(t, l.Accounts(now)[0])
	l.Result(run("us", "none", slotAt(6*60), runs.StatePassed, 2000, 1), true)
	l.Result(run("us", "none", slotAt(0), runs.StatePassed, 2000, 1), true) // that it had failed is known
	if got := statusOf(t, l, "fast", "", slotAt(6*60)); got.Counts != (slo.Counts{Slow: 1}) {
		t.Errorf("read on: got %+v, want the new one, and nothing of those of which nobody knows how long they took", got.Counts)
	}
	if got := statusOf(t, l, "up", "", slotAt(6*60)); got.Counts != want.Add(slo.Counts{Good: 1}) {
		t.Errorf("read on: got %+v, want one more", got.Counts)
	}
	again := loaded(t, saved(t, l))
	again.Define([]scenario.Scenario{s})
	same(t, "saved in the form of now", again, l, slotAt(6*60))
	for n := 0; n < len(data); n += 1 + n/20 {
		if err := New().Load(bytes.NewReader(data[:n])); err == nil {
			t.Errorf("cut after %d bytes: got no error", n)
		}
	}
}
