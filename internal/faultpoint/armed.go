//go:build faultpoints

package faultpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// armed is what the environment asks for. A whole process has one: what it counts is how often any of its goroutines gets to a place.
var armed = parse(os.Getenv("LASTMILE_FAULTPOINT"))

// order is one place at which something happens.
type order struct {
	name string
	stop bool
	left atomic.Int64 // until it happens
}

// parse reads NAME[:N[:ACTION]]. A program of the suite that cannot be understood ends at once: it would wait for a fault that never comes.
func parse(text string) *order {
	fields := strings.Split(text, ":")
	o := &order{name: fields[0]}
	o.left.Store(1)
	if len(fields) > 1 {
		n, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil || n < 1 || len(fields) > 3 || len(fields) == 3 && fields[2] != "stop" {
			fmt.Fprintf(os.Stderr, "LASTMILE_FAULTPOINT: got %q, want NAME[:N[:stop]]\n", text)
			os.Exit(2)
		}
		o.left.Store(n)
		o.stop = len(fields) == 3
	}
	return o
}

// Reached says that the process has got to a place, and ends or stops it there where it was told to.
func Reached(name string) {
	if name != armed.name || armed.left.Add(-1) != 0 {
		return
	}
	if armed.stop {
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal comes before anything else is done here
}

// Wall is the machine's wall clock, off by what the file that LASTMILE_FAULTPOINT_CLOCK names says at the moment, such as 90s.
func Wall() time.Time {
	now := time.Now()
	text, err := os.ReadFile(os.Getenv("LASTMILE_FAULTPOINT_CLOCK"))
	if err != nil { // nothing is asked for
		return now
	}
	off, err := time.ParseDuration(strings.TrimSpace(string(text)))
	if err != nil { // half written
		return now
	}
	return now.Round(0).Add(off)
}
