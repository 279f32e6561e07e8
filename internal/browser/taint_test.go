package browser

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// predicting is a network whose Chromium has its predictor on, as a user's has.
type predicting struct{ Network }

func (p predicting) Start(cmd *exec.Cmd) error {
	for _, arg := range cmd.Args {
		if profile, ok := strings.CutPrefix(arg, "--user-data-dir="); ok {
			if err := os.WriteFile(filepath.Join(profile, "Default/Preferences"), []byte("{}"), 0o600); err != nil {
				return err
			}
		}
	}
	return p.Network.Start(cmd)
}

// A user's Chrome connects to a site while the request for it is still being made up, as a rule in time to be ahead of it. Ours does
// not, and would tell.
func TestSpeculativeConnections(t *testing.T) {
	for _, tt := range []struct {
		name    string
		engine  scenario.Engine
		network Network
		tainted bool
	}{
		{"shell", scenario.EngineShell, direct{}, false},
		{"full", scenario.EngineFull, direct{}, false},
		{"full with its predictor on", scenario.EngineFull, predicting{direct{}}, true},
		{"shell behind a proxy", scenario.EngineShell, newSocks(t), false},
		{"full behind a proxy", scenario.EngineFull, newSocks(t), false},
		{"full behind a proxy with its predictor on", scenario.EngineFull, predicting{newSocks(t)}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := openOver(t, scenario.Scenario{Engine: tt.engine}, Options{}, tt.network)
			visits := 5
			if tt.tainted {
				visits = 50 // at most: on a busy machine the predictor is seldom in time
			}
			var sites []string
			for len(sites) < visits && len(j.s.tab.Tainted()) == 0 {
				site := httptest.NewServer(http.FileServer(http.Dir("testdata")))
				defer site.Close()
				sites = append(sites, site.URL)
				j.pass(navigate(site.URL + "/answer.txt"))
			}
			trail := j.s.Close()
			if tainted := len(trail.Tainted) > 0; tainted != tt.tainted {
				t.Errorf("tainted: got %q after visits to %d sites, want that to be %t", trail.Tainted, len(sites), tt.tainted)
			}
			for _, site := range sites {
				first := trail.Requests[slices.IndexFunc(trail.Requests, func(r runs.Request) bool { return strings.HasPrefix(r.URL, site) })]
				told := slices.Contains(trail.Tainted, "speculative connection to "+strings.TrimPrefix(site, "http://"))
				if told != (first.Phases.Connect == nil) {
					t.Errorf("first request to %s: got connect phase %v ms and taint %q, want one of the two", site, value(first.Phases.Connect), trail.Tainted)
				}
			}
			if l := trail.Load; l == nil || l.LaunchMS <= 0 || l.CPUSeconds < 0.1 || l.PeakMemory < 50e6 {
				t.Errorf("load: got %+v, want what a browser takes", l)
			}
		})
	}
}
