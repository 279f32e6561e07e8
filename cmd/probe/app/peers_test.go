package app

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lastmile/internal/demosite"
)

// peerRounds is how often each driver does the journey. They take turns, so that what else the machine does meets all of them.
const peerRounds = 7

// peerFlags make Chromium leave the network alone, for drivers that do not do so by themselves.
const peerFlags = "--disable-background-networking --disable-component-update --no-first-run --disable-gpu --hide-scrollbars"

// BenchmarkPeers does the same recording, from the start of the driver to its end, with a new browser each time: by this probe; by raw
// commands of the DevTools protocol and nothing else, which is the floor; by the floor with a minimum of care (see floor); by Playwright,
// Puppeteer, and Chrome DevTools' own runner of recordings. Metrics are medians of wall-clock time and of the CPU time of driver and browser. The probe runs twice: as it does it by
// default, when it gives each page half a second of quiet, so that its vitals are final; and as the others do it, without. make peers
// installs what the others need.
func BenchmarkPeers(b *testing.B) {
	drivers := peerDrivers(b)
	names := make([]string, 0, len(drivers))
	for name := range drivers {
		names = append(names, name)
	}
	slices.Sort(names)
	walls, cpus := map[string][]float64{}, map[string][]float64{}
	const setChildSubreaper = 36 // PR_SET_CHILD_SUBREAPER, linux/prctl.h
	if _, _, errno := syscall.Syscall(syscall.SYS_PRCTL, setChildSubreaper, 1, 0); errno != 0 {
		b.Fatal(errno)
	}
	for b.Loop() {
		for range peerRounds {
			for _, name := range names {
				wall, cpu := driveOnce(b, name, drivers[name])
				walls[name], cpus[name] = append(walls[name], wall.Seconds()), append(cpus[name], cpu.Seconds())
			}
		}
	}
	for _, name := range names {
		b.ReportMetric(median(walls[name]), name+"_wall_s")
		b.ReportMetric(median(cpus[name]), name+"_cpu_s")
		b.Logf("%-12s wall %.2f, cpu %.2f", name, walls[name], cpus[name])
	}
	b.ReportMetric(0, "ns/op") // says nothing: all of them are in it
}

// peerDrivers returns the command of each driver, up to date and without arguments that differ between two runs.
func peerDrivers(b *testing.B) map[string][]string {
	b.Helper()
	peers, err := filepath.Abs("../../../tools/peers")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(peers, "node_modules")); err != nil {
		b.Fatalf("%v: install the others with: make peers", err)
	}
	site, err := demosite.Start(b.Context(), slog.New(slog.DiscardHandler), demosite.Options{Regions: []string{"us"}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = site.Close() })
	probe := filepath.Join(b.TempDir(), "probe")
	if out, err := exec.CommandContext(b.Context(), "go", "build", "-o", probe, "lastmile/cmd/probe").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	recording := fillIn(b, "testdata/peers/checkout.json", "{{base}}", site.URL("us"), "{{password}}", demosite.DefaultPassword)
	ours := []string{probe, "run", recording, "--network", "none", "--region", "us", "--allow-net", "127.0.0.0/8"}
	if os.Getuid() == 0 {
		ours = append(ours, "--no-sandbox")
	}
	return map[string][]string{
		"probe":         append(slices.Clone(ours), "--settle", "0s"),
		"probe_settled": ours,
		"floor":         {os.Args[0], floorCommand, recording},
		"floor_careful": {os.Args[0], floorCommand, recording, careful},
		"playwright":    {"node", filepath.Join(peers, "playwright.mjs"), recording},
		"puppeteer":     {"node", filepath.Join(peers, "puppeteer.mjs"), recording},
		"replay":        {"node", filepath.Join(peers, "replay.mjs"), recording},
	}
}

// fillIn writes a copy of a file in which texts are replaced.
func fillIn(t testing.TB, path string, oldNew ...string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), filepath.Base(path))
	if err := os.WriteFile(to, []byte(strings.NewReplacer(oldNew...).Replace(string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

// driveOnce runs a driver to its end, and waits for all that it has left behind.
func driveOnce(b *testing.B, name string, command []string) (wall, cpu time.Duration) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	before := childrenTime(b)
	began := time.Now()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "CHROMIUM="+shellPath(b), "CHROMIUM_FLAGS="+peerFlags+sandboxFlag())
	out, err := cmd.CombinedOutput()
	wall = time.Since(began)
	if err != nil {
		b.Fatalf("%s: %v: %s", name, err, out)
	}
	for { // orphans are ours; nothing else in this process waits for children meanwhile
		if _, err := syscall.Wait4(-1, nil, 0, nil); err != nil && err != syscall.EINTR {
			break
		}
	}
	return wall, childrenTime(b) - before
}

func sandboxFlag() string {
	if os.Getuid() == 0 {
		return " --no-sandbox"
	}
	return ""
}

// childrenTime is the CPU time of all children that have been waited for, and theirs.
func childrenTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// shellPath is the Chromium that all of them start.
func shellPath(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("/usr/lib/chromium/chromium-headless-shell")
	other, err2 := exec.LookPath("chromium-headless-shell")
	if err != nil && err2 != nil {
		t.Fatalf("%v; install it with: apt-get install -y chromium-headless-shell", err)
	}
	return cmp.Or(path, other)
}
