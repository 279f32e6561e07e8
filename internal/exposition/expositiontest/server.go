package expositiontest

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// The limits of waiting. They are generous because they only ever pass where something is broken.
const (
	startLimit = 30 * time.Second
	dataLimit  = 30 * time.Second
	pollEvery  = 200 * time.Millisecond
)

// server is a program of the Prometheus project that answers on a free port of 127.0.0.1.
type server struct {
	URL    string // without a slash at the end
	name   string
	client *http.Client
	logs   *tail
}

// start starts the command, which listens on a port of its own choice and logs it, and waits until it is ready. It is gone when the test
// has ended.
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
	address := make(chan string, 1)
	read := make(chan struct{})
	go func() {
		defer close(read)
		s.logs.follow(stderr, address)
	}()
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Errorf("kill %s: %v", name, err)
		}
		<-read
		_ = cmd.Wait() // always "signal: killed"
		s.client.CloseIdleConnections()
	})
	select {
	case a := <-address:
		s.URL = "http://" + a
	case <-read:
		t.Fatalf("start %s: it ended early; its log:\n%s", name, s.logs)
	case <-time.After(startLimit):
		t.Fatalf("start %s: got no address within %s; its log:\n%s", name, startLimit, s.logs)
	}
	s.eventually(t, startLimit, "ready", func() error {
		_, err := s.get("/-/ready")
		return err
	})
	return s
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

// follow reads a log to its end and sends the address that the server says it listens on.
func (l *tail) follow(r io.Reader, address chan<- string) {
	listening := regexp.MustCompile(`msg="Listening on" address=(\S+)`)
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		line := scanner.Text()
		if m := listening.FindStringSubmatch(line); m != nil {
			select {
			case address <- m[1]:
			default:
			}
		}
		l.mu.Lock()
		l.lines = append(l.lines, line)
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
