package cachestate

import (
	"net/http"
	"slices"
	"strings"
)

// Exposed says why a shared cache ought not to have given this answer: it may be somebody else's, or what it tells is meant for one
// user only. It is "" where nothing speaks against the answer, and for every answer that did not come out of the cache unasked (hit and
// stale; where the origin was asked first it has seen who asks).
//
//   - The request carried Authorization, and neither did the response allow a shared cache to keep it (public, s-maxage or
//     must-revalidate: RFC 9111, section 3.5) nor does Vary name Authorization, which would give each user an answer of their own. The
//     section binds the cache when it stores; an answer that it had stored for a request without Authorization it may use here. From one
//     answer the two cannot be told apart, and an API that wants the second does well to say public.
//   - Its Cache-Control says private or no-store, which no shared cache may store (section 3). private="a, b" is about these two fields
//     only (section 5.2.2.7): the answer is exposed where it has one of them. no-store beside must-understand is void for a cache that
//     knows the status (section 5.2.2.3), and is passed over.
//   - It sets a cookie, the request carried some, and Vary does not name Cookie: what may be one user's session goes to all. Cookies that
//     the edge itself sets anew on each answer, of bot detection and load balancing, are passed over.
//
// Vary: * excuses nothing, since a cache that heeded it would not have answered. Where the response carries a field for shared caches
// alone (CDN-Cache-Control, RFC 9213, or a vendor's own) that is what the cache goes by, and Cache-Control is for browsers.
//
// These are signs, not proof: many set-ups strip the field for the CDN on the way out and leave private to browsers, and only a second
// user who is shown the first one's canary (kind cache-leak) proves a leak. So callers report it, and neither fail nor degrade a
// run for it.
//
// The text is one of a fixed few and repeats nothing of the headers.
func Exposed(request, response http.Header, got Result) string {
	if !got.State.Hit() {
		return ""
	}
	control := sharedControl(response)
	vary := list(response, "Vary")
	varies := func(on string) bool {
		return slices.ContainsFunc(vary, func(name string) bool { return strings.EqualFold(name, on) })
	}
	switch {
	case control.private(response):
		return "a shared cache gave the answer, whose Cache-Control says private"
	case control.has("no-store") && !control.has("must-understand"):
		return "a shared cache gave the answer, whose Cache-Control says no-store"
	case request.Get("Authorization") != "" && !control.has("public") && !control.has("s-maxage") && !control.has("must-revalidate") && !varies("Authorization"):
		return "a shared cache gave the answer to a request with Authorization; Cache-Control does not allow that (public, s-maxage or must-revalidate), and Vary does not name Authorization"
	case request.Get("Cookie") != "" && setsCookie(response) && !varies("Cookie"):
		return "a shared cache gave an answer with Set-Cookie to a request with Cookie, and Vary does not name Cookie"
	}
	return ""
}

// directives are those of Cache-Control by their names in lower case; those that come twice, with their arguments in turn.
type directives map[string][]string

func (d directives) has(name string) bool { return len(d[name]) > 0 }

// private reports whether the response, or a field that it has, is for one user.
func (d directives) private(response http.Header) bool {
	for _, argument := range d["private"] {
		fields := split(strings.Trim(argument, "\" \t"), ',')
		if len(fields) == 0 || slices.ContainsFunc(fields, func(field string) bool { return len(response.Values(field)) > 0 }) {
			return true
		}
	}
	return false
}

// sharedControl reads the field that shared caches go by.
func sharedControl(h http.Header) directives {
	for _, name := range []string{"Cloudflare-CDN-Cache-Control", "Vercel-CDN-Cache-Control", "Surrogate-Control", "CDN-Cache-Control"} {
		d := readDirectives(h, name)
		if d.has("max-age") || d.has("s-maxage") || d.has("private") || d.has("no-store") {
			if d.has("max-age") { // of shared caches alone
				d["s-maxage"] = d["max-age"]
			}
			return d
		}
	}
	return readDirectives(h, "Cache-Control")
}

func readDirectives(h http.Header, field string) directives {
	d := directives{}
	for _, member := range list(h, field) {
		name, argument, _ := strings.Cut(member, "=")
		name = strings.ToLower(strings.TrimSpace(name))
		d[name] = append(d[name], strings.TrimSpace(argument))
	}
	return d
}

// setsCookie reports whether the response sets a cookie that is not one of the edge's own.
func setsCookie(h http.Header) bool {
	for _, value := range h.Values("Set-Cookie") {
		for line := range strings.SplitSeq(value, "\n") { // as browsers deliver several
			name, _, found := strings.Cut(line, "=")
			if found && !edgeCookie(strings.TrimSpace(name)) {
				return true
			}
		}
	}
	return false
}

// edgeCookie knows the cookies that CDNs set on answers from their caches.
func edgeCookie(name string) bool {
	switch name {
	case "__cf_bm", "__cflb", "__cfruid", "_cfuvid", "cf_clearance", // Cloudflare
		"ak_bmsc", "bm_sv", "bm_sz", "bm_mi", "_abck", // Akamai
		"AWSALB", "AWSALBCORS", "ASLBSA", "ASLBSACORS": // load balancers of AWS and Azure
		return true
	}
	return strings.HasPrefix(name, "incap_ses_") || strings.HasPrefix(name, "visid_incap_") || strings.HasPrefix(name, "nlbi_") // Imperva
}
