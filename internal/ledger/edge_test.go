package ledger

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"lastmile/internal/cachestate"
	"lastmile/internal/ledger/edge"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// cdnScenario has an objective of each kind whose events are answers, and one that takes what is left of another.
func cdnScenario(t *testing.T) scenario.Scenario {
	t.Helper()
	schedule, err := scenario.ParseSchedule("@every 10s")
	if err != nil {
		t.Fatal(err)
	}
	return scenario.Scenario{
		Name: "shop", Schedule: schedule, Regions: []string{"us"}, Networks: []string{"none"},
		Routing: &scenario.Routing{Header: "X-Region", Expect: map[string]string{"us": "us-1"}},
		SLOs: []scenario.SLO{
			{Name: "availability", Objective: 0.99, Window: slo.Window(24 * time.Hour)},
			{Name: "images", SLI: scenario.SLICacheHit, Match: "*/img/*"},
			{Name: "assets", SLI: scenario.SLICacheHit, Match: "*/assets/*"},
			{Name: "region", SLI: scenario.SLIRouting},
		},
	}
}

// answer is a request with its answer.
func answer(url string, state cachestate.State, pop string, age time.Duration) runs.Request {
	return runs.Request{URL: url, Method: "GET", Status: 200, PoP: pop, Cache: cachestate.Result{State: state, Age: age, HasAge: age > 0}}
}

func routed(region string, waitMS float64) runs.Request {
	return runs.Request{URL: "https://shop/api/where", Method: "GET", Status: 200, ServedRegion: region, Phases: runs.Phases{Wait: &waitMS}}
}

// cdnResults are three runs of the shop, the last of which is tainted.
func cdnResults() []*runs.Result {
	first, second, busy := result(0, runs.StatePassed), result(1, runs.StateFailed), result(2, runs.StateDegraded)
	warm := answer("https://shop/assets/a.css", cachestate.Hit, "FRA", time.Minute)
	warm.Warm = true
	cached := answer("https://shop/assets/a.css", cachestate.Hit, "FRA", time.Hour)
	cached.BrowserCache = "disk"
	exposed := answer("https://shop/api/me", cachestate.Hit, "", 0)
	exposed.Exposed = "a shared cache gave the answer"
	first.Requests = []runs.Request{
		answer("https://shop/assets/a.css", cachestate.Miss, "FRA", 0), warm, cached, exposed,
		answer("https://shop/assets/img/b.png", cachestate.Stale, "AMS", 3*time.Minute), // of two objectives
		answer("https://shop/api/none", cachestate.Uncacheable, "FRA", 0),
		answer("https://shop/api/none", cachestate.Unknown, "LHR", 0),
	}
	second.Requests = []runs.Request{routed("us-1", 100), routed("us-1", 140), routed("eu-1", 420), {URL: "https://shop/", Status: 200}}
	busy.Requests, busy.Tainted = []runs.Request{routed("eu-1", 9000)}, []string{"busy"}
	return []*runs.Result{first, second, busy}
}

func TestAnswersOfSharedCachesAndRegions(t *testing.T) {
	l := New()
	l.Define([]scenario.Scenario{cdnScenario(t)})
	empty := row(t, l)
	if want := []runs.Indicator{{Name: "assets", SLI: scenario.SLICacheHit}, {Name: "images", SLI: scenario.SLICacheHit}, {Name: "region", SLI: scenario.SLIRouting}}; !reflect.DeepEqual(empty.Indicators, want) {
		t.Errorf("from the start: got %+v, want %+v", empty.Indicators, want)
	}
	plan(l, 5)
	for _, r := range cdnResults() {
		l.Result(r, false)
		l.Result(r, false) // a repeat changes nothing
	}
	invalid, manual := cdnResults()[0], cdnResults()[0]
	invalid.State, invalid.Slot, invalid.RunID = runs.StateInvalid, slotAt(3), runs.NewID(shop, slotAt(3))
	manual.Trigger, manual.Slot, manual.RunID = runs.TriggerManual, slotAt(4), runs.NewID(shop, slotAt(4))
	l.Result(invalid, false)
	l.Result(manual, false)
	got := row(t, l)
	for what, pair := range map[string][2]any{
		"lookups": {got.Lookups, []runs.Lookups{
			{Class: "assets", PoP: "FRA", Other: 1}, {Class: "assets", PoP: "FRA", Warm: true, Hits: 1},
			{Class: "images", PoP: "AMS", Stale: 1}, {Class: "other", PoP: "unknown", Hits: 1},
		}},
		"ages": {got.Ages, []runs.Ages{{Class: "assets", Sum: time.Minute, Count: 1}, {Class: "images", Sum: 3 * time.Minute, Count: 1}, {Class: "other"}}},
		"indicators": {got.Indicators, []runs.Indicator{
			{Name: "assets", SLI: scenario.SLICacheHit, Good: 2, Total: 3}, {Name: "images", SLI: scenario.SLICacheHit, Good: 1, Total: 1},
			{Name: "region", SLI: scenario.SLIRouting, Good: 2, Total: 4},
		}},
		"waits":   {got.Routed, runs.Routed{Right: runs.Waits{Sum: 240 * time.Millisecond, Count: 2}, Wrong: runs.Waits{Sum: 420 * time.Millisecond, Count: 1}}},
		"exposed": {got.Exposed, int64(1)},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s:\n got %+v\nwant %+v", what, pair[0], pair[1])
		}
	}
	if cost, ok := runs.Cost([]runs.Routed{got.Routed}); !ok || cost != 300*time.Millisecond {
		t.Errorf("cost of a misroute: got %s, %t, want 300ms", cost, ok)
	}
}

// TestReplayGivesTheSameCounts reads the same results back into new books, and again after they were defined anew.
func TestReplayGivesTheSameCounts(t *testing.T) {
	live, again := New(), New()
	s := cdnScenario(t)
	live.Define([]scenario.Scenario{s})
	plan(live, 3)
	again.Define([]scenario.Scenario{s})
	for _, r := range cdnResults() {
		live.Result(r, false)
		again.Result(r, true)
	}
	again.Define([]scenario.Scenario{s})
	a, b := row(t, live), row(t, again)
	for what, pair := range map[string][2]any{
		"lookups": {a.Lookups, b.Lookups}, "ages": {a.Ages, b.Ages}, "indicators": {a.Indicators, b.Indicators}, "routed": {a.Routed, b.Routed},
		"recent": {a.Recent, b.Recent}, "exposed": {a.Exposed, b.Exposed}, "overflow": {a.Overflow, b.Overflow},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s:\n live %+v\nagain %+v", what, pair[0], pair[1])
		}
	}
}

// TestNamesOfTargetsAreBounded lets a target name more points of presence and regions than are kept apart.
func TestNamesOfTargetsAreBounded(t *testing.T) {
	l := New()
	l.Define([]scenario.Scenario{cdnScenario(t)})
	plan(l, 1)
	r := result(0, runs.StatePassed)
	for i := range 100 {
		q := answer("https://shop/assets/a.css", cachestate.Hit, fmt.Sprintf("POP%d", i), 0)
		q.ServedRegion = fmt.Sprintf("region-%d", i)
		r.Requests = append(r.Requests, q, answer("https://shop/assets/a.css", cachestate.Hit, "bad\xff name", 0))
	}
	l.Result(r, false)
	got := row(t, l)
	if len(got.Lookups) != edge.MaxPoPs+1 || got.Overflow["pop"] != 200-edge.MaxPoPs || got.Overflow["served"] != 100-maxServed {
		t.Errorf("got %d points of presence, overflow %v, want %d and other", len(got.Lookups), got.Overflow, edge.MaxPoPs)
	}
	sum := int64(0)
	for _, n := range got.Lookups {
		sum += n.Hits
		if n.PoP == runs.OtherLabel && n.Hits != 200-edge.MaxPoPs {
			t.Errorf("other: got %d hits, want %d", n.Hits, 200-edge.MaxPoPs)
		}
	}
	if sum != 200 {
		t.Errorf("got %d hits in all, want 200", sum)
	}
}

// TestCostOfMisroutesByWindow looks at the same waits an hour and a day later.
func TestCostOfMisroutesByWindow(t *testing.T) {
	l := New()
	l.Define([]scenario.Scenario{cdnScenario(t)})
	plan(l, 3)
	for _, r := range cdnResults() {
		l.Result(r, false)
	}
	for after, want := range map[time.Duration][2]bool{time.Minute: {true, true}, 2 * time.Hour: {false, true}, 25 * time.Hour: {false, false}} {
		a := l.Accounts(start.Add(after))[0]
		cost, hour := runs.Cost(a.Recent[time.Hour])
		_, day := runs.Cost(a.Recent[24*time.Hour])
		if [2]bool{hour, day} != want || hour && cost != 300*time.Millisecond {
			t.Errorf("after %s: got %t in the last hour (%s) and %t in the last day, want %v", after, hour, cost, day, want)
		}
	}
	l.Closable(start.Add(100*time.Hour), time.Second, lost{})
	if a := l.Accounts(start.Add(time.Minute))[0]; len(a.Recent[24*time.Hour]) != 0 || a.Routed.Right.Count == 0 {
		t.Errorf("after days: got %+v kept of single waits, and %+v in all, want none of the former", a.Recent, a.Routed)
	}
}

func TestFreshnessIsOfReaders(t *testing.T) {
	s := cdnScenario(t)
	s.Replication = &scenario.Replication{From: "eu", VisibleWithin: scenario.Duration(time.Second)}
	s.SLOs = []scenario.SLO{{Name: "fresh", SLI: scenario.SLIFreshness}}
	l := New()
	l.Define([]scenario.Scenario{s})
	plan(l, 6)
	lag := func(ms float64) *float64 { return &ms }
	for i, rep := range []runs.Replication{{From: "eu"}, {LagMS: lag(999), Looks: 3}, {LagMS: lag(1001), Looks: 3}, {Lost: true, Looks: 9}, {LagMS: lag(5000), Looks: 9}, {Lost: true, Looks: 1}} {
		r := result(i, runs.StatePassed)
		r.Replication = &rep
		if i > 3 {
			r.Tainted = []string{"busy"}
		}
		l.Result(r, false)
	}
	if got, want := row(t, l).Indicators, []runs.Indicator{{Name: "fresh", SLI: scenario.SLIFreshness, Good: 1, Total: 4}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// A poll makes one event, and a retry does not make up for the attempt before it.
func TestOnlyFirstAttemptsCount(t *testing.T) {
	l := New()
	l.Define([]scenario.Scenario{cdnScenario(t)})
	plan(l, 1)
	r := result(0, runs.StateDegraded)
	r.Requests = []runs.Request{answer("https://shop/assets/a.css", cachestate.Miss, "FRA", 0), routed("eu-1", 100)}
	for range 50 {
		more := []runs.Request{answer("https://shop/assets/a.css", cachestate.Hit, "FRA", time.Minute), routed("us-1", 10)}
		more[0].Again, more[1].Again, more[0].Exposed = true, true, "a shared cache gave the answer"
		r.Requests = append(r.Requests, more...)
	}
	r.Summarise()
	r.Dropped = 7
	l.Result(r, false)
	got := row(t, l)
	want := []runs.Indicator{{Name: "assets", SLI: scenario.SLICacheHit, Total: 1}, {Name: "images", SLI: scenario.SLICacheHit}, {Name: "region", SLI: scenario.SLIRouting, Total: 1}}
	if !reflect.DeepEqual(got.Indicators, want) || len(got.Lookups) != 1 || got.Lookups[0].Other != 1 || got.Routed.Right.Count != 0 {
		t.Errorf("got %+v, %+v, %+v, want the first attempts only", got.Indicators, got.Lookups, got.Routed)
	}
	if got.Dropped != 7 {
		t.Errorf("got %d requests that no count has, want 7", got.Dropped)
	}
	if ratio, ok := got.CacheRatio(); !ok || ratio != 0 || len(got.Served) != 1 || got.Served[0].Region != "eu-1" || got.Exposed != 50 {
		t.Errorf("got a hit ratio of %v, served by %+v, %d exposed, want 0, eu-1 and 50: what is exposed is so in any attempt", ratio, got.Served, got.Exposed)
	}
}

// A slow step that is always answered by the right region does not make a misroute of a fast one look cheap.
func TestCostOfMisroutesComparesTheSameStep(t *testing.T) {
	l := New()
	l.Define([]scenario.Scenario{cdnScenario(t)})
	plan(l, 1)
	r := result(0, runs.StatePassed)
	for i := range 2 * edge.MaxSteps { // what a probe calls its steps does not make the books grow without end
		search, ping, astray := routed("us-1", 2000), routed("us-1", 10), routed("eu-1", 110)
		search.Step, ping.Step, astray.Step = "search", "ping", "ping"
		other := routed("us-1", 1)
		other.Step = fmt.Sprint(i)
		r.Requests = append(r.Requests, search, ping, astray, other)
	}
	l.Result(r, false)
	got := l.Accounts(start.Add(time.Minute))[0]
	if cost, ok := runs.Cost(got.Recent[time.Hour]); !ok || cost != 100*time.Millisecond {
		t.Errorf("got a cost of %s, %t, want 100ms", cost, ok)
	}
	if n := len(got.Recent[time.Hour]); n > edge.MaxSteps+1 {
		t.Errorf("got the waits of %d steps kept apart, want %d and other", n, edge.MaxSteps)
	}
}
