// Package shortage tells what this machine lacks from what a target does wrong.
package shortage

import (
	"errors"
	"net"
	"strings"
	"syscall"
)

// Is reports whether an error says that this machine ran out of what connections need: descriptors, ports or memory for them.
func Is(err error) bool {
	for _, errno := range []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	lookup, ok := errors.AsType[*net.DNSError](err) // keeps the text of its cause only
	return ok && strings.Contains(lookup.Err, syscall.EMFILE.Error())
}
