package predicate

import (
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// decode decodes JSON as answers are decoded.
func decode(t testing.TB, text string) any {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestExpressions(t *testing.T) {
	values := Values{
		Status: 200, Headers: map[string]string{"x-cache": "HIT"}, Body: `{"items": []}`, Size: 13, Duration: 120.5,
		JSON:    Plain(decode(t, `{"items": [{"id": 1, "price": 2.5, "tags": ["a"]}, {"id": 2, "price": 4, "tags": []}], "state": "paid", "at": "2026-01-02T03:04:05Z"}`)),
		Phases:  map[string]any{"wait": 80.0},
		Cache:   Cache{State: "hit", Tier: "edge", Vendor: "fastly", Age: 12.0},
		Cookies: map[string]string{"sid": "abc"},
		Vars:    map[string]any{"order": "2"},
		Cert:    &Certificate{DaysLeft: 30.5, Issuer: "CN=ca", Subject: "CN=shop", Names: []string{"shop.example.com"}},
		DNS:     []string{"192.0.2.1"},
	}
	for _, c := range []struct {
		text string
		want any
	}{
		{`status == 200 && len(json.items) == 2`, true},
		{`all(json.items, .price > 3)`, false},
		{`all(json.items, #.price < 5) && all(json.items, .id > 0)`, true},
		{`sum(json.items, .price)`, 6.5},
		{`len(filter(json.items, len(.tags) > 0))`, 1},
		{`map(json.items, .id)`, []any{1, 2}},
		{`reduce(json.items, #acc + .price, 0.0)`, 6.5},
		{`sortBy(json.items, .price, "desc")[0].id`, 2},
		{`find(json.items, .id == int(vars.order)).price`, 4},
		{`headers["x-cache"] == header("X-Cache") && lower(header("x-cache")) == "hit"`, true},
		{`headers["x-none"]`, ""},
		{`body contains "items" && size == len(body) && body matches "^[{]"`, true},
		{`phases.wait < 100 && duration > 100`, true},
		{`phases.connect`, nil},
		{`cache.state == "hit" && cache.age < 60 && cache.tier + "/" + cache.vendor == "edge/fastly"`, true},
		{`cookies.sid`, "abc"},
		{`cert.daysLeft > 14 && "shop.example.com" in cert.names`, true},
		{`dns[0] in ["192.0.2.1"] && not (dns[0] in ["192.0.2.2"])`, true},
		{`date(json.at) < now()`, true},
		{`date(json.at)`, "2026-01-02T03:04:05Z"},
		{`(now() - date(json.at)).Hours() > 1`, true},
		{`date(json.at) - date("2026-01-02T03:04:04.5Z")`, 500.0},
		{`json.none?.deeper ?? "nothing"`, "nothing"},
		{`let ids = map(json.items, .id); ids[0] + ids[1]`, 3},
		{`json.items | filter(.id in 1..1) | map(.id)`, []any{1}},
		{`json.items == json.items`, true},
		{`"a" + json.state + string(json.items[0].id)`, "apaid1"},
	} {
		e, err := NewExpression(c.text, false)
		if err != nil {
			t.Errorf("%s: got %v, want it compiled", c.text, err)
			continue
		}
		got, err := e.Run(values)
		if list, ok := c.want.([]any); ok && err == nil {
			if items, _ := got.([]any); !slices.Equal(items, list) {
				t.Errorf("%s: got %v, want %v", c.text, got, c.want)
			}
		} else if err != nil || got != c.want {
			t.Errorf("%s: got %v (%T) and error %v, want %v (%T)", c.text, got, got, err, c.want, c.want)
		}
	}
}

func TestExpressionRefused(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`status ==`, `^unexpected token EOF \(1:9\)$`},
		{`staus == 200`, `^unknown name staus \(1:1\)$`},
		{`status == "200"`, `^invalid operation: == \(mismatched types int and string\) \(1:8\)$`},
		{`cert.days > 1`, `has no field days`},
		{`status`, `^expected bool, but got int`},
		{`$env["json"]`, `^got \$env, want the names themselves$`},
		{`repeat("a", 1000000000) != ""`, `unknown name repeat`},
		{`replace(body, "a", body) != ""`, `unknown name replace`},
		{`join(dns, body) != ""`, `unknown name join`},
		{`uniq(dns) != []`, `unknown name uniq`},
		{strings.Repeat("(", 20000), `^got 20000 bytes, want at most 10000$`},
		{strings.Repeat("1 + ", 600) + "1 > 0", `exceeds maximum allowed nodes`},
	} {
		if _, err := NewExpression(c.text, true); err == nil || !regexp.MustCompile(c.want).MatchString(err.Error()) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.50s: got %v, want %s in one line", c.text, err, c.want)
		}
	}
}

// TestExpressionFails: an answer does not have what the expression is about.
func TestExpressionFails(t *testing.T) {
	values := Values{JSON: Plain(decode(t, `{"items": [], "state": "paid", "re": "(((((a{9}){9}){9}){9}){9}){9}"}`)), Body: strings.Repeat("(", 2000)}
	for _, c := range []struct{ text, want string }{
		{`json.items[0].id == 1`, `index out of range: 0 \(array length is 0\)`},
		{`json.none.deeper == 1`, `cannot fetch deeper from <nil>`},
		{`json.state > 3`, `invalid operation: string > int`},
		{`phases.connect < 100`, `invalid operation: <nil> < int`},
		{`cert.daysLeft > 1`, `cannot get daysLeft from`},
		{`cache.age < 1`, `invalid operation: <nil> < int`},
		{`int(json.state) > 1`, `invalid operation: int\(paid\)|invalid syntax`},
		{`"a" matches body`, `got a regular expression of 2000 bytes, want at most 1000`},
		{`header`, `got a function, want a value`},
	} {
		e, err := NewExpression(c.text, false)
		if err != nil {
			t.Errorf("%s: got %v, want it compiled", c.text, err)
			continue
		}
		got, err := e.Run(values)
		if err == nil || !regexp.MustCompile(c.want).MatchString(err.Error()) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v and %v, want an error like %s in one line", c.text, got, err, c.want)
		}
	}
}

// TestExpressionCost: what would take for ever, or all memory, ends.
func TestExpressionCost(t *testing.T) {
	const turns = maxTurns / 50 // the bound itself takes a second each
	large := make([]any, 4_000)
	for i := range large {
		large[i] = map[string]any{"id": i}
	}
	values := Values{JSON: large, Body: strings.Repeat("paid ", 40_000)}
	doubled := "let a0 = body + body;"
	for i := range 60 {
		doubled += " let a" + string(rune('a'+i%26)) + strings.Repeat("x", i) + " = a0 + a0;"
	}
	nested := "let b0 = [json, json];"
	last := "b0"
	for i := range 60 {
		name := "b" + strings.Repeat("x", i+1)
		nested += " let " + name + " = [" + last + ", " + last + "];"
		last = name
	}
	for name, text := range map[string]string{
		"loops in loops":       `all(json, any(json, .id == -1) == false)`,
		"loops over numbers":   `all(1..900000, all(1..900000, # > 0))`,
		"a range":              `len(1..1000000000) > 0`,
		"arrays in a loop":     `len(map(json, json | filter(true))) > 0`,
		"text that doubles":    `len(reduce(1..100, #acc + #acc, "x")) > 0`,
		"text that adds up":    doubled + ` len(a0) > 0`,
		"many searches":        `count(json, body matches "unpaid.*z") > 0`,
		"many copies":          `len(map(json, upper(body))) > 0`,
		"many sorts":           `all(json, len(sort(map(1..100, -#))) > 0)`,
		"comparison of a tree": nested + " " + last + " == [" + last + "]",
		"text of a tree":       nested + " len(toJSON(" + last + ")) > 0",
		"a tree as the result": nested + " " + last,
		"a deep array":         `reduce(1..9000, [#acc])`,
		"text of a deep array": `toJSON(reduce(1..9000, [#acc])) == ""`,
		"a tree as a key":      nested + " json[" + last + "]",
	} {
		e, err := NewExpression(text, false)
		if err != nil {
			t.Errorf("%s: got %v, want it compiled", name, err)
			continue
		}
		began := time.Now()
		if got, err := e.run(values, turns); !errors.Is(err, ErrCost) {
			t.Errorf("%s: got %.100v and %v, want %v", name, got, err, ErrCost)
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("%s: took %s", name, took)
		}
	}
	e, err := NewExpression(`all(json, .id >= 0) && count(json, .id % 2 == 0) == 2000 && sum(map(json, .id)) > 0 && body matches "unpaid" == false`, true)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := e.Run(Values{JSON: large, Body: "paid"}); err != nil || got != true {
		t.Errorf("got %v and %v, want an ordinary check of a large answer to pass", got, err)
	}
}

func TestSchema(t *testing.T) {
	item := map[string]any{"type": "object", "required": []any{"id"}, "properties": map[string]any{
		"id": map[string]any{"type": "integer", "minimum": 1}, "state": map[string]any{"enum": []any{"paid", "open"}},
	}, "additionalProperties": false}
	list := map[string]any{"type": "array", "items": map[string]any{"$ref": "#/$defs/item"}, "$defs": map[string]any{"item": item}, "uniqueItems": true}
	choice := map[string]any{"anyOf": []any{map[string]any{"type": "string"}, map[string]any{"required": []any{"a"}}}}
	for _, c := range []struct {
		name   string
		schema any
		body   string
		want   string // the complaint
	}{
		{"satisfied", list, `[{"id": 1, "state": "paid"}, {"id": 2}]`, ``},
		{"empty", list, `[]`, ``},
		{"another type", list, `{"id": 1}`, `got object, want array`},
		{"missing", list, `[{"id": 1}, {"state": "paid"}]`, `at '/1': missing property 'id'`},
		{"type within", list, `[{"id": "1"}]`, `at '/0/id': got string, want integer`},
		{"first of several", list, `[{"id": 1}, {"id": 2}, {"id": 0}, {"id": 3, "x": 1}, {"id": 3}, {"id": 4}, {"id": 5}, {"id": 6}, {"id": 7}, {"id": 8}, {"id": -1}]`, `at '/2/id': minimum: got 0, want 1`},
		{"enum", list, `[{"id": 1, "state": "lost"}]`, `at '/0/state': value must be one of 'paid', 'open'`},
		{"another key", list, `[{"id": 1, "extra": true}]`, `at '/0': additional properties 'extra' not allowed`},
		{"twice", list, `[{"id": 1}, {"id": 1.0}]`, `items at 0 and 1 are equal`},
		{"choice", choice, `5`, ``},
		{"no choice", choice, `{}`, `'anyOf' failed`},
		{"true", true, `5`, ``},
		{"false", false, `5`, `false schema`},
		{"whole floats", map[string]any{"type": "integer", "const": 3.0}, `3`, ``},
	} {
		s, err := NewSchema(c.schema)
		if err != nil {
			t.Errorf("%s: got %v, want it compiled", c.name, err)
			continue
		}
		for range 5 { // the order of a map is another each time
			if got, err := s.Check(decode(t, c.body)); err != nil || got != c.want {
				t.Errorf("%s: got %q and %v, want %q", c.name, got, err, c.want)
			}
		}
	}
}

func TestSchemaRefused(t *testing.T) {
	for _, c := range []struct {
		schema any
		want   string
	}{
		{map[string]any{"type": "nothing"}, `^at '/type': got string, want array$`},
		{map[string]any{"$ref": "other.json"}, `a reference to lastmile:///other.json`},
		{map[string]any{"$ref": "https://example.com/x.json"}, `a reference to https://example.com/x.json`},
		{map[string]any{"$ref": "file:///etc/passwd"}, `a reference to file:///etc/passwd`},
		{map[string]any{"$dynamicRef": "#a", "$defs": map[string]any{"b": map[string]any{"$dynamicAnchor": "a"}}}, `^got a dynamic reference, want \$ref$`},
		{map[string]any{"minimum": json.Number("1e999999999")}, `^got a number with the exponent 999999999, want -400 to 400$`},
		{map[string]any{"pattern": "("}, `at '/pattern'`},
		{5, `.`},
	} {
		if _, err := NewSchema(c.schema); err == nil || !regexp.MustCompile(c.want).MatchString(err.Error()) {
			t.Errorf("%v: got %v, want %s", c.schema, err, c.want)
		}
	}
}

// TestSchemaCost: what would take for ever, or all memory, ends.
func TestSchemaCost(t *testing.T) {
	const checks = maxChecks / 20 // the bound itself takes a second each
	down := map[string]any{"type": "object", "properties": map[string]any{"a": map[string]any{"$ref": "#/$defs/both"}}}
	both := map[string]any{"both": map[string]any{"anyOf": []any{down, down}}}
	deep := strings.Repeat(`{"a":`, 150) + `1` + strings.Repeat(`}`, 150)
	for _, c := range []struct {
		name   string
		schema any
		body   any
		want   string
	}{
		{"two ways down", map[string]any{"$ref": "#/$defs/both", "$defs": both}, decode(t, deep), ErrCost.Error()},
		{"two ways down, yes or no", map[string]any{"not": map[string]any{"$ref": "#/$defs/both"}, "$defs": both}, decode(t, deep), ErrCost.Error()},
		{"many items", map[string]any{"items": map[string]any{"type": "string"}}, make([]any, checks+1), ErrCost.Error()},
		{"a huge number", map[string]any{"minimum": 1}, decode(t, `[1e999999999]`), `got a number with the exponent 999999999, want -400 to 400`},
		{"a long number", map[string]any{"minimum": 1}, decode(t, strings.Repeat("1", 500)), `got a number of 500 digits, want at most 400`},
		{"long texts", map[string]any{"items": map[string]any{"pattern": "a+b"}}, []any{strings.Repeat("a", 3e5), strings.Repeat("a", 3e5)}, ErrCost.Error()},
	} {
		s, err := NewSchema(c.schema)
		if err != nil {
			t.Errorf("%s: got %v, want it compiled", c.name, err)
			continue
		}
		if got, err := s.check(c.body, checks); err == nil || err.Error() != c.want {
			t.Errorf("%s: got %q and %v, want %s", c.name, got, err, c.want)
		}
		if got, err := s.Check(decode(t, `{}`)); err != nil {
			t.Errorf("%s: got %q and %v for the answer after it, want a verdict", c.name, got, err)
		}
	}
}

func FuzzExpression(f *testing.F) {
	f.Add(`all(json.items, .price > 3) && status == 200`, `{"items": [{"price": 4}]}`)
	f.Add(`json[body] matches body`, `{"a": "("}`)
	f.Add(`sortBy(json, .a) == sort(json)`, `[{"a": 1}, {"a": "b"}]`)
	f.Add(`groupBy(json, #)[json[0]]`, `[[], {}]`)
	f.Add(`date(json) < now() || duration(json) > duration("1s")`, `"2026"`)
	f.Add(`json.a..json.b`, `{"a": -9223372036854775808, "b": 9223372036854775807}`)
	f.Add(`fromJSON(body) == flatten([json]) or median(json) > max(json)`, `[1, [2, "a"], null]`)
	f.Add(`json[json.a:json.b] + json[-1]`, `{"a": 1e400, "b": "x"}`)
	f.Add(`toPairs(json) | fromPairs() | keys() | first()`, `{"a": 1}`)
	f.Fuzz(func(t *testing.T, text, body string) {
		if len(text) > 500 || len(body) > 5000 || !json.Valid([]byte(body)) {
			return
		}
		e, err := NewExpression(text, false)
		if err != nil {
			return
		}
		values := Values{JSON: Plain(decode(t, body)), Body: body, Size: len(body), Headers: map[string]string{"x": body}, Vars: map[string]any{"v": body}}
		got, err := e.Run(values)
		if err != nil && (got != nil || strings.Contains(err.Error(), "\n")) {
			t.Errorf("got %v and %v, want an error of one line alone", got, err)
		}
		if strings.Contains(text, "now(") { // which is another each time
			return
		}
		if _, again := e.Run(values); (err == nil) != (again == nil) {
			t.Errorf("got %v and then %v, want the same twice", err, again)
		}
	})
}

func FuzzSchema(f *testing.F) {
	f.Add(`{"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}}`, `{"a": {"a": {}}}`)
	f.Add(`{"anyOf": [{"items": {"$ref": "#"}}, {"uniqueItems": true}], "unevaluatedItems": false}`, `[[1, 1.0], [[]], "x"]`)
	f.Add(`{"patternProperties": {"^a+$": {"multipleOf": 0.1}}, "propertyNames": {"maxLength": 3}}`, `{"aaa": 0.30000000000000004, "bbbb": 1e400}`)
	f.Add(`{"contains": {"const": 1}, "maxContains": 1, "prefixItems": [{"enum": [null]}]}`, `[null, 1, 1]`)
	f.Add(`{"if": {"not": {"type": "string"}}, "then": {"minimum": 5}, "else": {"pattern": "^a", "format": "date"}}`, `"a"`)
	f.Add(`{"$dynamicRef": "#x", "$dynamicAnchor": "x", "dependentSchemas": {"a": false}}`, `{"a": 1}`)
	f.Fuzz(func(t *testing.T, schema, body string) {
		if len(schema) > 2000 || len(body) > 5000 || !json.Valid([]byte(schema)) || !json.Valid([]byte(body)) {
			return
		}
		s, err := NewSchema(json.RawMessage(schema))
		if err != nil {
			return
		}
		got, err := s.Check(decode(t, body))
		if got != "" && err != nil {
			t.Errorf("got %q and %v, want one of them", got, err)
		}
		if again, errAgain := s.Check(decode(t, body)); (got == "") != (again == "") || (err == nil) != (errAgain == nil) {
			t.Errorf("got %q %v and then %q %v, want the same twice", got, err, again, errAgain)
		}
	})
}
