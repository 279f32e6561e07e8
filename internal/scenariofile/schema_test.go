package scenariofile

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"lastmile/internal/scenario"
	"lastmile/internal/scenario/rules"
	"lastmile/internal/scenariofile/document"
	"lastmile/internal/slo"
)

// scenariosDir holds the scenarios that ship with lastmile.
const scenariosDir = "../../scenarios"

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("scenario.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("scenario.json")
	if err != nil {
		t.Fatalf("compile schema: %v", err)
	}
	return schema
}

// yamlToJSON reads a file as an editor with a JSON Schema does.
func yamlToJSON(t *testing.T, data []byte) any {
	t.Helper()
	var content any
	if err := document.Read("x", data, &content).Err(); err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestSchemaAcceptsScenarios(t *testing.T) {
	schema := compiledSchema(t)
	shipped, err := filepath.Glob(filepath.Join(scenariosDir, "*.y*ml"))
	if err != nil {
		t.Fatal(err)
	}
	files := slices.DeleteFunc(shipped, func(f string) bool { return isList(filepath.Base(f)) })
	if len(files) == 0 {
		t.Errorf("find scenarios in %s: got none", scenariosDir)
	}
	for _, file := range append(files, "testdata/design.yaml", "testdata/browser.yaml") {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(yamlToJSON(t, data)); err != nil {
			t.Errorf("validate %s: %v", file, err)
		}
	}
}

func TestShippedScenarios(t *testing.T) {
	if _, err := LoadDir(scenariosDir); err != nil {
		t.Errorf("load the shipped scenarios:\n%v", err)
	}
}

// Each change makes a valid scenario invalid, for the schema and for Parse.
func TestSchemaRefuses(t *testing.T) {
	schema := compiledSchema(t)
	good := scenarioYAML("shop") + "slos:\n  - {name: a, objective: 99%, window: 30d}\n"
	if err := schema.Validate(yamlToJSON(t, []byte(good))); err != nil {
		t.Fatalf("validate the unchanged scenario: %v", err)
	}
	other := strings.Replace(good, "window: 30d", "calendar: week", 1) + "alerts: {critical: true, recovery: 90s, labels: {tier: gold, _x1: 'Zürich, 2nd floor'}}\n"
	if err := schema.Validate(yamlToJSON(t, []byte(other))); err != nil {
		t.Errorf("validate one that goes by the calendar: %v", err)
	}
	if _, err := Parse("x.yaml", []byte(other), testFleet()); err != nil {
		t.Errorf("parse one that goes by the calendar: %v", err)
	}
	const step = "url: https://shop.example.com/"
	for _, change := range [][2]string{
		{"lastmile/v1", "lastmile/v2"},
		{"scenario: shop\n", ""},
		{"scenario: shop", "scenario: 7"},
		{"scenario: shop", "scenario: shop\ncolour: red"},
		{"scenario: shop", "scenario: shop\nkind: leak"},
		{"scenario: shop", "scenario: shop\nengine: gecko"},
		{"scenario: shop", "scenario: shop\ndevice: nokia"},
		{"scenario: shop", "scenario: shop\nnetworks: 3g"},
		{"scenario: shop", "scenario: shop\nvars: {a: [b]}"},
		{"scenario: shop", "scenario: shop\nalerts: {critical: 'yes'}"},
		{"scenario: shop", "scenario: shop\nalerts: {recovery: soon}"},
		{"scenario: shop", "scenario: shop\nrouting: {expected: {us: us}}"},
		{"timeout: 30s", "timeout: 30"},
		{"timeout: 30s", "timeout: soon"},
		{"regions: all", "regions: {us: true}"},
		{"type: http", "type: fetch"},
		{"type: http", "id: x"},
		{step, "method: GET"},
		{step, step + "\n    method: FETCH"},
		{step, step + "\n    selectors: '#a'"},
		{step, step + "\n    headers: {a: 1}"},
		{step, step + "\n    always: 'yes'"},
		{step, step + "\n    budget: {bytes: many}"},
		{step, step + "\n    poll: {every: 1s}"},
		{step, step + "\n    assert: [{status: 700}]"},
		{step, step + "\n    assert: [{states: 200}]"},
		{step, step + "\n    extract: {a: b}"},
		{step, step + "\n    json: null"},
		{step, step + "\n  - {type: click, selectors: []}"},
		{step, step + "\n  - {type: setViewport, width: 3.5, height: 4}"},
		{step, step + "\n  - {type: waitForElement, selectors: a, operator: '>'}"},
		{step, step + "\n  - {type: click, selectors: a, button: left}"},
		{step, step + "\n  - {type: click, selectors: a, frame: [main]}"},
		{step, step + "\n  - {type: keyDown}"},
		{step, step + "\n    when: {variable: x}"},
		{step, step + "\n    recorder: [a]"},
		{"scenario: shop", "scenario: shop\nartefacts: {har: sometimes}"},
		{"scenario: shop", "scenario: shop\ngeolocation: {latitude: north}"},
		{"99%", "99"},
		{"30d", "30 days"},
		{"name: a, ", ""},
		{"name: a", "name: a, sli: speed"},
		{", window: 30d", ""},
		{"window: 30d", "window: 30d, calendar: month"},
		{"window: 30d", "calendar: year"},
		{"scenario: shop", "scenario: shop\nalerts: {labels: {a-b: c}}"},
		{"scenario: shop", "scenario: shop\nalerts: {labels: {__a: c}}"},
		{"scenario: shop", "scenario: shop\nalerts: {labels: {a: ''}}"},
		{"scenario: shop", "scenario: shop\nalerts: {labels: [a]}"},
		{"scenario: shop", "scenario: shop\nalerts: {labels: {a: x, b: x, c: x, d: x, e: x, f: x, g: x, h: x, i: x, j: x, k: x}}"},
	} {
		text := strings.Replace(good, change[0], change[1], 1)
		if text == good {
			t.Fatalf("change %q is not in the scenario", change[0])
		}
		if err := schema.Validate(yamlToJSON(t, []byte(text))); err == nil {
			t.Errorf("schema, %q for %q: got no error", change[1], change[0])
		}
		if _, err := Parse("x.yaml", []byte(text), testFleet()); err == nil {
			t.Errorf("parse, %q for %q: got no error", change[1], change[0])
		}
	}
}

// Every key of every type has one description, and there is no description of anything else.
func TestDescriptions(t *testing.T) {
	want := map[string]bool{}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			walk(typ.Elem())
		case reflect.Struct:
			for _, f := range document.Fields(typ) {
				want[typ.Name()+"."+f.Key] = true
				if textForms()[typ.Field(f.Index).Type] == nil {
					walk(typ.Field(f.Index).Type)
				}
			}
		}
	}
	walk(reflect.TypeFor[scenario.Scenario]())
	got, err := descriptions()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if !strings.HasSuffix(got[key], ".") {
			t.Errorf("description of %s: got %q, want a sentence", key, got[key])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if !want[key] {
			t.Errorf("description of %s: no type has that key", key)
		}
	}
	for key := range enums() {
		if !want[key] {
			t.Errorf("enum of %s: no type has that key", key)
		}
	}
}

// The patterns of the schema and the parsers of the types agree.
func TestSchemaPatterns(t *testing.T) {
	patternOf := func(typ reflect.Type) *regexp.Regexp {
		form := textForms()[typ]
		if one, ok := form["oneOf"].([]object); ok {
			form = one[1]
		}
		return regexp.MustCompile(form["pattern"].(string))
	}
	cases := []struct {
		pattern *regexp.Regexp
		parse   func(text string) error
		texts   []string
	}{
		{
			patternOf(reflect.TypeFor[scenario.Duration]()),
			func(text string) error { return new(scenario.Duration).UnmarshalText([]byte(text)) },
			[]string{"1s", "1m30s", "1.5h", ".5s", "1.s", "30", "", "s", "-1s", "1 s", "1d", "100µs", "1s1"},
		},
		{
			patternOf(reflect.TypeFor[scenario.Bytes]()),
			func(text string) error { return new(scenario.Bytes).UnmarshalText([]byte(text)) },
			[]string{"900", "900B", "200kB", "200 kB", "1.5MB", "1GB", "1TB", "-1B", "", "B", "many"},
		},
		{
			patternOf(reflect.TypeFor[slo.Objective]()),
			func(text string) error { return new(slo.Objective).UnmarshalText([]byte(text)) },
			[]string{"99.9%", "95%", "99.9", "99.9 %", "%", "-1%", "99.%"},
		},
		{
			patternOf(reflect.TypeFor[slo.Window]()),
			func(text string) error { return new(slo.Window).UnmarshalText([]byte(text)) },
			[]string{"30d", "7d", "1h", "5m", "30", "d", "1w", "1.5d", "30s"},
		},
	}
	for _, c := range cases {
		for _, text := range c.texts {
			if matches, err := c.pattern.MatchString(text), c.parse(text); matches != (err == nil) {
				t.Errorf("%q: the pattern %s says %v, the parser %v", text, c.pattern, matches, err)
			}
		}
	}
}

// What the schema lists as values of a key, Validate takes as well.
func TestSchemaEnums(t *testing.T) {
	validate := func(change func(s *scenario.Scenario), path string) string {
		s, err := Parse("x.yaml", []byte(scenarioYAML("x")), testFleet())
		if err != nil {
			t.Fatal(err)
		}
		change(&s)
		for _, p := range rules.Check(&s, testFleet()) {
			if strings.Join(p.Path, ".") == path {
				return p.Want
			}
		}
		return ""
	}
	for _, method := range append(enums()["Step.method"].([]string), "BREW") {
		want := validate(func(s *scenario.Scenario) { s.Steps[0].Method = method }, "steps.0.method")
		if (want != "") != (method == "BREW") {
			t.Errorf("method %s: got %q", method, want)
		}
	}
	for _, protocol := range append(enums()["Step.protocol"].([]string), "h2c") {
		want := validate(func(s *scenario.Scenario) { s.Steps[0].Protocol = scenario.Protocol(protocol) }, "steps.0.protocol")
		if (want != "") != (protocol == "h2c") {
			t.Errorf("protocol %s: got %q", protocol, want)
		}
	}
	for _, operator := range append(enums()["Step.operator"].([]string), ">") {
		want := validate(func(s *scenario.Scenario) {
			s.Steps[0] = scenario.Step{Type: scenario.StepWaitForElement, Selectors: scenario.Selectors{{"a"}}, Operator: operator}
		}, "steps.0.operator")
		if (want != "") != (operator == ">") {
			t.Errorf("operator %s: got %q", operator, want)
		}
	}
	pointers := func(change func(*scenario.Step)) func(*scenario.Scenario) {
		return func(s *scenario.Scenario) {
			s.Steps[0] = scenario.Step{Type: scenario.StepClick, Selectors: scenario.Selectors{{"a"}}}
			change(&s.Steps[0])
		}
	}
	for _, button := range append(enums()["Step.button"].([]string), "left") {
		want := validate(pointers(func(s *scenario.Step) { s.Button = button }), "steps.0.button")
		if (want != "") != (button == "left") {
			t.Errorf("button %s: got %q", button, want)
		}
	}
	for _, device := range append(enums()["Step.deviceType"].([]string), "finger") {
		want := validate(pointers(func(s *scenario.Step) { s.DeviceType = device }), "steps.0.deviceType")
		if (want != "") != (device == "finger") {
			t.Errorf("device type %s: got %q", device, want)
		}
	}
	for _, when := range append(enums()["Artefacts.har"].([]scenario.When), "sometimes") {
		want := validate(func(s *scenario.Scenario) { s.Artefacts.HAR = when }, "artefacts.har")
		if (want != "") != (when == "sometimes") {
			t.Errorf("artefact kept %s: got %q", when, want)
		}
	}
}
