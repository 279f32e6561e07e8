package linkemu

import (
	"crypto/sha1" // of a WebSocket's handshake
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"lastmile/internal/browser"
	"lastmile/internal/httprunner/h3/h3test"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// tuned is a network whose browser gets more flags.
type tuned struct {
	*Network
	flags []string
}

// Start implements browser.Network.
func (n tuned) Start(cmd *exec.Cmd) error {
	cmd.Args = slices.Insert(cmd.Args, 1, n.flags...)
	return n.Network.Start(cmd)
}

// visitor is a browser on a network.
type visitor struct {
	t       *testing.T
	session *browser.Session
	scope   *vars.Scope
}

// visitBy starts a browser on the network; nil where it should be in a namespace and this machine does not allow that. Then the start has to
// say so.
func visitBy(t *testing.T, engine scenario.Engine, n *Network, flags ...string) *visitor {
	t.Helper()
	chrome, err := browser.New(discard(), browser.Options{NoSandbox: os.Getuid() == 0})
	if errors.Is(err, browser.ErrNotFound) {
		t.Fatalf("these tests need Chromium: %s", browser.InstallCommand)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := n.ServeBrowser(); err != nil {
		t.Fatal(err)
	}
	sc := scenario.Scenario{Name: "crossing", Engine: engine}
	session, err := chrome.Open(t.Context(), &runs.Assignment{Scenario: sc}, tuned{n, flags})
	if why := CheckNamespace(t.Context()); n.link.namespace && why != nil {
		if err == nil || !strings.Contains(err.Error(), why.Error()) {
			t.Errorf("got %v, want what keeps this machine from it: %v", err, why)
		}
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	return &visitor{t: t, session: session, scope: sc.Scope(scenario.Combination{Region: "here"}, "run", map[string]vars.Secret{})}
}

// pass runs a step that has to pass.
func (v *visitor) pass(step scenario.Step) {
	v.t.Helper()
	step.ID, step.Timeout = "step", scenario.Duration(30*time.Second)
	got, err := v.session.Step(v.t.Context(), &step, v.scope)
	if err != nil || got.State != runs.StepPassed {
		v.t.Fatalf("%s %s: got %+v, %+v and %v, want it passed", step.Type, step.URL, got, got.Cause, err)
	}
}

// waitFor waits until the page's #said has the text in it.
func (v *visitor) waitFor(text string) {
	v.t.Helper()
	v.pass(scenario.Step{
		Type: scenario.StepWaitForElement, Selectors: scenario.Selectors{{"xpath///*[@id='said'][contains(., '" + text + "')]"}},
	})
}

// roundTrip is of the links below. Bounds are from below alone: what a busy machine adds does no harm.
const roundTrip = 200 * time.Millisecond

// checkPhases holds what a request says of its connection, where it opened one, and of its answer against the link's round trip: a look-up,
// a connect and an answer cost at least one each.
func checkPhases(t *testing.T, r runs.Request) {
	t.Helper()
	p, least := r.Phases, runs.Milliseconds(roundTrip)
	if p.Connect != nil && *p.Connect < least {
		t.Errorf("%s: got connected after %v ms, want %v at least", r.URL, *p.Connect, least)
	}
	// A browser without a processor may be late to see that it has sent something; the wait for the answer is shorter by that.
	if p.Wait != nil && p.Send != nil && *p.Send+*p.Wait < least {
		t.Errorf("%s: got an answer %v ms after the request, want %v at least", r.URL, *p.Send+*p.Wait, least)
	}
}

// lookedUp reports whether a request had to wait for DNS for as long as that takes across the link. Chromium counts it as blocked where it
// was another request, of which nothing came, that asked.
func lookedUp(r runs.Request) bool {
	p := r.Phases
	return p.Blocked != nil && p.DNS != nil && *p.Blocked+*p.DNS >= runs.Milliseconds(roundTrip)
}

// opened reports whether a request opened a connection.
func opened(r runs.Request) bool { return r.Phases.Connect != nil }

func waysIn() map[runs.LinkMode]Options {
	return map[runs.LinkMode]Options{runs.LinkProxy: {}, runs.LinkNamespace: {Namespace: true}}
}

// In a namespace QUIC is a browser's as it is a phone's, and its handshake and every byte cross the link. By proxy there is none, whatever the
// server offers.
func TestBrowserOverHTTP3(t *testing.T) {
	t.Parallel()
	const size = 100_000
	for _, tt := range []struct {
		engine   scenario.Engine
		mode     runs.LinkMode
		protocol string // as a result has it
		server   string // as the server has it
	}{
		{scenario.EngineShell, runs.LinkNamespace, "h3", "HTTP/3.0"},
		{scenario.EngineFull, runs.LinkNamespace, "h3", "HTTP/3.0"},
		{scenario.EngineShell, runs.LinkProxy, "h2", "HTTP/2.0"},
	} {
		t.Run(fmt.Sprintf("%s by %s", tt.engine, tt.mode), func(t *testing.T) {
			t.Parallel()
			var came seen
			server := h3test.Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				came.add(r.Proto)
				w.Header().Set("Content-Type", "text/html")
				_, _ = io.WriteString(w, "<!doctype html><link rel=icon href=data:,><p>"+strings.Repeat("x", size))
			}))
			z := &zone{hosts: map[string]string{"example.com": "127.0.0.1"}}
			o := waysIn()[tt.mode]
			o.resolver = z.resolver(t)
			n := open(t, far(roundTrip), o, "example.com")
			v := visitBy(t, tt.engine, n, "--origin-to-force-quic-on=example.com:"+server.Port, "--ignore-certificate-errors-spki-list="+server.Pin)
			if v == nil {
				return
			}
			v.pass(scenario.Step{Type: scenario.StepNavigate, URL: "https://example.com:" + server.Port + "/"})
			requests, link := v.session.Close().Requests, n.Close()
			if got := came.list(); len(requests) != 1 || !slices.Equal(got, []string{tt.server}) {
				t.Fatalf("got requests %+v, to the server %q; want one over %s", requests, got, tt.server)
			}
			r := requests[0]
			if r.Protocol != tt.protocol || r.Status != http.StatusOK || !opened(r) || !lookedUp(r) || r.Phases.Wait == nil {
				t.Errorf("got %+v, want status 200 over %s, and all phases of a connection across the link", r, tt.protocol)
			}
			checkPhases(t, r)
			if link.Mode != tt.mode || link.Blocked != 0 {
				t.Errorf("got mode %s, %d attempts blocked (%q); want %s and none", link.Mode, link.Blocked, link.BlockedHosts, tt.mode)
			}
			if got := link.Down.Bytes - link.Down.CalibrationBytes; got < size { // which HTTP/3 has in datagrams
				t.Errorf("got %d bytes across the link, want the %d of the page at least", got, size)
			}
		})
	}
}

// stun is a server that tells whoever asks what address they come from, RFC 8489: it is always the same.
type stun struct {
	socket net.PacketConn
	asked  chan string // who asked, and a mark where the test is done; closed with the socket
}

// stunAddress is what the server says. A page that knows it has had the server's answer.
const stunAddress = "203.0.113.7"

func startSTUN(t *testing.T) *stun {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &stun{socket: socket, asked: make(chan string, 1000)}
	go func() {
		defer close(s.asked)
		b := make([]byte, 1500)
		for {
			n, from, err := socket.ReadFrom(b)
			if err != nil {
				return
			}
			answer, ok := bindingResponse(b[:n])
			if !ok {
				s.asked <- string(b[:n])
				continue
			}
			s.asked <- "binding"
			_, _ = socket.WriteTo(answer, from)
		}
	}()
	t.Cleanup(func() {
		_ = socket.Close()
		for range s.asked { // until it has ended
		}
	})
	return s
}

// bindingResponse answers a binding request.
func bindingResponse(request []byte) (answer []byte, ok bool) {
	const (
		header, bindingRequest, success, xorMappedAddress = 20, 0x0001, 0x0101, 0x0020
		cookie                                            = 0x2112A442
		port                                              = 4242
	)
	if len(request) < header || binary.BigEndian.Uint16(request) != bindingRequest || binary.BigEndian.Uint32(request[4:]) != cookie {
		return nil, false
	}
	address := netip.MustParseAddr(stunAddress).As4()
	answer = binary.BigEndian.AppendUint16(nil, success)
	answer = binary.BigEndian.AppendUint16(answer, 12) // bytes after the header
	answer = append(answer, request[4:header]...)
	answer = binary.BigEndian.AppendUint16(answer, xorMappedAddress)
	answer = binary.BigEndian.AppendUint16(answer, 8)
	answer = append(answer, 0, 1) // IPv4
	answer = binary.BigEndian.AppendUint16(answer, port^cookie>>16)
	return binary.BigEndian.AppendUint32(answer, binary.BigEndian.Uint32(address[:])^cookie), true
}

// requests counts what has come to the server so far: a datagram of the test's own comes after all of it.
func (s *stun) requests(t *testing.T) (n int) {
	t.Helper()
	c, err := net.Dial("udp", s.socket.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, "mark"); err != nil {
		t.Fatal(err)
	}
	for who := range s.asked {
		if who == "mark" {
			return n
		}
		n++
	}
	t.Fatal("the STUN server has ended")
	return 0
}

// peerPage has a peer connection ask two STUN servers for its address, one by a name that only the link knows and one of this machine, and
// tells by a request what it has found, once it has an address from outside, or all that there will be.
const peerPage = `<!doctype html><link rel=icon href=data:,><p id=said></p><script>
const peer = new RTCPeerConnection({ iceServers: [{ urls: "stun:stun.test:PORT" }, { urls: "stun:127.0.0.1:PORT" }] });
const found = [];
let began, told = false;
const tell = () => {
	if (told) return;
	told = true;
	const ms = performance.now() - began;
	fetch("/found?" + new URLSearchParams({ ms, candidates: found.join("; ") })).then(() => said.textContent = "told");
};
peer.onicecandidate = e => {
	if (e.candidate) found.push(e.candidate.candidate);
	if (!e.candidate || e.candidate.type === "srflx") tell();
};
peer.createDataChannel("x");
peer.createOffer().then(o => { began = performance.now(); return peer.setLocalDescription(o); });
</script>`

// The datagrams of WebRTC cross the link in a namespace, the look-up of the server's name too; by proxy they do not come out at all.
func TestWebRTC(t *testing.T) {
	t.Parallel()
	for mode, o := range waysIn() {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			server := startSTUN(t)
			_, port, _ := net.SplitHostPort(server.socket.LocalAddr().String())
			found := make(chan url.Values, 1)
			site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/found" {
					found <- r.URL.Query()
					return
				}
				w.Header().Set("Content-Type", "text/html")
				_, _ = io.WriteString(w, strings.ReplaceAll(peerPage, "PORT", port))
			}))
			defer site.Close()
			z := &zone{hosts: map[string]string{"shop.test": "127.0.0.1", "stun.test": "127.0.0.1"}}
			o.resolver = z.resolver(t)
			n := open(t, far(roundTrip), o)
			v := visitBy(t, scenario.EngineShell, n)
			if v == nil {
				return
			}
			v.pass(scenario.Step{Type: scenario.StepNavigate, URL: strings.Replace(site.URL, "127.0.0.1", "shop.test", 1)})
			v.waitFor("told")
			v.session.Close()
			link, got, asked := n.Close(), <-found, server.requests(t)
			if link.Mode != mode || link.Blocked != 0 {
				t.Errorf("got mode %s, %d attempts blocked (%q); want %s and none", link.Mode, link.Blocked, link.BlockedHosts, mode)
			}
			candidates := got.Get("candidates")
			if mode == runs.LinkProxy {
				if candidates != "" || asked != 0 || !slices.Equal(z.asked.list(), []string{"shop.test"}) {
					t.Errorf("got candidates %q, %d datagrams at the STUN server, %q looked up; want none, none, and the page's host alone",
						candidates, asked, z.asked.list())
				}
				return
			}
			if asked == 0 || !strings.Contains(candidates, stunAddress+" 4242 typ srflx") {
				t.Errorf("got %d datagrams at the STUN server, candidates %q; want its answer among them", asked, candidates)
			}
			ms, err := strconv.ParseFloat(got.Get("ms"), 64)
			if want := 2*runs.Milliseconds(roundTrip) - 1; err != nil || ms < want { // DNS and STUN; the page's clock is coarse
				t.Errorf("got the answer after %q ms, want %v at least", got.Get("ms"), want)
			}
		})
	}
}

// siteOfEverything serves what crossing.html asks for, and notes the hosts. What is asked of the hosts of the picture, the beacon and the
// WebSocket has an answer of its kind, which the page's own marks of readiness do not mind: no picture, and no message.
func siteOfEverything(t *testing.T) (port string, hosts *seen) {
	t.Helper()
	hosts = new(seen)
	beacon := make(chan struct{})
	sent := sync.OnceFunc(func() { close(beacon) })
	files := http.FileServer(http.Dir("../browser/testdata"))
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.Host)
		hosts.add(host)
		switch host {
		case "image.test":
			w.Header().Set("Content-Type", "image/png")
		case "beacon.test":
			w.WriteHeader(http.StatusNoContent)
			sent()
		case "socket.test":
			accept := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) // RFC 6455, section 1.3
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			const reserved = "\x83\x00" // an opcode that has no meaning: the page takes it for an error
			_, _ = fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n%s",
				base64.StdEncoding.EncodeToString(accept[:]), reserved)
			_, _ = io.Copy(io.Discard, c) // until the browser closes
			_ = c.Close()
		case "popup.test": // the last: by then the beacon, of which no page is told, has been answered too
			select {
			case <-beacon:
			case <-r.Context().Done():
			}
			files.ServeHTTP(w, r)
		default:
			files.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(site.Close)
	_, port, _ = net.SplitHostPort(site.Listener.Addr().String())
	return port, hosts
}

// Frames, workers, a service worker, a WebSocket, a beacon, a picture and a window of its own: all that a page asks for crosses the link, by
// either way in, and is among the run's requests. The names are known at the link's far end only.
func TestEverythingCrossesTheLink(t *testing.T) {
	t.Parallel()
	// Status by where; the port is the site's. Chromium does not always tell of the script of a service worker itself, crossing.js.
	want := map[string]int{
		"http://localhost/crossing.html": 200, "http://frame.test/done.html": 200,
		"http://worker.test/answer.txt": 200, "http://service.test/answer.txt": 200, "http://popup.test/opened.html": 200,
		"http://image.test/nothing": 200, "http://beacon.test/nothing": 204, "ws://socket.test/nothing": 101,
	}
	names := []string{"beacon.test", "frame.test", "image.test", "localhost", "popup.test", "service.test", "socket.test", "worker.test"}
	for mode, o := range waysIn() {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			port, hosts := siteOfEverything(t)
			z := &zone{hosts: map[string]string{}}
			for _, name := range names {
				z.hosts[name] = "127.0.0.1"
			}
			o.resolver = z.resolver(t)
			n := open(t, far(roundTrip), o)
			v := visitBy(t, scenario.EngineShell, n)
			if v == nil {
				return
			}
			v.pass(scenario.Step{Type: scenario.StepNavigate, URL: "http://localhost:" + port + "/crossing.html#9"})
			for _, kind := range []string{"frame", "worker", "socket", "image", "service", "peer"} {
				v.waitFor(kind)
			}
			v.pass(scenario.Step{Type: scenario.StepClick, Selectors: scenario.Selectors{{"#popup"}}})
			v.waitFor("popup")
			requests := v.session.Close().Requests
			connections, link := n.Connections(), n.Close()
			if got := hosts.list(); !slices.Equal(got, names) {
				t.Errorf("the site was asked as %q, want %q", got, names)
			}
			got := map[string]int{}
			for _, r := range requests {
				where := strings.Replace(r.URL, ":"+port, "", 1)
				got[where] = max(got[where], r.Status)
				checkPhases(t, r)
			}
			for where, status := range want {
				if got[where] != status {
					t.Errorf("%s: got status %d in the run's requests, want %d", where, got[where], status)
				}
			}
			for _, name := range names { // each machine knows localhost by itself
				if name != "localhost" && !slices.Contains(z.asked.list(), name) {
					t.Errorf("the names' own server was asked for %q, want %s among them", z.asked.list(), name)
				}
			}
			checkConnections(t, mode, connections, names)
			if link.Mode != mode || link.Blocked != 0 {
				t.Errorf("got mode %s, %d attempts blocked (%q); want %s and none", link.Mode, link.Blocked, link.BlockedHosts, mode)
			}
		})
	}
}

// checkConnections looks whether a browser that came by proxy was connected to each of the hosts across the link. What one in a namespace
// opens is its own.
func checkConnections(t *testing.T, mode runs.LinkMode, connections []runs.Connection, names []string) {
	t.Helper()
	if mode == runs.LinkNamespace {
		if len(connections) != 0 {
			t.Errorf("got connections %+v, want none: the browser has opened its own", connections)
		}
		return
	}
	var hosts seen
	for _, c := range connections {
		hosts.add(c.Host)
		if c.Failure != nil || c.ConnectEnd.Sub(c.ConnectStart) < roundTrip {
			t.Errorf("got connection %+v, want it made across the link", c)
		}
	}
	if got := hosts.list(); !slices.Equal(got, names) {
		t.Errorf("the proxy was asked for %q, want %q", got, names)
	}
}
