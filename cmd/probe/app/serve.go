package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"lastmile/internal/admission"
	"lastmile/internal/artefact"
	"lastmile/internal/bus"
	"lastmile/internal/cli"
	"lastmile/internal/exposition"
	"lastmile/internal/journey"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/spool"
	"lastmile/internal/tracing"
	"lastmile/internal/worker"
)

// ServeOptions describe a probe that joins a fleet. The tags are its flags.
type ServeOptions struct {
	RunOptions
	Region       string        `help:"Region of this probe, as in regions.yaml." required:""`
	Probe        string        `help:"Name of this probe, unique in its region; made from the host's name where empty."`
	NATS         string        `name:"nats" help:"Address of the hub." default:"nats://127.0.0.1:4222"`
	NATSToken    string        `name:"nats-token" help:"Token for the hub. Better given as LASTMILE_NATS_TOKEN."`
	Data         string        `help:"Directory for results that are not yet safe at the hub." default:"data/probe" type:"path"`
	Listen       string        `help:"Address for /metrics, /healthz and /readyz." default:"127.0.0.1:9465"`
	BrowserSlots int           `help:"Browser runs under way, those that are ready and wait for their slot included; 0 = none. How many are at work at once follows from --cores." default:"2"`
	HTTPSlots    int           `name:"http-slots" help:"HTTP runs at once." default:"4"`
	Cores        float64       `help:"CPUs that this probe may reckon with: browser runs take half of them at most, or one runs alone. 0 = as many as the machine or its control group has." default:"0"`
	Grace        time.Duration `help:"How long runs under way may go on at shutdown." default:"10s"`

	Artefacts string `help:"Where screenshots, HARs and filmstrips of runs are kept: dir, on this probe; hub, in the hub's object store, which takes them out of their region; or off." enum:"dir,hub,off" default:"dir"`
	ArtefactLimits

	Server *bus.Server     `kong:"-"` // reached in-process instead of by NATS
	Room   *admission.Room `kong:"-"` // of this machine, where several probes of one process share it; made from Cores where nil
	Relay  *bus.Relay      `kong:"-"` // to the runs of other regions; made where nil
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
func Serve(ctx context.Context, log *slog.Logger, o ServeOptions) error {
	if o.Probe == "" {
		o.Probe = cli.HostLabel()
	}
	if err := o.check(); err != nil {
		return &cli.Status{Code: cli.ExitUsage, Err: err}
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
	files, err := o.place(log, cmp.Or(o.Artefacts, artefact.InDir), filepath.Join(o.Data, "artefacts"))
	if err != nil {
		return err
	}
	defer files.Close()
	if o.Artefacts != artefact.Nowhere {
		o.Keeper = files
	}
	if o.Relay == nil {
		o.Relay = bus.NewRelay(log, o.Region, bus.RelayOptions{})
	}
	o.Regions = o.Relay
	if o.Traces, err = tracing.New(log, o.Flags); err != nil {
		return &cli.Status{Code: cli.ExitUsage, Err: err}
	}
	defer o.Traces.Start()() // to the end of the last run
	runner, missing, err := newRunner(ctx, log, o.Probe, o.RunOptions)
	if err != nil {
		return err
	}
	if missing != nil {
		if o.BrowserSlots > 0 {
			log.Warn("no browser runs here, only scenarios without browser steps", "err", missing)
		}
		o.BrowserSlots = 0
	}
	if o.Room == nil {
		o.Room = admission.New(admission.ThisMachine(), o.Cores)
	}
	p := &process{log: log, opts: o, kept: kept, runner: runner, files: files}
	return p.run(ctx, listener)
}

// check reports all flags with values that cannot be used.
func (o ServeOptions) check() error {
	var errs []error
	if !scenario.ValidName(o.Region) {
		errs = append(errs, fmt.Errorf("--region: got %q, want lower-case letters, digits and -", o.Region))
	}
	if !scenario.ValidName(o.Probe) {
		errs = append(errs, fmt.Errorf("--probe: got %q, want lower-case letters, digits and -", o.Probe))
	}
	if o.BrowserSlots < 0 {
		errs = append(errs, fmt.Errorf("--browser-slots: got %d, want 0 or more", o.BrowserSlots))
	}
	if o.Cores < 0 {
		errs = append(errs, fmt.Errorf("--cores: got %v, want 0 or more", o.Cores))
	}
	if o.HTTPSlots < 1 {
		errs = append(errs, fmt.Errorf("--http-slots: got %d, want 1 or more", o.HTTPSlots))
	}
	return errors.Join(append(errs, o.ArtefactLimits.check())...)
}

// process is a probe under way.
type process struct {
	log    *slog.Logger
	opts   ServeOptions
	kept   *spool.Spool
	runner *journey.Runner
	files  *artefact.Place
	fleet  atomic.Pointer[membership] // nil until the hub has been reached
}

// membership is what a probe has once it has reached the hub.
type membership struct {
	hub    *bus.Bus
	worker *worker.Worker
}

// run answers on the listener and works until ctx ends or one of the two breaks. It answers before the hub is reached, and
// while it cannot be: a probe that waits for its hub is alive.
func (p *process) run(ctx context.Context, listener net.Listener) error {
	p.log.Info("probe started", "metrics", "http://"+listener.Addr().String()+"/metrics")
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.work(ctx) })
	group.Go(func() error { return p.files.Run(ctx) })
	group.Go(func() error {
		return cli.Serve(ctx, listener, exposition.Handler(p.metrics().WritePrometheus, p.ready))
	})
	err := group.Wait()
	p.log.Info("probe stopped")
	return err
}

// work joins the fleet and does its share until ctx ends.
func (p *process) work(ctx context.Context) error {
	o := p.opts
	hub, err := bus.Connect(ctx, p.log, bus.Options{Server: o.Server, URL: url(o), Token: o.NATSToken, Name: o.Region + "." + o.Probe, Relay: o.Relay})
	switch {
	case err != nil && ctx.Err() != nil: // stopped before there was a hub
		return nil
	case err != nil:
		return err
	}
	defer func() { _ = hub.Close() }()
	w := worker.New(p.log, hub, p.kept, p.runner, worker.Options{
		Region: o.Region, Probe: o.Probe, Version: cli.Version(version), BrowserSlots: o.BrowserSlots, HTTPSlots: o.HTTPSlots,
		Grace: o.Grace, Room: o.Room, Unfinished: unfinished(p.kept), Clock: o.Relay.Clock,
	})
	p.files.Reached(ctx, hub.Artefacts(o.Region))
	p.fleet.Store(&membership{hub: hub, worker: w})
	p.log.Info("hub reached")
	return w.Run(ctx)
}

// ready returns nil when the coordinator has answered lately.
func (p *process) ready() error {
	m := p.fleet.Load()
	if m == nil {
		return errors.New("the hub has not been reached yet")
	}
	return m.worker.Ready()
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
func (p *process) metrics() *exposition.Probe {
	return exposition.NewProbe(exposition.ProbeSources{
		Region: p.opts.Region, Name: p.opts.Probe, Version: cli.Version(version), Stats: p.stats,
	})
}

func (p *process) stats() exposition.ProbeStats {
	out := exposition.ProbeStats{
		Slots: p.opts.BrowserSlots + p.opts.HTTPSlots, Spooled: p.kept.Pending(), SpoolCorrupt: p.kept.Corrupt(),
		BrowserAvailable: p.opts.BrowserSlots > 0,
	}
	artefactStats(&out, p.files.Stats())
	room := p.opts.Room.State()
	out.BoundCores, out.BusyCores, out.Waiting, out.Refused = room.Bound, room.Busy, room.Waiting, room.Refused
	if m := p.fleet.Load(); m != nil {
		s, conn := m.worker.Stats(), m.hub.Stats()
		out.Results, out.Taken, out.Expired, out.Rejected, out.Repeated = s.Results, s.Taken, s.Expired, s.Rejected, s.Repeated
		out.Running, out.SpoolErrors, out.LastHeartbeat, out.ClockOffset = s.Running, s.SpoolErrors, s.LastHeartbeat, s.ClockOffset
		out.ClockError, out.HubConnected, out.Reconnects = s.ClockError, conn.Connected, conn.Reconnects
	}
	return out
}
