// Command coordinator schedules journeys, accounts for every run and shows what came of them: as a service (coordinator serve), on one
// machine with everything it needs (coordinator demo), or for the person who writes scenarios (validate, plan, schema).
package main

import (
	_ "time/tzdata" // schedules may name a zone, and a minimal image has no zone files

	"lastmile/cmd/coordinator/app"
	"lastmile/internal/cli"
)

func main() { cli.Process(app.Main) }
