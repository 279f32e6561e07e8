package app

import (
	"fmt"

	"lastmile/internal/cli"
	"lastmile/internal/rulefile"
)

// rulesCommand prints rules for Prometheus and vmalert.
type rulesCommand struct {
	Scenarios
	BurnRate bool `help:"Add recordings and alerts by burn rate for each objective of the scenarios, as in The Site Reliability Workbook." env:"-"`
	Alerts   bool `help:"Add the coordinator's own alerts, for Prometheus to deliver." env:"-"`
	Leaks    bool `help:"A rule of Prometheus' own on cache leaks; off with --alerts, which has one." default:"true" negatable:"" env:"-"`
}

// Help is the text below the flags.
func (c *rulesCommand) Help() string {
	return `Always printed: rules that guard the fleet itself: coordinators, regions, clocks, spools, and a Watchdog.

Who pages for the journeys is one of three, and never two of them for the same people:

The coordinator (serve --alertmanager and its like) decides and sends: rules --no-leaks. Its alerts ask for evidence and say why.

Prometheus or vmalert delivers what the coordinator decided: rules --alerts, and a coordinator without sinks. Name and labels are those that the coordinator sends, but no reasons. Where both send to one Alertmanager all the same, it takes them for one alert, with the text of whichever came last.

Prometheus or vmalert decides by itself: rules --burn-rate. Such rules suit many events: at one run a minute and 99.9 %, one failed run pages. They are for who wants a second opinion, or tickets; the alerts are LastmileErrorBudgetBurn, so that they can be routed apart.

The rules of --burn-rate and --alerts are about the scenarios as they are: print them anew when those change.`
}

// Run implements the command.
func (c *rulesCommand) Run(streams cli.Streams) error {
	opts := rulefile.Options{BurnRate: c.BurnRate, Alerts: c.Alerts, NoLeaks: !c.Leaks}
	text := ""
	if c.BurnRate || c.Alerts {
		set, err := c.load()
		if err != nil {
			return err
		}
		text = rulefile.Compose(set.Scenarios, opts)
	} else {
		text = rulefile.Compose(nil, opts)
	}
	_, err := fmt.Fprint(streams.Out, text)
	return err
}
