package traffic

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

const (
	withToken = `requestWillBeSentExtraInfo {"requestId":"1","headers":{"authorization":"Bearer t0ken"}}`
	fromEdge  = `responseReceived {"requestId":"1","hasExtraInfo":false,"response":{"status":200,"headers":{"cf-ray":"8c1f2a3b4c5d6e7f-FRA","cf-cache-status":"HIT","cache-control":"max-age=60"},` +
		`"remoteIPAddress":"192.0.2.7","remotePort":443,"protocol":"h2","connectionId":5,"timing":` + timing + `}}`
)

// TestEdgeOfBrowserRequests looks at the point of presence, the exposure and the region by address of what a page asked for.
func TestEdgeOfBrowserRequests(t *testing.T) {
	for name, routing := range map[string]*scenario.Routing{
		"eu":              {Addresses: map[string][]string{"eu": {"192.0.2.0/24"}, "us": {"198.51.100.0/24"}}},
		scenario.Unlisted: {Match: "https://a.example/*", Addresses: map[string][]string{"us": {"198.51.100.0/24"}}},
		"":                {Match: "https://b.example/*", Addresses: map[string][]string{"eu": {"192.0.2.0/24"}}},
	} {
		log := New(&scenario.Scenario{Routing: routing}, time.Now, Clock{}, nil)
		feed(log, sent, withToken, fromEdge, finished)
		got, _ := log.Requests()
		if q := got[0]; q.PoP != "FRA" || q.ServedRegion != name || !strings.Contains(q.Exposed, "Authorization") {
			t.Errorf("got point of presence %q, region %q, exposed %q, want FRA, %q and why", q.PoP, q.ServedRegion, q.Exposed, name)
		}
	}
	log := New(&scenario.Scenario{}, time.Now, Clock{}, nil)
	feed(log, sent, withToken, `requestServedFromCache {"requestId":"1"}`, fromEdge, finished)
	if got, _ := log.Requests(); got[0].PoP != "" || got[0].Exposed != "" {
		t.Errorf("from the browser's own cache: got %+v, want nothing of the CDN", got[0])
	}
}

// TestRegionByAddressBehindTheProxy wants the target's address, which only the proxy knows, and not the proxy's.
func TestRegionByAddressBehindTheProxy(t *testing.T) {
	began := time.Now()
	at := func(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }
	proxy := &Proxy{Clock: Clock{Monotonic: 10 * time.Second, Now: began}, Connections: func() []runs.Connection {
		return []runs.Connection{{
			Network: "tcp", Host: "a.example", Port: 443, Remote: netip.MustParseAddrPort("198.51.100.9:443"),
			Start: at(4), DNSStart: at(4), DNSEnd: at(5), ConnectStart: at(5), ConnectEnd: at(9),
		}}
	}}
	sc := &scenario.Scenario{Routing: &scenario.Routing{Addresses: map[string][]string{"proxy": {"192.0.2.0/24"}, "us": {"198.51.100.0/24"}}}}
	log := New(sc, time.Now, proxy.Clock, proxy)
	feed(log, sent, fromEdge, finished)
	if got, _ := log.Requests(); got[0].ServedRegion != "us" || got[0].RemoteAddr != "198.51.100.9:443" {
		t.Errorf("got region %q of %q, want us of the real address", got[0].ServedRegion, got[0].RemoteAddr)
	}
}
