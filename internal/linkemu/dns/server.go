// Package dns is DNS across an emulated link: the Server at the gateway, which answers from the resolver of this machine, and Ask, with
// which the device asks it.
package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"

	"golang.org/x/net/dns/dnsmessage"

	"lastmile/internal/linkemu/guard"
	"lastmile/internal/linkemu/relay"
	"lastmile/internal/shortage"
)

// Server answers what comes to its socket.
type Server struct {
	guard    *guard.Guard
	resolver *net.Resolver
	onLink   func(netip.Addr) netip.Addr
	socket   net.PacketConn
	tasks    *relay.Relay
	cancel   context.CancelFunc
	lacking  atomic.Pointer[error]
}

const (
	maxDNS     = 4096 // bytes of a message
	maxAnswers = 16
	answerTTL  = 60 // seconds
	maxTasks   = 65 // the loop, and questions answered at once
)

// Serve answers from the resolver, as far as the guard allows, with addresses as onLink gives them. The server closes the socket.
func Serve(socket net.PacketConn, resolver *net.Resolver, g *guard.Guard, onLink func(netip.Addr) netip.Addr) *Server {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{guard: g, resolver: resolver, onLink: onLink, socket: socket, tasks: relay.New(maxTasks), cancel: cancel}
	s.tasks.Go(func() { s.serve(ctx) }, func() { _ = socket.Close() })
	return s
}

// Lacking returns the error by which this machine was last too short of something to ask its resolver; nil if it never was.
func (s *Server) Lacking() error {
	if err := s.lacking.Load(); err != nil {
		return *err
	}
	return nil
}

// Close ends the server and waits for it.
func (s *Server) Close() {
	s.cancel()
	s.tasks.Close()
}

func (s *Server) serve(ctx context.Context) {
	for {
		query := make([]byte, maxDNS)
		n, from, err := s.socket.ReadFrom(query)
		if err != nil {
			return
		}
		s.tasks.Go(func() { // where there are too many, the asker will ask again
			if answer, err := s.answer(ctx, query[:n]); err == nil {
				_, _ = s.socket.WriteTo(answer, from) // lost, then
			}
		}, s.cancel)
	}
}

// answer makes the answer to a query; an error where it is none, which deserves no answer.
func (s *Server) answer(ctx context.Context, query []byte) ([]byte, error) {
	var parser dnsmessage.Parser
	header, err := parser.Start(query)
	if err != nil || header.Response {
		return nil, errors.Join(err, errors.New("not a query"))
	}
	question, err := parser.Question()
	if err != nil {
		return nil, err
	}
	addresses, code := s.resolve(ctx, question)
	answer := dnsmessage.NewBuilder(nil, dnsmessage.Header{
		ID: header.ID, Response: true, RecursionDesired: header.RecursionDesired, RecursionAvailable: true, RCode: code,
	})
	answer.EnableCompression()
	if err := errors.Join(answer.StartQuestions(), answer.Question(question), answer.StartAnswers()); err != nil {
		return nil, err
	}
	record := dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: answerTTL}
	for _, a := range addresses[:min(len(addresses), maxAnswers)] {
		if a = s.onLink(a); a.Is4() {
			err = errors.Join(err, answer.AResource(record, dnsmessage.AResource{A: a.As4()}))
		} else {
			err = errors.Join(err, answer.AAAAResource(record, dnsmessage.AAAAResource{AAAA: a.As16()}))
		}
	}
	if err != nil {
		return nil, err
	}
	return answer.Finish()
}

// resolve finds the addresses that a question is for. Record types other than addresses have none. What is refused is counted with the
// question for IPv4, which comes with each look-up, and once, as questions come again while an answer is slow.
func (s *Server) resolve(ctx context.Context, q dnsmessage.Question) ([]netip.Addr, dnsmessage.RCode) {
	host := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	v4 := q.Type == dnsmessage.TypeA
	if !s.guard.Lists(host) {
		if v4 {
			s.guard.Once(host, s.guard.Host)
		}
		return nil, dnsmessage.RCodeRefused
	}
	if !v4 && q.Type != dnsmessage.TypeAAAA || q.Class != dnsmessage.ClassINET {
		return nil, dnsmessage.RCodeSuccess
	}
	// Both families at once: only so does the resolver tell a name that does not exist from one without an address of a family.
	all, err := s.resolver.LookupNetIP(ctx, "ip", host)
	if lookup, ok := errors.AsType[*net.DNSError](err); ok && lookup.IsNotFound {
		return nil, dnsmessage.RCodeNameError
	} else if err != nil {
		if shortage.Is(err) {
			s.lacking.Store(&err)
		}
		return nil, dnsmessage.RCodeServerFailure
	}
	allowed := s.guard.Admit(all)
	if len(allowed) == 0 {
		if v4 {
			s.guard.Once(host, func(host string) error { return s.guard.NotPublic(host, all[0]) })
		}
		return nil, dnsmessage.RCodeRefused
	}
	return sift(allowed, v4), dnsmessage.RCodeSuccess
}

// sift leaves the addresses of one family that this machine has a way to: an IPv6 address where there is no IPv6 would cost the
// device a round trip.
func sift(all []netip.Addr, v4 bool) []netip.Addr {
	local := false
	var out []netip.Addr
	for _, a := range all {
		local = local || a.Is4() && a.IsLoopback()
	}
	for _, a := range all {
		if a.Is4() == v4 && routed(a) && (!local || a != netip.IPv6Loopback()) {
			out = append(out, a)
		}
	}
	return out
}

// routed reports whether this machine has a way to an address. Nothing is sent.
func routed(a netip.Addr) bool {
	const discard = 9
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, discard)))
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}
