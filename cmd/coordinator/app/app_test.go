package app

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lastmile/internal/cli"
	"lastmile/internal/cli/clitest"
)

// scenariosDir holds the scenarios that ship.
const scenariosDir = "../../../scenarios"

func TestShippedScenariosAreSound(t *testing.T) {
	code, out, errs := clitest.Run(t, Main, "validate", scenariosDir)
	if code != 0 || !strings.Contains(out, "scenarios: 8, combinations of scenario, region and network: 40") {
		t.Errorf("got status %d, %q, %q; want 0 and 8 scenarios in 4 regions", code, out, errs)
	}
}

func TestValidatePrintsEverythingThatIsWrong(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "regions.yaml", "apiVersion: lastmile/v1\nregions:\n  us: {description: here}\n")
	write(t, dir, "bad.yaml", `apiVersion: lastmile/v1
scenario: Bad_Name
schedule: "@every 5s"
timeout: 10s
regions: [us, mars]
steps:
  - {type: http, url: "http://127.0.0.1/", colour: red}
`)
	code, _, errs := clitest.Run(t, Main, "validate", dir)
	if code != cli.ExitUsage {
		t.Errorf("got status %d, want %d", code, cli.ExitUsage)
	}
	for _, want := range []string{"bad.yaml:2:11", "Bad_Name", "bad.yaml:4:10", "bad.yaml:5:15", "mars", "bad.yaml:7:", "colour"} {
		if !strings.Contains(errs, want) {
			t.Errorf("errors lack %q:\n%s", want, errs)
		}
	}
}

// A scenario may run over networks of the user's own as over presets: validate and plan know them, and say nothing else about them.
func TestOwnNetworks(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "regions.yaml", "apiVersion: lastmile/v1\nregions:\n  us: {description: here}\n")
	write(t, dir, "networks.yaml", "apiVersion: lastmile/v1\nnetworks:\n  subway: {base: 3g, loss: 3%}\n")
	scenario := func(networks string) {
		write(t, dir, "api.yaml", `apiVersion: lastmile/v1
scenario: api
schedule: "@every 10s"
timeout: 5s
regions: [us]
networks: [`+networks+`]
steps:
  - {type: http, url: "http://127.0.0.1:1/"}
`)
	}
	scenario("3g, subway")
	for _, path := range []string{dir, filepath.Join(dir, "api.yaml")} {
		want := path + ": scenarios: 1, combinations of scenario, region and network: 2; all sound\n"
		if code, out, errs := clitest.Run(t, Main, "validate", path); code != 0 || out != want || errs != "" {
			t.Errorf("got status %d, %q and %q, want %q", code, out, errs, want)
		}
	}
	if code, out, errs := clitest.Run(t, Main, "plan", "--scenarios", dir); code != 0 || !strings.Contains(out, "subway") {
		t.Errorf("plan: got status %d, %s%s, want slots over subway", code, out, errs)
	}
	scenario("3g, subwya")
	if code, _, errs := clitest.Run(t, Main, "validate", dir); code != cli.ExitUsage || !strings.Contains(errs, "api.yaml:6:16") || !strings.Contains(errs, "subway (did you mean that?)") {
		t.Errorf("unknown network: got status %d and %s, want %d and the name that was meant", code, errs, cli.ExitUsage)
	}
	write(t, dir, "networks.yaml", "apiVersion: lastmile/v1\nnetworks:\n  subway: {base: 3g, los: 3%, queue: 0}\n")
	code, _, errs := clitest.Run(t, Main, "validate", dir)
	for _, want := range []string{"networks.yaml:3:22", "want loss (did you mean that?)", "networks.yaml:3:38", "got 0 packets"} {
		if code != cli.ExitUsage || !strings.Contains(errs, want) {
			t.Errorf("bad networks: got status %d, want %d, and errors that have %q:\n%s", code, cli.ExitUsage, want, errs)
		}
	}
}

func TestPlanShowsSlotsAndLoad(t *testing.T) {
	code, out, errs := clitest.Run(t, Main, "plan", "--scenarios", scenariosDir, "--output", "json")
	if code != 0 {
		t.Fatalf("got status %d: %s", code, errs)
	}
	var plan []struct {
		Region        string  `json:"region"`
		RunsPerMinute float64 `json:"runs_per_minute"`
		Next          []struct{ Scenario, Pool string }
	}
	if err := json.Unmarshal([]byte(out), &plan); err != nil {
		t.Fatal(err)
	}
	if len(plan) != 4 || plan[0].RunsPerMinute < 20 || len(plan[0].Next) != 10 {
		t.Errorf("got %+v, want four regions, over 20 runs a minute, ten next slots", plan)
	}
	code, out, _ = clitest.Run(t, Main, "plan", "--scenarios", scenariosDir)
	if code != 0 || !strings.Contains(out, "RUNS/MIN") || !strings.Contains(out, "api ") {
		t.Errorf("got status %d and\n%s\nwant a table with load and slots", code, out)
	}
}

func TestSchemaIsJSON(t *testing.T) {
	code, out, errs := clitest.Run(t, Main, "schema")
	var schema map[string]any
	if err := json.Unmarshal([]byte(out), &schema); code != 0 || err != nil || schema["$schema"] == nil {
		t.Errorf("got status %d, %v, %s; want a JSON Schema", code, err, errs)
	}
}

// TestStartErrorsSayWhatToDo covers what commonly keeps the service from starting.
func TestStartErrorsSayWhatToDo(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	address := taken.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	serve := []string{"serve", "--scenarios", scenariosDir, "--data", t.TempDir()}
	demo := []string{"demo", "--scenarios", scenariosDir, "--data", t.TempDir(), "--for", "1s"}
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"metrics port":      {append(serve[:5:5], "--listen", address, "--nats-listen", "127.0.0.1:0"), "--listen"},
		"nats port":         {append(serve[:5:5], "--listen", "127.0.0.1:0", "--nats-listen", address), address},
		"open to the world": {append(serve[:5:5], "--listen", "127.0.0.1:0", "--nats-listen", "0.0.0.0:0"), "token"},
		"no scenarios":      {[]string{"serve", "--scenarios", t.TempDir()}, "regions.yaml"},
		"unknown variable":  {append(serve[:5:5], "--var", "nobody=1"), "nobody"},
		"negative grace":    {append(serve[:5:5], "--grace=-1s"), "--grace"},
		"unknown flag":      {[]string{"serve", "--speed", "9"}, "--speed"},
		"unknown fault":     {append(demo[:7:7], "--fault", "gremlins", "--shop-port", "0", "--listen", "127.0.0.1:0"), "gremlins"},
		"no Chromium":       {append(demo[:7:7], "--chromium-shell", "/nonexistent", "--chromium-full", "/nonexistent"), "apt-get install"},
		"shop port":         {append(demo[:7:7], "--shop-port", port, "--listen", "127.0.0.1:0"), "--shop-port"},
		"horizon":           {[]string{"plan", "--scenarios", scenariosDir, "--horizon", "0s"}, "--horizon"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, errs := clitest.Run(t, Main, tc.args...)
			if code == 0 || !strings.Contains(errs, tc.want) {
				t.Errorf("got status %d and %q, want an error that names %s", code, errs, tc.want)
			}
		})
	}
}

func TestHelpAndVersion(t *testing.T) {
	for _, args := range [][]string{nil, {"--help"}, {"demo", "--help"}, {"--version"}} {
		if code, out, errs := clitest.Run(t, Main, args...); code != 0 || out == "" || errs != "" {
			t.Errorf("%v: got status %d, %q, %q; want 0 and text on standard output", args, code, out, errs)
		}
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestServeWithoutHubIsAliveAndNotReady: a coordinator whose NATS is away says so, and ends cleanly when told to.
func TestServeWithoutHubIsAliveAndNotReady(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	_ = free.Close()
	p := clitest.Start(t, Main, "serve", "--scenarios", scenariosDir, "--data", t.TempDir(), "--listen", address, "--nats", "nats://127.0.0.1:1")
	get := func(path string) (status int, body string) {
		response, err := http.Get("http://" + address + path)
		if err != nil {
			return 0, ""
		}
		defer func() { _ = response.Body.Close() }()
		text, _ := io.ReadAll(response.Body)
		return response.StatusCode, string(text)
	}
	clitest.Eventually(t, "health", func() bool {
		status, _ := get("/healthz")
		return status == http.StatusOK
	})
	if status, body := get("/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "hub") {
		t.Errorf("readyz: got %d %q, want 503 and word of the hub", status, body)
	}
	if code := p.Stop(); code != 0 {
		t.Errorf("got status %d, want 0:\n%s", code, p)
	}
}
