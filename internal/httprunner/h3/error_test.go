package h3

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

func TestTranslate(t *testing.T) {
	const reason = "token-value" // which the server wrote
	refused := &net.OpError{Op: "read", Net: "udp", Err: syscall.ECONNREFUSED}
	for _, test := range []struct {
		name string
		err  error
		is   error // nil for none of the kinds
		want string
	}{
		{"socket", fmt.Errorf("quic: transport closed: %w", refused), syscall.ECONNREFUSED, "read udp: connection refused"},
		{"stateless reset", &quic.StatelessResetError{}, syscall.ECONNRESET, "quic stateless reset: connection reset by peer"},
		{"alert", &quic.TransportError{Remote: true, ErrorCode: 0x178, ErrorMessage: reason}, ErrTLS, "quic handshake: remote error: tls: no application protocol"},
		{"orderly end", &quic.ApplicationError{Remote: true, ErrorCode: 0x100, ErrorMessage: reason}, io.EOF, "connection closed by the server: EOF"},
		{"orderly end of the connection", &quic.TransportError{Remote: true, ErrorMessage: reason}, io.EOF, "connection closed by the server: EOF"},
		{"error of the application", &quic.ApplicationError{Remote: true, ErrorCode: 0x102, ErrorMessage: reason}, nil, "connection closed by the server: H3_INTERNAL_ERROR"},
		{"refusal", &quic.TransportError{Remote: true, ErrorCode: quic.ConnectionRefused, ErrorMessage: reason}, nil, "connection closed by the server: quic CONNECTION_REFUSED"},
		{"reset of a response", fmt.Errorf("read: %w", &quic.StreamError{Remote: true, ErrorCode: 0x10e}), nil, "response reset by the server: H3_MESSAGE_ERROR"},
		{"other", http3.ErrNoCachedConn, http3.ErrNoCachedConn, http3.ErrNoCachedConn.Error()},
	} {
		got := translate(test.err, io.EOF)
		if got.Error() != test.want || test.is != nil && !errors.Is(got, test.is) {
			t.Errorf("%s: got %q, want %q, which is a %v", test.name, got, test.want, test.is)
		}
	}
	for _, err := range []error{&quic.IdleTimeoutError{}, &quic.HandshakeTimeoutError{}} {
		if timeout, ok := errors.AsType[net.Error](translate(err, io.EOF)); !ok || !timeout.Timeout() {
			t.Errorf("%v: got no timeout, want one", err)
		}
	}
}
