package steady

import (
	"time"

	"golang.org/x/sys/unix"
)

// sinceBoot reads CLOCK_BOOTTIME. It cannot fail on a kernel that runs this program; on one that lacks it the time since the start is what there is.
func sinceBoot() func() time.Duration {
	start := time.Now()
	return func() time.Duration {
		var at unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &at); err != nil {
			return time.Since(start)
		}
		return time.Duration(at.Nano())
	}
}
