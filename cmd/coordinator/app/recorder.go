package app

import (
	"errors"
	"fmt"

	"lastmile/internal/cli"
	"lastmile/internal/scenario"
	"lastmile/internal/scenariofile"
)

// importCommand makes a scenario of a recording.
type importCommand struct {
	File     string `arg:"" help:"Recording, as Chrome DevTools Recorder exports it in JSON." type:"existingfile"`
	Name     string `help:"Name of the scenario; made of the recording's title where empty."`
	Schedule string `help:"When the scenario runs, such as @every 5m; after its length where empty."`
}

// Run implements the command.
func (c *importCommand) Run(streams cli.Streams) error {
	var schedule scenario.Schedule
	if c.Name != "" && !scenario.ValidName(c.Name) {
		return usage(fmt.Errorf("--name: got %q, want 1 to 63 characters of a-z, 0-9 and -", c.Name))
	}
	if c.Schedule != "" {
		parsed, err := scenario.ParseSchedule(c.Schedule)
		if err != nil {
			return usage(fmt.Errorf("--schedule: %w", err))
		}
		schedule = parsed
	}
	s, notes, err := scenariofile.Import(c.File, c.Name, schedule)
	if err != nil {
		fmt.Fprintln(streams.Err, err) // nothing before file:line:column, so that editors can jump there
		return &cli.Status{Code: cli.ExitUsage}
	}
	body, err := scenariofile.Write(&s)
	if err != nil {
		return usage(fmt.Errorf("import %s: %w", c.File, err))
	}
	for _, note := range notes {
		fmt.Fprintln(streams.Err, note)
	}
	_, err = streams.Out.Write(body)
	return err
}

// usage marks an error as the user's to mend.
func usage(err error) error { return &cli.Status{Code: cli.ExitUsage, Err: err} }

// exportCommand makes a recording of a scenario.
type exportCommand struct {
	File  string `arg:"" help:"Scenario file, with regions.yaml (and networks.yaml) beside it if it names regions (and networks of your own)." type:"existingfile"`
	Lossy bool   `help:"Leave out what a recording cannot hold, such as http steps, assertions and secrets, instead of refusing."`
}

// Run implements the command.
func (c *exportCommand) Run(streams cli.Streams) error {
	fleet, err := scenariofile.FleetAround(c.File, "local")
	if err != nil {
		return usage(err)
	}
	s, err := scenariofile.Load(c.File, fleet)
	if err != nil {
		fmt.Fprintln(streams.Err, err)
		return &cli.Status{Code: cli.ExitUsage}
	}
	body, lost, err := scenariofile.Export(&s)
	for _, what := range lost {
		fmt.Fprintf(streams.Err, "%s: a recording cannot hold %s\n", c.File, what)
	}
	switch {
	case err != nil:
		return usage(fmt.Errorf("export %s: %w", c.File, err))
	case len(lost) > 0 && !c.Lossy:
		return usage(errors.New("export: the recording would be another journey: use --lossy to write it without these"))
	}
	_, err = streams.Out.Write(body)
	return err
}
