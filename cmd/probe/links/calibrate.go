package links

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"lastmile/internal/cli"
	"lastmile/internal/linkemu"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
)

// Calibrate proves the emulated networks on this machine. The tags are its flags.
type Calibrate struct {
	Path    string        `arg:"" optional:"" help:"Networks of your own, to be proved too: a file such as networks.yaml, or the directory that has one." type:"path"`
	Network []string      `help:"Prove only this network; may be given more than once." placeholder:"NAME"`
	For     time.Duration `help:"How long the transfer in each direction is measured. The goodput counts for the verdict from 5s on." default:"10s"`
	Output  string        `help:"Form of the report: text or json." enum:"text,json" default:"text"`
}

// Prove carries the command out.
func (c *Calibrate) Prove(ctx context.Context, log *slog.Logger, streams cli.Streams) error {
	profiles, err := c.profiles()
	if err != nil {
		return &cli.Status{Code: cli.ExitUsage, Err: err}
	}
	p := newProgress(streams.Err, len(profiles))
	began := time.Now()
	all, err := calibrate(ctx, linkemu.New(log, linkemu.Options{}), profiles, c.For, p)
	p.end()
	if err != nil {
		return err
	}
	if c.Output == "json" {
		err = cli.PrintJSON(streams.Out, all)
	} else {
		err = printCalibration(streams.Out, all, time.Since(began))
	}
	if err != nil {
		return err
	}
	if proved(all) < len(all) {
		return &cli.Status{Code: cli.ExitInvalid}
	}
	return nil
}

// profiles are the networks to be proved: all that are emulated, or those that were asked for.
func (c *Calibrate) profiles() ([]netprofile.Profile, error) {
	if c.For < 100*time.Millisecond || c.For > 10*time.Minute {
		return nil, fmt.Errorf("--for: got %s, want 100ms to 10m", c.For)
	}
	own, err := (&List{Path: c.Path}).own()
	if err != nil {
		return nil, err
	}
	var all netprofile.Set
	for _, p := range append(netprofile.Presets(), own...) {
		if p.Emulated() {
			all = append(all, p)
		}
	}
	if len(c.Network) == 0 {
		return all, nil
	}
	var chosen []netprofile.Profile
	for _, name := range c.Network {
		p, ok := all.Lookup(name)
		if !ok {
			return nil, fmt.Errorf("--network: got %q, want one of %s", name, strings.Join(all.Names(), ", "))
		}
		chosen = append(chosen, p)
	}
	return chosen, nil
}

// What runs at once: more would be a trial of the machine. The presets together take some 80 Mbit/s.
const (
	togetherRate  = 100 * netprofile.MbitPerSecond
	togetherCount = 20
)

// calibrate proves networks, as many at once as the machine should carry.
func calibrate(ctx context.Context, e *linkemu.Emulator, profiles []netprofile.Profile, period time.Duration, p *progress) ([]*linkemu.Measurement, error) {
	all := make([]*linkemu.Measurement, len(profiles))
	for next := 0; next < len(profiles); {
		group, ctx := errgroup.WithContext(ctx)
		var sum netprofile.Rate
		for count := 0; next < len(profiles) && count < togetherCount; count++ {
			profile, at := profiles[next], next
			if sum += profile.Down + profile.Up; count > 0 && sum > togetherRate {
				break
			}
			group.Go(func() (err error) {
				all[at], err = e.Measure(ctx, profile, period)
				p.done.Add(1)
				return err
			})
			next++
		}
		if err := group.Wait(); err != nil {
			return nil, fmt.Errorf("calibrate: %w", err)
		}
	}
	return all, nil
}

// proved counts the networks that are what their profiles say.
func proved(all []*linkemu.Measurement) int {
	count := 0
	for _, m := range all {
		if m.Verdict == runs.OnProfile {
			count++
		}
	}
	return count
}

// printCalibration writes a table with a line for each network, then what was off, then the sum.
func printCalibration(out io.Writer, all []*linkemu.Measurement, took time.Duration) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tHANDSHAKE MS\tSET-UP RTT\tDOWN KBIT/S\tUP KBIT/S\tLOST\tLATE MS\t")
	fmt.Fprintln(w, "NETWORK\tgot/want\tgot/want\tgot/want\tgot/want\tpackets, 99 % range\tmean p99 max\tVERDICT")
	for _, m := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%.2f %.2f %.1f\t%s\n", m.Network,
			GotWant(m.Handshake.MedianMS, m.Handshake.WantMS, 1), GotWant(m.SetUp.RoundTrips, float64(m.SetUp.Want), 2),
			goodput(m.Down.GoodputKbit, m.Down.LimitKbit, m.Down.ModelKbit), goodput(m.Up.GoodputKbit, m.Up.LimitKbit, m.Up.ModelKbit),
			losses(m), m.Late.MeanMS, m.Late.P99MS, m.Late.MaxMS, strings.ReplaceAll(string(m.Verdict), "_", " "))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	const shown = 2 // misses of each network: they are mostly alike
	for _, m := range all {
		for _, miss := range m.Misses[:min(shown, len(m.Misses))] {
			fmt.Fprintf(out, "%s: %s\n", m.Network, miss)
		}
		if more := len(m.Misses) - shown; more > 0 {
			fmt.Fprintf(out, "%s: and %d more, see --output json\n", m.Network, more)
		}
	}
	fmt.Fprintf(out, "\n%d of %d networks on profile, in %.0f s. ~: what the PFTK model gives TCP on a link that loses packets; the median of several transfers of a minute comes within 40 %%.\n",
		proved(all), len(all), took.Seconds())
	return nil
}

// GotWant prints a measured number, "-" where it is nil, and the wanted one; the wanted number has no decimals that say nothing.
func GotWant(got *float64, want float64, decimals int) string {
	text := "-"
	if got != nil {
		text = strconv.FormatFloat(*got, 'f', decimals, 64)
	}
	if want == float64(int(want)) {
		decimals = 0
	}
	return text + "/" + strconv.FormatFloat(want, 'f', decimals, 64)
}

// goodput prints what was carried beside what can be: in percent of the limit, or beside the model where packets are lost.
func goodput(got *float64, limit float64, model *float64) string {
	if model != nil {
		return GotWant(got, limit, 0) + " ~" + strconv.FormatFloat(*model, 'f', 0, 64)
	}
	text := GotWant(got, limit, 0)
	if got != nil {
		text += fmt.Sprintf(" %.1f%%", 100**got/limit)
	}
	return text
}

func losses(m *linkemu.Measurement) string {
	l := m.Loss
	if l.Want == 0 {
		return fmt.Sprintf("%d of %d", l.Lost, l.Sent)
	}
	text := fmt.Sprintf("%d of %d (%.2g%%), %d-%d", l.Lost, l.Sent, l.Percent, l.Low, l.High)
	if !l.Inside {
		text += " outside"
	}
	return text
}

// progress tells a person that something is going on. On what is not a terminal it is silent.
type progress struct {
	out   io.Writer // nil = silent
	count int
	done  atomic.Int64
	stop  chan struct{}
	ended chan struct{}
}

func newProgress(out io.Writer, count int) *progress {
	p := &progress{count: count, stop: make(chan struct{}), ended: make(chan struct{})}
	if file, ok := out.(*os.File); ok {
		if info, err := file.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			p.out = out
		}
	}
	go p.run()
	return p
}

func (p *progress) run() {
	defer close(p.ended)
	if p.out == nil {
		return
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for began := time.Now(); ; {
		fmt.Fprintf(p.out, "\r\x1b[Kproving %d networks: %d done, %.0f s", p.count, p.done.Load(), time.Since(began).Seconds())
		select {
		case <-tick.C:
		case <-p.stop:
			fmt.Fprint(p.out, "\r\x1b[K")
			return
		}
	}
}

// end removes the line and waits for it.
func (p *progress) end() {
	close(p.stop)
	<-p.ended
}
