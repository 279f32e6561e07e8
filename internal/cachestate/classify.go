package cachestate

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Classify reads the response header h, which may be nil. The dialects are
// asked from the most explicit to the most indirect and the first that applies
// decides, even when it decides that the state is Unknown. Names are looked up
// in canonical form, so h must have been filled by Add or Set. Several lines of
// one name are joined, and so are the values that browsers deliver as one text
// with line feeds.
func Classify(h http.Header) Result {
	result := Result{State: Unknown}
	for _, read := range dialects() {
		if found, ok := read(h); ok {
			result = found
			break
		}
	}
	result.Age, result.HasAge = age(h)
	return result
}

// dialects lists the readers in order of precedence. A reader answers false
// when the response does not speak its dialect.
func dialects() []func(http.Header) (Result, bool) {
	return []func(http.Header) (Result, bool){
		cacheStatus,
		cloudflare,
		vercel,
		cloudFront,
		tcpCodes,
		fastly,
		serverTiming,
		generic,
		varnish,
		inferred,
	}
}

func cloudflare(h http.Header) (Result, bool) {
	return vendorWord(h, "CF-Cache-Status", Cloudflare, wordState)
}

func vercel(h http.Header) (Result, bool) {
	return vendorWord(h, "X-Vercel-Cache", Vercel, func(word string) (State, bool) {
		if word == "PRERENDER" {
			return Hit, true
		}
		return wordState(word)
	})
}

// vendorWord reads a header that only one vendor sends. A word not known here
// means Unknown rather than a look at weaker evidence: the vendor has spoken.
func vendorWord(h http.Header, header string, vendor Vendor, read func(string) (State, bool)) (Result, bool) {
	members := list(h, header)
	if len(members) == 0 {
		return Result{}, false
	}
	word := leadingWord(members[len(members)-1])
	state, ok := read(strings.ToUpper(word))
	if !ok {
		state = Unknown
	}
	return Result{State: state, Tier: Edge, Vendor: vendor, Evidence: header + ": " + word}, true
}

// cloudFront reads "X-Cache: Hit from cloudfront" and its kin.
func cloudFront(h http.Header) (Result, bool) {
	word, ok := lastWord(h, "X-Cache", func(member string) bool {
		return strings.Contains(strings.ToLower(member), "from cloudfront")
	})
	if !ok {
		return Result{}, false
	}
	result := Result{State: Unknown, Tier: Edge, Vendor: CloudFront, Evidence: "X-Cache: " + word + " from cloudfront"}
	switch upper := strings.ToUpper(word); {
	case upper == "HIT":
		result.State = Hit
	case upper == "ORIGINSHIELDHIT":
		result.State, result.Tier = Hit, Shield
	case upper == "REFRESHHIT":
		result.State = Revalidated
	case upper == "MISS":
		result.State = Miss
	case strings.Contains(upper, "GENERATED"), upper == "REDIRECT":
		result.State = Bypass // answered at the edge, by code or by rule
	case strings.HasSuffix(upper, "ERROR"), strings.HasSuffix(upper, "EXCEEDED"):
		result.State = Error
	}
	return result, true
}

// tcpCodes reads the codes that Akamai and Azure took from Squid's log, and
// Azure's two codes for what it will not store.
func tcpCodes(h http.Header) (Result, bool) {
	word, ok := lastWord(h, "X-Cache", func(member string) bool {
		upper := strings.ToUpper(leadingWord(member))
		return strings.HasPrefix(upper, "TCP_") || upper == "PRIVATE_NOSTORE" || upper == "CONFIG_NOCACHE"
	})
	if !ok {
		return Result{}, false
	}
	code, isTCP := strings.CutPrefix(strings.ToUpper(word), "TCP_")
	result := Result{Vendor: Akamai, Evidence: "X-Cache: " + word}
	if !isTCP || h.Get("X-Azure-Ref") != "" {
		result.Vendor = Azure
	}
	result.State, result.Tier = tcpState(code)
	if result.State == Miss && remoteHit(h) {
		result.Tier = ParentHit
		result.Evidence += ", X-Cache-Remote"
	}
	return result, true
}

func tcpState(code string) (State, Tier) {
	switch code {
	case "HIT", "MEM_HIT", "IMS_HIT", "NEGATIVE_HIT":
		return Hit, Edge // NEGATIVE_HIT: a stored error answer, but stored
	case "REMOTE_HIT":
		return Hit, Parent
	case "REFRESH_HIT":
		return Revalidated, Edge
	case "REFRESH_FAIL_HIT":
		return Stale, Edge
	case "REFRESH_MISS", "EXPIRED_MISS":
		return Expired, Edge
	case "MISS":
		return Miss, Edge
	case "DENIED", "COOKIE_DENY":
		return Error, Edge
	case "PRIVATE_NOSTORE", "CONFIG_NOCACHE":
		return Uncacheable, Edge
	}
	return Unknown, Edge
}

// remoteHit reports whether Akamai's parent cache had the object.
func remoteHit(h http.Header) bool {
	word, ok := lastWord(h, "X-Cache-Remote", func(string) bool { return true })
	if !ok {
		return false
	}
	state, _ := tcpState(strings.TrimPrefix(strings.ToUpper(word), "TCP_"))
	return state.Hit()
}

// fastly reads X-Cache where X-Served-By names Fastly's nodes: one word per
// node, shield first, edge last. Fastly writes MISS for requests that it
// passed and HIT for stale answers; the headers do not tell these apart.
func fastly(h http.Header) (Result, bool) {
	_, ok := lastWord(h, "X-Served-By", func(member string) bool {
		return strings.HasPrefix(strings.ToLower(member), "cache-")
	})
	if !ok {
		return Result{}, false
	}
	return chain(h, "X-Cache", Fastly, ShieldHit)
}

// generic reads the leading word of the headers that nginx, Squid and many
// smaller CDNs use. An unknown word in one leaves the decision to the next.
func generic(h http.Header) (Result, bool) {
	for _, header := range []string{"X-Cache", "X-Cache-Status", "X-Proxy-Cache", "CDN-Cache"} {
		if result, ok := chain(h, header, Generic, ParentHit); ok {
			return result, true
		}
	}
	return Result{}, false
}

// chain reads one word per cache, the nearest last. A miss there after a hit
// further in gets the tier behind.
func chain(h http.Header, header string, vendor Vendor, behind Tier) (Result, bool) {
	members := list(h, header)
	if len(members) == 0 {
		return Result{}, false
	}
	word := leadingWord(members[len(members)-1])
	state, ok := wordState(strings.ToUpper(word))
	if !ok {
		return Result{}, false
	}
	result := Result{State: state, Tier: Edge, Vendor: vendor, Evidence: header + ": " + word}
	if state != Miss {
		return result, true
	}
	for _, member := range members[:len(members)-1] {
		earlier := leadingWord(member)
		if s, _ := wordState(strings.ToUpper(earlier)); s.Hit() {
			result.Tier = behind
			result.Evidence = header + ": " + earlier + ", " + word
			break
		}
	}
	return result, true
}

// wordState knows the words that most products share, in upper case.
func wordState(word string) (State, bool) {
	switch word {
	case "HIT":
		return Hit, true
	case "MISS":
		return Miss, true
	case "EXPIRED":
		return Expired, true
	case "STALE", "UPDATING", "HIT-STALE":
		return Stale, true
	case "REVALIDATED":
		return Revalidated, true
	case "BYPASS", "PASS":
		return Bypass, true
	case "DYNAMIC", "UNCACHEABLE":
		return Uncacheable, true
	case "ERROR":
		return Error, true
	}
	return Unknown, false
}

// serverTiming reads the metrics cdn-cache-hit, -miss and -refresh, and
// cdn-cache with the word in its description. The last one was added nearest
// the client.
func serverTiming(h http.Header) (Result, bool) {
	metrics := list(h, "Server-Timing")
	for i := len(metrics) - 1; i >= 0; i-- {
		parts := split(metrics[i], ';')
		if len(parts) == 0 {
			continue
		}
		result := Result{Tier: Edge, Vendor: Generic, Evidence: "Server-Timing: " + leadingWord(parts[0])}
		switch strings.ToLower(parts[0]) {
		case "cdn-cache-hit":
			result.State = Hit
		case "cdn-cache-miss":
			result.State = Miss
		case "cdn-cache-refresh":
			result.State = Revalidated
		case "cdn-cache":
			word := description(parts[1:])
			result.State, _ = wordState(strings.ToUpper(word))
			result.Evidence += "; desc=" + word
		default:
			continue
		}
		return result, true
	}
	return Result{}, false
}

// description returns the leading word of the parameter desc, which may be
// quoted.
func description(params []string) string {
	for _, param := range params {
		name, value, _ := strings.Cut(param, "=")
		if strings.EqualFold(strings.TrimSpace(name), "desc") {
			return leadingWord(strings.Trim(value, "\" \t"))
		}
	}
	return ""
}

// varnish reads X-Varnish: the id of this request and, on a hit, that of the
// request which stored the object.
func varnish(h http.Header) (Result, bool) {
	members := list(h, "X-Varnish")
	if len(members) == 0 {
		return Result{}, false
	}
	ids := strings.Fields(members[len(members)-1])
	for _, id := range ids {
		if !isDigits(id) {
			return Result{}, false
		}
	}
	result := Result{Tier: Edge, Vendor: Varnish}
	switch len(ids) {
	case 1:
		result.State, result.Evidence = Miss, "X-Varnish: one id"
	case 2:
		result.State, result.Evidence = Hit, "X-Varnish: two ids"
	default:
		return Result{}, false
	}
	return result, true
}

// inferred takes a response that has an age for one from some shared cache.
func inferred(h http.Header) (Result, bool) {
	seconds, ok := age(h)
	if !ok || seconds == 0 {
		return Result{}, false
	}
	evidence := "Age: " + strconv.FormatInt(int64(seconds/time.Second), 10)
	return Result{State: Hit, Vendor: Standard, Evidence: evidence}, true
}

// age reads the Age header by RFC 9111, section 5.1: the first of several
// values counts, one that is no number is ignored; by section 1.2.2 a number
// too large to hold means 2^31 seconds.
func age(h http.Header) (time.Duration, bool) {
	const limit = 1 << 31
	members := list(h, "Age")
	if len(members) == 0 || !isDigits(members[0]) {
		return 0, false
	}
	seconds, err := strconv.ParseInt(members[0], 10, 64)
	if err != nil || seconds > limit {
		seconds = limit
	}
	return time.Duration(seconds) * time.Second, true
}
