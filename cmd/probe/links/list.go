// Package links is what of the probe program is about its access networks: the list of them, and the proof of them on this machine.
package links

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"lastmile/internal/cli"
	"lastmile/internal/netprofile"
	"lastmile/internal/scenariofile"
)

// List prints the access networks. The tags are its flags.
type List struct {
	Path   string `arg:"" optional:"" help:"Networks of your own, to be listed too: a file such as networks.yaml, or the directory that has one." type:"path"`
	Output string `help:"Form of the list: text or json." enum:"text,json" default:"text"`
}

// Run implements the command.
func (c *List) Run(streams cli.Streams) error {
	own, err := c.own()
	if err != nil {
		return &cli.Status{Code: cli.ExitUsage, Err: err}
	}
	all := append(netprofile.Presets(), own...)
	if c.Output == "json" {
		return cli.PrintJSON(streams.Out, all)
	}
	return printNetworks(streams.Out, all)
}

// own reads the user's networks; none where no path is given.
func (c *List) own() (netprofile.Set, error) {
	if c.Path == "" {
		return nil, nil
	}
	path := c.Path
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, scenariofile.NetworksFile)
	}
	return scenariofile.LoadNetworks(path)
}

// printNetworks writes the table. Reordering, which is rare, is in the JSON form only.
func printNetworks(out io.Writer, all []netprofile.Profile) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NETWORK\tVERSION\tDOWN/UP KBIT/S\tRTT\tJITTER\tLOSS\tQUEUE\tMTU\tSOURCE")
	for _, p := range all {
		link := "-\t-\t-\t-\t-\t-"
		if p.Emulated() {
			link = fmt.Sprintf("%s/%s\t%s\t%s\t%s\t%d\t%d", kbit(p.Down), kbit(p.Up), p.RTT, jitter(p.Jitter), loss(p), p.Queue, p.MTU)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", p.Name, p.Version, link, strings.Join(strings.Fields(p.Source), " "))
	}
	return w.Flush()
}

// kbit prints a rate without its unit.
func kbit(r netprofile.Rate) string {
	return strconv.FormatFloat(float64(r)/float64(netprofile.KbitPerSecond), 'f', -1, 64)
}

func jitter(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return "±" + d.String()
}

// loss prints the share of packets that are lost in the mean, and whether they are lost in bursts.
func loss(p netprofile.Profile) string {
	mean := strconv.FormatFloat(100*float64(p.MeanLoss()), 'g', 3, 64) + "%"
	switch {
	case p.Burst != nil:
		return mean + " bursts"
	case p.Loss == 0:
		return "-"
	}
	return mean
}
