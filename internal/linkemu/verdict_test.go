package linkemu

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lastmile/internal/linkemu/link"
	"lastmile/internal/linkemu/linktest"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
)

// patient makes a network whose verdict does not mind a busy machine: what it measures is what counts here.
func patient(t *testing.T, p netprofile.Profile) *Network {
	t.Helper()
	n := open(t, p, Options{Seed: 11})
	n.link.tolerance = tolerance{late: time.Hour, share: 1}
	return n
}

// The exchange finds what each direction is really like. The bounds are wide for the sake of busy machines, and narrow enough that no
// other preset would do.
func TestCalibrationMeasuresTheLink(t *testing.T) {
	for _, name := range []string{"lte", "3g", "3g-jitter", "3g-very-lossy", "edge", "satellite", "2g-rural"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := preset(t, name)
			link := patient(t, p).Close()
			if link.RTTMS == nil || link.DownKbit == nil || link.UpKbit == nil {
				t.Fatalf("got link %+v, want all of it measured", link)
			}
			near := func(what string, got, want, share, late float64) {
				if got < want*(1-share) || got > want*(1+share)+late {
					t.Errorf("%s: got %.1f, want %.1f +- %.0f %%, and %.1f for a busy machine", what, got, want, 100*share, late)
				}
			}
			near("rtt", *link.RTTMS, runs.Milliseconds(p.RTT), 0.15+4*p.Jitter.Seconds()/p.RTT.Seconds()/math.Sqrt(8), link.Down.LateMaxMS+link.Up.LateMaxMS)
			near("down", *link.DownKbit, float64(p.Down)/1000, 0.25, 0)
			near("up", *link.UpKbit, float64(p.Up)/1000, 0.25, 0)
			if link.Mode != runs.LinkDial || link.Profile != name || link.Version != p.Version {
				t.Errorf("got link %+v, want that of %s by dial", link, name)
			}
		})
	}
}

// A link that is not the one named says so, whichever of its properties is off.
func TestOffProfileIsFound(t *testing.T) {
	base := netprofile.Profile{Name: "own", Version: "v1", Down: 8e6, Up: 4e6, RTT: 100 * time.Millisecond, Queue: 1000, MTU: 1500}
	with := func(change func(*netprofile.Profile)) netprofile.Profile {
		p := base
		change(&p)
		return p
	}
	for _, tt := range []struct {
		what   string
		really netprofile.Profile
		miss   string
	}{
		{"as it says", base, ""},
		{"faster", with(func(p *netprofile.Profile) { p.Down = 80e6 }), "down: got"},
		{"slower up", with(func(p *netprofile.Profile) { p.Up = 1e6 }), "up: got"},
		{"nearer", with(func(p *netprofile.Profile) { p.RTT = 20 * time.Millisecond }), "rtt: got"},
		{"farther", with(func(p *netprofile.Profile) { p.RTT = 300 * time.Millisecond }), "rtt: got"},
		{"lossy", with(func(p *netprofile.Profile) { p.Loss = 0.3 }), "lost, want 0"},
		{"reordering", with(func(p *netprofile.Profile) { p.Reorder = 0.05 }), ""},
		{"dead", with(func(p *netprofile.Profile) { p.Loss = 0.9999 }), "rtt: got no answer"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			t.Parallel()
			watch := linktest.Start(t)
			n := patient(t, tt.really)
			n.link.profile = base // what the run is told it was
			got := n.Close()
			if all := strings.Join(got.Misses, "; "); !strings.Contains(all, tt.miss) {
				t.Errorf("got misses %q, want %q", all, tt.miss)
			}
			unproven := linktest.Unproven(got, base.RTT)
			if watch.Busy() { // packets that were in time were echoed late
				unproven = slices.DeleteFunc(unproven, func(miss string) bool { return strings.HasPrefix(miss, "rtt: got 10") })
			}
			if tt.miss == "" && len(unproven) > 0 {
				t.Errorf("got misses %q, want none but what a busy machine does", unproven)
			}
			if (got.Verdict == runs.OffProfile) != (len(got.Misses) > 0) {
				t.Errorf("got verdict %s with misses %q", got.Verdict, got.Misses)
			}
		})
	}
}

// When the emulator gets no processor, packets come late, and the run must not count.
func TestStarvedEmulatorIsOffProfile(t *testing.T) {
	previous := runtime.GOMAXPROCS(1) // one processor, which busy loops below share with the emulator
	defer runtime.GOMAXPROCS(previous)
	n := open(t, preset(t, "lte"), Options{})
	began := time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	var hogs sync.WaitGroup
	for range 4 {
		hogs.Go(func() {
			for ctx.Err() == nil { // never waits
			}
		})
	}
	address := serve(t, echo)
	for range 3 {
		if c, err := n.DialContext(t.Context(), "tcp", address.String()); err == nil {
			_, _ = c.Write(make([]byte, 10_000))
			_ = c.Close()
		}
	}
	n.Judge("one", began, time.Now())
	cancel()
	hogs.Wait()
	got := n.Close()
	if all := strings.Join(got.Misses, "; "); got.Verdict != runs.OffProfile || !strings.Contains(all, "one: got the link standing still") {
		t.Errorf("got verdict %s, %q; want off_profile because the link stood still", got.Verdict, all)
	}
	if got.StalledMS == 0 {
		t.Error("got no time in which it stood still")
	}
}

// Nothing is under way while a target thinks. A program that is stopped meanwhile, here by hand, has its own beat to tell it, and what was
// measured around it does not count; what was measured before does.
func TestStandingStillWithNothingUnderWayIsNoticed(t *testing.T) {
	if os.Getenv("LASTMILE_STOPPED") == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestStandingStillWithNothingUnderWayIsNoticed$", "-test.v")
		cmd.Env = append(os.Environ(), "LASTMILE_STOPPED=1")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := ""
		for lines := bufio.NewScanner(out); lines.Scan(); said += lines.Text() + "\n" {
			if strings.Contains(lines.Text(), "now") {
				_ = cmd.Process.Signal(syscall.SIGSTOP)
				time.Sleep(300 * time.Millisecond)
				_ = cmd.Process.Signal(syscall.SIGCONT)
			}
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, said)
		}
		return
	}
	n := open(t, far(50*time.Millisecond), Options{})
	began := time.Now()
	fmt.Println("now")
	time.Sleep(600 * time.Millisecond)
	n.Judge("thinking", began, time.Now())
	n.Judge("before", began.Add(-time.Hour), began.Add(-time.Minute))
	got := n.Close()
	if len(got.Misses) == 0 || !strings.Contains(got.Misses[0], "thinking: got the link standing still") || got.StalledMS < 250 {
		t.Errorf("got %q, %v ms; want the 300 ms found in that step", got.Misses, got.StalledMS)
	}
	if strings.Contains(strings.Join(got.Misses, ";"), "before") {
		t.Errorf("got %q, want nothing on the step before", got.Misses)
	}
}

// Hand-computed. Without jitter: a hundredth of the round trip. With +-50 ms each way the variance of a round trip is 2 x 2500/3 ms2, of the
// mean of 8 an eighth, its root 14.43 ms; four times that and 2.5 ms are 60.2 ms.
func TestRTTTolerance(t *testing.T) {
	if got := rttTolerance(preset(t, "3g"), 8); got != 3*time.Millisecond {
		t.Errorf("3g: got %v, want 3ms", got)
	}
	if got := rttTolerance(preset(t, "lte"), 8); got != 2*time.Millisecond {
		t.Errorf("lte: got %v, want 2ms", got)
	}
	if got := runs.Milliseconds(rttTolerance(preset(t, "3g-jitter"), 8)); math.Abs(got-60.235) > 0.01 {
		t.Errorf("3g-jitter: got %v ms, want 60.235", got)
	}
}

// A step may be wrong by 3 %, or by 10 ms.
func TestStallTolerance(t *testing.T) {
	within := toleranceOf(preset(t, "3g"))
	if within.late != 3*time.Millisecond || within.of(time.Second) != 30*time.Millisecond || within.of(50*time.Millisecond) != 10*time.Millisecond {
		t.Errorf("got %+v, want 3 ms, 30 ms of a second, and 10 ms of 50", within)
	}
}

// Hand-computed for 10,000 packets. Random, 2 %: the standard deviation is the root of 196, 14. In bursts (0.02, 0.18, 0, 0.5): 5 % has a
// variance of 475, and the chain adds 2 x 10,000 x 0.1 x 0.9 x 0.25 x 0.8/0.2 = 1800; a spell is 1/0.18 packets long.
func TestLossTolerance(t *testing.T) {
	if got := lossTolerance(preset(t, "3g-lossy"), 10_000); math.Abs(got-73) > 1e-6 {
		t.Errorf("random: got %v, want 5 x 14 + 3", got)
	}
	if got, want := lossTolerance(preset(t, "3g-very-lossy"), 10_000), 5*math.Sqrt(475+1800)+3+3/0.18; math.Abs(got-want) > 1e-6 {
		t.Errorf("bursts: got %v, want %v", got, want)
	}
}

// By the law of the link itself no run is off its profile by loss: 500 runs of 300 packets on each preset that loses.
func TestHonestLossIsInTolerance(t *testing.T) {
	const n = 300
	watch, err := link.NewWatch(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	for _, name := range []string{"3g-lossy", "3g-very-lossy", "3g-jitter", "edge-lossy"} {
		p := preset(t, name)
		for seed := range uint64(500) {
			line, err := link.New(spec(p, p.Down, seed), watch, func(int) {}, func(int) {})
			if err != nil {
				t.Fatal(err)
			}
			for i := range n {
				line.Send(i, 100)
			}
			line.Close()
			got := line.Stats().DroppedLoss
			if off := math.Abs(float64(got) - n*float64(p.MeanLoss())); off > lossTolerance(p, n) {
				t.Errorf("%s, seed %d: got %d of %d lost, want that within %.1f of the mean", name, seed, got, n, lossTolerance(p, n))
			}
		}
	}
}
