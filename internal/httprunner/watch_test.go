package httprunner_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"lastmile/internal/httprunner"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

const canary = "canary-4c1d0a7be55f"

// leaky answers with the canary of another user wherever the path says.
func leaky(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Status", "edge; hit; ttl=7")
	h.Set("Age", "23")
	h.Set("X-Account", "account-17")
	h.Set("Set-Cookie", "session=of-alice")
	switch r.URL.Path {
	case "/body":
		_, _ = fmt.Fprintf(w, `{"user":"alice","canary":%q}`, canary)
	case "/gzip", "/br", "/zstd":
		name := strings.TrimPrefix(r.URL.Path, "/")
		h.Set("Content-Encoding", name)
		_, _ = w.Write(encoded(name, strings.Repeat("-", 5000)+canary))
	case "/header":
		h.Set("X-Id", "id="+canary)
	case "/cookie":
		h.Add("Set-Cookie", "id="+base64.StdEncoding.EncodeToString([]byte("alice:"+canary)))
	case "/escaped":
		_, _ = fmt.Fprint(w, strings.ReplaceAll(canary, "-", `\u002d`))
	case "/error":
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = fmt.Fprint(w, canary)
	case "/redirect":
		w.Header().Set("Location", "/clean")
		w.WriteHeader(http.StatusFound)
		_, _ = fmt.Fprint(w, "moved, "+canary)
	case "/location":
		http.Redirect(w, r, "/clean?id="+canary, http.StatusFound)
	case "/nowhere":
		h.Set("Location", "/%zz?id="+canary)
		w.WriteHeader(http.StatusFound)
	case "/trailer":
		h.Set("Trailer", "X-Id")
		_, _ = fmt.Fprint(w, "body")
		h.Set("X-Id", canary)
	case "/broken":
		h.Set("Content-Length", "1000")
		_, _ = fmt.Fprint(w, canary+" and no more")
	case "/clean":
		_, _ = fmt.Fprint(w, `{"user":"bob","canary":"canary-"}`)
	}
}

// encoded applies a content coding.
func encoded(name, text string) []byte {
	var out bytes.Buffer
	w := map[string]func() io.WriteCloser{
		"gzip": func() io.WriteCloser { return gzip.NewWriter(&out) },
		"br":   func() io.WriteCloser { return brotli.NewWriter(&out) },
		"zstd": func() io.WriteCloser {
			w, err := zstd.NewWriter(&out)
			if err != nil {
				panic(err)
			}
			return w
		},
	}[name]()
	_, _ = io.WriteString(w, text) // a buffer takes everything
	_ = w.Close()
	return out.Bytes()
}

func TestWatchedSessionsFindWhatIsAnothers(t *testing.T) {
	server := serve(t, leaky)
	for path, where := range map[string]string{
		"/body": "body", "/gzip": "body", "/br": "body", "/zstd": "body", "/header": "header", "/cookie": "header", "/escaped": "body", "/error": "body",
		"/redirect": "body", "/location": "header", "/trailer": "trailer", "/broken": "body", "/nowhere": "header",
	} {
		t.Run(path, func(t *testing.T) {
			j := plain(t)
			j.Watch(canary)
			// Neither what is asserted, nor what is retried or polled for, comes before the leak.
			got := j.step(t, scenario.Step{
				URL: server.URL + path, Assert: []scenario.Assertion{{Status: scenario.StatusSet{"200"}, Body: "bob"}}, Retries: 2,
				Extract: map[string]scenario.Extractor{"user": {Regex: ".+"}},
			})
			wantCause(t, got, runs.ClassCacheLeak, "found in the "+where+" of "+server.URL+path+": status ")
			if !strings.HasSuffix(got.Cause.Detail, ", cache hit (Cache-Status: hit), PoP edge, age 23s") {
				t.Errorf("got %q, want what the cache said of it", got.Cause.Detail)
			}
			if _, err := j.scope.Expand("${user}"); err == nil {
				t.Error("a variable was taken from what is another user's")
			}
			if cookies, err := j.Cookies(t.Context()); err != nil || len(cookies) > 0 {
				t.Errorf("got cookies %v of another user", cookies)
			}
			requests := j.Close().Requests
			if len(requests) != 1 {
				t.Fatalf("got %d requests, want one and no more after it", len(requests))
			}
			kept := requests[0].Exchange.ResponseHeaders
			if kept.Get("Cache-Status") == "" || kept.Get("Age") != "23" || kept.Get("X-Account")+kept.Get("Set-Cookie")+kept.Get("X-Id") != "" {
				t.Errorf("got headers %v kept, want those about caching only", kept)
			}
			if strings.Contains(fmt.Sprint(got, requests[0], *got.Cause, *requests[0].Exchange), canary) {
				t.Error("the canary is in what is left of the run")
			}
		})
	}
}

func TestWatchedSessionsReadOtherAnswersAsEver(t *testing.T) {
	server := serve(t, leaky)
	j := begin(t, scenario.Scenario{}, httprunner.Options{MaxBody: 2000})
	j.Watch("canary-of-another-one")
	got := j.step(t, scenario.Step{URL: server.URL + "/redirect", Assert: []scenario.Assertion{{Body: "bob"}}})
	if got.State != runs.StepPassed || got.Requests != 2 {
		t.Errorf("got %+v, want a redirect followed, and passed", got)
	}
	got = j.step(t, scenario.Step{URL: server.URL + "/redirect", FollowRedirects: no(), Assert: []scenario.Assertion{{Body: "moved"}}})
	if got.State != runs.StepPassed {
		t.Errorf("got %+v, want the redirect's own body", got)
	}
	wantCause(t, j.step(t, scenario.Step{URL: server.URL + "/broken", Assert: []scenario.Assertion{{Body: "x"}}}), runs.ClassScript, "ended early")
	wantCause(t, j.step(t, scenario.Step{URL: server.URL + "/gzip", Assert: []scenario.Assertion{{Body: "x"}}}), runs.ClassScript, "over limit")
}

func TestLeakEndsAPoll(t *testing.T) {
	asked := 0
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if asked++; asked == 3 {
			leaky(w, r)
		}
	})
	j := plain(t)
	j.Watch(canary)
	got := j.step(t, scenario.Step{
		URL: server.URL + "/body", Assert: []scenario.Assertion{{Body: "bob"}},
		Poll: &scenario.Poll{Every: scenario.Duration(time.Millisecond), For: scenario.Duration(30 * time.Second)},
	})
	wantCause(t, got, runs.ClassCacheLeak, "found in the body")
	if asked != 3 || got.Attempts != 3 {
		t.Errorf("got %d requests in %d attempts, want the third to be the last", asked, got.Attempts)
	}
}
