package scenariofile

import (
	"reflect"
	"strings"
	"testing"

	"lastmile/internal/scenario"
)

func withVars(name string, regions ...string) scenario.Scenario {
	return scenario.Scenario{
		Name: name, Regions: regions,
		Vars:       map[string]scenario.Text{"base": "b", "user": "u"},
		RegionVars: map[string]map[string]scenario.Text{"eu": {"base": "e"}},
	}
}

func TestOverride(t *testing.T) {
	type vars = map[string]scenario.Text
	cases := []struct {
		settings []string
		vars     vars
		regions  map[string]vars
	}{
		{nil, vars{"base": "b", "user": "u"}, map[string]vars{"eu": {"base": "e"}}},
		{[]string{"user=x=y:z"}, vars{"base": "b", "user": "x=y:z"}, map[string]vars{"eu": {"base": "e"}}},
		{[]string{"user="}, vars{"base": "b", "user": ""}, map[string]vars{"eu": {"base": "e"}}},
		{[]string{"base=http://127.0.0.1:80"}, vars{"base": "http://127.0.0.1:80", "user": "u"}, nil},
		{[]string{"us:base=x"}, vars{"base": "b", "user": "u"}, map[string]vars{"eu": {"base": "e"}, "us": {"base": "x"}}},
		{[]string{"eu:base=x", "base=y"}, vars{"base": "y", "user": "u"}, map[string]vars{"eu": {"base": "x"}}},
		{[]string{"base=y", "base=z"}, vars{"base": "z", "user": "u"}, nil},
	}
	for _, c := range cases {
		original := withVars("a", "us", "eu")
		s := original
		if err := Override(&s, c.settings); err != nil {
			t.Errorf("override %q: %v", c.settings, err)
		}
		if !reflect.DeepEqual(s.Vars, c.vars) || !reflect.DeepEqual(s.RegionVars, c.regions) {
			t.Errorf("override %q: got %v and %v, want %v and %v", c.settings, s.Vars, s.RegionVars, c.vars, c.regions)
		}
		if !reflect.DeepEqual(original, withVars("a", "us", "eu")) {
			t.Errorf("override %q changed the maps that it was given: %v", c.settings, original)
		}
	}
}

func TestOverrideErrors(t *testing.T) {
	for setting, want := range map[string]string{
		"base":          "want name=value or region:name=value",
		"=x":            "want name=value or region:name=value",
		":base=x":       "want name=value or region:name=value",
		"us:=x":         "want name=value or region:name=value",
		"base=${a}":     "want a plain value",
		"bse=x":         `scenario a has no such variable: got "bse", want one of base, user`,
		"apac:base=abc": `scenario a does not run there: got region "apac", want one of us, eu`,
	} {
		s := withVars("a", "us", "eu")
		err := Override(&s, []string{"user=changed", setting})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("override %q: got %v, want %s", setting, err, want)
		}
		if !reflect.DeepEqual(s, withVars("a", "us", "eu")) {
			t.Errorf("override %q changed the scenario in spite of its error", setting)
		}
	}
}

func TestSetOverride(t *testing.T) {
	fresh := func() Set {
		return Set{Fleet: testFleet(), Scenarios: []scenario.Scenario{withVars("a", "us"), withVars("b", "all"), {Name: "c"}}}
	}
	set := fresh()
	if err := set.Override([]string{"apac:base=x", "user=y"}); err != nil {
		t.Fatalf("override: %v", err)
	}
	if got := set.Scenarios[1].RegionVars["apac"]["base"]; got != "x" {
		t.Errorf("scenario b, which runs everywhere: got %q in apac, want x", got)
	}
	if _, ok := set.Scenarios[0].RegionVars["apac"]; ok || set.Scenarios[0].Vars["user"] != "y" || set.Scenarios[2].Vars != nil {
		t.Errorf("the others: got %+v, want a with user=y only and c unchanged", set.Scenarios)
	}
	for setting, want := range map[string]string{"none=x": "got no scenario that defines it", "mars:base=x": `got region "mars", want one of us, eu, apac`} {
		set := fresh()
		if err := set.Override([]string{"user=changed", setting}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("override %q: got %v, want %s", setting, err, want)
		}
		if !reflect.DeepEqual(set, fresh()) {
			t.Errorf("override %q changed the set in spite of its error", setting)
		}
	}
}
