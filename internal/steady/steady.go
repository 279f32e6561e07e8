// Package steady is a clock that does not believe a jump at once. A wall clock that is set, by hand, by a time server after a long absence, or by
// the host of a virtual machine, would make a scheduler leave out slots or plan them twice; most such jumps are undone within the minute.
//
// The wall clock is compared with the time since boot, which nobody sets and which goes on while the machine is suspended. While both
// agree, Now is the wall clock: it follows a time server that slews it. When the wall clock is elsewhere all of a sudden, Now goes on by the
// time since boot, and adopts the new wall clock only after that has stood for a hold time.
//
// There is one clock for each process: what decides about slots, ledger and probes' presence must be told one time. Where
// the machine does not know that it was stopped (a paused virtual machine), the wall clock's correction is a jump like any other.
package steady

import (
	"log/slog"
	"sync"
	"time"
)

// Options tune a clock; the zero value is useful.
type Options struct {
	Log  *slog.Logger         // told of each jump; nil = nobody is
	Wall func() time.Time     // the wall clock; nil = the machine's
	Boot func() time.Duration // time since some fixed moment that goes on in suspend and is never set; nil = the machine's
	Hold time.Duration        // how long a new wall clock must stand before it is believed; default 60 s
}

const (
	hold      = 60 * time.Second
	tolerance = time.Second // a greater difference is a jump
	slew      = 500         // of a time server, in millionths: over a long time between two looks it comes to more than the tolerance
)

// Clock is safe for concurrent use.
type Clock struct {
	opts  Options
	start instant

	mu     sync.Mutex
	anchor instant       // where both clocks last agreed
	away   bool          // the wall clock has jumped and is not believed yet
	by     time.Duration // how far, when it was noticed
	since  time.Duration // by the time since boot
	jumps  int64
}

// instant is one look at both clocks.
type instant struct {
	wall time.Time
	boot time.Duration
}

// New returns a clock that believes the wall clock as it stands.
func New(opts Options) *Clock {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Wall == nil {
		opts.Wall = time.Now
	}
	if opts.Boot == nil {
		opts.Boot = sinceBoot()
	}
	if opts.Hold == 0 {
		opts.Hold = hold
	}
	c := &Clock{opts: opts}
	c.start = c.look()
	c.anchor = c.start
	return c
}

// look reads both clocks. The reading of the monotonic clock is taken off: it stands still in suspend.
func (c *Clock) look() instant { return instant{wall: c.opts.Wall().Round(0), boot: c.opts.Boot()} }

// Now returns the time that is to be believed. It goes back only where a wall clock that went back is adopted, or went back by less than a
// jump. Jumps are noticed by the calls of Now: call it every few seconds at least.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.look()
	elapsed := at.boot - c.anchor.boot
	expected := c.anchor.wall.Add(elapsed)
	off := at.wall.Sub(expected)
	switch {
	case !c.jumped(off, 0, elapsed):
		if c.away {
			c.opts.Log.Warn("wall clock is back", "was_off_by", c.by)
			c.jumps++
		}
		c.away, c.anchor = false, at
		return at.wall
	case !c.away || c.jumped(off, c.by, at.boot-c.since):
		c.jumps++
		c.away, c.by, c.since = true, off, at.boot
		c.opts.Log.Warn("wall clock jumped: not believed yet", "by", off, "hold", c.opts.Hold)
	case at.boot-c.since >= c.opts.Hold:
		c.opts.Log.Warn("wall clock adopted", "by", off, "was", expected, "is", at.wall)
		c.away, c.anchor = false, at
		return at.wall
	}
	return expected
}

// jumped reports whether an offset differs from an earlier one by more than a slewed clock's does in the time between.
func (c *Clock) jumped(off, from, elapsed time.Duration) bool {
	return (off - from).Abs() > tolerance+elapsed*slew/1_000_000
}

// Jumps counts the steps of the wall clock that were noticed, there and back.
func (c *Clock) Jumps() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.jumps
}

// Offset is what the wall clock has gained since New, by the time since boot: nearly nothing but for jumps.
func (c *Clock) Offset() time.Duration {
	at := c.look()
	return at.wall.Sub(c.start.wall) - (at.boot - c.start.boot)
}
