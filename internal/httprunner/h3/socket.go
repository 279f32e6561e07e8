package h3

import "net"

// socket shows quic-go a plain net.PacketConn, whatever it is: a socket of this machine and one of an emulated device then
// behave alike (one packet at a time, none larger than 1280 bytes, no ECN), and quic-go does not write to standard error that
// the kernel, or a socket that has none, keeps the receive buffer small.
type socket struct {
	net.PacketConn
	connected net.Conn // the same where it is connected: then it has one remote, and takes no other
}

func newSocket(packets net.PacketConn) socket {
	s := socket{PacketConn: packets}
	if c, ok := packets.(net.Conn); ok && c.RemoteAddr() != nil {
		s.connected = c
	}
	return s
}

// WriteTo implements net.PacketConn.
func (s socket) WriteTo(p []byte, remote net.Addr) (int, error) {
	if s.connected != nil {
		return s.connected.Write(p)
	}
	return s.PacketConn.WriteTo(p, remote)
}

// SetReadBuffer asks for a receive buffer of so many bytes. The kernel may grant less.
func (s socket) SetReadBuffer(bytes int) error {
	if c, ok := s.PacketConn.(interface{ SetReadBuffer(bytes int) error }); ok {
		_ = c.SetReadBuffer(bytes)
	}
	return nil
}

// SetWriteBuffer asks for a send buffer of so many bytes. The kernel may grant less.
func (s socket) SetWriteBuffer(bytes int) error {
	if c, ok := s.PacketConn.(interface{ SetWriteBuffer(bytes int) error }); ok {
		_ = c.SetWriteBuffer(bytes)
	}
	return nil
}
