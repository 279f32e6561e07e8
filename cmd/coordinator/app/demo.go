package app

import (
	"context"
	"time"

	"lastmile/cmd/coordinator/demo"
	probe "lastmile/cmd/probe/app"
	"lastmile/internal/cli"
)

// demoCommand is everything on one machine.
type demoCommand struct {
	Scenarios
	For        time.Duration `help:"Stop by itself after so long; 0 = at Ctrl-C." default:"0s"`
	Output     string        `help:"text: what happens, as it happens. json: a summary at the end on standard output, the rest on standard error." enum:"text,json" default:"text"`
	Fault      []string      `help:"Switch a fault of the shop on: ${faults}. Each strikes in one region of its own, or with =REGION in another, or with =all. May be repeated." placeholder:"FAULT[=REGION]" sep:"none"`
	Data       string        `help:"Directory to keep everything in, and to go on from; a new temporary one where empty." type:"path"`
	Listen     string        `help:"Address for the coordinator's metrics; the probes' follow at the next ports. Port 0 picks free ones." default:"127.0.0.1:9464"`
	NATSListen string        `name:"nats-listen" help:"Address at which the embedded NATS server can be reached from outside; none where empty."`
	ShopPort   int           `help:"Port of the shop's first region; the others follow. 0 picks free ones." default:"18080"`

	probe.Chromium
}

// Run implements the command.
func (c *demoCommand) Run(ctx context.Context, streams cli.Streams, root *grammar) error {
	set, err := c.load()
	if err != nil {
		return err
	}
	return demo.Run(ctx, streams, demo.Options{
		Version: cli.Version(version), Set: set, For: c.For, JSON: c.Output == "json", Faults: c.Fault, Data: c.Data, Listen: c.Listen,
		NATSListen: c.NATSListen, ShopPort: c.ShopPort, Chromium: c.Chromium, Logger: root.Logger, Terminal: terminal,
	})
}
