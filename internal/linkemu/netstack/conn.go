package netstack

import (
	"errors"
	"net"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
)

// Conn is a TCP connection of one of the stacks. Its errors are those of the kernel's connections: callers look for errno values.
type Conn struct {
	*gonet.TCPConn
	endpoint tcpip.Endpoint
}

// Read implements net.Conn.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	return n, kernelError(err)
}

// Write implements net.Conn.
func (c *Conn) Write(b []byte) (int, error) {
	n, err := c.TCPConn.Write(b)
	return n, kernelError(err)
}

// Abort ends the connection with a reset.
func (c *Conn) Abort() { c.endpoint.Abort() }

// kernelError gives an error of gonet, which keeps only the text of gVisor's, the errno that the kernel would have given.
func kernelError(err error) error {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok {
		return err
	}
	for _, e := range []tcpip.Error{
		&tcpip.ErrConnectionReset{}, &tcpip.ErrConnectionAborted{}, &tcpip.ErrConnectionRefused{}, &tcpip.ErrTimeout{},
		&tcpip.ErrClosedForSend{}, &tcpip.ErrClosedForReceive{}, &tcpip.ErrInvalidEndpointState{}, &tcpip.ErrNotConnected{},
		&tcpip.ErrHostUnreachable{}, &tcpip.ErrNetworkUnreachable{}, &tcpip.ErrHostDown{},
	} {
		if op.Err.Error() == e.String() {
			op.Err = errnoOf(e)
			break
		}
	}
	return err
}

// errnoOf translates an error of gVisor.
func errnoOf(err tcpip.Error) error {
	switch err.(type) {
	case *tcpip.ErrConnectionReset:
		return syscall.ECONNRESET
	case *tcpip.ErrConnectionAborted:
		return syscall.ECONNABORTED
	case *tcpip.ErrConnectionRefused:
		return syscall.ECONNREFUSED
	case *tcpip.ErrTimeout:
		return syscall.ETIMEDOUT
	case *tcpip.ErrClosedForSend:
		return syscall.EPIPE
	case *tcpip.ErrClosedForReceive, *tcpip.ErrInvalidEndpointState, *tcpip.ErrNotConnected:
		return net.ErrClosed
	case *tcpip.ErrHostUnreachable, *tcpip.ErrHostDown:
		return syscall.EHOSTUNREACH
	case *tcpip.ErrNetworkUnreachable:
		return syscall.ENETUNREACH
	}
	return errors.New(err.String())
}
