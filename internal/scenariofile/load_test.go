package scenariofile

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lastmile/internal/netprofile"
	"lastmile/internal/scenario"
	"lastmile/internal/scenariofile/document"
)

const regionsYAML = `apiVersion: lastmile/v1
regions:
  us: {description: Virginia}
  eu: {description: Frankfurt}
  apac: {description: Singapore}
`

const networksYAML = `apiVersion: lastmile/v1
networks:
  subway: {down: 700 kbit/s, up: 256 kbit/s, rtt: 400ms}
`

// scenarioYAML is the smallest scenario: the name and the URL are free.
func scenarioYAML(name string) string {
	return `apiVersion: lastmile/v1
scenario: ` + name + `
schedule: "@every 1m"
timeout: 30s
regions: all
steps:
  - type: http
    url: https://shop.example.com/
`
}

// writeDir makes a directory with the files.
func writeDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLoadDir(t *testing.T) {
	dir := writeDir(t, map[string]string{
		RegionsFile:      regionsYAML,
		NetworksFile:     networksYAML,
		"1.yaml":         scenarioYAML("zebra") + "networks: [3g, subway]\n",
		"2.yml":          scenarioYAML("ant"),
		"README.md":      "not a scenario",
		".#1.yaml":       "an editor's lock",
		"sub/other.yaml": "not here",
	})
	set, err := LoadDir(dir)
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	if got, want := set.Fleet.Regions, []string{"us", "eu", "apac"}; !slices.Equal(got, want) {
		t.Errorf("regions: got %v, want %v in the order of the file", got, want)
	}
	if got, want := set.Fleet.Networks.Names(), append(netprofile.Names(), "subway"); !slices.Equal(got, want) {
		t.Errorf("networks: got %v, want the presets and then the user's own, %v", got, want)
	}
	var names []string
	for _, s := range set.Scenarios {
		names = append(names, s.Name)
	}
	if want := []string{"ant", "zebra"}; !slices.Equal(names, want) {
		t.Errorf("scenarios: got %v, want %v", names, want)
	}
	if got := set.Scenarios[0].Regions; !slices.Equal(got, []string{"all"}) {
		t.Errorf("regions of a scenario: got %v, want all, as written", got)
	}
}

// Each case is a directory and the errors that it gives, with DIR for its path.
func TestLoadDirErrors(t *testing.T) {
	const vague = "apiVersion: lastmile/v1\nscenario: x\nschedule: '@every 1m'\ntimeout: 30s\nregions: [mars]\nsteps: 3\n"
	cases := []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"empty", map[string]string{RegionsFile: regionsYAML}, []string{"read scenarios in DIR: got no .yaml file beside regions.yaml, want at least one"}},
		{
			"no regions file, other errors too",
			map[string]string{"a.yaml": vague},
			[]string{
				"read regions: got no file DIR/regions.yaml, want one with \"apiVersion: lastmile/v1\" and \"regions:\", a mapping from each region's name to its description",
				"DIR/a.yaml:6:8: steps: got 3, want a list",
			},
		},
		{
			"the same name twice",
			map[string]string{RegionsFile: regionsYAML, "a.yaml": scenarioYAML("shop"), "b.yaml": scenarioYAML("shop")},
			[]string{`DIR/b.yaml:2:11: scenario: got "shop", the name in DIR/a.yaml:2 too, want each name once`},
		},
		{
			"all files together",
			map[string]string{RegionsFile: "apiVersion: v2\nregions: {US: {}, all: {description: 3}, eu: {size: 1}, eu: {}}\n", "a.yaml": vague, "b.yaml": "{"},
			[]string{
				`DIR/regions.yaml:1:13: apiVersion: got "v2", want lastmile/v1`,
				`DIR/regions.yaml:2:15: regions.US: got "US", want a region's name`,
				`DIR/regions.yaml:2:24: regions.all: got "all", want a region's name`,
				`DIR/regions.yaml:2:38: regions.all.description: got 3, want text`,
				`DIR/regions.yaml:2:47: regions.eu.size: got an unknown key, want one of description`,
				`DIR/regions.yaml:2:57: regions.eu: got the key again, after line 2, want each key once`,
				"DIR/a.yaml:6:8: steps: got 3, want a list",
				"DIR/b.yaml:1:1: got invalid YAML",
			},
		},
		{
			"unknown networks",
			map[string]string{RegionsFile: regionsYAML, NetworksFile: networksYAML, "a.yaml": scenarioYAML("a") + "networks: [subwya, 3g-lossi, carrier-pigeon]\n"},
			[]string{
				`DIR/a.yaml:9:12: networks[0]: got "subwya", want subway (did you mean that?)`,
				`DIR/a.yaml:9:20: networks[1]: got "3g-lossi", want 3g-lossy (did you mean that?)`,
				`DIR/a.yaml:9:30: networks[2]: got "carrier-pigeon", want one of none, 2g, `,
			},
		},
		{
			"broken networks: what names them is not judged, the rest is",
			map[string]string{RegionsFile: regionsYAML, NetworksFile: "apiVersion: lastmile/v1\nnetworks: [\n", "a.yaml": scenarioYAML("a") + "networks: [subway]\nowner: 3\n"},
			[]string{"DIR/networks.yaml:", "DIR/a.yaml:10:8: owner: got 3, want text"},
		},
		{
			"broken networks and regions",
			map[string]string{RegionsFile: "regions: {US: {}}\n", NetworksFile: "networks: {}\n", "a.yaml": vague},
			[]string{
				"DIR/regions.yaml:1:1: apiVersion: got \"\", want lastmile/v1", "DIR/regions.yaml:1:15: regions.US: ",
				"DIR/networks.yaml:1:1: apiVersion: got \"\", want lastmile/v1", "DIR/networks.yaml:1:11: networks: got no networks, want a mapping",
				"DIR/a.yaml:6:8: steps: got 3, want a list",
			},
		},
		{"regions without any", map[string]string{RegionsFile: "apiVersion: lastmile/v1\n", "a.yaml": scenarioYAML("a")}, []string{"DIR/regions.yaml:1:1: regions: got no regions, want a mapping from each region's name"}},
		{"a list of regions", map[string]string{RegionsFile: "apiVersion: lastmile/v1\nregions: [us]\n", "a.yaml": scenarioYAML("a")}, []string{"DIR/regions.yaml:2:10: regions: got a list, want a mapping"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := writeDir(t, c.files)
			_, err := LoadDir(dir)
			if err == nil {
				t.Fatal("load: got no error")
			}
			got := strings.Split(strings.ReplaceAll(err.Error(), dir, "DIR"), "\n")
			if len(got) != len(c.want) {
				t.Fatalf("load: got %d errors, want %d:\n%s", len(got), len(c.want), strings.Join(got, "\n"))
			}
			for i, line := range got {
				if !strings.HasPrefix(line, c.want[i]) {
					t.Errorf("load: got %s, want %s", line, c.want[i])
				}
			}
		})
	}
	if _, err := LoadDir(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("load an absent directory: got %v, want %v", err, os.ErrNotExist)
	}
}

func TestLoadAndFleetOf(t *testing.T) {
	dir := writeDir(t, map[string]string{RegionsFile: regionsYAML, "a.yaml": scenarioYAML("a"), "big.yaml": strings.Repeat("#", document.MaxSize+1)})
	fleet, err := FleetOf(filepath.Join(dir, "a.yaml"))
	if err != nil {
		t.Fatalf("fleet: %v", err)
	}
	s, err := Load(filepath.Join(dir, "a.yaml"), fleet)
	if err != nil || s.Name != "a" {
		t.Errorf("load: got %q and %v, want a", s.Name, err)
	}
	if _, err := Load(filepath.Join(dir, "big.yaml"), fleet); err == nil || !strings.Contains(err.Error(), "big.yaml:1:1: got more than 1024 KiB") {
		t.Errorf("load a file over the bound: got %v", err)
	}
	if _, err := Load(filepath.Join(dir, "b.yaml"), fleet); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("load an absent file: got %v, want %v", err, os.ErrNotExist)
	}
	for _, list := range []string{RegionsFile, NetworksFile} {
		if _, err := Load(filepath.Join(dir, list), fleet); err == nil || !strings.Contains(err.Error(), "want a scenario file") {
			t.Errorf("load %s as a scenario: got %v", list, err)
		}
	}
	if _, err := FleetOf(filepath.Join(t.TempDir(), "a.yaml")); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "regions.yaml") {
		t.Errorf("fleet without regions.yaml: got %v, want one that names the file", err)
	}
}

// What the YAML says arrives in the scenario's fields.
func TestParseValues(t *testing.T) {
	data, err := os.ReadFile("testdata/design.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Parse("design.yaml", append([]byte("\ufeff"), data...), testFleet())
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	body := s.Steps[3].JSON.(map[string]any)
	got := []any{
		s.Schedule.String(), s.Timeout.String(), s.Vars["base"], s.RegionVars["eu"]["base"], s.Steps[0].Budget.Bytes, s.Steps[0].Assert[0].Status[0],
		s.Steps[1].Selectors[1][0], s.Steps[2].Extract["orderId"].Regex, *s.Steps[4].Assert[1].Equals, s.Steps[5].Always, s.Routing.Expect["eu"],
		s.SLOs[0].Objective.String(), s.SLOs[2].Window.String(), s.Alerts.Critical, body["ttl"], body["note"], body["scopes"].([]any)[1],
	}
	want := []any{
		"@every 1m", "45s", scenario.Text("https://shop.example.com"), scenario.Text("https://eu.shop.example.com"), scenario.Bytes(1e6), "200",
		"#pw", `(\d+)`, scenario.Text("paid"), true, "eu", "99.9%", "7d", true, 60.0, nil, "${region}",
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("value %d: got %#v, want %#v", i, got[i], want[i])
		}
	}
}

// A scalar keeps the text that its author wrote where text is wanted.
func TestParseText(t *testing.T) {
	for written, want := range map[string]string{
		"01067": "01067", "1.10": "1.10", "0x1f": "0x1f", "true": "true", "'1'": "1", "1e400": "1e400", "2024-01-02": "2024-01-02",
		"99999999999999999999": "99999999999999999999", ".inf": ".inf", "no": "no", "\"a\\nb\"": "a\nb", "|\n    two\n    lines": "two\nlines\n", ">-\n    one\n    line": "one line",
	} {
		text := strings.Replace(scenarioYAML("x"), "steps:", "vars:\n  v: "+written+"\nsteps:", 1)
		s, err := Parse("x.yaml", []byte(text), testFleet())
		if err != nil || string(s.Vars["v"]) != want {
			t.Errorf("parse %s: got %q and %v, want %q", written, s.Vars["v"], err, want)
		}
	}
}

func TestAll(t *testing.T) {
	_, err := Parse("x.yaml", []byte("a: 1\nb: 2\n"), testFleet())
	all := document.All(errors.Join(errors.New("another"), err))
	if len(all) < 2 || all[0].File != "x.yaml" || all[0].Path != "a" {
		t.Errorf("all: got %v, want the errors of x.yaml", all)
	}
	if got := document.All(nil); got != nil {
		t.Errorf("all of nil: got %v", got)
	}
}
