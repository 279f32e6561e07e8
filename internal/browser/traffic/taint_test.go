package traffic

import (
	"slices"
	"testing"

	"github.com/chromedp/cdproto/network"

	"lastmile/internal/runs"
)

func TestTainted(t *testing.T) {
	// opens is a request that opened its connection, reuses one that found it open.
	opens := func(target string, connection float64) *Hop {
		return &Hop{target: target, connection: connection, timing: &network.ResourceTiming{ConnectStart: 0, ConnectEnd: 3}}
	}
	reuses := func(target string, connection float64) *Hop {
		return &Hop{target: target, connection: connection, timing: &network.ResourceTiming{ConnectStart: -1, ConnectEnd: -1}}
	}
	cached := func(h *Hop) *Hop { h.Request = runs.Request{BrowserCache: "disk"}; return h }
	for _, tt := range []struct {
		name string
		hops []*Hop
		want []string
	}{
		{"nothing", nil, nil},
		{"opened, then kept", []*Hop{opens("a:443", 1), reuses("a:443", 1)}, nil},
		{"open before it was asked for", []*Hop{opens("a:443", 1), reuses("b:443", 2)}, []string{"speculative connection to b:443"}},
		{"one more of a known host is in no user's way", []*Hop{opens("a:80", 1), reuses("a:80", 2)}, nil},
		{"HTTP/2 serves two hosts", []*Hop{opens("a:443", 1), reuses("b:443", 1)}, nil},
		{"the second of two at once was first", []*Hop{reuses("a:443", 1), opens("a:443", 1)}, nil},
		{"from the cache, which remembers an old connection", []*Hop{cached(reuses("a:443", 7)), opens("a:443", 8)}, nil},
		{"no answer", []*Hop{{target: "a:443"}, reuses("a:443", 3)}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := (&Log{hops: tt.hops}).Tainted(); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
