package runs

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"lastmile/internal/cachestate"
	"lastmile/internal/netprofile"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

var (
	testSlot = time.Date(2026, 3, 29, 1, 30, 17, 0, time.UTC)
	checkout = scenario.Combination{Scenario: "checkout", Region: "us", Network: "3g-lossy"}
)

func TestID(t *testing.T) {
	id := NewID(checkout, testSlot)
	if want := ID("checkout.us.3g-lossy.1774747817"); id != want {
		t.Errorf("new id: got %s, want %s", id, want)
	}
	if other := NewID(checkout, testSlot.In(time.FixedZone("x", 3600)).Add(time.Millisecond)); other != id {
		t.Errorf("new id in another zone: got %s, want %s", other, id)
	}
	c, slot, err := id.Parse()
	if err != nil || c != checkout || slot != testSlot {
		t.Errorf("parse %s: got %v, %s and %v", id, c, slot, err)
	}
	for _, bad := range []ID{
		"", "a", "a.b.c", "a.b.c.d", "a.b.c.1.2", ".b.c.1", "a..c.1", "a.b..1", "a.b.c.", "a.b.c.0", "a.b.c.-1", "a.b.c.+1", "a.b.c.01", "a.b.c.1e3", "a.b.c. 1",
		"A.b.c.1", "a.*.c.1", "a.>.c.1", "a.b.c.99999999999999999999", "a b.b.c.1", ID(strings.Repeat("a", 64) + ".b.c.1"),
	} {
		if c, slot, err := bad.Parse(); err == nil || !strings.Contains(err.Error(), "want scenario.region.network.unixtime") {
			t.Errorf("parse %q: got %v, %s and %v, want an error", bad, c, slot, err)
		}
	}
	_, _, err = ID(strings.Repeat("x", 1<<20)).Parse()
	if len(err.Error()) > 400 {
		t.Errorf("parse a huge id: got an error of %d bytes", len(err.Error()))
	}
}

func FuzzID(f *testing.F) {
	f.Add("checkout.us.3g-lossy.1774747817")
	f.Add("a.b.c.00")
	f.Fuzz(func(t *testing.T, text string) {
		c, slot, err := ID(text).Parse()
		if err != nil {
			return
		}
		if again := NewID(c, slot); again != ID(text) {
			t.Errorf("parse %q: its parts make %q", text, again)
		}
	})
}

// lossy is a preset with every kind of field set.
func lossy(t *testing.T) netprofile.Profile {
	t.Helper()
	p, ok := netprofile.Lookup("3g-very-lossy")
	if !ok {
		t.Fatal("look up 3g-very-lossy: there is none")
	}
	p.Name, p.Jitter, p.Reorder = "3g-lossy", 5*time.Millisecond, 0.01
	return p
}

func testAssignment(t *testing.T) Assignment {
	t.Helper()
	schedule, err := scenario.ParseSchedule("CRON_TZ=Europe/Berlin */5 * * * *")
	if err != nil {
		t.Fatal(err)
	}
	paid := scenario.Text("paid")
	return NewAssignment(scenario.Scenario{
		APIVersion: scenario.APIVersion, Name: "checkout", Schedule: schedule, Timeout: scenario.Duration(45 * time.Second), Regions: scenario.Strings{"us"},
		Vars: map[string]scenario.Text{"base": "https://shop"}, Secrets: []string{"PASSWORD"},
		Steps: []scenario.Step{{
			ID: "pay", Type: scenario.StepHTTP, URL: "${vars.base}", JSON: map[string]any{"a": []any{1.5, nil, "x"}},
			Assert: []scenario.Assertion{{Status: scenario.StatusSet{"2xx"}}, {JSON: "$.state", Equals: &paid}}, Budget: &scenario.Budget{Bytes: 1500},
		}},
		SLOs: []scenario.SLO{{Name: "a", Objective: 0.999, Window: slo.Window(30 * 24 * time.Hour)}},
	}, "us", lossy(t), testSlot)
}

func TestAssignmentTimes(t *testing.T) {
	a := testAssignment(t)
	if got := a.StartBy.Sub(a.Slot); got != 30*time.Second {
		t.Errorf("start by: got %s after the slot, want 30s", got)
	}
	if got := a.Deadline.Sub(a.StartBy); got != 45*time.Second {
		t.Errorf("deadline: got %s after start_by, want the timeout, 45s", got)
	}
	if a.Trigger != TriggerSchedule || a.Combination() != checkout || a.Revision != a.Scenario.Revision() {
		t.Errorf("assignment: got %s, %v, revision %s", a.Trigger, a.Combination(), a.Revision)
	}
}

func TestAssignmentTravels(t *testing.T) {
	a := testAssignment(t)
	body, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	var got Assignment
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatalf("read %s: %v", body, err)
	}
	if !reflect.DeepEqual(got, a) {
		t.Errorf("read from its own JSON: got %+v, want %+v", got, a)
	}
	if err := got.Check(); err != nil {
		t.Error(err)
	}
	if rev := got.Scenario.Revision(); rev != a.Revision {
		t.Errorf("revision at the other end: got %s, want %s", rev, a.Revision)
	}
	newer := strings.Replace(string(body), `"schema":1`, `"schema":1,"field_of_the_next_version":{"a":1}`, 1)
	if err := json.Unmarshal([]byte(newer), &got); err != nil {
		t.Errorf("read an assignment with a field of a later version: %v", err)
	}
}

func TestAssignmentCheck(t *testing.T) {
	for want, change := range map[string]func(*Assignment){
		"got schema 2, want 1":                       func(a *Assignment) { a.Schema = 2 },
		"want scenario.region.network.unixtime":      func(a *Assignment) { a.RunID = "x" },
		"got run id checkout.us.3g-lossy.1774747817": func(a *Assignment) { a.Region = "eu" },
		"want that of {Scenario:other":               func(a *Assignment) { a.Scenario.Name = "other" },
		"Network:none}":                              func(a *Assignment) { a.Network.Name = "none" },
		"at 2026-03-29 01:30:18":                     func(a *Assignment) { a.Slot = a.Slot.Add(time.Second) },
		"want them in that order":                    func(a *Assignment) { a.StartBy = a.Slot.Add(-1) },
		"deadline 2026-03-29 01:30:46":               func(a *Assignment) { a.Deadline = a.StartBy.Add(-time.Second) },
		"got no steps":                               func(a *Assignment) { a.Scenario.Steps = nil },
	} {
		a := testAssignment(t)
		change(&a)
		if err := a.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("check: got %v, want %s", err, want)
		}
	}
}

func testResult() Result {
	ms := 12.5
	return Result{
		Schema: Schema, RunID: NewID(checkout, testSlot), Scenario: "checkout", Revision: "abc", Region: "us", Network: "3g-lossy", Slot: testSlot, Trigger: TriggerSchedule,
		Probe: "p1", State: StateFailed, Cause: &Cause{ClassAssertion, "pay", "got open, want paid"}, StartedAt: testSlot.Add(time.Second), DurationMS: 1234.5,
		Steps: []Step{{ID: "pay", Type: scenario.StepHTTP, State: StepFailed, SettledMS: &ms, Vitals: &Vitals{LCP: &ms}, Warnings: []string{"slow"}}},
		Requests: []Request{{
			Step: "pay", URL: "https://shop/", Method: "GET", Status: 200, Phases: Phases{Wait: &ms},
			Cache: cachestate.Result{State: cachestate.Hit, Age: time.Minute, HasAge: true, Evidence: "X-Cache: HIT"},
		}},
		Cache: Cache{Hits: 1, ByState: map[cachestate.State]int{cachestate.Hit: 1}}, Link: Link{Profile: "3g-lossy", Mode: "direct"},
	}
}

func TestResultTravels(t *testing.T) {
	r := testResult()
	body, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var got Result
	if err := json.Unmarshal(body, &got); err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("read %s: got %+v and %v, want %+v", body, got, err, r)
	}
	if err := got.Check(); err != nil {
		t.Error(err)
	}
	if got.Duration() != 1234500*time.Microsecond || got.Combination() != checkout {
		t.Errorf("result: got %s and %v", got.Duration(), got.Combination())
	}
	if strings.Contains(string(body), `"connect_ms"`) {
		t.Errorf("write a request on a reused connection: got %s, want no connect phase", body)
	}
}

func TestResultCheck(t *testing.T) {
	for _, state := range States() {
		r := testResult()
		r.State = state
		if err := r.Check(); (err == nil) != (state.Measured() || state == StateInvalid) {
			t.Errorf("check a result of state %s: got %v", state, err)
		}
	}
	for want, change := range map[string]func(*Result){
		"got schema 0":                func(r *Result) { r.Schema = 0 },
		"parse run id":                func(r *Result) { r.RunID = "" },
		"Region:eu":                   func(r *Result) { r.Region = "eu" },
		"want that of {Scenario:else": func(r *Result) { r.Scenario = "else" },
		"at 2026-03-29 01:30:17.1":    func(r *Result) { r.Slot = r.Slot.Add(100 * time.Millisecond) },
		`got state "great"`:           func(r *Result) { r.State = "great" },
		"got cause class":             func(r *Result) { r.Cause = &Cause{Class: "gremlins"} },
		"got trigger":                 func(r *Result) { r.Trigger = "whim" },
		"got duration -1 ms":          func(r *Result) { r.DurationMS = -1 },
		"got duration NaN ms":         func(r *Result) { r.DurationMS = math.NaN() },
		"got duration 1e+09 ms":       func(r *Result) { r.DurationMS = 1e9 },
	} {
		r := testResult()
		change(&r)
		if err := r.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("check: got %v, want %s", err, want)
		}
	}
}

func TestVerdictCheck(t *testing.T) {
	good := func() Verdict {
		return Verdict{Schema: Schema, Region: "us", Minute: testSlot.Truncate(time.Minute), Slots: []SlotVerdict{{NewID(checkout, testSlot), StateMissing, ReasonLost}, {NewID(checkout, testSlot.Add(1)), StateSkipped, ReasonOverlap}}}
	}
	v := good()
	if err := v.Check(); err != nil {
		t.Error(err)
	}
	if err := (&Verdict{Schema: Schema, Region: "us", Minute: testSlot.Truncate(time.Minute)}).Check(); err != nil {
		t.Errorf("check a verdict without slots: %v", err)
	}
	for want, change := range map[string]func(*Verdict){
		"got reason \"bored\"": func(v *Verdict) { v.Slots[0].Reason = "bored" },
		"want a whole minute":  func(v *Verdict) { v.Minute = v.Minute.Add(time.Second) },
		"want a label":         func(v *Verdict) { v.Region = "" },
		"got schema 7":         func(v *Verdict) { v.Schema = 7 },
		"parse run id":         func(v *Verdict) { v.Slots[1].RunID = "x" },
		"runs of region eu":    func(v *Verdict) { v.Region = "eu" },
		`got state "passed"`:   func(v *Verdict) { v.Slots[0].State = StatePassed },
		`got state "pending"`:  func(v *Verdict) { v.Slots[0].State = StatePending },
		`got state "whatever"`: func(v *Verdict) { v.Slots[1].State = "whatever" },
	} {
		v := good()
		change(&v)
		if err := v.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("check: got %v, want %s", err, want)
		}
	}
}

// What comes over the bus is anything at all: reading and checking it gives an error or a usable value, and no panic.
func FuzzMessages(f *testing.F) {
	result := testResult()
	for _, v := range []any{result, Verdict{Schema: Schema, Region: "us", Slots: []SlotVerdict{{result.RunID, StateMissing, ReasonLost}}}, Heartbeat{Schema: Schema, Running: []ID{result.RunID}}} {
		body, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Add([]byte(`{"schema":1,"run_id":"a.b.c.1","scenario":{"scenario":"a","steps":[{"type":"http"}]},"region":"b","network":{"name":"c"},"slot":"1970-01-01T00:00:01Z","start_by":"1970-01-01T00:00:01Z","deadline":"1970-01-01T00:00:02Z"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var a Assignment
		if json.Unmarshal(data, &a) == nil && a.Check() == nil && NewID(a.Combination(), a.Slot) != a.RunID {
			t.Errorf("assignment %s passed its check with another run's id", data)
		}
		var r Result
		if json.Unmarshal(data, &r) == nil && r.Check() == nil {
			r.Summarise()
			if NewID(r.Combination(), r.Slot) != r.RunID || r.Cache.Hits+r.Cache.Misses > len(r.Requests) || r.Duration() < 0 {
				t.Errorf("result %s passed its check: got %+v", data, r)
			}
		}
		var v Verdict
		if json.Unmarshal(data, &v) == nil && v.Check() == nil {
			for _, s := range v.Slots {
				if c, _, err := s.RunID.Parse(); err != nil || c.Region != v.Region {
					t.Errorf("verdict %s passed its check with %s", data, s.RunID)
				}
			}
		}
	})
}

// Outranks is a strict order of ranks, and pending < missing, skipped < invalid < measured.
func TestOutranks(t *testing.T) {
	ranks := [][]State{{StatePending}, {StateMissing, StateSkipped}, {StateInvalid}, {StatePassed, StateDegraded, StateFailed}}
	seen := 0
	for i, lower := range ranks {
		for j, higher := range ranks {
			for _, a := range lower {
				for _, b := range higher {
					if got, want := b.Outranks(a), j > i; got != want {
						t.Errorf("%s outranks %s: got %v, want %v", b, a, got, want)
					}
				}
			}
		}
		seen += len(lower)
	}
	if seen != len(States()) {
		t.Errorf("states: got %d, want the %d of this test", len(States()), seen)
	}
	for _, s := range States() {
		if !s.Valid() || State("x").Outranks(s) || !s.Outranks("x") {
			t.Errorf("%s against an unknown state: it must be valid and outrank that", s)
		}
	}
	if State("").Valid() || State("").Measured() {
		t.Error("the empty state is valid")
	}
}

// fold is what a ledger does with the reports of one slot, in the order in which they come.
func fold(reports []State) State {
	state := StatePending
	for _, s := range reports {
		if s.Outranks(state) {
			state = s
		}
	}
	return state
}

// Whatever the order of the reports of a slot, it ends with the same rank; and where no two reports are of one rank, in the same
// state. Repeats change nothing.
func TestFoldDoesNotDependOnTheOrder(t *testing.T) {
	var permute func(done, rest []State, visit func([]State))
	permute = func(done, rest []State, visit func([]State)) {
		if len(rest) == 0 {
			visit(done)
		}
		for i := range rest {
			others := slices.Delete(slices.Clone(rest), i, i+1)
			permute(append(slices.Clone(done), rest[i]), others, visit)
		}
	}
	for _, reports := range [][]State{
		{StateMissing, StateInvalid, StateFailed}, {StateSkipped, StatePassed, StatePending}, {StateMissing, StatePassed, StateFailed, StateDegraded}, {StateMissing, StateSkipped}, {StateInvalid, StateMissing, StateSkipped},
	} {
		first := fold(reports)
		ranks := map[int]int{}
		for _, s := range reports {
			ranks[s.rank()]++
		}
		permute(nil, reports, func(order []State) {
			got := fold(append(slices.Clone(order), order...))
			if got.rank() != first.rank() || ranks[first.rank()] == 1 && got != first {
				t.Errorf("fold %v: got %s, want %s or its like", order, got, first)
			}
		})
	}
}

func TestStateCounts(t *testing.T) {
	for state, want := range map[State]slo.Counts{
		StatePassed: {Good: 1}, StateDegraded: {Good: 1}, StateFailed: {Bad: 1}, StateInvalid: {Invalid: 1}, StateMissing: {Missing: 1}, StateSkipped: {Skipped: 1}, StatePending: {Pending: 1},
	} {
		if got := state.Counts(); got != want || got.Planned() != 1 {
			t.Errorf("counts of %s: got %+v, want %+v", state, got, want)
		}
	}
}

func TestSummarise(t *testing.T) {
	answer := func(state cachestate.State) Request {
		return Request{Status: 200, Cache: cachestate.Result{State: state}}
	}
	r := Result{Requests: []Request{
		answer(cachestate.Hit), answer(cachestate.Stale), answer(cachestate.Miss), answer(cachestate.Expired), answer(cachestate.Revalidated), answer(cachestate.Bypass), answer(cachestate.Unknown),
		{Status: 0, Cache: cachestate.Result{State: cachestate.Hit}},
		{Status: 200, BrowserCache: "memory", Cache: cachestate.Result{State: cachestate.Hit}},
	}, Cache: Cache{Hits: 99}}
	r.Summarise()
	want := Cache{Hits: 2, Misses: 3, ByState: map[cachestate.State]int{
		cachestate.Hit: 1, cachestate.Stale: 1, cachestate.Miss: 1, cachestate.Expired: 1, cachestate.Revalidated: 1, cachestate.Bypass: 1, cachestate.Unknown: 1,
	}}
	if !reflect.DeepEqual(r.Cache, want) {
		t.Errorf("summarise: got %+v, want %+v", r.Cache, want)
	}
	r.Summarise()
	if !reflect.DeepEqual(r.Cache, want) {
		t.Errorf("summarise again: got %+v, want %+v", r.Cache, want)
	}
}

func TestClassesAreDistinct(t *testing.T) {
	classes := Classes()
	slices.Sort(classes)
	if got := len(slices.Compact(classes)); got != len(Classes()) {
		t.Errorf("classes: got %d different ones of %d", got, len(Classes()))
	}
}

func TestFault(t *testing.T) {
	cause := errors.New("exit status 139")
	var err error = &Fault{ClassBrowserCrash, cause}
	if !errors.Is(err, cause) || err.Error() != "browser_crash: exit status 139" {
		t.Errorf("fault: got %v", err)
	}
}

func TestTotals(t *testing.T) {
	us, eu := checkout, checkout
	eu.Region = "eu"
	got := Totals([]Account{
		{Combination: us, Counts: StateCounts{StatePassed: 3, StatePending: 1}},
		{Combination: eu, Counts: StateCounts{StateMissing: 2}},
		{Combination: us, Counts: StateCounts{StatePassed: 1, StateFailed: 1}},
	})
	want := []RegionTotal{
		{Region: "eu", Planned: 2, Accounted: 2, Counts: StateCounts{StateMissing: 2}},
		{Region: "us", Planned: 6, Accounted: 5, Counts: StateCounts{StatePassed: 4, StateFailed: 1, StatePending: 1}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("totals: got %+v, want %+v", got, want)
	}
}

func TestCacheRatio(t *testing.T) {
	a := Account{Cache: map[cachestate.State]int64{cachestate.Hit: 3, cachestate.Miss: 1, cachestate.Bypass: 100}}
	if got, ok := a.CacheRatio(); !ok || got != 0.75 {
		t.Errorf("cache ratio: got %v and %v, want 0.75", got, ok)
	}
	a = Account{Cache: map[cachestate.State]int64{cachestate.Unknown: 5}}
	if got, ok := a.CacheRatio(); ok {
		t.Errorf("cache ratio of nothing that counts: got %v", got)
	}
}
