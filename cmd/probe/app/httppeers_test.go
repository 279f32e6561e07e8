package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	neturl "net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lastmile/internal/cli/clitest"
	"lastmile/internal/journey"
	"lastmile/internal/runs"
)

// How much one round of BenchmarkHTTPPeers does, and how often it is done.
const (
	httpPeerRuns   = 1000
	httpPeerRounds = 7
)

// BenchmarkHTTPPeers probes the same page of a real nginx with a new connection each time, one probe after the other: by whole runs of a
// journey with one http step over network none, with policy, phases, classification and a result; by a plain loop of net/http with an
// httptrace; and by Debian's prometheus-blackbox-exporter, asked as Prometheus asks it. Metrics are medians of probes per second and of the
// processor time of the prober alone. make peers installs what the others need.
func BenchmarkHTTPPeers(b *testing.B) {
	target := startNginx(b) + "/page.txt"
	runner, order := httpJourney(b, target)
	exporter, exporterCPU := startBlackbox(b)
	probe := exporter + "/probe?module=http_2xx&target=" + neturl.QueryEscape(target)
	peers := []struct {
		name string
		once func(b *testing.B)
		cpu  func() time.Duration
	}{
		{"lastmile", func(b *testing.B) {
			if r := runner.Run(b.Context(), order()); r.State != runs.StatePassed {
				b.Fatalf("got %s, %+v", r.State, r.Cause)
			}
		}, ownCPU},
		{"plain", func(b *testing.B) { plainProbe(b, target) }, ownCPU},
		{"blackbox", func(b *testing.B) {
			if page := fetch(b, probe); !strings.Contains(page, "\nprobe_success 1\n") {
				b.Fatalf("got %q, want probe_success 1", page)
			}
		}, exporterCPU},
	}
	rates, cpus := map[string][]float64{}, map[string][]float64{}
	for b.Loop() {
		for range httpPeerRounds {
			for _, p := range peers {
				began, used := time.Now(), p.cpu()
				for range httpPeerRuns {
					p.once(b)
				}
				rates[p.name] = append(rates[p.name], httpPeerRuns/time.Since(began).Seconds())
				cpus[p.name] = append(cpus[p.name], (p.cpu()-used).Seconds()*1e6/httpPeerRuns)
			}
		}
	}
	for _, p := range peers {
		b.ReportMetric(median(rates[p.name]), p.name+"_probes/s")
		b.ReportMetric(median(cpus[p.name]), p.name+"_cpu_us")
		b.Logf("%-9s probes/s %.0f, cpu us %.0f", p.name, rates[p.name], cpus[p.name])
	}
	b.ReportMetric(0, "ns/op") // says nothing: all of them are in it
}

// BenchmarkHTTPConcurrent measures what each of many runs that wait for their answers at once takes of memory.
func BenchmarkHTTPConcurrent(b *testing.B) {
	const many = 500
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	accepted := make(chan net.Conn, many)
	go func() {
		for {
			c, err := silent.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	runner, order := httpJourney(b, "http://"+silent.Addr().String()+"/")
	for b.Loop() {
		debug.FreeOSMemory()
		before := residentMemory(b)
		ctx, cancel := context.WithCancel(b.Context())
		var all sync.WaitGroup
		for range many {
			all.Go(func() { runner.Run(ctx, order()) })
		}
		held := make([]net.Conn, 0, many)
		for range many {
			held = append(held, <-accepted)
		}
		runtime.GC()
		b.ReportMetric((residentMemory(b)-before)/many/1000, "kB/run")
		cancel()
		all.Wait()
		for _, c := range held {
			_ = c.Close()
		}
	}
	b.ReportMetric(0, "ns/op")
}

// httpJourney makes a runner, and orders of a journey with one http step.
func httpJourney(b *testing.B, target string) (*journey.Runner, func() *runs.Assignment) {
	b.Helper()
	command := runCommand{
		File: scenarioFile(b, "", "steps: [{type: http, url: \""+target+"\", assert: [{status: 200}]}]\n"),
		RunOptions: RunOptions{
			Chromium: Chromium{TempDir: b.TempDir()},
			Link:     Link{LinkMode: "proxy", AllowNet: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		},
	}
	runner, _, err := newRunner(b.Context(), slog.New(slog.DiscardHandler), "bench", command.RunOptions)
	if err != nil {
		b.Fatal(err)
	}
	first, err := command.assignment()
	if err != nil {
		b.Fatal(err)
	}
	return runner, func() *runs.Assignment {
		a := *first
		a.StartBy = time.Now().Add(time.Minute)
		a.Deadline = a.StartBy.Add(time.Minute)
		return &a
	}
}

// plainProbe is what a probe of net/http and httptrace does at the least.
func plainProbe(b *testing.B, target string) {
	var marks [7]time.Time
	ctx := httptrace.WithClientTrace(b.Context(), &httptrace.ClientTrace{
		DNSStart:             func(httptrace.DNSStartInfo) { marks[0] = time.Now() },
		DNSDone:              func(httptrace.DNSDoneInfo) { marks[1] = time.Now() },
		ConnectStart:         func(_, _ string) { marks[2] = time.Now() },
		ConnectDone:          func(_, _ string, _ error) { marks[3] = time.Now() },
		GotConn:              func(httptrace.GotConnInfo) { marks[4] = time.Now() },
		WroteRequest:         func(httptrace.WroteRequestInfo) { marks[5] = time.Now() },
		GotFirstResponseByte: func() { marks[6] = time.Now() },
	})
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		b.Fatal(err)
	}
	resp, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		b.Fatal(err)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK {
		b.Fatalf("got status %d, %v", resp.StatusCode, err)
	}
}

// fetch gets a page.
func fetch(b *testing.B, address string) string {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, address, nil)
	if err != nil {
		b.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Fatal(err)
	}
	return string(page)
}

// startNginx serves a page of 1 kB, and returns its base URL.
func startNginx(b *testing.B) string {
	b.Helper()
	dir, address := b.TempDir(), freeAddress(b)
	write(b, filepath.Join(dir, "page.txt"), strings.Repeat("0123456789abcde\n", 64))
	config := write(b, filepath.Join(dir, "nginx.conf"), fmt.Sprintf(`
pid %[1]s/pid; error_log stderr error; daemon off; master_process off; worker_processes 1;
events {}
http {
	access_log off; keepalive_requests 1000000;
	client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
	server { listen %[2]s; root %[1]s; }
}`, dir, address))
	startPeer(b, address, "nginx", "-c", config, "-p", dir, "-e", "stderr")
	return "http://" + address
}

// startBlackbox starts the exporter, and returns its base URL, and how much of a processor it has used so far.
func startBlackbox(b *testing.B) (base string, cpu func() time.Duration) {
	b.Helper()
	address := freeAddress(b)
	config := write(b, filepath.Join(b.TempDir(), "blackbox.yml"), "modules: {http_2xx: {prober: http, timeout: 5s, http: {preferred_ip_protocol: ip4}}}\n")
	pid := startPeer(b, address, "prometheus-blackbox-exporter", "--config.file="+config, "--web.listen-address="+address, "--log.level=error")
	return "http://" + address, func() time.Duration {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			b.Fatal(err)
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		user, _ := strconv.Atoi(fields[11])
		system, _ := strconv.Atoi(fields[12])
		return time.Duration(user+system) * time.Second / 100
	}
}

// startPeer starts a server, waits until it listens, and ends it with the benchmark.
func startPeer(b *testing.B, address, name string, args ...string) (pid int) {
	b.Helper()
	b.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin") // where Debian puts servers
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatalf("%v: install it with: make peers", err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	clitest.Eventually(b, name, func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return cmd.Process.Pid
}

// freeAddress is one on which nothing listens.
func freeAddress(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// ownCPU is how much of a processor this process has used.
func ownCPU() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// residentMemory is what this process has in memory, in bytes.
func residentMemory(b *testing.B) float64 {
	b.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		b.Fatal(err)
	}
	return float64(pages * os.Getpagesize())
}
