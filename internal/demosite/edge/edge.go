// Package edge is the shop's CDN: a shared cache in front of a region's origin, which can be broken on purpose.
package edge

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Bounds of one edge's cache.
const (
	maxCached     = 256 // responses
	maxCachedBody = 512 << 10
	MaxURL        = 2048 // bytes of an address
)

// Defect is a way in which a cache is broken on purpose.
type Defect int

// The defects.
const (
	StoresNothing    Defect = iota // every request goes to the origin
	SharesPrivate                  // what is one user's own, at privatePath, is stored and given to all
	SharesAuthorised               // what is for whoever shows a token, at memberPath, is stored and given to all who do
)

// What the two defects are about, and for how long the first shares it.
const (
	privatePath = "/api/me"
	memberPath  = "/api/offers"
	leakFor     = 30 * time.Second
)

// Cache is a region's shared cache (RFC 9111) in front of its origin. It says
// what it did in Cache-Status (RFC 9211) and Age. Like most CDNs it ignores
// the Cache-Control of requests, and it bypasses requests with Authorization.
//
// It is safe for concurrent use.
type Cache struct {
	region string
	origin http.Handler
	broken func(Defect) bool

	mu     sync.Mutex
	cached []*response // most recently used first; few enough for a plain search
}

// New returns the empty cache of a region in front of its origin. broken tells which defects it has now.
func New(region string, origin http.Handler, broken func(Defect) bool) *Cache {
	return &Cache{region: region, origin: origin, broken: broken}
}

// response is a whole response of the origin; once stored it is immutable
// (revalidation replaces it), so it is served without a lock.
type response struct {
	status int
	header http.Header
	body   []byte

	url     string // and all below: set when it is stored
	variant string // the request's fields that Vary names
	stored  time.Time
	fresh   time.Duration // lifetime from stored on
}

// Header, WriteHeader and Write make response the writer an origin writes to.
func (res *response) Header() http.Header { return res.header }

func (res *response) WriteHeader(status int) {
	if res.status == 0 {
		res.status = status
	}
}

func (res *response) Write(p []byte) (int, error) {
	res.WriteHeader(http.StatusOK)
	res.body = append(res.body, p...)
	return len(p), nil
}

// ServeHTTP implements http.Handler.
func (e *Cache) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	leak := r.URL.Path == privatePath && e.broken(SharesPrivate)
	shared := leak || r.URL.Path == memberPath && e.broken(SharesAuthorised)
	switch {
	case len(r.RequestURI) > MaxURL:
		http.Error(w, "address too long", http.StatusRequestURITooLong)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		e.pass(w, r, "fwd=method")
	case !shared && private(r):
		e.pass(w, r, "fwd=bypass")
	case e.broken(StoresNothing):
		e.pass(w, r, "fwd=uri-miss")
	default:
		e.serve(w, r, leak)
	}
}

// personal matches the paths whose responses differ from user to user.
var personal = regexp.MustCompile(`^/(login|cart|checkout|done|healthz|api/(login|me|offers|orders|stock))(/|$)`)

// private tells requests that no edge may answer: those that carry credentials
// and those for paths that are personal by configuration.
func private(r *http.Request) bool {
	return r.Header.Get("Authorization") != "" || personal.MatchString(r.URL.Path)
}

// pass lets the origin answer and keeps nothing.
func (e *Cache) pass(w http.ResponseWriter, r *http.Request, why string) {
	res := e.fetch(r)
	e.write(w, r, res, why+"; fwd-status="+strconv.Itoa(res.status), 0)
}

// fetch asks the origin.
func (e *Cache) fetch(r *http.Request) *response {
	res := &response{header: make(http.Header)}
	e.origin.ServeHTTP(res, r)
	res.WriteHeader(http.StatusOK)
	if res.matches(r) { // the origin's server answers conditions for the whole app
		res.status, res.body = http.StatusNotModified, nil
	}
	return res
}

// serve answers from the cache if it can, and else from the origin.
func (e *Cache) serve(w http.ResponseWriter, r *http.Request, leak bool) {
	now := time.Now()
	url := r.URL.RequestURI()
	found, known := e.lookup(url, r, leak)
	if found != nil {
		if passed := now.Sub(found.stored); passed < found.fresh {
			ttl := int((found.fresh - passed) / time.Second)
			e.write(w, r, found, "hit; ttl="+strconv.Itoa(ttl), passed)
			return
		}
	}
	// The client's own condition is answered here, so the origin must not see it.
	ask := r.Clone(r.Context())
	ask.Header.Del("If-None-Match")
	why := "fwd=uri-miss"
	if found != nil {
		why = "fwd=stale"
		if tag := found.header.Get("ETag"); tag != "" {
			ask.Header.Set("If-None-Match", tag)
		}
	} else if known {
		why = "fwd=vary-miss"
	}
	res := e.fetch(ask)
	why += "; fwd-status=" + strconv.Itoa(res.status)
	if found != nil && res.status == http.StatusNotModified {
		// Freshened by the fields of the 304 (RFC 9111, section 3.2).
		header := found.header.Clone()
		maps.Copy(header, res.header)
		res = &response{status: found.status, header: header, body: found.body}
	}
	if r.Method == http.MethodGet && e.store(url, r, res, now, leak) {
		why += "; stored"
	}
	e.write(w, r, res, why, 0)
}

// lookup finds what is stored for r, fresh or not, and tells whether any
// variant of the URL is.
func (e *Cache) lookup(url string, r *http.Request, leak bool) (found *response, known bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, res := range e.cached {
		if res.url != url {
			continue
		}
		known = true
		if leak || res.variant == variant(r, res.header) {
			copy(e.cached[1:], e.cached[:i])
			e.cached[0] = res
			return res, true
		}
	}
	return nil, known
}

// variant joins the values of those fields of r that the response's Vary names.
func variant(r *http.Request, h http.Header) string {
	var v strings.Builder
	for name := range strings.SplitSeq(strings.Join(h.Values("Vary"), ","), ",") {
		fmt.Fprintf(&v, "%q", r.Header.Values(strings.TrimSpace(name)))
	}
	return v.String()
}

// store keeps res if a shared cache may, and reports whether it did.
func (e *Cache) store(url string, r *http.Request, res *response, now time.Time, leak bool) bool {
	res.fresh = freshFor(res.status, res.header)
	if leak && res.status == http.StatusOK {
		res.fresh = leakFor
	}
	if res.fresh <= 0 || len(res.body) > maxCachedBody {
		return false
	}
	res.url, res.variant, res.stored = url, variant(r, res.header), now
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cached = slices.DeleteFunc(e.cached, func(old *response) bool {
		return old.url == url && (leak || old.variant == res.variant)
	})
	e.cached = slices.Insert(e.cached, 0, res)
	e.cached = e.cached[:min(len(e.cached), maxCached)]
	return true
}

// write sends res, as 304 if that is what the client asked for.
func (e *Cache) write(w http.ResponseWriter, r *http.Request, res *response, status string, passed time.Duration) {
	h := w.Header()
	maps.Copy(h, res.header)
	h.Set("Cache-Status", "edge-"+e.region+"; "+status)
	if strings.HasPrefix(status, "hit") {
		h.Set("Age", strconv.Itoa(int(passed/time.Second)))
		h.Set("Server-Timing", fmt.Sprintf(`edge;desc="%s hit"`, e.region))
	}
	if res.matches(r) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if res.status != http.StatusNotModified && res.status != http.StatusNoContent {
		h.Set("Content-Length", strconv.Itoa(len(res.body)))
	}
	w.WriteHeader(res.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(res.body) // a client that has gone is no news
	}
}

// matches tells whether r asks only for something other than res; entity tags
// are compared weakly (RFC 9110, section 13.1.2).
func (res *response) matches(r *http.Request) bool {
	tag := strings.TrimPrefix(res.header.Get("ETag"), "W/")
	if res.status != http.StatusOK || tag == "" {
		return false
	}
	for t := range strings.SplitSeq(strings.Join(r.Header.Values("If-None-Match"), ","), ",") {
		if t = strings.TrimSpace(t); t == "*" || strings.TrimPrefix(t, "W/") == tag {
			return true
		}
	}
	return false
}

// directive matches one cache directive (RFC 9111, section 5.2) with its
// optional token or quoted value; what is quoted is never a directive itself.
var directive = regexp.MustCompile(`([^\s,="]+)\s*(?:=\s*("(?:[^"\\]|\\.)*"?|[^\s,"]*))?`)

// cacheControl is what a shared cache needs of a response's Cache-Control.
type cacheControl struct {
	forbidden bool          // no-store, no-cache or private
	fresh     time.Duration // s-maxage or else max-age
}

// parseCacheControl reads the field's lines. Unknown directives are ignored;
// an unreadable age counts as zero, that is as stale. Of repeated ages the
// smallest holds, as RFC 9111, section 4.2.1, encourages.
func parseCacheControl(lines []string) cacheControl {
	var cc cacheControl
	ages := make(map[string]time.Duration)
	for _, m := range directive.FindAllStringSubmatch(strings.Join(lines, ","), -1) {
		switch name := strings.ToLower(m[1]); name {
		case "no-store", "no-cache", "private":
			cc.forbidden = true
		case "max-age", "s-maxage":
			d := parseSeconds(strings.Trim(m[2], `"`))
			if old, again := ages[name]; !again || d < old {
				ages[name] = d
			}
		}
	}
	cc.fresh = ages["max-age"]
	if shared, ok := ages["s-maxage"]; ok {
		cc.fresh = shared
	}
	return cc
}

// parseSeconds reads delta-seconds; what is too large becomes 2^31 s, as
// RFC 9111, section 1.2.2, asks.
func parseSeconds(text string) time.Duration {
	// ParseUint answers bad syntax with 0 and overflow with the largest value,
	// which is what we want of both, so the error has nothing to add.
	n, _ := strconv.ParseUint(text, 10, 64)
	return time.Duration(min(n, 1<<31)) * time.Second
}

// freshFor is how long a shared cache may reuse the response without asking;
// zero means that it must not be stored.
func freshFor(status int, h http.Header) time.Duration {
	cc := parseCacheControl(h.Values("Cache-Control"))
	anything := strings.Contains(strings.Join(h.Values("Vary"), ","), "*")
	if status != http.StatusOK || cc.forbidden || anything || h.Get("Set-Cookie") != "" {
		return 0
	}
	return cc.fresh
}
