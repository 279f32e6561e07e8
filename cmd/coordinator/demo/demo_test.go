package demo

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"lastmile/cmd/coordinator/coordination"
	"lastmile/internal/bus"
	"lastmile/internal/cli"
	"lastmile/internal/console"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/scenariofile"
)

// tenSeconds is a set with one scenario, due every 10 s in region us.
func tenSeconds(t *testing.T) scenariofile.Set {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"regions.yaml": "apiVersion: lastmile/v1\nregions:\n  us: {description: here}\n", "api.yaml": `apiVersion: lastmile/v1
scenario: api
schedule: "@every 10s"
timeout: 5s
regions: [us]
slos: [{name: up, objective: 99%, window: 7d}]
steps:
  - {type: http, url: "http://127.0.0.1:1/"}
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set, err := scenariofile.LoadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// serverAndHub starts a NATS server without streams, and connects to it.
func serverAndHub(t *testing.T) (*bus.Server, *bus.Bus) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	server, err := bus.StartServer(log, bus.ServerOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop(context.Background()) })
	hub, err := bus.Connect(t.Context(), log, bus.Options{Server: server, Name: "coordinator"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hub.Close() })
	return server, hub
}

var apiInUS = scenario.Combination{Scenario: "api", Region: "us", Network: "none"}

// A demo whose coordinator breaks ends with the error, and at once: open slots will not come to an end any more.
func TestDemoEndsWhenItsCoordinatorBreaks(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	server, hub := serverAndHub(t)
	listener, err := cli.Listen("127.0.0.1:0", "--listen")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close() // so that it cannot serve
	set := tenSeconds(t)
	d := &demo{
		opts: Options{Listen: "127.0.0.1:0", Data: t.TempDir()}, log: log, set: set,
		unit:    coordination.New(log, set, hub, coordination.Options{Grace: demoGrace}),
		console: console.New(io.Discard, func() []runs.Account { return nil }, console.Options{}),
	}
	d.unit.Ledger().Plan(apiInUS, time.Now(), time.Now().Add(time.Hour))
	began := time.Now()
	if err := d.work(t.Context(), server, listener); err == nil {
		t.Error("got no error, want that of the listener")
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("got an end after %s, want it at once", took.Round(time.Second))
	}
}

// The last slot of a demo may become missing: the demo must wait at least until its verdict can be there.
func TestDemoWaitsForTheLastVerdict(t *testing.T) {
	set, err := scenariofile.LoadDir("../../../scenarios")
	if err != nil {
		t.Fatal(err)
	}
	d := &demo{set: set}
	for i := range set.Scenarios {
		s := &set.Scenarios[i]
		if latest := s.StartWindow() + s.Timeout.D() + time.Minute + demoGrace + time.Second; d.drainLimit() < latest {
			t.Errorf("%s: got %s, want at least %s", s.Name, d.drainLimit(), latest)
		}
	}
}
