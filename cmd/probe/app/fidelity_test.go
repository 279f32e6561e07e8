package app

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"lastmile/internal/browser"
	"lastmile/internal/linkemu"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// repeats is how many loads are behind each number.
const repeats = 5

// BenchmarkPage loads the reference page in a real browser: across the emulated link; on the host's own network with the throttling of
// DevTools, given the same numbers; and on it at full speed, which is what the server and the browser take. One operation is as many
// loads as repeats says; the metrics are their medians in milliseconds, how many loads were off profile, and how many processors others
// were using meanwhile: where that is not near zero, the numbers are not worth much.
func BenchmarkPage(b *testing.B) {
	for _, protocol := range []string{"h2", "h1"} {
		for _, name := range []string{"3g", "3g-fast", "lte"} {
			profile, ok := netprofile.Lookup(name)
			if !ok {
				b.Fatalf("no preset %s", name)
			}
			b.Run(fmt.Sprintf("http=%s/net=%s/by=link", protocol, name), func(b *testing.B) {
				loadPage(b, protocol, profile, nil)
			})
			b.Run(fmt.Sprintf("http=%s/net=%s/by=devtools", protocol, name), func(b *testing.B) {
				loadPage(b, protocol, unshaped(b), &profile)
			})
		}
		b.Run(fmt.Sprintf("http=%s/net=none/by=nothing", protocol), func(b *testing.B) {
			loadPage(b, protocol, unshaped(b), nil)
		})
	}
}

func unshaped(b *testing.B) netprofile.Profile {
	b.Helper()
	none, ok := netprofile.Lookup(netprofile.None)
	if !ok {
		b.Fatal("no preset for the link at full speed")
	}
	return none
}

// loads are the numbers of several loads.
type loads struct{ load, lcp, ttfb []float64 }

// loadPage loads the page over the profile, and with DevTools' throttling where that is given.
func loadPage(b *testing.B, protocol string, profile netprofile.Profile, throttling *netprofile.Profile) {
	page := startReferencePage(b, protocol == "h2")
	log := slog.New(slog.DiscardHandler)
	chrome, err := browser.New(log, browser.Options{NoSandbox: os.Getuid() == 0})
	if err != nil {
		b.Fatal(err)
	}
	emulator := linkemu.New(log, linkemu.Options{AllowNets: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	var all loads
	var off int
	others := watchOthers(b)
	for b.Loop() {
		for range repeats {
			network, err := emulator.Open(b.Context(), profile, nil)
			if err != nil {
				b.Fatal(err)
			}
			if err := network.ServeBrowser(); err != nil {
				b.Fatal(err)
			}
			all.add(b, chrome, page, &bench{Network: network, certificate: page.certificate, throttling: throttling})
			if link := network.Close(); link.Verdict == runs.OffProfile {
				b.Logf("off profile: %q", link.Misses)
				off++
			}
		}
	}
	b.ReportMetric(median(all.load), "load_ms")
	b.ReportMetric(median(all.lcp), "lcp_ms")
	b.ReportMetric(median(all.ttfb), "ttfb_ms")
	b.ReportMetric(float64(off), "off_profile")
	b.ReportMetric(others(), "others_cores")
	b.ReportMetric(0, "ns/op") // says nothing: the start of the browser is in it
	b.Logf("load %.0f, lcp %.0f, ttfb %.0f", all.load, all.lcp, all.ttfb)
}

// add loads the page once in a browser of its own.
func (l *loads) add(b *testing.B, chrome *browser.Runner, page referencePage, network *bench) {
	b.Helper()
	sc := scenario.Scenario{Name: "page"}
	session, err := chrome.Open(b.Context(), &runs.Assignment{Scenario: sc}, network)
	if err != nil {
		b.Fatal(err)
	}
	step := scenario.Step{ID: "load", Type: scenario.StepNavigate, URL: page.url}
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	got, err := session.Step(ctx, &step, sc.Scope(scenario.Combination{Region: "here"}, "run", map[string]vars.Secret{}))
	requests := session.Close().Requests
	network.wait()
	if err != nil || got.State != runs.StepPassed || got.Vitals == nil || got.Vitals.LCP == nil || got.Vitals.TTFB == nil {
		b.Fatalf("load the page: got %+v and %v, want it loaded with vitals", got, err)
	}
	const resources = 41
	if len(requests) != resources {
		b.Fatalf("load the page: got %d requests, want %d", len(requests), resources)
	}
	l.load = append(l.load, got.DurationMS)
	l.lcp = append(l.lcp, *got.Vitals.LCP)
	l.ttfb = append(l.ttfb, *got.Vitals.TTFB)
}

func median(values []float64) float64 {
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// watchOthers returns what tells how many processors have been in use since, on average, but for those of this process and of the
// children that it has waited for.
func watchOthers(b *testing.B) func() float64 {
	b.Helper()
	began, before := time.Now(), othersTime(b)
	return func() float64 {
		b.Helper()
		return (othersTime(b) - before).Seconds() / time.Since(began).Seconds()
	}
}

// othersTime is the time for which others have used processors since the machine started.
func othersTime(b *testing.B) time.Duration {
	b.Helper()
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		b.Fatal(err)
	}
	var user, nice, system, idle, ioWait, irq, softIRQ int64 // in hundredths of a second
	if _, err := fmt.Sscanf(string(stat), "cpu %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &ioWait, &irq, &softIRQ); err != nil {
		b.Fatalf("read /proc/stat: %v", err)
	}
	used := time.Duration(user+nice+system+irq+softIRQ) * 10 * time.Millisecond
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		used -= time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return used
}

// bench is a network whose browser trusts the page's certificate, and is told to throttle itself if that is what is compared.
type bench struct {
	*linkemu.Network
	certificate string
	throttling  *netprofile.Profile
	ended       chan struct{} // closed when the commands' way to the browser has ended, with an error as a rule
}

// Start implements browser.Network.
func (n *bench) Start(cmd *exec.Cmd) error {
	cmd.Args = slices.Insert(cmd.Args, 1, "--ignore-certificate-errors-spki-list="+n.certificate)
	if n.throttling == nil {
		return n.Network.Start(cmd)
	}
	return n.throttle(cmd)
}

// throttle starts a browser whose commands pass through here, where those for throttling are put in.
func (n *bench) throttle(cmd *exec.Cmd) error {
	const commands = 0 // which of the extra files
	fd, err := syscall.Dup(int(cmd.ExtraFiles[commands].Fd()))
	if err != nil {
		return err
	}
	ours := os.NewFile(uintptr(fd), "commands")
	theirs, out, err := os.Pipe()
	if err != nil {
		return err
	}
	files := slices.Clone(cmd.ExtraFiles)
	files[commands] = theirs
	cmd.ExtraFiles = files
	if err := n.Network.Start(cmd); err != nil {
		return err
	}
	_ = theirs.Close() // the browser's end
	n.ended = make(chan struct{})
	go func() {
		defer close(n.ended)
		_ = insert(out, ours, n.throttling)
		_ = ours.Close()
		_ = out.Close()
	}()
	return nil
}

// wait ends with the browser.
func (n *bench) wait() {
	if n.ended != nil {
		<-n.ended
	}
}

// insert copies messages, which a zero byte ends, and after each that turns a session's network events on puts one that throttles it.
func insert(to io.Writer, from io.Reader, p *netprofile.Profile) error {
	messages := bufio.NewReader(from)
	for {
		message, err := messages.ReadBytes(0)
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		var head struct {
			Method    string `json:"method"`
			SessionID string `json:"sessionId"`
		}
		if err := json.Unmarshal(bytes.TrimSuffix(message, []byte{0}), &head); err != nil {
			return err
		}
		if head.Method == "Network.enable" {
			const id = 1 << 30 // of no other command; nobody waits for its answer
			message = fmt.Appendf(message,
				`{"id":%d,"sessionId":%q,"method":"Network.emulateNetworkConditions","params":{"offline":false,"latency":%d,"downloadThroughput":%d,"uploadThroughput":%d}}`+"\x00",
				id, head.SessionID, p.RTT.Milliseconds(), p.Down/8, p.Up/8)
		}
		if _, err := to.Write(message); err != nil {
			return err
		}
	}
}
