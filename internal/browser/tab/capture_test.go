package tab

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// The page of this test asks for something in every way that there is. Chromium must have told us of each request, once.
func TestEveryRequest(t *testing.T) {
	for _, engine := range []scenario.Engine{scenario.EngineShell, scenario.EngineFull} { // the full one has a process for each site
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			o := open(t, &scenario.Scenario{Engine: engine})
			began := time.Now()
			o.Begin("all")
			o.navigate(s.url("localhost", "/all.html"))
			o.titled("done")
			ctx, cancel := contextOf(t)
			defer cancel()
			if _, ok := o.Settle(ctx, 200*time.Millisecond); !ok {
				active, _ := o.traffic.Active()
				t.Errorf("the page never became quiet: %d requests are under way", active)
			}
			o.Begin("leave")
			o.navigate(s.url("localhost", "/redirect/page"))
			o.navigate(s.url("localhost", "/cacheable/prefetched.html"))
			o.browser.Close()
			requests, _ := o.Requests()
			var captured []string
			for _, r := range requests {
				if r.BrowserCache == "" {
					captured = append(captured, s.line(&r))
				}
				if r.StartedAt.Before(began) || r.StartedAt.After(time.Now()) {
					t.Errorf("%s: got started at %s, want a time within the test", r.URL, r.StartedAt)
				}
			}
			slices.Sort(captured)
			for _, line := range s.unlike(captured) {
				t.Error(line)
			}
			checkRows(t, s, requests)
		})
	}
}

// line is a request as the server logs it.
func (s *site) line(r *runs.Request) string {
	_, rest, _ := strings.Cut(r.Exchange.URL, "//")
	return r.Method + " " + strings.Replace(rest, ":"+s.port, "", 1)
}

// unlike says what is either in the server's log or in what was captured.
func (s *site) unlike(captured []string) (out []string) {
	asked := s.asked()
	for len(asked)+len(captured) > 0 {
		switch {
		case len(captured) == 0 || len(asked) > 0 && asked[0] < captured[0]:
			// The script of a service worker, and its update check, are the browser's own requests, of which no session need tell.
			if !strings.HasPrefix(asked[0], "GET localhost/service") {
				out = append(out, "the server alone knows of "+asked[0])
			}
			asked = asked[1:]
		case len(asked) == 0 || captured[0] < asked[0]:
			out = append(out, "the server does not know of "+captured[0])
			captured = captured[1:]
		default:
			asked, captured = asked[1:], captured[1:]
		}
	}
	return out
}

// checkRows looks at one request of each kind.
func checkRows(t *testing.T, s *site, requests []runs.Request) {
	t.Helper()
	got := map[string][]string{}
	for _, r := range requests {
		line := s.line(&r)
		row := fmt.Sprintf("%s %s %d", r.From, r.Type, r.Status)
		if r.BrowserCache != "" {
			row += " " + r.BrowserCache
			if r.Bytes != 0 || r.Phases != (runs.Phases{}) || r.Cache.State != "" || r.ServedRegion != "" {
				t.Errorf("%s out of the %s cache: got %+v, want no size, no phases and nothing of a CDN", line, r.BrowserCache, r)
			}
		} else if r.Bytes == 0 && r.Type != "websocket" && r.Type != "preflight" {
			t.Errorf("%s: got no bytes, want some", line)
		}
		if r.RedirectedTo != "" {
			row += " -> " + strings.ReplaceAll(r.RedirectedTo, ":"+s.port, "")
		}
		got[line] = append(got[line], row)
	}
	for line, want := range map[string]string{
		"GET localhost/all.html":                  "page document 200",
		"GET localhost/style.css":                 "page stylesheet 200",
		"GET localhost/font.woff2":                "page font 200",
		"GET localhost/dependency.js":             "page script 200",
		"GET localhost/media.mp4":                 "page media 200",
		"GET localhost/cacheable/image.svg?twice": "page image 200",
		"GET localhost/cacheable/script.js":       "page script 200, page script 200 disk",
		"GET localhost/cacheable/prefetched.html": "page prefetch 200, page document 200 prefetch",
		"POST localhost/xhr?secret=1":             "page xhr 200",
		"POST localhost/beacon":                   "page beacon 200",
		"GET localhost/events":                    "page eventsource 200",
		"OPTIONS 127.0.0.1/cors":                  "page preflight 200",
		"PUT 127.0.0.1/cors":                      "page fetch 200",
		"GET localhost/redirect/2":                "page fetch 302 -> http://127.0.0.1/redirect/3",
		"GET 127.0.0.1/redirect/3":                "page fetch 302 -> http://127.0.0.1/redirected",
		"GET localhost/redirect/page":             "page document 302 -> http://localhost/redirect/page2",
		"GET localhost/etag/a":                    "page fetch 200, page fetch 304",
		"GET localhost/cacheable/disk":            "page fetch 200, page fetch 200 disk",
		"GET localhost/ws/open":                   "page websocket 101",
		"GET localhost/ws/refused":                "page websocket 403",
		"GET localhost/from-frame":                "frame fetch 200",
		"GET 127.0.0.1/from-other":                "frame fetch 200",
		"GET 127.0.0.2/redirect/frame2":           "frame document 302 -> http://127.0.0.1/redirected-frame.html",
		"GET 127.0.0.2/from-nested":               "frame fetch 200",
		"GET 127.0.0.2/from-nested-worker":        "worker fetch 200",
		"GET localhost/worker-import.js":          "worker script 200",
		"GET localhost/from-sub-worker":           "worker fetch 200",
		"GET localhost/ws/worker":                 "worker websocket 101",
		"GET localhost/from-shared":               "worker fetch 200",
		"GET localhost/controlled/synthetic":      "frame fetch 200 service-worker",
		"GET localhost/controlled/through":        "frame fetch 200 service-worker, service-worker fetch 200",
		"GET localhost/controlled/past":           "frame fetch 200",
		"GET localhost/from-popup":                "popup fetch 200",
		"GET 127.0.0.2/from-popup-frame":          "popup fetch 200",
		"GET 127.0.0.2/cacheable/unknown.svg":     "popup image 200",
	} {
		if rows := strings.Join(got[line], ", "); rows != want {
			t.Errorf("%s: got %q, want %q", line, rows, want)
		}
	}
	checkExchanges(t, s, requests)
}

// checkExchanges looks at what only a HAR has.
func checkExchanges(t *testing.T, s *site, requests []runs.Request) {
	t.Helper()
	for _, r := range requests {
		e := r.Exchange
		switch s.line(&r) {
		case "POST localhost/xhr?secret=1":
			if e.RequestBytes != int64(len("some=body")) || e.RequestHeaders.Get("Host") != "localhost:"+s.port || !strings.HasSuffix(r.URL, "/xhr") {
				t.Errorf("xhr: got %+v, want the headers of the wire and the length of the body", e)
			}
			if !strings.HasSuffix(e.Initiator, "/all.html") || e.Priority == "" || e.MIME != "text/plain" || e.StatusText != "OK" {
				t.Errorf("xhr: got %+v, want initiator, priority, type and status text", e)
			}
		case "GET localhost/gzip":
			if e.BodyBytes != 20_000 || r.Bytes >= 1000 || e.ResponseHeaders.Get("Content-Encoding") != "gzip" {
				t.Errorf("gzip: got %d bytes of body, %d on the wire, %v, want 20,000, few, and gzip", e.BodyBytes, r.Bytes, e.ResponseHeaders)
			}
		case "GET localhost/events":
			if e.BodyBytes != -1 || r.Phases.Receive != nil {
				t.Errorf("events: got a body of %d bytes, phases %+v, want neither known: it goes on", e.BodyBytes, r.Phases)
			}
		case "GET localhost/ws/open":
			if r.Phases.Wait == nil || e.RequestHeaders.Get("Sec-Websocket-Key") == "" || e.ResponseHeaders.Get("Sec-Websocket-Accept") == "" {
				t.Errorf("WebSocket: got %+v, %+v, want the handshake", r.Phases, e)
			}
		}
	}
}
