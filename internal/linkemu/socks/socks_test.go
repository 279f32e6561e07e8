package socks

import (
	"bytes"
	"io"
	"testing"
)

func FuzzReadRequest(f *testing.F) {
	f.Add([]byte("\x05\x01\x00\x05\x01\x00\x03\x09localhost\x00\x50"))
	f.Add([]byte("\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50"))
	f.Add([]byte("\x05\x02\x00\x02\x05\x01\x00\x04aaaaaaaaaaaaaaaa\x00\x50"))
	f.Fuzz(func(t *testing.T, data []byte) {
		host, _, reply := ReadRequest(struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(data), io.Discard})
		if (reply == OK) == (host == "") {
			t.Errorf("got host %q with reply %d, want a host exactly when all is well", host, reply)
		}
	})
}
