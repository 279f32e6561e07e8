package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"lastmile/internal/cli"
)

// firstCommand makes the test binary a probe that is the first process of a container: the argument is the scenario to run.
const firstCommand = "be-first"

// launches is how many browsers the probe starts there.
const launches = 4

// first is the program of a container whose entry point is the probe itself.
func first(ctx context.Context, args []string, streams cli.Streams) int {
	for range launches {
		if code := Main(ctx, append([]string{"run", allowLocal, "--output", "json"}, args[1:]...), streams); code != 0 {
			return code
		}
	}
	fmt.Fprintln(streams.Out, "launched")
	_, _ = io.ReadAll(streams.In) // until the test has looked
	return 0
}

// mountProc gives a PID namespace its own view of the processes, as a container has it.
func mountProc() {
	if os.Getpid() != 1 {
		return
	}
	err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
	if err == nil {
		err = syscall.Mount("proc", "/proc", "proc", 0, "")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mount /proc:", err)
		os.Exit(1)
	}
}

// A container whose first process is the probe does not fill up with what browsers leave behind.
func TestFirstProcessReapsBrowsers(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "lm")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	cmd := exec.Command(program, firstCommand, soakScenario(t), "--temp-dir", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 {
		cmd.Args = append(cmd.Args, "--no-sandbox")
	} else {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}}
	}
	var errs strings.Builder
	cmd.Stderr = &errs
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		if !errors.Is(err, syscall.EPERM) && !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("start in a PID namespace: got %v, want it, or the kernel to forbid it", err)
		}
		t.Logf("this machine forbids PID namespaces to user %d: %v", os.Geteuid(), err)
		return
	}
	launched := false
	for lines := bufio.NewScanner(out); !launched && lines.Scan(); {
		launched = lines.Text() == "launched"
	}
	if launched {
		for pid := range tree(t, cmd.Process.Pid) {
			for _, name := range deadChildren(t, pid) {
				t.Errorf("after %d launches: got a zombie, %s, want none", launches, name)
			}
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("after %d launches: got %v, %v, want an empty directory", launches, left, err)
		}
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil || !launched {
		if strings.Contains(errs.String(), "mount /proc: operation not permitted") && os.Geteuid() != 0 {
			t.Logf("this machine forbids user %d to mount /proc in a namespace", os.Geteuid())
			return
		}
		t.Fatalf("probe as process 1: got %v, launched %t, %q, want %d runs that pass", err, launched, errs.String(), launches)
	}
}

// tree is the set of a process and all its descendants.
func tree(t *testing.T, root int) map[int]bool {
	t.Helper()
	found := map[int]bool{root: true}
	for again := true; again; {
		again = false
		entries, err := os.ReadDir("/proc")
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			pid, err := strconv.Atoi(entry.Name())
			if err != nil || found[pid] {
				continue
			}
			text, err := os.ReadFile("/proc/" + entry.Name() + "/stat")
			if err != nil {
				continue // ended meanwhile
			}
			_, rest, _ := strings.Cut(string(text), ") ")
			var state string
			var parent int
			if _, err := fmt.Sscan(rest, &state, &parent); err == nil && found[parent] {
				found[pid], again = true, true
			}
		}
	}
	return found
}
