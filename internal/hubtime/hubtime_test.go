package hubtime

import (
	"errors"
	"testing"
	"time"

	"lastmile/internal/runs"
)

var begin = time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)

// world has a machine whose clock somebody sets, and a relay that compared it with the hub's some time ago.
type world struct {
	ran      time.Duration // since the start, whatever the clock says
	wall     time.Duration // by which the machine's clock is ahead of the truth
	known    bool
	compared time.Duration // by which it was ahead when it was compared
	err      time.Duration
}

func (w *world) clock() *Clock {
	return New(Options{
		Ran:     func() time.Duration { return w.ran },
		Machine: func() time.Time { return begin.Add(w.ran + w.wall) },
		Read: func() (time.Time, runs.Clock, error) {
			if !w.known {
				return time.Time{}, runs.Clock{}, errors.New("not known yet")
			}
			// As a relay does it: what the clock said when it was compared, and what has passed since.
			return begin.Add(w.ran + w.compared), runs.Clock{OffsetMS: runs.Milliseconds(-w.compared), ErrorMS: runs.Milliseconds(w.err)}, nil
		},
	})
}

func TestTheHubsTime(t *testing.T) {
	w := &world{wall: 3 * time.Minute}
	c := w.clock()
	check := func(what string, want time.Duration, flagged bool) {
		t.Helper()
		if got := c.Now().Sub(begin); got != want {
			t.Errorf("%s: got %s since the start, want %s", what, got, want)
		}
		if _, yes := c.Corrected(); yes != flagged {
			t.Errorf("%s: got flagged %v, want %v", what, yes, flagged)
		}
	}
	check("not known", 3*time.Minute, false)
	w.ran = time.Second
	check("a second later", time.Second+3*time.Minute, false)
	w.known, w.compared, w.err = true, 3*time.Minute, 2*time.Second
	check("known too badly", time.Second+3*time.Minute, false)
	if c.Settled() {
		t.Error("got a clock settled that does not go by the hub's yet")
	}
	w.err = time.Millisecond
	check("known", time.Second, true)
	w.ran, w.wall = 10*time.Second, -time.Hour
	check("the clock is set by an hour", 10*time.Second, true)
	w.wall, w.compared = 200*time.Millisecond, 200*time.Millisecond
	check("compared anew: it is right", 10*time.Second, false)
	w.known, w.ran, w.wall = false, 10*time.Hour, time.Hour
	check("hours without the hub, and set again", 10*time.Hour, false)
	if !c.Settled() || !New(Options{}).Settled() {
		t.Error("got a clock not settled that was compared, or never will be")
	}
	w.known, w.err, w.compared = true, 3*time.Second, time.Minute
	check("an error that has grown: the last that was known well stays", 10*time.Hour, false)
}

func TestConversion(t *testing.T) {
	off := 5 * time.Minute
	c := New(Options{Read: func() (time.Time, runs.Clock, error) {
		return time.Now(), runs.Clock{OffsetMS: runs.Milliseconds(off), ErrorMS: 1}, nil
	}})
	before := time.Now()
	if got := c.Of(before).Sub(before.Add(off)).Abs(); got > 10*time.Second {
		t.Errorf("got what the hub's clock said wrong by %s", got)
	}
	if c.Of(before).Before(before.Add(off)) {
		t.Error("got an earlier time than the hub's clock said")
	}
	if got := time.Until(c.Local(c.Now().Add(time.Hour))); got > time.Hour || got < 59*time.Minute {
		t.Errorf("got %s until it is an hour later at the hub, want an hour", got)
	}
	plain := New(Options{})
	if got := time.Since(plain.Now()).Abs(); got > 10*time.Second {
		t.Errorf("got a clock of its own %s off this machine's", got)
	}
	if _, yes := plain.Corrected(); yes {
		t.Error("got a clock flagged that nobody has compared")
	}
}
