package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// firstVariable makes the test binary a program that is run by Process.
const firstVariable = "LASTMILE_TEST_FIRST"

func TestMain(m *testing.M) {
	if os.Getenv(firstVariable) == "" {
		os.Exit(m.Run())
	}
	Process(beProgram)
}

// beProgram leaves orphans, which go to the first process, and ends as told.
func beProgram(ctx context.Context, args []string, streams Streams) int {
	for range 5 {
		if err := exec.Command("/bin/sh", "-c", "sleep 0.01 & exit 0").Run(); err != nil {
			fmt.Fprintln(streams.Err, err)
			return 99
		}
	}
	usr1 := make(chan os.Signal, 1)
	signal.Notify(usr1, syscall.SIGUSR1)
	fmt.Fprintln(streams.Out, os.Getpid(), os.Getppid(), strings.Join(args, " "))
	for {
		select {
		case <-ctx.Done():
			return 7
		case <-usr1:
			fmt.Fprintln(streams.Out, "usr1")
		case <-time.After(time.Minute):
			return 98
		}
	}
}

// startFirst starts the program as the first process of a PID namespace of its own.
func startFirst(t *testing.T, args ...string) (cmd *exec.Cmd, out *bufio.Reader) {
	t.Helper()
	cmd = firstCommand(t, args...)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, cmd)
	return cmd, bufio.NewReader(pipe)
}

// firstCommand is the program as the first process of a PID namespace of its own.
func firstCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), firstVariable+"=1")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}}
	}
	return cmd
}

// start starts the command, which the test kills in the end.
func start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL) {
		t.Fatalf("start in a PID namespace: %v: allow user namespaces (sysctl user.max_user_namespaces), or run the tests as root", err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // has ended, as a rule
		_ = cmd.Wait()
	})
}

// A container's first process passes signals on, reaps what is left to it and ends as its child does.
func TestFirstProcess(t *testing.T) {
	cmd, out := startFirst(t, "serve", "--flag=x y")
	line, err := out.ReadString('\n')
	if want := "2 1 serve --flag=x y\n"; err != nil || !strings.HasSuffix(line, " 1 serve --flag=x y\n") {
		t.Fatalf("program: got %q, %v, want one like %q: not process 1 itself, but its child, with all arguments", line, err, want)
	}
	for deadline := time.Now().Add(10 * time.Second); zombies(t, cmd.Process.Pid) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("zombies: got %d, want every orphan reaped", zombies(t, cmd.Process.Pid))
		}
	}
	if err := cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if line, err := out.ReadString('\n'); err != nil || line != "usr1\n" {
		t.Fatalf("after SIGUSR1: got %q, %v, want the program to have it", line, err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(out); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("end after SIGTERM: got %v, want the program's status 7", err)
	}
}

// Ctrl-C in a container's terminal is for the program.
func TestFirstProcessAtATerminal(t *testing.T) {
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = keyboard.Close() }()
	var locked, number uint32
	for request, value := range map[uintptr]*uint32{syscall.TIOCSPTLCK: &locked, syscall.TIOCGPTN: &number} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, keyboard.Fd(), request, uintptr(unsafe.Pointer(value))); errno != 0 {
			t.Fatal(errno)
		}
	}
	terminal, err := os.OpenFile("/dev/pts/"+strconv.Itoa(int(number)), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := firstCommand(t, "at a terminal")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	start(t, cmd)
	if err := terminal.Close(); err != nil {
		t.Error(err)
	}
	if line, err := bufio.NewReader(keyboard).ReadString('\n'); err != nil || !strings.Contains(line, "at a terminal") {
		t.Fatalf("program: got %q, %v, want its first line", line, err)
	}
	if _, err := keyboard.Write([]byte{3}); err != nil { // Ctrl-C
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("end after Ctrl-C: got %v, want the program's status 7", err)
	}
}

// A program that is killed ends its container with the status that a shell would give.
func TestFirstProcessSaysHowItsChildDied(t *testing.T) {
	cmd, out := startFirst(t)
	if _, err := out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	for _, pid := range childrenOf(t, cmd.Process.Pid) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 128+int(syscall.SIGKILL) {
		t.Errorf("end after the child was killed: got %v, want status 137", err)
	}
}

// zombies counts the dead children of a process that it has not reaped.
func zombies(t *testing.T, parent int) (n int) {
	t.Helper()
	for _, pid := range childrenOf(t, parent) {
		if stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat")); err == nil && strings.Contains(string(stat), ") Z ") {
			n++
		}
	}
	return n
}

// childrenOf lists the children of a process.
func childrenOf(t *testing.T, parent int) (out []int) {
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
		_, rest, _ := strings.Cut(string(text), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, pid)
		}
	}
	return out
}
