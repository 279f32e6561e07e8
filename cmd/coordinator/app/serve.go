package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"lastmile/cmd/coordinator/coordination"
	"lastmile/cmd/coordinator/identity"
	"lastmile/internal/bus"
	"lastmile/internal/cli"
	"lastmile/internal/faultpoint"
	"lastmile/internal/notify"
	"lastmile/internal/runs"
	"lastmile/internal/scenariofile"
	"lastmile/internal/steady"
)

// serveCommand is the coordinator as a service.
type serveCommand struct {
	Scenarios
	Data         string        `help:"Directory of this coordinator: its id, a snapshot of its books, the embedded server's streams. Each coordinator needs one of its own." default:"data/coordinator" type:"path"`
	Listen       string        `help:"Address for /metrics, /healthz and /readyz." default:"127.0.0.1:9464"`
	NATS         string        `name:"nats" help:"Address of an existing NATS server with JetStream, to be used instead of the embedded one."`
	NATSListen   string        `name:"nats-listen" help:"Address of the embedded NATS server." default:"127.0.0.1:4222"`
	Replicas     int           `help:"On how many servers of a NATS cluster everything is kept: 3 bears the loss of one. 0 = as it is, one at first. With --nats only." default:"0"`
	NATSToken    string        `name:"nats-token" help:"Token that clients present; required where --nats-listen is not a loopback address. Better given as LASTMILE_NATS_TOKEN."`
	ResultsBytes int64         `help:"How many bytes the results of each region may take, before compression; with the embedded server they are set aside on its disk. Once they are taken, new results stay with the probes." default:"1073741824"`
	Notify       notifyFlags   `embed:""`
	Grace        time.Duration `help:"How long after a slot's deadline its result may still come before it counts as missing." default:"30s"`
}

// Run implements the command.
func (c *serveCommand) Run(ctx context.Context, streams cli.Streams, root *grammar) error {
	log := root.Logger(streams.Err)
	if c.Grace < 0 {
		return &cli.Status{Code: cli.ExitUsage, Err: fmt.Errorf("--grace: got %s, want 0s or more: a slot has until its deadline", c.Grace)}
	}
	if c.ResultsBytes < leastResults {
		return &cli.Status{Code: cli.ExitUsage, Err: fmt.Errorf("--results-bytes: got %d, want %d or more", c.ResultsBytes, leastResults)}
	}
	if c.Replicas < 0 || c.Replicas > 5 || c.Replicas > 1 && c.NATS == "" {
		return &cli.Status{Code: cli.ExitUsage, Err: fmt.Errorf("--replicas: got %d, want 0 to 5, and 1 at most without --nats: the embedded server is alone", c.Replicas)}
	}
	to, err := c.Notify.config(streams.Out)
	if err == nil {
		_, err = notify.New(log, nil, to) // so that whoever mistyped something is told at once, not when the hub is there
	}
	if err != nil {
		return &cli.Status{Code: cli.ExitUsage, Err: err}
	}
	set, err := c.load()
	if err != nil {
		return err
	}
	self, err := identity.Take(c.Data)
	if err != nil {
		return err
	}
	defer self.Close()
	listener, err := cli.Listen(c.Listen, "--listen")
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }() // closed by the server too; this is for the ways out before it
	var f coordination.Front
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return cli.Serve(ctx, listener, f.Handler()) })
	group.Go(func() error { // beside it: a server that reads back millions of messages takes its time, and the process is alive meanwhile
		server, err := c.server(log)
		if err != nil {
			return err
		}
		defer coordination.StopServer(ctx, log, server)
		return c.work(ctx, log, set, server, &f, to, coordination.Options{Version: cli.Version(version), Address: listener.Addr().String(), Holder: self.ID})
	})
	return group.Wait()
}

// leastResults is room for some thousand results.
const leastResults = 16 << 20

// work reaches the hub and coordinates until ctx ends. Where the books turn out not to be those of the streams, which have been cut or replaced,
// it begins anew.
func (c *serveCommand) work(ctx context.Context, log *slog.Logger, set scenariofile.Set, server *bus.Server, f *coordination.Front, to notify.Config, opts coordination.Options) error {
	opts.Clock = steady.New(steady.Options{Log: log, Wall: faultpoint.Wall})
	connection := c.connection(server)
	connection.Now = opts.Clock.Now
	hub, err := bus.Connect(ctx, log, connection)
	switch {
	case err != nil && ctx.Err() != nil: // stopped before there was a hub
		return nil
	case err != nil:
		return err
	}
	defer coordination.CloseHub(log, hub)
	notifier, err := notify.New(log, hub.Outbox(), to)
	if err != nil {
		return err
	}
	opts.Notifier, opts.Sinks = notifier, sinks(notifier)
	opts.Grace, opts.Ended = c.Grace, logRun(log)
	opts.Snapshots = coordination.NewSnapshots(log, filepath.Join(c.Data, "snapshot"), "coordinator "+opts.Version)
	for {
		u := coordination.New(log, set, hub, opts)
		f.Show(u)
		err := u.Run(ctx, ctx)
		if !errors.Is(err, bus.ErrRewound) || ctx.Err() != nil {
			return err
		}
		opts.Snapshots.Refuse(err)
		opts.Rewound = opts.Clock.Now()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(beginAgain):
		}
	}
}

// beginAgain is a pause, should streams be cut again and again.
const beginAgain = time.Second

// server starts the embedded server, or returns nil where an existing one is used.
func (c *serveCommand) server(log *slog.Logger) (*bus.Server, error) {
	if c.NATS != "" {
		return nil, nil
	}
	return bus.StartServer(log, bus.ServerOptions{Dir: filepath.Join(c.Data, "jetstream"), Listen: c.NATSListen, Token: c.NATSToken})
}

// connection says how to reach the hub.
func (c *serveCommand) connection(server *bus.Server) bus.Options {
	if server != nil {
		return bus.Options{Server: server, Name: "coordinator", ResultsBytes: c.ResultsBytes}
	}
	return bus.Options{URL: c.NATS, Token: c.NATSToken, Name: "coordinator", Replicas: c.Replicas, ResultsBytes: c.ResultsBytes}
}

// logRun returns a function that logs a run that ended.
func logRun(log *slog.Logger) func(*runs.Result) {
	return func(r *runs.Result) {
		attrs := []any{"run_id", r.RunID, "state", r.State, "duration_ms", r.DurationMS}
		if r.Cause != nil {
			attrs = append(attrs, "class", r.Cause.Class, "step", r.Cause.Step, "detail", r.Cause.Detail)
		}
		log.Info("run ended", attrs...)
	}
}
