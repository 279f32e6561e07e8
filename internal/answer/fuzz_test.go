package answer

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

func FuzzJSONPath(f *testing.F) {
	f.Add("$.state", `{"state": "paid"}`)
	f.Add("$..[?@.price > 3].name", `{"items": [{"name": "tea", "price": 3.5}]}`)
	f.Add("$[-1:0:-1]", `[1, 2, 3e400, -0]`)
	f.Add(`$[?match(@.a, "a.*")]`, `[{"a": "a\ud800"}]`)
	f.Add(`$[?length(@) == count(@.*)]`, "[\"\xff\", [], {}]")
	f.Add(`$[?match(@.name, "a.*") || search(@.name, $.none)]`, `[{}, {"name": 1}, {"name": "abc"}]`)
	f.Add("$", strings.Repeat("[", 300))
	f.Add(`$["a"]`, `{"a": "\"[[[{{{\\"}`)
	parser := newPathParser()
	f.Fuzz(func(t *testing.T, query, body string) {
		if len(query) > 200 || len(body) > 2000 {
			return // the query is the author's own; its cost is not what is tested
		}
		document, err := parseJSON([]byte(body))
		if valid := json.Valid([]byte(body)); valid != (err == nil) && nesting([]byte(body)) <= maxDepth {
			t.Errorf("got error %v for a body that is json: %v", err, valid)
		}
		if err != nil {
			return
		}
		path, err := parser.Parse(query)
		if err != nil {
			return
		}
		got, found, err := selectFirst(path, document)
		if err != nil {
			t.Errorf("got %v, want an answer on any body", err)
		}
		if !found && got != "" {
			t.Errorf("got %q of nothing", got)
		}
	})
}

// FuzzAssert: whatever body comes, each subject has a verdict that fits a result and shows no secret.
func FuzzAssert(f *testing.F) {
	const secret = "s3cr3t-value"
	f.Add(`{"items": [{"price": 4, "id": "s3cr3t-value"}], "a": {"a": {}}}`)
	f.Add(`[1e999999999, "\ud800", -0, [[]]]`)
	f.Add(`"s3cr3t-value s3cr3t\u002dvalue"`)
	f.Add("\xff{\"a\": \"(((((\"}")
	schema := map[string]any{
		"type": []any{"object", "array"}, "maxProperties": 3, "uniqueItems": true,
		"properties":           map[string]any{"items": map[string]any{"items": map[string]any{"properties": map[string]any{"id": map[string]any{"const": "x"}}}}},
		"additionalProperties": map[string]any{"$ref": "#"},
	}
	step := &scenario.Step{Assert: []scenario.Assertion{
		{Expr: `all(json.items, .price > 3 && .id matches body)`}, {Expr: `int(json) > date(body).Unix() || json[body] == json`}, {Schema: schema},
		{JSON: "$..[?@.price > 3].id", Equals: new(scenario.Text("x"))}, {Body: "none"}, {Measure: scenario.MeasureSize, AtMost: new(-1.0)},
	}}
	extract := &scenario.Step{Extract: map[string]scenario.Extractor{"a": {Expr: "json"}, "b": {Expr: "json.items[0].id + body"}, "c": {JSON: "$..id"}}}
	judge := New()
	f.Fuzz(func(t *testing.T, body string) {
		if len(body) > 5000 {
			return
		}
		scope := vars.NewScope(map[string]string{}, map[string]vars.Secret{"KEY": secret})
		a := &Answer{Body: []byte(body)}
		causes := []*runs.Cause{judge.Extract(extract, a, scope)}
		for i := range step.Assert {
			causes = append(causes, judge.Assert(&scenario.Step{Assert: step.Assert[i : i+1]}, a, scope))
		}
		for _, cause := range causes {
			if cause != nil && (cause.Detail == "" || len(cause.Detail) > MaxDetail || !utf8.ValidString(cause.Detail) || strings.Contains(cause.Detail, secret)) {
				t.Errorf("got %+v, want a detail that fits and shows nothing", cause)
			}
		}
	})
}
