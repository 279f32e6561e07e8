package h3

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// ErrTLS marks the errors of TLS within the QUIC handshake: certificates, versions, protocols.
var ErrTLS = errors.New("quic handshake")

// translate gives the errors of QUIC the kinds that those of a TCP connection have: a reset is syscall.ECONNRESET, an orderly
// end that came too early is the end given, and what the socket says is a *net.OpError; timeouts are a net.Error anyway. The
// reasons that a server wrote are left out, for they may quote what was sent.
func translate(err, end error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op
	}
	if _, ok := errors.AsType[*quic.StatelessResetError](err); ok {
		return fmt.Errorf("quic stateless reset: %w", syscall.ECONNRESET)
	}
	if bad, ok := errors.AsType[*quic.TransportError](err); ok {
		return translateTransport(bad, end)
	}
	if closed, ok := errors.AsType[*quic.ApplicationError](err); ok && closed.Remote {
		code := http3.ErrCode(closed.ErrorCode)
		if code == http3.ErrCodeNoError {
			return fmt.Errorf("connection closed by the server: %w", end)
		}
		return fmt.Errorf("connection closed by the server: %s", code)
	}
	if stream, ok := errors.AsType[*quic.StreamError](err); ok && stream.Remote {
		return fmt.Errorf("response reset by the server: %s", http3.ErrCode(stream.ErrorCode))
	}
	return err
}

func translateTransport(bad *quic.TransportError, end error) error {
	switch {
	case bad.ErrorCode.IsCryptoError():
		return fmt.Errorf("%w: %w", ErrTLS, cryptoCause(bad))
	case bad.Remote && bad.ErrorCode == quic.NoError:
		return fmt.Errorf("connection closed by the server: %w", end)
	case bad.Remote:
		return fmt.Errorf("connection closed by the server: quic %s", bad.ErrorCode)
	}
	return bad
}

// cryptoCause is what TLS found, or the alert that the other side sent.
func cryptoCause(bad *quic.TransportError) error {
	for _, err := range bad.Unwrap() {
		if err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
	}
	return fmt.Errorf("remote error: %s", bad.ErrorCode.Message())
}
