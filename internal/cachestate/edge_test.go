package cachestate_test

import (
	"net/http"
	"strings"
	"testing"

	"lastmile/internal/cachestate"
)

func TestPoP(t *testing.T) {
	for _, tt := range []struct{ name, headers, want string }{
		{"nothing", "Content-Type: text/html", ""},
		{"cloudflare", "CF-Ray: 8c1f2a3b4c5d6e7f-FRA\nCF-Cache-Status: HIT", "FRA"},
		{"cloudflare without a place", "CF-Ray: 8c1f2a3b4c5d6e7f", ""},
		{"cloudfront", "X-Amz-Cf-Pop: FRA56-P3\nX-Cache: Hit from cloudfront", "FRA56-P3"},
		{"fastly, shield first", "X-Served-By: cache-iad-kiad7000025-IAD, cache-fra-etou8220079-FRA\nX-Cache: MISS, HIT", "FRA"},
		{"fastly, on two lines", "X-Served-By: cache-iad-kiad7000025-IAD\nX-Served-By: cache-lhr6342-LHR", "LHR"},
		{"served by no node of fastly", "X-Served-By: web-17", ""},
		{"vercel", "X-Vercel-Id: fra1::iad1::abcde-1700000000000-0123456789ab", "fra1"},
		{"vercel without regions", "X-Vercel-Id: abcde", ""},
		{"akamai", "Akamai-Request-BC: [a=192.0.2.1,b=1036391234,c=g,n=DE_HE_FRANKFURT,o=20940],[a=192.0.2.9,c=o]", "DE_HE_FRANKFURT"},
		{"azure, the older references", "X-Azure-Ref: 0zxV+XAAAAABKMMOjBv2NT4TY6SQVjC0zV1NURURHRTA2MTkANDM3YzgyY2QtMzYwYS00YTU0LTk0YzMtNWZmNzA3NjQ3Nzgz", "WST"},
		{"azure, the newer references", "X-Azure-Ref: 20260212T090009Z-r198d8c9676mqndzhC1PARgv1c0000000rmg00000", "PAR"},
		{"azure, not decodable", "X-Azure-Ref: 0AAAA", ""},
		{"azure, by reference B", "X-MSEdge-Ref: Ref A: 0123456789ABCDEF Ref B: FRAEDGE1418 Ref C: 2026-11-21T08:00:00Z", "FRA"},
		{"keycdn", "X-Edge-Location: defr", "defr"},
		{"cdn77", "X-77-Pop: frankfurtDE", "frankfurtDE"},
		{"bunny", "Server: BunnyCDN-DE1-1048", "DE1"},
		{"another server", "Server: nginx", ""},
		{"cache-status, nearest last", `Cache-Status: origin; hit, edge-eu; fwd=uri-miss`, "edge-eu"},
		{"cache-status, quoted", `Cache-Status: "Edge 7"; hit`, "Edge-7"},
		{"cache-status that does not parse", `Cache-Status: edge;;`, ""},
		{"the vendor goes before the name of a cache", "CF-Ray: 8c1f2a3b4c5d6e7f-FRA\nCache-Status: inner; hit", "FRA"},
		{"no name", "X-Edge-Location: <script>", ""},
		{"too long", "X-Edge-Location: " + strings.Repeat("a", cachestate.MaxPoP+1), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := cachestate.PoP(header(tt.headers)); got != tt.want {
				t.Errorf("%s: got %q, want %q", tt.headers, got, tt.want)
			}
		})
	}
	if got := cachestate.PoP(nil); got != "" {
		t.Errorf("no headers: got %q, want nothing", got)
	}
}

// TestExposed goes through the rule of RFC 9111, section 3.5, and what else makes a shared answer suspicious.
func TestExposed(t *testing.T) {
	const (
		bearer = "Authorization: Bearer t0ken"
		cookie = "Cookie: session=1"
	)
	for _, tt := range []struct{ name, state, request, response, want string }{
		{"a plain hit", "hit", "", "Cache-Control: max-age=60", ""},
		{"a plain hit with cookies sent", "hit", cookie, "Cache-Control: max-age=60", ""},
		{"authorised, max-age allows nothing", "hit", bearer, "Cache-Control: max-age=60", "Authorization"},
		{"authorised, stale", "stale", bearer, "Cache-Control: max-age=60", "Authorization"},
		{"authorised, no Cache-Control", "hit", bearer, "", "Authorization"},
		{"authorised, public", "hit", bearer, "Cache-Control: PUBLIC , max-age=60", ""},
		{"authorised, s-maxage", "hit", bearer, "Cache-Control: s-maxage=60", ""},
		{"authorised, must-revalidate", "hit", bearer, "Cache-Control: max-age=1\nCache-Control: must-revalidate", ""},
		{"authorised, proxy-revalidate is not on the list", "hit", bearer, "Cache-Control: proxy-revalidate", "Authorization"},
		{"authorised, public in quotes is no directive", "hit", bearer, `Cache-Control: ext="public, s-maxage=1"`, "Authorization"},
		{"authorised, an answer for each", "hit", bearer, "Vary: Accept-Encoding, authorization", ""},
		{"authorised, Vary for something else", "hit", bearer, "Vary: Cookie", "Authorization"},
		{"authorised, Vary: * was not heeded", "hit", bearer, "Vary: *", "Authorization"},
		{"authorised, a miss", "miss", bearer, "Cache-Control: max-age=60", ""},
		{"authorised, the origin was asked", "revalidated", bearer, "Cache-Control: max-age=60", ""},
		{"authorised, unknown", "unknown", bearer, "Cache-Control: private", ""},
		{"private", "hit", "", "Cache-Control: private, max-age=60", "private"},
		{"private goes before public", "hit", bearer, "Cache-Control: public, private", "private"},
		{"no-store", "hit", "", "Cache-Control: no-store", "no-store"},
		{"no-store beside must-understand", "hit", "", "Cache-Control: must-understand, no-store, max-age=60", ""},
		{"a private field that is there", "hit", "", "Cache-Control: public, private=\"X-User\"\nX-User: ada", "private"},
		{"a private field that is not", "hit", "", `Cache-Control: public, private="X-User, X-Mail"`, ""},
		{"a field for the CDN allows", "hit", bearer, "Cache-Control: private, no-store\nCDN-Cache-Control: max-age=60", ""},
		{"a field for the CDN forbids", "hit", "", "Cache-Control: public\nCDN-Cache-Control: no-store", "no-store"},
		{"surrogate control", "hit", "", "Cache-Control: private\nSurrogate-Control: max-age=60", ""},
		{"surrogate control of something else", "hit", "", "Cache-Control: private\nSurrogate-Control: content=\"ESI/1.0\"", "private"},
		{"a cookie for one of several", "hit", cookie, "Cache-Control: public\nSet-Cookie: session=2; Path=/", "Set-Cookie"},
		{"a cookie with an answer for each", "hit", cookie, "Vary: Cookie\nSet-Cookie: session=2", ""},
		{"a cookie for one who sent none", "hit", "", "Set-Cookie: session=2", ""},
		{"a cookie of the edge's own", "hit", cookie, "Set-Cookie: __cf_bm=x; Path=/", ""},
		{"a cookie of the edge's and another, as browsers deliver them", "hit", cookie, "Set-Cookie: two", "Set-Cookie"},
		{"nothing asked, nothing told", "hit", "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			response := header(tt.response)
			if response.Get("Set-Cookie") == "two" {
				response.Set("Set-Cookie", "__cf_bm=x; Path=/\nsession=2")
			}
			got := cachestate.Exposed(header(tt.request), response, cachestate.Result{State: cachestate.State(tt.state)})
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("%s to %s: got %q, want something about %q", tt.response, tt.request, got, tt.want)
			}
		})
	}
	if got := cachestate.Exposed(nil, nil, cachestate.Result{State: cachestate.Hit}); got != "" {
		t.Errorf("no headers: got %q, want nothing", got)
	}
}

func FuzzEdge(f *testing.F) {
	for _, seed := range []string{
		"CF-Ray: 1-FRA", "X-Amz-Cf-Pop: FRA56-P3", "X-Served-By: cache-a-B, cache-c-DEF", "X-Vercel-Id: a::b", "Akamai-Request-BC: [a=1,n=X],[",
		"X-Azure-Ref: 0zxV+XAAAAABKMMOjBv2NT4TY6SQVjC0zV1NURURHRTA2MTkA", "X-MSEdge-Ref: Ref B: FRAEDGE1", "X-Edge-Location: a\x00b", "Server: BunnyCDN-",
		`Cache-Status: "a b"; hit`, `Cache-Control: private="a, b", max-age="1`, "Cache-Control: private=\nVary: *\nSet-Cookie: a=b\nSet-Cookie: __cf_bm=1",
		"CDN-Cache-Control: ,,=,", "Cache-Control: " + strings.Repeat(",", 5000), "X-Azure-Ref: 0" + strings.Repeat("A", 5000),
	} {
		f.Add(seed)
	}
	request := http.Header{"Authorization": {"Bearer s3cr3t"}, "Cookie": {"a=s3cr3t"}}
	f.Fuzz(func(t *testing.T, lines string) {
		h := header(lines)
		pop := cachestate.PoP(h)
		if len(pop) > cachestate.MaxPoP || strings.ContainsFunc(pop, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Fatalf("%q: got %q, want printable ASCII of at most %d bytes", lines, pop, cachestate.MaxPoP)
		}
		for _, state := range []cachestate.State{cachestate.Hit, cachestate.Miss} {
			got := cachestate.Exposed(request, h, cachestate.Result{State: state})
			if got != "" && (state != cachestate.Hit || !strings.HasPrefix(got, "a shared cache gave")) {
				t.Fatalf("%q, %s: got %q", lines, state, got)
			}
		}
	})
}
