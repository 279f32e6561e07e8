// Command probe runs journeys: as a member of a fleet (probe serve) or once, for the person who writes them (probe run).
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // schedules may name a zone, and a minimal image has no zone files

	"lastmile/cmd/probe/app"
	"lastmile/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := app.Main(ctx, os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	stop()
	os.Exit(code)
}
