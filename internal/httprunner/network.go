package httprunner

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"

	"lastmile/internal/httprunner/h3"
	"lastmile/internal/scenario"
)

// Network is the run's access network, as http steps use it. A refusal of policy is a *runs.BlockedError; a failed look-up a
// *net.DNSError; what befalls a connection a *net.OpError with the syscall.Errno of it, on reads and writes too.
type Network interface {
	// DialContext connects across the network ("tcp", host:port). It calls DNSStart, DNSDone, ConnectStart and ConnectDone of
	// the httptrace.ClientTrace in ctx itself.
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
	// LookupNetIP returns a host's addresses, the best first; of an address, itself. It calls DNSStart and DNSDone, unless the
	// host is an address.
	LookupNetIP(ctx context.Context, host string) ([]netip.Addr, error)
	// ListenPacket opens a datagram socket of the device for packets to remote, for QUIC. Connected to it, if it can be, it
	// learns of a refusal.
	ListenPacket(ctx context.Context, remote netip.AddrPort) (net.PacketConn, error)
}

// transports holds the connections of a run by the protocol that a step insists on; under "" those of an app, which takes
// HTTP/2 where the server has it, and else HTTP/1.1. A transport is made when the first step needs it.
type transports struct {
	network Network
	conns   *connections
	tls     *tls.Config
	tcp     map[scenario.Protocol]*http.Transport
	quic    *h3.Transport
}

func newTransports(network Network, config *tls.Config) *transports {
	return &transports{network: network, conns: newConnections(network), tls: config, tcp: map[scenario.Protocol]*http.Transport{}}
}

// of returns the transport for a protocol.
func (t *transports) of(p scenario.Protocol) http.RoundTripper {
	if p == scenario.ProtocolHTTP3 {
		if t.quic == nil {
			t.quic = h3.New(t.network, t.tls, maxHeader)
		}
		return t.quic
	}
	if t.tcp[p] == nil {
		t.tcp[p] = t.open(p)
	}
	return t.tcp[p]
}

// open makes a transport over TCP.
func (t *transports) open(p scenario.Protocol) *http.Transport {
	transport := &http.Transport{
		DialContext:            t.conns.dial,
		TLSClientConfig:        t.tls.Clone(),
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // we ask for gzip ourselves, so as to count what was on the wire
		MaxResponseHeaderBytes: maxHeader,
	}
	if p == "" {
		return transport
	}
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(p == scenario.ProtocolHTTP1)
	transport.Protocols.SetHTTP2(p == scenario.ProtocolHTTP2)
	transport.TLSClientConfig.NextProtos = []string{string(p)}
	transport.TLSClientConfig.VerifyConnection = func(state tls.ConnectionState) error {
		got := state.NegotiatedProtocol
		if got == string(p) || got == "" && p == scenario.ProtocolHTTP1 {
			return nil
		}
		if got == "" {
			got = "none"
		}
		return fmt.Errorf("protocol: got %s, want %s", got, p)
	}
	return transport
}

// close ends every connection and every dial.
func (t *transports) close() {
	for _, transport := range t.tcp {
		transport.CloseIdleConnections() // also ends the dials that outlived their request
	}
	t.conns.close()
	if t.quic != nil {
		t.quic.Close()
	}
}
