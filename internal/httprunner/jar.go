package httprunner

import (
	"cmp"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The bounds of a run's cookies. Browsers hold to the same size (RFC 6265, section 6.1).
const (
	maxCookies    = 2000 // that are kept; one that replaces another always finds room
	maxCookieSize = 4096 // name and value, in bytes
)

// jar is the run's cookie jar. Cookies beyond the bounds are dropped. Beside what net/http's jar does it can tell all that is in it.
type jar struct {
	*cookiejar.Jar
	known map[cookieKey]*http.Cookie // all that were set and not taken back; the jar itself says which of them it holds
}

// cookieKey is what a cookie replaces another by (RFC 6265, section 5.3).
type cookieKey struct{ domain, path, name string }

func newJar() (*jar, error) {
	// No list of public suffixes: a jar lives for one run of one journey, whose hosts its author chose.
	inner, err := cookiejar.New(nil)
	return &jar{Jar: inner, known: map[cookieKey]*http.Cookie{}}, err
}

// SetCookies implements http.CookieJar.
func (j *jar) SetCookies(u *url.URL, cookies []*http.Cookie) {
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	cookies = slices.DeleteFunc(cookies, func(c *http.Cookie) bool {
		domain := strings.ToLower(strings.TrimPrefix(c.Domain, "."))
		tooWide := domain != "" && domain != host && !strings.Contains(domain, ".") // a top-level domain
		return tooWide || len(c.Name)+len(c.Value) > maxCookieSize || !j.note(host, u.Path, c)
	})
	j.Jar.SetCookies(withPort(u), cookies)
}

// Cookies implements http.CookieJar.
func (j *jar) Cookies(u *url.URL) []*http.Cookie { return j.Jar.Cookies(withPort(u)) }

// withPort is a URL as net/http's jar wants it: it knows an IPv6 address only beside a port.
func withPort(u *url.URL) *url.URL {
	if !strings.Contains(u.Hostname(), ":") || u.Port() != "" {
		return u
	}
	return &url.URL{Scheme: u.Scheme, Host: net.JoinHostPort(u.Hostname(), "0"), Path: u.Path}
}

// note keeps a cookie as the jar does, with where it holds: of one that holds for its host alone the domain is the host, else it begins
// with a dot. It reports false where the cookie is none that the host may set, or there is no room for it.
func (j *jar) note(host, path string, c *http.Cookie) bool {
	kept := *c
	kept.Domain = strings.ToLower(strings.TrimPrefix(c.Domain, "."))
	if _, err := netip.ParseAddr(host); err == nil || kept.Domain == "" { // addresses have no domains
		kept.Domain = host
	} else if host == kept.Domain || strings.HasSuffix(host, "."+kept.Domain) {
		kept.Domain = "." + kept.Domain
	} else {
		return false // not the host's to set
	}
	if !strings.HasPrefix(kept.Path, "/") {
		kept.Path = "/"
		if i := strings.LastIndexByte(path, '/'); i > 0 {
			kept.Path = path[:i]
		}
	}
	if kept.MaxAge > 0 {
		kept.Expires = time.Now().Add(time.Duration(kept.MaxAge) * time.Second)
		kept.MaxAge = 0 // it counts from when it was set
	}
	kept.Raw, kept.RawExpires, kept.Unparsed = "", "", nil
	key := cookieKey{kept.Domain, kept.Path, kept.Name}
	if expired(&kept) {
		delete(j.known, key)
		return true // for the jar to take away
	}
	if _, had := j.known[key]; !had && len(j.known) >= maxCookies {
		return false
	}
	j.known[key] = &kept
	return true
}

// all returns the cookies that the jar holds, by domain, path and name.
func (j *jar) all() []*http.Cookie {
	var out []*http.Cookie
	held := map[cookieKey][]*http.Cookie{} // by domain and path: the jar sorts each time
	for key, c := range j.known {
		place := cookieKey{domain: key.domain, path: key.path}
		if _, asked := held[place]; !asked {
			held[place] = j.Jar.Cookies(origin(c))
		}
		same := func(held *http.Cookie) bool { return held.Name == c.Name && held.Value == c.Value }
		if expired(c) || !slices.ContainsFunc(held[place], same) {
			delete(j.known, key) // refused, replaced or over
			continue
		}
		one := *c
		out = append(out, &one)
	}
	slices.SortFunc(out, func(a, b *http.Cookie) int {
		return cmp.Or(strings.Compare(a.Domain, b.Domain), strings.Compare(a.Path, b.Path), strings.Compare(a.Name, b.Name))
	})
	return out
}

func expired(c *http.Cookie) bool {
	return c.MaxAge < 0 || !c.Expires.IsZero() && !c.Expires.After(time.Now())
}

// replace makes the jar hold just these cookies, as all tells of them.
func (j *jar) replace(cookies []*http.Cookie) {
	fresh, err := newJar()
	if err != nil { // which only options have
		return
	}
	for _, c := range cookies[:min(len(cookies), maxCookies)] {
		one := *c
		if !strings.HasPrefix(one.Domain, ".") {
			one.Domain = "" // for the host alone
		}
		fresh.SetCookies(origin(c), []*http.Cookie{&one})
	}
	*j = *fresh
}

// origin is a URL that a cookie is sent to.
func origin(c *http.Cookie) *url.URL {
	host := net.JoinHostPort(strings.TrimPrefix(c.Domain, "."), "443")
	return &url.URL{Scheme: "https", Host: host, Path: c.Path}
}
