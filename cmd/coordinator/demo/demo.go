// Package demo is everything on one machine: a shop in several regions, a coordinator, a probe in each region, and a terminal that shows what happens.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"lastmile/cmd/coordinator/coordination"
	"lastmile/cmd/coordinator/identity"
	probe "lastmile/cmd/probe/app"
	"lastmile/internal/admission"
	"lastmile/internal/bus"
	"lastmile/internal/cli"
	"lastmile/internal/console"
	"lastmile/internal/demosite"
	"lastmile/internal/runs"
	"lastmile/internal/scenariofile"
)

// Options say what a demo is made of.
type Options struct {
	Version    string                              // of the program
	Set        scenariofile.Set                    // what is run
	For        time.Duration                       // it stops by itself after so long; zero = when its context ends
	JSON       bool                                // standard output is for the summary at the end, as JSON: all else goes to standard error
	Faults     []string                            // of the shop, as demosite.ParseFault reads them
	Data       string                              // directory to keep everything in, and to go on from; "" = a new temporary one
	Listen     string                              // address of the coordinator's metrics; the probes' follow at the next ports. Port 0 picks free ones
	NATSListen string                              // address at which the NATS server can be reached from outside; "" = none
	ShopPort   int                                 // port of the shop's first region; the others follow. 0 picks free ones
	Chromium   probe.Chromium                      // what the probes start
	Logger     func(io.Writer) *slog.Logger        // makes the log, which goes to a file
	Terminal   func(out io.Writer) console.Options // how to write to an output
}

// Run runs a demo. It ends when its time is up, when ctx ends, or when something breaks.
func Run(ctx context.Context, streams cli.Streams, o Options) error {
	temporary := o.Data == ""
	if err := o.dataDir(); err != nil {
		return err
	}
	logFile, err := os.OpenFile(filepath.Join(o.Data, "demo.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer func() { _ = logFile.Close() }()
	d := &demo{opts: o, log: o.Logger(logFile), set: o.Set, streams: streams}
	err = d.run(ctx)
	if d.started.IsZero() && temporary { // it never ran: there is nothing to keep
		err = errors.Join(err, os.RemoveAll(o.Data))
	}
	return err
}

// dataDir makes the directory of the demo.
func (o *Options) dataDir() (err error) {
	if o.Data == "" {
		o.Data, err = os.MkdirTemp("", "lastmile-demo-")
	} else {
		err = os.MkdirAll(o.Data, 0o700)
	}
	if err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	return nil
}

// demo is a demo under way.
type demo struct {
	opts    Options
	log     *slog.Logger
	set     scenariofile.Set
	streams cli.Streams
	site    *demosite.Site
	unit    *coordination.Unit
	console *console.Console
	alerts  alerts
	started time.Time
}

// run starts everything in the order of need, waits, and stops it in reverse: the plan first, then the probes when their runs have
// ended, then the coordinator when their results are in, then the shop.
func (d *demo) run(ctx context.Context) (err error) {
	faults, err := d.opts.faults()
	if err != nil {
		return &cli.Status{Code: cli.ExitUsage, Err: err}
	}
	if err := d.chromium().Check(d.log); err != nil {
		return err
	}
	if err := d.openShop(ctx, faults); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.site.Close()) }()
	self, err := identity.Take(d.opts.Data)
	if err != nil {
		return err
	}
	defer self.Close()
	server, err := bus.StartServer(d.log, bus.ServerOptions{Dir: filepath.Join(d.opts.Data, "jetstream"), Listen: d.opts.NATSListen})
	if err != nil {
		return err
	}
	defer coordination.StopServer(ctx, d.log, server)
	hub, err := bus.Connect(ctx, d.log, bus.Options{Server: server, Name: "coordinator"})
	if err != nil {
		return err
	}
	defer coordination.CloseHub(d.log, hub)
	listener, err := cli.Listen(d.opts.Listen, "--listen")
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }() // closed by the server too; this is for the ways out before it
	d.unit = coordination.New(d.log, d.set, hub, coordination.Options{
		Version: d.opts.Version, Address: listener.Addr().String(), Grace: demoGrace, Ended: func(r *runs.Result) { d.console.Run(r) },
		Alerted: func(a *runs.Alert) {
			d.alerts.note(a)
			d.console.Alert(a)
		},
		Holder: self.ID, Lease: demoLease,
	})
	d.console = d.newConsole()
	d.started = time.Now()
	d.greet(listener)
	err = d.work(ctx, server, listener)
	d.console.Close()
	return errors.Join(err, d.summarise())
}

// fault is one of the shop's, in one region, or in its default one where the region is empty.
type fault struct {
	name   demosite.Fault
	region string
}

// faults reads the flags.
func (o *Options) faults() ([]fault, error) {
	var out []fault
	for _, text := range o.Faults {
		name, region, err := demosite.ParseFault(text)
		if err != nil {
			return nil, fmt.Errorf("--fault: %w", err)
		}
		out = append(out, fault{name: name, region: region})
	}
	return out, nil
}

// demoGrace is short: everything is on one machine.
const demoGrace = 5 * time.Second

// demoLease is long: nobody waits for it, and a busy machine must not cost the only coordinator the lead.
const demoLease = time.Minute

// openShop starts the shop with its faults and points the scenarios at it.
func (d *demo) openShop(ctx context.Context, faults []fault) (err error) {
	d.site, err = demosite.Start(ctx, d.log, demosite.Options{Regions: d.set.Fleet.Regions, Port: d.opts.ShopPort, PortFlag: "--shop-port"})
	if err != nil {
		return err
	}
	for _, f := range faults {
		if err := d.site.Faults().Set(f.name, f.region, true); err != nil {
			return errors.Join(&cli.Status{Code: cli.ExitUsage, Err: fmt.Errorf("--fault: %w", err)}, d.site.Close())
		}
	}
	var settings []string
	for _, region := range d.set.Fleet.Regions {
		settings = append(settings, region+":base="+d.site.URL(region))
	}
	if err := d.set.Override(settings); err != nil {
		return errors.Join(fmt.Errorf("point scenarios at the shop: %w", err), d.site.Close())
	}
	return nil
}

// newConsole writes to standard output, or to standard error where standard output is for the summary.
func (d *demo) newConsole() *console.Console {
	out := d.streams.Out
	if d.opts.JSON {
		out = d.streams.Err
	}
	return console.New(out, func() []runs.Account { return d.unit.Ledger().Accounts(time.Now()) }, d.opts.Terminal(out))
}

func (d *demo) greet(listener net.Listener) {
	d.console.Note("The shop, one address for each region:")
	for _, region := range d.set.Fleet.Regions {
		d.console.Note("  %-6s %s", region, d.site.URL(region))
	}
	d.console.Note("Metrics: http://%s/metrics   Data and log: %s", listener.Addr(), d.opts.Data)
	if active := d.site.Faults().Active(); len(active) > 0 {
		d.console.Note("Faults switched on: %s", strings.Join(active, ", "))
	}
	if d.opts.For > 0 {
		d.console.Note("Running for %s; Ctrl-C stops earlier.", d.opts.For)
	} else {
		d.console.Note("Ctrl-C stops.")
	}
}

// work runs the fleet until the time is up, ctx ends, or something breaks.
func (d *demo) work(ctx context.Context, server *bus.Server, listener net.Listener) error {
	probes, err := d.probes(server)
	if err != nil {
		return err
	}
	lasting := context.WithoutCancel(ctx)
	scheduling, endScheduling := context.WithCancel(ctx)
	defer endScheduling()
	if d.opts.For > 0 {
		defer time.AfterFunc(d.opts.For, endScheduling).Stop()
	}
	unitCtx, stopUnit := context.WithCancel(lasting)
	defer stopUnit()
	probeCtx, stopProbes := context.WithCancel(lasting)
	defer stopProbes()

	broken := func(err error) error { // whatever breaks ends the plan, and with it the rest
		endScheduling()
		return err
	}
	var unitGroup, probeGroup errgroup.Group
	working, unitGone := context.WithCancel(lasting) // without the unit no slot comes to an end
	defer unitGone()
	unitGroup.Go(func() error {
		defer unitGone()
		return broken(d.coordinate(unitCtx, scheduling, listener))
	})
	for _, options := range probes {
		probeGroup.Go(func() error { return broken(probe.Serve(probeCtx, d.log, options)) })
	}
	d.watch(scheduling)
	d.console.Note("\nStopping: no new runs, waiting for those under way.")
	d.drain(ctx, working)
	stopProbes()
	err = probeGroup.Wait()
	d.await(working, settleLimit)
	stopUnit()
	return errors.Join(err, unitGroup.Wait())
}

// coordinate runs the coordinator and its metrics until ctx ends or one of the two breaks.
func (d *demo) coordinate(ctx, scheduling context.Context, listener net.Listener) error {
	var f coordination.Front
	f.Show(d.unit)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.unit.Run(ctx, scheduling) })
	group.Go(func() error { return cli.Serve(ctx, listener, f.Handler()) })
	return group.Wait()
}

// probes describes the probe of each region.
func (d *demo) probes(server *bus.Server) ([]probe.ServeOptions, error) {
	host, text, err := net.SplitHostPort(d.opts.Listen)
	if err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("--listen: got port %q, want a number", text)
	}
	room := admission.New(admission.ThisMachine(), 0) // all probes share this machine
	var out []probe.ServeOptions
	for _, region := range d.set.Fleet.Regions {
		if port != 0 {
			port++
		}
		out = append(out, d.probe(region, net.JoinHostPort(host, strconv.Itoa(port)), server, room))
	}
	return out, nil
}

// chromium says how the probes start their browsers. The demo visits its own shop only, and root has no other way than without the
// sandbox; probe serve leaves that choice to its operator.
func (d *demo) chromium() probe.Chromium {
	chromium := d.opts.Chromium
	chromium.NoSandbox = chromium.NoSandbox || os.Geteuid() == 0
	return chromium
}

// probe describes the probe of a region.
func (d *demo) probe(region, listen string, server *bus.Server, room *admission.Room) probe.ServeOptions {
	return probe.ServeOptions{
		RunOptions: probe.RunOptions{
			Chromium: d.chromium(),
			Link:     probe.Link{AllowNet: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, // the shop is on this machine
			Secrets:  probe.Secrets{Preset: map[string]string{"SHOP_PASSWORD": demosite.DefaultPassword}},
		},
		Region: region, Probe: "demo-" + region,
		Data:   filepath.Join(d.opts.Data, "probe-"+region),
		Listen: listen, BrowserSlots: 2, HTTPSlots: 4,
		Grace: demoGrace, Server: server, Room: room,
	}
}

// How often the table is drawn: in place on a terminal, as a block of text elsewhere.
const (
	liveEvery  = time.Second
	blockEvery = 30 * time.Second
)

// watch draws the table until ctx ends.
func (d *demo) watch(ctx context.Context) {
	last := time.Now()
	ticker := time.NewTicker(liveEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if d.console.Live() || time.Since(last) >= blockEvery {
			d.console.Refresh()
			last = time.Now()
		}
	}
}

// settleLimit is how long the results that the probes published at their end have to arrive.
const settleLimit = 2 * time.Second

// drainLimit is when the last slot must have an end: a slot planned just now has its lead, its start window and its timeout, its verdict
// comes when the minute of its deadline and the grace are over.
func (d *demo) drainLimit() time.Duration {
	longest := time.Duration(0)
	for i := range d.set.Scenarios {
		s := &d.set.Scenarios[i]
		longest = max(longest, s.Lead()+s.StartWindow()+s.Timeout.D())
	}
	return longest + time.Minute + demoGrace + 10*time.Second
}

// drain waits until every slot has an end, the unit is gone, or ctx ends: who presses Ctrl-C does not want to wait for the last
// verdict.
func (d *demo) drain(ctx, working context.Context) {
	both, cancel := context.WithCancel(working)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	select {
	case <-d.unit.Planned():
	case <-both.Done():
	}
	d.await(both, d.drainLimit())
}

// await waits until every slot has an end.
func (d *demo) await(ctx context.Context, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for d.unit.Ledger().Pending() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// summarise prints what came of it all. Slots without an end are an error when the demo ended by itself.
func (d *demo) summarise() error {
	s := newSummary(d)
	if d.opts.JSON {
		if err := s.writeJSON(d.streams.Out); err != nil {
			return err
		}
	} else {
		s.writeText(d.streams.Out)
	}
	if d.opts.For > 0 && s.Planned != s.Accounted {
		return fmt.Errorf("account for slots: got %d of %d", s.Accounted, s.Planned)
	}
	return nil
}
