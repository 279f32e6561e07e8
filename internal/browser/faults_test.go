package browser

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"

	"lastmile/internal/browser/chromium"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// hostile is a target whose pages are up to no good.
func hostile(t testing.TB) string {
	t.Helper()
	mux := http.NewServeMux()
	serve := func(name, body string) {
		mux.HandleFunc("/"+name, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<!doctype html><title>"+name+"</title><body>"+body) // the browser may be gone
		})
	}
	serve("plain", "<button id=b>b</button>")
	serve("loop", "<script>for (;;);</script>")
	serve("dialogs", "<script>for (;;) { alert('a'); confirm('b'); prompt('c') }</script>")
	serve("polite", "<script>document.title = [alert('a'), confirm('b'), prompt('c')].join()</script><p id=said>done")
	serve("windows", "<script>for (let i = 0; i < 20; i++) open('/plain?' + i); setTimeout(() => document.body.innerHTML += '<p id=said>done', 300)</script>")
	serve("storm", "<script>setInterval(() => { for (let i = 0; i < 20; i++) open('/plain') }, 10)</script>")
	serve("frames", "<script>setInterval(() => { for (let i = 0; i < 50; i++) document.body.append(document.createElement('iframe')) }, 5)</script>")
	serve("requests", "<script>let n = 0; setInterval(() => { for (let i = 0; i < 50; i++) fetch('/answer?' + n++) }, 5)</script>")
	serve("states", "<script>let n = 0; setInterval(() => { for (let i = 0; i < 100; i++) history.pushState({}, '', '?' + n++) }, 1)</script><p id=said>done")
	serve("away", "<script>location = '/away?' + Math.random()</script>")
	serve("framed", "<iframe id=f></iframe><script>f.src = 'http://localhost:' + location.port + '/plain'</script>")
	serve("download", "<a id=file href=/file download>file</a>")
	serve("console", "<script>setInterval(() => { for (let i = 0; i < 2000; i++) console.error('x'.repeat(1000)) }, 1)</script><p id=said>done")
	serve("elements", "<script>document.write('<b>x</b>'.repeat(200000))</script><p id=said>done")
	serve("worker", `<script>navigator.serviceWorker.register('/sw.js').then(() => navigator.serviceWorker.ready)
		.then(() => document.body.innerHTML += '<p id=said>done')</script>`)
	mux.HandleFunc("/sw.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = io.WriteString(w, `onfetch = e => e.respondWith(new Promise(() => {})); onactivate = e => e.waitUntil(clients.claim())`)
	})
	mux.HandleFunc("/answer", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/endless?"+r.URL.RawQuery+"x", http.StatusFound)
	})
	mux.HandleFunc("/file", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Disposition", `attachment; filename="report.bin"`)
		_, _ = w.Write(make([]byte, 1<<16))
	})
	mux.HandleFunc("/huge", func(w http.ResponseWriter, _ *http.Request) { // 50 MB
		w.Header().Set("Content-Type", "text/html")
		line := bytes.Repeat([]byte("much ado about nothing\n"), 1000)
		_, _ = io.WriteString(w, "<script type=text/plain>")
		for sent := 0; sent < 50e6; sent += len(line) {
			if _, err := w.Write(line); err != nil {
				return
			}
		}
		_, _ = io.WriteString(w, "</script><p id=said>done")
	})
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}

// What a target does to the browser is the target's failure, comes to an end in time, and leaves nothing behind: see journey.close.
func TestHostilePages(t *testing.T) {
	url := hostile(t)
	small := Limits{Bytes: 5e6, Requests: 300, Dialogs: 30, Targets: 200}
	for _, tt := range []struct {
		name  string
		step  scenario.Step
		class runs.Class
		text  string
	}{
		{"endless loop", with(navigate(url+"/loop"), 700*time.Millisecond), runs.ClassTimeout, "time is up"},
		{"dialog storm", navigate(url + "/dialogs"), runs.ClassScript, "more than 30 (alert"},
		{"window storm", with(navigate(url+"/storm"), 20*time.Second, says("never")), runs.ClassScript, "more than 10 at once"},
		{"frame storm", with(navigate(url+"/frames"), 20*time.Second, says("never")), runs.ClassScript, "more than 200 windows, frames"},
		{"request storm", with(navigate(url+"/requests"), 20*time.Second, says("never")), runs.ClassScript, "more than 300"},
		{"much data", with(navigate(url+"/huge"), 20*time.Second), runs.ClassScript, "more than 5MB"},
		{"endless redirects", with(navigate(url+"/endless"), 20*time.Second), runs.ClassScript, "TOO_MANY_REDIRECTS"},
		{"never there", with(navigate(url+"/away"), 2*time.Second, says("never")), "", ""},
		{"download instead of a page", navigate(url + "/file"), runs.ClassScript, "ABORTED"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			j := open(t, scenario.Scenario{}, Options{Limits: small})
			began := time.Now()
			got, err := j.do(tt.step)
			if err != nil || got.State != runs.StepFailed {
				t.Fatalf("got %s and %v, want a failed step", got.State, err)
			}
			if tt.class != "" && (got.Cause.Class != tt.class || !strings.Contains(got.Cause.Detail, tt.text)) {
				t.Errorf("got %+v, want class %s with %q", got.Cause, tt.class, tt.text)
			}
			if limit, took := new(scenario.Scenario).StepLimit(&tt.step), time.Since(began); took > limit+10*time.Second {
				t.Errorf("took %s, want it to end soon after the %s that it had", took, limit)
			}
		})
	}
}

// A run whose page broke a limit is over: what is still to do fails at once, for the same reason.
func TestStepsAfterALimit(t *testing.T) {
	t.Parallel()
	url := hostile(t)
	j := open(t, scenario.Scenario{}, Options{Limits: Limits{Dialogs: 5}})
	j.fails(navigate(url+"/dialogs"), runs.ClassScript, "dialogs")
	j.fails(navigate(url+"/plain"), runs.ClassScript, "dialogs")
}

// What is heavy, odd or unasked for, but within the limits, is measured as anything else.
func TestOddPages(t *testing.T) {
	t.Parallel()
	url := hostile(t)
	j := open(t, scenario.Scenario{}, Options{})
	for _, name := range []string{"polite", "states", "console", "elements", "huge"} {
		j.pass(with(navigate(url+"/"+name), 30*time.Second, says("done")))
	}
	got := j.pass(with(navigate(url+"/windows"), 20*time.Second, says("done")))
	if len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "more than 10 at once") {
		t.Errorf("step that opens 20 windows: got warnings %q, want one that says that some were closed", got.Warnings)
	}
	if got := j.pass(with(navigate(url+"/download"), 0)); len(got.Warnings) > 0 {
		t.Errorf("step after that: got warnings %q, want none", got.Warnings)
	}
	denied := func() bool {
		notes := j.s.tab.Notes()
		return len(notes) == 1 && strings.Contains(notes[0], "report.bin") && strings.Contains(notes[0], "denied")
	}
	clicked := j.pass(click("#file"))
	for deadline := time.Now().Add(10 * time.Second); !denied() && len(clicked.Warnings) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("click on a download: got notes %q, want one that says that it was denied", j.s.tab.Notes())
		}
	}
	j.pass(with(navigate(url+"/worker"), 20*time.Second, says("done")))
	j.fails(with(navigate(url+"/plain"), time.Second), runs.ClassTimeout, "time is up")
}

// The machine's faults are never the target's, whichever process they hit.
func TestFaultsOfTheMachine(t *testing.T) {
	url := site(t)
	for _, tt := range []struct {
		name, kind string
		signal     syscall.Signal
		class      runs.Class
	}{
		{"renderer killed", "--type=renderer", syscall.SIGKILL, runs.ClassBrowserCrash},
		{"renderer stopped", "--type=renderer", syscall.SIGSTOP, runs.ClassBrowserHang},
		{"network process killed", "network.mojom.NetworkService", syscall.SIGKILL, runs.ClassBrowserCrash},
		{"network process stopped", "network.mojom.NetworkService", syscall.SIGSTOP, runs.ClassBrowserHang},
	} {
		for _, engine := range []scenario.Engine{scenario.EngineShell, scenario.EngineFull} {
			t.Run(tt.name+" "+string(engine), func(t *testing.T) {
				t.Parallel()
				j := open(t, scenario.Scenario{Engine: engine}, Options{})
				j.pass(navigate(url + "/done.html"))
				signalled := make(chan int, 1)
				time.AfterFunc(100*time.Millisecond, func() { signalled <- j.signal(tt.kind, tt.signal) })
				began := time.Now()
				_, err := j.do(with(navigate(url+"/slow"), 4*time.Second))
				var fault *runs.Fault
				if !errors.As(err, &fault) || fault.Class != tt.class {
					t.Errorf("step: got %v, want a fault of class %s", err, tt.class)
				}
				if took := time.Since(began); took > 20*time.Second {
					t.Errorf("took %s, want it to end soon", took)
				}
				if n := <-signalled; n == 0 {
					t.Errorf("no process with %s in its command line", tt.kind)
				}
			})
		}
	}
}

// A frame or a window that shows Chromium's sad face is not what the target sent.
func TestCrashedFrame(t *testing.T) {
	t.Parallel()
	url := hostile(t)
	inner := strings.Replace(url, "127.0.0.1", "localhost", 1) + "/plain"
	j := open(t, scenario.Scenario{Engine: scenario.EngineFull}, Options{}) // the shell draws a page and its frames in one process
	j.pass(navigate(url + "/framed"))
	frame, missing, err := j.s.tab.Find(t.Context(), inner, nil)
	if err != nil {
		t.Fatal(err, missing)
	}
	if main, _ := j.s.tab.Document(); frame.Endpoint == j.s.tab.Endpoint() || frame.ID == main.Frame {
		t.Fatal("the frame is drawn by the page's own process, want one of its own")
	}
	chromium.Post(frame.Endpoint, page.Crash, cdp.Empty{})
	_, err = j.do(with(click("#nowhere"), 10*time.Second))
	if fault, ok := errors.AsType[*runs.Fault](err); !ok || fault.Class != runs.ClassBrowserCrash || !strings.Contains(err.Error(), "the frame's renderer") {
		t.Errorf("step: got %v, want a fault of class browser_crash that names the frame", err)
	}
}

// Chromium starts another process for its graphics: the run may go on, or be given up, but the target did not fail.
func TestGraphicsProcessKilled(t *testing.T) {
	t.Parallel()
	url := site(t)
	j := open(t, scenario.Scenario{}, Options{})
	j.pass(navigate(url + "/shop.html"))
	if j.signal("--type=gpu-process", syscall.SIGKILL) == 0 {
		t.Fatal("no graphics process")
	}
	got, err := j.do(click("#buy"))
	if err == nil && got.State != runs.StepPassed {
		t.Errorf("step: got %s: %+v, want it passed or a fault", got.State, got.Cause)
	}
}

// However a browser ends, the probe has no more goroutines and open files than before.
func TestFaultsLeaveNoGoroutine(t *testing.T) {
	plain, storm := navigate("data:text/html,<p>page"), navigate("data:text/html,<script>for (;;) alert()</script>")
	for i, tt := range []struct {
		name   string
		kind   string
		signal syscall.Signal
		step   scenario.Step
	}{
		{"nothing", "", 0, plain}, // the runtime keeps what it has opened for its poller
		{"nothing", "", 0, plain},
		{"browser killed", "--user-data-dir", syscall.SIGKILL, plain},
		{"browser stopped", "--user-data-dir", syscall.SIGSTOP, plain},
		{"renderer killed", "--type=renderer", syscall.SIGKILL, plain},
		{"renderer stopped", "--type=renderer", syscall.SIGSTOP, plain},
		{"page at its limit", "", 0, storm},
	} {
		files, goroutines := openFiles(t), runtime.NumGoroutine()
		j := open(t, scenario.Scenario{}, Options{Limits: Limits{Dialogs: 10}})
		j.pass(plain)
		if tt.kind != "" && j.signal(tt.kind, tt.signal) == 0 {
			t.Fatalf("%s: no such process", tt.name)
		}
		_, _ = j.do(with(tt.step, 3*time.Second)) // what it says is for the other tests
		j.close()
		if i == 0 {
			continue
		}
		for range 10_000 { // a goroutine that has ended is counted until it is next scheduled
			if runtime.NumGoroutine() <= goroutines {
				break
			}
			runtime.Gosched()
		}
		if f, g := openFiles(t), runtime.NumGoroutine(); f > files || g > goroutines {
			t.Errorf("%s: got %d open files and %d goroutines, want the %d and %d of before", tt.name, f, g, files, goroutines)
		}
	}
}

// signal sends a signal to the processes of the journey's browser that have the text in their command lines, and counts them.
func (j *journey) signal(text string, signal syscall.Signal) (n int) {
	leader := processGroup(j.t, j.dir)
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		j.t.Error(err)
	}
	for _, file := range files {
		stat, err := os.ReadFile(file)
		line, err2 := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		_, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest)
		if err != nil || err2 != nil || len(fields) < 3 || fields[2] != strconv.Itoa(leader) || !bytes.Contains(line, []byte(text)) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil {
			err = syscall.Kill(pid, signal)
		}
		if err != nil && !errors.Is(err, syscall.ESRCH) {
			j.t.Error(fmt.Errorf("signal process %d: %w", pid, err))
		}
		n++
	}
	return n
}
