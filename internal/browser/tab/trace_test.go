package tab

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"lastmile/internal/scenario"
)

// parties are two servers of other origins, which keep what they were sent.
type parties struct {
	own, other string // URLs; the other allows simple requests from everywhere, and no more than that

	mu   sync.Mutex
	seen map[string][]string // "own GET /path" -> traceparents in order
}

// party starts the servers: the page's at 127.0.0.1, the other at localhost, which is another site.
func party(t *testing.T) *parties {
	t.Helper()
	p := &parties{seen: map[string][]string{}}
	own := httptest.NewServer(p.of("own"))
	t.Cleanup(own.Close)
	other := httptest.NewServer(p.of("other"))
	t.Cleanup(other.Close)
	p.own, p.other = own.URL, strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
	return p
}

func (p *parties) of(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		key := name + " " + r.Method + " " + r.URL.Path
		p.seen[key] = append(p.seen[key], strings.Join(r.Header["Traceparent"], ","))
		p.mu.Unlock()
		if r.Method != http.MethodOptions {
			w.Header().Set("Access-Control-Allow-Origin", "*")
		}
		w.Header().Set("Cache-Control", "no-store")
		kind, body := "text/html", ""
		switch r.URL.Path {
		case "/":
			body = fmt.Sprintf(`<title>page</title><link rel=icon href="data:,"><img src="/img"><img src="%[1]s/img"><script src="%[1]s/cors.js" crossorigin></script>`+
				`<link rel=stylesheet href="/style.css"><iframe src="%[1]s/frame"></iframe>`, p.other)
		case "/frame":
			body = `<link rel=icon href="data:,"><script>fetch("/of-frame")</script>`
		case "/style.css":
			kind, body = "text/css", fmt.Sprintf(`@font-face{font-family:x;src:url(%s/font)} body{font-family:x}`, p.other)
		case "/cors.js":
			kind = "text/javascript"
		case "/worker.js":
			kind, body = "text/javascript", fmt.Sprintf(`Promise.all([fetch("/of-worker"), fetch("%s/of-worker")]).then(() => postMessage("done"))`, p.other)
		case "/shared.js":
			kind, body = "text/javascript", fmt.Sprintf(`onconnect = (e) => fetch("%s/of-shared").then(() => e.ports[0].postMessage("done"))`, p.other)
		case "/sw.js":
			kind, body = "text/javascript", fmt.Sprintf(`oninstall = (e) => e.waitUntil(fetch("%s/of-service-worker"))`, p.other)
		case "/away":
			http.Redirect(w, r, p.other+"/arrived", http.StatusFound)
			return
		}
		w.Header().Set("Content-Type", kind)
		fmt.Fprint(w, body)
	}
}

// visit makes the page do all that can send a request, and fails the test if anything of it does not work.
func (p *parties) visit(o *opened) {
	o.t.Helper()
	o.navigate(p.own + "/")
	for what, want := range map[string]string{
		`fetch("` + p.other + `/simple").then(r => r.status)`:                                                                                        "200",
		`fetch("/api", {method: "POST", body: "x"}).then(r => r.status)`:                                                                             "200",
		`fetch("/away").then(r => r.status)`:                                                                                                         "200",
		`new Promise(done => { new Worker("/worker.js").onmessage = (e) => done(e.data) })`:                                                          "done",
		`new Promise(done => { new SharedWorker("/shared.js").port.onmessage = (e) => done(e.data) })`:                                               "done",
		`navigator.serviceWorker.register("/sw.js").then(() => navigator.serviceWorker.ready).then(() => "done")`:                                    "done",
		`new Promise(done => { new WebSocket("ws` + strings.TrimPrefix(p.own, "http") + `/socket").onerror = () => done("over") })`:                  "over",
		`fetch("/own-trace", {headers: {traceparent: "00-` + strings.Repeat("f", 32) + `-` + strings.Repeat("f", 16) + `-00"}}).then(r => r.status)`: "200",
	} {
		if got := o.eval(what); got != want {
			o.t.Errorf("%s: got %s, want %s", what, got, want)
		}
	}
}

// carried sorts out what the servers got: the requests that bore a traceparent, and those that did not.
func (p *parties) carried() (with, without []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, values := range p.seen {
		if slices.Contains(values, "") {
			without = append(without, key)
		} else {
			with = append(with, key)
		}
	}
	slices.Sort(with)
	slices.Sort(without)
	return with, without
}

// everything is what a visit asks for, but for what Chromium does not let us mark.
var everything = []string{
	"other GET /arrived", "other GET /cors.js", "other GET /font", "other GET /frame", "other GET /img", "other GET /of-frame", "other GET /of-service-worker",
	"other GET /of-shared", "other GET /of-worker", "other GET /simple", "own GET /", "own GET /away", "own GET /img", "own GET /of-worker",
	"own GET /own-trace", "own GET /shared.js", "own GET /style.css", "own GET /worker.js", "own POST /api",
}

func TestTraceOfPages(t *testing.T) {
	for _, engine := range []scenario.Engine{scenario.EngineShell, scenario.EngineFull} {
		t.Run(string(engine), func(t *testing.T) {
			p := party(t)
			o := open(t, &scenario.Scenario{Engine: engine, AllowHosts: []string{"127.0.0.1", "localhost"}})
			p.visit(o)
			with, without := p.carried()
			// No OPTIONS: cross-origin requests that were simple stay so.
			if !slices.Equal(with, everything) || !slices.Equal(without, []string{"own GET /socket", "own GET /sw.js"}) {
				t.Errorf("requests with traceparent: got %q, want %q; without: got %q, want the WebSocket and the service worker's script", with, everything, without)
			}
			p.check(t, o)
		})
	}
}

// check holds the spans of the servers against those of the result.
func (p *parties) check(t *testing.T, o *opened) {
	t.Helper()
	form := regexp.MustCompile(`^00-` + testTrace + `-([0-9a-f]{16})-01$`)
	spans := map[string]string{}
	for key, values := range p.seen {
		for _, value := range values {
			found := form.FindStringSubmatch(value)
			switch {
			case key == "own GET /own-trace":
				if value != "00-"+strings.Repeat("f", 32)+"-"+strings.Repeat("f", 16)+"-00" {
					t.Errorf("%s: got traceparent %q, want the page's own", key, value)
				}
			case value == "":
			case found == nil || spans[found[1]] != "":
				t.Errorf("%s: got traceparent %q, want one of the trace with a span of its own", key, value)
			default:
				spans[found[1]] = key
			}
		}
	}
	requests, _ := o.Requests()
	for _, q := range requests {
		if q.SpanID == "" {
			continue
		}
		if key := spans[q.SpanID]; !strings.HasSuffix(key, q.Method+" "+q.URL[strings.LastIndexByte(q.URL, '/'):]) {
			t.Errorf("%s: got span %s in the result, which the server got for %q", q.URL, q.SpanID, key)
		}
		delete(spans, q.SpanID)
	}
	for span, key := range spans {
		t.Errorf("%s: span %s is not in the result", key, span)
	}
}

func TestTraceStaysWithAllowedHosts(t *testing.T) {
	p := party(t)
	o := open(t, &scenario.Scenario{AllowHosts: []string{"127.0.0.1"}}) // the browser of these tests reaches the others, too
	p.visit(o)
	with, _ := p.carried()
	want := slices.DeleteFunc(slices.Clone(everything), func(key string) bool { return strings.HasPrefix(key, "other ") })
	if !slices.Equal(with, want) {
		t.Errorf("requests with traceparent: got %q, want %q", with, want)
	}
}

func TestNoTraceWithoutHosts(t *testing.T) {
	p := party(t)
	o := open(t, &scenario.Scenario{})
	o.navigate(p.own + "/")
	if with, _ := p.carried(); len(with) != 0 {
		t.Errorf("requests with traceparent: got %q, want none: nobody has said who is to know", with)
	}
}
