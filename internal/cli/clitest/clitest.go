// Package clitest runs whole programs inside tests: to their end, or in the background until the test stops them.
package clitest

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"lastmile/internal/cli"
)

// Patience is how long a test waits for something that must come: a verdict, the slowest, comes over a minute after its slot.
const Patience = 2 * time.Minute

// Program is a program's entry, such as app.Main.
type Program func(ctx context.Context, args []string, streams cli.Streams) int

// Output is a stream that a test can read while the program writes.
type Output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// String returns what has been written so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Run runs a program to its end, which must come within Patience.
func Run(t testing.TB, program Program, args ...string) (code int, out, errs string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	var stdout, stderr Output
	code = program(ctx, args, cli.Streams{In: strings.NewReader(""), Out: &stdout, Err: &stderr})
	return code, stdout.String(), stderr.String()
}

// Process is a program in the background. Its Output is standard output and error together.
type Process struct {
	Output
	cancel context.CancelFunc
	done   chan struct{}
	code   int
}

// Start starts a program; it is stopped at the end of the test at the latest.
func Start(t testing.TB, program Program, args ...string) *Process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &Process{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.code = program(ctx, args, cli.Streams{In: strings.NewReader(""), Out: p, Err: p})
	}()
	t.Cleanup(func() { p.Stop() })
	return p
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Stop does what SIGTERM does, waits for the end and returns the exit status.
func (p *Process) Stop() int {
	p.cancel()
	<-p.done
	return p.code
}

// Eventually polls until check holds, and fails the test after Patience.
func Eventually(t testing.TB, what string, check func() bool) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	for !check() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, Patience)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
