package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lastmile/internal/scenario"
)

const shopPage = `<!doctype html><title>shop</title>
<button id=same>sign in</button><button id=other>pay elsewhere</button><button id=own>ask</button><p id=said></p>
<script>
const start = (url) => { said.textContent = ""; return open(url, "_blank", "width=400,height=500"); };
same.onclick = () => start("/login");
other.onclick = () => start("OTHER/login");
own.onclick = () => {
	const opened = start("");
	opened.document.write("<button id=ok>ok</button>");
	opened.document.title = "own";
	opened.opener.postMessage("parsed", "*");
	opened.document.querySelector("button").onclick = () => { opened.opener.postMessage("clicked", "*"); opened.close(); };
};
addEventListener("message", (event) => { said.textContent += event.data + " "; });
</script>`

const loginPage = `<!doctype html><title>login</title><script>
fetch("/first-of-window");
opener.postMessage("parsed", "*");
addEventListener("load", () => opener.postMessage("loaded", "*"));
</script><button onclick="opener.postMessage('clicked', '*'); window.close()">ok</button>`

// Signing in and paying, as sites do it: a window tells the page that opened it how it fares, and closes itself when it is done.
// Nothing of what it says may be lost, the click that closes it must pass, and its requests are seen from the first.
func TestWindowThatReportsAndCloses(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	defer server.Close()
	other := strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	for path, page := range map[string]string{"/": shopPage, "/login": loginPage, "/first-of-window": "fine"} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, strings.ReplaceAll(page, "OTHER", other))
		})
	}
	for _, engine := range []scenario.Engine{scenario.EngineShell, scenario.EngineFull} {
		t.Run(string(engine), func(t *testing.T) {
			j := open(t, scenario.Scenario{Engine: engine}, Options{})
			j.pass(navigate(server.URL))
			const rounds = 7
			for range rounds {
				for _, window := range []struct{ button, target, said string }{
					{"#same", server.URL + "/login", "parsed loaded clicked "},
					{"#other", other + "/login", "parsed loaded clicked "},
					{"#own", "about:blank", "parsed clicked "},
				} {
					j.pass(click(window.button))
					ok := with(click("button"), 10*time.Second)
					ok.Target = window.target
					j.pass(ok)
					heard := scenario.Assertion{Expression: "said.textContent", Equals: new(scenario.Text(window.said))}
					j.pass(with(scenario.Step{Type: scenario.StepCustom}, 10*time.Second, heard))
				}
			}
			seen := map[string]int{}
			for _, r := range j.s.Close().Requests {
				if r.From == "popup" && r.Status == http.StatusOK && r.Phases.Wait != nil {
					seen[r.URL]++
				}
			}
			for _, url := range []string{server.URL + "/login", other + "/login", server.URL + "/first-of-window", other + "/first-of-window"} {
				if seen[url] != rounds {
					t.Errorf("requests: got %d of windows for %s, want %d", seen[url], url, rounds)
				}
			}
		})
	}
}

// What a worker or a frame had under way when it came to its end is nothing to wait for.
func TestSettledWithoutThoseThatEnded(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	defer server.Close()
	defer server.CloseClientConnections()
	asked, ended := make(chan struct{}, 2), make(chan struct{}, 2)
	mux.HandleFunc("/never", func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
		ended <- struct{}{}
	})
	mux.HandleFunc("/asked", func(http.ResponseWriter, *http.Request) { <-asked })
	for path, page := range map[string]string{
		"/frame":  `<script>fetch("/never")</script>`,
		"/worker": `<p>text<script>const w = new Worker(URL.createObjectURL(new Blob(["fetch('` + server.URL + `/never')"]))); fetch("/asked").then(() => w.terminate())</script>`,
		"/framed": `<p>text<iframe src="` + strings.Replace(server.URL, "127.0.0.1", "localhost", 1) + `/frame"></iframe><script>fetch("/asked").then(() => document.querySelector("iframe").remove())</script>`,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, page)
		})
	}
	j := open(t, scenario.Scenario{Engine: scenario.EngineFull}, Options{})
	for _, path := range []string{"/worker", "/framed"} {
		page := with(navigate(server.URL+path), 20*time.Second)
		page.Settle = new(scenario.Duration(10 * time.Second))
		if got := j.pass(page); got.SettledMS == nil {
			t.Errorf("%s: got a page that did not become quiet, want that when what had asked was gone", path)
		}
		<-ended
	}
}
