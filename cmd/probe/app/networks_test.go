package app

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"lastmile/internal/cli"
	"lastmile/internal/cli/clitest"
	"lastmile/internal/netprofile"
)

// ownNetworks makes a directory with the user's own networks.
func ownNetworks(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "networks.yaml"), "apiVersion: lastmile/v1\nnetworks:\n"+text)
	return dir
}

func TestNetworksListsPresetsAndOwn(t *testing.T) {
	dir := ownNetworks(t, "  subway: {down: 700.5 kbit/s, up: 256 kbit/s, rtt: 400ms, jitter: 80ms, loss: 3%, queue: 200, mtu: 1400, source: \"two\\nlines\"}\n")
	columns := regexp.MustCompile(` {2,}`)
	rows := func(args ...string) map[string]string {
		t.Helper()
		code, out, errs := clitest.Run(t, Main, append([]string{"networks"}, args...)...)
		if code != 0 || errs != "" {
			t.Fatalf("%v: got status %d and %q, want 0", args, code, errs)
		}
		found := map[string]string{}
		for line := range strings.Lines(out) {
			cells := columns.Split(strings.TrimSpace(line), -1)
			found[cells[0]] = strings.Join(cells[1:], "|")
		}
		return found
	}
	presets := rows()
	if len(presets) != 1+len(netprofile.Names()) {
		t.Errorf("without a directory: got %d lines, want the presets and a head", len(presets))
	}
	for _, path := range []string{dir, filepath.Join(dir, "networks.yaml")} {
		got := rows(path)
		if len(got) != len(presets)+1 {
			t.Errorf("%s: got %d lines, want one more than without it", path, len(got))
		}
		for name, want := range map[string]string{
			"NETWORK":       "VERSION|DOWN/UP KBIT/S|RTT|JITTER|LOSS|QUEUE|MTU|SOURCE",
			"none":          "v1|-|-|-|-|-|-|lastmile",
			"3g":            "v1|1600/768|300ms|-|-|1000|1500|WebPageTest 3G",
			"3g-jitter":     "v1|1200/1200|250ms|±50ms|0.5%|1000|1500|after Loadero 3G",
			"3g-very-lossy": "v1|1600/768|300ms|-|5% bursts|1000|1500|lastmile: WebPageTest 3G with Gilbert-Elliott loss",
			"subway":        "u-966de63c|700.5/256|400ms|±80ms|3%|200|1400|two lines",
		} {
			if got[name] != want {
				t.Errorf("%s: %s: got %s, want %s", path, name, got[name], want)
			}
		}
	}
}

func TestNetworksAsJSON(t *testing.T) {
	dir := ownNetworks(t, "  far: {base: 3g-very-lossy, rtt: 500ms}\n")
	code, out, errs := clitest.Run(t, Main, "networks", "--output", "json", dir)
	var got []netprofile.Profile
	if err := json.Unmarshal([]byte(out), &got); code != 0 || errs != "" || err != nil {
		t.Fatalf("got status %d, %q, %v, want a list of profiles", code, errs, err)
	}
	presets := netprofile.Presets()
	if len(got) != len(presets)+1 || !reflect.DeepEqual(got[:len(presets)], presets) {
		t.Fatalf("got %+v, want the presets and one more", got)
	}
	far := got[len(presets)]
	want, _ := netprofile.Lookup("3g-very-lossy")
	want.Name, want.Description, want.Source, want.RTT = "far", "", "networks.yaml, from 3g-very-lossy", 500*time.Millisecond
	want.Version = want.OwnVersion()
	if !reflect.DeepEqual(far, want) {
		t.Errorf("got %+v, want %+v", far, want)
	}
}

func TestNetworksRefusesBadInput(t *testing.T) {
	bad := ownNetworks(t, "  3g: {base: lte}\n  slow: {down: 700, up: 256 kbit/s, rtt: 400ms}\n")
	for name, tc := range map[string]struct {
		path string
		want []string
	}{
		"bad numbers": {bad, []string{bad + "/networks.yaml:3:3", "the name of a preset", bad + "/networks.yaml:4:16", `"700"`, "kbit/s"}},
		"no file":     {t.TempDir(), []string{"networks.yaml", "no file"}},
		"nowhere":     {"/nonexistent/networks.yaml", []string{"/nonexistent/networks.yaml"}},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := clitest.Run(t, Main, "networks", tc.path)
			if code != cli.ExitUsage || out != "" {
				t.Errorf("got status %d and %q, want %d and nothing on standard output", code, out, cli.ExitUsage)
			}
			for _, want := range tc.want {
				if !strings.Contains(errs, want) {
					t.Errorf("errors lack %q:\n%s", want, errs)
				}
			}
		})
	}
}

// A run may go over a network of the file beside the scenario, whether the scenario names it or not.
func TestRunKnowsOwnNetworks(t *testing.T) {
	file := scenarioFile(t, "http://127.0.0.1:1", "steps: [{type: http, url: \"${vars.base}/\"}]\n")
	own, err := os.ReadFile(filepath.Join(ownNetworks(t, "  subway: {down: 700 kbit/s, up: 256 kbit/s, rtt: 400ms}\n"), "networks.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(filepath.Dir(file), "networks.yaml"), string(own))
	a, err := (&runCommand{File: file, Network: "subway"}).assignment()
	if err != nil {
		t.Fatal(err)
	}
	if n := a.Network; n.Name != "subway" || n.RTT != 400*time.Millisecond || n.Version != n.OwnVersion() {
		t.Errorf("got network %+v, want subway with its numbers", n)
	}
	if a, err = (&runCommand{File: file}).assignment(); err != nil || a.Network.Name != netprofile.None {
		t.Errorf("without --network: got %+v and %v, want none", a, err)
	}
	code, _, errs := clitest.Run(t, Main, "run", allowLocal, file, "--network", "subwya")
	if code != cli.ExitUsage || !strings.Contains(errs, `"subwya"`) || !strings.Contains(errs, "satellite, subway") {
		t.Errorf("got status %d and %q, want %d and the networks that there are", code, errs, cli.ExitUsage)
	}
}
