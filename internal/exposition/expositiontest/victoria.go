package expositiontest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// VictoriaMetrics is a running VictoriaMetrics, of a single node, that scrapes every second.
type VictoriaMetrics struct{ *Store }

// StartVictoriaMetrics starts a VictoriaMetrics on a free port of 127.0.0.1 and waits until it is ready. It scrapes as StartPrometheus' server
// does; rules are none of its business. The server and its data are gone when the test has ended.
func StartVictoriaMetrics(t testing.TB, opts Options) *VictoriaMetrics {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "scrape.yml")
	if err := os.WriteFile(config, []byte(configuration(t, Options{Targets: opts.Targets, Job: opts.Job})), 0o600); err != nil {
		t.Fatal(err)
	}
	path := program(t, "victoria-metrics", "victoria-metrics")
	return &VictoriaMetrics{&Store{start(t, "victoria-metrics", func(listen string) *exec.Cmd {
		return exec.Command(path,
			"-promscrape.config="+config, "-storageDataPath="+filepath.Join(dir, "data"), "-httpListenAddr="+listen,
			"-search.latencyOffset=0s", // else it would answer as of half a minute ago
			"-memory.allowedBytes=64MiB", "-loggerLevel=WARN")
	})}}
}
