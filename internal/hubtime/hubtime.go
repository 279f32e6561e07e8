// Package hubtime is the hub's clock as a probe knows it. Slots, start windows and deadlines are by that clock, whatever the machine's own
// says, and what somebody does to the machine's does not move it.
package hubtime

import (
	"sync"
	"time"

	"lastmile/internal/runs"
)

const (
	surely  = time.Second // how exactly an offset has to be known, in either direction, to be gone by
	flagged = time.Second // the offset from which a machine's clock is said to be wrong
)

// Options tune a Clock. The zero value goes by the machine's clock as it was when the Clock was made, and the time since.
type Options struct {
	// Read reads the machine's clock, and says how that compares with the hub's; see bus.Relay. nil = that is never known.
	Read func() (now time.Time, clock runs.Clock, err error)
	// Machine is the machine's clock, for as long as that is not known: one that does not believe every jump.
	Machine func() time.Time
	// Ran is how long it has been since some moment, whatever a clock is set to; nil = by the monotonic clock.
	Ran func() time.Duration
}

// Clock tells the hub's time. Until that has been known within a second it is the machine's; from then on what was last known so well, and
// the time that has passed since. It is safe for concurrent use.
type Clock struct {
	opts Options

	mu    sync.Mutex
	known bool
	zero  time.Time // what the hub's clock said when Ran was zero
	off   time.Duration
}

// New returns a clock.
func New(o Options) *Clock {
	began := time.Now()
	if o.Ran == nil {
		o.Ran = func() time.Duration { return time.Since(began) }
	}
	if o.Machine == nil {
		o.Machine = func() time.Time { return began.Add(time.Since(began)) }
	}
	return &Clock{opts: o}
}

// Now is the hub's time, in UTC.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.opts.Read != nil {
		if now, clock, err := c.opts.Read(); err == nil && clock.Sound() && clock.Uncertainty() < surely {
			c.known, c.off = true, clock.Offset()
			c.zero = now.Round(0).Add(c.off - c.opts.Ran())
		}
	}
	if !c.known {
		return c.opts.Machine().Round(0).UTC()
	}
	return c.zero.Add(c.opts.Ran()).UTC()
}

// Settled reports whether the clock goes by the hub's, or never will.
func (c *Clock) Settled() bool {
	c.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known || c.opts.Read == nil
}

// Local is when it will be t by the hub's clock, by this machine's. Timers made of it do not move with the machine's clock.
func (c *Clock) Local(t time.Time) time.Time { return time.Now().Add(t.Sub(c.Now())) }

// Of is what the hub's clock said at a moment that this machine's clock was read, since then.
func (c *Clock) Of(local time.Time) time.Time {
	since := time.Since(local) // first: what comes out must not be early
	return c.Now().Add(-since)
}

// Corrected reports whether the machine's clock was found to be wrong by more than a second, and is therefore not gone by; by is what was
// to be added to it.
func (c *Clock) Corrected() (by time.Duration, yes bool) {
	c.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.off, c.off.Abs() > flagged
}
