package browser

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"lastmile/internal/browser/chromium"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// site is the target of all tests: the pages of testdata and some answers that pages cannot give.
func site(t testing.TB) string {
	t.Helper()
	files := http.FileServer(http.Dir("testdata"))
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Served-Region", "eu")
		w.Header().Set("Cache-Status", "edge; hit; ttl=30")
		files.ServeHTTP(w, r)
	})
	mux.HandleFunc("/cached.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		w.Header().Set("Content-Type", "text/javascript")
		fmt.Fprintln(w, "document.title += '!'")
	})
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		code, err := strconv.Atoi(r.PathValue("code"))
		if err != nil {
			t.Error(err)
		}
		w.WriteHeader(code)
		if r.URL.Query().Get("body") != "" {
			fmt.Fprintln(w, "<p>sorry</p>")
		}
	})
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Served-Region", "us")
		http.Redirect(w, r, "/done.html?from=redirect", http.StatusFound)
	})
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/etag.js", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Content-Type", "text/javascript")
		w.Header().Set("Cache-Status", "edge; fwd=stale; fwd-status=304")
		if r.Header.Get("If-None-Match") == `"1"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprintln(w, "1")
	})
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}

func testRunner(t testing.TB, opts Options) *Runner {
	t.Helper()
	opts.NoSandbox = os.Getuid() == 0
	r, err := New(slog.New(slog.DiscardHandler), opts)
	if errors.Is(err, ErrNotFound) {
		t.Fatalf("these tests need Chromium: %s", chromium.InstallCommand)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.quiet = 50 * time.Millisecond // the site is near, and most tests do not care
	return r
}

// direct is the network of this machine.
type direct struct{}

func (direct) Proxy() string                  { return "" }
func (direct) HostRules() []string            { return nil }
func (direct) Start(cmd *exec.Cmd) error      { return cmd.Start() }
func (direct) Connections() []runs.Connection { return nil }

// journey is a session with its scenario and variables.
type journey struct {
	t     testing.TB
	sc    *scenario.Scenario
	s     *Session
	scope *vars.Scope
	dir   string
	n     int
}

// open starts a browser for the scenario. At the end of the test nothing of it may be left.
func open(t testing.TB, sc scenario.Scenario, opts Options) *journey {
	t.Helper()
	return openOver(t, sc, opts, direct{})
}

// openOver starts a browser for the scenario on a network.
func openOver(t testing.TB, sc scenario.Scenario, opts Options, network Network) *journey {
	t.Helper()
	dir, err := os.MkdirTemp("", "lm") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	opts.TempDir = dir
	r := testRunner(t, opts)
	s, err := r.Open(t.Context(), &runs.Assignment{Scenario: sc}, network)
	if err != nil {
		t.Fatal(err)
	}
	j := &journey{t: t, sc: &sc, s: s, dir: dir, scope: sc.Scope(scenario.Combination{Region: "eu"}, "run", map[string]vars.Secret{
		"PASSWORD": "correct horse",
	})}
	t.Cleanup(j.close)
	return j
}

// close ends the session and checks that no process and no file of it is left.
func (j *journey) close() {
	j.t.Helper()
	group := processGroup(j.t, j.dir)
	j.s.Close()
	if group != 0 {
		if err := syscall.Kill(-group, 0); !errors.Is(err, syscall.ESRCH) {
			j.t.Errorf("process group %d after Close: got %v, want it gone", group, err)
		}
	}
	for _, process := range leftovers(j.t, j.dir) {
		j.t.Errorf("left behind after Close: %s", process)
	}
	left, err := os.ReadDir(j.dir)
	if err != nil {
		j.t.Fatal(err)
	}
	for _, entry := range left {
		j.t.Errorf("left behind after Close: %s", entry.Name())
	}
}

// leftovers lists the processes that work below dir, and crash handlers of ours that nobody reaped.
func leftovers(t testing.TB, dir string) []string {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, path := range found {
		line, err := os.ReadFile(filepath.Join(path, "cmdline"))
		stat, err2 := os.ReadFile(filepath.Join(path, "stat"))
		if err != nil || err2 != nil {
			continue // ended meanwhile
		}
		orphan := strings.Contains(string(stat), fmt.Sprintf("(chrome_crashpad) Z %d ", os.Getpid()))
		if orphan || bytes.Contains(line, []byte(dir)) {
			left = append(left, string(stat))
		}
	}
	return left
}

// processGroup finds the Chromium whose profile is below dir; 0 where there is none.
func processGroup(t testing.TB, dir string) int {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range found {
		line, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(line, []byte("--user-data-dir="+dir)) || bytes.Contains(line, []byte("--type=")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			t.Fatal(err)
		}
		return pid
	}
	return 0
}

// do runs a step within its limit.
func (j *journey) do(step scenario.Step) (runs.Step, error) {
	j.t.Helper()
	j.n++
	if step.ID == "" {
		step.ID = strconv.Itoa(j.n)
	}
	ctx, cancel := context.WithTimeout(j.t.Context(), new(scenario.Scenario).StepLimit(&step))
	defer cancel()
	return j.s.Step(ctx, &step, j.scope)
}

// pass runs a step that must pass.
func (j *journey) pass(step scenario.Step) runs.Step {
	j.t.Helper()
	got, err := j.do(step)
	if err != nil {
		j.t.Fatalf("%s: %v", step.Type, err)
	}
	if got.State != runs.StepPassed {
		j.t.Fatalf("%s: got %s: %+v, want it to pass", step.Type, got.State, got.Cause)
	}
	return got
}

// fails runs a step that must fail with a cause of the class whose detail contains the text.
func (j *journey) fails(step scenario.Step, class runs.Class, text string) runs.Step {
	j.t.Helper()
	got, err := j.do(step)
	if err != nil {
		j.t.Fatalf("%s: got error %v, want a failed step", step.Type, err)
	}
	j.wantFailed(got, class, text)
	return got
}

// wantFailed checks the cause of a failed step.
func (j *journey) wantFailed(got runs.Step, class runs.Class, text string) {
	j.t.Helper()
	if got.State != runs.StepFailed || got.Cause == nil || got.Cause.Class != class || !strings.Contains(got.Cause.Detail, text) {
		j.t.Fatalf("%s: got %s: %+v, want class %s with %q", got.Type, got.State, got.Cause, class, text)
	}
}

func navigate(url string) scenario.Step { return scenario.Step{Type: scenario.StepNavigate, URL: url} }

func click(selectors ...string) scenario.Step {
	return scenario.Step{Type: scenario.StepClick, Selectors: alternatives(selectors)}
}

func change(value string, selectors ...string) scenario.Step {
	return scenario.Step{Type: scenario.StepChange, Selectors: alternatives(selectors), Value: &value}
}

// alternatives makes one chain of each text, with " >>> " between its parts.
func alternatives(texts []string) scenario.Selectors {
	var out scenario.Selectors
	for _, text := range texts {
		out = append(out, strings.Split(text, " >>> "))
	}
	return out
}

// with adds assertions and a time limit to a step.
func with(step scenario.Step, timeout time.Duration, asserts ...scenario.Assertion) scenario.Step {
	step.Timeout, step.Assert = scenario.Duration(timeout), asserts
	return step
}

// says asserts that the page's #said has the text, which its scripts put there.
func says(text string) scenario.Assertion {
	return scenario.Assertion{Visible: "xpath///*[@id='said'][.='" + text + "']"}
}

// closedPort is an address on which nobody listens.
func closedPort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	return "http://" + l.Addr().String() + "/"
}
