package steady

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)

// machine is a machine whose clocks the test sets.
type machine struct {
	wall time.Time
	boot time.Duration
	log  strings.Builder
}

func newMachine() (*machine, *Clock) {
	m := &machine{wall: start, boot: time.Hour}
	c := New(Options{
		Log: slog.New(slog.NewTextHandler(&m.log, nil)), Wall: func() time.Time { return m.wall }, Boot: func() time.Duration { return m.boot },
	})
	return m, c
}

// pass lets time go by on both clocks, with a look each second, and fails where Now is not the true time plus off.
func (m *machine) pass(t *testing.T, c *Clock, d time.Duration, off time.Duration) {
	t.Helper()
	for ; d > 0; d -= time.Second {
		m.wall, m.boot = m.wall.Add(time.Second), m.boot+time.Second
		want := start.Add(m.boot - time.Hour + off)
		if got := c.Now(); !got.Equal(want) {
			t.Fatalf("%s after the start: got %s, want %s", m.boot-time.Hour, got, want)
		}
	}
}

// A wall clock that is wrong for less than the hold time changes nothing, forward and backward, once or in several steps.
func TestAWrongClockForAWhileIsNotBelieved(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, -time.Hour, 1500 * time.Millisecond, -3 * time.Second, 30 * 365 * 24 * time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			m, c := newMachine()
			m.pass(t, c, 10*time.Second, 0)
			m.wall = m.wall.Add(by)
			m.pass(t, c, 20*time.Second, 0)
			if got := c.Offset(); got != by {
				t.Errorf("while it is wrong: got an offset of %s, want %s", got, by)
			}
			m.wall = m.wall.Add(-by)
			m.pass(t, c, 5*time.Minute, 0)
			if got := c.Jumps(); got != 2 || c.Offset() != 0 {
				t.Errorf("got %d jumps and an offset of %s, want 2, there and back, and none", got, c.Offset())
			}
			if log := m.log.String(); strings.Count(log, "not believed yet") != 1 || strings.Count(log, "is back") != 1 || strings.Contains(log, "adopted") {
				t.Errorf("got a log of\n%swant a line for the way there and one for the way back", log)
			}
		})
	}
}

// A wall clock that stands for the hold time is right: from then on it is the time.
func TestANewClockIsAdoptedAfterTheHold(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			m, c := newMachine()
			m.wall = m.wall.Add(by)
			m.pass(t, c, hold, 0) // noticed with the first look, 1 s after: one second is to go
			m.pass(t, c, 10*time.Minute, by)
			if got := c.Jumps(); got != 1 || strings.Count(m.log.String(), "adopted") != 1 {
				t.Errorf("got %d jumps, and a log of\n%swant one, adopted", got, m.log.String())
			}
		})
	}
}

// A clock that jumps about is not believed until it has stood still.
func TestAJumpyClockIsHeldAnew(t *testing.T) {
	m, c := newMachine()
	for range 10 {
		m.wall = m.wall.Add(17 * time.Minute)
		m.pass(t, c, 40*time.Second, 0)
	}
	m.pass(t, c, 21*time.Second-time.Second, 0)
	m.pass(t, c, time.Minute, 170*time.Minute)
	if got := c.Jumps(); got != 10 {
		t.Errorf("got %d jumps, want 10", got)
	}
}

// A time server that slews, however long nobody looks, and the end of a suspended time are no jumps.
func TestSlewAndSuspend(t *testing.T) {
	for _, gap := range []time.Duration{time.Second, time.Minute, 24 * time.Hour} {
		for _, ppm := range []int64{500, -500} {
			t.Run(fmt.Sprintf("%s/%d", gap, ppm), func(t *testing.T) {
				m, c := newMachine()
				for range 1000 {
					m.boot += gap
					m.wall = m.wall.Add(gap + gap*time.Duration(ppm)/1_000_000)
					if got := c.Now(); !got.Equal(m.wall) {
						t.Fatalf("got %s, want the wall clock's %s", got, m.wall)
					}
				}
				if c.Jumps() != 0 {
					t.Errorf("got %d jumps, want none", c.Jumps())
				}
			})
		}
	}
}

// The machine's own clocks agree, and the time goes on.
func TestRealClocks(t *testing.T) {
	c := New(Options{})
	before := time.Now().Round(0)
	first, second := c.Now(), c.Now()
	if first.Before(before) || second.Before(first) || second.After(time.Now()) || c.Jumps() != 0 || c.Offset().Abs() > tolerance {
		t.Errorf("got %s and %s after %s, %d jumps, offset %s", first, second, before, c.Jumps(), c.Offset())
	}
	if s := first.String(); strings.Contains(s, "m=") {
		t.Errorf("got %s, want no monotonic reading: it stands still in suspend", s)
	}
}
