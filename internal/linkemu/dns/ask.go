package dns

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// ErrRefused is in the error of Ask where the server refused to look the name up: it is not one that the run may reach.
var ErrRefused = errors.New("refused")

// retries are how long the device waits for an answer before it asks again, and at last gives up.
func retries() []time.Duration {
	return []time.Duration{1 * time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second}
}

// Ask asks the server from the socket for a host's addresses, of both families at once, and returns them as offLink gives them. Go's own
// resolver would wait five seconds before it asks again, which spoils lossy links. It closes the socket. An error is a *net.DNSError.
func Ask(ctx context.Context, socket net.PacketConn, server netip.AddrPort, host string, offLink func(netip.Addr) netip.Addr) ([]netip.Addr, error) {
	stop := context.AfterFunc(ctx, func() { _ = socket.Close() })
	defer func() {
		stop()
		_ = socket.Close()
	}()
	fail := &net.DNSError{Name: host, Server: server.String()}
	name, err := dnsmessage.NewName(strings.TrimSuffix(host, ".") + ".")
	if err != nil {
		fail.Err = "not a name"
		return nil, fail
	}
	asked := &inquiry{name: name, server: net.UDPAddrFromAddrPort(server), socket: socket, offLink: offLink, open: map[uint16]dnsmessage.Type{}}
	id := uint16(rand.Uint32()) &^ 1
	asked.open[id], asked.open[id|1] = dnsmessage.TypeA, dnsmessage.TypeAAAA
	for _, wait := range retries() {
		if err := asked.send(); err != nil {
			fail.Err = err.Error()
			return nil, fail
		}
		if asked.receive(wait) || ctx.Err() != nil {
			break
		}
	}
	switch {
	case len(asked.found) > 0:
		// Whichever answer came first: IPv6 before IPv4, each in the resolver's order.
		slices.SortStableFunc(asked.found, func(a, b netip.Addr) int { return b.BitLen() - a.BitLen() })
		return asked.found, nil
	case len(asked.open) > 0:
		fail.Err, fail.IsTimeout, fail.UnwrapErr = "no answer in time", true, ctx.Err()
	case asked.code == dnsmessage.RCodeRefused:
		fail.Err, fail.UnwrapErr = ErrRefused.Error(), ErrRefused
	case asked.code == dnsmessage.RCodeServerFailure:
		fail.Err = "server misbehaving"
	default:
		fail.Err, fail.IsNotFound = "no such host", true
	}
	return nil, fail
}

// inquiry is a look-up under way.
type inquiry struct {
	name    dnsmessage.Name
	server  net.Addr
	socket  net.PacketConn
	offLink func(netip.Addr) netip.Addr
	open    map[uint16]dnsmessage.Type // what is still to be answered, by id
	found   []netip.Addr               // real addresses
	code    dnsmessage.RCode           // of the last answer without addresses
}

// send asks what is still open.
func (q *inquiry) send() error {
	for id, kind := range q.open {
		b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: id, RecursionDesired: true})
		question := dnsmessage.Question{Name: q.name, Type: kind, Class: dnsmessage.ClassINET}
		if err := errors.Join(b.StartQuestions(), b.Question(question)); err != nil {
			return err
		}
		message, err := b.Finish()
		if err != nil {
			return err
		}
		if _, err := q.socket.WriteTo(message, q.server); err != nil {
			return err
		}
	}
	return nil
}

// receive takes answers until all have come or the wait is over.
func (q *inquiry) receive(wait time.Duration) (complete bool) {
	_ = q.socket.SetReadDeadline(time.Now().Add(wait)) // gVisor's cannot fail
	buffer := make([]byte, maxDNS)
	for len(q.open) > 0 {
		n, _, err := q.socket.ReadFrom(buffer)
		if err != nil {
			return false
		}
		q.take(buffer[:n])
	}
	return true
}

// take reads one answer.
func (q *inquiry) take(answer []byte) {
	var parser dnsmessage.Parser
	header, err := parser.Start(answer)
	if err != nil || !header.Response || q.open[header.ID] == 0 || parser.SkipAllQuestions() != nil {
		return
	}
	delete(q.open, header.ID)
	for {
		record, err := parser.Answer()
		if err != nil {
			break
		}
		switch body := record.Body.(type) {
		case *dnsmessage.AResource:
			q.found = append(q.found, q.offLink(netip.AddrFrom4(body.A)))
		case *dnsmessage.AAAAResource:
			q.found = append(q.found, q.offLink(netip.AddrFrom16(body.AAAA)))
		}
	}
	if len(q.found) == 0 {
		q.code = header.RCode
	}
}
