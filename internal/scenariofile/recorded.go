package scenariofile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"lastmile/internal/netprofile"
	"lastmile/internal/scenario"
	"lastmile/internal/scenariofile/document"
	"lastmile/internal/scenariofile/recording"
)

// IsRecording reports whether a file is a recording of Chrome DevTools Recorder: a JSON object that is not a scenario's.
func IsRecording(path string) (bool, error) {
	data, err := readFile("scenario", path)
	if err != nil {
		return false, err
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(bytes.TrimPrefix(data, []byte("\ufeff")), &keys); err != nil {
		return filepath.Ext(path) == ".json", nil
	}
	_, ours := keys["apiVersion"]
	return !ours, nil
}

// Import reads a recording as a sound scenario. Where name is empty the scenario is named after the recording's title, and where schedule
// is zero it gets one into which its timeout fits. The notes say, a line each, what the author ought to look at.
func Import(path, name string, schedule scenario.Schedule) (s scenario.Scenario, notes []string, err error) {
	data, err := readFile("recording", path)
	if err != nil {
		return s, nil, err
	}
	return recording.Read(path, data, recording.Options{Name: name, Schedule: schedule})
}

// Export writes a scenario as a recording, and lists what a recording cannot hold.
func Export(s *scenario.Scenario) (body []byte, lost []string, err error) { return recording.Write(s) }

// Write returns a scenario as the YAML file from which Parse reads it.
func Write(s *scenario.Scenario) ([]byte, error) {
	body, err := document.Write(s)
	if err != nil {
		return nil, fmt.Errorf("write scenario %s: %w", s.Name, err)
	}
	var again scenario.Scenario
	if err := document.Read(s.Name+".yaml", body, &again).Err(); err != nil {
		return nil, fmt.Errorf("write scenario %s: %w", s.Name, document.All(err)[0])
	}
	if again.Revision() != s.Revision() {
		return nil, fmt.Errorf("write scenario %s: got a file that says something else, want the same scenario", s.Name)
	}
	return body, nil
}

// FleetAround is FleetOf for a file that needs no fleet: where there is no regions file, region is the only one.
func FleetAround(path, region string) (scenario.Fleet, error) {
	dir := filepath.Dir(path)
	if _, err := os.Stat(filepath.Join(dir, RegionsFile)); !errors.Is(err, os.ErrNotExist) {
		return FleetOf(path)
	}
	if !scenario.ValidName(region) {
		return scenario.Fleet{}, fmt.Errorf("region: got %q, want 1 to 63 characters of a-z, 0-9 and -", region)
	}
	own, err := LoadNetworks(filepath.Join(dir, NetworksFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return scenario.Fleet{}, err
	}
	return scenario.Fleet{Regions: []string{region}, Networks: slices.Concat(netprofile.Presets(), own)}, nil
}
