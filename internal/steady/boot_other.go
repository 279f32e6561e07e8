//go:build !linux

package steady

import "time"

// sinceBoot is the time since the start. Where it stands still while the machine is suspended, the end of that is a jump.
func sinceBoot() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}
