package tab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/storage"

	"lastmile/internal/browser/chromium"
)

// Cookies returns all cookies of the run's pages but those that are kept apart by the site of the page (partitioned), which nothing but a
// browser has a place for. The domain of one that is sent to its host alone is that host; that of others begins with a dot.
func (t *Tab) Cookies(ctx context.Context) ([]*http.Cookie, error) {
	got, err := chromium.Call(ctx, t.browser.Endpoint(""), storage.GetCookies, storage.GetCookiesParams{BrowserContextID: t.context})
	if err != nil {
		return nil, fmt.Errorf("get cookies: %w", err)
	}
	var out []*http.Cookie
	for _, c := range got.Cookies {
		if c.PartitionKey == nil && !c.PartitionKeyOpaque {
			out = append(out, fromChromium(c))
		}
	}
	return out, nil
}

// SetCookies makes the run's pages have just these cookies, as Cookies returns them. Those that they have already are not touched. Those
// that no browser would take from a server either are left out.
func (t *Tab) SetCookies(ctx context.Context, cookies []*http.Cookie) error {
	before, err := t.Cookies(ctx)
	if err != nil {
		return err
	}
	had := map[cookieKey]*http.Cookie{}
	for _, c := range before {
		had[keyOf(c)] = c
	}
	var set []*network.CookieParam
	for _, c := range cookies {
		if old := had[keyOf(c)]; old == nil || !alike(old, c) {
			set = append(set, toChromium(c))
		}
		delete(had, keyOf(c))
	}
	for _, gone := range had {
		gone.Expires = time.Unix(1, 0) // which takes it away
		set = append(set, toChromium(gone))
	}
	return t.put(ctx, set)
}

// put sets cookies. Chromium refuses all of them for one that it would not take from a server (__Host- on a path, a path of kilobytes),
// which clients without such rules took: so those are found, and left out.
func (t *Tab) put(ctx context.Context, set []*network.CookieParam) error {
	if len(set) == 0 {
		return nil
	}
	params := storage.SetCookiesParams{Cookies: set, BrowserContextID: t.context}
	_, err := chromium.Call(ctx, t.browser.Endpoint(""), storage.SetCookies, params)
	refusal, ok := errors.AsType[*cdproto.Error](err)
	switch invalid := ok && refusal.Code == -32602; {
	case err != nil && !invalid:
		return fmt.Errorf("set cookies: %w", err)
	case err == nil || len(set) == 1:
		return nil
	}
	return cmp.Or(t.put(ctx, set[:len(set)/2]), t.put(ctx, set[len(set)/2:]))
}

// cookieKey is what a cookie replaces another by (RFC 6265, section 5.3).
type cookieKey struct{ domain, path, name string }

func keyOf(c *http.Cookie) cookieKey { return cookieKey{c.Domain, c.Path, c.Name} }

// alike reports whether nothing about a cookie has changed.
func alike(a, b *http.Cookie) bool {
	return a.Value == b.Value && a.Quoted == b.Quoted && a.Secure == b.Secure && a.HttpOnly == b.HttpOnly &&
		sameSite(a.SameSite) == sameSite(b.SameSite) && a.Expires.Unix() == b.Expires.Unix()
}

func fromChromium(c *network.Cookie) *http.Cookie {
	out := &http.Cookie{Name: c.Name, Value: c.Value, Path: c.Path, Domain: strings.Trim(c.Domain, "[]"), Secure: c.Secure, HttpOnly: c.HTTPOnly}
	if !c.Session && c.Expires > 0 {
		out.Expires = time.UnixMicro(int64(c.Expires * 1e6)).UTC()
	}
	switch c.SameSite {
	case network.CookieSameSiteStrict:
		out.SameSite = http.SameSiteStrictMode
	case network.CookieSameSiteLax:
		out.SameSite = http.SameSiteLaxMode
	case network.CookieSameSiteNone:
		out.SameSite = http.SameSiteNoneMode
	}
	if n := len(c.Value); n >= 2 && c.Value[0] == '"' && c.Value[n-1] == '"' { // net/http keeps the quotes apart
		out.Value, out.Quoted = c.Value[1:n-1], true
	}
	return out
}

func toChromium(c *http.Cookie) *network.CookieParam {
	out := &network.CookieParam{
		Name: c.Name, Value: c.Value, Domain: c.Domain, Path: c.Path, Secure: c.Secure, HTTPOnly: c.HttpOnly, SameSite: sameSite(c.SameSite),
	}
	if !c.Expires.IsZero() {
		out.Expires = cdp.TimeSinceEpoch(float64(c.Expires.UnixMicro()) / 1e6)
	}
	if strings.Contains(c.Domain, ":") {
		out.Domain = "[" + c.Domain + "]"
	}
	if c.Quoted {
		out.Value = `"` + c.Value + `"`
	}
	return out
}

// sameSite is what a cookie says of it; "" = nothing, which Chromium takes as lax.
func sameSite(s http.SameSite) network.CookieSameSite {
	switch s {
	case http.SameSiteStrictMode:
		return network.CookieSameSiteStrict
	case http.SameSiteLaxMode:
		return network.CookieSameSiteLax
	case http.SameSiteNoneMode:
		return network.CookieSameSiteNone
	}
	return ""
}
