package httprunner

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"

	"lastmile/internal/clientcert"
	"lastmile/internal/httprunner/h3"
	"lastmile/internal/scenario"
)

// Network is the run's access network, as http steps use it. A refusal of policy is a *runs.BlockedError; a failed look-up a
// *net.DNSError; what befalls a connection a *net.OpError with the syscall.Errno of it, on reads and writes too.
type Network interface {
	// DialContext connects across the network ("tcp", host:port; "tcp4" and "tcp6" to addresses of one family only). It calls
	// DNSStart, DNSDone, ConnectStart and ConnectDone of the httptrace.ClientTrace in ctx itself.
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
	// LookupNetIP returns a host's addresses, the best first; of an address, itself. It calls DNSStart and DNSDone, unless the
	// host is an address.
	LookupNetIP(ctx context.Context, host string) ([]netip.Addr, error)
	// ListenPacket opens a datagram socket of the device for packets to remote, for QUIC. Connected to it, if it can be, it
	// learns of a refusal.
	ListenPacket(ctx context.Context, remote netip.AddrPort) (net.PacketConn, error)
	// Forget makes the next look-up of a host ask DNS, should the network know the answer.
	Forget(host string)
}

// way is all that requests must agree in to share a connection to a server. The protocol "" is that of an app, which takes HTTP/2
// where the server has it, and else HTTP/1.1.
type way struct {
	protocol scenario.Protocol
	family   int // of IP: 4 or 6; 0 = either
	identity clientcert.Digest
}

// transports holds connections by the way that they are for. A transport is made when the first step needs it.
type transports struct {
	network Network
	conns   *connections
	tls     *tls.Config
	tcp     map[way]*http.Transport
	quic    map[way]*h3.Transport
}

func newTransports(network Network, config *tls.Config) *transports {
	return &transports{network: network, conns: newConnections(network), tls: config, tcp: map[way]*http.Transport{}, quic: map[way]*h3.Transport{}}
}

// of returns the transport for a protocol and a family of addresses that shows itself as id; a nil one is nobody.
func (t *transports) of(p scenario.Protocol, family int, id *clientcert.Identity) http.RoundTripper {
	w := way{p, family, id.Digest()}
	config := t.tls
	if id != nil && t.tcp[w] == nil && t.quic[w] == nil {
		config = t.tls.Clone()
		id.Apply(config)
	}
	if p == scenario.ProtocolHTTP3 {
		if t.quic[w] == nil {
			t.quic[w] = h3.New(ofFamily{t.network, family}, config, maxHeader)
		}
		return t.quic[w]
	}
	if t.tcp[w] == nil {
		t.tcp[w] = t.open(w, config)
	}
	return t.tcp[w]
}

// ofFamily is a network in which hosts have the addresses of one family only, unless that is 0.
type ofFamily struct {
	Network
	family int
}

// LookupNetIP implements Network.
func (n ofFamily) LookupNetIP(ctx context.Context, host string) ([]netip.Addr, error) {
	all, err := n.Network.LookupNetIP(ctx, host)
	if err != nil || n.family == 0 {
		return all, err
	}
	some := slices.DeleteFunc(slices.Clone(all), func(a netip.Addr) bool { return a.Unmap().Is4() != (n.family == 4) })
	if len(some) == 0 {
		return nil, &net.DNSError{Err: fmt.Sprintf("no IPv%d address", n.family), Name: host, IsNotFound: true}
	}
	return some, nil
}

// open makes a transport over TCP.
func (t *transports) open(w way, config *tls.Config) *http.Transport {
	p, network := w.protocol, "tcp"
	if w.family != 0 {
		network += strconv.Itoa(w.family)
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return t.conns.dial(ctx, network, address)
		},
		TLSClientConfig:        config.Clone(),
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // we ask for codings ourselves, so as to count what was on the wire
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
	for _, transport := range t.quic {
		transport.Close()
	}
}
