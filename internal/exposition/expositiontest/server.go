package expositiontest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The limits of waiting. They are generous because they only ever pass where something is broken.
const (
	startLimit = 30 * time.Second
	dataLimit  = 30 * time.Second
	allLimit   = 45 * time.Second // for many queries: what they wait for may be due only half a minute later
	pollEvery  = 200 * time.Millisecond
)

// server is a program with the API of Prometheus or of Alertmanager that answers on a port of 127.0.0.1, which it keeps when it is started again.
type server struct {
	URL     string // without a slash at the end
	name    string
	command func(listen string) *exec.Cmd // has the program listen on an address
	client  *http.Client
	logs    *tail
	process *process
}

// process is the program as it was started last.
type process struct {
	cmd  *exec.Cmd
	read chan struct{} // closed when its log has ended
}

// start starts a program on a free port, and waits until it is ready. It is gone when the test has ended.
func start(t testing.TB, name string, command func(listen string) *exec.Cmd) *server {
	t.Helper()
	s := &server{name: name, command: command, client: &http.Client{Timeout: 5 * time.Second}, logs: &tail{}}
	t.Cleanup(func() {
		s.kill(t)
		s.client.CloseIdleConnections()
	})
	s.run(t, "127.0.0.1:0")
	return s
}

// Restart kills the program, which has no time to keep anything, starts it on the same address and with the same data, and waits until it is ready.
func (s *server) Restart(t testing.TB) {
	t.Helper()
	s.kill(t)
	s.run(t, strings.TrimPrefix(s.URL, "http://"))
}

// run starts the program, and waits until it is ready.
func (s *server) run(t testing.TB, listen string) {
	t.Helper()
	cmd := s.command(listen)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}
	p := &process{cmd: cmd, read: make(chan struct{})}
	s.process = p
	go func() {
		defer close(p.read)
		s.logs.follow(stderr)
	}()
	s.eventually(t, startLimit, "address", func() error {
		select {
		case <-p.read:
			t.Fatalf("start %s: it ended early; its log:\n%s", s.name, s.logs)
		default:
		}
		address, err := listening(cmd.Process.Pid)
		s.URL = "http://" + address
		return err
	})
	s.eventually(t, startLimit, "ready", func() error {
		_, err := s.get("/-/ready")
		return err
	})
}

// kill ends the program at once, where it runs.
func (s *server) kill(t testing.TB) {
	t.Helper()
	p := s.process
	if p == nil {
		return
	}
	s.process = nil
	if err := p.cmd.Process.Kill(); err != nil {
		t.Errorf("kill %s: %v", s.name, err)
	}
	<-p.read
	_ = p.cmd.Wait() // always "signal: killed"
}

// listening returns the address of 127.0.0.1 on which a process listens, as the kernel has it: VictoriaMetrics does not log the port that
// it was given.
func listening(pid int) (string, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return "", err
	}
	own := map[string]bool{}
	for _, file := range files {
		if target, err := os.Readlink(file); err == nil { // else it is closed meanwhile
			own[target] = true
		}
	}
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", pid))
	if err != nil {
		return "", err
	}
	const loopback, listen = "0100007F:", "0A" // as the table writes 127.0.0.1 and the state
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line) // number, local address, remote address, state, ..., inode in the tenth
		if len(f) < 10 || f[3] != listen || !own["socket:["+f[9]+"]"] {
			continue
		}
		if hex, ok := strings.CutPrefix(f[1], loopback); ok {
			port, err := strconv.ParseUint(hex, 16, 16)
			return fmt.Sprintf("127.0.0.1:%d", port), err
		}
	}
	return "", errors.New("got no socket that listens on 127.0.0.1, want one")
}

// Program returns the path of a program of Debian's prometheus package, and fails the test where it is not installed.
func Program(t testing.TB, name string) string {
	t.Helper()
	return program(t, "prometheus", name)
}

// program returns the path of the first of the names that is installed, and fails the test where none of them is.
func program(t testing.TB, debian string, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatalf("%s is required: got none on PATH; install it: apt-get install -y --no-install-recommends %s", names[0], debian)
	return ""
}

// eventually tries until there is no error, and fails the test where there still is one at the limit.
func (s *server) eventually(t testing.TB, limit time.Duration, what string, try func() error) {
	t.Helper()
	if err := s.within(limit, try); err != nil {
		t.Fatalf("%s: after %s: %v; last lines of the log of %s:\n%s", what, limit, err, s.name, s.logs)
	}
}

// within tries until there is no error, and returns the last one at the limit.
func (s *server) within(limit time.Duration, try func() error) error {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	again := time.NewTicker(pollEvery)
	defer again.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-timeout.C:
			return err
		}
	}
}

// get fetches a page; a status other than 200 is an error that quotes the answer.
func (s *server) get(path string) ([]byte, error) {
	resp, err := s.client.Get(s.URL + path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask %s: got status %s: %.500s", s.name, resp.Status, body)
	}
	return body, nil
}

// tail keeps the last lines of a log.
type tail struct {
	mu    sync.Mutex
	lines []string
}

const tailLines = 30

// follow reads a log to its end.
func (l *tail) follow(r io.Reader) {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		l.mu.Lock()
		l.lines = append(l.lines, scanner.Text())
		l.lines = l.lines[max(0, len(l.lines)-tailLines):]
		l.mu.Unlock()
	}
}

// String returns the lines.
func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}
