package tab

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"lastmile/internal/scenario"
)

// line is all that matters about a cookie.
func line(c *http.Cookie) string {
	return fmt.Sprintf("%s=%s domain %s path %s secure %t httponly %t samesite %d expires %d quoted %t",
		c.Name, c.Value, c.Domain, c.Path, c.Secure, c.HttpOnly, c.SameSite, c.Expires.Unix(), c.Quoted)
}

func lines(cookies []*http.Cookie) (out []string) {
	for _, c := range cookies {
		out = append(out, line(c))
	}
	slices.Sort(out)
	return out
}

func TestCookies(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		if r.URL.Path == "/set" {
			w.Header().Add("Set-Cookie", "own=1; Path=/; HttpOnly; SameSite=Strict; Max-Age=3600")
			w.Header().Add("Set-Cookie", "session=2")
		}
		fmt.Fprintf(w, "<title>%s</title>", strings.ReplaceAll(r.Header.Get("Cookie"), "; ", "|"))
	}))
	t.Cleanup(server.Close)
	expires := time.Now().Add(time.Hour).Truncate(time.Second).UTC()
	given := []*http.Cookie{
		{Name: "plain", Value: "a", Domain: "127.0.0.1", Path: "/"},
		{Name: "deep", Value: "b", Domain: "127.0.0.1", Path: "/deep", HttpOnly: true, SameSite: http.SameSiteLaxMode, Expires: expires},
		{Name: "quoted", Value: "c d", Domain: "127.0.0.1", Path: "/", Quoted: true},
		{Name: "wide", Value: "d", Domain: ".shop.example.com", Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteNoneMode, Expires: expires},
		{Name: "narrow", Value: "e", Domain: "shop.example.com", Path: "/", SameSite: http.SameSiteStrictMode},
		{Name: "__Host-id", Value: "f", Domain: "shop.example.com", Path: "/", Secure: true},
		{Name: "six", Value: "g", Domain: "2001:db8::1", Path: "/"},
	}
	o := open(t, &scenario.Scenario{})
	ctx, cancel := contextOf(t)
	defer cancel()
	set := func(cookies []*http.Cookie) {
		t.Helper()
		if err := o.SetCookies(ctx, cookies); err != nil {
			t.Fatal(err)
		}
		got, err := o.Cookies(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(lines(got), lines(cookies)) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(lines(got), "\n"), strings.Join(lines(cookies), "\n"))
		}
	}
	set(given)
	o.navigate(server.URL + "/")
	if got := o.eval("document.title"); !strings.Contains(got, "plain=a") || strings.Contains(got, "deep") || !strings.Contains(got, `c d`) {
		t.Errorf("the server got %s, want the cookies of / alone", got)
	}
	given[0].Value = "a2"
	set(given[:3]) // one changed, some gone
	set(nil)
	o.navigate(server.URL + "/set")
	got, err := o.Cookies(ctx)
	if err != nil || len(got) != 2 {
		t.Fatalf("got %q, %v, want two cookies", lines(got), err)
	}
	for _, c := range got {
		if c.Domain != "127.0.0.1" || c.Path != "/" || (c.Name == "own") != c.HttpOnly || (c.Name == "own") == c.Expires.IsZero() || (c.Name == "own") != (c.SameSite == http.SameSiteStrictMode) {
			t.Errorf("got %s, want it as the server set it", line(c))
		}
	}
	set(got)
}

// What a server had a client without a browser's rules keep must not cost the run its other cookies, nor the run itself.
func TestCookiesThatBrowsersRefuse(t *testing.T) {
	o := open(t, &scenario.Scenario{})
	ctx, cancel := contextOf(t)
	defer cancel()
	const host = "shop.example.com"
	good := []*http.Cookie{
		{Name: "a", Value: "1", Domain: host, Path: "/"}, {Name: "b", Value: "2", Domain: host, Path: "/"}, {Name: "c", Value: "3", Domain: host, Path: "/"},
	}
	given := []*http.Cookie{
		good[0],
		{Name: "__Host-id", Value: "x", Domain: host, Path: "/shop", Secure: true},
		{Name: "__Secure-id", Value: "x", Domain: host, Path: "/"},
		good[1],
		{Name: "deep", Value: "x", Domain: host, Path: "/" + strings.Repeat("p", 2000)},
		{Name: "quoted", Value: strings.Repeat("x", 4090), Domain: host, Path: "/", Quoted: true},
		good[2],
	}
	if err := o.SetCookies(ctx, given); err != nil {
		t.Fatalf("got %v, want the cookies left out that a browser takes from nobody", err)
	}
	got, err := o.Cookies(ctx)
	if err != nil || !slices.Equal(lines(got), lines(good)) {
		t.Errorf("got\n%s (%v), want\n%s", strings.Join(lines(got), "\n"), err, strings.Join(lines(good), "\n"))
	}
}
