package exposition

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lastmile/internal/exposition/catalogue"
	"lastmile/internal/exposition/expositiontest"
	"lastmile/internal/exposition/sheet"
	"lastmile/internal/ledger"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(body) == got {
		return
	}
	old, now := strings.Split(string(body), "\n"), strings.Split(got, "\n")
	for i := range max(len(old), len(now)) {
		if i >= len(old) || i >= len(now) || old[i] != now[i] {
			t.Fatalf("%s, line %d:\n got %q\nwant %q\nrun go test -update ./internal/exposition/ where the change is meant", path, i+1, line(now, i), line(old, i))
		}
	}
}

func line(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "<end>"
}

// ours drops what is said about the process, which is never twice the same.
func ours(text string) string {
	var b strings.Builder
	for l := range strings.Lines(text) {
		if name := strings.TrimPrefix(strings.TrimPrefix(l, "# HELP "), "# TYPE "); strings.HasPrefix(name, "lastmile_") {
			b.WriteString(l)
		}
	}
	return b.String()
}

// steady replaces the values that are said about the process.
func steady(text string) string {
	return regexp.MustCompile(`(?m)^((?:go|process)_[a-z_]+) .*$`).ReplaceAllString(text, "$1 <value>")
}

// TestGolden holds a whole scrape of each program, and the catalogue, against those that were looked at.
func TestGolden(t *testing.T) {
	golden(t, "coordinator.golden", steady(written(fixedCoordinator(fixedSources(false)).WritePrometheus)))
	golden(t, "probe.golden", steady(written(fixedProbe().WritePrometheus)))
	var b strings.Builder
	for _, m := range catalogue.All() {
		fmt.Fprintf(&b, "%s %s {%s} from %s: %s\n", m.Name, m.Type, strings.Join(m.Labels, ", "), m.Origin, m.Help)
	}
	golden(t, "catalogue.golden", b.String())
}

// TestCatalogueIsWhatIsWritten holds both programs against the catalogue, names, types and labels.
func TestCatalogueIsWhatIsWritten(t *testing.T) {
	for origin, text := range map[catalogue.Origin]string{
		catalogue.FromCoordinator: written(fixedCoordinator(fixedSources(false)).WritePrometheus),
		catalogue.FromProbe:       written(fixedProbe().WritePrometheus),
	} {
		seen := map[string]bool{}
		for l := range strings.Lines(text) {
			if head, ok := strings.CutPrefix(l, "# TYPE "); ok {
				name, _, _ := strings.Cut(head, " ")
				if seen[name] {
					t.Errorf("%s: %s is written in two pieces", origin, name)
				}
				seen[name] = true
			}
		}
		for _, m := range catalogue.All() {
			if belongs := m.Origin == origin || m.Origin == catalogue.FromBoth; belongs != seen[m.Name] {
				t.Errorf("%s: %s: written %t, want %t by the catalogue", origin, m.Name, seen[m.Name], belongs)
			}
			delete(seen, m.Name)
		}
		for name := range seen {
			t.Errorf("%s writes %s, which is not in the catalogue", origin, name)
		}
		labelsAsInCatalogue(t, text)
	}
}

func labelsAsInCatalogue(t *testing.T, text string) {
	t.Helper()
	byName := map[string]catalogue.Metric{}
	for _, m := range catalogue.All() {
		byName[m.Name] = m
	}
	for id := range series(t, text) {
		name, rest, _ := strings.Cut(id, "{")
		m, ok := byName[name]
		if !ok {
			name = name[:strings.LastIndexByte(name, '_')] // of a histogram or summary
			m = byName[name]
		}
		var got []string
		for part := range strings.SplitSeq(strings.TrimSuffix(rest, "}"), `",`) {
			if label, _, _ := strings.Cut(part, "="); label != "" && label != "le" {
				got = append(got, label)
			}
		}
		if !slices.Equal(got, m.Labels) {
			t.Errorf("%s: got labels %v, want %v", id, got, m.Labels)
		}
	}
}

func TestPromtoolFindsNothing(t *testing.T) {
	promtool := expositiontest.Program(t, "promtool")
	for name, text := range map[string]string{
		"coordinator": written(fixedCoordinator(fixedSources(false)).WritePrometheus),
		"probe":       written(fixedProbe().WritePrometheus),
	} {
		cmd := exec.Command(promtool, "check", "metrics")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("promtool check metrics, %s: %v\n%s", name, err, out)
		}
	}
}

func TestLedgersPromiseIsExported(t *testing.T) {
	got := series(t, written(fixedCoordinator(fixedSources(true)).WritePrometheus))
	sum := 0.0
	for _, state := range runs.States() {
		sum += got[named("lastmile_ledger_slots", `state="`+string(state)+`"`)]
	}
	want(t, got, map[string]float64{named("lastmile_slots_total", `state="planned",reason=""`): sum})
}

// TestNothingIsBornAboveZero opens the books without any result.
func TestNothingIsBornAboveZero(t *testing.T) {
	sources := fixedSources(false)
	books := ledger.New()
	scenarios := []scenario.Scenario{checkoutScenario()}
	books.Define(scenarios)
	sources.Accounts = func() []runs.Account { return books.Accounts(at) }
	c := NewCoordinator(sources)
	c.Define(scenarios)
	got := series(t, written(c.WritePrometheus))
	for _, id := range []string{
		named("lastmile_runs_total", `state="failed"`),
		named("lastmile_slots_total", `state="missing",reason="lost"`),
		named("lastmile_slots_total", `state="planned",reason=""`),
		named("lastmile_run_errors_total", `class="http_5xx"`),
		named("lastmile_step_failures_total", `step="home"`),
		named("lastmile_step_failures_total", `step="2"`),
		named("lastmile_step_failures_total", `step="other"`),
		named("lastmile_run_duration_seconds_bucket", `le="+Inf"`),
		named("lastmile_run_duration_seconds_count", ""),
		named("lastmile_phase_duration_seconds_count", `phase="tls"`),
		named("lastmile_cdn_responses_total", `cache="stale"`),
		named("lastmile_routed_requests_total", `expected="false"`),
		named("lastmile_routing_wait_seconds_count", `expected="false"`),
		named("lastmile_exposed_answers_total", ""),
		named("lastmile_sli_total", `slo="edge-cache",sli="cache-hit"`),
		named("lastmile_sli_good_total", `slo="edge-cache",sli="cache-hit"`),
		named("lastmile_cdn_age_seconds_count", `class="edge-cache"`),
		named("lastmile_label_overflow_total", `label="pop"`),
		`lastmile_dispatch_lag_seconds_count{region="eu-central"}`,
		`lastmile_run_late_seconds_count{region="eu-central"}`,
		named("lastmile_step_duration_seconds_count", `step="pay"`),
		named("lastmile_step_duration_samples", `step="home"`),
		`lastmile_confirmation_runs_total{scenario="checkout",region="eu-central",state="failed"}`,
		`lastmile_cdn_tier_responses_total{scenario="checkout",region="eu-central",tier="edge"}`,
		`lastmile_cache_leaks_total{scenario="checkout",region="eu-central"}`,
		`lastmile_link_off_profile_total{region="eu-central",network="3g"}`,
		`lastmile_link_lateness_seconds_count{region="eu-central",network="3g"}`,
	} {
		want(t, got, map[string]float64{id: 0})
	}
}

func TestObserve(t *testing.T) {
	got := series(t, written(fixedCoordinator(fixedSources(false)).WritePrometheus))
	want(t, got, map[string]float64{
		named("lastmile_run_duration_seconds_count", ""):                       2, // of five: failed, invalid and tainted runs have no duration
		named("lastmile_run_duration_seconds_sum", ""):                         7,
		named("lastmile_run_duration_seconds_bucket", `le="4"`):                2, // the objective's threshold is a bound, and within it is good
		named("lastmile_run_duration_seconds_bucket", `le="45"`):               2,
		named("lastmile_bytes_total", `direction="received"`):                  4 * 2500, // not what the browser had
		named("lastmile_phase_duration_seconds_count", `phase="dns"`):          3,
		named("lastmile_phase_duration_seconds_count", `phase="wait"`):         6,
		named("lastmile_phase_duration_seconds_sum", `phase="wait"`):           1.5,
		named("lastmile_step_failures_total", `step="2"`):                      1,
		named("lastmile_step_failures_total", `step="pay"`):                    0,
		named("lastmile_step_failures_total", `step="other"`):                  1,
		`lastmile_dispatch_lag_seconds_count{region="eu-central"}`:             2,
		`lastmile_dispatch_lag_seconds_bucket{region="eu-central",le="0.001"}`: 1, // early is on time
		`lastmile_dispatch_lag_seconds_sum{region="eu-central"}`:               0.02,
		`lastmile_run_late_seconds_count{region="eu-central"}`:                 1,
		`lastmile_run_late_seconds_sum{region="eu-central"}`:                   1.5,
	})
}

// What an earlier process has counted is among the recent durations, and in no counter.
func TestRunsOfBeforeAreInNoCounter(t *testing.T) {
	c := NewCoordinator(fixedSources(false))
	c.Define([]scenario.Scenario{checkoutScenario()})
	before := series(t, written(c.WritePrometheus))
	for _, state := range []runs.State{runs.StatePassed, runs.StateDegraded, runs.StateFailed, runs.StateInvalid} {
		c.Remember(result(state, time.Second))
	}
	confirmation := result(runs.StatePassed, time.Second)
	confirmation.Trigger = runs.TriggerConfirm
	c.Remember(confirmation)
	after := series(t, written(c.WritePrometheus))
	want(t, after, map[string]float64{
		named("lastmile_step_duration_samples", `step="home"`): 3, named("lastmile_step_duration_samples", `step="pay"`): 1,
		named("lastmile_web_vital_samples", `vital="lcp"`): 3,
	})
	for id, v := range after {
		if name, _, _ := strings.Cut(id, "{"); strings.HasPrefix(name, "lastmile_") && (strings.HasSuffix(name, "_total") || strings.HasSuffix(name, "_count")) && v != before[id] {
			t.Errorf("%s: got %v, want the %v of before", id, v, before[id])
		}
	}
}

func TestNonsenseInResultsIsLeftOut(t *testing.T) {
	c := fixedCoordinator(fixedSources(false))
	before := series(t, written(c.WritePrometheus))
	r := result(runs.StatePassed, time.Second)
	r.Requests = []runs.Request{{Bytes: -5, Phases: runs.Phases{Wait: ms(-1), DNS: ms(1e300)}}, {Bytes: 1 << 62}}
	c.Observe(r)
	after := series(t, written(c.WritePrometheus))
	for id, v := range before {
		if strings.HasPrefix(id, "lastmile_phase") || strings.HasPrefix(id, "lastmile_bytes") {
			want(t, after, map[string]float64{id: v})
		}
	}
}

// FuzzObserve has any result that passes its check come to numbers that Prometheus takes: counters that do not fall, and each series once.
func FuzzObserve(f *testing.F) {
	for _, r := range []*runs.Result{result(runs.StatePassed, time.Second), result(runs.StateFailed, time.Second), result(runs.StateInvalid, time.Second), readResult(ms(730)), readResult(nil), searchResult(7)} {
		seed, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var r runs.Result
		if json.Unmarshal(text, &r) != nil || r.Check() != nil {
			return
		}
		sources := fixedSources(false)
		sources.Accounts, sources.Objectives = func() []runs.Account { return nil }, nil
		c := NewCoordinator(sources)
		c.Define([]scenario.Scenario{checkoutScenario(), copiedScenario()})
		c.Observe(result(runs.StateDegraded, 4*time.Second))
		before := series(t, ours(written(c.WritePrometheus)))
		c.Observe(&r)
		after := series(t, ours(written(c.WritePrometheus)))
		for id, v := range after {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				t.Errorf("%s: got %v", id, v)
			}
			if name, _, _ := strings.Cut(id, "{"); v < before[id] && (strings.HasSuffix(name, "_total") || strings.HasSuffix(name, "_bucket") || strings.HasSuffix(name, "_sum") || strings.HasSuffix(name, "_count")) {
				t.Errorf("%s: got %v, was %v", id, v, before[id])
			}
		}
	})
}

func TestAResultOfNoScenario(t *testing.T) {
	c := NewCoordinator(fixedSources(false))
	c.Observe(result(runs.StatePassed, time.Second))
	want(t, series(t, written(c.WritePrometheus)), map[string]float64{named("lastmile_run_duration_seconds_count", ""): 1})
}

// TestCountersNeverFall lets a real ledger live through a day's trouble: late results, repeats, verdicts.
func TestCountersNeverFall(t *testing.T) {
	s := checkoutScenario()
	books := ledger.New()
	books.Define([]scenario.Scenario{s})
	sources := fixedSources(false)
	now := at
	sources.Accounts = func() []runs.Account { return books.Accounts(now) }
	c := NewCoordinator(sources)
	c.Define([]scenario.Scenario{s})
	report := func(slot time.Time, state runs.State) {
		r := result(state, time.Second)
		r.Slot, r.RunID = slot, runs.NewID(checkout, slot)
		if state == runs.StateInvalid {
			r.Cause = &runs.Cause{Class: runs.ClassBrowserCrash}
		}
		if books.Result(r, false) == ledger.Entered {
			c.Observe(r)
		}
	}
	close := func(slot time.Time, state runs.State, reason runs.Reason) {
		books.Verdict(&runs.Verdict{Schema: runs.Schema, Region: checkout.Region, Minute: slot, Slots: []runs.SlotVerdict{{RunID: runs.NewID(checkout, slot), State: state, Reason: reason}}})
	}
	slot := func(i int) time.Time { return at.Add(time.Duration(i) * time.Minute) }
	last := series(t, written(c.WritePrometheus))
	for i, happen := range []func(){
		func() {
			for i := range 5 {
				books.Plan(checkout, slot(i), slot(i).Add(time.Minute))
			}
		},
		func() { report(slot(0), runs.StatePassed) },
		func() { close(slot(1), runs.StateMissing, runs.ReasonLost) },
		func() { report(slot(1), runs.StateInvalid) },
		func() { report(slot(1), runs.StateFailed); report(slot(1), runs.StateFailed) },
		func() {
			close(slot(2), runs.StateSkipped, runs.ReasonMaintenance)
			close(slot(3), runs.StateMissing, runs.ReasonExpired)
		},
		func() { report(slot(2), runs.StateDegraded); report(slot(3), runs.StatePassed) },
		func() { report(slot(100), runs.StatePassed) },
		func() { now = now.Add(48 * time.Hour) },
		func() { c.Define([]scenario.Scenario{s}) },
	} {
		happen()
		got := series(t, written(c.WritePrometheus))
		for id, v := range last {
			if now, ok := got[id]; strings.Contains(id, "_total") && (!ok || now < v) {
				t.Errorf("after event %d: %s: got %v (there: %t), was %v", i, id, now, ok, v)
			}
		}
		last = got
	}
	want(t, last, map[string]float64{
		named("lastmile_slots_total", `state="missing",reason="lost"`):    1,
		named("lastmile_slots_total", `state="missing",reason="expired"`): 1,
		named("lastmile_slots_amended_total", ""):                         3,
		named("lastmile_runs_total", `state="passed"`):                    2,
		named("lastmile_runs_total", `state="invalid"`):                   1,
		named("lastmile_run_errors_total", `class="browser_crash"`):       1,
		named("lastmile_results_duplicate_total", ""):                     1,
		named("lastmile_results_unscheduled_total", ""):                   1,
		named("lastmile_ledger_slots", `state="pending"`):                 1,
	})
}

// TestCapLeavesOutWholeCombinationsAndCounts gives far more combinations than fit.
func TestCapLeavesOutWholeCombinationsAndCounts(t *testing.T) {
	sources := fixedSources(false)
	sources.MaxSeries = 1000
	var many []runs.Account
	var scenarios []scenario.Scenario
	for i := range 50 {
		a := accounts(1)[0]
		a.Scenario = fmt.Sprintf("scenario-%02d", i)
		many = append(many, a)
		s := checkoutScenario()
		s.Name = a.Scenario
		scenarios = append(scenarios, s)
	}
	sources.Accounts = func() []runs.Account { return many }
	c := NewCoordinator(sources)
	c.Define(scenarios)
	c.DispatchLag("region-beyond-the-cap", time.Second)
	first := series(t, ours(written(c.WritePrometheus)))
	if len(first) > 1000+2 { // and the two that tell of it
		t.Errorf("got %d series, want at most 1002", len(first))
	}
	want(t, first, map[string]float64{"lastmile_series": float64(len(first))})
	dropped := first["lastmile_series_dropped_total"]
	if dropped < 2000 {
		t.Errorf("got %v series dropped, want thousands", dropped)
	}
	perScenario := map[string]int{}
	for id := range first {
		if _, rest, ok := strings.Cut(id, `lastmile_ledger_slots{scenario="`); ok {
			perScenario[rest[:len("scenario-00")]]++
		}
	}
	if len(perScenario) == 0 || len(perScenario) == 50 {
		t.Errorf("got %d scenarios, want some", len(perScenario))
	}
	for name, n := range perScenario {
		if n != len(runs.States()) {
			t.Errorf("%s: got %d of its states, want all or none", name, n)
		}
	}
	second := series(t, ours(written(c.WritePrometheus)))
	if second["lastmile_series_dropped_total"] <= dropped || !slices.Equal(slices.Sorted(maps.Keys(first)), slices.Sorted(maps.Keys(second))) {
		t.Errorf("second scrape: want the same series, and the dropped ones counted again")
	}
}

func TestRegionsNamedByTargetsAreCutAndMerged(t *testing.T) {
	sources := fixedSources(false)
	long := strings.Repeat("é", 200)
	a := accounts(1)[0]
	a.Served = []runs.Served{{Region: long + "1", Requests: 2}, {Region: long + "2", Requests: 3}, {Region: "bad\xffname\n\"", Requests: 1}}
	sources.Accounts = func() []runs.Account { return []runs.Account{a} }
	got := series(t, written(NewCoordinator(sources).WritePrometheus))
	want(t, got, map[string]float64{
		named("lastmile_served_region_total", `served="`+strings.Repeat("é", sheet.MaxLabelValue/2)+`",expected="false"`): 5,
		named("lastmile_served_region_total", `served="bad`+"\uFFFD"+`name\n\"",expected="false"`):                        1,
	})
}

// TestConcurrentUse is for the race detector.
func TestConcurrentUse(t *testing.T) {
	c := NewCoordinator(fixedSources(false))
	var all sync.WaitGroup
	for _, act := range []func(){
		func() { c.Define([]scenario.Scenario{checkoutScenario()}) },
		func() { c.Observe(result(runs.StateFailed, time.Second)) },
		func() { c.DispatchLag("eu-central", time.Second) },
		func() { c.WritePrometheus(io.Discard) },
		func() { c.WritePrometheus(io.Discard) },
	} {
		all.Go(func() {
			for range 20 {
				act()
			}
		})
	}
	all.Wait()
	want(t, series(t, written(c.WritePrometheus)), map[string]float64{named("lastmile_bytes_total", `direction="received"`): 20 * 2500})
}

// The buckets of a user's own network are scaled to it, also where a result comes before its scenario is known.
func TestBucketsOfOwnNetworks(t *testing.T) {
	sources := fixedSources(false)
	sources.Networks = append(sources.Networks, netprofile.Profile{Name: "moon", RTT: 2600 * time.Millisecond})
	s := checkoutScenario()
	s.Networks, s.SLOs = []string{"moon"}, nil // no thresholds, which are bounds too
	r := result(runs.StatePassed, 9*time.Second)
	r.Network = "moon"
	defined, unheard := NewCoordinator(sources), NewCoordinator(sources)
	defined.Define([]scenario.Scenario{s})
	for name, c := range map[string]*Coordinator{"defined": defined, "unheard of": unheard} {
		c.Observe(r)
		text := written(c.WritePrometheus)
		if first := regexp.MustCompile(`run_duration_seconds_bucket{[^}]*network="moon",le="([^"]*)"`).FindStringSubmatch(text); len(first) != 2 || first[1] != "5.2" {
			t.Errorf("%s: got first bound %v, want two round trips, 5.2 s", name, first)
		}
	}
}

func TestHandler(t *testing.T) {
	var notReady error
	h := Handler(func(w io.Writer) { fmt.Fprintln(w, "lastmile_x 1") }, func() error { return notReady })
	get := func(method, path string) (int, string, string) {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(method, path, nil))
		return rec.Code, rec.Header().Get("Content-Type"), rec.Body.String()
	}
	check := func(method, path string, status int, contentType, body string) {
		t.Helper()
		if s, c, b := get(method, path); s != status || !strings.HasPrefix(c, contentType) || !strings.Contains(b, body) {
			t.Errorf("%s %s: got %d %s %q, want %d %s %q", method, path, s, c, b, status, contentType, body)
		}
	}
	check("GET", "/metrics", 200, "text/plain; version=0.0.4", "lastmile_x 1\n")
	check("GET", "/healthz", 200, "text/plain", "ok\n")
	check("GET", "/readyz", 200, "text/plain", "ready\n")
	notReady = errors.New("connect to the bus: no server at 127.0.0.1:4222")
	check("GET", "/readyz", 503, "text/plain", "no server at 127.0.0.1:4222")
	check("GET", "/healthz", 200, "text/plain", "ok\n")
	check("POST", "/metrics", http.StatusMethodNotAllowed, "", "")
	check("GET", "/", 404, "", "")
}
