package app

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"lastmile/internal/cli"
	"lastmile/internal/cli/clitest"
	"lastmile/internal/linkemu"
	"lastmile/internal/linkemu/linktest"
	"lastmile/internal/runs"
)

// TestMain lets the test binary be the inner half of a browser's start in a namespace, the floor of what peers are measured against,
// and a container's first process.
func TestMain(m *testing.M) {
	linkemu.Child(os.Args)
	if len(os.Args) > 2 && os.Args[1] == floorCommand {
		os.Exit(floor(os.Args[2], os.Args[3:]...))
	}
	if len(os.Args) > 2 && os.Args[1] == firstCommand {
		mountProc()
		cli.Process(first)
	}
	cache, err := os.MkdirTemp("", "lastmile-cache") // of a user, for what probe run keeps
	if err == nil {
		err = os.Setenv("XDG_CACHE_HOME", cache)
	}
	if err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(cache) // a leftover in a temporary directory fails no test
	os.Exit(code)
}

// farRTT is so long that the tests' own load does not drown it.
const farRTT = time.Second

// farScenario writes a scenario with these steps, and beside it the network far, where a packet in fifty is lost.
func farScenario(t *testing.T, base, rest string) string {
	t.Helper()
	file := scenarioFile(t, base, rest)
	write(t, filepath.Join(filepath.Dir(file), "networks.yaml"), fmt.Sprintf(
		"apiVersion: lastmile/v1\nnetworks:\n  far: {down: 8 Mbit/s, up: 4 Mbit/s, rtt: %s, loss: 2%%}\n", farRTT))
	return file
}

// checkProof looks whether the result's link section adds up, and whether the run's state follows from it. Where the machine was too busy
// for the emulator the run must not count, and the link's own record has to prove that; nothing else may make it invalid.
func checkProof(t *testing.T, code int, r *runs.Result, mode runs.LinkMode) {
	t.Helper()
	l := r.Link
	if l.Profile != "far" || !strings.HasPrefix(l.Version, "u-") || l.Mode != mode || l.Down == nil || l.Up == nil {
		t.Fatalf("got link %+v, want far by %s, with what crossed it", l, mode)
	}
	for name, d := range map[string]*runs.LinkTraffic{"down": l.Down, "up": l.Up} {
		if d.Sent == 0 || d.Sent != d.Delivered+d.DroppedLoss+d.DroppedQueue+d.UnderWay || d.Bytes == 0 || d.BusyMS <= 0 {
			t.Errorf("%s: got %+v, want packets that add up", name, d)
		}
	}
	off := l.Verdict == runs.OffProfile
	if off != (len(l.Misses) > 0) || off != (r.State == runs.StateInvalid) || off != (code == cli.ExitInvalid) {
		t.Errorf("got verdict %s, misses %q, state %s and status %d, want them to agree", l.Verdict, l.Misses, r.State, code)
	}
	if off {
		if r.Cause == nil || r.Cause.Class != runs.ClassLinkOffProfile {
			t.Errorf("got cause %+v, want link_off_profile", r.Cause)
		}
		if unproven := linktest.Unproven(l, farRTT); len(unproven) > 0 {
			t.Errorf("got misses %q, want none but what a busy machine does", unproven)
		}
		t.Logf("the machine was too busy: %q", l.Misses)
		return
	}
	if l.RTTMS == nil || *l.RTTMS < 999 || *l.RTTMS > 1010.001 || l.DownKbit == nil || l.UpKbit == nil {
		t.Errorf("got rtt %v, rates %v and %v, want the second of the profile, and both rates", l.RTTMS, l.DownKbit, l.UpKbit)
	}
	if late := max(l.Down.LateMeanMS, l.Up.LateMeanMS); late > 5.001 {
		t.Errorf("got packets %v ms late on average and verdict %s, want a run that does not count", late, l.Verdict)
	}
}

// atLeast checks a phase that crosses the link so many times.
func atLeast(t *testing.T, what string, got *float64, trips float64) {
	t.Helper()
	if got == nil || *got < trips*milliseconds(farRTT) {
		t.Errorf("%s: got %v ms, want %v round trips of %s at least", what, got, trips, farRTT)
	}
}

// answered is how long an answer took to begin, counted from the begin of its request: on a busy machine the end of that is seen late.
func answered(p runs.Phases) *float64 {
	if p.Send == nil || p.Wait == nil {
		return nil
	}
	return new(*p.Send + *p.Wait)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func TestHTTPStepsOverAnEmulatedNetwork(t *testing.T) {
	site := shop(t)
	file := farScenario(t, site.URL("us"), "steps: [{type: http, url: \"${vars.base}/api/products\"}]\n")
	code, r := runJSON(t, file, "--network", "far")
	if len(r.Requests) != 1 || r.Requests[0].Status != http.StatusOK {
		t.Fatalf("got requests %+v, want one that was answered", r.Requests)
	}
	atLeast(t, "connect", r.Requests[0].Phases.Connect, 1)
	atLeast(t, "wait", answered(r.Requests[0].Phases), 1)
	if got, want := r.Requests[0].RemoteAddr, strings.TrimPrefix(site.URL("us"), "http://"); got != want {
		t.Errorf("got remote address %s, want the real one, %s", got, want)
	}
	checkProof(t, code, &r, runs.LinkDial)
}

// A page over the link, by proxy and in a namespace: what Chromium cannot know behind a proxy, the emulator does.
func TestBrowserStepsOverAnEmulatedNetwork(t *testing.T) {
	site := shop(t)
	port := site.URL("us")[strings.LastIndex(site.URL("us"), ":"):]
	file := farScenario(t, "http://localhost"+port, "timeout: 60s\nsteps: [{type: navigate, url: \"${vars.base}/\", timeout: 50s}]\n")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, strings.Replace(string(text), "timeout: 10s\n", "", 1))
	for _, mode := range []runs.LinkMode{runs.LinkProxy, runs.LinkNamespace} {
		t.Run(string(mode), func(t *testing.T) {
			args := []string{file, "--network", "far", "--no-sandbox", "--link-mode", string(mode)}
			if why := linkemu.CheckNamespace(t.Context()); mode == runs.LinkNamespace && why != nil {
				code, _, errs := clitest.Run(t, Main, append([]string{"run", allowLocal}, args...)...)
				if code == 0 || !strings.Contains(errs, why.Error()) {
					t.Errorf("got status %d and %q, want what keeps this machine from it: %v", code, errs, why)
				}
				return
			}
			code, r := runJSON(t, args...)
			if len(r.Requests) == 0 || r.Requests[0].Status != http.StatusOK {
				t.Fatalf("got %s, %+v and requests %+v, want the page", r.State, r.Cause, r.Requests)
			}
			page := r.Requests[0]
			atLeast(t, "connect", page.Phases.Connect, 1)
			atLeast(t, "wait", answered(page.Phases), 1)
			if v := r.Steps[0].Vitals; v == nil {
				t.Error("got no vitals")
			} else {
				atLeast(t, "ttfb", v.TTFB, 2)
			}
			if mode == runs.LinkProxy {
				atLeast(t, "dns", page.Phases.DNS, 1)
				if page.RemoteAddr != "127.0.0.1"+port {
					t.Errorf("got remote address %s, want the real one behind the proxy, 127.0.0.1%s", page.RemoteAddr, port)
				}
			}
			checkProof(t, code, &r, mode)
		})
	}
}

// A run whose emulator did not get the processor when it needed it is invalid: neither fast nor slow, and no failure of the service.
func TestStarvedRunIsInvalid(t *testing.T) {
	site := shop(t)
	previous := runtime.GOMAXPROCS(1) // one processor for the program and for what hogs it
	defer runtime.GOMAXPROCS(previous)
	ctx, cancel := context.WithCancel(t.Context())
	var hogs sync.WaitGroup
	for range 3 {
		hogs.Go(func() {
			for ctx.Err() == nil { // never waits
			}
		})
	}
	code, r := runJSON(t, apiScenario, "--var", "base="+site.URL("us"), "--region", "us", "--network", "lte")
	cancel()
	hogs.Wait()
	if code != cli.ExitInvalid || r.State != runs.StateInvalid || r.Cause.Class != runs.ClassLinkOffProfile {
		t.Errorf("got status %d, %s, %+v; want %d and invalid: link_off_profile", code, r.State, r.Cause, cli.ExitInvalid)
	}
	if all := strings.Join(r.Link.Misses, "; "); r.Link.Verdict != runs.OffProfile || !strings.Contains(all, "late") {
		t.Errorf("got verdict %s, %q; want off_profile as packets came late", r.Link.Verdict, all)
	}
}

// Without --allow-net no journey reaches this machine's own addresses, over whichever network.
func TestAddressesThatAreNotPublicAreBlocked(t *testing.T) {
	reached := false
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer server.Close()
	file := scenarioFile(t, server.URL, "steps: [{type: http, url: \"${vars.base}/\"}]\n")
	for _, network := range []string{"none", "cable"} {
		code, out, errs := clitest.Run(t, Main, "run", file, "--network", network)
		busy := code == cli.ExitInvalid && network != "none" // the machine, for the emulated link: that is said first
		if !strings.Contains(out, "blocked 1 attempts") || !busy && (code != cli.ExitFailed || !strings.Contains(out, "--allow-net")) {
			t.Errorf("%s: got status %d, %q, %q; want a blocked host, and the flag that would allow it", network, code, out, errs)
		}
	}
	if reached {
		t.Error("the server was reached")
	}
}
