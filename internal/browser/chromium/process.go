package chromium

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/chromedp/chromedp"
)

// process is one Chromium with all its children, which are the process group it leads.
type process struct {
	pid    int
	pipe   *chromedp.PipeConn
	exited chan struct{} // closed when the leader has ended
	err    error         // how it ended; valid after exited

	stderr  tail
	drained chan struct{} // closed when nobody holds stderr any more
}

// startProcess runs the binary with its debugging pipe on file descriptors 3 and 4. The kernel kills it if this process dies.
func startProcess(binary string, args, env []string, dir string) (*process, error) {
	var pipes [3]struct{ r, w *os.File }
	closeAll := func() {
		for _, p := range pipes {
			_ = p.r.Close() // nil or open, and of no further use
			_ = p.w.Close()
		}
	}
	for i := range pipes {
		var err error
		if pipes[i].r, pipes[i].w, err = os.Pipe(); err != nil {
			closeAll()
			return nil, fmt.Errorf("start chromium: %w", err)
		}
	}
	in, out, diag := pipes[0], pipes[1], pipes[2]
	cmd := exec.Command(binary, args...)
	cmd.Env, cmd.Dir, cmd.Stderr = env, dir, diag.w
	cmd.ExtraFiles = []*os.File{in.r, out.w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &process{exited: make(chan struct{}), drained: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Pdeathsig fires when the thread that forked ends, so the thread stays ours until the child is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		closeAll()
		return nil, fmt.Errorf("start chromium: %w", err)
	}
	for _, f := range []*os.File{in.r, out.w, diag.w} {
		_ = f.Close() // the child's ends
	}
	p.pid = cmd.Process.Pid
	p.pipe = chromedp.NewPipeConn(out.r, in.w)
	go func() {
		defer close(p.drained)
		_, _ = io.Copy(&p.stderr, diag.r) // ends with the last process that holds the other end
		_ = diag.r.Close()
	}()
	return p, nil
}

// kill ends every process of the group at once. It does not wait.
func (p *process) kill() {
	_ = syscall.Kill(-p.pid, syscall.SIGKILL) // ESRCH: already gone
}

// stopLimit bounds the wait for a killed group. A process that does not die within it is stuck in the kernel.
const stopLimit = 5 * time.Second

// stop kills the group, and what has left the group but works in dir, and waits until none of it is left, zombies included: orphans
// are reaped here when this process is their new parent (see adoptOrphans, and PID 1). That comes after os/exec has reaped the
// leader, so that the two never race for a process.
func (p *process) stop(dir string) error {
	defer func() { _ = p.pipe.Close() }()
	deadline := time.Now().Add(stopLimit)
	p.kill()
	select {
	case <-p.exited:
	case <-time.After(stopLimit):
		return fmt.Errorf("stop chromium: got process %d alive %s after SIGKILL, want it gone", p.pid, stopLimit)
	}
	for {
		for reapedOne(p.pid) {
		}
		if err := syscall.Kill(-p.pid, syscall.SIGKILL); err != nil {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("stop chromium: got process group %d alive %s after SIGKILL, want it gone", p.pid, stopLimit)
		}
		time.Sleep(2 * time.Millisecond) // the kernel tells no one when an adopted process group empties
	}
	for !swept(dir) {
		if time.Now().After(deadline) {
			return fmt.Errorf("stop chromium: got a process of %s alive %s after SIGKILL, want none", dir, stopLimit)
		}
		time.Sleep(2 * time.Millisecond)
	}
	<-p.drained
	return nil
}

// crashHandler is the name, as far as the kernel keeps it, of the full browser's crash handler. It leaves the process group, cannot
// be turned off in Debian's build, and ends when its browser does.
const crashHandler = "chrome_crashpad"

// swept kills the processes outside the group that work in the run directory, reaps the crash handlers that were left to us, and
// reports whether there was nothing to do.
func swept(dir string) bool {
	entries, err := filepath.Glob("/proc/[0-9]*")
	clean := err == nil
	for _, entry := range entries {
		stat, err := os.ReadFile(filepath.Join(entry, "stat"))
		if err != nil {
			continue // ended meanwhile
		}
		var pid, parent int
		var state string
		head, rest, _ := strings.Cut(string(stat), ") ") // pid (name) state parent ...
		_, name, _ := strings.Cut(head, " (")
		if _, err := fmt.Sscanf(rest, "%s %d", &state, &parent); err != nil {
			continue
		}
		if pid, err = strconv.Atoi(filepath.Base(entry)); err != nil {
			continue
		}
		if state == "Z" {
			if name == crashHandler && parent == os.Getpid() {
				_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil) // ECHILD: another run's sweep was faster
			}
			continue
		}
		line, err := os.ReadFile(filepath.Join(entry, "cmdline"))
		if err == nil && bytes.Contains(line, []byte(dir+"/")) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // ESRCH: ended meanwhile
			clean = false
		}
	}
	return clean
}

// reapedOne reaps one dead child of the group, if there is one.
func reapedOne(group int) bool {
	pid, err := syscall.Wait4(-group, nil, syscall.WNOHANG, nil)
	return err == nil && pid > 0 || err == syscall.EINTR
}

// adoptOrphans makes this process the parent of its descendants' orphans, so that stop can reap Chromium's grandchildren
// instead of leaving them to a PID 1 that may not.
func adoptOrphans() error {
	const setChildSubreaper = 36 // PR_SET_CHILD_SUBREAPER, linux/prctl.h
	if _, _, errno := syscall.Syscall(syscall.SYS_PRCTL, setChildSubreaper, 1, 0); errno != 0 {
		return fmt.Errorf("adopt orphans: %w", errno)
	}
	return nil
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 2048

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if excess := len(t.text) - tailSize; excess > 0 {
		t.text = append(t.text[:0], t.text[excess:]...)
	}
	return len(b), nil
}

// lastWords returns the last line that calls itself fatal, else the last line.
func (t *tail) lastWords() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(t.text)), "\n")
	for _, line := range slices.Backward(lines) {
		if strings.Contains(line, ":FATAL:") {
			return line
		}
	}
	return lines[len(lines)-1]
}
