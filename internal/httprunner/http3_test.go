package httprunner_test

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"lastmile/internal/httprunner"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// identity is a server's TLS for 127.0.0.1 and example.com, and the options of a runner that trusts it.
func identity(t testing.TB) (*tls.Config, httprunner.Options) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	server.Close()
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	return &tls.Config{Certificates: server.TLS.Certificates}, httprunner.Options{RootCAs: pool}
}

// farEnd is an HTTP/3 server on loopback.
type farEnd struct {
	url     string
	options httprunner.Options // of a runner that trusts it
	server  *http3.Server
	packets net.PacketConn
}

// connKey is the key under which a handler finds its *quic.Conn.
type connKey struct{}

// serve3 starts an HTTP/3 server that closes with the test.
func serve3(t testing.TB, handler http.HandlerFunc) *farEnd {
	t.Helper()
	config, options := identity(t)
	return serve3At(t, "127.0.0.1:0", config, options, handler)
}

func serve3At(t testing.TB, address string, config *tls.Config, options httprunner.Options, handler http.HandlerFunc) *farEnd {
	t.Helper()
	packets, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	f := &farEnd{
		url: "https://" + packets.LocalAddr().String(), options: options, packets: packets,
		server: &http3.Server{
			Handler: handler, TLSConfig: config,
			ConnContext: func(ctx context.Context, c *quic.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		},
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = f.server.Serve(packets) })
	t.Cleanup(func() {
		_ = f.server.Close()
		_ = packets.Close()
		serving.Wait()
	})
	return f
}

// overHTTP3 makes a step insist on HTTP/3.
func overHTTP3(url string, step scenario.Step) scenario.Step {
	step.URL, step.Protocol = url, scenario.ProtocolHTTP3
	return step
}

func TestHTTP3Phases(t *testing.T) {
	const think = 60 * time.Millisecond
	server := serve3(t, slowShop(think))
	j := begin(t, scenario.Scenario{}, server.options)
	step := overHTTP3(server.url, scenario.Step{})
	steps := []runs.Step{j.step(t, step), j.step(t, step)}
	for i, q := range j.Close().Requests {
		wantCause(t, steps[i], "", "")
		p, fresh := q.Phases, i == 0
		if (p.Connect != nil) != fresh || p.TLS != nil || p.DNS != nil {
			t.Errorf("request %d: got connect %v, tls %v, dns %v, want one handshake, no tls of its own, no look-up of an IP address", i, p.Connect, p.TLS, p.DNS)
		}
		if p.Blocked == nil || p.Send == nil || p.Wait == nil || p.Receive == nil || *p.Wait < 30 || *p.Receive < 10 || *p.Send+*p.Wait+*p.Receive < 120 {
			t.Fatalf("request %d: got %+v, want wait and receive of about 60 ms", i, p)
		}
		if q.Protocol != "h3" || "https://"+q.RemoteAddr != server.url || q.Status != 200 {
			t.Errorf("got protocol %s, status %d from %s, want h3, 200 from the server", q.Protocol, q.Status, q.RemoteAddr)
		}
		if got, all := sum(p), steps[i].DurationMS; got > all+0.1 || got < 0.7*all {
			t.Errorf("request %d: got phases of %v ms in all, want about the step's %v ms", i, got, all)
		}
	}
}

// named is this machine's network, in which example.com is loopback.
type named struct {
	httprunner.HostNetwork
	addresses []string
}

func (n named) LookupNetIP(context.Context, string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, a := range n.addresses {
		out = append(out, netip.MustParseAddr(a))
	}
	return out, nil
}

func TestHTTP3TriesEveryAddress(t *testing.T) {
	server := serve3(t, shop)
	url := strings.Replace(server.url, "127.0.0.1", "example.com", 1)
	j := across(t, named{addresses: []string{"127.0.0.2", "127.0.0.1"}}, scenario.Scenario{}, server.options)
	wantCause(t, j.step(t, overHTTP3(url, scenario.Step{})), "", "")
	if q := j.Close().Requests[0]; !strings.HasPrefix(q.RemoteAddr, "127.0.0.1:") || q.Phases.Connect == nil {
		t.Errorf("got %+v, want the second address, as the first refuses", q)
	}
	j = across(t, named{}, scenario.Scenario{}, server.options)
	wantCause(t, j.step(t, overHTTP3(url, scenario.Step{})), runs.ClassDNS, "look up example.com: no address")
}

func TestHTTP3CarriesAllOfARequest(t *testing.T) {
	server := serve3(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "of-ann"})
		w.Header().Set("Content-Encoding", "gzip")
		zip := gzip.NewWriter(w)
		_, _ = fmt.Fprintf(zip, "%s %s %q [%s] %s ", r.Method, r.Host, body, r.Header.Get("Cookie"), r.Header.Get("X-Public"))
		_, _ = fmt.Fprintf(zip, "%d %s", len(r.Header.Get("X-Key")), strings.Repeat("x", 5000))
		_ = zip.Close()
	})
	j := begin(t, scenario.Scenario{Secrets: []string{"KEY"}}, server.options)
	for _, want := range []string{`PUT shop.example.com "order 42" [] yes 12 xx`, `PUT shop.example.com "order 42" [session=of-ann] yes 12 xx`} {
		step := overHTTP3(server.url, assert(scenario.Assertion{Body: want}))
		step.Method, step.Body = "PUT", "order 42"
		step.Headers = map[string]string{"Host": "shop.example.com", "X-Public": "yes", "X-Key": "${secrets.KEY}"}
		got := j.step(t, step)
		wantCause(t, got, "", "")
		if got.Bytes > 1000 {
			t.Errorf("got %d bytes, want those on the wire", got.Bytes)
		}
	}
}

func TestHTTP3Redirects(t *testing.T) {
	server := serve3(t, func(w http.ResponseWriter, r *http.Request) {
		var left int
		switch _, err := fmt.Sscanf(r.URL.Path, "/hops/%d", &left); {
		case r.URL.Path == "/plain":
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		case r.URL.Path == "/away":
			http.Redirect(w, r, "https://localhost/", http.StatusFound)
		case err == nil && left > 0:
			http.Redirect(w, r, fmt.Sprintf("/hops/%d", left-1), http.StatusSeeOther)
		}
	})
	for _, test := range []struct {
		path     string
		requests int
		class    runs.Class
		detail   string
	}{
		{"/hops/3", 4, "", ""},
		{"/hops/11", 11, runs.ClassScript, "redirect: got more than 10"},
		{"/plain", 1, runs.ClassScript, "protocol: got h3 for an http URL, want https"},
		{"/away", 1, runs.ClassBlockedHost, "host: got localhost"},
	} {
		j := begin(t, scenario.Scenario{AllowHosts: []string{"127.0.0.1"}}, server.options)
		got := j.step(t, overHTTP3(server.url+test.path, scenario.Step{}))
		wantCause(t, got, test.class, test.detail)
		requests := j.Close().Requests
		if len(requests) != test.requests || requests[0].Phases.Connect == nil || requests[len(requests)-1].Phases.Connect != nil && len(requests) > 1 {
			t.Errorf("%s: got %+v, want %d requests over one connection", test.path, requests, test.requests)
		}
	}
}

func TestHTTP3HostileServers(t *testing.T) {
	chunk := strings.Repeat("x", 64<<10)
	closing := func(code quic.ApplicationErrorCode, first string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if first != "" {
				_, _ = io.WriteString(w, first)
				_ = http.NewResponseController(w).Flush()
				pause(r.Context(), 50*time.Millisecond) // the end of a connection overtakes what is not sent yet
			}
			_ = r.Context().Value(connKey{}).(*quic.Conn).CloseWithError(code, "token-value")
		}
	}
	for _, test := range []struct {
		name   string
		serve  http.HandlerFunc
		class  runs.Class
		detail string
	}{
		{"endless body", func(w http.ResponseWriter, _ *http.Request) { endless(w, chunk, 0) }, runs.ClassScript, `body over limit: got more than 1MB`},
		{"endless error page", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503); endless(w, chunk, 0) }, runs.ClassHTTP5xx, `got 503`},
		{"body at the limit", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("x", 1e6)) }, "", ""},
		{"slow body", func(w http.ResponseWriter, _ *http.Request) { endless(w, "x", 10*time.Millisecond) }, runs.ClassTimeout, `^timed out after \d+ms receiving the response, \d+ bytes so far$`},
		{"silence", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, runs.ClassTimeout, `^timed out after \d+ms waiting for the response$`},
		{"header flood", func(w http.ResponseWriter, _ *http.Request) {
			for i := range 400 {
				w.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("token-value", 100))
			}
		}, runs.ClassScript, `too large|FRAME_ERROR|EXCESSIVE_LOAD`},
		{"endless interim responses", func(w http.ResponseWriter, _ *http.Request) {
			for range 20 {
				w.WriteHeader(http.StatusEarlyHints)
			}
		}, runs.ClassScript, `too many 1xx`},
		{"response reset", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, runs.ClassScript, `response reset by the server: H3_INTERNAL_ERROR`},
		{"body shorter than it says", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "abc")
		}, runs.ClassScript, ``},
		{"closed before the response", closing(0x100, ""), runs.ClassConnect, `connection closed while waiting for the response`},
		{"closed with an error", closing(0x102, ""), runs.ClassScript, `connection closed by the server: H3_INTERNAL_ERROR$`},
		{"closed in the body", closing(0x100, "abc"), runs.ClassScript, `response ended early`},
		{"bad gzip", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = io.WriteString(w, "none")
		}, runs.ClassScript, `decode gzip`},
		{"redirect to nowhere", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://[?token=token-value")
			w.WriteHeader(302)
		}, runs.ClassScript, `a location that is not a URL`},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := serve3(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/connect" {
					test.serve(w, r)
				}
			})
			server.options.MaxBody = 1e6
			j := begin(t, scenario.Scenario{}, server.options)
			limit := 20 * time.Second
			if test.class == runs.ClassTimeout {
				wantCause(t, j.step(t, overHTTP3(server.url+"/connect", scenario.Step{})), "", "")
				limit = 200 * time.Millisecond
			}
			got := j.within(t, overHTTP3(server.url+"/?token=token-value", scenario.Step{}), limit)
			wantCause(t, got, test.class, test.detail)
			requests := j.Close().Requests
			last := requests[len(requests)-1]
			if got.Requests != 1 || test.class != "" && strings.Contains(got.Cause.Detail+last.Error, "token-value") {
				t.Errorf("got %+v, last request %+v, want one request and nothing of the server's text", got, last)
			}
		})
	}
}

// endless writes until the client has enough.
func endless(w http.ResponseWriter, text string, pause time.Duration) {
	var err error
	for err == nil {
		time.Sleep(pause)
		if _, err = io.WriteString(w, text); err == nil {
			err = http.NewResponseController(w).Flush()
		}
	}
}

func TestHTTP3Unreachable(t *testing.T) {
	config, trusted := identity(t)
	shopServer := serve3At(t, "127.0.0.1:0", config, trusted, shop)
	mute, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	other := config.Clone()
	other.NextProtos = []string{"doq"}
	listener, err := quic.ListenAddr("127.0.0.1:0", other, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	localhost := strings.Replace(shopServer.url, "127.0.0.1", "localhost", 1)
	for _, test := range []struct {
		name, url string
		options   httprunner.Options
		class     runs.Class
		detail    string
		connected bool // whether the handshake ended, one way or the other
	}{
		{"refused", "https://" + closed.LocalAddr().String(), trusted, runs.ClassConnect, `connection refused$`, true},
		{"no answer", "https://" + mute.LocalAddr().String(), trusted, runs.ClassTimeout, `timed out after \d+ms connecting$`, true},
		{"unknown host", "https://shop.invalid/?token=token-value", trusted, runs.ClassDNS, `look up shop.invalid: `, false},
		{"untrusted", shopServer.url, httprunner.Options{}, runs.ClassTLS, `quic handshake: .*x509: certificate signed by unknown authority`, true},
		{"other name", localhost, trusted, runs.ClassTLS, `x509: certificate is valid for .*, not localhost`, true},
		{"other protocol", "https://" + listener.Addr().String(), trusted, runs.ClassTLS, `no application protocol`, true},
		{"international name", "https://münchen.invalid/", trusted, runs.ClassScript, `host: got münchen.invalid, want the xn-- form`, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			j := begin(t, scenario.Scenario{}, test.options)
			limit := 5 * time.Second
			if test.class == runs.ClassTimeout {
				limit = 100 * time.Millisecond
			}
			got := j.within(t, overHTTP3(test.url, scenario.Step{}), limit)
			wantCause(t, got, test.class, test.detail)
			q := j.Close().Requests[0]
			if p := q.Phases; q.Status != 0 || q.Error != got.Cause.Detail || (p.Connect != nil) != test.connected || p.TLS != nil || p.Send != nil || p.Wait != nil {
				t.Errorf("got %+v, want no more phases than it reached", q)
			}
		})
	}
}

// TestHTTP3SlowHandshakeDoesNotBlockTheNextStep shows that a handshake ends with the step that began it.
func TestHTTP3SlowHandshakeDoesNotBlockTheNextStep(t *testing.T) {
	config, trusted := identity(t)
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := packets.LocalAddr().String()
	j := begin(t, scenario.Scenario{}, trusted)
	step := overHTTP3("https://"+address, scenario.Step{})
	wantCause(t, j.within(t, step, 50*time.Millisecond), runs.ClassTimeout, "connecting")
	_ = packets.Close()
	serve3At(t, address, config, trusted, shop)
	wantCause(t, j.step(t, step), "", "")
}

// TestHTTP3KeptConnectionThatDied shows that a connection which the server gives up between two steps is no failure of the
// second, whether the client knows of it yet or not.
func TestHTTP3KeptConnectionThatDied(t *testing.T) {
	config, trusted := identity(t)
	first := serve3At(t, "127.0.0.1:0", config, trusted, shop)
	address := first.packets.LocalAddr().String()
	j := begin(t, scenario.Scenario{}, trusted)
	step := overHTTP3("https://"+address, scenario.Step{})
	wantCause(t, j.step(t, step), "", "")
	_ = first.server.Close()
	_ = first.packets.Close()
	serve3At(t, address, config, trusted, shop)
	got := j.step(t, step)
	wantCause(t, got, "", "")
	if p := j.Close().Requests[1].Phases; p.Connect == nil || sum(p) > got.DurationMS+0.1 {
		t.Errorf("got %+v in %v ms, want a new connection", p, got.DurationMS)
	}
}

// counted is this machine's network; it counts the sockets that are open.
type counted struct {
	httprunner.HostNetwork
	open *atomic.Int64
}

type countedPackets struct {
	net.PacketConn // and nothing else, as a socket of an emulated device: no file descriptor, no buffers to set
	open           *atomic.Int64
}

func (n counted) ListenPacket(context.Context, netip.AddrPort) (net.PacketConn, error) {
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n.open.Add(1)
	return countedPackets{packets, n.open}, nil
}

func (p countedPackets) Close() error {
	p.open.Add(-1)
	return p.PacketConn.Close()
}

// TestHTTP3NothingLeftBehind ends sessions in the middle of everything and looks for their sockets and goroutines.
func TestHTTP3NothingLeftBehind(t *testing.T) {
	running := quicGoroutines()
	config, trusted := identity(t)
	mute, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	network := counted{open: new(atomic.Int64)}
	t.Run("sessions", func(t *testing.T) {
		urls := []string{
			serve3At(t, "127.0.0.1:0", config, trusted, shop).url, "https://" + mute.LocalAddr().String(), "https://shop.invalid/",
			serve3At(t, "127.0.0.1:0", config, trusted, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }).url,
			serve3At(t, "127.0.0.1:0", config, trusted, func(w http.ResponseWriter, _ *http.Request) { endless(w, "x", time.Millisecond) }).url,
		}
		j := across(t, network, scenario.Scenario{}, trusted)
		wantCause(t, j.step(t, overHTTP3(urls[0], scenario.Step{})), "", "")
		for _, url := range urls[1:] {
			j.within(t, overHTTP3(url, scenario.Step{}), 50*time.Millisecond)
		}
		if network.open.Load() == 0 {
			t.Error("got no socket open, want at least that of the connection that is kept")
		}
		began := time.Now()
		if n := len(j.Close().Requests); n != len(urls) || time.Since(began) > 5*time.Second {
			t.Errorf("got %d requests after %s, want %d at once", n, time.Since(began), len(urls))
		}
		if n := network.open.Load(); n != 0 {
			t.Errorf("got %d sockets open, want none", n)
		}
	})
	for end := time.Now().Add(5 * time.Second); quicGoroutines() > running; runtime.Gosched() { // the servers have gone too
		if time.Now().After(end) {
			t.Fatalf("got %d goroutines of QUIC, want the %d of before", quicGoroutines(), running)
		}
	}
}

// quicGoroutines counts the goroutines of quic-go and of our part above it.
func quicGoroutines() (n int) {
	buf := make([]byte, 4<<20)
	for _, stack := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(stack, "quic-go") || strings.Contains(stack, "httprunner/h3.") {
			n++
		}
	}
	return n
}

// TestProtocols shows what a step gets that insists on a protocol, and one that does not.
func TestProtocols(t *testing.T) {
	start := func(both bool, protos ...string) *httptest.Server {
		server := httptest.NewUnstartedServer(http.HandlerFunc(shop))
		server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		server.EnableHTTP2 = both
		server.TLS = &tls.Config{NextProtos: protos}
		server.StartTLS()
		t.Cleanup(server.Close)
		return server
	}
	both, old := start(true), start(false, "http/1.1")
	deaf := start(false) // has no ALPN at all
	deaf.TLS.NextProtos = nil
	for _, test := range []struct {
		name     string
		server   *httptest.Server
		protocol scenario.Protocol
		want     string // the protocol spoken
		detail   string // of the failure, of class tls
	}{
		{"as an app", both, "", "h2", ""},
		{"as an app, old server", old, "", "http/1.1", ""},
		{"h2", both, scenario.ProtocolHTTP2, "h2", ""},
		{"http/1.1", both, scenario.ProtocolHTTP1, "http/1.1", ""},
		{"h2, old server", old, scenario.ProtocolHTTP2, "", "no application protocol"},
		{"h2, server without ALPN", deaf, scenario.ProtocolHTTP2, "", "protocol: got none, want h2"},
		{"http/1.1, server without ALPN", deaf, scenario.ProtocolHTTP1, "http/1.1", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			pool := x509.NewCertPool()
			pool.AddCert(test.server.Certificate())
			j := begin(t, scenario.Scenario{}, httprunner.Options{RootCAs: pool})
			step := scenario.Step{URL: test.server.URL, Protocol: test.protocol}
			for i := range 2 {
				got := j.step(t, step)
				if test.want == "" {
					wantCause(t, got, runs.ClassTLS, test.detail)
					return
				}
				wantCause(t, got, "", "")
				if i == 0 {
					continue
				}
				requests := j.Close().Requests
				if q := requests[1]; q.Protocol != test.want || q.Phases.Connect != nil {
					t.Errorf("got %+v, want %s over the connection of the first step", q, test.want)
				}
			}
		})
	}
	t.Run("plain", func(t *testing.T) {
		server := serve(t, shop)
		for protocol, detail := range map[scenario.Protocol]string{
			scenario.ProtocolHTTP1: "", scenario.ProtocolHTTP2: "got h2 for an http URL, want https", scenario.ProtocolHTTP3: "got h3 for an http URL",
		} {
			class := runs.ClassScript
			if detail == "" {
				class = ""
			}
			wantCause(t, plain(t).step(t, scenario.Step{URL: server.URL, Protocol: protocol}), class, detail)
		}
	})
}
