package app

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"lastmile/internal/cli"
	"lastmile/internal/cli/clitest"
	"lastmile/internal/linkemu"
)

// examine returns the doctor's checks by name.
func examine(t *testing.T, args ...string) (int, map[string]check) {
	t.Helper()
	code, out, errs := clitest.Run(t, Main, append([]string{"doctor", "--output", "json"}, args...)...)
	var all []check
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		t.Fatalf("got status %d, %q, %q (%v), want a list of checks", code, out, errs, err)
	}
	byName := map[string]check{}
	failures := 0
	for _, c := range all {
		if _, twice := byName[c.Name]; twice || c.Found == "" || c.State != healthy && c.State != limited && c.State != broken {
			t.Errorf("got check %+v, want each once, with a state and what was found", c)
		}
		if c.State == broken {
			failures++
		}
		byName[c.Name] = c
	}
	if want := map[bool]int{true: 0, false: cli.ExitFailed}[failures == 0]; code != want {
		t.Errorf("got status %d with %d failures, want %d", code, failures, want)
	}
	return code, byName
}

func TestDoctorOnThisMachine(t *testing.T) {
	code, got := examine(t, "--no-sandbox")
	if code != 0 {
		t.Errorf("got status %d, want 0: the tests of this package run scenarios here: %+v", code, got)
	}
	for _, name := range []string{
		"chromium-shell", "chromium-full", "chromium-sandbox", "link-dial", "timer", "link-proxy", "link-namespace",
		"cpu", "memory", "shm", "open-files", "temp-dir", "clock", "dns", "ipv6",
	} {
		if got[name].Name == "" {
			t.Errorf("got no check %s", name)
		}
	}
	if c := got["chromium-shell"]; c.State != healthy || !strings.Contains(c.Found, "Chromium") || !strings.Contains(c.Found, "starts in") {
		t.Errorf("got %+v, want its version and that it starts", c)
	}
	if c := got["chromium-sandbox"]; c.State != limited || c.Do == "" || !strings.Contains(c.Found, "--no-sandbox") {
		t.Errorf("got %+v, want a warning of --no-sandbox", c)
	}
}

// A path that the user gave and that leads nowhere is no reason to take another.
func TestDoctorWithoutChromium(t *testing.T) {
	_, got := examine(t, append(noChromium(), "--temp-dir", t.TempDir())...)
	for _, name := range []string{"chromium-shell", "chromium-full"} {
		if c := got[name]; c.State != broken || !strings.Contains(c.Found, "/nonexistent") || !strings.Contains(c.Do, "--"+name) {
			t.Errorf("got %+v, want a failure that names the path and the flag", c)
		}
	}
	if c := got["link-proxy"]; c.State != limited || !strings.Contains(c.Found, "not tried") {
		t.Errorf("got %+v, want it not tried", c)
	}
	if _, tried := got["chromium-sandbox"]; tried {
		t.Error("got a check of the sandbox of no browser")
	}
}

// Chromium is not to be had by its flags, so that only the link is in the way of --link-mode namespace.
func TestDoctorOfNamespaceMode(t *testing.T) {
	_, got := examine(t, append(noChromium(), "--link-mode", "namespace")...)
	c, possible := got["link-namespace"], linkemu.CheckNamespace(t.Context()) == nil
	if _, tried := got["link-proxy"]; tried || possible != (c.State == limited) || !possible && (c.State != broken || c.Do == "") {
		t.Errorf("got %+v where a namespace is possible: %v", c, possible)
	}
}

func TestDoctorPrints(t *testing.T) {
	var out strings.Builder
	printChecks(&out, []check{{"clock", healthy, "fine", ""}, {"shm", limited, "two\nlines", "do this"}})
	want := "ok    clock             fine\nwarn  shm               two lines\n                        -> do this\n\n" +
		"1 ok, 1 warnings, 0 failures: probe runs are possible here\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
	out.Reset()
	if printChecks(&out, []check{{"temp-dir", broken, "full", "make room"}}); !strings.Contains(out.String(), "not possible here") {
		t.Errorf("got %s, want that it is not possible", &out)
	}
}

func TestTempDir(t *testing.T) {
	dir := t.TempDir()
	long := filepath.Join(dir, strings.Repeat("x", 60))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]health{os.TempDir(): healthy, long: limited, filepath.Join(dir, "missing"): broken} {
		if c := temp(path); c.State != want {
			t.Errorf("%s: got %+v, want %s", path, c, want)
		}
	}
	if left, err := os.ReadDir(long); err != nil || len(left) > 0 {
		t.Errorf("got %v left behind (%v)", left, err)
	}
}

func TestResolver(t *testing.T) {
	for text, want := range map[string]check{
		"# a comment\nnameserver 192.0.2.1\nsearch x\nnameserver 2001:db8::1\n": {Name: "dns", State: healthy, Found: "resolver 192.0.2.1, 2001:db8::1"},
		"search x\n": {Name: "dns", State: limited, Found: "no nameserver in /etc/resolv.conf: only names of /etc/hosts are found", Do: "write one there, or give the container one with --dns"},
	} {
		if got := (machine{files: fstest.MapFS{"etc/resolv.conf": {Data: []byte(text)}}}).dns(); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}
