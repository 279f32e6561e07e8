package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	probe "lastmile/cmd/probe/app"
	"lastmile/internal/cli/clitest"
	"lastmile/internal/demosite"
	"lastmile/internal/exposition/expositiontest"
	"lastmile/internal/runs"
	"lastmile/internal/slo"
)

// finding is how a scenario that ships tells one of the shop's faults, in the region in which it is.
type finding struct {
	fault    demosite.Fault
	scenario string
	state    runs.State
	class    runs.Class
	steps    []string // of which it is one
	exposed  string   // the step that warns of an answer which a shared cache ought not to have given
}

// findings has a row for each fault.
func findings() []finding {
	return []finding{
		{demosite.SlowRegion, "api", runs.StateDegraded, runs.ClassBudget, []string{"list", "stock"}, ""},
		{demosite.Errors, "api", runs.StateFailed, runs.ClassHTTP5xx, []string{"stock"}, ""},
		{demosite.Misroute, "routing", runs.StateFailed, runs.ClassAssertion, []string{"where"}, ""},
		{demosite.CacheMiss, "edge-cache", runs.StateFailed, runs.ClassAssertion, []string{"cached"}, ""},
		{demosite.ReplicationLag, "replication", runs.StateDegraded, runs.ClassBudget, []string{"visible"}, ""},
		{demosite.LostWrites, "replication", runs.StateFailed, runs.ClassReplication, []string{"visible"}, ""},
		{demosite.BackwardReads, "replication", runs.StateFailed, runs.ClassReplication, []string{"visible"}, ""},
		{demosite.CacheLeak, "private-cache", runs.StateFailed, runs.ClassCacheLeak, []string{"bob/me", "alice-again/me"}, ""},
		{demosite.AuthCached, "private-cache", runs.StatePassed, "", nil, "bob/offers"},
	}
}

// Which of the scenarios that ship need a browser.
var (
	withoutBrowser = []string{"api", "edge-cache", "first-screen", "private-cache", "replication", "routing"}
	withBrowser    = []string{"browse", "checkout"}
)

// busy are the classes of runs that a busy machine kept from being measured.
var busy = []string{string(runs.ClassOverloaded), string(runs.ClassLinkOffProfile), string(runs.ReasonExpired)}

// TestFindingsAreWhole checks the table against what there is.
func TestFindingsAreWhole(t *testing.T) {
	var faults []string
	for _, f := range findings() {
		faults = append(faults, string(f.fault))
	}
	if want := demosite.FaultNames(); !slices.Equal(faults, want) {
		t.Errorf("got findings for %v, want one for each of %v", faults, want)
	}
	files, err := filepath.Glob(filepath.Join(scenariosDir, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		if name := strings.TrimSuffix(filepath.Base(file), ".yaml"); name != "regions" && name != "networks" {
			names = append(names, name)
		}
	}
	want := slices.Sorted(slices.Values(slices.Concat(withBrowser, withoutBrowser)))
	if !slices.Equal(names, want) {
		t.Errorf("got scenarios %v, want %v", names, want)
	}
}

// TestFaultMatrix switches one fault after another on and runs every scenario without a browser in its region: the one that is there for
// it tells it, with its class and step, and no other has anything to say. Where the fault is not, all is well.
func TestFaultMatrix(t *testing.T) {
	secrets := t.TempDir()
	write(t, secrets, "SHOP_PASSWORD", demosite.DefaultPassword)
	for _, f := range findings() {
		t.Run(string(f.fault), func(t *testing.T) {
			t.Parallel()
			site := shop(t, "us", "eu", "apac", "latam")
			if err := site.Faults().Set(f.fault, "", true); err != nil {
				t.Fatal(err)
			}
			region, elsewhere := f.fault.DefaultRegion(), "eu"
			if region == elsewhere {
				elsewhere = "apac"
			}
			// One beside the other: they share nothing but the shop.
			results, errs := make([]runs.Result, len(withoutBrowser)+1), make([]error, len(withoutBrowser)+1)
			var running sync.WaitGroup
			for i, name := range withoutBrowser {
				running.Go(func() { results[i], errs[i] = runIn(t, site, region, name, secrets) })
			}
			running.Go(func() {
				last := len(results) - 1
				results[last], errs[last] = runIn(t, site, elsewhere, f.scenario, secrets)
			})
			running.Wait()
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
			for i := range results {
				if r := &results[i]; r.Scenario == f.scenario && r.Region == region {
					f.check(t, r)
				} else {
					checkWell(t, r)
				}
			}
		})
	}
}

// runIn runs a scenario that ships against the shop, as people do by hand. It may be called beside itself.
func runIn(t *testing.T, site *demosite.Site, region, name, secrets string) (r runs.Result, err error) {
	out, errs := printed(t, site, region, name, secrets, "json")
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		return r, fmt.Errorf("%s in %s: got %q, %q: %w", name, region, out, errs, err)
	}
	return r, nil
}

// printed runs a scenario and returns all that it says, in the form asked for.
func printed(t *testing.T, site *demosite.Site, region, name, secrets, form string) (out, errs string) {
	args := []string{
		"run", "--allow-net", "127.0.0.0/8", "--no-sandbox", "--artefacts", "off", "--secrets-dir", secrets, "--output", form, "--log-level", "debug",
		"--region", region, "--network", "none", filepath.Join(scenariosDir, name+".yaml"),
	}
	for _, each := range site.Regions() {
		args = append(args, "--var", each+":base="+site.URL(each))
	}
	_, out, errs = clitest.Run(t, probe.Main, args...)
	return out, errs
}

// TestEvidenceOfALeak looks at what is kept of one: what the cache said, and nothing of what the customers may see.
func TestEvidenceOfALeak(t *testing.T) {
	secrets := t.TempDir()
	write(t, secrets, "SHOP_PASSWORD", demosite.DefaultPassword)
	site := shop(t, "us", "eu", "apac", "latam")
	if err := site.Faults().Set(demosite.CacheLeak, "eu", true); err != nil {
		t.Fatal(err)
	}
	canary := regexp.MustCompile(`canary-[0-9a-f]`)
	for _, form := range []string{"har", "json", "text", "junit"} { // each leaks anew, what the one before it left in the cache included
		out, errs := printed(t, site, "eu", "private-cache", secrets, form)
		if canary.MatchString(out + errs) {
			t.Errorf("%s: a canary was told:\n%s%s", form, out, errs)
		}
		if !strings.Contains(out, "shown the canary of") && form != "har" || !strings.Contains(out, "found in the body of "+site.URL("eu")+"/api/me: status 200, cache hit") {
			t.Errorf("%s: got\n%s%s, want the leak told, with what the cache said", form, out, errs)
		}
		if form != "har" {
			continue
		}
		var archive struct{ Log struct{ Entries []entry } }
		if err := json.Unmarshal([]byte(out), &archive); err != nil {
			t.Fatalf("%q, %q: %v", out, errs, err)
		}
		at := slices.IndexFunc(archive.Log.Entries, func(e entry) bool { return e.Error != "" })
		if at < 0 {
			t.Fatalf("got %s, want an entry with an error", out)
		}
		kept := fmt.Sprint(archive.Log.Entries[at].Response.Headers)
		if !strings.Contains(kept, "{Cache-Status edge-eu; hit;") || !strings.Contains(kept, "{Vary ") || !strings.Contains(kept, "{Age ") || strings.Contains(kept, "X-Served-Region") {
			t.Errorf("got headers %s kept, want those about caching", kept)
		}
	}
}

// entry is what the test reads of an archive.
type entry struct {
	Error    string `json:"_error"`
	Response struct {
		Headers []struct{ Name, Value string }
	}
}

// unmeasured reports whether a busy machine kept a run from being measured.
func unmeasured(r *runs.Result) bool {
	return r.State == runs.StateInvalid && r.Cause != nil && slices.Contains(busy, string(r.Cause.Class))
}

// exposed lists the steps that warn of answers which a shared cache ought not to have given.
func exposed(r *runs.Result) (steps []string) {
	for _, step := range r.Steps {
		if slices.ContainsFunc(step.Warnings, func(w string) bool { return strings.HasPrefix(w, "exposed: ") }) {
			steps = append(steps, step.ID)
		}
	}
	return steps
}

// check says what is wrong with the result of the scenario that is there for the fault.
func (f finding) check(t *testing.T, r *runs.Result) {
	t.Helper()
	if unmeasured(r) {
		t.Logf("%s in %s: not measured: %+v", r.Scenario, r.Region, r.Cause)
		return
	}
	if r.State != f.state || f.class != "" && (r.Cause == nil || r.Cause.Class != f.class || !slices.Contains(f.steps, r.Cause.Step)) {
		t.Errorf("%s in %s: got %s %+v, want %s, class %q, at one of %q", r.Scenario, r.Region, r.State, r.Cause, f.state, f.class, f.steps)
	}
	if got := exposed(r); f.exposed != "" && !slices.Contains(got, f.exposed) {
		t.Errorf("%s in %s: got warnings of exposed answers at %q, want one at %s", r.Scenario, r.Region, got, f.exposed)
	}
}

// checkWell says what is wrong with the result of a scenario that no fault concerns. A machine that is too busy may have made it slow.
func checkWell(t *testing.T, r *runs.Result) {
	t.Helper()
	slow := r.State == runs.StateDegraded && len(r.Tainted) > 0
	if r.State != runs.StatePassed && !slow && !unmeasured(r) {
		t.Errorf("%s in %s: got %s %+v, want passed", r.Scenario, r.Region, r.State, r.Cause)
	}
	if got := exposed(r); len(got) > 0 {
		t.Errorf("%s in %s: got warnings of exposed answers at %q, want none", r.Scenario, r.Region, got)
	}
}

// TestDemoFaults runs the whole fleet with all faults on at once: each is found by the scenario that is there for it, in the region in which
// it is, and nothing else is found anywhere, browser journeys included. With the rules that ship, a Prometheus pages for the leak.
func TestDemoFaults(t *testing.T) {
	var flags []string
	for _, f := range demosite.FaultNames() {
		flags = append(flags, "--fault", f)
	}
	alertmanager := expositiontest.StartAlertmanager(t)
	r := demoFor(t, "45s", func(logFile string) { // one scrape after the first leak is enough for the page
		coordinator := findCoordinator(t, logFile)
		expositiontest.StartPrometheus(t, expositiontest.Options{
			Targets: []string{strings.TrimSuffix(strings.TrimPrefix(coordinator, "http://"), "/metrics")}, Job: "lastmile-coordinator",
			Rules: "../../../dashboards/rules.yml", Alertmanager: alertmanager,
		})
		findExposed(t, coordinator)
		findPage(t, alertmanager)
	}, flags...)
	findPage(t, alertmanager)
	checkAlerts(t, r.Alerts)
	for _, c := range r.Combinations {
		at := slices.IndexFunc(findings(), func(f finding) bool {
			return f.class != "" && f.scenario == c.Scenario && f.fault.DefaultRegion() == c.Region
		})
		if at < 0 {
			checkUnconcerned(t, c)
			continue
		}
		findings()[at].checkAll(t, c)
	}
}

// findCoordinator waits until the coordinator has planned slots, and returns the address of its metrics.
func findCoordinator(t *testing.T, logFile string) (coordinator string) {
	t.Helper()
	clitest.Eventually(t, "the coordinator's metrics", func() bool {
		log, err := os.ReadFile(logFile)
		if err != nil {
			return false // not there yet
		}
		for _, url := range regexp.MustCompile(`http://127\.0\.0\.1:\d+/metrics`).FindAllString(string(log), -1) {
			if scrape(t, url).sum("lastmile_slots_total") > 0 {
				coordinator = url
			}
		}
		return coordinator != ""
	})
	return coordinator
}

// findPage waits until the leak has paged, and checks that nothing else has, then or before.
func findPage(t *testing.T, alertmanager *expositiontest.Alertmanager) {
	t.Helper()
	var pages []expositiontest.Alert
	clitest.Eventually(t, "a page", func() bool {
		pages = slices.DeleteFunc(alertmanager.Alerts(t), func(a expositiontest.Alert) bool { return a.Labels["severity"] != "page" })
		return len(pages) > 0
	})
	for _, page := range pages {
		l, text := page.Labels, page.Annotations["summary"]
		if l["alertname"] != "LastmileCacheLeak" || l["scenario"] != "private-cache" || l["region"] != "apac" || l["network"] != "none" ||
			!strings.Contains(text, "private-cache in apac, network none") || len(pages) > 1 {
			t.Errorf("got page %v %q, want one of the leak of private-cache in apac and no other", l, text)
		}
	}
}

// checkAlerts says what is wrong with the alerts of the summary: the leak pages at its first run, what fails in several regions may have paged by now, and
// nothing is said of scenarios and regions in which no fault makes runs fail. Only a busy machine measures too little, and says so.
func checkAlerts(t *testing.T, alerts []runs.Alert) {
	t.Helper()
	leaks := 0
	for _, a := range alerts {
		if a.Name == runs.AlertBlind {
			continue
		}
		regions := []string{a.Region}
		if a.Scope == runs.ScopeGlobal {
			regions = a.Why.Regions
		}
		rightly := slices.ContainsFunc(findings(), func(f finding) bool {
			leak := f.class == runs.ClassCacheLeak
			return f.state == runs.StateFailed && f.scenario == a.Scenario && slices.Contains(regions, f.fault.DefaultRegion()) && leak == (a.Name == runs.AlertCacheLeak)
		})
		if !rightly || a.Severity != slo.SeverityPage || !a.Active() || a.Why.First == nil {
			t.Errorf("got alert %+v, want only pages about faults, active, with the run that failed first", a)
		}
		if a.Name == runs.AlertCacheLeak {
			leaks++
		}
	}
	if leaks != 1 {
		t.Errorf("got alerts %+v, want one of the leak", alerts)
	}
}

// findExposed waits until the coordinator counts exposed answers, and checks where.
func findExposed(t *testing.T, coordinator string) {
	t.Helper()
	clitest.Eventually(t, "answers that a shared cache ought not to have given", func() bool {
		return scrape(t, coordinator).sum("lastmile_exposed_answers_total") > 0
	})
	s := scrape(t, coordinator)
	// Beside what is for members, /api/me comes from the cache too, if bob does not find it to be alice's first.
	if all, here := s.sum("lastmile_exposed_answers_total"), s.sum("lastmile_exposed_answers_total", `scenario="private-cache"`, `region="apac"`); all != here {
		t.Errorf("got %v exposed answers, %v of them of private-cache in apac, want no others", all, here)
	}
}

// measured counts a combination's measured runs.
func (c combination) measured() int64 {
	return c.States["passed"] + c.States["degraded"] + c.States["failed"]
}

// checkAll says what is wrong with the runs of the scenario that is there for the fault.
func (f finding) checkAll(t *testing.T, c combination) {
	t.Helper()
	if c.measured() == 0 {
		if c.Reasons["expired"] == 0 && (c.LastProblem == nil || !slices.Contains(busy, c.LastProblem.Class)) {
			t.Errorf("%s in %s: got %s, want runs", c.Scenario, c.Region, c)
		}
		t.Logf("%s in %s: not measured: %s", c.Scenario, c.Region, c)
		return
	}
	found := c.States[string(f.state)] > 0 && c.LastProblem != nil
	if last := c.LastProblem; !found || !slices.Contains(busy, last.Class) && (last.Class != string(f.class) || !slices.Contains(f.steps, last.Step)) {
		t.Errorf("%s in %s: got %s, want it %s for %s, class %s, at one of %q", c.Scenario, c.Region, c, f.state, f.fault, f.class, f.steps)
	}
	switch f.fault {
	case demosite.SlowRegion: // a P95 is of the runs that a busy machine left untainted
		if c.States["passed"] != 0 || c.P95MS == nil && c.Tainted == 0 || c.P95MS != nil && *c.P95MS < 800 {
			t.Errorf("%s in %s: got %s, want every run slow by 800 ms", c.Scenario, c.Region, c)
		}
	case demosite.CacheMiss:
		if c.CacheHitRatio == nil || *c.CacheHitRatio > 0 {
			t.Errorf("%s in %s: got %s, want a hit ratio of 0", c.Scenario, c.Region, c)
		}
	}
}

// checkUnconcerned says what is wrong with the runs of a scenario in a region where no fault is its own. A busy machine may keep some from
// being measured and others from being fast, and says so.
func checkUnconcerned(t *testing.T, c combination) {
	t.Helper()
	bad, last := c.States["failed"]+c.States["degraded"], c.LastProblem
	slow := bad > 0 && c.Tainted >= bad && last != nil && slices.Contains(append([]string{"budget", "timeout"}, busy...), last.Class)
	if few := c.States["failed"] == 0 && c.States["passed"] > 0; bad > 0 && !slow && !few {
		t.Errorf("%s in %s over %s: got %s, want nothing found where no fault is its own", c.Scenario, c.Region, c.Network, c)
	}
	if c.measured() == 0 && c.Reasons["expired"] == 0 && (last == nil || !slices.Contains(busy, last.Class)) { // expired: no probe had a place for it
		t.Errorf("%s in %s over %s: got %s, want runs", c.Scenario, c.Region, c.Network, c)
	}
}
