// Package cachestate reads what a shared cache (a CDN, a reverse proxy) did
// with a request from the headers of its response, in every vendor's dialect.
//
// Classify is for responses that came over the network. The caller skips what
// the browser's own cache or a service worker answered: the headers of such a
// response tell of an earlier request.
//
// Headers are what a target chose to send, so they are data and never trusted:
// any input gives a Result, in time linear in its size.
//
// The package is pure: no I/O, no clock, no state.
package cachestate

import "time"

// State is what the cache nearest the client did. The text values are a
// contract: they are stored in results and used as metric labels.
type State string

// The states. There are no others.
const (
	// Hit: answered from the cache, fresh.
	Hit State = "hit"
	// Stale: answered from the cache past its freshness, without waiting for
	// the origin.
	Stale State = "stale"
	// Revalidated: the stored body was sent, after the origin confirmed it.
	Revalidated State = "revalidated"
	// Expired: stored, too old, and fetched anew.
	Expired State = "expired"
	// Miss: not stored, fetched.
	Miss State = "miss"
	// Bypass: the request was of a kind that goes around the cache, or was
	// answered by code that runs before it.
	Bypass State = "bypass"
	// Uncacheable: the cache would not store this response.
	Uncacheable State = "uncacheable"
	// Error: the cache or its origin failed or refused.
	Error State = "error"
	// Unknown: the headers do not say.
	Unknown State = "unknown"
)

// Hit reports whether the cache answered without going to its origin: hit and
// stale. Revalidated is not a hit, as in RFC 9211, section 2.1 ("not
// forwarded"): the user waited for a round trip to the origin, which on the
// far side of an ocean is what the cache was there to save.
func (s State) Hit() bool { return s == Hit || s == Stale }

// Counts reports whether a response belongs in the denominator of a hit ratio:
// hit, stale, revalidated, expired and miss, the cases in which a cache was
// asked for an object that it may store and either had it or not.
//
// Bypass and uncacheable say how the cache is configured, error says how the
// origin is doing, and unknown says nothing; counting any of them as misses
// would move the ratio without the cache having changed, and counting unknown
// as anything would be a guess. They are to be shown beside the ratio: an
// object that turned uncacheable by mistake leaves the ratio, it does not
// lower it.
func (s State) Counts() bool {
	switch s {
	case Hit, Stale, Revalidated, Expired, Miss:
		return true
	}
	return false
}

// Tier is the cache that the verdict is about. It is empty when the headers do
// not tell.
type Tier string

// The tiers. The two that end in "-hit" go with a miss at the edge: a cache
// behind it had the object, so that the origin was spared all the same.
const (
	Edge      Tier = "edge"
	Parent    Tier = "parent"
	Shield    Tier = "shield"
	ParentHit Tier = "parent-hit"
	ShieldHit Tier = "shield-hit"
)

// Vendor is whose dialect decided, from a fixed set that is safe as a metric
// label. It is empty when nothing decided.
type Vendor string

// The vendors. Standard is Cache-Status and Age; Generic is a header that
// several products share.
const (
	Standard   Vendor = "standard"
	Cloudflare Vendor = "cloudflare"
	Vercel     Vendor = "vercel"
	CloudFront Vendor = "cloudfront"
	Akamai     Vendor = "akamai"
	Azure      Vendor = "azure"
	Fastly     Vendor = "fastly"
	Varnish    Vendor = "varnish"
	Generic    Vendor = "generic"
)

// Result is the verdict on one response.
type Result struct {
	State  State  `json:"state"`
	Tier   Tier   `json:"tier,omitempty"`
	Vendor Vendor `json:"vendor,omitempty"`
	// Age is the time since the origin made or confirmed the response, from
	// the Age header whatever decided the state. HasAge is false, and Age
	// zero, without a valid one.
	Age    time.Duration `json:"-"` // travels as age_seconds
	HasAge bool          `json:"-"`
	// Evidence is the header that decided and the part of its value that did,
	// such as "X-Cache: TCP_REFRESH_HIT"; empty when none did. It is printable
	// ASCII of at most MaxEvidence bytes and repeats no cache key or other
	// free text, which may hold what must not be printed.
	Evidence string `json:"evidence,omitempty"`
}

// MaxEvidence bounds Result.Evidence, in bytes.
const MaxEvidence = 100
