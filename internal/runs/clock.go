package runs

import (
	"math"
	"time"
)

// maxClockError is in milliseconds: a day.
const maxClockError = float64(24 * time.Hour / time.Millisecond)

// Sound reports whether the numbers can be reckoned with; it also refuses NaN. Clocks that are years apart are wrong, but no nonsense.
func (c Clock) Sound() bool {
	return c.ErrorMS >= 0 && c.ErrorMS <= maxClockError && math.Abs(c.OffsetMS) <= 1e12
}

// Offset is what is to be added to the probe's time.
func (c Clock) Offset() time.Duration { return time.Duration(c.OffsetMS * float64(time.Millisecond)) }

// Uncertainty is how far off Offset may be.
func (c Clock) Uncertainty() time.Duration {
	return time.Duration(c.ErrorMS * float64(time.Millisecond))
}
