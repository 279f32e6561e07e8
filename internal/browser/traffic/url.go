package traffic

import (
	"net/url"
	"strings"
)

// parseURL reads a URL as Chromium does, which takes a % that escapes nothing for itself.
func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		u, err = url.Parse(strings.ReplaceAll(raw, "%", "%25"))
	}
	return u, err
}

// PlainURL removes from a URL what may be private: query, fragment and userinfo.
func PlainURL(raw string) string {
	u, err := parseURL(raw)
	if err != nil {
		raw, _, _ = strings.Cut(raw, "#")
		raw, _, _ = strings.Cut(raw, "?")
		return raw
	}
	u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment, u.User = "", false, "", "", nil
	return u.String()
}
