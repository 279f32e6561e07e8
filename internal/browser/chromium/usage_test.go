package chromium

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/inspector"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// launch starts a browser with one page.
func launch(t *testing.T, opts Options, flags ...string) (b *Browser, page Endpoint) {
	t.Helper()
	var started atomic.Pointer[Browser]
	b, err := install(t, opts).Start(Spec{Network: Network{Start: func(cmd *exec.Cmd) error {
		cmd.Args = slices.Insert(cmd.Args, 1, flags...)
		return cmd.Start()
	}}}, func(msg *cdproto.Message) {
		if msg.Method == cdproto.EventInspectorTargetCrashed {
			started.Load().Crashed("the page's renderer")
		}
	})
	started.Store(b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	ctx, root := limited(), b.Endpoint("")
	made, err := Call(ctx, root, target.CreateTarget, target.CreateTargetParams{URL: "about:blank"})
	if err != nil {
		t.Fatal(err)
	}
	attached, err := Call(ctx, root, target.AttachToTarget, target.AttachToTargetParams{TargetID: made.TargetID, Flatten: new(true)})
	if err != nil {
		t.Fatal(err)
	}
	page = b.Endpoint(attached.SessionID)
	if _, err := Call(ctx, page, inspector.Enable, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	return b, page
}

// The processor time of a run is that of every process of its browser, of those that ended in the middle of it too.
func TestUsage(t *testing.T) {
	t.Parallel()
	b, page := launch(t, Options{TempDir: tempDir(t)})
	const busy = time.Second
	spin := fmt.Sprintf("for (const end = performance.now() + %d; performance.now() < end;);", busy.Milliseconds())
	if _, err := Call(limited(), page, runtime.Evaluate, runtime.EvaluateParams{Expression: spin + "globalThis.held = new Uint8Array(2e8).fill(1); 1"}); err != nil {
		t.Fatal(err)
	}
	before := b.meter.most()
	b.meter.sample()
	pss := proportional(t, b.proc.pid)
	if got := b.meter.most(); got.Memory < 2e8 || float64(got.Memory) < 0.7*pss || float64(got.Memory) > 1.4*pss {
		t.Errorf("memory: got %d MB (%d MB before), want what the kernel reckons, %.0f MB, within 0.7 to 1.4",
			got.Memory/1e6, before.Memory/1e6, pss/1e6)
	}
	var sampled time.Duration
	for _, pid := range members(b.proc.pid) {
		if kindOf(pid) == "renderer" {
			s, _ := statOf(pid)
			sampled += s.cpu
			if p, err := os.FindProcess(pid); err == nil {
				_ = p.Kill()
			}
		}
	}
	b.Close()
	// A busy machine gives the page less than its second.
	if got := b.Usage().CPU; got < sampled || sampled < busy/20 || got > sampled+10*time.Second {
		t.Errorf("processor time: got %s, want at least the %s of renderers that were killed", got, sampled)
	}
}

// proportional is the memory of a group as the kernel reckons it: each shared page divided by those who share it.
func proportional(t *testing.T, group int) (bytes float64) {
	t.Helper()
	for _, pid := range members(group) {
		file, err := os.Open(filepath.Join("/proc", strconv.Itoa(pid), "smaps_rollup"))
		if err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewScanner(file); lines.Scan(); {
			var kb float64
			if _, err := fmt.Sscanf(lines.Text(), "Pss: %f kB", &kb); err == nil {
				bytes += kb * 1024
			}
		}
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	}
	return bytes
}

// A page that takes the machine's memory is the target's fault, however it ends: by our limit, or by V8's.
func TestMemoryOfPages(t *testing.T) {
	for _, tt := range []struct {
		name, script, want string
		limit              scenario.Bytes
		flag               string
	}{
		{"buffers", "globalThis.held = []; setInterval(() => held.push(new Uint8Array(2e7).fill(1)), 20)", "want at most 400", 400e6, "--lang=en"},
		{"objects", "globalThis.held = []; setInterval(() => { for (let i = 0; i < 1e6; i++) held.push({ i, a: [i] }) }, 1)", "V8", 0, "--js-flags=--max-old-space-size=60"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b, page := launch(t, Options{TempDir: tempDir(t), Limits: Limits{Memory: tt.limit}}, tt.flag)
			if _, err := Call(limited(), page, runtime.Evaluate, runtime.EvaluateParams{Expression: tt.script}); err != nil {
				t.Fatal(err)
			}
			select {
			case <-b.Lost():
			case <-time.After(time.Minute):
				t.Fatal("the browser goes on")
			}
			cause := b.Condemned()
			if cause == nil || cause.Class != runs.ClassScript || !strings.Contains(cause.Detail, tt.want) {
				t.Errorf("cause: got %+v, fault %v, want class script with %q", cause, b.Fault(ErrLost), tt.want)
			}
			if fault := b.Fault(ErrLost); fault != nil {
				t.Errorf("fault: got %v, want none, as the browser did nothing wrong", fault)
			}
		})
	}
}

// Where memory is short, the kernel takes a browser before the probe.
func TestBrowsersGoFirst(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	m := &meter{group: cmd.Process.Pid}
	file := filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "oom_score_adj")
	for _, own := range []string{"0", "200", "400"} { // Chromium gives its processes scores of its own, a moment after their start
		if err := os.WriteFile(file, []byte(own), 0); err != nil && !errors.Is(err, os.ErrPermission) { // of a test that has more itself
			t.Fatal(err)
		}
		m.sample()
		text, err := os.ReadFile(file)
		if score, err2 := strconv.Atoi(strings.TrimSpace(string(text))); err != nil || err2 != nil || score < 300 {
			t.Errorf("oom_score_adj of a process that had %s: got %q, %v, want 300 or more", own, text, err)
		}
	}
}

// The cost of watching must be small beside what is watched.
func BenchmarkSample(b *testing.B) {
	m := &meter{group: os.Getpid()}
	for b.Loop() {
		m.sample()
	}
	b.ReportMetric(float64(len(m.known)), "processes")
}
