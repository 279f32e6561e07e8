// Package expositiontest runs a real Prometheus in tests and reads the queries of dashboards, so that a test can ask whether each
// of them returns data. Only tests import it.
package expositiontest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
	pollEvery  = 200 * time.Millisecond
)

// Prometheus is a running Prometheus server that scrapes every second.
type Prometheus struct {
	URL    string // of the server, without a slash at the end
	client *http.Client
	logs   *tail
}

// StartPrometheus starts a Prometheus on a free port of 127.0.0.1 that scrapes the targets (host:port, /metrics by plain HTTP)
// and waits until it is ready. The server and its data are gone when the test has ended.
func StartPrometheus(t testing.TB, targets []string) *Prometheus {
	t.Helper()
	program := Program(t, "prometheus")
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(config, []byte(configuration(targets)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", program, err)
	}
	p := &Prometheus{client: &http.Client{Timeout: 5 * time.Second}, logs: &tail{}}
	address := make(chan string, 1)
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.logs.follow(stderr, address)
	}()
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Errorf("kill prometheus: %v", err)
		}
		<-read
		_ = cmd.Wait() // always "signal: killed"
		p.client.CloseIdleConnections()
	})
	select {
	case a := <-address:
		p.URL = "http://" + a
	case <-read:
		t.Fatalf("start prometheus: it ended early; its log:\n%s", p.logs)
	case <-time.After(startLimit):
		t.Fatalf("start prometheus: got no address within %s; its log:\n%s", startLimit, p.logs)
	}
	p.eventually(t, startLimit, "ready", func() error {
		_, err := p.get("/-/ready")
		return err
	})
	return p
}

// Program returns the path of a program of Debian's prometheus package, and fails the test where it is not installed.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is required: %v; install it: apt-get install -y --no-install-recommends prometheus", name, err)
	}
	return path
}

// configuration is a scrape configuration for the targets.
func configuration(targets []string) string {
	var b strings.Builder
	b.WriteString("global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n- job_name: lastmile\n  static_configs:\n  - targets:\n")
	for _, target := range targets {
		fmt.Fprintf(&b, "    - %q\n", target)
	}
	return b.String()
}

// Sample is one series of a query's answer.
type Sample struct {
	Labels map[string]string
	Value  float64
}

// EventuallyData asks the query until it returns at least one series, and fails the test where it does not in time.
func (p *Prometheus) EventuallyData(t testing.TB, q Query) []Sample {
	t.Helper()
	var samples []Sample
	p.eventually(t, dataLimit, q.Panel+": "+q.Expr, func() error {
		var err error
		samples, err = p.data(q)
		return err
	})
	return samples
}

// HasData asks the query for as long as EventuallyData would, and reports whether it has returned any series.
func (p *Prometheus) HasData(t testing.TB, q Query) bool {
	t.Helper()
	return p.within(dataLimit, func() error {
		_, err := p.data(q)
		return err
	}) == nil
}

// data asks the query; no series is an error.
func (p *Prometheus) data(q Query) ([]Sample, error) {
	samples, err := p.query(q.Expr)
	if err == nil && len(samples) == 0 {
		err = errors.New("got no series, want at least one")
	}
	return samples, err
}

// eventually tries until there is no error, and fails the test where there still is one at the limit.
func (p *Prometheus) eventually(t testing.TB, limit time.Duration, what string, try func() error) {
	t.Helper()
	if err := p.within(limit, try); err != nil {
		t.Fatalf("%s: after %s: %v; last lines of the log of prometheus:\n%s", what, limit, err, p.logs)
	}
}

// within tries until there is no error, and returns the last one at the limit.
func (p *Prometheus) within(limit time.Duration, try func() error) error {
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

// query asks an instant query.
func (p *Prometheus) query(expr string) ([]Sample, error) {
	body, err := p.get("/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string `json:"metric"`
				Value  [2]any            `json:"value"`
			} `json:"result"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("read answer of prometheus: %w", err)
	}
	samples := make([]Sample, len(answer.Data.Result))
	for i, r := range answer.Data.Result {
		text, _ := r.Value[1].(string)
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("read answer of prometheus: got value %v, want a number as text", r.Value[1])
		}
		samples[i] = Sample{Labels: r.Metric, Value: value}
	}
	return samples, nil
}

// get fetches a page; a status other than 200 is an error that quotes the answer.
func (p *Prometheus) get(path string) ([]byte, error) {
	resp, err := p.client.Get(p.URL + path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask prometheus: got status %s: %.500s", resp.Status, body)
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
