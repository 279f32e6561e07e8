package edge

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// origin answers with the headers given to it and counts.
type origin struct {
	header map[string]string
	status int
	asked  int
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.asked++
	for name, value := range o.header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(o.status)
	_, _ = fmt.Fprintf(w, "%s %s #%d", r.URL.Path, r.Header.Get("Accept-Language"), o.asked)
}

func testEdge(o *origin) *Cache {
	return New("eu", o, func(Defect) bool { return false })
}

func ask(e *Cache, method, path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	e.ServeHTTP(w, r)
	return w
}

func TestEdgeStoresWhatItMay(t *testing.T) {
	const miss, stored = "edge-eu; fwd=uri-miss; fwd-status=200", "edge-eu; fwd=uri-miss; fwd-status=200; stored"
	for _, c := range []struct {
		name           string
		method, path   string
		status         int
		header         string // of the response, "Name: value" joined by |
		ask            []string
		first, second  string // Cache-Status
		secondFromEdge bool
	}{
		{"max-age", "GET", "/", 200, "Cache-Control: max-age=60", nil, stored, "edge-eu; hit; ttl=60", true},
		{"s-maxage wins", "GET", "/", 200, "Cache-Control: s-maxage=30, max-age=0", nil, stored, "edge-eu; hit; ttl=30", true},
		{"s-maxage=0 wins", "GET", "/", 200, "Cache-Control: max-age=60, s-maxage=0", nil, miss, miss, false},
		{"nothing said", "GET", "/", 200, "", nil, miss, miss, false},
		{"private", "GET", "/", 200, "Cache-Control: private, max-age=60", nil, miss, miss, false},
		{"no-store", "GET", "/", 200, "Cache-Control: No-Store, max-age=60", nil, miss, miss, false},
		{"no-cache", "GET", "/", 200, "Cache-Control: no-cache, max-age=60", nil, miss, miss, false},
		{"cookie set", "GET", "/", 200, "Cache-Control: max-age=60|Set-Cookie: a=b", nil, miss, miss, false},
		{"vary on all", "GET", "/", 200, "Cache-Control: max-age=60|Vary: *", nil, miss, miss, false},
		{"error", "GET", "/", 503, "Cache-Control: max-age=60", nil, "edge-eu; fwd=uri-miss; fwd-status=503", "edge-eu; fwd=uri-miss; fwd-status=503", false},
		{"authorization", "GET", "/", 200, "Cache-Control: max-age=60", []string{"Authorization", "Bearer x"},
			"edge-eu; fwd=bypass; fwd-status=200", "edge-eu; fwd=bypass; fwd-status=200", false},
		{"private path", "GET", "/api/me", 200, "Cache-Control: max-age=60", nil,
			"edge-eu; fwd=bypass; fwd-status=200", "edge-eu; fwd=bypass; fwd-status=200", false},
		{"post", "POST", "/", 200, "Cache-Control: max-age=60", nil,
			"edge-eu; fwd=method; fwd-status=200", "edge-eu; fwd=method; fwd-status=200", false},
		{"head", "HEAD", "/", 200, "Cache-Control: max-age=60", nil, miss, miss, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := &origin{status: c.status, header: map[string]string{}}
				for line := range strings.SplitSeq(c.header, "|") {
					if name, value, ok := strings.Cut(line, ": "); ok {
						o.header[name] = value
					}
				}
				e := testEdge(o)
				first, second := ask(e, c.method, c.path, c.ask...), ask(e, c.method, c.path, c.ask...)
				if got := first.Header().Get("Cache-Status"); got != c.first {
					t.Errorf("first: got %q, want %q", got, c.first)
				}
				if got := second.Header().Get("Cache-Status"); got != c.second {
					t.Errorf("second: got %q, want %q", got, c.second)
				}
				if got := o.asked == 1; got != c.secondFromEdge {
					t.Errorf("the origin was asked %d times", o.asked)
				}
				if _, aged := second.Header()["Age"]; aged != c.secondFromEdge {
					t.Errorf("Age present: got %t, want %t", aged, c.secondFromEdge)
				}
			})
		})
	}
}

func TestEdgeAgesAndRevalidates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{status: 200, header: map[string]string{"Cache-Control": "s-maxage=60", "ETag": `"v1"`}}
		e := testEdge(o)
		ask(e, "GET", "/a")
		time.Sleep(42 * time.Second)
		hit := ask(e, "GET", "/a")
		if hit.Header().Get("Age") != "42" || hit.Header().Get("Cache-Status") != "edge-eu; hit; ttl=18" {
			t.Errorf("after 42 s: got Age %q, %q", hit.Header().Get("Age"), hit.Header().Get("Cache-Status"))
		}
		if w := ask(e, "GET", "/a", "If-None-Match", `W/"v1"`); w.Code != 304 || w.Body.Len() != 0 || o.asked != 1 {
			t.Errorf("client's condition: got %d after asking the origin %d times, want 304 from the edge", w.Code, o.asked)
		}
		if w := ask(e, "HEAD", "/a"); w.Code != 200 || w.Body.Len() != 0 || w.Header().Get("Content-Length") != strconv.Itoa(hit.Body.Len()) {
			t.Errorf("HEAD: got %d with %d bytes, Content-Length %q", w.Code, w.Body.Len(), w.Header().Get("Content-Length"))
		}
		time.Sleep(18 * time.Second)
		again := ask(e, "GET", "/a")
		if got := again.Header().Get("Cache-Status"); got != "edge-eu; fwd=stale; fwd-status=304; stored" || again.Code != 200 || again.Body.String() != hit.Body.String() {
			t.Errorf("revalidated: got %d %q %q", again.Code, got, again.Body)
		}
		if got := ask(e, "GET", "/a").Header().Get("Cache-Status"); got != "edge-eu; hit; ttl=60" {
			t.Errorf("after revalidation: got %q", got)
		}
		o.header["ETag"] = `"v2"`
		time.Sleep(time.Minute)
		changed := ask(e, "GET", "/a")
		if got := changed.Header().Get("Cache-Status"); got != "edge-eu; fwd=stale; fwd-status=200; stored" || changed.Body.String() == hit.Body.String() {
			t.Errorf("changed: got %q %q", got, changed.Body)
		}
	})
}

func TestEdgeKeepsVariantsApart(t *testing.T) {
	o := &origin{status: 200, header: map[string]string{"Cache-Control": "s-maxage=60", "Vary": "Accept-Language"}}
	e := testEdge(o)
	for _, c := range []struct{ language, status, body string }{
		{"en", "fwd=uri-miss", "/a en #1"},
		{"de", "fwd=vary-miss", "/a de #2"},
		{"en", "hit", "/a en #1"},
		{"de", "hit", "/a de #2"},
	} {
		w := ask(e, "GET", "/a", "Accept-Language", c.language)
		if got := w.Header().Get("Cache-Status"); !strings.HasPrefix(got, "edge-eu; "+c.status) || w.Body.String() != c.body {
			t.Errorf("%s: got %q %q, want %s %q", c.language, got, w.Body, c.status, c.body)
		}
	}
}

func TestEdgeForgetsTheLeastUsed(t *testing.T) {
	o := &origin{status: 200, header: map[string]string{"Cache-Control": "s-maxage=60"}}
	e := testEdge(o)
	for i := range maxCached {
		ask(e, "GET", fmt.Sprint("/", i))
	}
	ask(e, "GET", "/0") // used again, so /1 is now the oldest
	ask(e, "GET", "/new")
	if got := len(e.cached); got != maxCached {
		t.Errorf("got %d responses, want %d", got, maxCached)
	}
	for path, want := range map[string]string{"/0": "hit", "/1": "fwd=uri-miss"} {
		if got := ask(e, "GET", path).Header().Get("Cache-Status"); !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %s", path, got, want)
		}
	}
}

func TestDefects(t *testing.T) {
	o := &origin{status: 200, header: map[string]string{"Cache-Control": "s-maxage=60"}}
	has := map[Defect]bool{}
	e := New("eu", o, func(d Defect) bool { return has[d] })
	ask(e, "GET", "/a")
	has[StoresNothing] = true
	if got := ask(e, "GET", "/a").Header().Get("Cache-Status"); got != "edge-eu; fwd=uri-miss; fwd-status=200" {
		t.Errorf("stores nothing: got %q, want nothing served from or kept in the cache", got)
	}
	has[StoresNothing] = false
	for path, c := range map[string]struct {
		defect  Defect
		control string
	}{
		"/api/me":     {SharesPrivate, "private, no-store"},
		"/api/offers": {SharesAuthorised, "max-age=60"},
	} {
		o.header["Cache-Control"] = c.control
		for _, broken := range []bool{false, true, false} {
			has[c.defect] = broken
			mine := ask(e, "GET", path, "Authorization", "Bearer a")
			other := ask(e, "GET", path, "Authorization", "Bearer b")
			if got := mine.Body.String() == other.Body.String() && strings.HasPrefix(other.Header().Get("Cache-Status"), "edge-eu; hit"); got != broken {
				t.Errorf("%s, broken %t: got %q and %q, %q", path, broken, mine.Body, other.Body, other.Header().Get("Cache-Status"))
			}
			if beside := ask(e, "GET", "/api/stock/mug", "Authorization", "Bearer a").Header().Get("Cache-Status"); !strings.HasPrefix(beside, "edge-eu; fwd=bypass") {
				t.Errorf("%s, broken %t: got %q of another path, want it left alone", path, broken, beside)
			}
		}
	}
}

func TestParseCacheControl(t *testing.T) {
	for line, want := range map[string]cacheControl{
		"":                                   {},
		"public, max-age=60":                 {fresh: time.Minute},
		"MAX-AGE=60":                         {fresh: time.Minute},
		`max-age="60"`:                       {fresh: time.Minute},
		"max-age=60, max-age=10":             {fresh: 10 * time.Second},
		"max-age=60, s-maxage=5":             {fresh: 5 * time.Second},
		"max-age=-1":                         {},
		"max-age=1.5":                        {},
		"max-age":                            {},
		"max-age=99999999999999999999999999": {fresh: 1 << 31 * time.Second},
		`ext="no-store, private", max-age=1`: {fresh: time.Second},
		`ext="a\", no-store", max-age=1`:     {fresh: time.Second},
		`private="Set-Cookie", max-age=1`:    {forbidden: true, fresh: time.Second},
		",,= ,no-store":                      {forbidden: true},
	} {
		if got := parseCacheControl([]string{line}); got != want {
			t.Errorf("%q: got %+v, want %+v", line, got, want)
		}
	}
}

func FuzzParseCacheControl(f *testing.F) {
	for _, line := range []string{"max-age=60", `a="b,c\"", no-store`, "s-maxage=1, max-age=99999999999999999999", `"`, "=,"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		cc := parseCacheControl([]string{line})
		if cc.fresh < 0 || cc.fresh > 1<<31*time.Second {
			t.Errorf("%q: got %v, want 0 to 2^31 s", line, cc.fresh)
		}
		// What is added by another line must be able to forbid, whatever came before.
		if whole := !strings.Contains(line, `"`); whole && !parseCacheControl([]string{line, "no-store"}).forbidden {
			t.Errorf("%q: a no-store after it is not seen", line)
		}
	})
}
