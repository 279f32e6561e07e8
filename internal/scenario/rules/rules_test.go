package rules

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"lastmile/internal/netprofile"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

var testFleet = scenario.Fleet{Regions: []string{"us", "eu", "apac"}, Networks: netprofile.Presets()}

func every(text string) (s scenario.Schedule) {
	if err := s.UnmarshalText([]byte(text)); err != nil {
		panic(err) // the tests' own
	}
	return s
}

func textOf(s string) *scenario.Text { return new(scenario.Text(s)) }

// sound is a scenario without problems: one step of each type, with all that may stand on it.
func sound() *scenario.Scenario {
	yes, count, left := true, 2, 3.5
	return &scenario.Scenario{
		APIVersion: scenario.APIVersion, Name: "shop", Kind: scenario.KindJourney, Engine: scenario.EngineShell, Device: "moto-g-power",
		Schedule: every("@every 1m"), Timeout: scenario.Duration(45 * time.Second),
		Regions: scenario.Strings{"us", "eu"}, Networks: []string{"none", "3g"},
		Vars:       map[string]scenario.Text{"base": "https://shop.example.com", "x": ""},
		RegionVars: map[string]map[string]scenario.Text{"eu": {"base": "https://eu.shop.example.com"}},
		Secrets:    []string{"PASSWORD"}, AllowHosts: []string{"shop.example.com", "*.cdn.example.com"},
		Steps: []scenario.Step{
			{ID: "size", Type: scenario.StepSetViewport, Width: 360, Height: 800, DeviceScaleFactor: 2, IsMobile: true, HasTouch: true, IsLandscape: true},
			{
				ID: "home", Type: scenario.StepNavigate, URL: "${vars.base}/?at=${region}", AssertedEvents: []scenario.AssertedEvent{{Type: "navigation", URL: "*"}},
				Assert: []scenario.Assertion{{Status: scenario.StatusSet{"200"}}, {Title: "Shop*"}, {Header: "X-Region", Equals: textOf("${expected.region}")}, {Visible: "#a"}, {Cache: scenario.Strings{"hit"}}},
			},
			{ID: "pw", Type: scenario.StepChange, Selectors: scenario.Selectors{{"#pw"}}, Value: new("${secrets.PASSWORD}"), Timeout: scenario.Duration(3 * time.Second)},
			{ID: "go", Type: scenario.StepClick, Selectors: scenario.Selectors{{"#go"}}, OffsetX: &left, OffsetY: &left, Extract: map[string]scenario.Extractor{"order": {Selector: "#o", Regex: `\d+`}}},
			{ID: "wait", Type: scenario.StepWaitForElement, Selectors: scenario.Selectors{{"#${order}"}}, Operator: "==", Count: &count, Visible: &yes, Assert: []scenario.Assertion{{URL: "*"}, {Hidden: "#b"}}},
			{
				ID: "api", Type: scenario.StepHTTP, Method: "POST", URL: "${vars.base}/api", Headers: map[string]string{"Authorization": "${secrets.PASSWORD}"},
				JSON: map[string]any{"a": []any{"${order}", 1.0}}, FollowRedirects: &yes, Poll: &scenario.Poll{Every: scenario.Duration(time.Second), For: scenario.Duration(9 * time.Second)},
				Assert: []scenario.Assertion{{JSON: "$.state", Contains: "paid"}, {Body: "ok", Not: true}}, Extract: map[string]scenario.Extractor{"id": {JSON: "$.id"}, "h": {Header: "X"}, "b": {Regex: "a(b)"}},
				Budget: &scenario.Budget{Duration: scenario.Duration(time.Second), Bytes: 1000}, Optional: true,
			},
			{ID: "clean", Type: scenario.StepHTTP, Method: "DELETE", URL: "${vars.base}/api/${id}", Form: map[string]string{"h": "${h}${b}"}, Always: true},
		},
		Routing: &scenario.Routing{Header: "X-Served-Region", Expect: map[string]string{"us": "us-1"}},
		SLOs: []scenario.SLO{
			{Name: "availability", Objective: 0.999, Window: slo.Window(30 * 24 * time.Hour)},
			{Name: "fast", SLI: scenario.SLILatency, Objective: 0.95, Window: slo.Window(time.Hour), Step: "api", Threshold: scenario.Duration(time.Second)},
			{Name: "edge", SLI: scenario.SLICacheHit, Objective: 0.9, Window: slo.Window(time.Hour), Match: "*"},
			{Name: "routing", SLI: scenario.SLIRouting, Objective: 0.9, Window: slo.Window(time.Hour)},
		},
		Alerts: scenario.Alerts{Critical: true},
	}
}

func TestSound(t *testing.T) {
	if problems := Check(sound(), testFleet); len(problems) != 0 {
		t.Errorf("validate: got %v, want no problems", problems)
	}
}

// Each change gives exactly the problems named, by their paths.
func TestValidate(t *testing.T) {
	step := func(i int, change func(*scenario.Step)) func(*scenario.Scenario) {
		return func(s *scenario.Scenario) { change(&s.Steps[i]) }
	}
	const size, home, pw, click, wait, api, clean = 0, 1, 2, 3, 4, 5, 6
	cases := []struct {
		name   string
		change func(*scenario.Scenario)
		want   []string
	}{
		{"version", func(s *scenario.Scenario) { s.APIVersion = "v2" }, []string{"apiVersion"}},
		{"no name", func(s *scenario.Scenario) { s.Name = "" }, []string{"scenario"}},
		{"name", func(s *scenario.Scenario) { s.Name = "Shop_1" }, []string{"scenario"}},
		{"kind", func(s *scenario.Scenario) { s.Kind = "replication" }, []string{"kind"}},
		{"engine", func(s *scenario.Scenario) { s.Engine = "gecko" }, []string{"engine"}},
		{"device", func(s *scenario.Scenario) { s.Device = "nokia" }, []string{"device"}},
		{"no schedule", func(s *scenario.Scenario) { s.Schedule = scenario.Schedule{} }, []string{"schedule"}},
		{"no timeout", func(s *scenario.Scenario) { s.Timeout = 0 }, []string{"timeout"}},
		{"timeout too long", func(s *scenario.Scenario) { s.Timeout = scenario.Duration(11 * time.Minute) }, []string{"timeout"}},
		{"timeout over the period", func(s *scenario.Scenario) { s.Timeout = scenario.Duration(61 * time.Second) }, []string{"timeout"}},
		{"timeout of the whole period", func(s *scenario.Scenario) { s.Timeout = scenario.Duration(time.Minute) }, nil},
		{"no regions", func(s *scenario.Scenario) { s.Regions = nil }, []string{"regions"}},
		{"all regions", func(s *scenario.Scenario) { s.Regions = scenario.Strings{"all"} }, nil},
		{"all and one", func(s *scenario.Scenario) { s.Regions = scenario.Strings{"all", "us"} }, []string{"regions"}},
		{"unknown region", func(s *scenario.Scenario) { s.Regions[1] = "mars" }, []string{"regions.1"}},
		{"region twice", func(s *scenario.Scenario) { s.Regions[1] = "us" }, []string{"regions.1"}},
		{"no networks", func(s *scenario.Scenario) { s.Networks = nil }, nil},
		{"unknown network", func(s *scenario.Scenario) { s.Networks[0] = "5g" }, []string{"networks.0"}},
		{"network twice", func(s *scenario.Scenario) { s.Networks[1] = "none" }, []string{"networks.1"}},
		{"host with a port", func(s *scenario.Scenario) { s.AllowHosts[0] = "a:80" }, []string{"allowHosts.0"}},
		{"host empty", func(s *scenario.Scenario) { s.AllowHosts[1] = "" }, []string{"allowHosts.1"}},
		{"variable name", func(s *scenario.Scenario) { s.Vars["a-b"] = "" }, []string{"vars.a-b"}},
		{"variable in a variable", func(s *scenario.Scenario) { s.Vars["x"] = "${region}" }, []string{"vars.x"}},
		{"variable of an unknown region", func(s *scenario.Scenario) { s.RegionVars["mars"] = map[string]scenario.Text{"x": "y"} }, []string{"regionVars.mars"}},
		{"variable of one region only", func(s *scenario.Scenario) { s.RegionVars["eu"]["y"] = "z" }, []string{"regionVars.eu.y"}},
		{"secret name", func(s *scenario.Scenario) { s.Secrets = append(s.Secrets, "a b") }, []string{"secrets.1", "secrets.1"}},
		{"unused secret", func(s *scenario.Scenario) { s.Secrets = append(s.Secrets, "TOKEN") }, []string{"secrets.1"}},
		{"no steps", func(s *scenario.Scenario) { s.Steps, s.Secrets, s.SLOs = nil, nil, nil }, []string{"steps"}},
		{"too many steps", func(s *scenario.Scenario) {
			s.Steps = append(s.Steps, slices.Repeat([]scenario.Step{{Type: scenario.StepHTTP, URL: "x"}}, maxSteps)...)
		}, []string{"steps"}},
		{"no routing header", func(s *scenario.Scenario) { s.Routing.Header = "" }, []string{"routing.header"}},
		{"routing of an unknown region", func(s *scenario.Scenario) { s.Routing.Expect["mars"] = "us" }, []string{"routing.expect.mars"}},

		{"step id", step(home, func(s *scenario.Step) { s.ID = "Home!" }), []string{"steps.1.id"}},
		{"step id twice", step(home, func(s *scenario.Step) { s.ID = "size" }), []string{"steps.1.id"}},
		{"step without an id", step(home, func(s *scenario.Step) { s.ID = "" }), nil},
		{"no step type", step(home, func(s *scenario.Step) { s.Type = "" }), []string{"steps.1.type"}},
		{"step type", step(api, func(s *scenario.Step) { s.Type = "fetch" }), []string{"steps.5.type"}},
		{"key of another type", step(size, func(s *scenario.Step) { s.URL = "x" }), []string{"steps.0.url"}},
		{"missing key", step(size, func(s *scenario.Step) { s.Width = 0 }), []string{"steps.0.width"}},
		{"no selectors", step(wait, func(s *scenario.Step) { s.Selectors = nil }), []string{"steps.4.selectors"}},
		{"method", step(api, func(s *scenario.Step) { s.Method = "get" }), []string{"steps.5.method"}},
		{"protocol", step(api, func(s *scenario.Step) { s.Protocol = "spdy" }), []string{"steps.5.protocol"}},
		{"protocol on another type", step(home, func(s *scenario.Step) { s.Protocol = scenario.ProtocolHTTP3 }), []string{"steps.1.protocol"}},
		{"protocol without tls", step(api, func(s *scenario.Step) { s.Protocol, s.URL = scenario.ProtocolHTTP3, "HTTP://shop.example.com" }), []string{"steps.5.protocol"}},
		{"plain protocol without tls", step(api, func(s *scenario.Step) { s.Protocol, s.URL = scenario.ProtocolHTTP1, "http://shop.example.com" }), nil},
		{"operator", step(wait, func(s *scenario.Step) { s.Operator = ">" }), []string{"steps.4.operator"}},
		{"two bodies", step(api, func(s *scenario.Step) { s.Body = "x" }), []string{"steps.5"}},
		{"poll", step(api, func(s *scenario.Step) { s.Poll.Every = 0 }), []string{"steps.5.poll"}},
		{"poll shorter than its interval", step(api, func(s *scenario.Step) { s.Poll.For = s.Poll.Every }), []string{"steps.5.poll"}},
		{"poll for nothing", step(api, func(s *scenario.Step) { s.Assert = nil }), []string{"steps.5.poll"}},
		{"step timeout", step(pw, func(s *scenario.Step) { s.Timeout = scenario.Duration(46 * time.Second) }), []string{"steps.2.timeout"}},
		{"event", step(home, func(s *scenario.Step) { s.AssertedEvents[0].Type = "click" }), []string{"steps.1.assertedEvents.0.type"}},
		{"template", step(home, func(s *scenario.Step) { s.URL = "${" }), []string{"steps.1.url"}},
		{"unknown variable", step(home, func(s *scenario.Step) { s.URL = "${vars.nope}" }), []string{"steps.1.url"}},
		{"variable of a later step", step(home, func(s *scenario.Step) { s.URL = "${order}" }), []string{"steps.1.url"}},
		{"template in a selector", step(click, func(s *scenario.Step) { s.Selectors = scenario.Selectors{{"#a"}, {"#b", "${nope}"}} }), []string{"steps.3.selectors.1"}},
		{"template in a header", step(clean, func(s *scenario.Step) { s.Headers = map[string]string{"X": "${nope}"} }), []string{"steps.6.headers.X"}},
		{"template in json", step(api, func(s *scenario.Step) { s.JSON = []any{map[string]any{"a": "${nope}"}} }), []string{"steps.5.json"}},
		{"template in a form", step(clean, func(s *scenario.Step) { s.Form["h"] = "${nope}" }), []string{"steps.6.form.h"}},
		{"template in an event", step(home, func(s *scenario.Step) { s.AssertedEvents[0].URL = "${nope}" }), []string{"steps.1.assertedEvents.0.url"}},
		{"template in contains", step(api, func(s *scenario.Step) { s.Assert[0].Contains = "${nope}" }), []string{"steps.5.assert.0.contains"}},
		{"template in equals", step(home, func(s *scenario.Step) { s.Assert[2].Equals = textOf("${nope}") }), []string{"steps.1.assert.2.equals"}},
		{"template in a subject", step(home, func(s *scenario.Step) { s.Assert[3].Visible = "${nope}" }), []string{"steps.1.assert.3.visible"}},
		{"secret in a URL", step(home, func(s *scenario.Step) { s.URL = "${secrets.PASSWORD}" }), []string{"steps.1.url"}},
		{"secret in an assertion", step(api, func(s *scenario.Step) { s.Assert[1].Body = "${secrets.PASSWORD}" }), []string{"steps.5.assert.1.body"}},
		{"no subject", step(home, func(s *scenario.Step) { s.Assert[0] = scenario.Assertion{Not: true} }), []string{"steps.1.assert.0"}},
		{"two subjects", step(home, func(s *scenario.Step) { s.Assert[0].Title = "x" }), []string{"steps.1.assert.0"}},
		{"subject of another type", step(click, func(s *scenario.Step) { s.Assert = []scenario.Assertion{{Status: scenario.StatusSet{"200"}}} }), []string{"steps.3.assert.0.status"}},
		{"page subject on http", step(api, func(s *scenario.Step) { s.Assert[1] = scenario.Assertion{Visible: "#a"} }), []string{"steps.5.assert.1.visible"}},
		{"two comparators", step(api, func(s *scenario.Step) { s.Assert[0].Matches = "x" }), []string{"steps.5.assert.0"}},
		{"comparator without a value", step(home, func(s *scenario.Step) { s.Assert[1].Contains = "x" }), []string{"steps.1.assert.1"}},
		{"regular expression", step(api, func(s *scenario.Step) { s.Assert[0] = scenario.Assertion{JSON: "$", Matches: "("} }), []string{"steps.5.assert.0.matches"}},
		{"name of an extract", step(api, func(s *scenario.Step) { s.Extract["a.b"] = scenario.Extractor{JSON: "$"} }), []string{"steps.5.extract.a.b"}},
		{"extract over a variable of ours", step(api, func(s *scenario.Step) { s.Extract["region"] = scenario.Extractor{JSON: "$"} }), []string{"steps.5.extract.region"}},
		{"extract from nothing", step(click, func(s *scenario.Step) { s.Extract["order"] = scenario.Extractor{Regex: "x"} }), []string{"steps.3.extract.order"}},
		{"extract from http on a page", step(click, func(s *scenario.Step) { s.Extract["order"] = scenario.Extractor{JSON: "$"} }), []string{"steps.3.extract.order"}},
		{"extract twice", step(api, func(s *scenario.Step) { s.Extract["id"] = scenario.Extractor{JSON: "$", Header: "X"} }), []string{"steps.5.extract.id"}},
		{"extract from a page on http", step(api, func(s *scenario.Step) { s.Extract["id"] = scenario.Extractor{Selector: "#a"} }), []string{"steps.5.extract.id"}},
		{"JSONPath of another kind", step(api, func(s *scenario.Step) { s.Extract["b"] = scenario.Extractor{JSON: "items.0.id"} }), []string{"steps.5.extract.b.json"}},
		{"XPath without its prefix", step(pw, func(s *scenario.Step) { s.Selectors = scenario.Selectors{{"//div[@id]"}} }), []string{"steps.2.selectors.0"}},
		{"another tool's selector", step(pw, func(s *scenario.Step) { s.Selectors = scenario.Selectors{{"#pay"}, {"css=#pay"}} }), []string{"steps.2.selectors.1"}},
		{"regular expression of an extract", step(api, func(s *scenario.Step) { s.Extract["b"] = scenario.Extractor{Regex: "("} }), []string{"steps.5.extract.b.regex"}},

		{"objective name", func(s *scenario.Scenario) { s.SLOs[0].Name = "" }, []string{"slos.0.name"}},
		{"objective name twice", func(s *scenario.Scenario) { s.SLOs[1].Name = "availability" }, []string{"slos.1.name"}},
		{"sli", func(s *scenario.Scenario) { s.SLOs[0].SLI = "speed" }, []string{"slos.0.sli"}},
		{"no objective", func(s *scenario.Scenario) { s.SLOs[0].Objective = 0 }, []string{"slos.0.objective"}},
		{"no window", func(s *scenario.Scenario) { s.SLOs[0].Window = 0 }, []string{"slos.0.window"}},
		{"latency without a threshold", func(s *scenario.Scenario) { s.SLOs[1].Threshold = 0 }, []string{"slos.1.threshold"}},
		{"threshold of another", func(s *scenario.Scenario) { s.SLOs[0].Threshold = 1 }, []string{"slos.0.threshold"}},
		{"unknown step", func(s *scenario.Scenario) { s.SLOs[1].Step = "pay" }, []string{"slos.1.step"}},
		{"step of another", func(s *scenario.Scenario) { s.SLOs[0].Step = "api" }, []string{"slos.0.step"}},
		{"match of another", func(s *scenario.Scenario) { s.SLOs[0].Match = "*" }, []string{"slos.0.match"}},
		{"routing objective without routing", func(s *scenario.Scenario) { s.Routing = nil }, []string{"slos.3.sli"}},
		{"too many objectives", func(s *scenario.Scenario) {
			for i := range maxSLOs {
				s.SLOs = append(s.SLOs, scenario.SLO{Name: fmt.Sprintf("o%d", i), Objective: 0.9, Window: slo.Window(time.Hour)})
			}
		}, []string{"slos"}},
	}
	for _, c := range cases {
		s := sound()
		c.change(s)
		var got []string
		for _, p := range Check(s, testFleet) {
			got = append(got, strings.Join(p.Path, "."))
			if p.Got == "" || p.Want == "" || !strings.Contains(p.Error(), "want "+p.Want) {
				t.Errorf("%s: got %+v, want got and want in words", c.name, p)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got problems at %v, want %v:\n%v", c.name, got, c.want, Check(s, testFleet))
		}
	}
}

// Every key of Step is common or belongs to a type, and every key that StepKeys names is one of Step.
func TestStepKeys(t *testing.T) {
	tags := map[string]bool{}
	for i := range reflect.TypeFor[scenario.Step]().NumField() {
		tag, _, _ := strings.Cut(reflect.TypeFor[scenario.Step]().Field(i).Tag.Get("json"), ",")
		tags[tag] = true
	}
	named := map[string]bool{}
	for _, key := range scenario.CommonKeys() {
		named[key] = true
	}
	for _, stepType := range scenario.StepTypes() {
		allowed, required, ok := scenario.StepKeys(stepType)
		if !ok {
			t.Errorf("keys of %s: got none", stepType)
		}
		for _, key := range allowed {
			if slices.Contains(scenario.CommonKeys(), key) {
				t.Errorf("key %s of %s is a common one", key, stepType)
			}
			named[key] = true
		}
		for _, key := range required {
			if !slices.Contains(allowed, key) {
				t.Errorf("key %s of %s is required and not allowed", key, stepType)
			}
		}
	}
	for key := range tags {
		if !named[key] {
			t.Errorf("key %s of Step is allowed on no type", key)
		}
	}
	for key := range named {
		if !tags[key] {
			t.Errorf("key %s is allowed and no field of Step", key)
		}
	}
	if _, _, ok := scenario.StepKeys("fetch"); ok {
		t.Error("keys of an unknown type: got some")
	}
}

func TestRevision(t *testing.T) {
	first := sound().Revision()
	if again := sound().Revision(); again != first || len(first) != 12 {
		t.Errorf("revision: got %s and %s, want the same 12 digits", first, again)
	}
	body, err := json.Marshal(sound())
	if err != nil {
		t.Fatal(err)
	}
	var travelled scenario.Scenario
	if err := json.Unmarshal(body, &travelled); err != nil {
		t.Fatalf("read %s: %v", body, err)
	}
	if !reflect.DeepEqual(&travelled, sound()) {
		t.Errorf("read from its own JSON: got %+v", travelled)
	}
	if got := travelled.Revision(); got != first {
		t.Errorf("revision after a journey as JSON: got %s, want %s", got, first)
	}
	// A new number here means that an upgrade changes the revision of every scenario in the field, where nothing has changed.
	if want := "2a993a238028"; first != want {
		t.Errorf("revision: got %s, want %s", first, want)
	}
	for name, change := range map[string]func(*scenario.Scenario){
		"timeout": func(s *scenario.Scenario) { s.Timeout++ }, "variable": func(s *scenario.Scenario) { s.Vars["x"] = "y" }, "step": func(s *scenario.Scenario) { s.Steps[5].JSON = 1.0 },
		"alerts": func(s *scenario.Scenario) { s.Alerts.Critical = false }, "order": func(s *scenario.Scenario) { s.Regions[0], s.Regions[1] = s.Regions[1], s.Regions[0] },
	} {
		s := sound()
		change(s)
		if s.Revision() == first {
			t.Errorf("revision after a change of %s: got the old one", name)
		}
	}
}

func TestCombinations(t *testing.T) {
	s := &scenario.Scenario{Name: "a", Regions: scenario.Strings{"all"}, Networks: []string{"3g", "none"}}
	s.Resolve(testFleet)
	got := s.Combinations()
	if len(got) != 6 || got[0] != (scenario.Combination{Scenario: "a", Region: "us", Network: "3g"}) || got[1] != (scenario.Combination{Scenario: "a", Region: "us", Network: "none"}) || got[5] != (scenario.Combination{Scenario: "a", Region: "apac", Network: "none"}) {
		t.Errorf("combinations: got %v", got)
	}
	s.Regions[0] = "changed"
	if testFleet.Regions[0] != "us" {
		t.Error("resolve shares the fleet's own list")
	}
	if got := (&scenario.Scenario{}).NetworkNames(); !slices.Equal(got, []string{"none"}) {
		t.Errorf("networks of a scenario without any: got %v, want none", got)
	}
}

func TestPool(t *testing.T) {
	http, browser := &scenario.Scenario{Steps: []scenario.Step{{Type: scenario.StepHTTP}}}, &scenario.Scenario{Steps: []scenario.Step{{Type: scenario.StepHTTP}, {Type: scenario.StepClick}}}
	if http.Pool() != scenario.PoolHTTP || http.NeedsBrowser() || browser.Pool() != scenario.PoolBrowser || !browser.NeedsBrowser() {
		t.Errorf("pools: got %s and %s, want http and browser", http.Pool(), browser.Pool())
	}
}

func TestAvailability(t *testing.T) {
	if got, ok := sound().Availability(); !ok || got.Name != "availability" {
		t.Errorf("availability: got %v and %v", got, ok)
	}
	if got, ok := (&scenario.Scenario{SLOs: []scenario.SLO{{SLI: scenario.SLILatency}}}).Availability(); ok {
		t.Errorf("availability of a scenario without: got %v", got)
	}
}
