package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Process runs a program as this process: with its arguments and streams, until it ends or SIGINT or SIGTERM ends its context. It
// does not return.
//
// Where this process is the first of a container, the program runs as its child (see stand).
func Process(program func(ctx context.Context, args []string, streams Streams) int) {
	if os.Getpid() == 1 {
		code, err := stand()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := program(ctx, os.Args[1:], Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	stop()
	os.Exit(code)
}
