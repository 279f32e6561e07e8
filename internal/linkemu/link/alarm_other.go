//go:build !linux

package link

import "time"

// alarm wakes one goroutine at a time that may be set anew meanwhile.
type alarm struct {
	timer *time.Timer
	done  chan struct{}
}

func newAlarm() (alarm, error) {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return alarm{timer: timer, done: make(chan struct{})}, nil
}

// set makes wait return after d.
func (a *alarm) set(d time.Duration) { a.timer.Reset(max(d, 1)) }

// wait returns true once the alarm has gone off, false once it is closed.
func (a *alarm) wait() bool {
	select {
	case <-a.timer.C:
		return true
	case <-a.done:
		return false
	}
}

func (a *alarm) close() {
	a.timer.Stop()
	close(a.done)
}
