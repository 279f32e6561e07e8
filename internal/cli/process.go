package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// Process runs a program as this process: with its arguments and streams, until it ends or SIGINT or SIGTERM ends its context. It
// does not return.
func Process(program func(ctx context.Context, args []string, streams Streams) int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := program(ctx, os.Args[1:], Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	stop()
	os.Exit(code)
}
