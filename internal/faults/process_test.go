package faults

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// patience is how long the suite waits for what must come, on a machine that is busy with something else.
const patience = 3 * time.Minute

// programs are the paths of what the suite starts.
type programs struct{ coordinator, probe, server string }

// built makes the programs once for all tests of a process: those of this module with their fault points, and the NATS server that go.mod names.
var built = sync.OnceValues(func() (programs, error) {
	dir, err := os.MkdirTemp("", "lastmile-faults-")
	if err != nil {
		return programs{}, err
	}
	p := programs{coordinator: filepath.Join(dir, "coordinator"), probe: filepath.Join(dir, "probe"), server: filepath.Join(dir, "nats-server")}
	for _, args := range [][]string{
		{"-tags", "faultpoints", "-o", dir + "/", "lastmile/cmd/coordinator", "lastmile/cmd/probe"},
		{"-o", dir + "/nats-server", "github.com/nats-io/nats-server/v2"},
	} {
		out, err := exec.Command("go", append([]string{"build", "-buildvcs=false"}, args...)...).CombinedOutput()
		if err != nil {
			return p, fmt.Errorf("go build %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return p, nil
})

// TestMain removes what was built.
func TestMain(m *testing.M) {
	code := m.Run()
	if usedBinaries.Load() {
		if p, _ := built(); p.probe != "" { // where it could not be built, the folder is there too
			_ = os.RemoveAll(filepath.Dir(p.probe))
		}
	}
	os.Exit(code)
}

// usedBinaries says whether a test has asked for the programs.
var usedBinaries atomic.Bool

func binaries(t testing.TB) programs {
	t.Helper()
	usedBinaries.Store(true)
	p, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// process is a program that is started, ended and started again, with the same arguments. It does not outlive the test process.
type process struct {
	t    testing.TB
	name string
	path string
	args []string
	env  []string // beside the test's own
	log  string   // file that all its lives append to

	mu     sync.Mutex
	ended  chan struct{} // closed when the present life is over
	pid    int
	status syscall.WaitStatus
	lives  int
}

// start begins a life; faultpoint is where it will end by itself, empty = nowhere.
func (p *process) start(faultpoint string) {
	p.t.Helper()
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	fmt.Fprintf(out, "--- %s: start %s %s %s\n", time.Now().UTC().Format(time.RFC3339Nano), p.name, strings.Join(p.args, " "), faultpoint)
	cmd := exec.Command(p.path, p.args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(append(os.Environ(), p.env...), "LASTMILE_FAULTPOINT="+faultpoint)
	// The kernel ends it with the thread that started it: that thread waits for it, and is let go of by nobody else before.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait()
		p.mu.Lock()
		p.status, _ = cmd.ProcessState.Sys().(syscall.WaitStatus)
		p.mu.Unlock()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // browsers, if any
		close(ended)
	}()
	if err := <-started; err != nil {
		p.t.Fatalf("start %s: %v", p.name, err)
	}
	p.mu.Lock()
	p.ended, p.pid = ended, cmd.Process.Pid
	p.lives++
	p.mu.Unlock()
}

// signal sends a signal to the present life.
func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if !p.alive() {
		p.t.Errorf("%s: got it ended already, want it alive for %s; log:\n%s", p.name, s, p.tail())
		return
	}
	if err := syscall.Kill(p.process(), s); err != nil {
		p.t.Errorf("%s %s: %v", s, p.name, err)
	}
}

func (p *process) process() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

// alive reports whether the present life goes on; a stopped process is alive.
func (p *process) alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// kill ends the present life as kill -9 does.
func (p *process) kill() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	p.awaitEnd()
}

// awaitEnd waits until the present life is over, and says whether a signal ended it.
func (p *process) awaitEnd() (killed bool) {
	p.t.Helper()
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	select {
	case <-ended:
	case <-time.After(patience):
		p.t.Fatalf("%s: got it alive, want its end within %s; log:\n%s", p.name, patience, p.tail())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status.Signaled()
}

// stopForGood ends it at the end of a test, whatever it does.
func (p *process) stopForGood() {
	if p.alive() {
		_ = syscall.Kill(-p.process(), syscall.SIGKILL)
		p.awaitEnd()
	}
}

// tail returns the last lines of the log.
func (p *process) tail() string {
	body, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(body[max(0, len(body)-6000):])
}

// memory is what the process has resident, in bytes; 0 where it has ended.
func (p *process) memory() int64 {
	body, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.process()), "statm"))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(body))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// ports hands out addresses of 127.0.0.1 that a program can be given before it starts, and again after it was killed: they lie below those
// that the kernel picks for connections.
var ports atomic.Int64

func address(t testing.TB) string {
	t.Helper()
	const first, count = 15000, 15000
	for range 500 {
		port := first + (int64(os.Getpid())*37+ports.Add(1))%count
		text := net.JoinHostPort("127.0.0.1", strconv.FormatInt(port, 10))
		l, err := net.Listen("tcp", text)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
		return text
	}
	t.Fatal("got no free port of 500")
	return ""
}

// eventually polls until check holds.
func eventually(t testing.TB, what string, check func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !check(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}
