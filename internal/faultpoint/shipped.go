//go:build !faultpoints

package faultpoint

import "time"

// Reached says that the process has got to a place. Here it does nothing.
func Reached(string) {}

// Wall is the machine's wall clock.
func Wall() time.Time { return time.Now() }
