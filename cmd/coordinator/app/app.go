// Package app is the coordinator program: its commands, and the wiring of the rooms behind them.
package app

import (
	"context"
	"fmt"
	"strings"

	"lastmile/internal/cli"
	"lastmile/internal/demosite"
	"lastmile/internal/notify"
)

// version is set at build time.
var version string

// grammar is the command line.
type grammar struct {
	cli.Common

	Serve       serveCommand       `cmd:"" help:"Schedule the scenarios, keep the books, show what came of every run."`
	Demo        demoCommand        `cmd:"" help:"Everything on one machine: a shop in four regions, a probe in each, and faults on a switch."`
	Validate    validateCommand    `cmd:"" help:"Check scenario files and print everything that is wrong with them."`
	Plan        planCommand        `cmd:"" help:"Print the next runs in each region and the load that the plan makes."`
	Import      importCommand      `cmd:"" help:"Print a recording of Chrome DevTools Recorder as a scenario."`
	Export      exportCommand      `cmd:"" help:"Print a scenario as a recording, to open in Chrome DevTools."`
	Ledger      ledgerCommand      `cmd:"" help:"Print the accounting of a scenario, and for each slot that was not measured, why."`
	Artefacts   artefactsCommand   `cmd:"" help:"Say what has been kept of a run (screenshots, requests, filmstrips) and where, and fetch it from the hub."`
	Rules       rulesCommand       `cmd:"" help:"Print rules for Prometheus and vmalert: what guards the fleet, and by choice what pages for the scenarios."`
	Maintenance maintenanceCommand `cmd:"" help:"Plan when slots are left out on purpose: add, list, end."`
	Audit       auditCommand       `cmd:"" help:"Print who changed what, and when."`
	Schema      schemaCommand      `cmd:"" help:"Print the JSON Schema of scenario files, for editors."`
}

// Main runs the program and returns its exit status.
func Main(ctx context.Context, args []string, streams cli.Streams) int {
	about := cli.About{
		Name: "coordinator", Version: version,
		Description: "Schedules scripted user journeys for a fleet of probes and accounts for every run.",
		Vars:        map[string]string{"faults": faultHelp(), "pagerduty": notify.DefaultPagerDutyURL},
	}
	return cli.Main(ctx, about, &grammar{}, args, streams)
}

// faultHelp lists the shop's faults with the regions in which they strike by default.
func faultHelp() string {
	var out []string
	for _, name := range demosite.FaultNames() {
		out = append(out, fmt.Sprintf("%s (%s)", name, demosite.Fault(name).DefaultRegion()))
	}
	return strings.Join(out, ", ")
}
