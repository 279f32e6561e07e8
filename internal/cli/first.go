package cli

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"unsafe"
)

// stand does the duties of a container's first process: it starts this program once more as its child, passes signals on to it, reaps
// whatever the kernel leaves to it, and returns the child's exit status when that has ended.
//
// The duties cannot be done by the program itself: who waits for any child takes them away from os/exec, which waits for its own.
func stand() (code int, err error) {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	defer signal.Stop(signals)
	path, err := os.Executable()
	if err != nil {
		return 1, fmt.Errorf("start as a child of process 1: %w", err)
	}
	child, err := syscall.ForkExec(path, os.Args, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: attributes(0)})
	if err != nil {
		return 1, fmt.Errorf("start %s as a child of process 1: %w", path, err)
	}
	for got := range signals {
		number, ok := got.(syscall.Signal)
		switch {
		case !ok || number == syscall.SIGURG: // the Go runtime's own
		case number == syscall.SIGCHLD:
			if status, ended := reap(child); ended {
				return status, nil
			}
		case number == syscall.SIGTTIN || number == syscall.SIGTTOU || number == syscall.SIGPIPE: // for who touched the file
		default:
			_ = syscall.Kill(child, number) // ESRCH: it has ended, and will be reaped
		}
	}
	return 1, errors.New("wait for signals: got no more")
}

// attributes makes the child the one that a terminal's keys reach, if there is a terminal that is ours.
func attributes(terminal int) *syscall.SysProcAttr {
	var group int32
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(terminal), syscall.TIOCGPGRP, uintptr(unsafe.Pointer(&group)))
	if errno != 0 || int(group) != syscall.Getpgrp() {
		return nil
	}
	return &syscall.SysProcAttr{Foreground: true, Ctty: terminal}
}

// reap takes every dead child there is. It returns the child's exit status, as a shell counts, when it was among them.
func reap(child int) (status int, ended bool) {
	for {
		var state syscall.WaitStatus
		switch pid, err := syscall.Wait4(-1, &state, syscall.WNOHANG, nil); {
		case err == syscall.EINTR:
		case err != nil || pid <= 0:
			return status, ended
		case pid == child && state.Signaled():
			status, ended = 128+int(state.Signal()), true
		case pid == child:
			status, ended = state.ExitStatus(), true
		}
	}
}
