package browser

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"

	"lastmile/internal/browser/chromium"
	"lastmile/internal/browser/elements"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

func TestSelectorsAndClicks(t *testing.T) {
	t.Parallel()
	url := site(t)
	j := open(t, scenario.Scenario{}, Options{})
	first := j.pass(with(navigate(url+"/shop.html"), 0,
		scenario.Assertion{Status: scenario.StatusSet{"200"}},
		scenario.Assertion{Header: "x-served-region", Matches: "^e"},
		scenario.Assertion{Cache: scenario.Strings{"hit"}},
		scenario.Assertion{Cache: scenario.Strings{"miss"}, Not: true},
		scenario.Assertion{Title: "Shop*"},
		scenario.Assertion{URL: "*/shop.html"},
		scenario.Assertion{Visible: "text/Welcome"},
		scenario.Assertion{Hidden: "#nothing"},
		scenario.Assertion{Visible: "#nothing", Not: true},
	))
	if v := first.Vitals; v == nil || v.TTFB == nil || v.FCP == nil || v.LCP == nil || *v.TTFB <= 0 || *v.LCP < *v.FCP || *v.FCP < *v.TTFB {
		t.Errorf("vitals: got %+v, want ttfb <= fcp <= lcp", first.Vitals)
	}
	if first.SettledMS == nil || *first.SettledMS < first.DurationMS {
		t.Errorf("settled: got %v, want at least the duration, %.1f ms", first.SettledMS, first.DurationMS)
	}
	if first.Requests != 3 || first.Bytes < 1500 {
		t.Errorf("traffic of the step: got %d requests, %d bytes, want 3 of at least 1500", first.Requests, first.Bytes)
	}
	for _, tt := range []struct {
		name, said, selector string
		step                 scenario.Step
	}{
		{"css", "bought", "#buy", click("#buy")},
		{"css prefix", "closed", "css/[aria-label]", click("css/[aria-label]")},
		{"text", "bought", "text/Buy now", click("text/Buy now")},
		{"xpath", "bought", "xpath///button[@id='buy']", click("xpath///button[@id='buy']")},
		{"aria name", "closed", "aria/Close window", click("aria/Close window")},
		{"aria role", "role button", `aria/Save[role="button"]`, click(`aria/Save[role="button"]`)},
		{"pierce", "deep", "pierce/.deep", click("pierce/.deep")},
		{"shadow chain", "deep", "shop-app >>> shop-item >>> button", click("shop-app >>> shop-item >>> button")},
		{"text in shadow", "deep", "text/Deep button", click("text/Deep button")},
		{"aria chain", "deep", "shop-app >>> aria/Deep button", click("shop-app >>> aria/Deep button")},
		{"cheap first", "bought", "#buy", click("aria/Close window", "text/Nowhere", "#buy")},
		{"aria when cheap fails", "closed", "aria/Close window", click("#nowhere", "aria/Close window")},
		{"scrolled to", "far", "#far", click("#far")},
		{"dialogs are answered", "dismissed", "#alert", click("#alert")},
		{"popup", "opened", "#popup", click("#popup")},
		{"page error", "thrown", "#throws", click("#throws")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j.t = t
			got := j.pass(with(tt.step, 3*time.Second, says(tt.said)))
			if got.Selector != tt.selector {
				t.Errorf("selector that won: got %q, want %q", got.Selector, tt.selector)
			}
			if got.Attempts != 1 {
				t.Errorf("looks: got %d, want 1 for a click that need not wait", got.Attempts)
			}
		})
	}
	j.t = t
	offset := click("#area")
	offset.OffsetX, offset.OffsetY = new(30.0), new(40.0)
	j.pass(with(offset, time.Second, scenario.Assertion{Visible: "text/28,38"})) // less the 2 px border
	extract := scenario.Step{Type: scenario.StepWaitForElement, Selectors: alternatives([]string{"h1"}),
		Extract: map[string]scenario.Extractor{"order": {Selector: "#order", Regex: `(\d+)`}}}
	j.pass(extract)
	j.pass(with(click("#buy"), 0, scenario.Assertion{Visible: "text/number ${order} of"}))
	j.fails(with(click("#buy"), time.Second, scenario.Assertion{Title: "Other"}), runs.ClassAssertion, `got "Shop!`)
	j.fails(with(click("#nowhere"), time.Second), runs.ClassTimeout, "#nowhere: there is none")
	j.fails(click("!!"), runs.ClassScript, "not a valid selector")
	j.fails(click("text/${missing}"), runs.ClassScript, "has no value")
}

func TestNavigation(t *testing.T) {
	t.Parallel()
	url := site(t)
	j := open(t, scenario.Scenario{Routing: &scenario.Routing{Header: "X-Served-Region"}}, Options{})
	event := func(step scenario.Step, glob string) scenario.Step {
		step.AssertedEvents = []scenario.AssertedEvent{{Type: "navigation", URL: glob}}
		return step
	}
	j.pass(navigate(url + "/shop.html"))
	j.pass(with(event(click("#next"), "*/done.html*"), 3*time.Second, scenario.Assertion{Title: "Done!"}))
	j.pass(event(navigate(url+"/shop.html"), "*/shop.html")) // over a beforeunload dialog
	j.pass(event(click("#pushed"), "*/pushed"))
	j.pass(navigate(url + "/shop.html#here"))
	j.fails(with(event(click("#buy"), ""), 300*time.Millisecond), runs.ClassTimeout, "there was none")
	wrong := j.fails(with(event(click("#next"), "*/other"), 1500*time.Millisecond), runs.ClassAssertion, "done.html, want */other")
	if strings.Contains(wrong.Cause.Detail, "secret") {
		t.Errorf("detail: got %q, want no query in it", wrong.Cause.Detail)
	}
	j.pass(navigate(url + "/shop.html"))
	j.fails(event(click("#bad"), ""), runs.ClassHTTP5xx, "got 503")
	j.pass(navigate(url + "/redirect"))

	got := j.s.Close().Requests
	if len(got) < 12 {
		t.Fatalf("requests: got %d, want all of the journey", len(got))
	}
	checkFirstRequest(t, got[0])
	hop, last := got[len(got)-4], got[len(got)-3]
	if !strings.HasSuffix(hop.URL, "/redirect") || hop.Status != 302 || hop.ServedRegion != "us" || hop.Phases.Wait == nil {
		t.Errorf("redirect hop: got %+v, want a 302 from us with its phases", hop)
	}
	if !strings.HasSuffix(last.URL, "/done.html") || last.Status != 200 || last.ServedRegion != "eu" || last.Step != "10" {
		t.Errorf("after the redirect: got %+v, want the 200 of step 10 from eu, without its query", last)
	}
	browserCaches, revalidated := map[string]int{}, 0
	for _, r := range got {
		browserCaches[r.BrowserCache]++
		if r.BrowserCache != "" && (r.Bytes != 0 || r.Phases != (runs.Phases{})) {
			t.Errorf("from the browser's cache: got %+v, want no bytes and no phases", r)
		}
		if r.Status == http.StatusNotModified {
			revalidated++
			if r.Cache.State != "revalidated" || r.Phases.Wait == nil {
				t.Errorf("revalidated: got %+v, want what the network said", r)
			}
		}
	}
	if browserCaches["memory"]+browserCaches["disk"] < 2 || revalidated < 2 {
		t.Errorf("cached answers: got %v and %d revalidated, want at least 2 of each", browserCaches, revalidated)
	}
}

// checkFirstRequest looks at the phases of a request that had to do everything but TLS.
func checkFirstRequest(t *testing.T, r runs.Request) {
	t.Helper()
	p := r.Phases
	for name, phase := range map[string]*float64{
		"blocked": p.Blocked, "connect": p.Connect, "send": p.Send, "wait": p.Wait, "receive": p.Receive,
	} {
		if phase == nil || *phase < 0 || *phase > 1000 {
			t.Errorf("phase %s: got %v, want 0 to 1000 ms", name, phase)
		}
	}
	if p.TLS != nil {
		t.Errorf("tls: got %v ms, want none over plain http", *p.TLS)
	}
	if r.Status != 200 || r.Method != "GET" || r.Protocol != "http/1.1" || !strings.HasPrefix(r.RemoteAddr, "127.0.0.1:") ||
		r.Bytes < 1000 || r.Cache.State != "hit" || r.Step != "1" || r.BrowserCache != "" {
		t.Errorf("first request: got %+v, want the document of step 1 from the network", r)
	}
}

func TestNavigationFailures(t *testing.T) {
	t.Parallel()
	url := site(t)
	tls := httptest.NewTLSServer(http.NotFoundHandler())
	defer tls.Close()
	j := open(t, scenario.Scenario{}, Options{})
	j.fails(navigate(url+"/status/404?body=1"), runs.ClassHTTP4xx, "got 404, want 2xx or 3xx")
	j.fails(navigate(url+"/status/404"), runs.ClassHTTP4xx, "got 404")
	j.fails(navigate(url+"/status/503?body=1"), runs.ClassHTTP5xx, "got 503")
	j.pass(with(navigate(url+"/status/503?body=1"), 0, scenario.Assertion{Status: scenario.StatusSet{"5xx"}}))
	j.fails(with(navigate(url+"/status/503?body=1"), 0, scenario.Assertion{Status: scenario.StatusSet{"200"}}), runs.ClassHTTP5xx, "want 200")
	j.fails(with(navigate(url+"/shop.html"), 0, scenario.Assertion{Status: scenario.StatusSet{"204"}}), runs.ClassAssertion, "got 200, want 204")
	j.fails(with(navigate(url+"/shop.html"), 0, scenario.Assertion{Header: "X-None"}), runs.ClassAssertion, "header X-None: got nothing")
	j.fails(navigate(closedPort(t)), runs.ClassConnect, "ERR_CONNECTION_REFUSED")
	j.fails(navigate("http://no-such-host.invalid/"), runs.ClassDNS, "ERR_NAME_NOT_RESOLVED")
	j.fails(navigate(tls.URL), runs.ClassTLS, "ERR_CERT_AUTHORITY_INVALID")
	j.fails(with(navigate(url+"/slow"), 300*time.Millisecond), runs.ClassTimeout, "waiting for the response of "+url+"/slow")
	j.fails(navigate("no url"), runs.ClassScript, "navigate to no%20url")
	j.pass(navigate(url + "/shop.html")) // the session has survived all that
}

func TestForms(t *testing.T) {
	t.Parallel()
	url := site(t)
	sc := scenario.Scenario{Secrets: []string{"PASSWORD"}}
	j := open(t, sc, Options{})
	j.pass(navigate(url + "/form.html"))
	for _, tt := range []struct {
		name string
		step scenario.Step
		said string
	}{
		{"text", change("new", "#name"), "input name true"},
		{"secret", change("${secrets.PASSWORD}", "aria/Password"), "input pw true"},
		{"mask", change("123456", "#phone"), "input phone true"},
		{"textarea", change("two\nlines", "#notes"), "input notes true"},
		{"emptied", change("", "#name"), "input name true"},
		{"contenteditable", change("plain", "#rich"), "input rich true"},
		{"date", change("2026-11-30", "#date"), "input date false"},
		{"select by value", change("l", "#size"), "size l"},
		{"select by text", change("Small", "#size"), "size s"},
		{"late option", change("Tomorrow", "#late"), "input late false"},
		{"checkbox", change("true", "#terms"), "input terms true"},
		{"hidden checkbox", change("on", "#styled"), "styled true"},
		{"radio", change("card", "[value=card]"), "pay card"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j.t = t
			j.pass(with(tt.step, 3*time.Second, says(tt.said)))
		})
	}
	j.t = t
	read := scenario.Step{Type: scenario.StepWaitForElement, Selectors: alternatives([]string{"#form"}),
		Extract: map[string]scenario.Extractor{"phone": {Selector: "#phone"}, "notes": {Selector: "#notes"}}}
	j.pass(read)
	if phone, err := j.scope.Expand("${phone} ${notes}"); err != nil || phone != "123-456 two\nlines" {
		t.Errorf("extracted: got %q, %v, want the values of the fields", phone, err)
	}
	short := j.fails(change("${secrets.PASSWORD}", "#short"), runs.ClassScript, "got 3 characters that differ, want 13")
	if strings.Contains(short.Cause.Detail, "cor") {
		t.Errorf("detail: got %q, want nothing of the secret in it", short.Cause.Detail)
	}
	j.fails(change("30.11.2026", "#date"), runs.ClassScript, "refused")
	j.fails(change("x", "#submit"), runs.ClassScript, "not a form field")
}

func TestWaiting(t *testing.T) {
	t.Parallel()
	url := site(t)
	wait := func(selector string, operator string, count int, visible *bool) scenario.Step {
		return scenario.Step{Type: scenario.StepWaitForElement, Selectors: alternatives([]string{selector}),
			Operator: operator, Count: &count, Visible: visible}
	}
	j := open(t, scenario.Scenario{Device: "moto-g-power"}, Options{})
	j.pass(with(navigate(url+"/late.html"), 0, scenario.Assertion{Visible: "#cover"}))
	j.fails(with(click("#covered"), time.Second), runs.ClassTimeout, "covered by div#cover")
	later := func(ms int, do string) { j.eval(fmt.Sprintf("setTimeout(() => { %s }, %d)", do, ms)) }
	later(1000, `document.querySelector("#cover").remove()`)
	got := j.pass(with(click("#covered"), 0, says("uncovered")))
	if got.DurationMS < 500 || got.Attempts < 2 {
		t.Errorf("duration: got %.0f ms, %d looks, want the wait of 1 s for the cover to go in it", got.DurationMS, got.Attempts)
	}
	later(200, `document.querySelector("#disabled").disabled = false`)
	j.pass(with(click("#disabled"), 0, says("enabled")))
	later(200, `document.querySelector("#rows").insertAdjacentHTML("beforeend", '<div class="row" id="third">2</div>')`)
	if got = j.pass(wait(".row", "", 3, nil)); got.Attempts < 1 {
		t.Errorf("attempts: got %d, want them counted", got.Attempts)
	}
	j.pass(wait(".row", "==", 2, new(true)))
	j.pass(wait(".row", "<=", 3, nil))
	j.pass(wait("#nothing", ">=", 1, new(false)))
	later(0, `document.body.insertAdjacentHTML("beforeend", '<button id="mover" onclick="say(\'caught\')">Mover</button>')`)
	j.pass(with(click("#mover"), 0, says("caught")))
	j.fails(with(wait(".row", "", 4, nil), time.Second), runs.ClassTimeout, "got 3 elements, want >= 4")

	j.pass(with(scenario.Step{Type: scenario.StepSetViewport, Width: 500, Height: 400}, 0))
	if size := j.eval("innerWidth + 'x' + innerHeight"); size != "500x400" {
		t.Errorf("viewport: got %s, want 500x400", size)
	}
}

// eval returns the text of an expression in the page.
func (j *journey) eval(expression string) string {
	j.t.Helper()
	main, _ := j.s.tab.Document()
	text, err := elements.Evaluate[string](j.t.Context(), j.s.elements, main.Frame, "() => String("+expression+")")
	if err != nil {
		j.t.Fatal(err)
	}
	return text
}

func TestDevices(t *testing.T) {
	url := site(t)
	for _, tt := range []struct {
		device, screen, agent string
		engine                scenario.Engine
	}{
		{"moto-g-power", "412x823@1.75 touch true mobile true", "moto g power", scenario.EngineShell},
		{"desktop", "1350x940@1 touch false mobile false", "X11; Linux", scenario.EngineFull},
	} {
		t.Run(tt.device, func(t *testing.T) {
			j := open(t, scenario.Scenario{Device: tt.device, Engine: tt.engine, AllowHosts: []string{"127.0.0.1"}}, Options{})
			j.pass(navigate(url + "/shop.html"))
			if got := j.eval("`${innerWidth}x${innerHeight}@${devicePixelRatio} touch ${navigator.maxTouchPoints > 0} mobile ${/Mobile/.test(navigator.userAgent)}`"); got != tt.screen {
				t.Errorf("screen: got %s, want %s", got, tt.screen)
			}
			if got := j.eval("navigator.userAgent"); !strings.Contains(got, tt.agent) || strings.Contains(got, "Headless") {
				t.Errorf("user agent: got %s, want one with %q", got, tt.agent)
			}
			j.pass(with(click("#far"), 3*time.Second, says("far")))
			j.pass(navigate(url + "/wide.html")) // no viewport of its own: a phone shows it scaled down
			j.pass(with(click("#corner"), 3*time.Second, says("corner")))
			got := j.fails(navigate("http://blocked.example.com/"), runs.ClassBlockedHost, "blocked.example.com")
			if got.Requests != 1 {
				t.Errorf("requests: got %d, want the attempt", got.Requests)
			}
			first := j.s.Close().Requests[0]
			if first.Phases.Connect == nil {
				t.Errorf("first request: got %+v, want a connection of its own: no predictor may have opened it", first)
			}
		})
	}
}

func TestBlockedSubresource(t *testing.T) {
	t.Parallel()
	url := site(t)
	j := open(t, scenario.Scenario{AllowHosts: []string{"127.0.0.1"}}, Options{})
	j.pass(navigate(url + "/done.html"))
	j.fails(navigate(url+"/tracked.html"), runs.ClassBlockedHost, "request to tracker.example.com")
}

func TestFramesAndWorkers(t *testing.T) {
	t.Parallel()
	url := site(t)
	j := open(t, scenario.Scenario{}, Options{})
	if got := j.pass(with(navigate(url+"/frames.html"), 0, says("from worker, from frame"))); got.SettledMS == nil {
		t.Error("settled: got nothing, want the page to become quiet")
	}
	j.pass(with(click("#popup"), 0, says("opened")))
	j.pass(navigate(url + "/done.html"))
	seen := map[string]int{}
	for _, r := range j.s.Close().Requests {
		seen[r.URL[strings.LastIndex(r.URL, "/"):]+" of "+r.Step]++
	}
	for _, want := range []string{"/frames.html of 1", "/worker.js of 1", "/answer.txt of 1", "/framed.html of 1", "/inner.txt of 1", "/late.html of 2"} {
		if seen[want] != 1 {
			t.Errorf("%s: got %d requests, want 1; all: %v", want, seen[want], seen)
		}
	}
}

func TestRendererCrash(t *testing.T) {
	t.Parallel()
	url := site(t)
	j := open(t, scenario.Scenario{}, Options{})
	j.pass(navigate(url + "/done.html"))
	time.AfterFunc(100*time.Millisecond, func() { chromium.Post(j.s.tab.Endpoint(), page.Crash, cdp.Empty{}) })
	began := time.Now()
	_, err := j.do(with(click("#nowhere"), time.Minute))
	var fault *runs.Fault
	if !errors.As(err, &fault) || fault.Class != runs.ClassBrowserCrash || time.Since(began) > 30*time.Second {
		t.Errorf("crashed page: got %v after %s, want a fault of class browser_crash soon", err, time.Since(began))
	}
}

func TestBrowserFaults(t *testing.T) {
	url := site(t)
	stuck := scenario.Step{Type: scenario.StepNavigate, ID: "stuck", URL: url + "/slow", Timeout: scenario.Duration(time.Minute)}
	for _, tt := range []struct {
		name   string
		signal syscall.Signal
		class  runs.Class
	}{
		{"killed", syscall.SIGKILL, runs.ClassBrowserCrash},
		{"stopped", syscall.SIGSTOP, runs.ClassBrowserHang},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			j := open(t, scenario.Scenario{}, Options{PingEvery: 200 * time.Millisecond, PingLimit: 1500 * time.Millisecond})
			j.pass(navigate(url + "/done.html"))
			time.AfterFunc(100*time.Millisecond, func() {
				if err := syscall.Kill(processGroup(t, j.dir), tt.signal); err != nil {
					t.Error(err)
				}
			})
			began := time.Now()
			_, err := j.do(stuck)
			var fault *runs.Fault
			if !errors.As(err, &fault) || fault.Class != tt.class {
				t.Fatalf("step: got %v, want a fault of class %s", err, tt.class)
			}
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("fault after %s, want it soon", took)
			}
			if _, err := j.do(stuck); !errors.As(err, &fault) || fault.Class != tt.class {
				t.Errorf("next step: got %v, want the same fault", err)
			}
		})
	}
}

func TestHangIsNoTimeout(t *testing.T) {
	t.Parallel()
	url := site(t)
	j := open(t, scenario.Scenario{}, Options{PingEvery: time.Hour, PingLimit: 700 * time.Millisecond})
	j.pass(navigate(url + "/done.html"))
	if err := syscall.Kill(processGroup(t, j.dir), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	_, err := j.do(with(navigate(url+"/shop.html"), 300*time.Millisecond))
	var fault *runs.Fault
	if !errors.As(err, &fault) || fault.Class != runs.ClassBrowserHang {
		t.Fatalf("step in a stopped browser: got %v, want a fault of class browser_hang", err)
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	url := site(t)
	j := open(t, scenario.Scenario{}, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	step := navigate(url + "/slow")
	_, err := j.s.Step(ctx, &step, j.scope)
	var fault *runs.Fault
	if !errors.As(err, &fault) || fault.Class != runs.ClassProbe || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled step: got %v, want a fault of the probe's", err)
	}
	r := testRunner(t, Options{TempDir: j.dir})
	if _, err := r.Open(ctx, &runs.Assignment{}, direct{}); !errors.As(err, &fault) {
		t.Errorf("open with a cancelled context: got %v, want a fault", err)
	}
}

func TestBusyPage(t *testing.T) {
	t.Parallel()
	url := site(t)
	j := open(t, scenario.Scenario{}, Options{})
	j.pass(navigate(url + "/shop.html"))
	j.eval("setTimeout(() => { const end = Date.now() + 1200; while (Date.now() < end); }, 0)")
	if got := j.pass(click("aria/Close window")); got.DurationMS < 400 {
		t.Errorf("duration: got %.0f ms, want the time in which the page was busy", got.DurationMS)
	}
	j.eval("setTimeout(() => { for (;;); }, 0)")
	j.fails(with(click("#buy"), 500*time.Millisecond), runs.ClassTimeout, "#buy")
}

func TestNotFound(t *testing.T) {
	_, err := New(nil, Options{ShellPath: "/nowhere/shell"})
	if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "/nowhere/shell") || !strings.Contains(err.Error(), "apt-get install") {
		t.Errorf("missing Chromium: got %v, want what was looked for and how to install it", err)
	}
	version, err := testRunner(t, Options{}).Version(t.Context())
	if err != nil || !strings.Contains(version, "Chrom") {
		t.Errorf("version: got %q, %v, want Chromium's", version, err)
	}
}

// BenchmarkJourney is a cold run: start, prime, three steps, close. Of its time, three times 0.5 s are the wait for a quiet page.
func BenchmarkJourney(b *testing.B) {
	url := site(b)
	b.ReportAllocs()
	var steps, openTime time.Duration
	r := testRunner(b, Options{})
	for b.Loop() {
		sc := scenario.Scenario{}
		began := time.Now()
		s, err := r.Open(b.Context(), &runs.Assignment{Scenario: sc}, direct{})
		if err != nil {
			b.Fatal(err)
		}
		openTime += time.Since(began)
		scope := sc.Scope(scenario.Combination{}, "run", nil)
		event := []scenario.AssertedEvent{{Type: "navigation"}}
		next := click("#next")
		next.AssertedEvents = event
		for _, step := range []scenario.Step{navigate(url + "/shop.html"), click("#buy"), next} {
			got, err := s.Step(b.Context(), &step, scope)
			if err != nil || got.State != runs.StepPassed {
				b.Fatal(err, got.Cause)
			}
			steps += time.Duration(got.DurationMS * float64(time.Millisecond))
		}
		s.Close()
	}
	b.ReportMetric(float64(steps.Milliseconds())/float64(b.N), "step-ms/op")
	b.ReportMetric(float64(openTime.Milliseconds())/float64(b.N), "open-ms/op")
}
