package demosite

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

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
