package httprunner

import (
	"errors"
	"io"
	"net"
	"testing"
)

func TestClosedConnectionsLeaveNothing(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	c := newConnections(HostNetwork{})
	address := listener.Addr().String()
	if _, err := c.dial(t.Context(), "tcp", address); err != nil {
		t.Fatal(err)
	}
	forgotten, err := c.dial(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_ = forgotten.Close()
	if len(c.open) != 1 {
		t.Errorf("got %d connections known, want the open one", len(c.open))
	}
	c.close()
	for range 2 {
		far, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("got %v from the far end, want end of file", err)
		}
		_ = far.Close()
	}
	if _, err := c.dial(t.Context(), "tcp", address); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v for a dial after close, want %v", err, net.ErrClosed)
	}
}
