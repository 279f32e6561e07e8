package browser

import (
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"lastmile/internal/browser/chromium"
	"lastmile/internal/browser/elements"
	"lastmile/internal/browser/picture"
	"lastmile/internal/browser/steps"
	"lastmile/internal/browser/tab"
	"lastmile/internal/browser/traffic"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// ErrNotFound is wrapped by the error of New and Open when there is no Chromium to run.
var ErrNotFound = chromium.ErrNotFound

// InstallCommand installs what New looks for, on Debian.
const InstallCommand = chromium.InstallCommand

// Options configure a Runner. The zero value finds Chromium by itself and uses its sandbox.
type Options = chromium.Options

// Limits bound what the pages of one run may do to the machine.
type Limits = chromium.Limits

// Runner opens browser sessions. It is safe for concurrent use.
type Runner struct {
	log      *slog.Logger
	chromium *chromium.Installation
	launches chan struct{}
	quiet    time.Duration // how long without a request makes a page quiet
}

// quiet is how long without a request in flight makes a page quiet.
const quiet = 500 * time.Millisecond

// New looks for Chromium. It fails when there is neither engine, or when a path in opts does not lead to a program; the error names
// what was looked for and how to install it.
func New(log *slog.Logger, opts Options) (*Runner, error) {
	found, err := chromium.New(log, opts)
	if err != nil {
		return nil, err
	}
	return &Runner{log: log, chromium: found, launches: make(chan struct{}, max(opts.Launches, 1)), quiet: quiet}, nil
}

// Version returns the version of the engine that scenarios get by default, such as "Chromium 156.0.8078.79".
func (r *Runner) Version(ctx context.Context) (string, error) { return r.chromium.Version(ctx) }

// Pools names the pools of scenarios that there is an engine for.
func (r *Runner) Pools() []string {
	var out []string
	for pool, engine := range map[string]scenario.Engine{scenario.PoolBrowser: scenario.EngineShell, scenario.PoolFull: scenario.EngineFull} {
		if r.chromium.Has(engine) {
			out = append(out, pool)
		}
	}
	slices.Sort(out)
	return out
}

// Network is the run's access network, as a browser uses it. It outlives the session.
type Network interface {
	// Proxy returns the host:port of the run's own SOCKS5 proxy, which decides over hosts by itself; "" = there is none.
	Proxy() string
	// HostRules returns entries for Chromium's host resolver, such as "MAP localhost 198.19.0.1", where the process itself is inside
	// the network; nil = it is not.
	HostRules() []string
	// Start starts the command inside the network. It may change the command before: path, arguments, files, attributes. The
	// calling thread lives as long as the command, which inherits its priority.
	Start(cmd *exec.Cmd) error
	// Connections returns every connection opened or tried so far, in order of start. Behind a proxy it is from this that requests
	// have their dns and connect phases, remote addresses and true errors; a failure must be in it before the proxy tells Chromium.
	Connections() []runs.Connection
}

// startLimit bounds the start of a browser: 0.3 s on an idle machine.
const startLimit = 30 * time.Second

// Open starts a Chromium for one run on its network and returns it ready for its first step. The caller must Close the session, which alone ends
// it: ctx bounds only the start. An error wraps a *runs.Fault.
func (r *Runner) Open(ctx context.Context, a *runs.Assignment, network Network) (*Session, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	select { // launches are serialised: several at once only slow each other down
	case r.launches <- struct{}{}:
		defer func() { <-r.launches }()
	case <-ctx.Done():
		return nil, &runs.Fault{Class: runs.ClassOverloaded, Err: fmt.Errorf("open browser: wait for other launches: %w", ctx.Err())}
	}
	dev, err := tab.UserOf(&a.Scenario)
	if err != nil {
		return nil, &runs.Fault{Class: runs.ClassProbe, Err: fmt.Errorf("open browser: %w", err)}
	}
	account, err := accountOf(a, network)
	if err != nil {
		return nil, &runs.Fault{Class: runs.ClassProbe, Err: fmt.Errorf("open browser: %w", err)}
	}
	s := &Session{log: r.log, tab: tab.New(dev, account, traceOf(a)), camera: picture.NewCamera(r.log, a)}
	began := time.Now()
	browser, err := r.chromium.Start(chromium.Spec{
		Engine: a.Scenario.Engine, Width: dev.Width, Height: dev.Height, AllowHosts: a.Scenario.AllowHosts,
		Locale: dev.Locale, Languages: dev.Languages(), UserAgent: dev.UserAgent,
		Network: chromium.Network{Proxy: network.Proxy(), HostRules: network.HostRules(), Start: network.Start},
	}, s.event)
	if err != nil {
		return nil, &runs.Fault{Class: runs.ClassProbe, Err: fmt.Errorf("open browser: %w", err)}
	}
	s.browser, s.elements = browser, elements.New(steps.Places(s.tab), tab.WorldName)
	opts := steps.Options{Scale: dev.Scale, Quiet: r.quiet, Settle: a.Scenario.Settle}
	s.player, s.patience = steps.New(browser, s.tab, s.elements, opts), opts.SettleTime()
	if err := s.tab.Open(ctx, browser); err != nil {
		fault := s.player.Fault(ctx, err)
		s.Close()
		return nil, fault
	}
	browser.Started()
	s.launchCPU = browser.Usage().CPU.Seconds()
	s.launchMS = runs.Milliseconds(time.Since(began))
	return s, nil
}

// accountOf opens the account of the run's requests.
func accountOf(a *runs.Assignment, network Network) (*traffic.Log, error) {
	var closest time.Duration
	var clock traffic.Clock
	for i := range 5 { // the two clocks are read one after the other: the pair with the least in between is right to a microsecond
		var chromiums unix.Timespec
		before := time.Now()
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &chromiums); err != nil {
			return nil, fmt.Errorf("read Chromium's clock: %w", err)
		}
		if took := time.Since(before); i == 0 || took < closest {
			closest, clock = took, traffic.Clock{Now: before, Monotonic: time.Duration(chromiums.Nano())}
		}
	}
	if network.Proxy() == "" {
		return traffic.New(&a.Scenario, time.Now, clock, nil), nil
	}
	return traffic.New(&a.Scenario, time.Now, clock, &traffic.Proxy{Connections: network.Connections, Clock: clock}), nil
}
