package httprunner_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"lastmile/internal/httprunner"
	"lastmile/internal/scenario"
)

// told is what a session tells of its cookies, one line each.
func told(t testing.TB, j *journey) (cookies []*http.Cookie, lines string) {
	t.Helper()
	cookies, err := j.Cookies(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cookies {
		lines += fmt.Sprintf("%s %s %s=%s secure=%v http=%v same=%d expires=%v\n", c.Domain, c.Path, c.Name, c.Value, c.Secure, c.HttpOnly, c.SameSite, !c.Expires.IsZero())
	}
	return cookies, lines
}

// TestCookiesAreToldAndTaken shows how a journey's cookies go to another session, and come back from one.
func TestCookiesAreToldAndTaken(t *testing.T) {
	var sent string
	server := start(t, scenario.ProtocolHTTP1, nil, func(w http.ResponseWriter, r *http.Request) {
		sent = r.Header.Get("Cookie")
		if r.URL.Path == "/deep/in/login" {
			for _, line := range []string{
				"host=1", "wide=2; Domain=example.com; Path=/; Secure; HttpOnly; SameSite=Lax", "gone=3; Path=/", "gone=; Path=/; Max-Age=0",
				"long=4; Path=/deep; Max-Age=3600", "other=5; Domain=other.example", "top=6; Domain=com", "over=7; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
			} {
				w.Header().Add("Set-Cookie", line)
			}
		}
	})
	// The certificate is for example.com, too.
	network := familial{named{addresses: []string{"127.0.0.1"}}}
	at := func(path string) scenario.Step {
		step := server.step(path, scenario.Step{})
		step.URL = strings.Replace(step.URL, "127.0.0.1", "example.com", 1)
		return step
	}
	first := across(t, network, scenario.Scenario{}, server.options)
	wantCause(t, first.step(t, at("/deep/in/login")), "", "")
	cookies, lines := told(t, first)
	const want = `.example.com / wide=2 secure=true http=true same=2 expires=false
example.com /deep long=4 secure=false http=false same=0 expires=true
example.com /deep/in host=1 secure=false http=false same=0 expires=false
`
	if lines != want {
		t.Errorf("got\n%s, want\n%s", lines, want)
	}
	if left := time.Until(cookies[1].Expires); left < 50*time.Minute || left > time.Hour {
		t.Errorf("got a cookie for %s, want an hour", left)
	}

	second := across(t, network, scenario.Scenario{}, server.options)
	if err := second.SetCookies(t.Context(), append(cookies, &http.Cookie{Domain: "example.com", Path: "/", Name: "browser", Value: "8"})); err != nil {
		t.Fatal(err)
	}
	wantCause(t, second.step(t, at("/deep/in/shop")), "", "")
	if sent != "host=1; long=4; wide=2; browser=8" && sent != "host=1; long=4; browser=8; wide=2" {
		t.Errorf("got %q sent, want all the cookies of both", sent)
	}
	if err := second.SetCookies(t.Context(), cookies[:1]); err != nil {
		t.Fatal(err)
	}
	wantCause(t, second.step(t, at("/deep/in/shop")), "", "")
	if _, lines := told(t, second); sent != "wide=2" || lines != want[:strings.IndexByte(want, '\n')+1] {
		t.Errorf("got %q sent and %q told, want only what was given last", sent, lines)
	}
	if _, lines := told(t, first); lines != want {
		t.Errorf("got\n%s of the first session afterwards, want what it had", lines)
	}
	if _, lines := told(t, across(t, httprunner.HostNetwork{}, scenario.Scenario{}, server.options)); lines != "" {
		t.Errorf("got %q of a new session, want nothing", lines)
	}
}
