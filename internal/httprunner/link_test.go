package httprunner_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"lastmile/internal/httprunner"
	"lastmile/internal/linkemu"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// An HTTP/3 step is QUIC over the device's own UDP: its handshake and its request cross the link, however much of them is lost.
func TestHTTP3CrossesTheLink(t *testing.T) {
	certified := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate
	defer certified.Close()
	roots := x509.NewCertPool()
	roots.AddCert(certified.Certificate())
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http3.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, r.Proto)
			_, _ = w.Write(make([]byte, 200_000))
		}),
		TLSConfig: http3.ConfigureTLSConfig(&tls.Config{Certificates: certified.TLS.Certificates}),
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(socket) })
	defer func() {
		_ = server.Close()
		_ = socket.Close()
		serving.Wait()
	}()

	const rtt = 200 * time.Millisecond
	log := slog.New(slog.DiscardHandler)
	emulator := linkemu.New(log, linkemu.Options{AllowNets: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Seed: 3})
	profile := netprofile.Profile{
		Name: "lossy", Version: "v1", Down: 20 * netprofile.MbitPerSecond, Up: 20 * netprofile.MbitPerSecond,
		RTT: rtt, Loss: 0.03, Queue: 1000, MTU: 1500,
	}
	network, err := emulator.Open(t.Context(), profile, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	schedule, err := scenario.ParseSchedule("@every 1m")
	if err != nil {
		t.Fatal(err)
	}
	step := scenario.Step{
		ID: "one", Type: scenario.StepHTTP, URL: "https://" + socket.LocalAddr().String() + "/", Protocol: scenario.ProtocolHTTP3,
		Assert: []scenario.Assertion{{Body: "HTTP/3.0"}},
	}
	a := runs.NewAssignment(scenario.Scenario{Name: "h3", Schedule: schedule, Steps: []scenario.Step{step}}, "us", profile, time.Now())
	session, err := httprunner.New(log, httprunner.Options{RootCAs: roots}).Open(t.Context(), &a, network)
	if err != nil {
		t.Fatal(err)
	}
	done, err := session.Step(t.Context(), &step, a.Scenario.Scope(a.Combination(), string(a.RunID), nil))
	if err != nil || done.State != runs.StepPassed {
		t.Fatalf("got %+v, %+v and %v, want passed", done, done.Cause, err)
	}
	request := session.Close().Requests[0]
	if request.Protocol != "h3" || request.Bytes < 200_000 {
		t.Errorf("got %s and %d bytes, want h3 and all of the body", request.Protocol, request.Bytes)
	}
	for what, phase := range map[string]*float64{"connect": request.Phases.Connect, "wait": request.Phases.Wait} {
		if phase == nil || *phase < float64(rtt.Milliseconds()) {
			t.Errorf("%s: got %v ms, want a round trip of %s at least", what, phase, rtt)
		}
	}
	if link := network.Close(); link.Down.DroppedLoss == 0 || link.Down.Bytes < 200_000 {
		t.Errorf("got %+v, want the body to have crossed the link, and some of it twice", link.Down)
	}
}

// TestFreshConnectionsLookUpAgain shows over a run's own network, which knows a host once it has looked it up, what a step with a connection
// of its own measures, and that a family of addresses that a host has none of is a matter of DNS.
func TestFreshConnectionsLookUpAgain(t *testing.T) {
	server := serve(t, shop)
	emulator := linkemu.New(slog.New(slog.DiscardHandler), linkemu.Options{AllowNets: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}})
	network, err := emulator.Open(t.Context(), netprofile.Profile{Name: netprofile.None}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	j := across(t, network, scenario.Scenario{}, httprunner.Options{})
	url := strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	for _, connection := range []scenario.Connection{"", "", scenario.ConnectionFresh, scenario.ConnectionFresh} {
		wantCause(t, j.step(t, scenario.Step{URL: url, Connection: connection, IPVersion: 4}), "", "")
	}
	wantCause(t, j.step(t, scenario.Step{URL: server.URL, IPVersion: 6}), runs.ClassDNS, "^look up 127.0.0.1: no IPv6 address$")
	for i, q := range j.Close().Requests[:4] {
		if p, fresh := q.Phases, i != 1; (p.DNS != nil) != fresh || (p.Connect != nil) != fresh {
			t.Errorf("request %d: got %+v, want look-up and connect: %v", i, p, fresh)
		}
	}
}
