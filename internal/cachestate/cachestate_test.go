package cachestate_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"lastmile/internal/cachestate"
)

// header builds a header from "Name: value" lines, the way net/http does.
func header(lines string) http.Header {
	h := http.Header{}
	for line := range strings.SplitSeq(lines, "\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			h.Add(strings.TrimSpace(name), strings.TrimSpace(value))
		}
	}
	return h
}

type verdict struct {
	name, headers string
	state         cachestate.State
	tier          cachestate.Tier
	vendor        cachestate.Vendor
	evidence      string
}

func check(t *testing.T, tests []verdict) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := cachestate.Classify(header(tt.headers))
			if got.State != tt.state || got.Tier != tt.tier || got.Vendor != tt.vendor || got.Evidence != tt.evidence {
				t.Errorf("%s\n got %s, tier %q, vendor %q, evidence %q\nwant %s, tier %q, vendor %q, evidence %q", tt.headers,
					got.State, got.Tier, got.Vendor, got.Evidence, tt.state, tt.tier, tt.vendor, tt.evidence)
			}
		})
	}
}

func TestCacheStatus(t *testing.T) {
	const std = cachestate.Standard
	check(t, []verdict{
		{"hit", `Cache-Status: ExampleCache; hit; ttl=376`, "hit", "edge", std, "Cache-Status: hit"},
		{"hit without space", `cache-status: "lastmile edge";hit`, "hit", "edge", std, "Cache-Status: hit"},
		{"stale hit", `Cache-Status: ExampleCache; hit; ttl=-412`, "stale", "edge", std, "Cache-Status: hit; ttl=-412"},
		{"ttl of zero", `Cache-Status: ExampleCache; hit; ttl=0`, "hit", "edge", std, "Cache-Status: hit"},
		{"ttl of a wrong type", `Cache-Status: ExampleCache; hit; ttl=-4.5`, "hit", "edge", std, "Cache-Status: hit"},
		{"revalidated", `Cache-Status: ExampleCache; fwd=stale; fwd-status=304; collapsed`, "revalidated", "edge", std, "Cache-Status: fwd=stale; fwd-status=304"},
		{"stale, changed", `Cache-Status: ExampleCache; fwd=stale; fwd-status=200; stored`, "expired", "edge", std, "Cache-Status: fwd=stale"},
		{"stale, no status", `Cache-Status: ExampleCache; fwd=stale`, "expired", "edge", std, "Cache-Status: fwd=stale"},
		{"uri-miss", `Cache-Status: ExampleCache; fwd=uri-miss; stored; key="/a?token=s3cr3t"`, "miss", "edge", std, "Cache-Status: fwd=uri-miss"},
		{"vary-miss", `Cache-Status: ExampleCache; fwd=vary-miss; stored=?0`, "miss", "edge", std, "Cache-Status: fwd=vary-miss"},
		{"miss", `Cache-Status: ExampleCache; fwd=miss; detail=MEMORY`, "miss", "edge", std, "Cache-Status: fwd=miss"},
		{"miss as a string", `Cache-Status: ExampleCache; fwd="miss"`, "miss", "edge", std, "Cache-Status: fwd=miss"},
		{"partial", `Cache-Status: ExampleCache; fwd=partial; fwd-status=206`, "miss", "edge", std, "Cache-Status: fwd=partial"},
		{"bypass", `Cache-Status: ExampleCache; fwd=bypass`, "bypass", "edge", std, "Cache-Status: fwd=bypass"},
		{"method", `Cache-Status: ExampleCache; fwd=method`, "bypass", "edge", std, "Cache-Status: fwd=method"},
		{"request", `Cache-Status: ExampleCache; fwd=request; fwd-status=200`, "bypass", "edge", std, "Cache-Status: fwd=request"},
		{"reason from the future", `Cache-Status: ExampleCache; fwd=eclipse`, "unknown", "edge", std, "Cache-Status: fwd=eclipse"},
		{"the last is nearest", `Cache-Status: OriginCache; fwd=miss, "CDN Company Here"; hit; ttl=545`, "hit", "edge", std, "Cache-Status: hit"},
		{"parent had it", `Cache-Status: OriginCache; hit; ttl=1100, "CDN, \"Inc\""; fwd=uri-miss`, "miss", "parent-hit", std, "Cache-Status: fwd=uri-miss after a hit"},
		{"parent had it, two lines", "Cache-Status: \"Netlify Durable\"; hit; ttl=31\nCache-Status: \"Netlify Edge\"; fwd=miss", "miss", "parent-hit", std, "Cache-Status: fwd=miss after a hit"},
		{"nobody had it", `Cache-Status: Origin; fwd=miss, Edge; fwd=miss`, "miss", "edge", std, "Cache-Status: fwd=miss"},
		{"hit in a string is no hit", `Cache-Status: "; hit"; fwd=miss; detail="a, b; hit"`, "miss", "edge", std, "Cache-Status: fwd=miss"},
		{"hit=?0", `Cache-Status: Edge; hit=?0; fwd=miss`, "miss", "edge", std, "Cache-Status: fwd=miss"},
		{"last of two same parameters", `Cache-Status: Edge; fwd=miss; fwd=bypass`, "bypass", "edge", std, "Cache-Status: fwd=bypass"},
		{"every type of value", `Cache-Status: Edge; a=1; b=-1.5; c="s"; d=t; e=:aGk=:; f=?1; g=@1700000000; h=%"f%c3%bc"; hit`, "hit", "edge", std, "Cache-Status: hit"},
		{"first of all dialects", "X-Cache: Miss from cloudfront\nCF-Cache-Status: MISS\nCache-Status: Edge; hit", "hit", "edge", std, "Cache-Status: hit"},
	})
}

// TestCacheStatusIgnored puts a weaker dialect beside each field that must not
// decide.
func TestCacheStatusIgnored(t *testing.T) {
	for _, value := range []string{
		`Edge; hit,`, `Edge; hit, , Edge; hit`, `,Edge; hit`, `Edge; hit;`, `Edge hit`, `Edge; Hit`, `"Edge; hit`, `"a\b"; hit`,
		"\"caf\u00e9\"; hit", `Edge; hit; ttl=1234567890123456`, `Edge; hit; ttl=-`, `Edge; hit; ttl=1.`, `Edge; hit; ttl=1.2345`,
		`Edge; hit; k=`, `Edge; hit; k=?2`, `Edge; hit; k=:a`, `Edge; hit; k=@1.5`, `Edge; hit; k=%"%C3"`, `Edge; hit; k=%"%c3"`, `Edge; hit; k=%"a`,
		`(Edge); hit`, `(a b), Edge; hit`, `(a`, `("a""b"); hit`, `12; hit`, `?1; hit`, `Edge`, `Edge; hit, Later; detail=x`, `Edge; fwd=1`, `Edge; hit=1`, `=`,
	} {
		h := http.Header{}
		h.Set("Cache-Status", value)
		h.Set("CF-Cache-Status", "EXPIRED")
		if got := cachestate.Classify(h); got.State != cachestate.Expired {
			t.Errorf("Cache-Status %q decided %s by %q", value, got.State, got.Evidence)
		}
	}
}

func TestCloudflareAndVercel(t *testing.T) {
	const cf, vercel = cachestate.Cloudflare, cachestate.Vercel
	check(t, []verdict{
		{"hit", "CF-Cache-Status: HIT\nCF-RAY: 8a1b2c3d4e5f6789-FRA\nAge: 7", "hit", "edge", cf, "CF-Cache-Status: HIT"},
		{"miss", "CF-Cache-Status: MISS", "miss", "edge", cf, "CF-Cache-Status: MISS"},
		{"expired", "CF-Cache-Status: EXPIRED", "expired", "edge", cf, "CF-Cache-Status: EXPIRED"},
		{"stale", "CF-Cache-Status: STALE", "stale", "edge", cf, "CF-Cache-Status: STALE"},
		{"updating", "CF-Cache-Status: UPDATING", "stale", "edge", cf, "CF-Cache-Status: UPDATING"},
		{"revalidated", "CF-Cache-Status: REVALIDATED", "revalidated", "edge", cf, "CF-Cache-Status: REVALIDATED"},
		{"bypass", "CF-Cache-Status: BYPASS", "bypass", "edge", cf, "CF-Cache-Status: BYPASS"},
		{"dynamic", "cf-cache-status: DYNAMIC", "uncacheable", "edge", cf, "CF-Cache-Status: DYNAMIC"},
		{"none", "CF-Cache-Status: NONE\nAge: 12", "unknown", "edge", cf, "CF-Cache-Status: NONE"},
		{"unknown", "CF-Cache-Status: UNKNOWN", "unknown", "edge", cf, "CF-Cache-Status: UNKNOWN"},
		{"a new word is no hit", "CF-Cache-Status: TELEPORTED\nAge: 12", "unknown", "edge", cf, "CF-Cache-Status: TELEPORTED"},
		{"blank is absent", "CF-Cache-Status:\nX-Cache: HIT", "hit", "edge", "generic", "X-Cache: HIT"},
		{"before vercel", "X-Vercel-Cache: MISS\nCF-Cache-Status: HIT", "hit", "edge", cf, "CF-Cache-Status: HIT"},

		{"vercel hit", "X-Vercel-Cache: HIT\nX-Vercel-Id: fra1::abc", "hit", "edge", vercel, "X-Vercel-Cache: HIT"},
		{"vercel prerender", "X-Vercel-Cache: PRERENDER", "hit", "edge", vercel, "X-Vercel-Cache: PRERENDER"},
		{"vercel stale", "X-Vercel-Cache: STALE", "stale", "edge", vercel, "X-Vercel-Cache: STALE"},
		{"vercel miss", "X-Vercel-Cache: MISS\nAge: 0", "miss", "edge", vercel, "X-Vercel-Cache: MISS"},
		{"vercel revalidated", "X-Vercel-Cache: REVALIDATED", "revalidated", "edge", vercel, "X-Vercel-Cache: REVALIDATED"},
		{"vercel bypass", "X-Vercel-Cache: BYPASS", "bypass", "edge", vercel, "X-Vercel-Cache: BYPASS"},
		{"vercel before x-cache", "X-Cache: Hit from cloudfront\nX-Vercel-Cache: MISS", "miss", "edge", vercel, "X-Vercel-Cache: MISS"},
	})
}

func TestCloudFront(t *testing.T) {
	const cf = cachestate.CloudFront
	check(t, []verdict{
		{"hit", "X-Cache: Hit from cloudfront\nVia: 1.1 0123abcd.cloudfront.net (CloudFront)\nX-Amz-Cf-Pop: FRA56-P4", "hit", "edge", cf, "X-Cache: Hit from cloudfront"},
		{"refresh", "X-Cache: RefreshHit from cloudfront", "revalidated", "edge", cf, "X-Cache: RefreshHit from cloudfront"},
		{"shield", "X-Cache: OriginShieldHit from cloudfront", "hit", "shield", cf, "X-Cache: OriginShieldHit from cloudfront"},
		{"miss", "X-Cache: Miss from cloudfront", "miss", "edge", cf, "X-Cache: Miss from cloudfront"},
		{"error", "X-Cache: Error from cloudfront", "error", "edge", cf, "X-Cache: Error from cloudfront"},
		{"limit", "X-Cache: LimitExceeded from cloudfront", "error", "edge", cf, "X-Cache: LimitExceeded from cloudfront"},
		{"lambda", "X-Cache: LambdaGeneratedResponse from cloudfront", "bypass", "edge", cf, "X-Cache: LambdaGeneratedResponse from cloudfront"},
		{"function", "X-Cache: FunctionGeneratedResponse from cloudfront", "bypass", "edge", cf, "X-Cache: FunctionGeneratedResponse from cloudfront"},
		{"function failed", "X-Cache: FunctionExecutionError from cloudfront", "error", "edge", cf, "X-Cache: FunctionExecutionError from cloudfront"},
		{"redirect", "X-Cache: Redirect from cloudfront", "bypass", "edge", cf, "X-Cache: Redirect from cloudfront"},
		{"new word", "X-Cache: Perhaps from cloudfront\nAge: 5", "unknown", "edge", cf, "X-Cache: Perhaps from cloudfront"},
		{"after the origin's own", "X-Cache: HIT\nX-Cache: Miss from cloudfront", "miss", "edge", cf, "X-Cache: Miss from cloudfront"},
	})
}

func TestTCPCodes(t *testing.T) {
	const akamai, azure = cachestate.Akamai, cachestate.Azure
	const from = " from a23-45-67-89.deploy.akamaitechnologies.com (AkamaiGHost/11.4.3-1) (-)"
	check(t, []verdict{
		{"hit", "X-Cache: TCP_HIT" + from, "hit", "edge", akamai, "X-Cache: TCP_HIT"},
		{"memory", "X-Cache: TCP_MEM_HIT" + from, "hit", "edge", akamai, "X-Cache: TCP_MEM_HIT"},
		{"if-modified-since", "X-Cache: TCP_IMS_HIT" + from, "hit", "edge", akamai, "X-Cache: TCP_IMS_HIT"},
		{"negative", "X-Cache: TCP_NEGATIVE_HIT" + from, "hit", "edge", akamai, "X-Cache: TCP_NEGATIVE_HIT"},
		{"refresh hit", "X-Cache: TCP_REFRESH_HIT" + from, "revalidated", "edge", akamai, "X-Cache: TCP_REFRESH_HIT"},
		{"refresh failed", "X-Cache: TCP_REFRESH_FAIL_HIT" + from, "stale", "edge", akamai, "X-Cache: TCP_REFRESH_FAIL_HIT"},
		{"refresh miss", "X-Cache: TCP_REFRESH_MISS" + from, "expired", "edge", akamai, "X-Cache: TCP_REFRESH_MISS"},
		{"expired miss", "X-Cache: TCP_EXPIRED_MISS" + from, "expired", "edge", akamai, "X-Cache: TCP_EXPIRED_MISS"},
		{"miss", "X-Cache: TCP_MISS" + from, "miss", "edge", akamai, "X-Cache: TCP_MISS"},
		{"parent hit", "X-Cache: TCP_MISS" + from + "\nX-Cache-Remote: TCP_HIT" + from, "miss", "parent-hit", akamai, "X-Cache: TCP_MISS, X-Cache-Remote"},
		{"parent miss", "X-Cache: TCP_MISS" + from + "\nX-Cache-Remote: TCP_MISS" + from, "miss", "edge", akamai, "X-Cache: TCP_MISS"},
		{"denied", "X-Cache: TCP_DENIED" + from, "error", "edge", akamai, "X-Cache: TCP_DENIED"},
		{"cookie", "X-Cache: TCP_COOKIE_DENY" + from, "error", "edge", akamai, "X-Cache: TCP_COOKIE_DENY"},
		{"new code", "X-Cache: TCP_WARP_HIT" + from + "\nAge: 9", "unknown", "edge", akamai, "X-Cache: TCP_WARP_HIT"},

		{"azure hit", "X-Cache: TCP_HIT\nX-Azure-Ref: 20261101T000000Z-abc", "hit", "edge", azure, "X-Cache: TCP_HIT"},
		{"azure remote", "X-Cache: TCP_REMOTE_HIT\nX-Azure-Ref: 20261101T000000Z-abc", "hit", "parent", azure, "X-Cache: TCP_REMOTE_HIT"},
		{"azure no store", "X-Cache: PRIVATE_NOSTORE", "uncacheable", "edge", azure, "X-Cache: PRIVATE_NOSTORE"},
		{"azure no cache", "X-Cache: CONFIG_NOCACHE\nX-Azure-Ref: 20261101T000000Z-abc", "uncacheable", "edge", azure, "X-Cache: CONFIG_NOCACHE"},
	})
}

func TestFastly(t *testing.T) {
	const fastly = cachestate.Fastly
	const one = "X-Served-By: cache-fra-eddf8230052-FRA\n"
	const two = "X-Served-By: cache-iad-kiad7000025-IAD, cache-fra-eddf8230052-FRA\nVia: 1.1 varnish, 1.1 varnish\n"
	check(t, []verdict{
		{"hit", one + "X-Cache: HIT\nX-Cache-Hits: 3", "hit", "edge", fastly, "X-Cache: HIT"},
		{"miss", one + "X-Cache: MISS", "miss", "edge", fastly, "X-Cache: MISS"},
		{"edge hit", two + "X-Cache: MISS, HIT", "hit", "edge", fastly, "X-Cache: HIT"},
		{"shield hit", two + "X-Cache: HIT, MISS", "miss", "shield-hit", fastly, "X-Cache: HIT, MISS"},
		{"both miss", two + "X-Cache: MISS, MISS", "miss", "edge", fastly, "X-Cache: MISS"},
		{"shield hit, two lines", two + "X-Cache: HIT\nX-Cache: MISS", "miss", "shield-hit", fastly, "X-Cache: HIT, MISS"},
		{"not fastly's node", "X-Served-By: web-7\nX-Cache: HIT, MISS", "miss", "parent-hit", "generic", "X-Cache: HIT, MISS"},
		{"node without x-cache", one + "Age: 4", "hit", "", "standard", "Age: 4"},
	})
}

func TestServerTiming(t *testing.T) {
	const generic = cachestate.Generic
	check(t, []verdict{
		{"hit", `Server-Timing: cdn-cache-hit,cdn-pop;desc="FRA56-P4",cdn-rid;desc="abc==",cdn-hit-layer;desc="EDGE",cdn-downstream-fbl;dur=4`, "hit", "edge", generic, "Server-Timing: cdn-cache-hit"},
		{"miss", `Server-Timing: cdn-upstream-dns;dur=0,cdn-upstream-fbl;dur=214,cdn-cache-miss,cdn-pop;desc="FRA56-P4"`, "miss", "edge", generic, "Server-Timing: cdn-cache-miss"},
		{"refresh", `Server-Timing: cdn-cache-refresh, cdn-pop;desc="FRA56-P4"`, "revalidated", "edge", generic, "Server-Timing: cdn-cache-refresh"},
		{"described", "Server-Timing: cdn-cache; desc=HIT\nServer-Timing: edge; dur=1", "hit", "edge", generic, "Server-Timing: cdn-cache; desc=HIT"},
		{"described, quoted", `Server-Timing: edge; dur=37, cdn-cache; dur=0; desc="MISS", origin; dur=102`, "miss", "edge", generic, "Server-Timing: cdn-cache; desc=MISS"},
		{"described in a new word", "Server-Timing: cdn-cache; desc=PERHAPS", "unknown", "edge", generic, "Server-Timing: cdn-cache; desc=PERHAPS"},
		{"only in a description", `Server-Timing: db;desc="slow, cdn-cache-hit, really";dur=3`, "unknown", "", "", ""},
		{"nothing of a cache", "Server-Timing: total;dur=12.3, ;;, ", "unknown", "", "", ""},
		{"before the generic words", "X-Proxy-Cache: MISS\nServer-Timing: cdn-cache-hit", "hit", "edge", generic, "Server-Timing: cdn-cache-hit"},
	})
}

func TestGenericWords(t *testing.T) {
	const generic = cachestate.Generic
	check(t, []verdict{
		{"squid", "X-Cache: HIT from proxy1.example.com\nX-Cache-Lookup: HIT from proxy1.example.com:3128", "hit", "edge", generic, "X-Cache: HIT"},
		{"alibaba", "X-Cache: MISS TCP_MISS dirn:-2:-2", "miss", "edge", generic, "X-Cache: MISS"},
		{"lower case", "x-cache: hit", "hit", "edge", generic, "X-Cache: hit"},
		{"two caches", "X-Cache: MISS, HIT", "hit", "edge", generic, "X-Cache: HIT"},
		{"nginx", "X-Cache-Status: EXPIRED", "expired", "edge", generic, "X-Cache-Status: EXPIRED"},
		{"nginx updating", "X-Cache-Status: UPDATING", "stale", "edge", generic, "X-Cache-Status: UPDATING"},
		{"nginx revalidated", "X-Cache-Status: REVALIDATED", "revalidated", "edge", generic, "X-Cache-Status: REVALIDATED"},
		{"nginx bypass", "X-Proxy-Cache: BYPASS", "bypass", "edge", generic, "X-Proxy-Cache: BYPASS"},
		{"bunny", "CDN-Cache: HIT\nCDN-RequestId: 0123", "hit", "edge", generic, "CDN-Cache: HIT"},
		{"google", "X-Cache-Status: uncacheable", "uncacheable", "edge", generic, "X-Cache-Status: uncacheable"},
		{"unknown word, next header", "X-Cache: yes\nX-Proxy-Cache: MISS", "miss", "edge", generic, "X-Proxy-Cache: MISS"},
	})
}

func TestVarnishAndAge(t *testing.T) {
	check(t, []verdict{
		{"two ids", "X-Varnish: 32770 3\nVia: 1.1 varnish (Varnish/7.1)", "hit", "edge", "varnish", "X-Varnish: two ids"},
		{"one id", "X-Varnish: 32770\nAge: 0", "miss", "edge", "varnish", "X-Varnish: one id"},
		{"two layers", "X-Varnish: 11 7, 32770", "miss", "edge", "varnish", "X-Varnish: one id"},
		{"three ids", "X-Varnish: 1 2 3", "unknown", "", "", ""},
		{"no ids", "X-Varnish: on\nAge: 3", "hit", "", "standard", "Age: 3"},
		{"age", "Age: 31", "hit", "", "standard", "Age: 31"},
		{"age zero", "Age: 0", "unknown", "", "", ""},
		{"nothing", "Content-Type: text/html", "unknown", "", "", ""},
		{"empty", "", "unknown", "", "", ""},
	})
	if got := cachestate.Classify(nil); got != (cachestate.Result{State: cachestate.Unknown}) {
		t.Errorf("no header at all: %+v", got)
	}
}

func TestAge(t *testing.T) {
	tests := []struct {
		headers string
		want    time.Duration
		has     bool
	}{
		{"Age: 31\nCF-Cache-Status: DYNAMIC", 31 * time.Second, true},
		{"Age: 0", 0, true},
		{"Age: 12, 99", 12 * time.Second, true},
		{"Age: 12\nAge: 99", 12 * time.Second, true},
		{"Age: 2147483649", 1 << 31 * time.Second, true},
		{"Age: 99999999999999999999999999", 1 << 31 * time.Second, true},
		{"Age: -1", 0, false},
		{"Age: 1.5", 0, false},
		{"Age: soon", 0, false},
		{"Age:", 0, false},
		{"", 0, false},
	}
	for _, tt := range tests {
		got := cachestate.Classify(header(tt.headers))
		if got.Age != tt.want || got.HasAge != tt.has {
			t.Errorf("%q: age %v, %v; want %v, %v", tt.headers, got.Age, got.HasAge, tt.want, tt.has)
		}
	}
}

// TestBrowserHeaders: the DevTools protocol joins the lines of one name with
// line feeds.
func TestBrowserHeaders(t *testing.T) {
	h := http.Header{}
	h.Set("cache-status", "Origin; hit\nEdge; fwd=miss\n")
	if got := cachestate.Classify(h); got.State != cachestate.Miss || got.Tier != cachestate.ParentHit {
		t.Errorf("got %+v, want a miss with a hit at the parent", got)
	}
}

func TestStates(t *testing.T) {
	tests := []struct {
		state       cachestate.State
		text        string
		hit, counts bool
	}{
		{cachestate.Hit, "hit", true, true},
		{cachestate.Stale, "stale", true, true},
		{cachestate.Revalidated, "revalidated", false, true},
		{cachestate.Expired, "expired", false, true},
		{cachestate.Miss, "miss", false, true},
		{cachestate.Bypass, "bypass", false, false},
		{cachestate.Uncacheable, "uncacheable", false, false},
		{cachestate.Error, "error", false, false},
		{cachestate.Unknown, "unknown", false, false},
		{cachestate.State("from a later version"), "from a later version", false, false},
	}
	for _, tt := range tests {
		if string(tt.state) != tt.text || tt.state.Hit() != tt.hit || tt.state.Counts() != tt.counts {
			t.Errorf("%q: text %q, hit %v, counts %v; want %q, %v, %v", tt.state,
				string(tt.state), tt.state.Hit(), tt.state.Counts(), tt.text, tt.hit, tt.counts)
		}
	}
}

func FuzzClassify(f *testing.F) {
	for _, seed := range []string{
		`Cache-Status: Origin; hit; ttl=1100, "CDN, \"Inc\""; fwd=uri-miss`,
		`Cache-Status: E; a=1; b=-1.5; c="s"; e=:aGk=:; f=?1; g=@17; h=%"f%c3%bc"; hit, (a b);c`,
		"CF-Cache-Status: HIT\nAge: 7", "X-Vercel-Cache: PRERENDER", "X-Cache: OriginShieldHit from cloudfront",
		"X-Cache: TCP_MISS from a1 (AkamaiGHost/1)\nX-Cache-Remote: TCP_HIT", "X-Cache: PRIVATE_NOSTORE",
		"X-Served-By: cache-a, cache-b\nX-Cache: HIT, MISS", `Server-Timing: cdn-cache; desc="HIT", x;desc="\"`,
		"X-Cache-Status: UPDATING", "X-Varnish: 1 2", "Age: 99999999999999999999",
		"CF-Cache-Status: " + strings.Repeat("A", 5000), "Cache-Status: " + strings.Repeat("(", 5000),
	} {
		f.Add(seed)
	}
	states := []cachestate.State{
		cachestate.Hit, cachestate.Stale, cachestate.Revalidated, cachestate.Expired, cachestate.Miss,
		cachestate.Bypass, cachestate.Uncacheable, cachestate.Error, cachestate.Unknown,
	}
	tiers := []cachestate.Tier{"", cachestate.Edge, cachestate.Parent, cachestate.Shield, cachestate.ParentHit, cachestate.ShieldHit}
	f.Fuzz(func(t *testing.T, lines string) {
		got := cachestate.Classify(header(lines))
		if !slices.Contains(states, got.State) || !slices.Contains(tiers, got.Tier) {
			t.Fatalf("state %q, tier %q", got.State, got.Tier)
		}
		if len(got.Evidence) > cachestate.MaxEvidence {
			t.Fatalf("evidence of %d bytes: %q", len(got.Evidence), got.Evidence)
		}
		for i := range len(got.Evidence) {
			if b := got.Evidence[i]; b < 0x20 || b > 0x7e {
				t.Fatalf("evidence %q is not printable ASCII", got.Evidence)
			}
		}
		if (got.Vendor == "") != (got.Evidence == "") || (got.State != cachestate.Unknown && got.Vendor == "") {
			t.Fatalf("a verdict without its reason: %+v", got)
		}
		if got.Age < 0 || got.Age > 1<<31*time.Second || (!got.HasAge && got.Age != 0) {
			t.Fatalf("age %v, %v", got.Age, got.HasAge)
		}
	})
}
