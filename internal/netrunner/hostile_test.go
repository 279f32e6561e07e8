package netrunner_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"lastmile/internal/netrunner"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// packets is a DNS server by UDP that answers each query with the packets that handle makes of it; by TCP it refuses.
func packets(t testing.TB, handle func(query []byte) [][]byte) (address string) {
	t.Helper()
	for range 100 {
		if socket, err := net.ListenPacket("udp", taken(t)); err == nil {
			answerPackets(t, socket, handle)
			return socket.LocalAddr().String()
		}
	}
	t.Fatal("got no port that is free for TCP and for UDP")
	return ""
}

func answerPackets(t testing.TB, socket net.PacketConn, handle func(query []byte) [][]byte) {
	var running sync.WaitGroup
	running.Go(func() {
		for buffer := make([]byte, 64<<10); ; {
			n, from, err := socket.ReadFrom(buffer)
			if err != nil {
				return
			}
			for _, packet := range handle(bytes.Clone(buffer[:n])) {
				_, _ = socket.WriteTo(packet, from)
			}
		}
	})
	t.Cleanup(func() {
		_ = socket.Close()
		running.Wait()
	})
}

// changed answers a query as zone does, but for what change does to it.
func changed(change func(*dns.Msg)) func([]byte) [][]byte {
	return func(query []byte) [][]byte {
		var q dns.Msg
		if q.Unpack(query) != nil {
			return nil
		}
		m := new(dns.Msg)
		m.SetReply(&q)
		if rr, err := dns.NewRR(q.Question[0].Name + " 30 IN A 192.0.2.1"); err == nil {
			m.Answer = []dns.RR{rr}
		}
		change(m)
		packed, err := m.Pack()
		if err != nil {
			return nil
		}
		return [][]byte{packed}
	}
}

// framed is a DNS server that says by UDP that the answer is too large for it, and by TCP sends what handle does.
func framed(t testing.TB, handle func(net.Conn)) (address string) {
	t.Helper()
	listener, socket := listenBoth(t)
	answerPackets(t, socket, changed(func(m *dns.Msg) { m.Truncated, m.Answer = true, nil }))
	accept(t, listener, handle)
	return listener.Addr().String()
}

// forever writes without end.
func forever(text string) func(net.Conn) {
	return func(conn net.Conn) {
		for _, err := io.WriteString(conn, text); err == nil; {
			_, err = io.WriteString(conn, text)
		}
	}
}

// hangUp closes after the first byte.
func hangUp(conn net.Conn) { _, _ = conn.Read(make([]byte, 1)) }

// reset closes with a reset after the first byte.
func reset(conn net.Conn) {
	_, _ = conn.Read(make([]byte, 1))
	_ = conn.(*net.TCPConn).SetLinger(0)
}

// switched is a server that answers the handshake of a websocket step rightly, and sends frames of its own after it.
func switched(t testing.TB, frames func(net.Conn)) (address string) {
	return serve(t, nil, func(conn net.Conn) {
		request, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		sum := sha1.Sum([]byte(request.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) // RFC 6455, section 4.2.2
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n",
			base64.StdEncoding.EncodeToString(sum[:]))
		frames(conn)
	})
}

// Every hostile peer ends its step within the step's limit, with a cause that says what it did.
func TestHostile(t *testing.T) {
	const limit = 300 * time.Millisecond
	refused := taken(t)
	mute, garbage := serve(t, nil, silent), serve(t, nil, func(conn net.Conn) {
		_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\ntoken-value")
		silent(conn)
	})
	noise := serve(t, nil, forever("\xff\x00\x13garbage "))
	hung, torn := serve(t, nil, hangUp), serve(t, nil, reset)
	trickle := serve(t, nil, func(conn net.Conn) {
		for _, err := conn.Write([]byte{'x'}); err == nil; time.Sleep(time.Millisecond) {
			_, err = conn.Write([]byte{'x'})
		}
	})
	tcp := func(address string) scenario.Step {
		return scenario.Step{Type: scenario.StepTCP, Address: address, Send: "hello", Assert: body("never")}
	}
	ask := func(server string) scenario.Step {
		return scenario.Step{Type: scenario.StepDNS, Name: "example.test", Server: server}
	}
	ws := func(address string) scenario.Step {
		return scenario.Step{Type: scenario.StepWebSocket, URL: "ws://" + address, Send: "hello", Assert: body("never")}
	}
	secure := func(kind scenario.StepType, address string) scenario.Step {
		return scenario.Step{Type: kind, Address: address, TLS: kind == scenario.StepGRPC}
	}
	message := func(text string) string { // from a server, in one frame
		return "\x81\x7e" + string(binary.BigEndian.AppendUint16(nil, uint16(len(text)))) + text
	}
	flood := strings.Repeat("x", 60_000)

	for _, test := range []struct {
		name string
		step scenario.Step
		want want
	}{
		{"tcp refused", tcp(refused), want{class: runs.ClassConnect, detail: "refused"}},
		{"tcp silence", tcp(mute), want{class: runs.ClassTimeout, detail: "waiting for the response"}},
		{"tcp endless", tcp(noise), want{class: runs.ClassAssertion, detail: "without it, want .*, in the first 200000 bytes"}},
		{"tcp trickle", tcp(trickle), want{class: runs.ClassTimeout, detail: "receiving the response, [0-9]+ bytes so far: body: got"}},
		{"tcp hung up", tcp(hung), want{class: runs.ClassConnect, detail: "connection (closed|reset) while waiting for the response"}},
		{"tcp torn", tcp(torn), want{class: runs.ClassConnect, detail: "connection reset while waiting for the response"}},

		{"tls refused", secure(scenario.StepTLS, refused), want{class: runs.ClassConnect, detail: "refused"}},
		{"tls silence", secure(scenario.StepTLS, mute), want{class: runs.ClassTimeout, detail: "in the TLS handshake"}},
		{"tls garbage", secure(scenario.StepTLS, noise), want{class: runs.ClassTLS, detail: "first record does not look like a TLS handshake"}},
		{"tls plain text", secure(scenario.StepTLS, garbage), want{class: runs.ClassTLS}},
		{"tls hung up", secure(scenario.StepTLS, hung), want{class: runs.ClassTLS}},

		{"dns silence", ask(packets(t, func([]byte) [][]byte { return nil })), want{class: runs.ClassTimeout, detail: "waiting for the response$"}},
		{"dns wrong id", ask(packets(t, changed(func(m *dns.Msg) { m.Id++ }))), want{class: runs.ClassTimeout, detail: "of [0-9]+ packets none was an answer to the query"}},
		{"dns wrong name", ask(packets(t, changed(func(m *dns.Msg) { m.Question[0].Name = "other.test." }))), want{class: runs.ClassTimeout, detail: "none was an answer"}},
		{"dns query for an answer", ask(packets(t, changed(func(m *dns.Msg) { m.Response = false }))), want{class: runs.ClassTimeout, detail: "none was an answer"}},
		{"dns garbage", ask(packets(t, func([]byte) [][]byte { return [][]byte{[]byte("garbage garbage garbage"), nil, {1}} })), want{class: runs.ClassTimeout, detail: "none was an answer"}},
		{"dns cut off", ask(packets(t, func(q []byte) [][]byte {
			q[2] |= 0x80
			return [][]byte{append(q[:12:12], 0xc0)}
		})), want{class: runs.ClassDNS, detail: "parse answer: "}},
		{"dns another's records", ask(packets(t, changed(func(m *dns.Msg) { m.Answer[0].Header().Name = "other.test." }))), want{class: runs.ClassDNS, detail: "no record of type A"}},
		{"dns aliases in a circle", ask(packets(t, changed(func(m *dns.Msg) {
			one, _ := dns.NewRR("example.test. 1 IN CNAME other.test.")
			two, _ := dns.NewRR("other.test. 1 IN CNAME example.test.")
			m.Answer = []dns.RR{one, two}
		}))), want{class: runs.ClassDNS, detail: "no record of type A"}},
		{"dns refused by TCP", ask(packets(t, changed(func(m *dns.Msg) { m.Truncated = true }))), want{class: runs.ClassConnect, detail: "refused"}},
		{"dns silence by TCP", ask(framed(t, silent)), want{class: runs.ClassTimeout, detail: "waiting for the response"}},
		{"dns hung up by TCP", ask(framed(t, func(conn net.Conn) { _, _ = io.CopyN(io.Discard, conn, 20) })), want{class: runs.ClassConnect}},
		{"dns short by TCP", ask(framed(t, func(conn net.Conn) {
			_, _ = io.CopyN(io.Discard, conn, 20)
			_, _ = io.WriteString(conn, "\xff\xffshort")
			_ = conn.(*net.TCPConn).CloseWrite()
			silent(conn)
		})), want{class: runs.ClassScript, detail: "response ended early"}},
		{"dns endless by TCP", ask(framed(t, forever(flood))), want{class: runs.ClassDNS, detail: "not an answer to the query"}},
		{"dns huge by TCP", ask(framed(t, func(conn net.Conn) {
			query := make([]byte, 2+512)
			n, err := conn.Read(query)
			if err != nil {
				return
			}
			for _, packet := range changed(func(m *dns.Msg) {
				m.Compress = true
				for len(m.Answer) < 4000 {
					m.Answer = append(m.Answer, m.Answer[0])
				}
			})(query[2:n]) {
				_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...))
			}
			silent(conn)
		})), want{}},

		{"grpc refused", secure(scenario.StepGRPC, refused), want{class: runs.ClassConnect, detail: "refused"}},
		{"grpc silence", scenario.Step{Type: scenario.StepGRPC, Address: mute}, want{class: runs.ClassTimeout, detail: "waiting for the server's HTTP/2 settings"}},
		{"grpc silence in the handshake", secure(scenario.StepGRPC, mute), want{class: runs.ClassTimeout, detail: "in the TLS handshake"}},
		{"grpc garbage", scenario.Step{Type: scenario.StepGRPC, Address: garbage}, want{detail: ".", class: runs.ClassScript}},
		{"grpc endless garbage", scenario.Step{Type: scenario.StepGRPC, Address: noise}, want{detail: ".", class: runs.ClassScript}},
		{"grpc hung up", scenario.Step{Type: scenario.StepGRPC, Address: hung}, want{class: runs.ClassConnect, detail: "connection (closed|reset) while"}},

		{"websocket refused", ws(refused), want{class: runs.ClassConnect, detail: "refused"}},
		{"websocket silence", ws(mute), want{class: runs.ClassTimeout, detail: "waiting for the response"}},
		{"websocket garbage", ws(noise), want{class: runs.ClassScript, detail: "malformed|headers exceeded"}},
		{"websocket plain HTTP", ws(garbage), want{class: runs.ClassHTTP4xx, detail: "got status 400, want 101"}},
		{"websocket hung up", ws(hung), want{class: runs.ClassConnect, detail: "connection (closed|reset) while waiting for the response"}},
		{"websocket wrong accept", ws(serve(t, nil, func(conn net.Conn) {
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: token-value\r\n\r\n")
			silent(conn)
		})), want{class: runs.ClassScript, detail: "none of WebSocket"}},
		{"websocket header without end", ws(serve(t, nil, func(conn net.Conn) {
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n")
			forever("X-A: token-value\r\n")(conn)
		})), want{class: runs.ClassScript, detail: "server response headers exceeded"}},
		{"websocket no message", ws(switched(t, silent)), want{class: runs.ClassTimeout, detail: "no message"}},
		{"websocket messages without end", ws(switched(t, forever(message("again")))), want{class: runs.ClassAssertion, detail: "in the last of 10000 messages of 50000 bytes"}},
		{"websocket large messages without end", ws(switched(t, forever(message(flood)))), want{class: runs.ClassAssertion, detail: "in the last of 4 messages of 240000 bytes"}},
		{"websocket huge frame", ws(switched(t, forever("\x82\x7f\x00\x00\x7f\xff\xff\xff\xff\xff"+flood))), want{class: runs.ClassScript, detail: "message: got more than 200000 bytes"}},
		{"websocket fragments without end", ws(switched(t, func(conn net.Conn) {
			_, _ = io.WriteString(conn, "\x01\x01x")
			forever("\x00\x7e\xea\x60" + flood)(conn)
		})), want{class: runs.ClassScript, detail: "message: got more than 200000 bytes"}},
		{"websocket compressed though not agreed", ws(switched(t, forever("\xc1\x05hello"))), want{class: runs.ClassScript}},
		{"websocket pings without end", ws(switched(t, forever("\x89\x01x"))), want{class: runs.ClassTimeout, detail: "no message"}},
		{"websocket closed", ws(switched(t, func(conn net.Conn) {
			_, _ = io.WriteString(conn, "\x88\x0d\x03\xe9token-value")
			silent(conn)
		})), want{class: runs.ClassConnect, detail: "^connection closed with status 1001 while waiting for a message$"}},
		{"websocket broken", ws(switched(t, func(conn net.Conn) { _, _ = io.WriteString(conn, "\x81\x05he") })), want{class: runs.ClassConnect, detail: "connection (closed|reset)"}},
		{"websocket closed after a message", ws(switched(t, func(conn net.Conn) {
			_, _ = io.WriteString(conn, message("other")+"\x88\x02\x03\xe8")
			silent(conn)
		})), want{class: runs.ClassAssertion, detail: "body: got 5 bytes without it, want \"never\", and then the server closed with status 1000"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.step.Timeout = scenario.Duration(20 * time.Second)
			if test.want.class == runs.ClassTimeout {
				test.step.Timeout = scenario.Duration(limit)
			}
			var s scenario.Scenario
			began := time.Now()
			got := do(t.Context(), t, netrunner.Options{MaxBody: 200_000}, network(t, none(), &s), s, test.step, nil)
			test.want.check(t, got)
			took := time.Since(began)
			if test.want.class == runs.ClassTimeout && took < limit {
				t.Errorf("got %s, want the limit of %s", took, limit)
			}
			if took > 15*time.Second {
				t.Errorf("got %s, want an end within the limits", took)
			}
		})
	}
}

// A server that takes no part in the closing handshake costs no more than a second, which is no part of the step.
func TestDeafToFarewell(t *testing.T) {
	address := switched(t, func(conn net.Conn) {
		_, _ = io.WriteString(conn, "\x81\x05hello")
		silent(conn)
	})
	step := scenario.Step{Type: scenario.StepWebSocket, URL: "ws://" + address, Assert: body("hello")}
	want{phases: "connect send wait receive"}.check(t, do(t.Context(), t, netrunner.Options{}, network(t, none(), &scenario.Scenario{}), scenario.Scenario{}, step, nil))
}

// A query that is lost is sent again, before the step's time is up.
func TestAsksAgain(t *testing.T) {
	asked := 0
	server := packets(t, func(query []byte) [][]byte {
		if asked++; asked == 1 {
			return nil
		}
		return changed(func(*dns.Msg) {})(query)
	})
	step := scenario.Step{Type: scenario.StepDNS, Name: "example.test", Server: server, Timeout: scenario.Duration(20 * time.Second)}
	got := do(t.Context(), t, netrunner.Options{}, network(t, none(), &scenario.Scenario{}), scenario.Scenario{}, step, nil)
	want{phases: "send wait receive"}.check(t, got)
	if got.step.DurationMS < 1000 {
		t.Errorf("got an answer after %v ms, want one to the second query, a second later", got.step.DurationMS)
	}
}

// A step leaves no goroutine and no connection behind, whether it ends well, by its limit or because it is told to.
func TestNothingLeft(t *testing.T) {
	mute, echoes := serve(t, nil, silent), serveWebSocket(t, nil, echoMessages)
	health, names := serveGRPC(t, nil), packets(t, func([]byte) [][]byte { return nil })
	n := network(t, none(), &scenario.Scenario{})
	steps := []scenario.Step{
		{Type: scenario.StepTCP, Address: mute}, {Type: scenario.StepTCP, Address: mute, Assert: body("x")}, {Type: scenario.StepTLS, Address: mute},
		{Type: scenario.StepGRPC, Address: mute}, {Type: scenario.StepGRPC, Address: mute, TLS: true}, {Type: scenario.StepGRPC, Address: health},
		{Type: scenario.StepDNS, Name: "example.test", Server: names}, {Type: scenario.StepWebSocket, URL: "ws://" + mute}, {Type: scenario.StepWebSocket, URL: "wss://" + mute},
		{Type: scenario.StepWebSocket, URL: "ws://" + echoes}, {Type: scenario.StepWebSocket, URL: "ws://" + echoes, Assert: body("x")},
	}
	run := func() {
		for _, step := range steps {
			step.Timeout = scenario.Duration(50 * time.Millisecond)
			do(t.Context(), t, netrunner.Options{}, n, scenario.Scenario{}, step, nil)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(10*time.Millisecond, cancel)
			do(ctx, t, netrunner.Options{}, n, scenario.Scenario{}, step, nil)
		}
	}
	run() // what libraries start once
	before := runtime.NumGoroutine()
	for range 3 {
		run()
	}
	for deadline := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("got %d goroutines, want %d as before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}
