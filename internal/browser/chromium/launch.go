package chromium

import (
	"errors"
	"fmt"
	"os/exec"
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
	Network       Network         // through which it reaches them

	// What it says of itself before it is told otherwise: the scripts of shared workers and service workers are asked for that way.
	Locale    string                      // zero = en-US
	Languages string                      // as in Accept-Language, without weights; zero = the locale's
	UserAgent func(version string) string // makes the user agent of a version such as 156.0.8078.79; nil = Chromium's own
}

// Network is how a Chromium reaches the network. Without Proxy and HostRules it is on the network of this machine.
type Network struct {
	// Proxy is the host:port of a SOCKS5 proxy through which everything goes that can go through one, and nothing else goes out.
	// It decides over hosts by itself: AllowHosts is not heeded, so that the proxy sees what is tried. "" = none.
	Proxy string

	// HostRules are entries for the host resolver, such as "MAP localhost 198.19.0.1", of a network that the process itself is in;
	// nil = it is in none. There QUIC is possible, and it decides over hosts by itself as a proxy does.
	HostRules []string

	// Start starts the command, which it may change before. It is called on a thread that lives as long as the command and whose
	// priority the command inherits.
	Start func(*exec.Cmd) error
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
	in.sweep()
	dir, err := makeRunDir(in.opts.TempDir)
	if err != nil {
		return nil, fmt.Errorf("make run directory: %w", err)
	}
	proc, err := startProcess(binary, in.flags(spec, dir.path), dir.path, spec.Network.Start)
	if err != nil {
		_ = dir.remove() // the start's error is the one to tell
		return nil, err
	}
	if err := dir.note(proc); err != nil {
		err = errors.Join(fmt.Errorf("start chromium: %w", err), proc.stop(dir.path), dir.remove())
		return nil, err
	}
	return newBrowser(in, proc, dir, spec.Network.Proxy, onEvent), nil
}

// preferences turn the predictor of the full browser off: it opens sockets before a request exists, which then seems to have
// needed no DNS, connect and TLS.
const preferences = `{"net":{"network_prediction_options":2},"search":{"suggest_enabled":false},"safebrowsing":{"enabled":false}}`

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
		"--disable-renderer-backgrounding", "--disable-gpu", "--hide-scrollbars", "--mute-audio",
		"--force-color-profile=srgb", "--password-store=basic",
		"--disable-features=Translate,MediaRouter,OptimizationHints,AutofillServerCommunication,HttpsUpgrades,InterestFeedContentSuggestions," +
			"CertificateTransparencyComponentUpdater,DialMediaRouteProvider,GlobalMediaControls",
		fmt.Sprintf("--window-size=%d,%d", spec.Width, spec.Height),
	}
	flags = append(flags, in.userFlags(spec)...)
	if spec.Engine == scenario.EngineFull {
		flags = append(flags, "--headless")
	}
	if in.opts.NoSandbox {
		flags = append(flags, "--no-sandbox")
	}
	if !in.shm {
		flags = append(flags, "--disable-dev-shm-usage")
	}
	flags = append(flags, networkFlags(spec)...)
	return append(flags, "about:blank")
}

// nowhere is the proxy of all that is not the run's own context: what the full browser does of its own accord (it asks for updates,
// the time, accounts) ends there instead of crossing the run's network or counting as its attempts. See Browser.Proxy.
const nowhere = "nowhere.invalid"

// networkFlags say how the network is reached, and that nothing goes past that.
func networkFlags(spec Spec) []string {
	flags := []string{"--proxy-server=socks5://" + nowhere}
	rules := []string{"MAP " + nowhere + " ~NOTFOUND"}
	if spec.Network.Proxy != "" {
		host, _, _ := strings.Cut(spec.Network.Proxy, ":")
		for _, flag := range []string{"--force-webrtc-ip-handling-policy", "--webrtc-ip-handling-policy"} { // the shell's, the full browser's
			flags = append(flags, flag+"=disable_non_proxied_udp")
		}
		rules = append(rules, "MAP * ~NOTFOUND", "EXCLUDE "+host) // the proxy resolves the hosts that it is asked for
	} else if spec.Network.HostRules != nil {
		rules = append(rules, spec.Network.HostRules...) // the network decides over hosts
	} else if len(spec.AllowHosts) > 0 {
		// Lets nothing through that is not listed, IP literals, workers and WebSockets included.
		rules = append(rules, "MAP * ~NOTFOUND")
		for _, host := range spec.AllowHosts {
			rules = append(rules, "EXCLUDE "+host)
		}
	}
	if spec.Network.Proxy != "" || spec.Network.HostRules == nil {
		flags = append(flags, "--disable-quic")
	}
	return append(flags, "--host-resolver-rules="+strings.Join(rules, " , "))
}
