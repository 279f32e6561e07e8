package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"lastmile/internal/runs"
)

// soakScenario writes a small journey over two pages of a site of its own.
func soakScenario(t testing.TB) (file string) {
	t.Helper()
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!doctype html><h1>"+r.URL.Path+"</h1><a href=/next>next</a>")
	}))
	t.Cleanup(site.Close)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"regions.yaml": "apiVersion: lastmile/v1\nregions:\n  us: {description: here}\n",
		"soak.yaml": `apiVersion: lastmile/v1
scenario: soak
schedule: "@every 1m"
timeout: 30s
regions: [us]
steps:
  - {type: navigate, url: "` + site.URL + `/"}
  - {type: click, selectors: [["a"]], assertedEvents: [{type: navigation, url: "` + site.URL + `/next"}]}
  - {type: waitForElement, selectors: [["xpath///h1[.='/next']"]]}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "soak.yaml")
}

// residue is what a probe has of its own between two runs.
type residue struct {
	zombies, directories, goroutines, descriptors int
	memory                                        float64 // resident, MB
}

func residueOf(t testing.TB, dir string) (r residue) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	descriptors, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		t.Fatal(err)
	}
	return residue{
		zombies: len(deadChildren(t, os.Getpid())), directories: len(left), goroutines: runtime.NumGoroutine(),
		descriptors: len(descriptors), memory: float64(pages*os.Getpagesize()) / 1e6,
	}
}

// deadChildren lists the children of a process that nobody has reaped.
func deadChildren(t testing.TB, parent int) (names []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // ended meanwhile
		}
		head, rest, _ := strings.Cut(string(text), ") ")
		if strings.HasPrefix(rest, fmt.Sprintf("Z %d ", parent)) {
			names = append(names, head+")")
		}
	}
	return names
}

// soak runs the journey so often, whole, as probe serve does: network, browser, steps, result. It returns what was left after each run.
func soak(t testing.TB, count int) []residue {
	t.Helper()
	dir, err := os.MkdirTemp("", "lm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	command := runCommand{File: soakScenario(t), RunOptions: RunOptions{
		Chromium: Chromium{NoSandbox: os.Getuid() == 0, TempDir: dir},
		Link:     Link{LinkMode: "proxy", AllowNet: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
	}}
	runner, missing, err := newRunner(t.Context(), slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})), "soak", command.RunOptions)
	if err != nil || missing != nil {
		t.Fatal(err, missing)
	}
	var after []residue
	for range count {
		a, err := command.assignment()
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		result := runner.Run(ctx, a)
		cancel()
		if result.State != runs.StatePassed || len(result.Tainted) > 0 {
			t.Errorf("run %d: got %s: %+v, tainted %q, want it passed", len(after)+1, result.State, result.Cause, result.Tainted)
		}
		after = append(after, residueOf(t, dir))
	}
	return after
}

// mean is that of the memory.
func mean(of []residue) (mb float64) {
	for _, r := range of {
		mb += r.memory / float64(len(of))
	}
	return mb
}

// leftNothing fails where runs leave something behind: anything of a browser, or, from a tenth of the runs on, anything of the probe's own.
func leftNothing(t testing.TB, after []residue) (first, last residue) {
	t.Helper()
	tenth := max(1, len(after)/10)
	first, last = after[tenth-1], after[len(after)-1]
	for i, r := range after {
		if r.zombies > 0 || r.directories > 0 {
			t.Errorf("after run %d: got %d zombies and %d directories, want none", i+1, r.zombies, r.directories)
		}
	}
	if last.goroutines > first.goroutines+2 || last.descriptors > first.descriptors+2 { // one that just ends is counted
		t.Errorf("after %d runs: got %d goroutines and %d descriptors, want the %d and %d of after %d",
			len(after), last.goroutines, last.descriptors, first.goroutines, first.descriptors, tenth)
	}
	return first, last
}

// A probe runs for months: a run leaves nothing behind.
func TestRunsLeaveNothing(t *testing.T) {
	leftNothing(t, soak(t, 10))
}

// BenchmarkRuns shows that a run leaves nothing behind, and that the probe does not grow: 500 runs, some ten minutes, with
//
//	go test -run '^$' -bench '^BenchmarkRuns$' -benchtime 500x -timeout 60m ./cmd/probe/app/
//
// MB-first and MB-last are the probe's resident memory, on average over the first and the last tenth of the runs.
func BenchmarkRuns(b *testing.B) {
	after := soak(b, b.N)
	first, last := leftNothing(b, after)
	tenth := max(1, len(after)/10)
	before, now := mean(after[:tenth]), mean(after[len(after)-tenth:])
	if now > before+30 {
		b.Errorf("memory: got %.1f MB in the last %d runs, want at most 30 MB more than the %.1f MB in the first", now, tenth, before)
	}
	b.ReportMetric(before, "MB-first")
	b.ReportMetric(now, "MB-last")
	b.ReportMetric(float64(last.zombies), "zombies")
	b.ReportMetric(float64(last.directories), "directories")
	b.ReportMetric(float64(last.goroutines-first.goroutines), "goroutines-more")
	b.ReportMetric(float64(last.descriptors-first.descriptors), "descriptors-more")
}
