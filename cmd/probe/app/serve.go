package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"lastmile/internal/bus"
	"lastmile/internal/cli"
	"lastmile/internal/exposition"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/spool"
	"lastmile/internal/worker"
)

// ServeOptions describe a probe that joins a fleet. The tags are its flags.
type ServeOptions struct {
	Chromium
	Secrets
	Region       string        `help:"Region of this probe, as in regions.yaml." required:""`
	Probe        string        `help:"Name of this probe, unique in its region; made from the host's name where empty."`
	NATS         string        `name:"nats" help:"Address of the hub." default:"nats://127.0.0.1:4222"`
	NATSToken    string        `name:"nats-token" help:"Token for the hub. Better given as LASTMILE_NATS_TOKEN."`
	Data         string        `help:"Directory for results that are not yet safe at the hub." default:"data/probe" type:"path"`
	Listen       string        `help:"Address for /metrics, /healthz and /readyz." default:"127.0.0.1:9465"`
	BrowserSlots int           `help:"Browser runs at once; 0 = none." default:"1"`
	HTTPSlots    int           `name:"http-slots" help:"HTTP runs at once." default:"4"`
	Grace        time.Duration `help:"How long runs under way may go on at shutdown." default:"10s"`

	Server *bus.Server   `kong:"-"` // reached in-process instead of by NATS
	Gate   chan struct{} `kong:"-"` // shared bound on browser runs; see worker.Options
}

// serveCommand joins the fleet.
type serveCommand struct {
	ServeOptions
}

// Run implements the command.
func (c *serveCommand) Run(ctx context.Context, streams cli.Streams, root *grammar) error {
	return Serve(ctx, root.Logger(streams.Err), c.ServeOptions)
}

// Serve runs a probe until ctx ends. The error says why it could not start, or what broke.
func Serve(ctx context.Context, log *slog.Logger, o ServeOptions) (err error) {
	if o.Probe == "" {
		o.Probe = hostLabel()
	}
	for flag, name := range map[string]string{"--region": o.Region, "--probe": o.Probe} {
		if !scenario.ValidName(name) {
			return &cli.Status{Code: cli.ExitUsage, Err: fmt.Errorf("%s: got %q, want lower-case letters, digits and -", flag, name)}
		}
	}
	log = log.With("region", o.Region, "probe", o.Probe)
	listener, err := cli.Listen(o.Listen, "--listen")
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }() // closed by the server too; this is for the ways out before it
	kept, err := spool.Open(log, filepath.Join(o.Data, "spool"))
	if err != nil {
		return err
	}
	defer func() { _ = kept.Close() }()
	runner, missing, err := newRunner(log, o.Probe, o.Chromium, o.Secrets)
	if err != nil {
		return err
	}
	if missing != nil {
		if o.BrowserSlots > 0 {
			log.Warn("no Chromium: only scenarios without browser steps will run here", "err", missing)
		}
		o.BrowserSlots = 0
	}
	hub, err := bus.Connect(ctx, log, bus.Options{Server: o.Server, URL: url(o), Token: o.NATSToken, Name: o.Region + "." + o.Probe})
	if err != nil {
		return err
	}
	defer func() { _ = hub.Close() }()

	w := worker.New(log, hub, kept, runner, worker.Options{
		Region: o.Region, Probe: o.Probe, Version: cli.Version(version), BrowserSlots: o.BrowserSlots, HTTPSlots: o.HTTPSlots,
		Grace: o.Grace, Gate: o.Gate, Unfinished: unfinished(kept),
	})
	return join(ctx, log, listener, w, metrics(o, w, kept, hub))
}

// join runs the worker and the metrics server until ctx ends or one of them breaks.
func join(ctx context.Context, log *slog.Logger, listener net.Listener, w *worker.Worker, m *exposition.Probe) error {
	log.Info("probe started", "metrics", "http://"+listener.Addr().String()+"/metrics")
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.Run(ctx) })
	group.Go(func() error { return cli.Serve(ctx, listener, exposition.Handler(m.WritePrometheus, w.Ready)) })
	err := group.Wait()
	log.Info("probe stopped")
	return err
}

// unfinished lists what an earlier process began and did not end.
func unfinished(kept *spool.Spool) []runs.Assignment {
	var out []runs.Assignment
	for _, claim := range kept.Unfinished() {
		out = append(out, claim.Assignment)
	}
	return out
}

// url is the hub's address, empty where the server is in this process.
func url(o ServeOptions) string {
	if o.Server != nil {
		return ""
	}
	return o.NATS
}

// metrics collects what /metrics shows.
func metrics(o ServeOptions, w *worker.Worker, kept *spool.Spool, hub *bus.Bus) *exposition.Probe {
	return exposition.NewProbe(exposition.ProbeSources{
		Region: o.Region, Name: o.Probe, Version: cli.Version(version),
		Stats: func() exposition.ProbeStats {
			s, conn := w.Stats(), hub.Stats()
			return exposition.ProbeStats{
				Results: s.Results, Taken: s.Taken, Expired: s.Expired, Rejected: s.Rejected, Repeated: s.Repeated,
				Running: s.Running, Slots: o.BrowserSlots + o.HTTPSlots, Spooled: kept.Pending(), SpoolCorrupt: kept.Corrupt(),
				SpoolErrors: s.SpoolErrors, HubConnected: conn.Connected, Reconnects: conn.Reconnects,
				LastHeartbeat: s.LastHeartbeat, ClockOffset: s.ClockOffset, BrowserAvailable: o.BrowserSlots > 0,
			}
		},
	})
}

// hostLabel turns the host's name into a label.
func hostLabel() string {
	host, err := os.Hostname()
	if err != nil {
		return "probe"
	}
	label := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		}
		return '-'
	}, strings.ToLower(host))
	label = strings.Trim(label[:min(len(label), 63)], "-")
	if label == "" {
		return "probe"
	}
	return label
}
