package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"lastmile/internal/browser"
	"lastmile/internal/cli"
	"lastmile/internal/httprunner"
	"lastmile/internal/journey"
	"lastmile/internal/linkemu"
	"lastmile/internal/netrunner"
	"lastmile/internal/runs"
)

// Link holds the flags of the access network that runs go over.
type Link struct {
	LinkMode string         `help:"How browsers reach the emulated link: proxy works everywhere and carries TCP; namespace carries everything, and needs user namespaces and /dev/net/tun (see probe doctor)." enum:"proxy,namespace" default:"proxy"`
	AllowNet []netip.Prefix `help:"Networks that runs may reach though they are not public, such as 10.20.0.0/16. Without it, private, link-local, metadata and loopback addresses are blocked." placeholder:"CIDR"`
}

// emulator makes the networks of runs, or says why not in this mode.
func (l Link) emulator(ctx context.Context, log *slog.Logger) (*linkemu.Emulator, error) {
	for _, p := range l.AllowNet {
		if linkemu.Reserved(p) {
			return nil, &cli.Status{Code: cli.ExitUsage, Err: fmt.Errorf("--allow-net: got %s, want none of the emulated links' own addresses", p)}
		}
	}
	options := linkemu.Options{AllowNets: l.AllowNet, Namespace: l.LinkMode == "namespace"}
	if options.Namespace {
		if err := linkemu.CheckNamespace(ctx); err != nil {
			return nil, fmt.Errorf("--link-mode namespace: %w", err)
		}
	}
	return linkemu.New(log, options), nil
}

// access is one run's network, and what runs its steps over it.
type access struct {
	*linkemu.Network
	assignment *runs.Assignment
	web        *httprunner.Runner
	bare       *netrunner.Runner
	chrome     *browser.Runner // nil where there is none
	untraced   bool            // whether pages' requests are to bear no traceparent
}

var _ journey.Access = access{}

// HTTP implements journey.Access.
func (a access) HTTP(ctx context.Context) (journey.Executor, error) {
	return opened(a.web.Open(ctx, a.assignment, a.Network))
}

// Bare implements journey.Access.
func (a access) Bare(ctx context.Context) (journey.Executor, error) {
	return opened(a.bare.Open(ctx, a.assignment, a.Network))
}

// Browser implements journey.Access.
func (a access) Browser(ctx context.Context) (journey.Executor, error) {
	if a.chrome == nil {
		return nil, &runs.Fault{Class: runs.ClassProbe, Err: errors.New("open browser: this probe has no Chromium")}
	}
	if err := a.ServeBrowser(); err != nil {
		return nil, &runs.Fault{Class: runs.ClassProbe, Err: err}
	}
	order := *a.assignment
	if a.untraced {
		order.TraceID = ""
	}
	return opened(a.chrome.Open(ctx, &order, a.Network))
}

// opened keeps a nil session from becoming an executor that is not nil.
func opened[S journey.Executor](s S, err error) (journey.Executor, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// newRunner wires the step loop to its executors and their network. Where there is no Chromium, the runner has no browser and missing
// says why.
func newRunner(ctx context.Context, log *slog.Logger, probe string, o RunOptions) (runner *journey.Runner, missing, err error) {
	emulator, err := o.Link.emulator(ctx, log)
	if err != nil {
		return nil, nil, err
	}
	chrome, err := o.Chromium.open(log)
	switch {
	case errors.Is(err, errNoBrowser):
		missing = err
	case err != nil:
		return nil, nil, err
	}
	web, bare := httprunner.New(log, httprunner.Options{}), netrunner.New(log, netrunner.Options{})
	connect := func(ctx context.Context, a *runs.Assignment) (journey.Access, error) {
		network, err := emulator.Open(ctx, a.Network, a.Scenario.AllowsHost)
		if err != nil {
			return nil, &runs.Fault{Class: runs.ClassProbe, Err: err}
		}
		return access{network, a, web, bare, chrome, o.NoTracePages}, nil
	}
	return journey.New(log, probe, connect, o.Secrets.lookup, journey.Options{Done: o.Traces.Offer, Keeper: o.Keeper, Relay: o.Regions, Version: cli.Version(version)}), missing, nil
}
