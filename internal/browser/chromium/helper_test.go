package chromium

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"

	"lastmile/internal/cli/clitest"
	"lastmile/internal/scenario"
)

// victimVariable makes the test binary a probe with one browser, to be killed: its value is the engine and the TempDir.
const victimVariable = "LASTMILE_TEST_VICTIM"

func TestMain(m *testing.M) {
	engine, dir, ok := strings.Cut(os.Getenv(victimVariable), " ")
	if !ok {
		os.Exit(m.Run())
	}
	if err := beVictim(scenario.Engine(engine), dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// beVictim starts a browser and answers each line of standard input with a sign of the browser's life.
func beVictim(engine scenario.Engine, dir string) error {
	in, err := New(slog.New(slog.DiscardHandler), Options{TempDir: dir, NoSandbox: os.Getuid() == 0})
	if err != nil {
		return err
	}
	b, err := in.Start(Spec{Engine: engine, Network: Network{Start: (*exec.Cmd).Start}}, func(*cdproto.Message) {})
	if err != nil {
		return err
	}
	defer b.Close()
	ctx, root := limited(), b.Endpoint("")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		page, err := Call(ctx, root, target.CreateTarget, target.CreateTargetParams{URL: "data:text/html,x"})
		if err != nil {
			return err
		}
		session, err := Call(ctx, root, target.AttachToTarget, target.AttachToTargetParams{TargetID: page.TargetID, Flatten: new(true)})
		if err != nil {
			return err
		}
		if _, err := Call(ctx, b.Endpoint(session.SessionID), runtime.Evaluate, runtime.EvaluateParams{Expression: "1"}); err != nil { // its renderer is up
			return err
		}
		version, err := Call(ctx, root, browser.GetVersion, cdp.Empty{})
		if err != nil {
			return err
		}
		fmt.Println(version.Product)
	}
	return nil
}

// victim is a probe in a process of its own.
type victim struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Reader
}

// startVictim starts a probe whose browser is up.
func startVictim(t *testing.T, engine scenario.Engine, dir string) *victim {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	v := &victim{t: t, cmd: exec.Command(program)}
	v.cmd.Env = append(os.Environ(), victimVariable+"="+string(engine)+" "+dir)
	v.cmd.Stderr = os.Stderr
	if v.in, err = v.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	v.out = bufio.NewReader(out)
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.kill)
	v.lives()
	return v
}

// lives checks that the probe's browser answers.
func (v *victim) lives() {
	v.t.Helper()
	if _, err := io.WriteString(v.in, "\n"); err != nil {
		v.t.Fatalf("ask the probe: %v", err)
	}
	if line, err := v.out.ReadString('\n'); err != nil || !strings.Contains(line, "/") {
		v.t.Fatalf("the probe's browser: got %q, %v, want its version", line, err)
	}
}

// kill ends the probe as a machine short of memory would.
func (v *victim) kill() {
	if err := v.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		v.t.Error(err)
	}
	_ = v.cmd.Wait() // killed
}

// tempDir is a directory whose name is short enough for a socket below it.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // a browser whose probe is dead still writes until it has seen that
		clitest.Eventually(t, "removal of "+dir, func() bool { return os.RemoveAll(dir) == nil })
	})
	return dir
}

// leaderOf finds the Chromium whose profile is below dir.
func leaderOf(t *testing.T, dir string) int {
	t.Helper()
	for _, pid := range pids() {
		if line := lineOf(pid); bytes.Contains(line, []byte("--user-data-dir="+dir)) && kindOf(pid) == "browser" {
			return pid
		}
	}
	t.Fatalf("no Chromium works in %s", dir)
	return 0
}

// members lists the living processes of a group.
func members(group int) (out []int) {
	for _, pid := range pids() {
		if s, ok := statOf(pid); ok && s.group == group && s.state != "Z" {
			out = append(out, pid)
		}
	}
	return out
}

// eventually polls what only the kernel knows.
func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !check(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}
