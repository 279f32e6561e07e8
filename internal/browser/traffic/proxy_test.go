package traffic

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// epoch is when Chromium's clock said 100 s.
var epoch = time.Now()

// at is milliseconds after the epoch.
func at(ms float64) time.Time { return epoch.Add(time.Duration(ms * float64(time.Millisecond))) }

// record is a connection to a host's port 443 that was asked for, looked up in 30 ms, and there, at those times.
func record(host string, start, end float64) runs.Connection {
	return runs.Connection{Network: "tcp", Host: host, Port: 443, Remote: netip.MustParseAddrPort("192.0.2.1:443"), Start: at(start),
		DNSStart: at(start), DNSEnd: at(start + 30), ConnectStart: at(start + 30), ConnectEnd: at(end)}
}

// to gives a record another address.
func to(c runs.Connection, address string) runs.Connection {
	c.Remote = netip.MustParseAddrPort(address)
	return c
}

func failed(c runs.Connection, class runs.Class, detail string) runs.Connection {
	c.Failure = &runs.Cause{Class: class, Detail: detail}
	return c
}

// asks is a request at a time, on the connection with the number; open is when Chromium began to open it and connected and secured
// are when it could begin with TLS and was through with it, all in ms; open is -1 on an open connection.
func asks(id, url string, connection int, began, open, connected, secured float64) []string {
	timing := map[string]float64{
		"requestTime": 100 + began/1000, "dnsStart": -1, "dnsEnd": -1, "connectStart": -1, "connectEnd": -1, "sslStart": -1, "sslEnd": -1,
		"sendStart": max(secured, began) - began, "sendEnd": max(secured, began) - began, "receiveHeadersStart": 900, "receiveHeadersEnd": 901,
	}
	if open >= 0 {
		timing["connectStart"], timing["sslStart"] = open-began, connected-began
		timing["connectEnd"], timing["sslEnd"] = secured-began, secured-began
	}
	body, err := json.Marshal(timing)
	if err != nil {
		panic(err)
	}
	return []string{
		fmt.Sprintf(`requestWillBeSent {"requestId":%q,"loaderId":%q,"timestamp":100,"type":"Document","request":{"url":%q,"method":"GET"}}`, id, id, url),
		fmt.Sprintf(`responseReceived {"requestId":%q,"response":{"status":200,"headers":{},"remoteIPAddress":"127.0.0.1","remotePort":1080,"protocol":"h2","connectionId":%d,"timing":%s}}`,
			id, connection, body),
	}
}

func proxied(records ...runs.Connection) *Log {
	clock := Clock{Now: epoch, Monotonic: 100 * time.Second}
	log := New(&scenario.Scenario{}, func() time.Time { return at(5000) }, clock,
		&Proxy{Connections: func() []runs.Connection { return records }, Clock: clock})
	log.Begin("home")
	return log
}

func TestJoin(t *testing.T) {
	const a, unknown = "https://A.example/x", `{"blocked_ms":10,"connect_ms":390,"tls_ms":200,"send_ms":0,"wait_ms":500}`
	type want struct{ remote, phases string }
	for _, tt := range []struct {
		name    string
		records []runs.Connection
		events  [][]string
		want    []want
	}{
		{"opened, then used again", []runs.Connection{record("a.example", 13, 195)},
			[][]string{asks("1", a, 7, 0, 10, 200, 400), asks("2", a, 7, 450, -1, 0, 0), asks("3", a, 8, 450, -1, 0, 0)},
			[]want{
				{"192.0.2.1:443", `{"blocked_ms":13,"dns_ms":30,"connect_ms":357,"tls_ms":200,"send_ms":0,"wait_ms":500}`},
				{"192.0.2.1:443", `{"blocked_ms":0,"send_ms":0,"wait_ms":900}`},
				{"", `{"blocked_ms":0,"send_ms":0,"wait_ms":900}`}, // by whom it was opened is not known
			}},
		{"address: no look-up", []runs.Connection{{Network: "tcp", Host: "::1", Port: 443, Remote: netip.MustParseAddrPort("[::1]:443"),
			Start: at(13), ConnectStart: at(14), ConnectEnd: at(195)}},
			[][]string{asks("1", "https://[::1]/", 7, 0, 10, 200, 400)},
			[]want{{"[::1]:443", `{"blocked_ms":14,"connect_ms":386,"tls_ms":200,"send_ms":0,"wait_ms":500}`}}},
		{"at once, the first SYN lost", []runs.Connection{record("a.example", 13, 195), to(record("a.example", 14, 1195), "192.0.2.2:443")},
			[][]string{asks("1", a, 7, 0, 10, 1200, 1400), asks("2", a, 8, 0, 11, 200, 400)},
			[]want{
				{"192.0.2.2:443", `{"blocked_ms":14,"dns_ms":30,"connect_ms":1356,"tls_ms":200,"send_ms":0}`},
				{"192.0.2.1:443", `{"blocked_ms":13,"dns_ms":30,"connect_ms":357,"tls_ms":200,"send_ms":0,"wait_ms":500}`},
			}},
		{"one record for two", []runs.Connection{record("a.example", 13, 195)},
			[][]string{asks("1", a, 7, 0, 10, 200, 400), asks("2", a, 8, 0, 10, 200, 400)},
			[]want{
				{"192.0.2.1:443", `{"blocked_ms":13,"dns_ms":30,"connect_ms":357,"tls_ms":200,"send_ms":0,"wait_ms":500}`},
				{"", unknown},
			}},
		{"another host", []runs.Connection{record("b.example", 13, 195)}, [][]string{asks("1", a, 7, 0, 10, 200, 400)}, []want{{"", unknown}}},
		{"another time", []runs.Connection{record("a.example", 123, 195)}, [][]string{asks("1", a, 7, 0, 10, 200, 400)}, []want{{"", unknown}}},
		{"not yet there", []runs.Connection{record("a.example", 13, 295)}, [][]string{asks("1", a, 7, 0, 10, 200, 400)}, []want{{"", unknown}}},
		{"failed", []runs.Connection{failed(record("a.example", 13, 195), runs.ClassConnect, "refused")},
			[][]string{asks("1", a, 7, 0, 10, 200, 400)}, []want{{"", unknown}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log := proxied(tt.records...)
			for _, events := range tt.events {
				feed(log, events...)
			}
			for range 2 { // asking twice changes nothing
				got, _ := log.Requests()
				for i, w := range tt.want {
					if phases := rounded(t, got[i].Phases); phases != w.phases || got[i].RemoteAddr != w.remote {
						t.Errorf("request %d: got %q and %s\nwant %q and %s", i+1, got[i].RemoteAddr, phases, w.remote, w.phases)
					}
				}
			}
		})
	}
}

func TestExplain(t *testing.T) {
	records := []runs.Connection{
		failed(record("a.example", 0, 100), runs.ClassDNS, "no such host"),
		failed(record("a.example", 1000, 1100), runs.ClassTimeout, "no answer"),
		record("b.example", 0, 100),
	}
	for _, tt := range []struct {
		url, text string
		class     runs.Class
		says      string
	}{
		{"https://a.example/?q", "net::ERR_SOCKS_CONNECTION_FAILED", runs.ClassTimeout, "load https://a.example/: no answer"},
		{"https://a.example/", "net::ERR_ADDRESS_UNREACHABLE", runs.ClassTimeout, "no answer"},
		{"https://a.example/", "net::ERR_CONNECTION_RESET", runs.ClassConnect, "net::ERR_CONNECTION_RESET"},
		{"https://a.example/", "net::ERR_CERT_DATE_INVALID", runs.ClassTLS, "DATE_INVALID"},
		{"https://a.example/", "net::ERR_PROXY_CONNECTION_FAILED", runs.ClassProbe, "proxy did not answer"},
		{"https://b.example/", "net::ERR_SOCKS_CONNECTION_FAILED", runs.ClassProbe, "proxy did not answer"},
		{"https://a.example:8443/", "net::ERR_SOCKS_CONNECTION_FAILED", runs.ClassProbe, "proxy did not answer"},
		{"no url\x7f", "net::ERR_SOCKS_CONNECTION_FAILED", runs.ClassProbe, "proxy did not answer"},
	} {
		got := proxied(records...).Explain("", tt.url, tt.text)
		if got.Class != tt.class || !strings.Contains(got.Detail, tt.says) {
			t.Errorf("%s of %s: got %+v, want class %s with %q", tt.text, tt.url, got, tt.class, tt.says)
		}
	}
	if got := newLog().Explain("", "https://a.example/", "net::ERR_PROXY_CONNECTION_FAILED"); got.Class != runs.ClassConnect {
		t.Errorf("without a proxy of ours: got %+v, want what Chromium says", got)
	}
}

// Each request has the reason of its own time, and a navigation that was redirected that of its last hop.
func TestReasonsOfTheirTime(t *testing.T) {
	log := proxied(failed(record("a.example", 0, 100), runs.ClassDNS, "no such host"), failed(record("a.example", 1000, 1100), runs.ClassConnect, "refused"))
	const fails = `loadingFailed {"requestId":"%s","timestamp":%v,"errorText":"net::ERR_SOCKS_CONNECTION_FAILED"}`
	feed(log, asks("1", "https://b.example/", 0, 0, -1, 0, 0)[0],
		`requestWillBeSent {"requestId":"1","loaderId":"1","timestamp":100,"type":"Document","request":{"url":"https://a.example/next","method":"GET"},"redirectResponse":{"status":302,"headers":{}}}`,
		fmt.Sprintf(fails, "1", 100.11), asks("2", "https://a.example/", 0, 0, -1, 0, 0)[0], fmt.Sprintf(fails, "2", 101.11))
	got, _ := log.Requests()
	if got[1].Error != "dns: no such host" || got[2].Error != "connect: refused" {
		t.Errorf("errors: got %q and %q, want the look-up, then the refusal", got[1].Error, got[2].Error)
	}
	if cause := log.Explain("1", "https://b.example/", "net::ERR_SOCKS_CONNECTION_FAILED"); !strings.HasPrefix(cause.Detail, "load https://a.example/next: ") {
		t.Errorf("redirected navigation: got %+v, want the failure of the last hop", cause)
	}
}
