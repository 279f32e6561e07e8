package app

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"lastmile/internal/cli"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/scenariofile"
)

// runCommand runs one scenario file.
type runCommand struct {
	RunOptions
	File    string   `arg:"" help:"Scenario file. The fleet's regions are read from regions.yaml beside it, your own networks from networks.yaml if there is one." type:"existingfile"`
	Region  string   `help:"Region to run as; the scenario's first where empty."`
	Network string   `help:"Network to run over, a preset or one of networks.yaml; the scenario's first where empty."`
	Var     []string `help:"Override a variable: name=value, or region:name=value." placeholder:"NAME=VALUE" sep:"none"`
	Output  string   `help:"Form of the result: text or json." enum:"text,json" default:"text"`
}

// Run implements the command.
func (c *runCommand) Run(ctx context.Context, streams cli.Streams, root *grammar) error {
	a, err := c.assignment()
	if err != nil {
		return &cli.Status{Code: cli.ExitUsage, Err: err}
	}
	host, err := os.Hostname()
	if err != nil {
		host = "probe"
	}
	runner, missing, err := newRunner(ctx, root.Logger(streams.Err), host, c.RunOptions)
	if err != nil {
		return err
	}
	if missing != nil && a.Scenario.NeedsBrowser() {
		return &cli.Status{Code: cli.ExitInvalid, Err: missing}
	}
	result := runner.Run(ctx, a)
	if err := c.print(streams.Out, &result); err != nil {
		return err
	}
	switch result.State {
	case runs.StateFailed:
		return &cli.Status{Code: cli.ExitFailed}
	case runs.StateInvalid:
		return &cli.Status{Code: cli.ExitInvalid}
	}
	return nil
}

// assignment makes the run's order from the file and the flags.
func (c *runCommand) assignment() (*runs.Assignment, error) {
	fleet, err := scenariofile.FleetOf(c.File)
	if err != nil {
		return nil, err
	}
	s, err := scenariofile.Load(c.File, fleet)
	if err != nil {
		return nil, err
	}
	s.Resolve(fleet)
	if err := scenariofile.Override(&s, c.Var); err != nil {
		return nil, err
	}
	region, err := choose("--region", c.Region, s.Regions)
	if err != nil {
		return nil, err
	}
	name, err := choose("--network", cmp.Or(c.Network, s.NetworkNames()[0]), fleet.Networks.Names())
	if err != nil {
		return nil, err
	}
	network, _ := fleet.Networks.Lookup(name)
	a := runs.NewAssignment(s, region, network, time.Now().UTC().Truncate(time.Second))
	a.Trigger = runs.TriggerManual
	return &a, nil
}

// choose returns the flag's value if it is allowed, the first allowed one where the flag is empty.
func choose(flag, got string, allowed []string) (string, error) {
	if got == "" {
		return allowed[0], nil
	}
	for _, a := range allowed {
		if a == got {
			return got, nil
		}
	}
	return "", fmt.Errorf("%s: got %q, want one of %s", flag, got, strings.Join(allowed, ", "))
}

func (c *runCommand) print(w io.Writer, r *runs.Result) error {
	if c.Output == "json" {
		return cli.PrintJSON(w, r)
	}
	fmt.Fprintf(w, "%s  %s in %s over %s: %s in %.0f ms\n", r.RunID, r.Scenario, r.Region, r.Network, strings.ToUpper(string(r.State)), r.DurationMS)
	for i := range r.Steps {
		printStep(w, &r.Steps[i])
	}
	if r.Cause != nil {
		fmt.Fprintf(w, "  cause: %s: %s\n", r.Cause.Class, r.Cause.Detail)
	}
	fmt.Fprintf(w, "  %d requests, CDN cache %d hits, %d misses\n", len(r.Requests), r.Cache.Hits, r.Cache.Misses)
	printLink(w, &r.Link)
	return nil
}

// printLink says which network the run went over, and what that was measured to be.
func printLink(w io.Writer, l *runs.Link) {
	fmt.Fprintf(w, "  link %s (%s)", l.Profile, l.Mode)
	if l.RTTMS != nil {
		fmt.Fprintf(w, ", RTT %.1f ms", *l.RTTMS)
	}
	for _, direction := range []struct {
		name    string
		kbit    *float64
		traffic *runs.LinkTraffic
	}{{"down", l.DownKbit, l.Down}, {"up", l.UpKbit, l.Up}} {
		if direction.kbit != nil {
			fmt.Fprintf(w, ", %s %.0f kbit/s", direction.name, *direction.kbit)
		}
		if t := direction.traffic; t != nil {
			fmt.Fprintf(w, " (%d packets, %d lost)", t.Sent, t.DroppedLoss+t.DroppedQueue)
		}
	}
	if l.Verdict != "" {
		fmt.Fprintf(w, ": %s", strings.ReplaceAll(string(l.Verdict), "_", " "))
	}
	fmt.Fprintln(w)
	if l.Blocked > 0 {
		fmt.Fprintf(w, "  blocked %d attempts to reach %s\n", l.Blocked, strings.Join(l.BlockedHosts, ", "))
	}
}

func printStep(w io.Writer, s *runs.Step) {
	fmt.Fprintf(w, "  %-9s %-16s %-14s", s.State, s.ID, s.Type)
	if s.State != runs.StepSkipped {
		fmt.Fprintf(w, " %7.0f ms %4d requests %9s", s.DurationMS, s.Requests, scenario.Bytes(s.Bytes))
	}
	if s.Attempts > 1 {
		fmt.Fprintf(w, "  %d attempts", s.Attempts)
	}
	if v := s.Vitals; v != nil && v.LCP != nil {
		fmt.Fprintf(w, "  LCP %.0f ms", *v.LCP)
	}
	fmt.Fprintln(w)
	for _, warning := range s.Warnings {
		fmt.Fprintf(w, "            %s\n", warning)
	}
}
