package browser

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"lastmile/internal/browser/chromium"
	"lastmile/internal/browser/tab"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// ErrNotFound is wrapped by the error of New and Open when there is no Chromium to run.
var ErrNotFound = chromium.ErrNotFound

// Options configure a Runner. The zero value finds Chromium by itself and uses its sandbox.
type Options = chromium.Options

// Runner opens browser sessions. It is safe for concurrent use.
type Runner struct {
	log      *slog.Logger
	chromium *chromium.Installation
	launches chan struct{}
	quiet    time.Duration // how long without a request makes a page quiet
}

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

// startLimit bounds the start of a browser: 0.3 s on an idle machine.
const startLimit = 30 * time.Second

// Open starts a Chromium for one run and returns it ready for its first step. The caller must Close the session, which alone ends
// it: ctx bounds only the start. An error wraps a *runs.Fault.
func (r *Runner) Open(ctx context.Context, a *runs.Assignment) (*Session, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	select { // launches are serialised: several at once only slow each other down
	case r.launches <- struct{}{}:
		defer func() { <-r.launches }()
	case <-ctx.Done():
		return nil, &runs.Fault{Class: runs.ClassOverloaded, Err: fmt.Errorf("open browser: wait for other launches: %w", ctx.Err())}
	}
	dev, ok := tab.DeviceNamed(a.Scenario.Device)
	if !ok {
		return nil, &runs.Fault{Class: runs.ClassProbe, Err: fmt.Errorf("open browser: got device %q, want one of %s",
			a.Scenario.Device, strings.Join(scenario.Devices(), ", "))}
	}
	s := &Session{log: r.log, device: dev, quiet: r.quiet, tab: tab.New(&a.Scenario, dev)}
	browser, err := r.chromium.Start(chromium.Spec{
		Engine: a.Scenario.Engine, Width: dev.Width, Height: dev.Height, AllowHosts: a.Scenario.AllowHosts,
	}, s.tab.Event)
	if err != nil {
		return nil, &runs.Fault{Class: runs.ClassProbe, Err: fmt.Errorf("open browser: %w", err)}
	}
	s.browser = browser
	if err := s.tab.Open(ctx, browser); err != nil {
		fault := s.faultOf(ctx, err)
		s.Close()
		return nil, fault
	}
	return s, nil
}
