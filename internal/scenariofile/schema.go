package scenariofile

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	"lastmile/internal/netprofile"
	"lastmile/internal/scenario"
	"lastmile/internal/scenariofile/document"
	"lastmile/internal/slo"
)

// object is one JSON Schema. encoding/json sorts its keys, so that the same types always give the same text.
type object map[string]any

// Schema returns the JSON Schema (draft 2020-12) of a scenario file for editors. It knows the form of a file; what only
// Validate can know, such as the fleet's regions or whether a variable is defined, it lets pass.
func Schema() ([]byte, error) {
	sentences, err := descriptions()
	if err != nil {
		return nil, err
	}
	s := schemer{defs: object{}, descriptions: sentences}
	root := s.structure(reflect.TypeFor[scenario.Scenario](), nil)
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "A scenario of lastmile (" + scenario.APIVersion + ")"
	root["required"] = []string{"apiVersion", "scenario", "schedule", "timeout", "regions", "steps"}
	root["$defs"] = s.defs
	out, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write schema: %w", err)
	}
	return append(out, '\n'), nil
}

// schemer turns Go types into schemas; each step type becomes a definition.
type schemer struct {
	defs         object
	descriptions map[string]string
}

// structure is the schema of a struct: its keys and no others. only, where set, narrows the keys.
func (s schemer) structure(t reflect.Type, only []string) object {
	properties := object{}
	for _, f := range document.Fields(t) {
		if only != nil && !slices.Contains(only, f.Key) {
			continue
		}
		name := t.Name() + "." + f.Key
		property := s.value(t.Field(f.Index).Type)
		if allowed := enums()[name]; allowed != nil {
			property["enum"] = allowed
		}
		if name == "Scenario.networks" { // no enum: a fleet may have networks of its own
			property["examples"] = []any{netprofile.Names()}
		}
		if name == "Alerts.labels" {
			property["maxProperties"] = 10
			property["propertyNames"] = object{"pattern": `^([A-Za-z][A-Za-z0-9_]{0,63}|_([A-Za-z0-9][A-Za-z0-9_]{0,62})?)$`}
			property["additionalProperties"] = object{"type": "string", "minLength": 1, "maxLength": 200}
		}
		property["description"] = s.descriptions[name]
		properties[f.Key] = property
	}
	out := object{"type": "object", "properties": properties, "additionalProperties": false}
	if required := requiredKeys()[t.Name()]; required != nil {
		out["required"] = required
	}
	if t == reflect.TypeFor[scenario.SLO]() {
		out["oneOf"] = []object{{"required": []string{"window"}}, {"required": []string{"calendar"}}}
	}
	return out
}

// value is the schema of a type as the decoder reads it.
func (s schemer) value(t reflect.Type) object {
	if known := textForms()[t]; known != nil {
		return known
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.value(t.Elem())
	case reflect.Struct:
		if t == reflect.TypeFor[scenario.Step]() {
			return s.step(t)
		}
		return s.structure(t, nil)
	case reflect.Map:
		if t.Elem().Kind() == reflect.Interface { // null included
			return object{"type": "object"}
		}
		return object{"type": "object", "additionalProperties": s.value(t.Elem())}
	case reflect.Slice:
		return object{"type": "array", "items": s.value(t.Elem())}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int:
		return object{"type": "integer"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Interface:
		return object{"type": []string{"object", "array", "string", "number", "boolean"}}
	}
	return object{"type": "string"}
}

// step chooses by the type key, so that an editor offers the keys of that type and no others.
func (s schemer) step(t reflect.Type) object {
	var cases []object
	for _, stepType := range scenario.StepTypes() {
		keys, required, _ := scenario.StepKeys(stepType)
		def := s.structure(t, append(scenario.CommonKeys(), keys...))
		def["required"] = append([]string{"type"}, required...)
		s.defs[string(stepType)] = def
		cases = append(cases, object{
			"if":   object{"properties": object{"type": object{"const": stepType}}, "required": []string{"type"}},
			"then": object{"$ref": "#/$defs/" + string(stepType)},
		})
	}
	return object{
		"type":       "object",
		"properties": object{"type": object{"enum": scenario.StepTypes(), "description": s.descriptions["Step.type"]}},
		"required":   []string{"type"},
		"allOf":      cases,
	}
}

// textForms are the schemas of the types that decode themselves.
func textForms() map[reflect.Type]object {
	scalar := object{"type": []string{"string", "number", "boolean"}}
	scalars := object{"oneOf": []object{scalar, {"type": "array", "items": scalar}}}
	status := object{"oneOf": []object{
		{"type": "integer", "minimum": 100, "maximum": 599},
		{"type": "string", "pattern": `^[1-5]([0-9][0-9]|xx)$`},
	}}
	chain := object{"oneOf": []object{{"type": "string"}, {"type": "array", "items": object{"type": "string"}, "minItems": 1}}}
	return map[reflect.Type]object{
		reflect.TypeFor[scenario.Schedule]():  {"type": "string", "minLength": 1},
		reflect.TypeFor[scenario.Duration]():  {"type": "string", "pattern": `^([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))*$`},
		reflect.TypeFor[scenario.Bytes]():     {"oneOf": []object{{"type": "number", "minimum": 0}, {"type": "string", "pattern": `^[0-9]+(\.[0-9]+)? ?(GB|MB|kB|B)?$`}}},
		reflect.TypeFor[scenario.Text]():      scalar,
		reflect.TypeFor[scenario.Strings]():   scalars,
		reflect.TypeFor[scenario.StatusSet](): {"oneOf": []object{status, {"type": "array", "items": status}}},
		reflect.TypeFor[scenario.Selectors](): {"oneOf": []object{{"type": "string"}, {"type": "array", "items": chain, "minItems": 1}}},
		reflect.TypeFor[slo.Objective]():      {"type": "string", "pattern": `^[0-9]+(\.[0-9]+)?%$`},
		reflect.TypeFor[slo.Window]():         {"type": "string", "pattern": `^[0-9]+[mhd]$`},
	}
}

// requiredKeys are the keys that a mapping must have, by Go type. The scenario's and the steps' are where those are built.
func requiredKeys() map[string][]string {
	return map[string][]string{
		"SLO":           {"name", "objective"},
		"Poll":          {"every", "for"},
		"Part":          {"name"},
		"Basic":         {"user", "password"},
		"ClientCert":    {"cert", "key"},
		"Replication":   {"from", "write", "pass", "visibleWithin"},
		"Identity":      {"name", "canary"},
		"AssertedEvent": {"type"},
		"Geolocation":   {"latitude", "longitude"},
	}
}

// enums are the keys that have a fixed set of values, by Go type and key.
func enums() map[string]any {
	when := []scenario.When{scenario.WhenFailed, scenario.WhenAlways, scenario.WhenNever, scenario.WhenConfirming}
	return map[string]any{
		"Artefacts.screenshot": when,
		"Artefacts.har":        when,
		"Artefacts.filmstrip":  when,
		"Scenario.apiVersion":  []string{scenario.APIVersion},
		"Scenario.kind":        scenario.Kinds(),
		"Step.connection":      []scenario.Connection{scenario.ConnectionKept, scenario.ConnectionFresh},
		"Step.ipVersion":       []int{4, 6},
		"Step.record":          scenario.Records(),
		"Assertion.measure":    scenario.Measures(),
		"Scenario.engine":      []scenario.Engine{scenario.EngineShell, scenario.EngineFull},
		"Scenario.device":      scenario.Devices(),
		"Step.type":            scenario.StepTypes(),
		"Step.method":          []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"},
		"Step.protocol":        scenario.Protocols(),
		"Step.operator":        []string{">=", "==", "<="},
		"Step.button":          []string{"primary", "secondary", "auxiliary", "back", "forward"},
		"Step.deviceType":      []string{"mouse", "pen", "touch"},
		"AssertedEvent.type":   []string{"navigation"},
		"SLO.sli":              scenario.SLIs(),
		"SLO.calendar":         scenario.Calendars(),
	}
}
