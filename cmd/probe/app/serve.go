package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"lastmile/internal/admission"
	"lastmile/internal/artefact"
	"lastmile/internal/autonomy"
	"lastmile/internal/bus"
	"lastmile/internal/cli"
	"lastmile/internal/exposition"
	"lastmile/internal/faultpoint"
	"lastmile/internal/hubtime"
	"lastmile/internal/journey"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/spool"
	"lastmile/internal/steady"
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
	Data         string        `help:"Directory for results that are not yet safe at the hub, and for the plan that the probe goes on with when no coordinator answers." default:"data/probe" type:"path"`
	Listen       string        `help:"Address for /metrics, /healthz and /readyz." default:"127.0.0.1:9465"`
	BrowserSlots int           `help:"Browser runs under way, those that are ready and wait for their slot included; 0 = none. How many are at work at once follows from --cores." default:"2"`
	HTTPSlots    int           `name:"http-slots" help:"HTTP runs at once." default:"4"`
	Cores        float64       `help:"CPUs that this probe may reckon with: browser runs take half of them at most, or one runs alone. 0 = as many as the machine or its control group has." default:"0"`
	Grace        time.Duration `help:"How long runs under way may go on at shutdown." default:"10s"`

	Artefacts string `help:"Where screenshots, HARs and filmstrips of runs are kept: dir, on this probe; hub, in the hub's object store, which takes them out of their region; or off." enum:"dir,hub,off" default:"dir"`
	ArtefactLimits

	Silence time.Duration `help:"How long no coordinator answers before this probe orders its own runs, from the last plan that its region was given." default:"30s" hidden:""`

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
	files, err := o.place(log, cmp.Or(o.Artefacts, artefact.InDir), filepath.Join(o.Data, "artefacts"))
	if err != nil {
		return err
	}
	defer files.Close()
	kept, err := spool.Open(log, filepath.Join(o.Data, "spool"), spool.Options{Shed: func(need int64) int64 { return files.Shed(o.Data, need) }})
	if err != nil {
		return err
	}
	defer func() { _ = kept.Close() }()
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
	return newProcess(log, o, kept, runner, files).run(ctx, listener)
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
	if o.Silence < 0 {
		errs = append(errs, fmt.Errorf("--silence: got %s, want 0s or more", o.Silence))
	}
	return errors.Join(append(errs, o.ArtefactLimits.check())...)
}

// process is a probe under way.
type process struct {
	log    *slog.Logger
	opts   ServeOptions
	kept   *spool.Spool
	files  *artefact.Place
	hub    *hub
	pilot  *autonomy.Pilot
	worker *worker.Worker
}

// heartbeats is how many go unanswered before a probe is on its own.
const heartbeats = 6

// newProcess wires a probe's parts.
func newProcess(log *slog.Logger, o ServeOptions, kept *spool.Spool, runner *journey.Runner, files *artefact.Place) *process {
	p := &process{log: log, opts: o, kept: kept, files: files, hub: newHub(log)}
	machine := steady.New(steady.Options{Log: log, Wall: faultpoint.Wall})
	clock := hubtime.New(hubtime.Options{Read: o.Relay.Read, Machine: machine.Now})
	settings := worker.Options{
		Region: o.Region, Probe: o.Probe, Version: cli.Version(version), BrowserSlots: o.BrowserSlots, HTTPSlots: o.HTTPSlots,
		Grace: o.Grace, Heartbeat: o.Silence / heartbeats, Room: o.Room, Unfinished: unfinished(kept), Clock: o.Relay.Clock, Time: clock,
	}
	if chrome, err := o.Chromium.open(log); err == nil {
		settings.BrowserPools = chrome.Pools()
	}
	p.pilot = autonomy.New(log, p.hub, autonomy.Options{
		Region: o.Region, Probe: o.Probe, Pools: settings.Pools(), Dir: o.Data, Silence: o.Silence, Now: clock.Now,
	})
	settings.Autonomy = p.pilot
	p.worker = worker.New(log, p.hub, kept, runner, settings)
	return p
}

// run answers on the listener and works until ctx ends or one of the two breaks. It answers before the hub is reached, and
// while it cannot be: a probe that waits for its hub is alive.
func (p *process) run(ctx context.Context, listener net.Listener) error {
	p.log.Info("probe started", "metrics", "http://"+listener.Addr().String()+"/metrics")
	defer p.hub.close()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.join(ctx) })
	group.Go(func() error { return p.pilot.Run(ctx, p.worker) })
	group.Go(func() error { return p.worker.Run(ctx) })
	group.Go(func() error { return p.files.Run(ctx) })
	group.Go(func() error {
		return cli.Serve(ctx, listener, exposition.Handler(p.metrics().WritePrometheus, p.ready))
	})
	err := group.Wait()
	p.log.Info("probe stopped")
	return err
}

// join reaches the hub. What is done meanwhile does not wait for it.
func (p *process) join(ctx context.Context) error {
	o := p.opts
	to := bus.Options{Server: o.Server, URL: url(o), Token: o.NATSToken, Name: o.Region + "." + o.Probe, Relay: o.Relay}
	return p.hub.connect(ctx, to, func(b *bus.Bus) { p.files.Reached(ctx, b.Artefacts(o.Region)) })
}

// errNoHub is why a probe is not ready, and nothing of the bus available.
var errNoHub = errors.New("the hub has not been reached yet")

// ready returns nil when the coordinator has answered lately.
func (p *process) ready() error {
	if p.hub.bus.Load() == nil {
		return errNoHub
	}
	return p.worker.Ready()
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
	stored := p.kept.Stats()
	out.SpoolBytes, out.SpoolLimit, out.SpoolFull, out.SpoolResent = stored.Bytes, stored.Limit, stored.Full, stored.Resent
	artefactStats(&out, p.files.Stats())
	room := p.opts.Room.State()
	out.BoundCores, out.BusyCores, out.Waiting, out.Refused = room.Bound, room.Busy, room.Waiting, room.Refused
	s, conn, own := p.worker.Stats(), p.hub.stats(), p.pilot.Stats()
	out.Results, out.Taken, out.Expired, out.Rejected, out.Repeated = s.Results, s.Taken, s.Expired, s.Rejected, s.Repeated
	out.Running, out.SpoolErrors, out.LastHeartbeat, out.ClockOffset = s.Running, s.SpoolErrors, s.LastHeartbeat, s.ClockOffset
	out.ClockError, out.HubConnected, out.Reconnects = s.ClockError, conn.Connected, conn.Reconnects
	out.Fenced, out.ClockCorrected = s.Fenced, s.ClockCorrected
	out.Autonomous, out.AutonomousRuns, out.AutonomousMissed, out.Peers = own.Alone, own.Runs, own.Missed, own.Siblings
	return out
}
