package link

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// alarm wakes one goroutine at a time that may be set anew meanwhile. It is a timerfd in Go's poller, some 0.05 ms late on an idle
// machine; a time.Timer is ten times that, as the poller waits in whole milliseconds.
type alarm struct {
	fd   int
	file *os.File
}

func newAlarm() (alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return alarm{}, fmt.Errorf("create timer: %w", err)
	}
	return alarm{fd: fd, file: os.NewFile(uintptr(fd), "timerfd")}, nil
}

// set makes wait return after d. The caller keeps close from running at the same time.
func (a *alarm) set(d time.Duration) {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(int64(d), 1))}
	if err := unix.TimerfdSettime(a.fd, 0, &spec, nil); err != nil {
		panic(fmt.Sprintf("set timer to %s: %s", d, err)) // a valid time and an open timer cannot be refused
	}
}

// wait returns true once the alarm has gone off, false once it is closed.
func (a *alarm) wait() bool {
	var expirations [8]byte
	_, err := a.file.Read(expirations[:])
	return err == nil
}

func (a *alarm) close() { _ = a.file.Close() }
