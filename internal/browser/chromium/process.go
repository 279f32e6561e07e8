package chromium

import (
	"bytes"
	"errors"
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
	"golang.org/x/sys/unix"

	"lastmile/internal/runs"
)

// process is one Chromium with all its children, which are the process group it leads.
type process struct {
	pid    int
	name   string // as the kernel knows it
	pipe   *chromedp.PipeConn
	exited chan struct{} // closed when the leader has ended
	err    error         // how it ended; valid after exited
	spent  time.Duration // processor time of what has been reaped; valid after exited, added to by stop

	stderr  tail
	diag    *os.File      // where stderr is read from
	drained chan struct{} // closed when stderr has been read to its end
}

// startProcess runs the binary with its debugging pipe on file descriptors 3 and 4. The kernel kills it if this process dies. start
// starts the command.
func startProcess(binary string, args []string, dir string, start func(*exec.Cmd) error) (*process, error) {
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
	cmd.Env, cmd.Dir, cmd.Stderr = environment(dir), dir, diag.w
	cmd.ExtraFiles = []*os.File{in.r, out.w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	name := filepath.Base(binary)
	p := &process{name: name[:min(len(name), 15)], diag: diag.r, exited: make(chan struct{}), drained: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Pdeathsig fires when the thread that forked ends, so the thread stays ours until the child is gone. It is not given back
		// after that but ends with the goroutine, as its priority cannot be raised again.
		runtime.LockOSThread()
		err := giveWay()
		if err == nil {
			err = start(cmd)
		}
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
				p.spent = timeOf(usage)
			}
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
		_, _ = io.Copy(&p.stderr, diag.r) // ends with the last process that holds the other end, or with stop
	}()
	return p, nil
}

// niceness is by how much Chromium stands behind the access network's emulator when both want a processor.
const niceness = 5

// giveWay lowers the priority of the calling thread. Whatever it starts inherits that before its first instruction: lowered from
// outside, a child could be forked past it. Chromium sets the priorities of its threads by itself where it may, which is below zero
// for many, so that the right to raise one goes as well; where the thread may not give it up, what it starts does not get it.
func giveWay() error {
	if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_NICE, 0, 0, 0); err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("give up the right to raise priorities: %w", err)
	}
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err == nil {
		err = unix.Setpriority(unix.PRIO_PROCESS, 0, 20-raw+niceness) // the system call returns 20 less the niceness
	}
	if err != nil {
		return fmt.Errorf("lower priority: %w", err)
	}
	return nil
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
	defer func() {
		_ = p.pipe.Close()
		_ = p.diag.Close()
		<-p.drained
	}()
	deadline := time.Now().Add(stopLimit)
	p.kill()
	select {
	case <-p.exited:
	case <-time.After(stopLimit):
		return fmt.Errorf("stop chromium: got process %d alive %s after SIGKILL, want it gone", p.pid, stopLimit)
	}
	for {
		for p.reapedOne() {
		}
		if err := syscall.Kill(-p.pid, syscall.SIGKILL); err != nil {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("stop chromium: got process group %d alive %s after SIGKILL, want it gone", p.pid, stopLimit)
		}
		time.Sleep(2 * time.Millisecond) // the kernel tells no one when an adopted process group empties
	}
	return killStrays(dir, deadline)
}

// crashHandler is the name, as far as the kernel keeps it, of the full browser's crash handler. It leaves the process group, cannot
// be turned off in Debian's build, and ends when its browser does.
const crashHandler = "chrome_crashpad"

// swept kills the processes outside the group that work in the run directory, by their command line or by the environment that we
// gave them, and remembers them as strays. It reaps strays and crash handlers that were left to us, and reports whether there was
// nothing to do.
func swept(dir string, strays map[int]bool) bool {
	clean := true
	for _, pid := range pids() {
		s, ok := statOf(pid)
		if !ok {
			continue // ended meanwhile
		}
		ours := (s.name == crashHandler || strays[pid]) && s.parent == os.Getpid()
		if s.state == "Z" {
			if ours {
				// ECHILD: another run's sweep was faster. None, and no error: its other threads are still ending, and it can't be reaped yet.
				reaped, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
				clean = clean && (reaped != 0 || err != nil)
			}
			continue
		}
		proc := filepath.Join("/proc", strconv.Itoa(pid))
		line := lineOf(pid) // empty where it is just ending, which takes a moment
		env, err := os.ReadFile(filepath.Join(proc, "environ"))
		ended := len(line) == 0 || len(env) == 0 && !errors.Is(err, os.ErrPermission)
		if bytes.Contains(line, []byte(dir+"/")) || bytes.Contains(env, []byte("TMPDIR="+dir+"\x00")) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // ESRCH: ended meanwhile
			strays[pid], clean = true, false
		}
		if ours && ended { // perhaps between the looks at it: whose it was is not known
			clean = false
		}
	}
	return clean
}

// reapedOne reaps one dead child of the group, if there is one.
func (p *process) reapedOne() bool {
	var usage syscall.Rusage
	pid, err := syscall.Wait4(-p.pid, nil, syscall.WNOHANG, &usage)
	if err == nil && pid > 0 {
		p.spent += timeOf(&usage)
	}
	return err == nil && pid > 0 || err == syscall.EINTR
}

// The lines by which a Chromium that could not set up its sandbox is known, and what to do about it.
var sandboxFailures = [...]struct{ sign, advice string }{
	{"Running as root without --no-sandbox", "its sandbox does not work for root: run the probe as another user, or with --no-sandbox"},
	{"No usable sandbox", noUserNamespaces},
	{"Failed to move to new namespace", noUserNamespaces},
	{"The SUID sandbox helper binary was found, but is not configured correctly", noUserNamespaces},
}

const noUserNamespaces = "its sandbox needs user namespaces, which this machine or container forbids: allow them, or run the probe " +
	"with --no-sandbox where every visited page is trusted"

// obituary says how a process that has exited came to it.
func (p *process) obituary() (runs.Class, error) {
	how, text := p.err, p.stderr.String()
	if how == nil {
		how = errors.New("exit status 0")
	}
	for _, failure := range sandboxFailures {
		if strings.Contains(text, failure.sign) {
			return runs.ClassProbe, fmt.Errorf("start chromium: %s (%w: %s)", failure.advice, how, failure.sign)
		}
	}
	return runs.ClassBrowserCrash, fmt.Errorf("chromium ended: %w; it last said %q", how, lastWords(text))
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

const tailSize = 16 << 10 // room for a stack trace behind the line that says why

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

// String returns what is kept.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}

// lastWords returns the last line that calls itself fatal, else the last line.
func lastWords(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for _, line := range slices.Backward(lines) {
		if strings.Contains(line, ":FATAL:") {
			return line
		}
	}
	return lines[len(lines)-1]
}
