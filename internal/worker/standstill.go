package worker

import (
	"fmt"
	"sync"
	"time"

	"lastmile/internal/runs"
)

const (
	watchEvery    = 200 * time.Millisecond
	longestMoment = time.Second // by which a beat of the watch may be late before this process counts as having stood still
)

// standstill watches during a run whether this process is let run at all: it may be stopped, its container paused, or its machine starve it.
type standstill struct {
	now  func() time.Time     // monotonic
	stop func() time.Duration // ends the watch, and tells for how long it was not let run; nil before it has begun
}

// end stops the watch, if it has begun.
func (s *standstill) end() (stood time.Duration) {
	if s.stop == nil {
		return 0
	}
	return s.stop()
}

// begin starts the watch.
func (s *standstill) begin() {
	ended := make(chan struct{})
	var watching sync.WaitGroup
	var stood time.Duration
	watching.Go(func() {
		ticker := time.NewTicker(watchEvery)
		defer ticker.Stop()
		last := s.now()
		for over := false; !over; {
			select {
			case <-ended:
				over = true
			case <-ticker.C:
			}
			now := s.now()
			if late := now.Sub(last) - watchEvery; late > longestMoment {
				stood += late
			}
			last = now
		}
	})
	s.stop = sync.OnceValue(func() time.Duration {
		close(ended)
		watching.Wait()
		return stood
	})
}

// judge ends the watch. What failed while this process stood still says nothing about the service: peers had given it up, and its clocks ran on. Only
// a leak is one whenever it is seen. What worked all the same did work; its times are not the service's.
func (s *standstill) judge(r *runs.Result) {
	stood := s.end().Round(time.Millisecond)
	if stood == 0 || !r.State.Measured() {
		return
	}
	leak := r.Cause != nil && r.Cause.Class == runs.ClassCacheLeak
	if r.State != runs.StateFailed || leak {
		r.Tainted = append(r.Tainted, fmt.Sprintf("the probe stood still for %s", stood))
		return
	}
	ours := runs.Cause{Class: runs.ClassProbe, Detail: fmt.Sprintf("the probe stood still for %s during the run", stood)}
	if saw := r.Cause; saw != nil {
		ours.Step = saw.Step
		ours.Detail += fmt.Sprintf("; what it saw was %s: %s", saw.Class, saw.Detail)
	}
	r.State, r.Cause = runs.StateInvalid, &ours
}
