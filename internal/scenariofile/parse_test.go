package scenariofile

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lastmile/internal/netprofile"
	"lastmile/internal/scenario"
)

var update = flag.Bool("update", false, "write the golden files anew")

func testFleet() scenario.Fleet {
	return scenario.Fleet{Regions: []string{"us", "eu", "apac"}, Networks: netprofile.Presets()}
}

// The golden files: each testdata/X.yaml with all its errors, in order, in testdata/X.want.
func TestParseGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("find testdata: got %d files and %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Parse(filepath.Base(file), data, testFleet())
			got := ""
			if err != nil {
				got = err.Error() + "\n"
			}
			checkGolden(t, file, got)
		})
	}
}

// checkGolden compares what came of a file with the file of the same name that ends in .want.
func checkGolden(t *testing.T, file, got string) {
	t.Helper()
	golden := strings.TrimSuffix(file, ".yaml") + ".want"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s gives:\n%s\nwant:\n%s", file, got, want)
	}
}
