package app

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"lastmile/internal/cli"
	"lastmile/internal/scenario"
	"lastmile/internal/scenariofile"
	"lastmile/internal/schedule"
)

// Scenarios holds the flags that say what is to be run.
type Scenarios struct {
	Scenarios string   `help:"Directory with the scenario files, regions.yaml and, for networks of your own, networks.yaml." default:"scenarios" type:"path"`
	Var       []string `help:"Override a variable of every scenario that has it: name=value, or region:name=value." placeholder:"NAME=VALUE" sep:"none"`
}

// load reads the directory. The error is the user's to mend and carries all that is wrong.
func (s Scenarios) load() (scenariofile.Set, error) {
	set, err := loadDir(s.Scenarios)
	if err == nil {
		err = set.Override(s.Var)
	}
	if err != nil {
		return set, &cli.Status{Code: cli.ExitUsage, Err: err}
	}
	return set, nil
}

// loadDir reads a directory and replaces "all" by the regions that there are.
func loadDir(dir string) (scenariofile.Set, error) {
	set, err := scenariofile.LoadDir(dir)
	for i := range set.Scenarios {
		set.Scenarios[i].Resolve(set.Fleet)
	}
	return set, err
}

// validateCommand checks scenario files.
type validateCommand struct {
	Path string `arg:"" optional:"" help:"Directory, or one scenario file with regions.yaml (and networks.yaml) beside it." default:"scenarios" type:"path"`
}

// Run implements the command.
func (c *validateCommand) Run(streams cli.Streams) error {
	scenarios, err := c.load()
	if err != nil {
		fmt.Fprintln(streams.Err, err) // nothing before file:line:column, so that editors can jump there
		return &cli.Status{Code: cli.ExitUsage}
	}
	combinations := 0
	for i := range scenarios {
		combinations += len(scenarios[i].Combinations())
	}
	fmt.Fprintf(streams.Out, "%s: scenarios: %d, combinations of scenario, region and network: %d; all sound\n", c.Path, len(scenarios), combinations)
	return nil
}

func (c *validateCommand) load() ([]scenario.Scenario, error) {
	info, err := os.Stat(c.Path)
	if err != nil {
		return nil, fmt.Errorf("validate: %w", err)
	}
	if info.IsDir() {
		set, err := loadDir(c.Path)
		return set.Scenarios, err
	}
	fleet, err := scenariofile.FleetOf(c.Path)
	if err != nil {
		return nil, err
	}
	s, err := scenariofile.Load(c.Path, fleet)
	if err != nil {
		return nil, err
	}
	s.Resolve(fleet)
	return []scenario.Scenario{s}, nil
}

// schemaCommand prints the JSON Schema.
type schemaCommand struct{}

// Run implements the command.
func (schemaCommand) Run(streams cli.Streams) error {
	body, err := scenariofile.Schema()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(streams.Out, string(body))
	return err
}

// planCommand prints the next slots.
type planCommand struct {
	Scenarios
	Horizon time.Duration `help:"How far to look ahead for the load." default:"10m"`
	Limit   int           `help:"Slots to list for each region." default:"10"`
	Output  string        `help:"Form of the plan: text or json." enum:"text,json" default:"text"`
}

// maxHorizon bounds how far ahead a plan looks.
const maxHorizon = 31 * 24 * time.Hour

// Run implements the command.
func (c *planCommand) Run(streams cli.Streams) error {
	if c.Horizon < time.Second || c.Horizon > maxHorizon {
		return &cli.Status{Code: cli.ExitUsage, Err: fmt.Errorf("--horizon: got %s, want 1s to %s", c.Horizon, maxHorizon)}
	}
	set, err := c.load()
	if err != nil {
		return err
	}
	forecasts := schedule.Forecasts(set.Scenarios, time.Now(), c.Horizon, max(c.Limit, 0))
	if c.Output == "json" {
		encoder := json.NewEncoder(streams.Out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(forecasts)
	}
	return printPlan(streams.Out, forecasts, c.Horizon)
}

func printPlan(out io.Writer, forecasts []schedule.Forecast, horizon time.Duration) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "load over the next %s\n", horizon)
	fmt.Fprintln(w, "REGION\tRUNS/MIN\tBROWSER RUNS/MIN\tMOST STARTS IN A SECOND\tAT ONCE AT WORST")
	for _, f := range forecasts {
		fmt.Fprintf(w, "%s\t%.1f\t%.1f\t%d\t%.1f\n", f.Region, f.RunsPerMinute, f.BrowserRuns, f.PeakStarts, f.WorstCaseSlots)
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, "NEXT\tREGION\tSCENARIO\tNETWORK\tNEEDS")
	for _, f := range forecasts {
		for _, n := range f.Next {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", n.Slot.Local().Format("2006-01-02 15:04:05"), n.Region, n.Scenario, n.Network, n.Pool)
		}
	}
	return w.Flush()
}
