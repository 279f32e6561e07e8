package scenariofile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"lastmile/internal/netprofile"
	"lastmile/internal/scenario"
)

// RegionsFile is the name of the file, beside the scenarios, that lists the fleet's regions.
const RegionsFile = "regions.yaml"

// Set is a directory of scenarios. Scenarios are sorted by name and as their files say: call Resolve before Combinations.
type Set struct {
	Fleet     scenario.Fleet
	Scenarios []scenario.Scenario
}

// Parse decodes and validates one scenario. name is the file's name for the errors, of which All gives each as an *Error. The
// scenario that comes with an error is incomplete.
func Parse(name string, data []byte, fleet scenario.Fleet) (scenario.Scenario, error) {
	d := parseScenario(name, data, &fleet)
	return d.scenario, d.report.joined()
}

// Load reads and parses one scenario file.
func Load(path string, fleet scenario.Fleet) (scenario.Scenario, error) {
	if filepath.Base(path) == RegionsFile {
		return scenario.Scenario{}, fmt.Errorf("load %s: got the list of regions, want a scenario file, or the directory of both", path)
	}
	data, err := readFile(path)
	if err != nil {
		return scenario.Scenario{}, err
	}
	return Parse(path, data, fleet)
}

// FleetOf reads the regions file beside a scenario file. Its networks are the presets.
func FleetOf(path string) (scenario.Fleet, error) { return loadFleet(filepath.Dir(path)) }

// LoadDir reads the regions file and every other .yaml and .yml file of a directory, which are scenarios; files whose names
// begin with a dot are passed over. The errors of all files come together.
func LoadDir(dir string) (Set, error) {
	names, err := scenarioFiles(dir)
	if err != nil {
		return Set{}, err
	}
	fleet, err := loadFleet(dir)
	errs := []error{err}
	against := &fleet
	if err != nil {
		against = nil
	}
	set, seen := Set{Fleet: fleet}, map[string]position{}
	files := map[string]string{}
	for _, name := range names {
		path := filepath.Join(dir, name)
		data, err := readFile(path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		d := parseScenario(path, data, against)
		if at, name := d.name(); name != "" {
			if other, twice := seen[name]; twice {
				d.report.add(at, []string{"scenario"}, fmt.Sprintf("%s, the name in %s:%d too", quote(name), files[name], other.line), "each name once")
			} else {
				seen[name], files[name] = at, path
			}
		}
		errs = append(errs, d.report.joined())
		set.Scenarios = append(set.Scenarios, d.scenario)
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
		if entry.IsDir() || name == RegionsFile || strings.HasPrefix(name, ".") || ext != ".yaml" && ext != ".yml" {
			continue
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("read scenarios in %s: got no .yaml file beside %s, want at least one", dir, RegionsFile)
	}
	return names, nil
}

// readFile reads no more than a file may have, and one byte to show that it has more.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read scenario: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read scenario: %w", err)
	}
	return data, nil
}

// document is a scenario file while it is looked at.
type document struct {
	report   *report
	root     ast.Node // nil where the file is not YAML
	scenario scenario.Scenario
}

// name returns the scenario's name and where it stands, "" where there is none.
func (d *document) name() (position, string) {
	if d.root == nil {
		return position{}, ""
	}
	return locate(d.root, []string{"scenario"}), d.scenario.Name
}

// parseScenario decodes and validates. Without a fleet (its file is broken) regions are not checked.
func parseScenario(name string, data []byte, fleet *scenario.Fleet) *document {
	d := &document{report: &report{file: name}}
	d.root = parseSource(d.report, data)
	if d.root == nil {
		return d
	}
	dec := &decoder{report: d.report}
	dec.structure(d.root, nil)
	dec.decode(d.root, reflect.ValueOf(&d.scenario).Elem(), nil)
	if kindOf(bare(d.root)) != kindMapping {
		return d
	}
	d.validate(dec, fleet)
	return d
}

// validate adds what is wrong with the decoded scenario, without what follows from values that could not be decoded.
func (d *document) validate(dec *decoder, fleet *scenario.Fleet) {
	known := fleet
	if known == nil {
		known = &scenario.Fleet{Networks: netprofile.Names()}
	}
	for _, p := range d.scenario.Validate(*known) {
		if fleet == nil && slices.Contains([]string{"regions", "regionVars", "routing"}, p.Path[0]) {
			continue
		}
		if !dec.explains(p.Path) {
			d.report.add(locate(d.root, p.Path), p.Path, p.Got, p.Want)
		}
	}
}

// explains reports whether a failed value is the reason for a problem at path: the problem is at it or inside it, or with the
// mapping in which it stands.
func (d *decoder) explains(path []string) bool {
	return d.failedAt(path) || slices.ContainsFunc(d.failed, func(failed []string) bool {
		return len(failed) == len(path)+1 && isUnder(failed, path)
	})
}

// failedAt reports whether the value at path, or one around it, could not be decoded.
func (d *decoder) failedAt(path []string) bool {
	return slices.ContainsFunc(d.failed, func(failed []string) bool { return isUnder(path, failed) })
}

// regions is the form of the regions file.
type regions struct {
	APIVersion string            `json:"apiVersion"`
	Regions    map[string]region `json:"regions"`
}

// region describes one region to people.
type region struct {
	Description string `json:"description"`
}

const wantRegions = "a mapping from each region's name to its description, such as {us: {description: Virginia}, eu: {description: Frankfurt}}"

func loadFleet(dir string) (scenario.Fleet, error) {
	path := filepath.Join(dir, RegionsFile)
	data, err := readFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return scenario.Fleet{}, fmt.Errorf("read regions: got no file %s, want one with \"apiVersion: %s\" and \"regions:\", %s: %w",
			path, scenario.APIVersion, wantRegions, os.ErrNotExist)
	}
	if err != nil {
		return scenario.Fleet{}, err
	}
	r := &report{file: path}
	fleet := scenario.Fleet{Regions: parseRegions(r, data), Networks: netprofile.Names()}
	return fleet, r.joined()
}

// parseRegions returns the names of the regions in the order of the file.
func parseRegions(r *report, data []byte) []string {
	root := parseSource(r, data)
	if root == nil {
		return nil
	}
	var file regions
	dec := &decoder{report: r}
	dec.structure(root, nil)
	dec.decode(root, reflect.ValueOf(&file).Elem(), nil)
	problem := func(got, want string, path ...string) {
		if kindOf(bare(root)) == kindMapping && !dec.failedAt(path) {
			r.add(locate(root, path), path, got, want)
		}
	}
	if file.APIVersion != scenario.APIVersion {
		problem(quote(file.APIVersion), scenario.APIVersion, "apiVersion")
	}
	_, list := step(bare(root), "regions")
	var names []string
	for _, pair := range entries(bare(list)) {
		name, ok := keyText(pair.Key)
		if !ok || slices.Contains(names, name) {
			continue
		}
		names = append(names, name)
		if !scenario.ValidName(name) || name == scenario.AllRegions {
			problem(quote(name), "a region's name: 1 to 63 characters of a-z, 0-9 and -, and not "+scenario.AllRegions, "regions", name)
		}
	}
	if len(names) == 0 {
		problem("no regions", wantRegions, "regions")
	}
	return names
}
