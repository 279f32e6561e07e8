package netrunner_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"lastmile/internal/linkemu"
	"lastmile/internal/netprofile"
	"lastmile/internal/netrunner"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// want is what a step must come to.
type want struct {
	class  runs.Class // "" = passed
	detail string     // a regular expression that the cause's matches
	url    string
	method string
	phases string // all that there must be, and no other
	vars   map[string]string
}

// phases names the phases that there are.
func phases(p runs.Phases) string {
	var out []string
	for _, phase := range []struct {
		name string
		ms   *float64
	}{{"dns", p.DNS}, {"connect", p.Connect}, {"tls", p.TLS}, {"send", p.Send}, {"wait", p.Wait}, {"receive", p.Receive}} {
		if phase.ms != nil {
			out = append(out, phase.name)
		}
	}
	return strings.Join(out, " ")
}

func (w want) check(t *testing.T, got outcome) {
	t.Helper()
	if got.err != nil {
		t.Fatalf("got error %v, want none", got.err)
	}
	class, detail := runs.Class(""), ""
	if got.step.Cause != nil {
		class, detail = got.step.Cause.Class, got.step.Cause.Detail
	}
	if class != w.class || !regexp.MustCompile(w.detail).MatchString(detail) {
		t.Errorf("got class %q: %q, want %q: %s", class, detail, w.class, w.detail)
	}
	if (class == "") != (got.step.State == runs.StepPassed) || got.request.Error != detail {
		t.Errorf("got state %s and request %+v, want those of cause %q", got.step.State, got.request, detail)
	}
	if strings.Contains(detail, "token-value") {
		t.Errorf("got detail %q, want none of the secret", detail)
	}
	if w.url != "" && got.request.URL != w.url || w.method != "" && got.request.Method != w.method {
		t.Errorf("got %s %s, want %s %s", got.request.Method, got.request.URL, w.method, w.url)
	}
	if w.phases != "" && phases(got.request.Phases) != w.phases {
		t.Errorf("got phases %s, want %s", phases(got.request.Phases), w.phases)
	}
	for name, value := range w.vars {
		if text, err := got.scope.Expand("${" + name + "}"); err != nil || text != value {
			t.Errorf("variable %s: got %q and %v, want %q", name, text, err, value)
		}
	}
	if got.request.StartedAt.IsZero() || got.step.DurationMS <= 0 || got.step.Bytes != got.request.Bytes {
		t.Errorf("got step %+v and request %+v, want times and the same bytes", got.step, got.request)
	}
}

func body(text string) []scenario.Assertion { return []scenario.Assertion{{Body: text}} }
func expr(text string) []scenario.Assertion { return []scenario.Assertion{{Expr: text}} }
func days(n int) []scenario.Assertion       { return []scenario.Assertion{{CertDays: &n}} }

func equals(text string) *scenario.Text {
	value := scenario.Text(text)
	return &value
}

// Every type of step, against a real server, over the host's own network and over an emulated link.
func TestSteps(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	good := ca.server(t, "localhost", later())
	cert, key := ca.issue(t, "client", later())
	stranger, strangerKey := other.issue(t, "client", later())
	mine, theirs := &scenario.ClientCert{Cert: cert, Key: "${secrets.KEY}"}, &scenario.ClientCert{Cert: stranger, Key: strangerKey}
	secrets := map[string]vars.Secret{"KEY": vars.Secret(key), "TOKEN": "token-value"}
	bearer := map[string]string{"Authorization": "Bearer ${secrets.TOKEN}"}

	echoes, banner := serve(t, nil, echo), serve(t, nil, says("220 ready\r\n"))
	secure, mutual := serve(t, good, echo), serve(t, ca.mutual(t), echo)
	expired := serve(t, ca.server(t, "localhost", time.Now().Add(-time.Hour)), echo)
	wrong, unknown := serve(t, ca.server(t, "other.test", later()), echo), serve(t, other.server(t, "localhost", later()), echo)
	names := serveDNS(t, zone)
	health, healthTLS, healthMutual := serveGRPC(t, nil), serveGRPC(t, good.Clone()), serveGRPC(t, ca.mutual(t))
	ws, wss := serveWebSocket(t, nil, echoMessages), serveWebSocket(t, good.Clone(), echoMessages)
	wssMutual := serveWebSocket(t, ca.mutual(t), echoMessages)
	closed := serve(t, nil, echo)
	local := func(address string) string { return "localhost" + address[strings.LastIndex(address, ":"):] }

	// Where we send before the refusal has come, the server's end of the connection may overtake it.
	const refusal = "certificate required|^the server asked for a client certificate, and then: connection"

	type test struct {
		name string
		step scenario.Step
		want want
	}
	tests := []test{
		{"tcp connects", scenario.Step{Type: scenario.StepTCP, Address: echoes}, want{url: "tcp://" + echoes, method: "CONNECT", phases: "connect"}},
		{"tcp by name", scenario.Step{Type: scenario.StepTCP, Address: local(echoes)}, want{phases: "dns connect"}},
		{"tcp echo", scenario.Step{Type: scenario.StepTCP, Address: echoes, Send: "hello 42\n", Assert: body("hello"), Extract: map[string]scenario.Extractor{"n": {Regex: `hello (\d+)\n`}}}, want{phases: "connect send wait receive", vars: map[string]string{"n": "42"}}},
		{"tcp banner", scenario.Step{Type: scenario.StepTCP, Address: banner, Assert: body("220 ready")}, want{phases: "connect wait receive"}},
		{"tcp json", scenario.Step{Type: scenario.StepTCP, Address: echoes, Send: `{"a": [1, 2]}`, Assert: []scenario.Assertion{{JSON: "$.a[1]", Equals: equals("2")}}}, want{}},
		{"tcp schema", scenario.Step{Type: scenario.StepTCP, Address: echoes, Send: `{"a": 1}`, Assert: []scenario.Assertion{{Schema: map[string]any{"required": []any{"a"}}}}}, want{}},
		{"tcp expr", scenario.Step{Type: scenario.StepTCP, Address: echoes, Send: `{"a": 1}`, Assert: expr("json.a == 1 && size == 8")}, want{}},
		{"tcp secret sent", scenario.Step{Type: scenario.StepTCP, Address: echoes, Send: "${secrets.TOKEN}", Timeout: scenario.Duration(400 * time.Millisecond), Assert: body("other")}, want{class: runs.ClassTimeout, detail: `receiving the response, 11 bytes so far: body: got 11 bytes without it`}},
		{"tcp closed by the peer", scenario.Step{Type: scenario.StepTCP, Address: banner, Assert: body("250")}, want{class: runs.ClassAssertion, detail: `body: got 11 bytes without it, want "250", and then the connection was closed`}},
		{"tcp IPv4", scenario.Step{Type: scenario.StepTCP, Address: local(echoes), IPVersion: 4}, want{}},
		{"tcp IPv6 of an IPv4 address", scenario.Step{Type: scenario.StepTCP, Address: echoes, IPVersion: 6}, want{class: runs.ClassDNS, detail: "no IPv6 address"}},

		{"tls", scenario.Step{Type: scenario.StepTLS, Address: secure, Assert: append(days(89), expr(`cert.daysLeft > 80 && cert.names[0] == "localhost" && tls == "TLS 1.3"`)...)}, want{url: "tls://" + secure, method: "CONNECT", phases: "connect tls"}},
		{"tls ends soon", scenario.Step{Type: scenario.StepTLS, Address: secure, Assert: days(91)}, want{class: runs.ClassAssertion, detail: "90"}},
		{"tls expired", scenario.Step{Type: scenario.StepTLS, Address: expired}, want{class: runs.ClassTLS, detail: "^expired: "}},
		{"tls wrong name", scenario.Step{Type: scenario.StepTLS, Address: wrong}, want{class: runs.ClassTLS, detail: "^wrong name: "}},
		{"tls server name", scenario.Step{Type: scenario.StepTLS, Address: wrong, ServerName: "other.test"}, want{}},
		{"tls unknown authority", scenario.Step{Type: scenario.StepTLS, Address: unknown}, want{class: runs.ClassTLS, detail: "^unknown authority: "}},
		{"tls mutual", scenario.Step{Type: scenario.StepTLS, Address: mutual, ClientCert: mine}, want{}},
		{"tls mutual without a certificate", scenario.Step{Type: scenario.StepTLS, Address: mutual}, want{class: runs.ClassTLS, detail: "certificate required"}},
		{"tls mutual with a stranger's", scenario.Step{Type: scenario.StepTLS, Address: mutual, ClientCert: theirs}, want{class: runs.ClassTLS, detail: "^client certificate: remote error: tls: "}},

		{"dns A", scenario.Step{Type: scenario.StepDNS, Name: "example.test", Server: names, Assert: append(expr(`len(dns) == 2 && dns[0] == "192.0.2.1"`), scenario.Assertion{JSON: "$.ttl", Equals: equals("30")}), Extract: map[string]scenario.Extractor{"a": {JSON: "$.records[1]"}}}, want{url: "dns://example.test?type=A", method: "QUERY", phases: "send wait receive", vars: map[string]string{"a": "192.0.2.2"}}},
		{"dns server by name", scenario.Step{Type: scenario.StepDNS, Name: "EXAMPLE.test", Server: local(names)}, want{phases: "dns send wait receive"}},
		{"dns alias", scenario.Step{Type: scenario.StepDNS, Name: "www.example.test", Server: names, Assert: body(`"records":["192.0.2.1"]`)}, want{}},
		{"dns AAAA", scenario.Step{Type: scenario.StepDNS, Name: "example.test", Record: scenario.RecordAAAA, Server: names, Assert: body("2001:db8::1")}, want{}},
		{"dns CNAME", scenario.Step{Type: scenario.StepDNS, Name: "www.example.test", Record: scenario.RecordCNAME, Server: names, Assert: body(`["example.test"]`)}, want{}},
		{"dns MX", scenario.Step{Type: scenario.StepDNS, Name: "example.test", Record: scenario.RecordMX, Server: names, Assert: body("10 mail.example.test")}, want{}},
		{"dns NS", scenario.Step{Type: scenario.StepDNS, Name: "example.test", Record: scenario.RecordNS, Server: names, Assert: body(`"ns.example.test"`)}, want{}},
		{"dns SRV", scenario.Step{Type: scenario.StepDNS, Name: "_x._tcp.example.test", Record: scenario.RecordSRV, Server: names, Assert: body("1 2 443 x.example.test")}, want{}},
		{"dns TXT", scenario.Step{Type: scenario.StepDNS, Name: "example.test", Record: scenario.RecordTXT, Server: names, Assert: body("v=spf1 -all")}, want{}},
		{"dns too large for UDP", scenario.Step{Type: scenario.StepDNS, Name: "large.test", Record: scenario.RecordTXT, Server: names, Assert: expr("len(dns) == 100")}, want{phases: "connect send wait receive"}},
		{"dns no such name", scenario.Step{Type: scenario.StepDNS, Name: "none.test", Server: names}, want{class: runs.ClassDNS, detail: "^look up none.test: no such host$"}},
		{"dns no such record", scenario.Step{Type: scenario.StepDNS, Name: "empty.test", Server: names}, want{class: runs.ClassDNS, detail: "no record of type A$"}},
		{"dns server fails", scenario.Step{Type: scenario.StepDNS, Name: "broken.test", Server: names}, want{class: runs.ClassDNS, detail: "server misbehaving$"}},
		{"dns of the network", scenario.Step{Type: scenario.StepDNS, Name: "localhost", Assert: body(`["127.0.0.1"]`)}, want{phases: "dns"}},
		{"dns MX of the network", scenario.Step{Type: scenario.StepDNS, Name: "localhost", Record: scenario.RecordMX}, want{class: runs.ClassScript, detail: "record: got MX without server"}},

		{"grpc", scenario.Step{Type: scenario.StepGRPC, Address: health, Assert: []scenario.Assertion{{JSON: "$.status", Equals: equals("SERVING")}}}, want{url: "grpc://" + health, method: "CHECK", phases: "connect send wait receive"}},
		{"grpc service", scenario.Step{Type: scenario.StepGRPC, Address: local(health), Service: "shop"}, want{phases: "dns connect send wait receive"}},
		{"grpc not serving", scenario.Step{Type: scenario.StepGRPC, Address: health, Service: "till"}, want{class: runs.ClassAssertion, detail: "^health of till: got NOT_SERVING, want SERVING$"}},
		{"grpc unknown service", scenario.Step{Type: scenario.StepGRPC, Address: health, Service: "none"}, want{class: runs.ClassAssertion, detail: "knows no such service"}},
		{"grpc unavailable", scenario.Step{Type: scenario.StepGRPC, Address: health, Service: "down"}, want{class: runs.ClassAssertion, detail: "^health of down: got code Unavailable: the server, or a proxy"}},
		{"grpc credentials", scenario.Step{Type: scenario.StepGRPC, Address: health, Service: "private", Headers: bearer}, want{}},
		{"grpc no credentials", scenario.Step{Type: scenario.StepGRPC, Address: health, Service: "private"}, want{class: runs.ClassAssertion, detail: "got code Unauthenticated: the server wants credentials"}},
		{"grpc tls", scenario.Step{Type: scenario.StepGRPC, Address: healthTLS, TLS: true, Assert: days(30)}, want{phases: "connect tls send wait receive"}},
		{"grpc tls wrong name", scenario.Step{Type: scenario.StepGRPC, Address: healthTLS, TLS: true, ServerName: "other.test"}, want{class: runs.ClassTLS, detail: "^wrong name: "}},
		{"grpc mutual", scenario.Step{Type: scenario.StepGRPC, Address: healthMutual, TLS: true, ClientCert: mine}, want{}},
		{"grpc mutual without a certificate", scenario.Step{Type: scenario.StepGRPC, Address: healthMutual, TLS: true}, want{class: runs.ClassTLS, detail: refusal}},
		{"grpc without the service", scenario.Step{Type: scenario.StepGRPC, Address: ws}, want{class: runs.ClassScript}},

		{"websocket", scenario.Step{Type: scenario.StepWebSocket, URL: "ws://" + ws + "/echo?key=value"}, want{url: "ws://" + ws + "/echo", method: "GET", phases: "connect send wait receive"}},
		{"websocket echo", scenario.Step{Type: scenario.StepWebSocket, URL: "ws://" + ws, Send: `{"ping": 7}`, Assert: []scenario.Assertion{{JSON: "$.ping", Equals: equals("7")}}, Extract: map[string]scenario.Extractor{"ping": {JSON: "$.ping"}}}, want{vars: map[string]string{"ping": "7"}}},
		{"websocket auth", scenario.Step{Type: scenario.StepWebSocket, URL: "ws://" + ws + "/private", Auth: &scenario.Auth{Basic: &scenario.Basic{User: "ann", Password: "${secrets.TOKEN}"}}}, want{}},
		{"websocket without auth", scenario.Step{Type: scenario.StepWebSocket, URL: "ws://" + ws + "/private"}, want{class: runs.ClassHTTP4xx, detail: "^handshake: got status 401, want 101$"}},
		{"websocket tls", scenario.Step{Type: scenario.StepWebSocket, URL: "wss://" + local(wss), Send: "hi", Assert: body("hi")}, want{phases: "dns connect tls send wait receive"}},
		{"websocket mutual", scenario.Step{Type: scenario.StepWebSocket, URL: "wss://" + wssMutual, ClientCert: mine}, want{}},
		{"websocket mutual without a certificate", scenario.Step{Type: scenario.StepWebSocket, URL: "wss://" + wssMutual}, want{class: runs.ClassTLS, detail: refusal}},
		{"websocket of another scheme", scenario.Step{Type: scenario.StepWebSocket, URL: "https://" + wss}, want{class: runs.ClassScript, detail: `url: got scheme "https"`}},
		{"no key for the certificate", scenario.Step{Type: scenario.StepTLS, Address: closed, ClientCert: &scenario.ClientCert{Cert: cert, Key: strangerKey}}, want{class: runs.ClassScript, detail: "clientCert: .*private key does not match"}},
	}
	for _, profile := range []netprofile.Profile{none(), far(40 * time.Millisecond)} {
		shared := network(t, profile, &scenario.Scenario{})
		for _, test := range tests {
			t.Run(profile.Name+"/"+test.name, func(t *testing.T) {
				t.Parallel()
				var s scenario.Scenario
				n := shared
				if strings.HasPrefix(test.want.phases, "dns") { // a network asks for a name once
					n = network(t, profile, &s)
				}
				got := do(t.Context(), t, netrunner.Options{RootCAs: ca.pool}, n, s, test.step, secrets)
				if test.want.class == runs.ClassScript && got.step.Requests == 0 {
					got.request.Error, got.step.DurationMS, got.request.StartedAt = got.step.Cause.Detail, 1, time.Now() // there is no request
				}
				test.want.check(t, got)
				floor := float64(profile.RTT.Milliseconds())
				for name, ms := range map[string]*float64{"connect": got.request.Phases.Connect, "tls": got.request.Phases.TLS} {
					if ms != nil && *ms < floor {
						t.Errorf("%s: got %v ms, want the link's round trip of %v ms at least", name, *ms, floor)
					}
				}
			})
		}
	}
}

// A host that the scenario does not allow is not spoken to, whatever the type.
func TestBlocked(t *testing.T) {
	s := scenario.Scenario{AllowHosts: []string{"shop.example.com"}}
	for _, step := range []scenario.Step{
		{Type: scenario.StepTCP, Address: "127.0.0.1:9"}, {Type: scenario.StepTLS, Address: "127.0.0.1:9"}, {Type: scenario.StepGRPC, Address: "127.0.0.1:9"},
		{Type: scenario.StepDNS, Name: "shop.example.com", Server: "127.0.0.1:9"}, {Type: scenario.StepDNS, Name: "localhost"},
		{Type: scenario.StepWebSocket, URL: "ws://127.0.0.1:9"},
	} {
		t.Run(string(step.Type), func(t *testing.T) {
			want{class: runs.ClassBlockedHost, detail: "want one that allowHosts lists"}.check(t, do(t.Context(), t, netrunner.Options{}, network(t, none(), &s), s, step, nil))
		})
	}
	t.Run("address that the probe does not allow", func(t *testing.T) {
		n, err := linkemu.New(slog.New(slog.DiscardHandler), linkemu.Options{}).Open(t.Context(), none(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		for _, step := range []scenario.Step{{Type: scenario.StepTCP, Address: "127.0.0.1:9"}, {Type: scenario.StepDNS, Name: "example.test", Server: "127.0.0.1:9"}} {
			want{class: runs.ClassBlockedHost, detail: "want a public address"}.check(t, do(t.Context(), t, netrunner.Options{}, n, scenario.Scenario{}, step, nil))
		}
	})
}

// A step that is told to stop is no failure of the target's.
func TestCancelled(t *testing.T) {
	mute := serve(t, nil, silent)
	names := packets(t, func([]byte) [][]byte { return nil })
	for _, step := range []scenario.Step{
		{Type: scenario.StepTCP, Address: mute, Assert: body("x")}, {Type: scenario.StepTLS, Address: mute}, {Type: scenario.StepGRPC, Address: mute},
		{Type: scenario.StepDNS, Name: "example.test", Server: names}, {Type: scenario.StepWebSocket, URL: "ws://" + mute},
	} {
		t.Run(string(step.Type), func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(50*time.Millisecond, cancel)
			got := do(ctx, t, netrunner.Options{}, network(t, none(), &scenario.Scenario{}), scenario.Scenario{}, step, nil)
			fault, ok := errors.AsType[*runs.Fault](got.err)
			if !ok || fault.Class != runs.ClassProbe || got.step.Cause != nil {
				t.Errorf("got %+v and %v, want a fault", got.step.Cause, got.err)
			}
		})
	}
}

// Addresses of the family that the step names are used, and no others.
func TestFamilies(t *testing.T) {
	four := serve(t, nil, says("four"))
	port := four[strings.LastIndex(four, ":"):]
	listener, err := net.Listen("tcp", "[::1]"+port)
	if err != nil {
		t.Fatalf("listen on the IPv6 loopback address, which this test needs: %v", err)
	}
	accept(t, listener, says("six"))
	for _, profile := range []netprofile.Profile{none(), far(20 * time.Millisecond)} {
		n := network(t, profile, &scenario.Scenario{})
		for version, text := range map[int]string{4: "four", 6: "six"} {
			address := map[int]string{4: "127.0.0.1", 6: "[::1]"}[version] + port
			got := do(t.Context(), t, netrunner.Options{}, n, scenario.Scenario{}, scenario.Step{Type: scenario.StepTCP, Address: address, IPVersion: version, Assert: body(text)}, nil)
			want{}.check(t, got)
			if got.request.RemoteAddr != address {
				t.Errorf("IPv%d on %s: got %s, want %s", version, profile.Name, got.request.RemoteAddr, address)
			}
			got = do(t.Context(), t, netrunner.Options{}, n, scenario.Scenario{}, scenario.Step{Type: scenario.StepTCP, Address: address, IPVersion: 10 - version}, nil)
			want{class: runs.ClassDNS, detail: "no IPv[46] address"}.check(t, got)
		}
	}
}

// Of more steps than a result holds the first ones and the last are in it.
func TestTrail(t *testing.T) {
	address := serve(t, nil, silent)
	schedule, err := scenario.ParseSchedule("@every 1m")
	if err != nil {
		t.Fatal(err)
	}
	a := runs.NewAssignment(scenario.Scenario{Name: "bare", Schedule: schedule}, "us", none(), time.Now())
	session, err := netrunner.New(slog.New(slog.DiscardHandler), netrunner.Options{}).Open(t.Context(), &a, network(t, none(), &scenario.Scenario{}))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 502 {
		step := scenario.Step{ID: strconv.Itoa(i), Type: scenario.StepTCP, Address: address}
		if got, err := session.Step(t.Context(), &step, vars.NewScope(map[string]string{}, nil)); err != nil || got.State != runs.StepPassed {
			t.Fatalf("step %d: got %+v and %v, want passed", i, got, err)
		}
	}
	requests := session.Close().Requests
	if len(requests) != 500 || requests[498].Step != "498" || requests[499].Step != "501" {
		t.Errorf("got %d requests, the last of step %s, want 500 and 501", len(requests), requests[len(requests)-1].Step)
	}
}
