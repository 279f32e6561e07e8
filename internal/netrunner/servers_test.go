package netrunner_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/miekg/dns"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"lastmile/internal/linkemu"
	"lastmile/internal/netprofile"
	"lastmile/internal/netrunner"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * 24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{cert, key, pool}
}

// issue makes a certificate for a name, and for 127.0.0.1 where the name is localhost, as PEM.
func (a *authority) issue(t testing.TB, name string, ends time.Time) (cert, key string) {
	t.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-1000 * time.Hour), NotAfter: ends,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if name == "localhost" {
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &own.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	bytes, err := x509.MarshalECPrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: bytes}))
}

// server is the TLS of a server with such a certificate.
func (a *authority) server(t testing.TB, name string, ends time.Time) *tls.Config {
	t.Helper()
	cert, key := a.issue(t, name, ends)
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}
}

// mutual is that of a server which wants a certificate of its client.
func (a *authority) mutual(t testing.TB) *tls.Config {
	config := a.server(t, "localhost", later())
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, a.pool
	return config
}

func later() time.Time { return time.Now().Add(90*24*time.Hour + time.Hour) }

// serve accepts connections and hands each to a goroutine, until the test ends.
func serve(t testing.TB, config *tls.Config, handle func(net.Conn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if config != nil {
		listener = tls.NewListener(listener, config)
	}
	accept(t, listener, handle)
	return listener.Addr().String()
}

func accept(t testing.TB, listener net.Listener, handle func(net.Conn)) {
	var open sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	open.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			open.Go(func() {
				defer conn.Close()
				handle(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for _, conn := range conns {
			_ = conn.Close()
		}
		mu.Unlock()
		open.Wait()
	})
}

func echo(conn net.Conn)   { _, _ = io.Copy(conn, conn) }
func silent(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

// says returns a handler that sends a text and closes.
func says(text string) func(net.Conn) {
	return func(conn net.Conn) { _, _ = io.WriteString(conn, text) }
}

// listenBoth opens a port that is free for TCP and for UDP.
func listenBoth(t testing.TB) (net.Listener, net.PacketConn) {
	t.Helper()
	for range 100 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if socket, err := net.ListenPacket("udp", listener.Addr().String()); err == nil {
			return listener, socket
		}
		_ = listener.Close()
	}
	t.Fatal("got no port that is free for TCP and for UDP")
	return nil, nil
}

// taken takes a TCP port on which connections are refused until the test ends.
func taken(t testing.TB) (address string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(name.(*syscall.SockaddrInet4).Port)).String()
}

// serveDNS answers queries by UDP and TCP on one port.
func serveDNS(t testing.TB, handler dns.HandlerFunc) (address string) {
	t.Helper()
	listener, socket := listenBoth(t)
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	for _, server := range []*dns.Server{{Listener: listener, Handler: handler}, {PacketConn: socket, Handler: handler}} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		running.Go(func() { _ = server.ActivateAndServe() })
		<-started
		t.Cleanup(func() { _ = server.Shutdown() })
	}
	return listener.Addr().String()
}

// zone answers for example.test.
func zone(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	add := func(text string) {
		rr, err := dns.NewRR(text)
		if err != nil {
			panic(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	asked := q.Question[0]
	switch strings.ToLower(asked.Name) + dns.TypeToString[asked.Qtype] {
	case "example.test.A":
		add("example.test. 30 IN A 192.0.2.1")
		add("example.test. 60 IN A 192.0.2.2")
		add("other.test. 60 IN A 192.0.2.3")
	case "www.example.test.A":
		add("www.example.test. 300 IN CNAME example.test.")
		add("example.test. 30 IN A 192.0.2.1")
	case "example.test.AAAA":
		add("example.test. 30 IN AAAA 2001:db8::1")
	case "www.example.test.CNAME":
		add("www.example.test. 300 IN CNAME example.test.")
	case "example.test.MX":
		add("example.test. 30 IN MX 10 mail.example.test.")
	case "example.test.NS":
		add("example.test. 30 IN NS ns.example.test.")
	case "_x._tcp.example.test.SRV":
		add("_x._tcp.example.test. 30 IN SRV 1 2 443 x.example.test.")
	case "example.test.TXT":
		add(`example.test. 30 IN TXT "v=spf1 " "-all"`)
	case "large.test.TXT":
		if w.LocalAddr().Network() == "udp" {
			m.Truncated = true
			break
		}
		for range 100 {
			add(`large.test. 30 IN TXT "` + strings.Repeat("x", 200) + `"`)
		}
	case "broken.test.A":
		m.Rcode = dns.RcodeServerFailure
	case "empty.test.A":
	default:
		m.Rcode = dns.RcodeNameError
	}
	_ = w.WriteMsg(m)
}

// serveGRPC serves the health of the services shop and till, and of others by their code.
func serveGRPC(t testing.TB, config *tls.Config) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	options := []grpc.ServerOption{grpc.UnaryInterceptor(guarded)}
	if config != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(config)))
	}
	server, states := grpc.NewServer(options...), health.NewServer()
	states.SetServingStatus("shop", grpc_health_v1.HealthCheckResponse_SERVING)
	states.SetServingStatus("till", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	grpc_health_v1.RegisterHealthServer(server, states)
	start(t, server, listener)
	return listener.Addr().String()
}

// guarded lets the service private be asked for by who knows the token, and says of others what their name says.
func guarded(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	switch request.(*grpc_health_v1.HealthCheckRequest).GetService() {
	case "private":
		md, _ := metadata.FromIncomingContext(ctx)
		if strings.Join(md["authorization"], "") != "Bearer token-value" {
			return nil, status.Error(codes.Unauthenticated, "token-value it is not")
		}
		return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
	case "down":
		return nil, status.Error(codes.Unavailable, "token-value")
	}
	return handle(ctx, request)
}

func start(t testing.TB, server *grpc.Server, listener net.Listener) {
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		server.Stop()
		running.Wait()
	})
}

// serveWebSocket serves echoes at /echo, and at other paths what their handler does.
func serveWebSocket(t testing.TB, config *tls.Config, handle func(*websocket.Conn, *http.Request)) (address string) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); r.URL.Path == "/private" && (user != "ann" || password != "token-value") {
			http.Error(w, "who?", http.StatusUnauthorized)
			return
		}
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = conn.CloseNow() }()
		handle(conn, r)
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	if server.TLS = config; config != nil {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.Listener.Addr().String()
}

func echoMessages(conn *websocket.Conn, r *http.Request) {
	for {
		kind, message, err := conn.Read(r.Context())
		if err != nil || conn.Write(r.Context(), kind, message) != nil {
			return
		}
	}
}

// network opens a real access network, on which loopback is allowed.
func network(t testing.TB, profile netprofile.Profile, s *scenario.Scenario) *linkemu.Network {
	t.Helper()
	nets := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	n, err := linkemu.New(slog.New(slog.DiscardHandler), linkemu.Options{AllowNets: nets, Seed: 5}).Open(t.Context(), profile, s.AllowsHost)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func none() netprofile.Profile {
	profile, _ := netprofile.Lookup(netprofile.None)
	return profile
}

// far is a link of which only the round trip is felt.
func far(rtt time.Duration) netprofile.Profile {
	return netprofile.Profile{
		Name: "far", Version: "v1", Down: 100 * netprofile.MbitPerSecond, Up: 100 * netprofile.MbitPerSecond, RTT: rtt, Queue: 1000, MTU: 1500,
	}
}

// outcome is what became of a step.
type outcome struct {
	step    runs.Step
	request runs.Request
	err     error
	scope   *vars.Scope
}

// do runs a step of a scenario over a network.
func do(ctx context.Context, t testing.TB, options netrunner.Options, n netrunner.Network, s scenario.Scenario, step scenario.Step, secrets map[string]vars.Secret) outcome {
	t.Helper()
	schedule, err := scenario.ParseSchedule("@every 1m")
	if err != nil {
		t.Fatal(err)
	}
	step.ID, s.Secrets = "one", slices.Collect(maps.Keys(secrets))
	s.Name, s.Schedule, s.Steps = "bare", schedule, []scenario.Step{step}
	a := runs.NewAssignment(s, "us", none(), time.Now())
	session, err := netrunner.New(slog.New(slog.DiscardHandler), options).Open(t.Context(), &a, n)
	if err != nil {
		t.Fatal(err)
	}
	out := outcome{scope: a.Scenario.Scope(a.Combination(), string(a.RunID), secrets)}
	ctx, cancel := context.WithTimeout(ctx, a.Scenario.StepLimit(&step))
	defer cancel()
	out.step, out.err = session.Step(ctx, &step, out.scope)
	if requests := session.Close().Requests; len(requests) == 1 {
		out.request = requests[0]
	} else if out.step.Requests > 0 {
		t.Errorf("got %d requests, want one", len(requests))
	}
	return out
}
