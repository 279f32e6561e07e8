package chromium

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/chromedp/cdproto"

	"lastmile/internal/scenario"
)

// Spec says what kind of browser to start.
type Spec struct {
	Engine        scenario.Engine // zero = the shell
	Width, Height int             // of the window, CSS pixels
	AllowHosts    []string        // the only hosts it may reach, as in scenario.AllowHosts; empty = any
}

// maxTempDir is the length in bytes of the longest TempDir for the full engine, which makes a socket some 60 bytes below it: the
// path of a socket has room for 107.
const maxTempDir = 40

// Start runs a Chromium in a run directory of its own. onEvent is called for each event of every session, one at a time; it may Post
// but must not Call. The caller must Close the browser.
func (in *Installation) Start(spec Spec, onEvent func(*cdproto.Message)) (*Browser, error) {
	if spec.Engine == "" {
		spec.Engine = scenario.EngineShell
	}
	binary, ok := in.binaries[spec.Engine]
	if !ok {
		return nil, fmt.Errorf("start chromium: %w: engine %s was not there when the probe started; on Debian: %s",
			ErrNotFound, spec.Engine, InstallCommand)
	}
	if n := len(in.opts.TempDir); spec.Engine == scenario.EngineFull && n > maxTempDir {
		return nil, fmt.Errorf("start chromium: got a temporary directory of %d bytes, %s, want at most %d for engine full",
			n, in.opts.TempDir, maxTempDir)
	}
	dir, err := makeRunDir(in.opts.TempDir)
	if err != nil {
		return nil, fmt.Errorf("make run directory: %w", err)
	}
	proc, err := startProcess(binary, in.flags(spec, dir), environment(dir), dir)
	if err != nil {
		_ = os.RemoveAll(dir) // the start's error is the one to tell
		return nil, err
	}
	return newBrowser(in, proc, dir, onEvent), nil
}

// preferences turn the predictor of the full browser off: it opens sockets before a request exists, which then seems to have
// needed no DNS, connect and TLS.
const preferences = `{"net":{"network_prediction_options":2},"search":{"suggest_enabled":false},"safebrowsing":{"enabled":false}}`

func makeRunDir(parent string) (dir string, err error) {
	if dir, err = os.MkdirTemp(parent, "lastmile-"); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(dir)
		}
	}()
	if err = os.MkdirAll(filepath.Join(dir, "profile/Default"), 0o700); err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "profile/Default/Preferences"), []byte(preferences), 0o600)
}

// environment is all that Chromium learns of ours: no secret of the probe's is in it.
func environment(dir string) []string {
	return []string{
		"HOME=" + dir, "TMPDIR=" + dir, "XDG_CONFIG_HOME=" + dir, "XDG_CACHE_HOME=" + dir, "XDG_RUNTIME_DIR=" + dir,
		"PATH=/usr/bin:/bin", "LANG=en_US.UTF-8", "DBUS_SESSION_BUS_ADDRESS=disabled:", "DBUS_SYSTEM_BUS_ADDRESS=disabled:",
	}
}

// flags make Chromium talk to nobody but the scenario's hosts, ask nobody anything, and render as it would in the foreground.
func (in *Installation) flags(spec Spec, dir string) []string {
	flags := []string{
		"--remote-debugging-pipe", "--user-data-dir=" + filepath.Join(dir, "profile"),
		"--no-first-run", "--no-default-browser-check", "--disable-default-apps", "--disable-extensions", "--disable-sync",
		"--disable-background-networking", "--disable-component-update", "--disable-domain-reliability", "--no-pings",
		"--disable-client-side-phishing-detection", "--disable-search-engine-choice-screen", "--metrics-recording-only",
		"--disable-breakpad", "--disable-crash-reporter", "--disable-hang-monitor", "--disable-prompt-on-repost",
		"--disable-popup-blocking", "--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows",
		"--disable-renderer-backgrounding", "--disable-quic", "--disable-gpu", "--hide-scrollbars", "--mute-audio",
		"--force-color-profile=srgb", "--password-store=basic", "--lang=en-US",
		"--disable-features=Translate,MediaRouter,OptimizationHints,AutofillServerCommunication,HttpsUpgrades,InterestFeedContentSuggestions," +
			"CertificateTransparencyComponentUpdater,DialMediaRouteProvider,GlobalMediaControls",
		fmt.Sprintf("--window-size=%d,%d", spec.Width, spec.Height),
	}
	if spec.Engine == scenario.EngineFull {
		flags = append(flags, "--headless")
	}
	if in.opts.NoSandbox {
		flags = append(flags, "--no-sandbox")
	}
	if !in.shm {
		flags = append(flags, "--disable-dev-shm-usage")
	}
	if len(spec.AllowHosts) > 0 {
		// Lets nothing through that is not listed, IP literals, workers and WebSockets included.
		rules := []string{"MAP * ~NOTFOUND"}
		for _, host := range spec.AllowHosts {
			rules = append(rules, "EXCLUDE "+host)
		}
		flags = append(flags, "--host-resolver-rules="+strings.Join(rules, " , "))
	}
	return append(flags, "about:blank")
}
