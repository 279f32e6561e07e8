package scenario

import (
	"strings"
	"testing"

	"lastmile/internal/vars"
)

// testScope has vars.base, secrets.PW and orderId.
func testScope() *vars.Scope {
	s := &Scenario{
		Vars:    map[string]Text{"base": "https://shop", "empty": ""},
		Secrets: []string{"PW", "ABSENT"},
		Routing: &Routing{Expect: map[string]string{"apac": "us"}},
	}
	scope := s.Scope(Combination{Scenario: "a", Region: "apac", Network: "3g"}, "run-1", map[string]vars.Secret{"PW": "hunter2!", "OTHER": "unrelated"})
	scope.Set("orderId", "17")
	return scope
}

func TestScopeKnowsTheRunAndItsSecrets(t *testing.T) {
	for text, want := range map[string]string{
		"${vars.base}${vars.empty} ${region} ${network} ${run.id} ${expected.region}": "https://shop apac 3g run-1 us",
		"${secrets.PW} ${orderId}": "hunter2! 17",
	} {
		if got, err := testScope().Expand(text); err != nil || got != want {
			t.Errorf("expand %q: got %q and %v, want %q", text, got, err, want)
		}
	}
	for _, unlisted := range []string{"${secrets.OTHER}", "${secrets.ABSENT}"} {
		if got, err := testScope().Expand(unlisted); err == nil {
			t.Errorf("expand %s: got %q, want an error", unlisted, got)
		}
	}
}

func TestScopeOfRegion(t *testing.T) {
	s := &Scenario{Vars: map[string]Text{"base": "b"}, RegionVars: map[string]map[string]Text{"eu": {"base": "e"}}}
	for region, want := range map[string]string{"eu": "e eu", "us": "b us"} {
		scope := s.Scope(Combination{Region: region}, "", nil)
		if got, err := scope.Expand("${vars.base} ${expected.region}"); err != nil || got != want {
			t.Errorf("expand in %s: got %q and %v, want %q", region, got, err, want)
		}
	}
}

func TestJSONText(t *testing.T) {
	for want, value := range map[string]any{"paid": "paid", "200": 200.0, "1.5": 1.5, "true": true, "null": nil, `["a",1]`: []any{"a", 1.0}, `{"a":"b"}`: map[string]any{"a": "b"}} {
		if got := JSONText(value); got != want {
			t.Errorf("text of %v: got %s, want %s", value, got, want)
		}
	}
}

func TestValidName(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "a-1": true, "3g-lossy": true, strings.Repeat("a", 63): true,
		"": false, "-a": false, "a-": false, "A": false, "a.b": false, "a_b": false, "a*": false, ">": false, "ä": false, "a\n": false, strings.Repeat("a", 64): false,
	} {
		if got := ValidName(name); got != want {
			t.Errorf("%q: got %v, want %v", name, got, want)
		}
	}
}
