package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"lastmile/internal/admission"
	"lastmile/internal/artefact"
	"lastmile/internal/cli"
	"lastmile/internal/journey"
	"lastmile/internal/report"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/scenariofile"
	"lastmile/internal/tracing"
)

// runCommand runs one scenario file.
type runCommand struct {
	RunOptions
	File    string         `arg:"" help:"Scenario file, or a recording of Chrome DevTools Recorder. The fleet's regions are read from regions.yaml beside it, which a recording does not need, your own networks from networks.yaml if there is one." type:"existingfile"`
	Region  string         `help:"Region to run as; the scenario's first where empty."`
	Network string         `help:"Network to run over, a preset or one of networks.yaml; the scenario's first where empty."`
	Settle  *time.Duration `help:"What pages get to become quiet after a navigation, instead of what the scenario says; 0s is as other runners do, and leaves web vitals as they are when the next step begins." placeholder:"DURATION"`
	Var     []string       `help:"Override a variable: name=value, or region:name=value." placeholder:"NAME=VALUE" sep:"none"`
	Output  string         `help:"Form of the result: text; json; har, the requests as an HTTP Archive; or junit, for build servers." enum:"text,json,har,junit" default:"text"`

	Artefacts string `help:"What becomes of screenshots, HARs and filmstrips: dir keeps them in --artefacts-dir, off makes none." enum:"dir,off" default:"dir"`
	ArtefactLimits
}

// Run implements the command.
func (c *runCommand) Run(ctx context.Context, streams cli.Streams, root *grammar) error {
	a, err := c.assignment()
	if err = errors.Join(err, c.ArtefactLimits.check()); err != nil {
		return &cli.Status{Code: cli.ExitUsage, Err: err}
	}
	host, err := os.Hostname()
	if err != nil {
		host = "probe"
	}
	log := root.Logger(streams.Err)
	kept, err := c.place(log)
	if err != nil {
		return err
	}
	defer kept.Close()
	if c.Artefacts != artefact.Nowhere || c.Output == "har" {
		c.Keeper = kept
	}
	if c.Traces, err = tracing.New(log, c.Flags); err != nil {
		return &cli.Status{Code: cli.ExitUsage, Err: err}
	}
	defer c.Traces.Start()()
	runner, missing, err := newRunner(ctx, log, host, c.RunOptions)
	if err != nil {
		return err
	}
	if missing != nil && a.Scenario.NeedsBrowser() {
		return &cli.Status{Code: cli.ExitInvalid, Err: missing}
	}
	result, err := execute(ctx, runner, a)
	if err != nil {
		return err
	}
	if err := c.print(streams.Out, &result, kept); err != nil {
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

// execute runs the assignment at once, and stamps the result with what the machine was busy with meanwhile.
func execute(ctx context.Context, runner *journey.Runner, a *runs.Assignment) (runs.Result, error) {
	ticket, err := admission.New(admission.ThisMachine(), 0).Acquire(ctx, admission.NeedOf(a), a.Deadline) // nobody else is there
	if err != nil {
		return runs.Result{}, err
	}
	defer ticket.Release()
	begin := func(ctx context.Context) error { return ticket.Start(ctx, a.Deadline) }
	return runner.RunAfter(ctx, a, begin, ticket.Stamp), nil
}

// assignment makes the run's order from the file and the flags.
func (c *runCommand) assignment() (*runs.Assignment, error) {
	s, fleet, err := c.load()
	if err != nil {
		return nil, err
	}
	s.Resolve(fleet)
	if err := scenariofile.Override(&s, c.Var); err != nil {
		return nil, err
	}
	if c.Settle != nil {
		s.Settle = new(scenario.Duration(*c.Settle))
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
	if c.Output == "har" {
		a.Scenario.Artefacts.HAR = scenario.WhenAlways
	}
	return &a, nil
}

// load reads the file, be it a scenario or a recording.
func (c *runCommand) load() (scenario.Scenario, scenario.Fleet, error) {
	recorded, err := scenariofile.IsRecording(c.File)
	if err != nil {
		return scenario.Scenario{}, scenario.Fleet{}, err
	}
	if recorded {
		fleet, err := scenariofile.FleetAround(c.File, cmp.Or(c.Region, "local"))
		if err != nil {
			return scenario.Scenario{}, fleet, err
		}
		s, _, err := scenariofile.Import(c.File, "", scenario.Schedule{})
		return s, fleet, err
	}
	fleet, err := scenariofile.FleetOf(c.File)
	if err != nil {
		return scenario.Scenario{}, fleet, err
	}
	s, err := scenariofile.Load(c.File, fleet)
	return s, fleet, err
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

// print writes the result in the form that was asked for.
func (c *runCommand) print(w io.Writer, r *runs.Result, kept *artefact.Place) error {
	switch c.Output {
	case "json":
		return cli.PrintJSON(w, r)
	case "junit":
		return report.JUnit(w, r)
	case "har":
		body := kept.LastHAR()
		if body == nil {
			return &cli.Status{Code: cli.ExitInvalid, Err: fmt.Errorf("no har: run %s is %s: %s", r.RunID, r.State, cmp.Or(r.ArtefactError, detail(r)))}
		}
		_, err := w.Write(append(body, '\n'))
		return err
	}
	report.Text(w, r)
	return nil
}

// detail is why a run ended as it did; "" where there is nothing to say.
func detail(r *runs.Result) string {
	if r.Cause == nil {
		return ""
	}
	return r.Cause.Detail
}
