package httprunner_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"lastmile/internal/httprunner"
	"lastmile/internal/scenario"
)

// TestServedRegion asks a server that says where it is in every way, by every way of routing.
func TestServedRegion(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Served-Region", "by-header")
		if r.URL.Path == "/hop" {
			http.Redirect(w, r, "/api/where", http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, `{"at": {"region": "by-json"}, "host": "by-regex-17"}`)
	})
	for _, tt := range []struct {
		name    string
		routing *scenario.Routing
		want    string // of the redirect, and of where it leads to
	}{
		{"none", nil, ","},
		{"header", &scenario.Routing{Header: "X-Served-Region"}, "by-header,by-header"},
		{"header, some", &scenario.Routing{Header: "X-Served-Region", Match: "*/api/*"}, ",by-header"},
		{"json", &scenario.Routing{JSON: "$.at.region"}, ",by-json"},
		{"json, none", &scenario.Routing{JSON: "$.at.region", Match: "*/assets/*"}, ","},
		{"regex", &scenario.Routing{Regex: `"(by-[a-z]+)-\d+"`}, ",by-regex"},
		{"addresses", &scenario.Routing{Addresses: map[string][]string{"here": {"127.0.0.0/8"}, "there": {"0.0.0.0/0"}}}, "here,here"},
		{"addresses, unlisted", &scenario.Routing{Addresses: map[string][]string{"there": {"192.0.2.0/24"}}}, ","},
		{"addresses, unlisted, but it counts", &scenario.Routing{Match: "*/api/*", Addresses: map[string][]string{"there": {"192.0.2.0/24"}}}, ",unlisted"},
	} {
		j := begin(t, scenario.Scenario{Routing: tt.routing}, httprunner.Options{})
		wantCause(t, j.step(t, scenario.Step{URL: server.URL + "/hop"}), "", "")
		var got []string
		for _, q := range j.Close().Requests {
			got = append(got, q.ServedRegion)
		}
		if strings.Join(got, ",") != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, strings.Join(got, ","), tt.want)
		}
	}
}

// TestPointOfPresenceAndExposure looks at what headers tell of the cache that answered.
func TestPointOfPresenceAndExposure(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("CF-Ray", "8c1f2a3b4c5d6e7f-FRA")
		w.Header().Set("CF-Cache-Status", "HIT")
		if r.URL.Path == "/public" {
			w.Header().Set("Cache-Control", "public, max-age=60")
		}
	})
	j := plain(t)
	authorised := map[string]string{"Authorization": "Bearer ${secrets.KEY}"}
	wantCause(t, j.step(t, scenario.Step{URL: server.URL + "/me", Headers: authorised}), "", "")
	wantCause(t, j.step(t, scenario.Step{URL: server.URL + "/me"}), "", "")
	wantCause(t, j.step(t, scenario.Step{URL: server.URL + "/public", Headers: authorised}), "", "")
	for i, q := range j.Close().Requests {
		if exposed := i == 0; q.PoP != "FRA" || (q.Exposed != "") != exposed || strings.Contains(q.Exposed, "s3cr3t") {
			t.Errorf("request %d: got point of presence %q, exposed %q, want FRA and exposed %t", i, q.PoP, q.Exposed, exposed)
		}
	}
}
