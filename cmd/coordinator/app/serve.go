package app

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"lastmile/internal/bus"
	"lastmile/internal/cli"
	"lastmile/internal/scenariofile"
)

// serveCommand is the coordinator as a service.
type serveCommand struct {
	Scenarios
	Data       string        `help:"Directory of the embedded server's streams." default:"data/coordinator" type:"path"`
	Listen     string        `help:"Address for /metrics, /healthz and /readyz." default:"127.0.0.1:9464"`
	NATS       string        `name:"nats" help:"Address of an existing NATS server with JetStream, to be used instead of the embedded one."`
	NATSListen string        `name:"nats-listen" help:"Address of the embedded NATS server." default:"127.0.0.1:4222"`
	NATSToken  string        `name:"nats-token" help:"Token that clients present; required where --nats-listen is not a loopback address. Better given as LASTMILE_NATS_TOKEN."`
	Grace      time.Duration `help:"How long after a slot's deadline its result may still come before it counts as missing." default:"30s"`
}

// Run implements the command.
func (c *serveCommand) Run(ctx context.Context, streams cli.Streams, root *grammar) error {
	log := root.Logger(streams.Err)
	if c.Grace < 0 {
		return &cli.Status{Code: cli.ExitUsage, Err: fmt.Errorf("--grace: got %s, want 0s or more: a slot has until its deadline", c.Grace)}
	}
	set, err := c.load()
	if err != nil {
		return err
	}
	listener, err := cli.Listen(c.Listen, "--listen")
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }() // closed by the server too; this is for the ways out before it
	server, err := c.server(log)
	if err != nil {
		return err
	}
	defer stopServer(ctx, log, server)
	var f front
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return cli.Serve(ctx, listener, f.handler()) })
	group.Go(func() error { return c.work(ctx, log, set, server, &f, listener.Addr().String()) })
	return group.Wait()
}

// work reaches the hub and coordinates until ctx ends.
func (c *serveCommand) work(ctx context.Context, log *slog.Logger, set scenariofile.Set, server *bus.Server, f *front, address string) error {
	hub, err := bus.Connect(ctx, log, c.connection(server))
	switch {
	case err != nil && ctx.Err() != nil: // stopped before there was a hub
		return nil
	case err != nil:
		return err
	}
	defer closeHub(log, hub)
	u := newUnit(log, set, hub, unitOptions{address: address, grace: c.Grace, ended: logRun(log)})
	f.unit.Store(u)
	return u.run(ctx, ctx)
}

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
		return bus.Options{Server: server, Name: "coordinator"}
	}
	return bus.Options{URL: c.NATS, Token: c.NATSToken, Name: "coordinator"}
}

// stopTime bounds the stop of the embedded server.
const stopTime = 10 * time.Second

// stopServer ends an embedded server, if there is one.
func stopServer(ctx context.Context, log *slog.Logger, server *bus.Server) {
	if server == nil {
		return
	}
	final, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	if err := server.Stop(final); err != nil {
		log.Error("nats server not stopped cleanly", "err", err)
	}
}

func closeHub(log *slog.Logger, hub *bus.Bus) {
	if err := hub.Close(); err != nil {
		log.Warn("bus not closed cleanly", "err", err)
	}
}
