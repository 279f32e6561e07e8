package scenario

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"lastmile/internal/netprofile"
	"lastmile/internal/slo"
)

var testFleet = Fleet{Regions: []string{"us", "eu", "apac"}, Networks: netprofile.Presets()}

// pinned is a scenario whose revision must never change. It has the keys of the first version, and gets no others.
func pinned(t *testing.T) *Scenario {
	yes, count, left := true, 2, 3.5
	return &Scenario{
		APIVersion: APIVersion, Name: "shop", Kind: KindJourney, Engine: EngineShell, Device: "moto-g-power",
		Schedule: mustSchedule(t, "@every 1m"), Timeout: Duration(45 * time.Second),
		Regions: Strings{"us", "eu"}, Networks: []string{"none", "3g"},
		Vars:       map[string]Text{"base": "https://shop.example.com", "x": ""},
		RegionVars: map[string]map[string]Text{"eu": {"base": "https://eu.shop.example.com"}},
		Secrets:    []string{"PASSWORD"}, AllowHosts: []string{"shop.example.com", "*.cdn.example.com"},
		Steps: []Step{
			{ID: "size", Type: StepSetViewport, Width: 360, Height: 800, DeviceScaleFactor: 2, IsMobile: true, HasTouch: true, IsLandscape: true},
			{
				ID: "home", Type: StepNavigate, URL: "${vars.base}/?at=${region}", AssertedEvents: []AssertedEvent{{Type: "navigation", URL: "*"}},
				Assert: []Assertion{{Status: StatusSet{"200"}}, {Title: "Shop*"}, {Header: "X-Region", Equals: textOf("${expected.region}")}, {Visible: "#a"}, {Cache: Strings{"hit"}}},
			},
			{ID: "pw", Type: StepChange, Selectors: Selectors{{"#pw"}}, Value: new("${secrets.PASSWORD}"), Timeout: Duration(3 * time.Second)},
			{ID: "go", Type: StepClick, Selectors: Selectors{{"#go"}}, OffsetX: &left, OffsetY: &left, Extract: map[string]Extractor{"order": {Selector: "#o", Regex: `\d+`}}},
			{ID: "wait", Type: StepWaitForElement, Selectors: Selectors{{"#${order}"}}, Operator: "==", Count: &count, Visible: &yes, Assert: []Assertion{{URL: "*"}, {Hidden: "#b"}}},
			{
				ID: "api", Type: StepHTTP, Method: "POST", URL: "${vars.base}/api", Headers: map[string]string{"Authorization": "${secrets.PASSWORD}"},
				JSON: map[string]any{"a": []any{"${order}", 1.0}}, FollowRedirects: &yes, Poll: &Poll{Every: Duration(time.Second), For: Duration(9 * time.Second)},
				Assert: []Assertion{{JSON: "$.state", Contains: "paid"}, {Body: "ok", Not: true}}, Extract: map[string]Extractor{"id": {JSON: "$.id"}, "h": {Header: "X"}, "b": {Regex: "a(b)"}},
				Budget: &Budget{Duration: Duration(time.Second), Bytes: 1000}, Optional: true,
			},
			{ID: "clean", Type: StepHTTP, Method: "DELETE", URL: "${vars.base}/api/${id}", Form: map[string]string{"h": "${h}${b}"}, Always: true},
		},
		Routing: &Routing{Header: "X-Served-Region", Expect: map[string]string{"us": "us-1"}},
		SLOs: []SLO{
			{Name: "availability", Objective: 0.999, Window: slo.Window(30 * 24 * time.Hour)},
			{Name: "fast", SLI: SLILatency, Objective: 0.95, Window: slo.Window(time.Hour), Step: "api", Threshold: Duration(time.Second)},
			{Name: "edge", SLI: SLICacheHit, Objective: 0.9, Window: slo.Window(time.Hour), Match: "*"},
			{Name: "routing", SLI: SLIRouting, Objective: 0.9, Window: slo.Window(time.Hour)},
		},
		Alerts: Alerts{Critical: true},
	}
}

// Every key of Step is common or belongs to a type, and every key that StepKeys names is one of Step.
func TestStepKeys(t *testing.T) {
	tags := map[string]bool{}
	for i := range reflect.TypeFor[Step]().NumField() {
		tag, _, _ := strings.Cut(reflect.TypeFor[Step]().Field(i).Tag.Get("json"), ",")
		tags[tag] = true
	}
	named := map[string]bool{}
	for _, key := range CommonKeys() {
		named[key] = true
	}
	for _, stepType := range StepTypes() {
		allowed, required, ok := StepKeys(stepType)
		if !ok {
			t.Errorf("keys of %s: got none", stepType)
		}
		for _, key := range allowed {
			if slices.Contains(CommonKeys(), key) {
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
	if _, _, ok := StepKeys("fetch"); ok {
		t.Error("keys of an unknown type: got some")
	}
}

func TestRevision(t *testing.T) {
	first := pinned(t).Revision()
	if again := pinned(t).Revision(); again != first || len(first) != 12 {
		t.Errorf("revision: got %s and %s, want the same 12 digits", first, again)
	}
	body, err := json.Marshal(pinned(t))
	if err != nil {
		t.Fatal(err)
	}
	var travelled Scenario
	if err := json.Unmarshal(body, &travelled); err != nil {
		t.Fatalf("read %s: %v", body, err)
	}
	if !reflect.DeepEqual(&travelled, pinned(t)) {
		t.Errorf("read from its own JSON: got %+v", travelled)
	}
	if got := travelled.Revision(); got != first {
		t.Errorf("revision after a journey as JSON: got %s, want %s", got, first)
	}
	// A new number here means that an upgrade changes the revision of every scenario in the field, where nothing has changed.
	if want := "2a993a238028"; first != want {
		t.Errorf("revision: got %s, want %s", first, want)
	}
	for name, change := range map[string]func(*Scenario){
		"timeout": func(s *Scenario) { s.Timeout++ }, "variable": func(s *Scenario) { s.Vars["x"] = "y" }, "step": func(s *Scenario) { s.Steps[5].JSON = 1.0 },
		"alerts": func(s *Scenario) { s.Alerts.Critical = false }, "order": func(s *Scenario) { s.Regions[0], s.Regions[1] = s.Regions[1], s.Regions[0] },
	} {
		s := pinned(t)
		change(s)
		if s.Revision() == first {
			t.Errorf("revision after a change of %s: got the old one", name)
		}
	}
}

func TestCombinations(t *testing.T) {
	s := &Scenario{Name: "a", Regions: Strings{"all"}, Networks: []string{"3g", "none"}}
	s.Resolve(testFleet)
	got := s.Combinations()
	if len(got) != 6 || got[0] != (Combination{Scenario: "a", Region: "us", Network: "3g"}) || got[1] != (Combination{Scenario: "a", Region: "us", Network: "none"}) || got[5] != (Combination{Scenario: "a", Region: "apac", Network: "none"}) {
		t.Errorf("combinations: got %v", got)
	}
	s.Regions[0] = "changed"
	if testFleet.Regions[0] != "us" {
		t.Error("resolve shares the fleet's own list")
	}
	if got := (&Scenario{}).NetworkNames(); !slices.Equal(got, []string{"none"}) {
		t.Errorf("networks of a scenario without any: got %v, want none", got)
	}
}

func TestPool(t *testing.T) {
	http, browser := &Scenario{Steps: []Step{{Type: StepHTTP}}}, &Scenario{Steps: []Step{{Type: StepHTTP}, {Type: StepClick}}}
	if http.Pool() != PoolHTTP || http.NeedsBrowser() || browser.Pool() != PoolBrowser || !browser.NeedsBrowser() {
		t.Errorf("pools: got %s and %s, want http and browser", http.Pool(), browser.Pool())
	}
}

func TestAvailability(t *testing.T) {
	if got, ok := pinned(t).Availability(); !ok || got.Name != "availability" {
		t.Errorf("availability: got %v and %v", got, ok)
	}
	if got, ok := (&Scenario{SLOs: []SLO{{SLI: SLILatency}}}).Availability(); ok {
		t.Errorf("availability of a scenario without: got %v", got)
	}
}
