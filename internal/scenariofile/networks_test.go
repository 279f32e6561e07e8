package scenariofile

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lastmile/internal/netprofile"
	"lastmile/internal/scenariofile/document"
)

// The golden files: each testdata/networks/X.yaml with all its errors, or the networks that it defines, in testdata/networks/X.want.
func TestParseNetworksGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/networks/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("find testdata: got %d files and %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			set, err := LoadNetworks(file)
			var got strings.Builder
			if err != nil {
				got.WriteString(strings.ReplaceAll(err.Error(), filepath.Dir(file)+"/", "") + "\n")
			} else {
				encoder := json.NewEncoder(&got)
				for _, p := range set {
					if err := encoder.Encode(p); err != nil {
						t.Fatal(err)
					}
				}
			}
			checkErrors(t, file, err)
			checkGolden(t, file, got.String())
		})
	}
}

func TestLoadNetworks(t *testing.T) {
	dir := writeDir(t, map[string]string{NetworksFile: networksYAML})
	set, err := LoadNetworks(filepath.Join(dir, NetworksFile))
	if err != nil || len(set) != 1 || set[0].Name != "subway" || set[0].Queue != netprofile.DefaultQueue || set[0].MTU != netprofile.DefaultMTU {
		t.Errorf("load: got %+v and %v, want subway with the default queue and MTU", set, err)
	}
	if _, err := LoadNetworks(filepath.Join(dir, "absent.yaml")); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "networks:") {
		t.Errorf("load an absent file: got %v, want %v and what would do", err, os.ErrNotExist)
	}
}

// A file with very many errors is refused in bounded time, with some of them.
func TestParseNetworksManyErrors(t *testing.T) {
	var text strings.Builder
	text.WriteString("apiVersion: lastmile/v1\nnetworks:\n")
	for i := range document.MaxTokens / 8 {
		text.WriteString("  n" + strings.Repeat("x", i%60) + string(rune('a'+i%26)) + strings.Repeat("y", i/60%60) + ": {queue: 0}\n")
	}
	_, err := ParseNetworks("many.yaml", []byte(text.String()))
	if got := len(document.All(err)); got < document.MaxErrors || got > 2*document.MaxErrors {
		t.Errorf("parse: got %d errors, want about %d", got, document.MaxErrors)
	}
}
