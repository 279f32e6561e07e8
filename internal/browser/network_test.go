package browser

import (
	"errors"
	"maps"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// named is the site under a name that only the proxy knows.
func named(t testing.TB, host string) string {
	t.Helper()
	u, err := url.Parse(site(t))
	if err != nil {
		t.Fatal(err)
	}
	return "http://" + host + ":" + u.Port()
}

// waitForText waits until the page's #said has the text in it.
func waitForText(text string) scenario.Step {
	return scenario.Step{Type: scenario.StepWaitForElement, Selectors: alternatives([]string{"xpath///*[@id='said'][contains(., '" + text + "')]"})}
}

// Chromium behind a proxy knows neither look-up nor address, and takes the wait for both for connecting.
func TestPhasesBehindProxy(t *testing.T) {
	t.Parallel()
	s := newSocks(t)
	s.dns, s.connect = 80*time.Millisecond, 120*time.Millisecond
	j := openOver(t, scenario.Scenario{}, Options{}, s)
	shop := named(t, "shop.test")
	j.pass(navigate(shop + "/shop.html"))
	j.pass(navigate(shop + "/done.html"))
	got := j.s.Close().Requests
	first, last := got[0], got[len(got)-1]
	checkOpened(t, first.Phases, 0, s.Connections()[0])
	if p := last.Phases; p.DNS != nil || p.Connect != nil || p.Wait == nil {
		t.Errorf("on an open connection: got dns %v, connect %v, wait %v ms, want wait alone", value(p.DNS), value(p.Connect), value(p.Wait))
	}
	want := "127.0.0.1" + shop[strings.LastIndex(shop, ":"):]
	for _, r := range []runs.Request{first, last} {
		if r.RemoteAddr != want {
			t.Errorf("remote address of %s: got %q, want the target's, %s", r.URL, r.RemoteAddr, want)
		}
	}
}

// trusting is a network whose Chromium takes any certificate.
type trusting struct{ *socks }

func (n trusting) Start(cmd *exec.Cmd) error {
	cmd.Args = slices.Insert(cmd.Args, 1, "--ignore-certificate-errors")
	return n.socks.Start(cmd)
}

func TestTLSBehindProxy(t *testing.T) {
	t.Parallel()
	target := httptest.NewUnstartedServer(http.FileServer(http.Dir("testdata")))
	target.EnableHTTP2 = true
	target.StartTLS()
	defer target.Close()
	s := newSocks(t)
	s.dns, s.connect = 80*time.Millisecond, 120*time.Millisecond
	j := openOver(t, scenario.Scenario{}, Options{}, trusting{s})
	j.pass(navigate(strings.Replace(target.URL, "127.0.0.1", "secure.test", 1) + "/done.html"))
	r := j.s.Close().Requests[0]
	p := r.Phases
	if p.DNS == nil || p.Connect == nil || p.TLS == nil || p.Wait == nil || r.Protocol != "h2" {
		t.Fatalf("got %+v, want a request over h2 with all phases", r)
	}
	checkOpened(t, p, *p.TLS, s.Connections()[0])
}

// checkOpened compares the phases of a request that opened a connection with the record of it. Chromium, which may be starved of a
// processor, says when it could begin and when it was told.
func checkOpened(t *testing.T, p runs.Phases, tls float64, c runs.Connection) {
	t.Helper()
	dns, connect := c.DNSEnd.Sub(c.DNSStart).Seconds()*1000, c.ConnectEnd.Sub(c.ConnectStart).Seconds()*1000
	if p.DNS == nil || math.Abs(*p.DNS-dns) > 0.01 || dns < 80 {
		t.Errorf("dns: got %v ms, want the %.3f ms of the record", value(p.DNS), dns)
	}
	if p.Connect == nil || *p.Connect-tls < connect || *p.Connect-tls > connect+60 || connect < 120 {
		t.Errorf("connect: got %v ms, of which tls %.3f ms, want the %.3f ms of the record and little more", value(p.Connect), tls, connect)
	}
	if p.Blocked == nil || *p.Blocked > 200 {
		t.Errorf("blocked: got %v ms, want less than 200", value(p.Blocked))
	}
}

func value(ms *float64) any {
	if ms == nil {
		return nil
	}
	return *ms
}

// Chromium says ERR_SOCKS_CONNECTION_FAILED whatever has gone wrong.
func TestTrueErrorsBehindProxy(t *testing.T) {
	t.Parallel()
	s := newSocks(t)
	s.failures = map[string]runs.Cause{
		"nowhere.test": {Class: runs.ClassDNS, Detail: "lookup nowhere.test: no such host"},
		"slow.test":    {Class: runs.ClassTimeout, Detail: "connect to slow.test: no answer"},
		"inside.test":  {Class: runs.ClassBlockedHost, Detail: "inside.test is 10.0.0.1, which is private"},
	}
	j := openOver(t, scenario.Scenario{}, Options{}, s)
	shop := named(t, "shop.test")
	closed := strings.Replace(closedPort(t), "127.0.0.1", "closed.test", 1)
	j.fails(navigate("http://nowhere.test/"), runs.ClassDNS, "load http://nowhere.test/: lookup nowhere.test: no such host")
	j.fails(navigate("https://slow.test/?q=secret"), runs.ClassTimeout, "load https://slow.test/: connect to slow.test: no answer")
	j.fails(navigate("http://inside.test/"), runs.ClassBlockedHost, "which is private")
	j.fails(navigate(closed), runs.ClassConnect, "connection refused")
	j.pass(navigate(shop + "/shop.html")) // a proxy that has failed for others is still asked
	j.eval("setTimeout(() => location = 'http://nowhere.test/later', 100)")
	later := click("#buy")
	later.AssertedEvents = []scenario.AssertedEvent{{Type: "navigation"}}
	j.fails(later, runs.ClassDNS, "load http://nowhere.test/later: lookup nowhere.test")
	s.close()
	_, err := j.do(navigate(strings.Replace(shop, "shop", "other", 1) + "/done.html"))
	var fault *runs.Fault
	if !errors.As(err, &fault) || fault.Class != runs.ClassProbe {
		t.Errorf("without the proxy: got %v, want a fault of the probe's", err)
	}
	for _, r := range j.s.Close().Requests {
		if r.URL == "http://nowhere.test/" && r.Error != "dns: lookup nowhere.test: no such host" {
			t.Errorf("request's error: got %q, want the true one", r.Error)
		}
	}
}

// Where our own proxy fails a page's requests, the step is no measurement, whatever the page makes of it.
func TestProxyLostUnderThePage(t *testing.T) {
	t.Parallel()
	s := newSocks(t)
	j := openOver(t, scenario.Scenario{}, Options{}, s)
	j.pass(navigate(named(t, "shop.test") + "/shop.html"))
	s.close()
	j.eval("fetch('http://other.test/').catch(() => document.body.insertAdjacentHTML('beforeend', '<p id=caught>caught'))")
	_, err := j.do(scenario.Step{Type: scenario.StepWaitForElement, Selectors: alternatives([]string{"#caught"})})
	var fault *runs.Fault
	if !errors.As(err, &fault) || fault.Class != runs.ClassProbe || !strings.Contains(err.Error(), "load http://other.test/") {
		t.Errorf("step without the proxy: got %v, want a fault of the probe's that names the request", err)
	}
}

// inside is a network that the process itself is in, with names of its own.
type inside struct{ direct }

func (inside) HostRules() []string {
	return []string{"MAP shop.test 127.0.0.1"}
}

func TestInsideTheNetwork(t *testing.T) {
	t.Parallel()
	j := openOver(t, scenario.Scenario{AllowHosts: []string{"shop.test"}}, Options{}, inside{})
	shop := named(t, "shop.test")
	j.pass(navigate(shop + "/done.html"))
	j.fails(navigate(strings.Replace(shop, "shop", "unlisted", 1)+"/done.html"), runs.ClassBlockedHost, "unlisted.test")
	all := j.s.Close().Requests
	if r := all[len(all)-1]; r.Status != 0 || !strings.Contains(r.Error, "NOT_RESOLVED") {
		t.Errorf("host outside the list: got %+v, want no answer", r)
	}
}

// What Chromium does of its own accord must not cross the run's network nor count as an attempt of the run's, and the emulator comes
// first.
func TestNothingOfItsOwn(t *testing.T) {
	for _, engine := range []scenario.Engine{scenario.EngineShell, scenario.EngineFull} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			s := newSocks(t)
			j := openOver(t, scenario.Scenario{Engine: engine}, Options{}, s)
			j.pass(navigate(named(t, "shop.test") + "/done.html"))
			j.eval("setTimeout(() => document.body.insertAdjacentHTML('beforeend', '<p id=said>later'), 1500)")
			j.pass(waitForText("later"))
			for _, host := range s.asked() {
				if host != "shop.test" {
					t.Errorf("the browser asked for %s, want nothing but shop.test", host)
				}
			}
			checkNice(t, processGroup(t, j.dir))
		})
	}
}

// checkNice looks at every thread of a Chromium.
func checkNice(t *testing.T, leader int) {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/task/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	threads := map[string]int{}
	for _, path := range paths {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // ended meanwhile
		}
		_, rest, _ := strings.Cut(string(stat), ") ") // state, parent, group, ...; the 17th is the niceness
		if fields := strings.Fields(rest); len(fields) > 16 && fields[2] == strconv.Itoa(leader) {
			threads[fields[16]]++
		}
	}
	if len(threads) != 1 || threads["0"] > 0 {
		t.Errorf("niceness: got %v threads of each, want all above 0, alike", threads)
	}
}

// What a page can ask for goes through the proxy, and nothing goes past it: only the proxy knows the names, and the datagrams of
// WebRTC do not come out.
func TestEverythingCrossesTheProxy(t *testing.T) {
	t.Parallel()
	stun, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stun.Close() }()
	_, stunPort, err := net.SplitHostPort(stun.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, engine := range []scenario.Engine{scenario.EngineShell, scenario.EngineFull} {
		t.Run(string(engine), func(t *testing.T) {
			s := newSocks(t)
			j := openOver(t, scenario.Scenario{Engine: engine, AllowHosts: []string{"localhost", "*.test"}}, Options{}, s)
			j.pass(navigate(named(t, "localhost") + "/crossing.html#" + stunPort))
			for _, kind := range []string{"frame", "worker", "socket", "image", "service", "peer"} {
				j.pass(waitForText(kind))
			}
			j.pass(click("#popup"))
			j.pass(waitForText("popup"))
			j.fails(navigate("http://forbidden.example/"), runs.ClassBlockedHost, "forbidden.example")
			want := []string{"beacon.test", "forbidden.example", "frame.test", "image.test", "localhost", "popup.test", "service.test", "socket.test", "worker.test"}
			asked := map[string]bool{}
			for _, host := range s.asked() {
				asked[host] = true
			}
			if got := slices.Sorted(maps.Keys(asked)); !slices.Equal(got, want) {
				t.Errorf("the proxy was asked for %q, want %q", got, want)
			}
		})
	}
	if err := stun.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, from, err := stun.ReadFrom(make([]byte, 1500)); err == nil {
		t.Errorf("got a datagram of %d bytes from %s past the proxy, want none", n, from)
	}
}
