package app

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"lastmile/internal/bus"
	"lastmile/internal/cli"
	"lastmile/internal/cli/clitest"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
	"lastmile/internal/scenariofile"
	"lastmile/internal/spool"
)

// running is the probe in the background.
type running struct{ *clitest.Process }

// background starts the program; it is stopped at the end of the test at the latest.
func background(t *testing.T, args ...string) running {
	t.Helper()
	return running{clitest.Start(t, Main, args...)}
}

// get asks the program's own server.
func (p running) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	var base string
	clitest.Eventually(t, "address in the log", func() bool {
		if m := regexp.MustCompile(`(http://127\.0\.0\.1:\d+)/metrics`).FindStringSubmatch(p.String()); m != nil {
			base = m[1]
		}
		return base != ""
	})
	client := http.Client{Timeout: clitest.Patience}
	defer client.CloseIdleConnections()
	response, err := client.Get(base + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, 16<<20))
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// metric reads the one series of a metric whose labels contain all the given pairs.
func (p running) metric(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	_, body := p.get(t, "/metrics")
	lines := bufio.NewScanner(strings.NewReader(body))
series:
	for lines.Scan() {
		series, value, _ := strings.Cut(lines.Text(), " ")
		if !strings.HasPrefix(series, name+"{") {
			continue
		}
		for _, label := range labels {
			if !strings.Contains(series, label) {
				continue series
			}
		}
		number, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatal(err)
		}
		return number
	}
	t.Fatalf("no series of %s with %v in\n%s", name, labels, body)
	return 0
}

// hall is a hub: a server, and a connection to it as the coordinator has one.
type hall struct {
	url string
	bus *bus.Bus
}

// newHall starts a server on a port, with the streams of the regions.
func newHall(t *testing.T, regions ...string) *hall {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	srv, err := bus.StartServer(log, bus.ServerOptions{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Stop(context.Background()) })
	hub, err := bus.Connect(t.Context(), log, bus.Options{Server: srv, Name: "coordinator"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hub.Close() })
	if err := hub.EnsureStreams(t.Context(), regions); err != nil {
		t.Fatal(err)
	}
	return &hall{url: srv.URL(), bus: hub}
}

// answer answers heartbeats as the coordinator does.
func (h *hall) answer(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var answering sync.WaitGroup
	answering.Go(func() {
		_ = h.bus.ServeHeartbeats(ctx, func(runs.Heartbeat) runs.HeartbeatReply {
			return runs.HeartbeatReply{ReceivedAt: time.Now()}
		})
	})
	t.Cleanup(func() {
		cancel()
		answering.Wait()
	})
}

// serveArgs are what a probe of region us needs to start; more come behind and win.
func serveArgs(t *testing.T, nats string, more ...string) []string {
	t.Helper()
	return append([]string{
		"serve", allowLocal, "--region", "us", "--probe", "one", "--nats", nats, "--data", t.TempDir(), "--listen", "127.0.0.1:0",
		"--grace", "1s", "--browser-slots", "0",
	}, more...)
}

// assignment orders a scheduled run of the shop's list, due now.
func assignment(t *testing.T, base string) runs.Assignment {
	t.Helper()
	file := scenarioFile(t, base, "steps: [{type: http, url: \"${vars.base}/api/products\", assert: [{status: 200}]}]\n")
	known, err := scenariofile.FleetOf(file)
	if err != nil {
		t.Fatal(err)
	}
	s, err := scenariofile.Load(file, known)
	if err != nil {
		t.Fatal(err)
	}
	s.Resolve(known)
	network, _ := netprofile.Lookup(netprofile.None)
	return runs.NewAssignment(s, "us", network, time.Now().UTC().Truncate(time.Second))
}

// TestServeRefusesToStart: what will not do is said at once, with the flag to change, and a status that is not zero.
func TestServeRefusesToStart(t *testing.T) {
	h := newHall(t, "us")
	guarded, err := bus.StartServer(slog.New(slog.DiscardHandler), bus.ServerOptions{Dir: t.TempDir(), Listen: "127.0.0.1:0", Token: "right-token"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = guarded.Stop(context.Background()) }()
	used := t.TempDir()
	other, err := spool.Open(slog.New(slog.DiscardHandler), filepath.Join(used, "spool"), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	blocked := write(t, filepath.Join(t.TempDir(), "file"), "")
	port := taken(t)

	for name, tc := range map[string]struct {
		args []string
		code int
		want []string
	}{
		"unknown flag":   {serveArgs(t, h.url, "--speed", "9"), cli.ExitUsage, []string{"--speed"}},
		"no region":      {[]string{"serve"}, cli.ExitUsage, []string{"--region"}},
		"names":          {serveArgs(t, h.url, "--region", "Mars_X", "--probe", "a.b"), cli.ExitUsage, []string{"--region", `"Mars_X"`, "--probe", `"a.b"`}},
		"slots":          {serveArgs(t, h.url, "--http-slots", "0", "--browser-slots=-1"), cli.ExitUsage, []string{"--http-slots", "--browser-slots", "-1"}},
		"port in use":    {serveArgs(t, h.url, "--listen", port), cli.ExitFailed, []string{port, "in use", "--listen"}},
		"no port":        {serveArgs(t, h.url, "--listen", "localhost"), cli.ExitFailed, []string{"--listen", "missing port"}},
		"data in use":    {serveArgs(t, h.url, "--data", used), cli.ExitFailed, []string{used, "in use by another probe"}},
		"data is a file": {serveArgs(t, h.url, "--data", blocked), cli.ExitFailed, []string{blocked, "not a directory"}},
		"no address":     {serveArgs(t, "somewhere"), cli.ExitFailed, []string{"nats://host:port"}},
		"wrong token":    {serveArgs(t, guarded.URL(), "--nats-token", "wrong-token"), cli.ExitFailed, []string{guarded.URL(), "Authorization"}},
		"no token":       {serveArgs(t, guarded.URL()), cli.ExitFailed, []string{guarded.URL(), "Authorization"}},
		"token in URL":   {serveArgs(t, strings.Replace(guarded.URL(), "//", "//wrong-token@", 1)), cli.ExitFailed, []string{"Authorization"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := background(t, tc.args...)
			select {
			case <-p.Done():
			case <-time.After(10 * time.Second):
				t.Fatalf("still running after 10 s, want it to give up:\n%s", p)
			}
			if code := p.Stop(); code != tc.code {
				t.Errorf("got status %d, want %d", code, tc.code)
			}
			for _, want := range tc.want {
				if !strings.Contains(p.String(), want) {
					t.Errorf("output lacks %q:\n%s", want, p)
				}
			}
			if strings.Contains(p.String(), "wrong-token") || strings.Contains(p.String(), "right-token") {
				t.Errorf("the token was told:\n%s", p)
			}
		})
	}
}

// plainServer starts a NATS server without JetStream.
func plainServer(t *testing.T) string {
	t.Helper()
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	if !srv.ReadyForConnections(clitest.Patience) {
		t.Fatal("plain server is not ready")
	}
	return srv.ClientURL()
}

// TestServeWaitsForItsHub: a probe without a hub is alive, says what it waits for, and stops when it is told to. So is one that reaches a server without
// JetStream, which may be a leaf without its link.
func TestServeWaitsForItsHub(t *testing.T) {
	for name, tc := range map[string]struct{ url, told string }{
		"nobody answers": {"nats://127.0.0.1:1", "bus not reachable yet, trying on"},
		"no JetStream":   {plainServer(t), "server has no JetStream; start it with -js"},
	} {
		t.Run(name, func(t *testing.T) {
			p := background(t, serveArgs(t, tc.url)...)
			clitest.Eventually(t, "word of the hub", func() bool { return strings.Contains(p.String(), tc.told) })
			if status, body := p.get(t, "/healthz"); status != http.StatusOK {
				t.Errorf("/healthz: got %d %q, want 200", status, body)
			}
			if status, body := p.get(t, "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "hub has not been reached") {
				t.Errorf("/readyz: got %d %q, want 503 and the reason", status, body)
			}
			if got := p.metric(t, "lastmile_worker_hub_connected"); got != 0 {
				t.Errorf("hub connected: got %v, want 0", got)
			}
			if got := p.metric(t, "lastmile_worker_slots"); got != 4 {
				t.Errorf("slots: got %v, want 4", got)
			}
			if code := p.Stop(); code != 0 {
				t.Errorf("got status %d, want 0 for a probe that was told to stop:\n%s", code, p)
			}
			if n := strings.Count(p.String(), tc.told); n != 1 {
				t.Errorf("got %d complaints about the hub, want one:\n%s", n, p)
			}
		})
	}
}

func TestServeIsReadyWhenTheCoordinatorAnswers(t *testing.T) {
	h := newHall(t, "us")
	h.answer(t)
	p := background(t, serveArgs(t, h.url)...)
	clitest.Eventually(t, "ready", func() bool {
		status, _ := p.get(t, "/readyz")
		return status == http.StatusOK
	})
	if got := p.metric(t, "lastmile_worker_hub_connected", `region="us"`, `probe="one"`); got != 1 {
		t.Errorf("hub connected: got %v, want 1", got)
	}
	if code := p.Stop(); code != 0 || !strings.Contains(p.String(), "probe stopped") {
		t.Errorf("got status %d, want 0 and a word in the log:\n%s", code, p)
	}
}

func TestServeWithoutChromiumTakesNoBrowserRuns(t *testing.T) {
	h := newHall(t, "us")
	p := background(t, serveArgs(t, h.url, append(noChromium(), "--browser-slots", "1")...)...)
	if got := p.metric(t, "lastmile_worker_browser_available"); got != 0 {
		t.Errorf("browser available: got %v, want 0", got)
	}
	if !strings.Contains(p.String(), "only scenarios without browser steps") || !strings.Contains(p.String(), "apt-get install") {
		t.Errorf("got log\n%s\nwant a warning with the install command", p)
	}
}

// TestServeOutlivesCorruptMessages: garbage on the bus is counted, and what comes after it is run.
func TestServeOutlivesCorruptMessages(t *testing.T) {
	site, h := shop(t), newHall(t, "us")
	conn, err := nats.Connect(h.url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	garbage := []string{
		"", "garbage", "null", "[]", `{"schema":1}`, "\xff\xfe\x00", `{"schema":99,"run_id":"x.us.none.1"}`,
		strings.Repeat("[", 100_000), `{"run_id":"` + strings.Repeat("x", 100_000) + `"}`,
	}
	for i, body := range garbage {
		if _, err := conn.Request("job.us.http.x.none."+strconv.Itoa(i+1), []byte(body), clitest.Patience); err != nil {
			t.Fatal(err)
		}
	}
	if created, err := h.bus.Dispatch(t.Context(), assignment(t, site.URL("us"))); err != nil || !created {
		t.Fatalf("dispatch: got %v, %v", created, err)
	}
	p := background(t, serveArgs(t, h.url, "--http-slots", "1")...)
	clitest.Eventually(t, "the run behind the garbage", func() bool {
		return p.metric(t, "lastmile_worker_results_total", `state="passed"`) == 1 && p.metric(t, "lastmile_worker_spool_results") == 0
	})
	if got := p.metric(t, "lastmile_worker_assignments_rejected_total"); got != float64(len(garbage)) {
		t.Errorf("rejected: got %v, want %d", got, len(garbage))
	}
	if len(p.String()) > 20_000 {
		t.Errorf("got %d bytes of log, want the garbage cut short", len(p.String()))
	}
	if code := p.Stop(); code != 0 {
		t.Errorf("got status %d, want 0", code)
	}
}

// TestServeReportsWhatItsPredecessorBegan: a probe that died in mid-run left a claim, and the next one makes a result of it.
func TestServeReportsWhatItsPredecessorBegan(t *testing.T) {
	h, data := newHall(t, "us"), t.TempDir()
	left, err := spool.Open(slog.New(slog.DiscardHandler), filepath.Join(data, "spool"), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	a := assignment(t, "http://127.0.0.1:1")
	if err := left.Claim(a); err != nil {
		t.Fatal(err)
	}
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
	background(t, serveArgs(t, h.url, "--data", data)...)
	came := make(chan runs.Result, 1)
	ctx, cancel := context.WithTimeout(t.Context(), clitest.Patience)
	defer cancel()
	if err := h.bus.Follow(ctx, []string{"us"}, nil, bus.Handler{
		Result: func(r runs.Result, _ bus.Meta) {
			came <- r
			cancel()
		},
		Verdict:  func(runs.Verdict, bus.Meta) {},
		Rejected: func(err *bus.RejectedError) { t.Error(err) },
	}); err != nil {
		t.Fatal(err)
	}
	select {
	case r := <-came:
		if r.RunID != a.RunID || r.State != runs.StateInvalid || r.Cause == nil || !strings.Contains(r.Cause.Detail, "died in mid-run") {
			t.Errorf("got %+v, want %s invalid: died in mid-run", r, a.RunID)
		}
	default:
		t.Errorf("no result came within %s", clitest.Patience)
	}
}

func TestHostLabelIsAName(t *testing.T) {
	if got := cli.HostLabel(); got == "" || got != strings.ToLower(got) || strings.ContainsAny(got, "._ ") {
		t.Errorf("got %q, want a label", got)
	}
}
