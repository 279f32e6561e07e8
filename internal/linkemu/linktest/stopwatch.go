package linktest

import (
	"sync/atomic"
	"testing"
	"time"
)

// Stopwatch measures what a link makes one wait, and beside it what the machine does: how late this process's own timer goes off. So a test can
// ask for a time that is right to a few milliseconds on a quiet machine, and still pass where others take the processor.
type Stopwatch struct {
	t     testing.TB
	began time.Time
	late  atomic.Int64 // nanoseconds, all timers together
	worst atomic.Int64 // of one timer
}

// Start starts a stopwatch, which runs until the test ends.
func Start(t testing.TB) *Stopwatch {
	const tick = 5 * time.Millisecond
	w := &Stopwatch{t: t, began: time.Now()}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			set := time.Now()
			select {
			case <-stop:
				return
			case <-time.After(tick):
				late := int64(time.Since(set) - tick)
				w.late.Add(late)
				w.worst.Store(max(w.worst.Load(), late))
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-stopped })
	return w
}

// Busy reports whether this process was kept waiting so long at once that a round trip shows it, though no packet on the link was late.
func (w *Stopwatch) Busy() bool { return time.Duration(w.worst.Load()) > 2*time.Millisecond }

// Within fails the test if the time since the start is not least or a little more.
func (w *Stopwatch) Within(what string, least time.Duration) {
	w.t.Helper()
	w.Holds(what, w.Elapsed(), least)
}

// Elapsed is the time since the start.
func (w *Stopwatch) Elapsed() time.Duration { return time.Since(w.began) }

// Holds is Within for a span that was measured in other ways while the watch ran.
func (w *Stopwatch) Holds(what string, got, least time.Duration) {
	w.t.Helper()
	late := time.Duration(w.late.Load())
	if most := least + least/2 + 200*time.Millisecond + late; got < least || got > most {
		w.t.Errorf("%s: got %s, want %s to %s (this process was kept waiting for %s)", what, got, least, most, late)
	}
}
