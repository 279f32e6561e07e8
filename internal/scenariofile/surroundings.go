package scenariofile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"lastmile/internal/netprofile"
	"lastmile/internal/scenario"
	"lastmile/internal/scenariofile/document"
)

// surroundings are what stands beside a scenario. unsure are the keys of a scenario that cannot be judged, as the file that says
// what they may hold is broken.
type surroundings struct {
	fleet  scenario.Fleet
	unsure []string
}

// loadSurroundings reads the lists in a directory. The error has all that is wrong with them.
func loadSurroundings(dir string) (surroundings, error) {
	var around surroundings
	names, regionsErr := loadRegions(filepath.Join(dir, RegionsFile))
	if regionsErr != nil {
		around.unsure = append(around.unsure, "regions", "regionVars", "routing")
	}
	own, networksErr := LoadNetworks(filepath.Join(dir, NetworksFile))
	if errors.Is(networksErr, os.ErrNotExist) {
		networksErr = nil
	}
	if networksErr != nil {
		around.unsure = append(around.unsure, "networks")
	}
	around.fleet = scenario.Fleet{Regions: names, Networks: append(netprofile.Presets(), own...)}
	return around, errors.Join(regionsErr, networksErr)
}

// checkVersion reports a file that is not of the version that we read.
func checkVersion(d *document.Document, got string) {
	if got != scenario.APIVersion {
		d.Problem(strconv.Quote(got), scenario.APIVersion, "apiVersion")
	}
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

func loadRegions(path string) ([]string, error) {
	data, err := readFile("regions", path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read regions: got no file %s, want one with \"apiVersion: %s\" and \"regions:\", %s: %w",
			path, scenario.APIVersion, wantRegions, os.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	return parseRegions(path, data)
}

// parseRegions returns the names of the regions in the order of the file.
func parseRegions(name string, data []byte) ([]string, error) {
	var file regions
	d := document.Read(name, data, &file)
	if !d.Mapping() {
		return nil, d.Err()
	}
	checkVersion(d, file.APIVersion)
	names := d.Keys("regions")
	for _, name := range names {
		if !scenario.ValidName(name) || name == scenario.AllRegions {
			d.Problem(strconv.Quote(name), "a region's name: 1 to 63 characters of a-z, 0-9 and -, and not "+scenario.AllRegions, "regions", name)
		}
	}
	if len(names) == 0 {
		d.Problem("no regions", wantRegions, "regions")
	}
	return names, d.Err()
}
