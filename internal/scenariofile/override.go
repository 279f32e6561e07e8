package scenariofile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"lastmile/internal/scenario"
)

// Override replaces variables of a scenario by settings of the form name=value, which count in every region, and
// region:name=value, which count in one and win over the first kind. A setting for a variable that the scenario does not
// define, or for a region in which it does not run, is an error; the scenario then stays as it was.
func Override(s *scenario.Scenario, settings []string) error {
	parsed, err := parseSettings(settings)
	if err != nil {
		return err
	}
	changed := []scenario.Scenario{*s}
	if err := apply(changed, parsed); err != nil {
		return err
	}
	*s = changed[0]
	return nil
}

// Override replaces variables in every scenario of the set that defines them. A setting that no scenario can use is an error;
// the set then stays as it was.
func (s *Set) Override(settings []string) error {
	parsed, err := parseSettings(settings)
	if err != nil {
		return err
	}
	for _, o := range parsed {
		if o.region != "" && !slices.Contains(s.Fleet.Regions, o.region) {
			return fmt.Errorf("override variable: got region %q, want one of %s", o.region, strings.Join(s.Fleet.Regions, ", "))
		}
	}
	changed := slices.Clone(s.Scenarios)
	if err := apply(changed, parsed); err != nil {
		return err
	}
	s.Scenarios = changed
	return nil
}

// setting is one override.
type setting struct{ region, name, value string }

// parseSettings reads the settings and puts those for all regions before those for one.
func parseSettings(texts []string) ([]setting, error) {
	const want = "name=value or region:name=value"
	var everywhere, regional []setting
	for _, text := range texts {
		left, value, ok := strings.Cut(text, "=")
		region, name, one := strings.Cut(left, ":")
		if !one {
			region, name = "", left
		}
		if !ok || name == "" || one && !scenario.ValidName(region) {
			return nil, fmt.Errorf("override variable: got %q, want %s", text, want)
		}
		if strings.Contains(value, "${") {
			return nil, fmt.Errorf("override variable: got %q, want a plain value: variables do not refer to one another", text)
		}
		if one {
			regional = append(regional, setting{region, name, value})
		} else {
			everywhere = append(everywhere, setting{"", name, value})
		}
	}
	return append(everywhere, regional...), nil
}

// apply changes the scenarios in place, their maps by copies.
func apply(scenarios []scenario.Scenario, settings []setting) error {
	for _, o := range settings {
		used := false
		for i := range scenarios {
			used = o.apply(&scenarios[i]) || used
		}
		if !used {
			return o.unused(scenarios)
		}
	}
	return nil
}

// apply sets the variable where the scenario has it and runs in the region, and reports whether it did.
func (o setting) apply(s *scenario.Scenario) bool {
	if _, ok := s.Vars[o.name]; !ok {
		return false
	}
	if o.region != "" && !slices.Contains(s.Regions, o.region) && !slices.Contains(s.Regions, scenario.AllRegions) {
		return false
	}
	vars := make(map[string]map[string]scenario.Text, len(s.RegionVars)+1)
	for region, values := range s.RegionVars {
		vars[region] = maps.Clone(values)
	}
	if o.region == "" {
		s.Vars = maps.Clone(s.Vars)
		s.Vars[o.name] = scenario.Text(o.value)
		for _, values := range vars {
			delete(values, o.name)
		}
	} else {
		if vars[o.region] == nil {
			vars[o.region] = map[string]scenario.Text{}
		}
		vars[o.region][o.name] = scenario.Text(o.value)
	}
	maps.DeleteFunc(vars, func(_ string, values map[string]scenario.Text) bool { return len(values) == 0 })
	s.RegionVars = vars
	if len(vars) == 0 {
		s.RegionVars = nil
	}
	return true
}

func (o setting) unused(scenarios []scenario.Scenario) error {
	if len(scenarios) != 1 {
		return fmt.Errorf("override variable %s: got no scenario that defines it and runs in the region, want at least one", o)
	}
	s := &scenarios[0]
	if _, ok := s.Vars[o.name]; ok {
		return fmt.Errorf("override variable %s: scenario %s does not run there: got region %q, want one of %s", o, s.Name, o.region, strings.Join(s.Regions, ", "))
	}
	names := strings.Join(slices.Sorted(maps.Keys(s.Vars)), ", ")
	if names == "" {
		names = "nothing: it has no vars"
	}
	return fmt.Errorf("override variable %s: scenario %s has no such variable: got %q, want one of %s", o, s.Name, o.name, names)
}

// String shows which variable the setting is for. Its value may be long, and is not needed to find it.
func (o setting) String() string {
	if o.region == "" {
		return o.name
	}
	return o.region + ":" + o.name
}
