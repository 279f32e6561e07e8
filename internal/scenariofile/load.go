package scenariofile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"lastmile/internal/scenario"
	"lastmile/internal/scenario/rules"
	"lastmile/internal/scenariofile/document"
)

// The files beside the scenarios that are none: RegionsFile lists the fleet's regions, NetworksFile, which may be absent, the user's
// own networks.
const (
	RegionsFile  = "regions.yaml"
	NetworksFile = "networks.yaml"
)

// Set is a directory of scenarios. Scenarios are sorted by name and as their files say: call Resolve before Combinations.
type Set struct {
	Fleet     scenario.Fleet
	Scenarios []scenario.Scenario
}

// Parse decodes and validates one scenario. name is the file's name for the errors, of which document.All gives each. The
// scenario that comes with an error is incomplete.
func Parse(name string, data []byte, fleet scenario.Fleet) (scenario.Scenario, error) {
	s, d := readScenario(name, data, surroundings{fleet: fleet})
	return s, d.Err()
}

// Load reads and parses one scenario file.
func Load(path string, fleet scenario.Fleet) (scenario.Scenario, error) {
	if name := filepath.Base(path); isList(name) {
		return scenario.Scenario{}, fmt.Errorf("load %s: got the list of %s, want a scenario file, or the directory of both", path, strings.TrimSuffix(name, ".yaml"))
	}
	data, err := readFile("scenario", path)
	if err != nil {
		return scenario.Scenario{}, err
	}
	return Parse(path, data, fleet)
}

// isList reports whether a file of that name is none of the scenarios but one of the lists beside them.
func isList(name string) bool { return name == RegionsFile || name == NetworksFile }

// FleetOf reads the regions file beside a scenario file, and the networks file if there is one. The fleet's networks are the presets
// and then the user's own.
func FleetOf(path string) (scenario.Fleet, error) {
	around, err := loadSurroundings(filepath.Dir(path))
	return around.fleet, err
}

// LoadDir reads the regions file, the networks file if there is one, and every other .yaml and .yml file of a directory, which are scenarios; files whose names
// begin with a dot are passed over. The errors of all files come together.
func LoadDir(dir string) (Set, error) {
	names, err := scenarioFiles(dir)
	if err != nil {
		return Set{}, err
	}
	around, err := loadSurroundings(dir)
	errs := []error{err}
	set, seen := Set{Fleet: around.fleet}, map[string]string{}
	for _, name := range names {
		path := filepath.Join(dir, name)
		data, err := readFile("scenario", path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		one, d := readScenario(path, data, around)
		if place, twice := seen[one.Name]; twice {
			d.Problem(fmt.Sprintf("%s, the name in %s too", strconv.Quote(one.Name), place), "each name once", "scenario")
		} else if one.Name != "" {
			seen[one.Name] = fmt.Sprintf("%s:%d", path, d.Line("scenario"))
		}
		errs = append(errs, d.Err())
		set.Scenarios = append(set.Scenarios, one)
	}
	slices.SortFunc(set.Scenarios, func(a, b scenario.Scenario) int { return strings.Compare(a.Name, b.Name) })
	return set, errors.Join(errs...)
}

func scenarioFiles(dir string) ([]string, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read scenarios: %w", err)
	}
	var names []string
	for _, entry := range list {
		name := entry.Name()
		ext := filepath.Ext(name)
		if entry.IsDir() || isList(name) || strings.HasPrefix(name, ".") || ext != ".yaml" && ext != ".yml" {
			continue
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("read scenarios in %s: got no .yaml file beside %s, want at least one", dir, RegionsFile)
	}
	return names, nil
}

// readFile reads no more than a file may have, and one byte to show that it has more. what is said to be read where that fails.
func readFile(what, path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, document.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	return data, nil
}

// readScenario decodes and validates.
func readScenario(name string, data []byte, around surroundings) (scenario.Scenario, *document.Document) {
	var s scenario.Scenario
	d := document.Read(name, data, &s)
	if !d.Mapping() {
		return s, d
	}
	for _, p := range rules.Check(&s, around.fleet) {
		if !slices.Contains(around.unsure, p.Path[0]) && !d.Explained(p.Path...) {
			d.Problem(p.Got, suggest(p), p.Path...)
		}
	}
	return s, d
}

// atAGlance is how many names an error lists although it knows which of them was probably meant.
const atAGlance = 8

// suggest is what a problem wants: of a long list of names the one that was probably meant, the whole list where none is near.
func suggest(p rules.Problem) string {
	if name, err := strconv.Unquote(p.Got); err == nil && len(p.OneOf) > atAGlance {
		if meant := document.Closest(name, p.OneOf); meant != "" {
			return document.DidYouMean(meant)
		}
	}
	return p.Want
}
