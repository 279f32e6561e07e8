// Command probe runs journeys: as a member of a fleet (probe serve) or once, for the person who writes them (probe run).
package main

import (
	"os"
	_ "time/tzdata" // schedules may name a zone, and a minimal image has no zone files

	"lastmile/cmd/probe/app"
	"lastmile/internal/cli"
	"lastmile/internal/linkemu"
)

func main() {
	linkemu.Child(os.Args)
	cli.Process(app.Main)
}
