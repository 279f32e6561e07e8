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

// server is a program with the API of Prometheus or of Alertmanager that answers on a free port of 127.0.0.1.
type server struct {
	URL    string // without a slash at the end
	name   string
	client *http.Client
	logs   *tail
}

// start starts the command, which listens on a port of its own choice, and waits until it is ready. It is gone when the test has ended.
func start(t testing.TB, name string, cmd *exec.Cmd) *server {
	t.Helper()
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}
	s := &server{name: name, client: &http.Client{Timeout: 5 * time.Second}, logs: &tail{}}
	read := make(chan struct{})
	go func() {
		defer close(read)
		s.logs.follow(stderr)
	}()
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Errorf("kill %s: %v", name, err)
		}
		<-read
		_ = cmd.Wait() // always "signal: killed"
		s.client.CloseIdleConnections()
	})
	s.eventually(t, startLimit, "address", func() error {
		select {
		case <-read:
			t.Fatalf("start %s: it ended early; its log:\n%s", name, s.logs)
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
	return s
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
