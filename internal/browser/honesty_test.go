package browser

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// A person waits while our looks find nothing: only the look that finds is ours.
func TestFailedLooksAreWaiting(t *testing.T) {
	t.Parallel()
	url := site(t)
	j := open(t, scenario.Scenario{}, Options{})
	j.pass(navigate(url + "/stuck.html"))
	const limit = 600 * time.Millisecond
	for name, step := range map[string]scenario.Step{
		"covered":        click("#covered"),
		"no such text":   click("text/Nowhere to be seen"),
		"no such name":   click("aria/Nowhere to be seen"),
		"late assertion": with(click("#number"), 0, scenario.Assertion{Visible: "text/Nowhere to be seen"}),
	} {
		got, err := j.do(with(step, limit, step.Assert...))
		if err != nil || got.State != runs.StepFailed {
			t.Fatalf("%s: got %s and %v, want a failed step", name, got.State, err)
		}
		if want := 0.85 * float64(limit.Milliseconds()); got.DurationMS < want {
			t.Errorf("%s: got a duration of %.0f ms, want the %s that a person waited", name, got.DurationMS, limit)
		}
	}
}

// What was pressed may take the document away while we look whether it worked.
func TestChangeThatLeaves(t *testing.T) {
	t.Parallel()
	url := site(t)
	j := open(t, scenario.Scenario{}, Options{})
	j.pass(navigate(url + "/stuck.html"))
	leave := change("true", "#leaves")
	leave.AssertedEvents = []scenario.AssertedEvent{{Type: "navigation", URL: "*/done.html"}}
	j.pass(leave)
}

func TestTypedFieldsAreReplaced(t *testing.T) {
	t.Parallel()
	url := site(t)
	j := open(t, scenario.Scenario{}, Options{})
	j.pass(navigate(url + "/stuck.html"))
	j.pass(change("42", "#number"))
	j.pass(change("new@example.com", "#email"))
	if got := j.eval("document.querySelector('#number').value + ' ' + document.querySelector('#email').value"); got != "42 new@example.com" {
		t.Errorf("fields: got %s, want what was typed alone", got)
	}
}

func TestStatusOfOddPath(t *testing.T) {
	t.Parallel()
	url := site(t)
	j := open(t, scenario.Scenario{}, Options{})
	j.fails(navigate(url+"/100%/missing"), runs.ClassHTTP4xx, "got 400")
}

func TestProbeWithoutNetwork(t *testing.T) {
	t.Parallel()
	j := open(t, scenario.Scenario{}, Options{})
	_, err := j.do(navigate("chrome://network-error/-106"))
	var fault *runs.Fault
	if !errors.As(err, &fault) || fault.Class != runs.ClassProbe || !strings.Contains(err.Error(), "ERR_INTERNET_DISCONNECTED") {
		t.Errorf("no network: got %v, want a fault of the probe's", err)
	}
}

// A browser that does not even read its pipe must not block the watchdog.
func TestHangWithFullPipe(t *testing.T) {
	t.Parallel()
	url := site(t)
	j := open(t, scenario.Scenario{}, Options{PingEvery: 200 * time.Millisecond, PingLimit: 700 * time.Millisecond})
	j.pass(navigate(url + "/done.html"))
	if err := syscall.Kill(processGroup(t, j.dir), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	_, err := j.do(with(navigate(url+"/shop.html?"+strings.Repeat("x", 1<<20)), 300*time.Millisecond))
	var fault *runs.Fault
	if !errors.As(err, &fault) || fault.Class != runs.ClassBrowserHang {
		t.Errorf("step in a stopped browser: got %v, want a fault of class browser_hang", err)
	}
}

// broken opens a session with a program that is no Chromium, and checks that nothing is left of the attempt.
func broken(t *testing.T, script string) *runs.Fault {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "chromium")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	tmp := filepath.Join(dir, "tmp")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	r, err := New(slog.New(slog.DiscardHandler), Options{ShellPath: program, TempDir: tmp})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = r.Open(t.Context(), &runs.Assignment{}, direct{}) // once before counting: the runtime keeps what it has opened for its poller
	files, goroutines := openFiles(t), runtime.NumGoroutine()
	_, err = r.Open(t.Context(), &runs.Assignment{}, direct{})
	var fault *runs.Fault
	if !errors.As(err, &fault) {
		t.Fatalf("open: got %v, want a fault", err)
	}
	if now := openFiles(t); now > files {
		t.Errorf("open files: got %d, want the %d of before", now, files)
	}
	for range 10_000 { // a goroutine that has ended is counted until it is next scheduled
		if runtime.NumGoroutine() <= goroutines {
			break
		}
		runtime.Gosched()
	}
	if now := runtime.NumGoroutine(); now > goroutines {
		t.Errorf("goroutines: got %d, want the %d of before", now, goroutines)
	}
	for _, process := range leftovers(t, tmp) {
		t.Errorf("left behind: %s", process)
	}
	left, err := os.ReadDir(tmp)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	return fault
}

func openFiles(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

func TestLaunchFailures(t *testing.T) {
	const forbidden = "[1121/1:ERROR:content/browser/zygote_host/zygote_host_impl_linux.cc:130] No usable sandbox! If this is a Debian system ..."
	for _, tt := range []struct {
		name, script string
		class        runs.Class
		says         []string
	}{
		{"no sandbox", fmt.Sprintf("echo %q >&2; exit 1", forbidden), runs.ClassProbe, []string{"--no-sandbox", "user namespaces"}},
		{"root", `echo "[1:ERROR:zygote_host_impl_linux.cc:103] Running as root without --no-sandbox is not supported." >&2; exit 1`,
			runs.ClassProbe, []string{"--no-sandbox", "root"}},
		{"last words behind a dump", `echo "[1:FATAL:x.cc:1] Out of luck" >&2; i=0; while [ $i -lt 300 ]; do echo "#$i 0x5581d0c1f4e2"; i=$((i+1)); done >&2; exit 1`,
			runs.ClassBrowserCrash, []string{"Out of luck"}},
		{"silent", "exit 0", runs.ClassBrowserCrash, []string{"exit status 0"}},
		{"stray child", "setsid sleep 300 & sleep 0.2; exit 3", runs.ClassBrowserCrash, []string{"exit status 3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fault := broken(t, tt.script)
			if fault.Class != tt.class {
				t.Errorf("got class %s, want %s", fault.Class, tt.class)
			}
			for _, text := range tt.says {
				if !strings.Contains(fault.Error(), text) {
					t.Errorf("got %q, want %q in it", fault.Error(), text)
				}
			}
		})
	}
}

// A page that paints late must not pass for one without vitals: no budget would see it.
func TestLatePaint(t *testing.T) {
	t.Parallel()
	url := site(t)
	j := open(t, scenario.Scenario{}, Options{})
	got := j.pass(navigate(url + "/latepaint.html"))
	if v := got.Vitals; v == nil || v.FCP == nil || v.LCP == nil || *v.LCP < 690 {
		t.Errorf("vitals: got %+v, want a largest contentful paint after 700 ms", v)
	}
}
