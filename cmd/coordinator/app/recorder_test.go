package app

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"lastmile/internal/cli"
	"lastmile/internal/cli/clitest"
)

// recordings are the ones that the reader's own tests have.
const recordings = "../../../internal/scenariofile/recording/testdata"

func decodeFile(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("decode %s: %v", text, err)
	}
	return v
}

// A recording becomes a scenario that validate takes, and comes back as it was.
func TestImportAndExport(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(recordings, "*.json"))
	if err != nil || len(files) < 3 {
		t.Fatalf("find recordings: got %d and %v", len(files), err)
	}
	for _, file := range files {
		dir := t.TempDir()
		write(t, dir, "regions.yaml", "apiVersion: lastmile/v1\nregions:\n  us: {description: here}\n")
		code, yaml, notes := clitest.Run(t, Main, "import", file, "--name", "mine", "--schedule", "@every 5m")
		if code != 0 || !strings.Contains(yaml, "scenario: mine\n") || !strings.Contains(yaml, "schedule: \"@every 5m\"\n") || !strings.Contains(notes, "allowHosts is not set") {
			t.Errorf("import %s: got status %d, %s%s", file, code, yaml, notes)
		}
		write(t, dir, "mine.yaml", yaml)
		if code, out, errs := clitest.Run(t, Main, "validate", dir); code != 0 || errs != "" {
			t.Errorf("validate what came of %s: got status %d, %s%s", file, code, out, errs)
		}
		for _, from := range []string{dir, t.TempDir()} { // also where no regions are listed
			write(t, from, "mine.yaml", yaml)
			code, out, errs := clitest.Run(t, Main, "export", filepath.Join(from, "mine.yaml"))
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if code != 0 || errs != "" || !reflect.DeepEqual(decodeFile(t, out), decodeFile(t, string(want))) {
				t.Errorf("export what came of %s: got status %d, %s%s", file, code, out, errs)
			}
		}
	}
}

func TestImportRefuses(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "rec.json", "{\n  \"title\": \"t\",\n  \"steps\": [\n    {\"type\": \"tap\"}\n  ]\n}\n")
	rec := filepath.Join(dir, "rec.json")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"import", rec}, rec + `:4:14: steps[0].type: got "tap", want one of navigate, `},
		{[]string{"import", filepath.Join(recordings, "checkout.json"), "--name", "No Name"}, `--name: got "No Name", want`},
		{[]string{"import", filepath.Join(recordings, "checkout.json"), "--schedule", "often"}, `--schedule: got "often", want @every`},
		{[]string{"export", rec}, rec + ":2:"},
	} {
		code, out, errs := clitest.Run(t, Main, c.args...)
		if code != cli.ExitUsage || out != "" || !strings.Contains(errs, c.want) {
			t.Errorf("%v: got status %d, %q, %q, want %d and %q", c.args, code, out, errs, cli.ExitUsage, c.want)
		}
	}
}

// What a recording cannot hold is said, and left out only by --lossy.
func TestExportSaysWhatIsLost(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "mixed.yaml")
	head := "apiVersion: lastmile/v1\nscenario: mixed\nschedule: \"@every 1m\"\ntimeout: 30s\nregions: all\nsteps:\n"
	write(t, dir, "mixed.yaml", head+`  - {id: home, type: navigate, url: "https://shop.example.com/", budget: {lcp: 2s}}
  - {type: click, selectors: "#buy", assert: [{visible: "#done"}]}
  - {type: http, url: "https://shop.example.com/api"}
`)
	code, out, errs := clitest.Run(t, Main, "export", path)
	for _, want := range []string{path + ": a recording cannot hold steps[1].assert\n", "steps[2]: a recording has no http steps", "--lossy"} {
		if code != cli.ExitUsage || out != "" || !strings.Contains(errs, want) {
			t.Errorf("got status %d, %q, %q, want %d and %q", code, out, errs, cli.ExitUsage, want)
		}
	}
	code, out, errs = clitest.Run(t, Main, "export", path, "--lossy")
	want := `{"title": "mixed", "steps": [{"type": "navigate", "url": "https://shop.example.com/"}, {"type": "click", "selectors": [["#buy"]]}]}`
	if code != 0 || !strings.Contains(errs, "http") || !reflect.DeepEqual(decodeFile(t, out), decodeFile(t, want)) {
		t.Errorf("lossy: got status %d, %s%s, want %s", code, out, errs, want)
	}
	write(t, dir, "mixed.yaml", head+"  - {type: http, url: \"https://shop.example.com/api\"}\n")
	if code, out, errs := clitest.Run(t, Main, "export", path, "--lossy"); code != cli.ExitUsage || out != "" || !strings.Contains(errs, "no step that a recording can hold") {
		t.Errorf("http only: got status %d, %s%s", code, out, errs)
	}
}
