package scenario_test

import (
	"net/http"
	"testing"

	"lastmile/internal/scenario"
)

func TestRoutingTellsTheRegion(t *testing.T) {
	var none *scenario.Routing
	if none.Concerns("https://a/") || none.OfHeader(http.Header{"X-Region": {"eu"}}) != "" || none.OfBody([]byte("eu")) != "" || none.OfAddress("192.0.2.1:443") != "" {
		t.Error("without routing: got a region, want none")
	}
	for _, tt := range []struct {
		name    string
		routing scenario.Routing
		want    string
	}{
		{"header", scenario.Routing{Header: "x-region"}, "eu"},
		{"absent header", scenario.Routing{Header: "X-Other"}, ""},
		{"group", scenario.Routing{Regex: `served by ([a-z]+)-\d`}, "us"},
		{"whole match", scenario.Routing{Regex: `us-\d`}, "us-7"},
		{"no match", scenario.Routing{Regex: `ap-\d`}, ""},
		{"optional group that is not there", scenario.Routing{Regex: `served(x)?`}, ""},
		{"address", scenario.Routing{Addresses: map[string][]string{"eu": {"192.0.2.0/24"}, "us": {"198.51.100.0/24"}}}, "eu"},
		{"the narrowest network", scenario.Routing{Addresses: map[string][]string{"eu": {"192.0.0.0/8"}, "us": {"203.0.113.0/24", "192.0.2.0/28"}}}, "us"},
		{"another network", scenario.Routing{Addresses: map[string][]string{"eu": {"203.0.113.0/24", "2001:db8::/32"}}}, ""},
		{"another network, but it counts", scenario.Routing{Match: "*/api/*", Addresses: map[string][]string{"eu": {"203.0.113.0/24"}}}, scenario.Unlisted},
	} {
		r := &tt.routing
		header := http.Header{"X-Region": {"eu"}}
		got := r.OfHeader(header) + r.OfBody([]byte("served by us-7")) + r.OfAddress("192.0.2.1:443")
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	for address, want := range map[string]string{"[2001:db8::1]:443": "six", "[::ffff:192.0.2.1]:80": "four", "": "", "a.example:443": "", "192.0.2.1": ""} {
		r := &scenario.Routing{Addresses: map[string][]string{"six": {"2001:db8::/32"}, "four": {"192.0.2.0/24"}}}
		if got := r.OfAddress(address); got != want {
			t.Errorf("address %q: got %q, want %q", address, got, want)
		}
	}
	some := scenario.Routing{Match: "https://*/api/*"}
	if !some.Concerns("https://a.example/api/x") || some.Concerns("https://a.example/assets/x") || !(&scenario.Routing{}).Concerns("https://a.example/") {
		t.Error("match: want what the glob says, and all without one")
	}
}
