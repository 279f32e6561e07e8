package link

import (
	"fmt"
	"sync"
	"time"
)

// beat is how often a Watch looks whether it still gets the processor.
const beat = 10 * time.Millisecond

// Watch keeps the times in which a network stood still for lack of a processor: its packets were overdue, or, while none was under way,
// its own beat was. What a run measured in them is wrong by up to as much. It is safe for concurrent use.
type Watch struct {
	limit time.Duration
	alarm alarm
	ended chan struct{}

	mu     sync.Mutex
	stalls []span // in order, apart from each other
	closed bool
}

type span struct{ from, to time.Time }

// NewWatch starts a watch. A delay of up to limit is none.
func NewWatch(limit time.Duration) (*Watch, error) {
	alarm, err := newAlarm()
	if err != nil {
		return nil, fmt.Errorf("start watch: %w", err)
	}
	w := &Watch{limit: limit, alarm: alarm, ended: make(chan struct{})}
	due := time.Now().Add(beat)
	w.alarm.set(beat)
	go w.run(due)
	return w, nil
}

// run counts beats that come late.
func (w *Watch) run(due time.Time) {
	defer close(w.ended)
	for w.alarm.wait() {
		now := time.Now()
		w.late(due, now)
		due = now.Add(beat)
		w.mu.Lock()
		if !w.closed {
			w.alarm.set(beat)
		}
		w.mu.Unlock()
	}
}

// late notes that what was due came now.
func (w *Watch) late(due, now time.Time) {
	if now.Sub(due) <= w.limit {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.stalls) > 0 { // what it overlaps with becomes part of it
		last := w.stalls[len(w.stalls)-1]
		if last.to.Before(due) {
			break
		}
		if last.from.Before(due) {
			due = last.from
		}
		if last.to.After(now) {
			now = last.to
		}
		w.stalls = w.stalls[:len(w.stalls)-1]
	}
	w.stalls = append(w.stalls, span{due, now})
}

// Stalled is how much of the time between two instants the network stood still.
func (w *Watch) Stalled(from, to time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	var sum time.Duration
	for _, s := range w.stalls {
		if s.from.Before(from) {
			s.from = from
		}
		if s.to.After(to) {
			s.to = to
		}
		sum += max(0, s.to.Sub(s.from))
	}
	return sum
}

// Close ends the watch and waits for it.
func (w *Watch) Close() {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		w.alarm.close()
	}
	w.mu.Unlock()
	<-w.ended
}
