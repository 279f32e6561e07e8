package httprunner_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"lastmile/internal/har"
	"lastmile/internal/httprunner"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// protocols are those that a step can insist on.
var protocols = []scenario.Protocol{scenario.ProtocolHTTP1, scenario.ProtocolHTTP2, scenario.ProtocolHTTP3}

// spoken is a protocol as requests name it.
func spoken(p scenario.Protocol) string {
	return map[scenario.Protocol]string{scenario.ProtocolHTTP1: "http/1.1", scenario.ProtocolHTTP2: "h2", scenario.ProtocolHTTP3: "h3"}[p]
}

// site is a real server of one protocol, and the options of a runner that trusts it.
type site struct {
	protocol scenario.Protocol
	url      string
	options  httprunner.Options
}

// start starts a site that closes with the test; tune, if any, changes its TLS.
func start(t testing.TB, protocol scenario.Protocol, tune func(*tls.Config), handler http.HandlerFunc) site {
	t.Helper()
	config, options := identity(t)
	if tune != nil {
		tune(config)
	}
	if protocol == scenario.ProtocolHTTP3 {
		return site{protocol, serve3At(t, "127.0.0.1:0", config, options, handler).url, options}
	}
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.TLS, server.EnableHTTP2 = config, protocol == scenario.ProtocolHTTP2
	server.StartTLS()
	t.Cleanup(server.Close)
	return site{protocol, server.URL, options}
}

// step makes a step go to the site.
func (s site) step(path string, step scenario.Step) scenario.Step {
	step.URL, step.Protocol = s.url+path, s.protocol
	return step
}

// private begins a run that knows secrets.
func private(t testing.TB, network httprunner.Network, options httprunner.Options, secrets map[string]vars.Secret) *journey {
	t.Helper()
	j := across(t, network, scenario.Scenario{}, options)
	j.scope = vars.NewScope(map[string]string{"name": "tea \"green\"\r\nX-Injected: 1"}, secrets)
	return j
}

// received is what the server of TestKeys says of a request.
func received(w http.ResponseWriter, r *http.Request) {
	kind := r.Header.Get("Content-Type")
	if user, password, ok := r.BasicAuth(); ok {
		_, _ = fmt.Fprintf(w, "basic %s %s;", user, password)
	} else if auth := r.Header.Get("Authorization"); auth != "" {
		_, _ = fmt.Fprintf(w, "%s;", auth)
	}
	if !strings.HasPrefix(kind, "multipart/form-data; boundary=") {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %d %x [%s]", r.Method, len(body), body, kind)
		return
	}
	parts, err := r.MultipartReader()
	for err == nil {
		var part, _ = parts.NextPart()
		if part == nil {
			break
		}
		body, _ := io.ReadAll(part)
		_, _ = fmt.Fprintf(w, "(%s|%s|%s|%x|%d)", part.FormName(), part.FileName(), part.Header.Get("Content-Type"), body, len(part.Header))
	}
}

// TestKeys is the table of what a step can send, over each protocol, to a real server.
func TestKeys(t *testing.T) {
	secrets := map[string]vars.Secret{"USER": "ann-of-the-shop", "PASSWORD": "s3cr3t:välue", "TOKEN": "t0ken-value"}
	for _, protocol := range protocols {
		server := start(t, protocol, nil, received)
		for _, test := range []struct {
			name string
			step scenario.Step
			want string
		}{
			{"basic", scenario.Step{Auth: &scenario.Auth{Basic: &scenario.Basic{User: "${secrets.USER}", Password: "${secrets.PASSWORD}"}}}, "basic ann-of-the-shop s3cr3t:välue;GET 0"},
			{"basic without a password", scenario.Step{Auth: &scenario.Auth{Basic: &scenario.Basic{User: "ann"}}}, "basic ann ;GET 0"},
			{"bearer", scenario.Step{Method: "DELETE", Auth: &scenario.Auth{Bearer: "${secrets.TOKEN}"}}, "Bearer t0ken-value;DELETE 0"},
			{"bytes", scenario.Step{Method: "PUT", BodyBase64: "AAH+/w=="}, "PUT 4 0001feff []"},
			{"bytes of a type", scenario.Step{Method: "PATCH", BodyBase64: "AAH+/w==", Headers: map[string]string{"Content-Type": "image/png"}}, "PATCH 4 0001feff [image/png]"},
			{
				"parts",
				scenario.Step{Method: "POST", Multipart: []scenario.Part{
					{Name: "order", Value: "${secrets.TOKEN}"},
					{Name: "note", Value: "{}", ContentType: "application/json"},
					{Name: "photo", Base64: "AAH+/w==", Filename: "a.png", ContentType: "image/png"},
					{Name: "blob", Base64: "AA==", Filename: "b"},
					{Name: "text", Value: "c", Filename: "${name}"},
					{Name: "empty"},
				}},
				"(order|||74306b656e2d76616c7565|1)(note||application/json|7b7d|2)(photo|a.png|image/png|0001feff|2)" +
					"(blob|b|application/octet-stream|00|2)(text|tea %22green%22%0D%0AX-Injected: 1|application/octet-stream|63|2)(empty||||1)",
			},
		} {
			t.Run(spoken(protocol)+" "+test.name, func(t *testing.T) {
				j := private(t, httprunner.HostNetwork{}, server.options, secrets)
				test.step.Assert = []scenario.Assertion{{Body: "no such text"}}
				step := server.step("/", test.step)
				failed := j.step(t, step)
				wantCause(t, failed, runs.ClassAssertion, "^body: got")
				step.Assert = []scenario.Assertion{{Body: strings.ReplaceAll(test.want, "$", "$$")}}
				passed := j.step(t, step)
				wantCause(t, passed, "", "")
				requests := j.Close().Requests
				if q := requests[1]; q.Protocol != spoken(protocol) || q.Phases.Connect != nil || q.Exchange.RequestBytes != requests[0].Exchange.RequestBytes {
					t.Errorf("got %+v, want %s over the connection of the first", q, spoken(protocol))
				}
				wantPrivate(t, j.scope, []runs.Step{failed, passed}, requests, "ann-of-the-shop", "s3cr3t:v", "t0ken-value", base64.StdEncoding.EncodeToString([]byte("ann-of-the-shop:s3cr3t:v"))[:20])
			})
		}
	}
}

// wantPrivate looks for secrets in all that a run leaves: in results as they are, and in the HAR.
func wantPrivate(t testing.TB, scope *vars.Scope, steps []runs.Step, requests []runs.Request, secrets ...string) {
	t.Helper()
	result := runs.Result{Schema: runs.Schema, RunID: "test.eu.none.1700000000", Steps: steps, Requests: requests}
	text, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	archive, _, err := har.Encode(&result, har.Options{Version: "1", Redact: scope.Redact})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range secrets {
		if bytes.Contains(text, []byte(secret)) || bytes.Contains(archive, []byte(secret)) {
			t.Errorf("got %q in what the run leaves, want no secret there", secret)
		}
	}
}

// TestKeysThatCannotBeSent shows what is wrong with a step before anything is sent.
func TestKeysThatCannotBeSent(t *testing.T) {
	server := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("got a request, want none") })
	cert, key := person(t, "ann").pem()
	secrets := map[string]vars.Secret{"KEY": vars.Secret(key), "BAD": "s3cr3t-key", "CERT": vars.Secret(cert), "USER": "ann:s3cr3t"}
	for _, test := range []struct {
		name, detail string
		step         scenario.Step
	}{
		{"bytes", `^bodyBase64: illegal base64 data`, scenario.Step{BodyBase64: "***"}},
		{"part", `^multipart photo: illegal base64 data`, scenario.Step{Multipart: []scenario.Part{{Name: "photo", Base64: "***"}}}},
		{"part without a value", `^multipart a: expand template: \$\{none\} has no value`, scenario.Step{Multipart: []scenario.Part{{Name: "a", Value: "${none}"}}}},
		{"user with a colon", `^auth basic user: got one with a colon`, scenario.Step{Auth: &scenario.Auth{Basic: &scenario.Basic{User: "${secrets.USER}"}}}},
		{"no token", `^auth bearer: expand template`, scenario.Step{Auth: &scenario.Auth{Bearer: "${token}"}}},
		{"no certificate", `^clientCert: cert: want a certificate`, scenario.Step{ClientCert: &scenario.ClientCert{Cert: "${secrets.BAD}", Key: "${secrets.KEY}"}}},
		{"no key", `^clientCert: key: want a private key`, scenario.Step{ClientCert: &scenario.ClientCert{Cert: "${secrets.CERT}", Key: "${secrets.BAD}"}}},
		{"no value for the key", `^clientCert key: expand template`, scenario.Step{ClientCert: &scenario.ClientCert{Cert: "${secrets.CERT}", Key: "${secrets.NONE}"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			j := private(t, httprunner.HostNetwork{}, httprunner.Options{}, secrets)
			test.step.URL, test.step.Retries = server.URL, 3
			got := j.step(t, test.step)
			wantCause(t, got, runs.ClassScript, test.detail)
			if strings.Contains(got.Cause.Detail, "s3cr3t") || got.Requests != 0 {
				t.Errorf("got %+v, want no secret and no request", got)
			}
		})
	}
}

// holder is somebody with a certificate.
type holder struct {
	template *x509.Certificate
	der      []byte
	key      *ecdsa.PrivateKey
}

// person makes somebody whose certificate nobody else has signed.
func person(t testing.TB, name string) holder {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return holder{template, der, key}
}

// pem returns what a scenario has of the holder.
func (h holder) pem() (cert, key string) {
	der, err := x509.MarshalPKCS8PrivateKey(h.key)
	if err != nil {
		panic(err) // of a key that was just made
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// TestClientCertificates shows mutual TLS over each protocol: each certificate has its own connections, and goes to the step's host only.
func TestClientCertificates(t *testing.T) {
	ann, bob, eve := person(t, "ann"), person(t, "bob"), person(t, "eve")
	trusted := x509.NewCertPool()
	for _, one := range []holder{ann, bob} {
		cert, err := x509.ParseCertificate(one.der)
		if err != nil {
			t.Fatal(err)
		}
		trusted.AddCert(cert)
	}
	secrets := map[string]vars.Secret{}
	of := map[string]*scenario.ClientCert{"": nil}
	for _, one := range []holder{ann, bob, eve} {
		cert, key := one.pem()
		name := one.template.Subject.CommonName
		secrets[name] = vars.Secret(key)
		of[name] = &scenario.ClientCert{Cert: cert, Key: "${secrets." + name + "}"}
	}
	for _, protocol := range protocols {
		t.Run(spoken(protocol), func(t *testing.T) {
			names := func(w http.ResponseWriter, r *http.Request) {
				for _, cert := range r.TLS.PeerCertificates {
					_, _ = io.WriteString(w, "it is "+cert.Subject.CommonName)
				}
				_, _ = io.WriteString(w, ".")
			}
			strict := start(t, protocol, func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, trusted }, names)
			j := private(t, httprunner.HostNetwork{}, strict.options, secrets)
			for _, who := range []string{"ann", "bob", "ann", "bob"} {
				step := assert(scenario.Assertion{Body: "it is " + who + "."})
				step.ClientCert = of[who]
				wantCause(t, j.step(t, strict.step("/", step)), "", "")
			}
			requests := j.Close().Requests
			for i, fresh := range []bool{true, true, false, false} {
				if q := requests[i]; (q.Phases.Connect != nil) != fresh || q.Protocol != spoken(protocol) {
					t.Errorf("request %d: got %+v, want a connection for each certificate, and then that kept", i, q)
				}
			}
			for _, who := range []string{"", "eve"} {
				j := private(t, httprunner.HostNetwork{}, strict.options, secrets)
				got := j.step(t, strict.step("/", scenario.Step{ClientCert: of[who]}))
				if got.Cause == nil || got.Cause.Class != runs.ClassTLS && got.Cause.Class != runs.ClassConnect { // the end of the connection may overtake the alert
					t.Errorf("%q: got %+v, want a failure of TLS", who, got.Cause)
				}
			}
		})
	}
}

// TestCertificateRefused shows that a refusal after what the client takes for the end of the handshake is one of TLS.
func TestCertificateRefused(t *testing.T) {
	config, options := identity(t)
	config.ClientAuth = tls.RequireAnyClientCert
	address := listen(t, func(conn net.Conn) {
		_ = tls.Server(conn, config).Handshake()
		silent(conn) // so that the end of the connection does not overtake the alert
	})
	j := begin(t, scenario.Scenario{}, options)
	wantCause(t, j.step(t, scenario.Step{URL: "https://" + address}), runs.ClassTLS, "remote error: tls: (certificate required|bad certificate)")
}

// TestIdentityStaysWithItsHost shows that neither certificate nor authorization follow a redirect to another host.
func TestIdentityStaysWithItsHost(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(spoken(protocol), func(t *testing.T) {
			var back, away string
			known := make(chan struct{}) // closed once both are: what comes over UDP orders nothing for the race detector
			ask := func(c *tls.Config) { c.ClientAuth = tls.RequestClientCert }
			tell := func(w http.ResponseWriter, r *http.Request) {
				<-known
				switch r.URL.Path {
				case "/out":
					http.Redirect(w, r, away+"/back", http.StatusFound)
				case "/back":
					http.Redirect(w, r, back+"/end?"+tells(r), http.StatusFound)
				default:
					_, _ = io.WriteString(w, r.URL.RawQuery+" "+tells(r))
				}
			}
			first, second := start(t, protocol, ask, tell), start(t, protocol, ask, tell)
			back, away = first.url, second.url
			close(known)
			cert, key := person(t, "ann").pem()
			j := private(t, httprunner.HostNetwork{}, first.options, map[string]vars.Secret{"KEY": vars.Secret(key)})
			step := assert(scenario.Assertion{Body: "ann=0,auth=0 ann=0,auth=0"})
			step.ClientCert, step.Auth = &scenario.ClientCert{Cert: cert, Key: "${secrets.KEY}"}, &scenario.Auth{Bearer: "abc"}
			wantCause(t, j.step(t, first.step("/out", step)), "", "")
			step.Assert[0].Body = " ann=1,auth=1"
			wantCause(t, j.step(t, first.step("/end", step)), "", "")
		})
	}
}

// tells is what a request says of who sends it.
func tells(r *http.Request) string {
	return fmt.Sprintf("ann=%d,auth=%d", len(r.TLS.PeerCertificates), len(r.Header["Authorization"]))
}

// TestCodings shows that bodies in each coding are read, over each protocol.
func TestCodings(t *testing.T) {
	body := "[" + strings.Repeat(`{"state": "paid"}, `, 2000) + "{}]"
	handler := func(w http.ResponseWriter, r *http.Request) {
		var z io.WriteCloser
		switch name := r.URL.Path[1:]; name {
		case "gzip":
			z = gzip.NewWriter(w)
		case "br":
			z = brotli.NewWriter(w)
		case "zstd":
			z, _ = zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
		}
		if r.Header.Get("Accept-Encoding") != "gzip, br, zstd" {
			w.WriteHeader(http.StatusNotAcceptable)
		}
		w.Header().Set("Content-Encoding", r.URL.Path[1:])
		_, _ = io.WriteString(z, body)
		_ = z.Close()
	}
	for _, protocol := range protocols {
		server := start(t, protocol, nil, handler)
		j := begin(t, scenario.Scenario{}, server.options)
		for _, name := range []string{"gzip", "br", "zstd"} {
			step := assert(scenario.Assertion{Header: "Content-Encoding", Equals: text(name)}, scenario.Assertion{JSON: "$[1999].state", Equals: text("paid")})
			got := j.step(t, server.step("/"+name, step))
			wantCause(t, got, "", "")
			if got.Bytes > 5000 {
				t.Errorf("%s over %s: got %d bytes, want those on the wire, not the %d decoded", name, spoken(protocol), got.Bytes, len(body))
			}
			wantCause(t, j.step(t, server.step("/"+name, scenario.Step{Method: "HEAD"})), "", "")
		}
		for _, q := range j.Close().Requests {
			if q.Protocol != spoken(protocol) || q.Method == "GET" && q.Exchange.BodyBytes != int64(len(body)) {
				t.Errorf("got %+v, want a body of %d bytes over %s", q, len(body), spoken(protocol))
			}
		}
	}
}

// TestConnections shows when a step has a connection of its own, over each protocol.
func TestConnections(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(spoken(protocol), func(t *testing.T) {
			var mu sync.Mutex
			seen := map[string]bool{}
			server := start(t, protocol, nil, func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				seen[r.RemoteAddr] = true
				mu.Unlock()
				if r.URL.Path == "/from" {
					http.Redirect(w, r, "/to", http.StatusFound)
				}
			})
			j := begin(t, scenario.Scenario{}, server.options)
			fresh := scenario.Step{Connection: scenario.ConnectionFresh}
			for _, step := range []scenario.Step{{}, fresh, {Connection: scenario.ConnectionKept}, fresh} {
				wantCause(t, j.step(t, server.step("/", step)), "", "")
			}
			wantCause(t, j.step(t, server.step("/from", fresh)), "", "")
			for i, opened := range []bool{true, true, false, true, true, false} { // the last one is a redirect's, over the connection of its step
				p := j.Close().Requests[i].Phases
				if (p.Connect != nil) != opened || (p.TLS != nil) != (opened && protocol != scenario.ProtocolHTTP3) || p.Wait == nil {
					t.Errorf("request %d: got %+v, want a connection opened: %v", i, p, opened)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if len(seen) != 4 {
				t.Errorf("got %d connections at the server, want 4", len(seen))
			}
		})
	}
	if left := clientGoroutines(5 * time.Second); left != "" {
		t.Errorf("got goroutines of closed sessions:\n%s", left)
	}
}

// TestFreshConnectionsEndWithTheirStep shows that the server sees the end of a connection of a step's own while the run goes on.
func TestFreshConnectionsEndWithTheirStep(t *testing.T) {
	ended := make(chan error, 1)
	address := listen(t, answer(func(conn net.Conn) {
		_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		_, err := conn.Read(make([]byte, 1))
		ended <- err
	}))
	j := plain(t)
	wantCause(t, j.step(t, scenario.Step{URL: "http://" + address, Connection: scenario.ConnectionFresh}), "", "")
	if err := <-ended; !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want the end of the connection", err)
	}
}

// TestIPVersion shows which addresses of a host are tried that has some of both families, over each protocol. The server at each says
// which it is.
func TestIPVersion(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(spoken(protocol), func(t *testing.T) {
			config, options := identity(t)
			port := ""
			for _, host := range []string{"127.0.0.1", "::1"} { // on one port
				say := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "at "+host+".") }
				if protocol == scenario.ProtocolHTTP3 {
					server := serve3At(t, net.JoinHostPort(host, port0(port)), config, options, say)
					port = server.packets.LocalAddr().(*net.UDPAddr).AddrPort().String()
				} else {
					listener, err := net.Listen("tcp", net.JoinHostPort(host, port0(port)))
					if err != nil {
						t.Fatalf("this test needs IPv6 on the loopback interface: %v", err)
					}
					server := httptest.NewUnstartedServer(http.HandlerFunc(say))
					_ = server.Listener.Close()
					server.Listener, server.TLS, server.EnableHTTP2 = listener, config.Clone(), protocol == scenario.ProtocolHTTP2
					server.StartTLS()
					t.Cleanup(server.Close)
					port = listener.Addr().String()
				}
			}
			url := "https://example.com:" + port0(port) + "/"
			for _, test := range []struct {
				name      string
				addresses []string
				version   int
				url       string
				want      string // the body; else the detail
				class     runs.Class
			}{
				{"4 of both", []string{"::1", "127.0.0.1"}, 4, url, "at 127.0.0.1.", ""},
				{"6 of both", []string{"127.0.0.1", "::1"}, 6, url, "at ::1.", ""},
				{"either", []string{"::1", "127.0.0.1"}, 0, url, "at ::1.", ""},
				{"4 as a mapped one", []string{"::ffff:127.0.0.1"}, 4, url, "at 127.0.0.1.", ""},
				{"no 6", []string{"127.0.0.1"}, 6, url, "^look up example.com: no IPv6 address$", runs.ClassDNS},
				{"no 4", []string{"::1"}, 4, url, "^look up example.com: no IPv4 address$", runs.ClassDNS},
			} {
				t.Run(test.name, func(t *testing.T) {
					j := across(t, familial{named{addresses: test.addresses}}, scenario.Scenario{}, options)
					step := assert(scenario.Assertion{Body: test.want})
					step.URL, step.Protocol, step.IPVersion = test.url, protocol, test.version
					got := j.step(t, step)
					if test.class != "" {
						wantCause(t, got, test.class, test.want)
						return
					}
					wantCause(t, got, "", "")
				})
			}
			j := across(t, familial{named{addresses: []string{"127.0.0.1", "::1"}}}, scenario.Scenario{}, options)
			for _, version := range []int{4, 6, 4} { // each family has its connections
				step := assert(scenario.Assertion{Body: map[int]string{4: "at 127.0.0.1.", 6: "at ::1."}[version]})
				step.URL, step.Protocol, step.IPVersion = url, protocol, version
				wantCause(t, j.step(t, step), "", "")
			}
		})
	}
}

// port0 is the port of an address, "0" of none.
func port0(address string) string {
	if address == "" {
		return "0"
	}
	return address[strings.LastIndexByte(address, ':')+1:]
}

// familial dials as a run's network does: the addresses of a host one after the other, of one family where that is asked for.
type familial struct{ named }

func (n familial) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	all, err := n.LookupNetIP(ctx, host)
	for _, a := range all {
		if v4 := a.Unmap().Is4(); network == "tcp" || v4 == (network == "tcp4") {
			return n.HostNetwork.DialContext(ctx, "tcp", netip.AddrPortFrom(a.Unmap(), netip.MustParseAddrPort("127.0.0.1:"+port).Port()).String())
		}
	}
	if err == nil {
		err = &net.DNSError{Name: host, Err: "no IPv" + network[3:] + " address", IsNotFound: true}
	}
	return nil, err
}
