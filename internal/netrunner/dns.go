package netrunner

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptrace"
	"net/netip"
	"strconv"
	"time"

	"github.com/miekg/dns"

	"lastmile/internal/answer"
	"lastmile/internal/netrunner/records"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// askFor takes what a dns step asks for, and whom.
func (e *exchange) askFor() {
	name, server := e.expand("name", e.step.Name), e.expand("server", e.step.Server)
	if _, ok := dns.IsDomainName(name); !ok || name == "" {
		e.check("name", fmt.Errorf("got %q, want a name of DNS", answer.Clip(name, answer.MaxValue)))
	}
	e.service, e.host = name, name
	record := e.record()
	if server != "" {
		e.connectTo("server", server)
	} else if record != scenario.RecordA && record != scenario.RecordAAAA {
		e.check("record", fmt.Errorf("got %s without server, want A or AAAA: the network's own resolver answers addresses only", record))
	}
	e.request.URL = answer.Clip("dns://"+name+"?type="+string(record), maxURL)
	e.request.Method, e.request.Protocol = "QUERY", "udp"
}

func (e *exchange) record() scenario.Record { return cmp.Or(e.step.Record, scenario.RecordA) }

// dns asks the server, or where none is named the network's own resolver. The latter answers a name once in a run: what an earlier step
// looked up is not asked for again, by this one or by any other.
func (e *exchange) dns(ctx context.Context) (*runs.Cause, error) {
	ask := e.query
	if e.address == "" {
		ask = e.lookup
	}
	got, err := ask(ctx)
	e.clock.set(&e.clock.end)
	if err != nil && e.foreign > 0 && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return e.failure().Timeout(fmt.Sprintf("of %d packets none was an answer to the query", e.foreign)), nil
	} else if err != nil {
		return nil, err
	}
	if why := got.Refusal(e.record()); why != "" {
		return nil, &net.DNSError{Name: e.service, Err: why}
	}
	got.Name, got.Record = e.service, string(e.record())
	body, err := got.Body()
	if err != nil {
		return nil, err
	}
	return e.judge(body, got.Records...), nil
}

// lookup asks the network's own resolver.
func (e *exchange) lookup(ctx context.Context) (*records.Reply, error) {
	all, err := e.session.network.LookupNetIP(httptrace.WithClientTrace(ctx, e.clock.hooks()), e.host)
	if err != nil {
		return nil, err
	}
	r := &records.Reply{Records: []string{}}
	for _, a := range all {
		if a.Unmap().Is4() == (e.record() == scenario.RecordA) {
			r.Records = append(r.Records, a.Unmap().String())
		}
	}
	return r, nil
}

// query asks the step's server: by UDP, and where the answer does not fit by TCP (RFC 7766).
func (e *exchange) query(ctx context.Context) (*records.Reply, error) {
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(e.service), dns.StringToType[string(e.record())])
	q.SetEdns0(maxPacket, false)
	packed, err := q.Pack()
	if err != nil {
		return nil, err
	}
	server, err := e.server(ctx)
	if err != nil {
		return nil, err
	}
	got, err := e.byUDP(ctx, server, q, packed)
	if err == nil && got.Truncated {
		e.request.Protocol = "tcp"
		return e.byTCP(ctx, server, q, packed)
	}
	return got, err
}

// maxPacket is the largest answer that is taken by UDP, in bytes: what passes everywhere in one piece.
const maxPacket = 1232

// server finds the address of the step's server.
func (e *exchange) server(ctx context.Context) (netip.AddrPort, error) {
	_, port, err := net.SplitHostPort(e.address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, &net.AddrError{Err: "invalid port", Addr: e.address}
	}
	all, err := e.session.network.LookupNetIP(httptrace.WithClientTrace(ctx, e.clock.hooks()), e.host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if len(all) == 0 {
		return netip.AddrPort{}, &net.DNSError{Name: e.host, Err: "no address", IsNotFound: true}
	}
	server := netip.AddrPortFrom(all[0].Unmap(), uint16(number))
	e.line.to(server.String())
	return server, nil
}

// resends are the times after which a query that is still without an answer is sent again.
func resends() []time.Duration {
	return []time.Duration{time.Second, 3 * time.Second, 7 * time.Second, 15 * time.Second}
}

// byUDP sends the query until it is answered. Packets that are no answer to it are passed over: anybody can send them.
func (e *exchange) byUDP(ctx context.Context, server netip.AddrPort, q *dns.Msg, packed []byte) (*records.Reply, error) {
	socket, err := e.session.network.ListenPacket(ctx, server)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = socket.Close() })
	defer func() {
		stop()
		_ = socket.Close()
	}()
	e.clock.set(&e.clock.ready)
	send := func() error {
		if connected, ok := socket.(net.Conn); ok && connected.RemoteAddr() != nil {
			_, err := connected.Write(packed)
			return err
		}
		_, err := socket.WriteTo(packed, net.UDPAddrFromAddrPort(server))
		return err
	}
	began, buffer := time.Now(), make([]byte, 64<<10)
	for sent := 0; ; sent++ {
		if err := send(); err != nil {
			return nil, err
		}
		e.clock.set(&e.clock.wrote)
		var until time.Time
		if sent < len(resends()) {
			until = began.Add(resends()[sent])
		}
		if got, err := e.receive(socket, until, server, q, buffer); got != nil || err != nil {
			return got, err
		}
	}
}

// receive takes packets until one is an answer; nothing and no error where none came in time. A packet that is the server's answer and
// cannot be read is an error.
func (e *exchange) receive(socket net.PacketConn, until time.Time, server netip.AddrPort, q *dns.Msg, buffer []byte) (*records.Reply, error) {
	_ = socket.SetReadDeadline(until) // fails on a closed one, as reading will
	for {
		n, from, err := socket.ReadFrom(buffer)
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() && !until.IsZero() && !time.Now().Before(until) {
				return nil, nil
			}
			return nil, err
		}
		e.line.received.Add(int64(n))
		if u, ok := from.(*net.UDPAddr); !ok || !sameAddress(u.AddrPort(), server) {
			e.foreign++
			continue
		}
		got, err := records.Read(buffer[:n], q)
		if errors.Is(err, records.ErrForeign) {
			e.foreign++
			continue
		}
		if err != nil || !got.Truncated {
			e.clock.set(&e.clock.firstByte)
		}
		return got, badReply(e.service, err)
	}
}

func sameAddress(a, b netip.AddrPort) bool {
	return a.Port() == b.Port() && a.Addr().Unmap() == b.Addr().Unmap()
}

// badReply is the error of a server whose answer is none.
func badReply(name string, err error) error {
	if err == nil {
		return nil
	}
	return &net.DNSError{Name: name, Err: err.Error()}
}

// byTCP asks again over a connection.
func (e *exchange) byTCP(ctx context.Context, server netip.AddrPort, q *dns.Msg, packed []byte) (*records.Reply, error) {
	conn, err := e.line.dial(ctx, e.address)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, e.line.hangUp)()
	e.line.to(server.String())
	message := binary.BigEndian.AppendUint16(nil, uint16(len(packed)))
	if _, err := conn.Write(append(message, packed...)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	e.clock.set(&e.clock.firstByte)
	packet := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, packet); errors.Is(err, io.EOF) {
		return nil, io.ErrUnexpectedEOF
	} else if err != nil {
		return nil, err
	}
	got, err := records.Read(packet, q)
	if err == nil && got.Truncated {
		err = errors.New("cut off over TCP too")
	}
	return got, badReply(e.service, err)
}
