package app

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image/jpeg"
	"net/http"
	"net/http/httptest"
	neturl "net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lastmile/internal/cli/clitest"
	"lastmile/internal/har/hartest"
	"lastmile/internal/runs"
)

// typed is the secret of these tests.
const typed = "hunter2 & <Zoë>"

// gossip is a site that repeats whatever it learns, as it is and in every encoding: in its pages, headers, cookies and addresses. What
// must not show is magenta on its pages, what may is green.
func gossip(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "sid", Value: "session-cookie-value", Path: "/"})
		fmt.Fprint(w, `<!doctype html><meta charset="utf-8"><title>gossip</title>
<style>body { font: 14px monospace } .no { background: #f0f; color: #f0f } .yes { background: #0c0; color: #0c0 }
@keyframes turn { to { background: #ccc } } .clock { display: block; width: 40px; height: 40px; background: #888; animation: turn .5s infinite }</style>
<p class="yes">what everybody may see</p>
<p><input id="code" autocomplete="off"> <button id="go">go</button></p>
<p id="echo"></p>
<i class="clock"></i>
<script>
  go.onclick = async () => {
    const value = code.value, utf8 = String.fromCharCode(...new TextEncoder().encode(value));
    echo.innerHTML = '<span class="no"></span> <span class="no"></span>';
    echo.children[0].textContent = "you are " + value;
    echo.children[1].textContent = btoa("alice:" + utf8);
    console.error("typed " + value);
    await fetch("/take?q=" + encodeURIComponent(value) + "&token=tok-en-value", { method: "POST", body: JSON.stringify({ value }), headers: {
      Authorization: "Basic " + btoa("alice:" + utf8), "X-Value": encodeURIComponent(value), "X-Padded": btoa("p" + utf8 + "s"), "X-Api-Key": "api-key-value",
    } });
    history.pushState({}, "", "/done/" + encodeURIComponent(value));
    echo.id = "done";
  };
</script>`)
	})
	mux.HandleFunc("/take", func(w http.ResponseWriter, r *http.Request) {
		value := r.URL.Query().Get("q") + r.Header.Get("X-Secret")
		w.Header().Set("X-Echo", neturl.QueryEscape(value))
		w.Header().Set("X-Base64", base64.StdEncoding.EncodeToString([]byte("ab"+value)))
		http.SetCookie(w, &http.Cookie{Name: "last", Value: neturl.QueryEscape(value)})
		if r.URL.Query().Has("hop") {
			http.Redirect(w, r, "/take?back="+neturl.QueryEscape(value), http.StatusFound)
			return
		}
		fmt.Fprint(w, value)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// gossipScenario types the secret into the page, sends it by http too, and then waits in vain.
func gossipScenario(t *testing.T, base, rest string) string {
	t.Setenv("LASTMILE_SECRET_PASSWORD", typed)
	return scenarioFile(t, base, `secrets: [PASSWORD]
artefacts: {filmstrip: always}
`+rest+`steps:
  - {id: home, type: navigate, url: "${vars.base}/"}
  - {id: type, type: change, selectors: [["#code"]], value: "${secrets.PASSWORD}"}
  - {id: go, type: click, selectors: [["#go"]]}
  - {id: sent, type: waitForElement, selectors: [["#done"]]}
  - {id: api, type: http, url: "${vars.base}/take?hop", headers: {X-Secret: "${secrets.PASSWORD}", Authorization: "Bearer ${secrets.PASSWORD}"}}
  - {id: "in-vain", type: waitForElement, selectors: [["#never"]], timeout: 1500ms}
`)
}

// leaks finds the secret in a text, and what else must not be in an artefact: as it is, encoded, and in base64 at each alignment.
func leaks(text string) (out []string) {
	text = strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(text)
	forms := []string{typed, "hunter2", neturl.QueryEscape(typed), neturl.PathEscape(typed), "session-cookie-value", "tok-en-value", "api-key-value"}
	for before := range 3 {
		whole := base64.RawStdEncoding.EncodeToString([]byte("xx"[:before] + "hunter2 &"))
		forms = append(forms, whole[2:len(whole)-2])
	}
	for _, form := range forms {
		if strings.Contains(text, form) {
			out = append(out, form)
		}
	}
	return out
}

func TestFailedRunKeepsWhatItSaw(t *testing.T) {
	file, dir := gossipScenario(t, gossip(t), ""), t.TempDir()
	code, r := runJSON(t, file, "--no-sandbox", "--artefacts-dir", dir)
	if code != 1 || r.State != runs.StateFailed || r.Cause.Step != "in-vain" || r.ArtefactError != "" {
		t.Fatalf("got status %d, %s %+v, %q; want failed at the last step", code, r.State, r.Cause, r.ArtefactError)
	}
	kept := map[string]runs.Artefact{}
	for _, a := range r.Artefacts {
		kept[a.Name] = a
		if want := filepath.Join(dir, "one", string(r.RunID), a.Name); a.Location != want || a.Store != runs.StoreDir || time.Until(a.ExpiresAt) < 6*24*time.Hour {
			t.Errorf("got %+v, want it at %s for a week", a, want)
		}
	}
	if len(kept) != 3 {
		t.Errorf("got %+v, want a screenshot, a har and a filmstrip", r.Artefacts)
	}
	checkPicture(t, kept["in-vain.screenshot.jpg"])
	checkHAR(t, kept["run.har"])
	checkFilm(t, kept["run.filmstrip.json"])
	body, err := json.Marshal(r)
	if found := leaks(string(body)); err != nil || len(found) > 0 {
		t.Errorf("got %q in the result %s (%v)", found, body, err)
	}
}

func read(t *testing.T, a runs.Artefact) []byte {
	t.Helper()
	body, err := os.ReadFile(a.Location)
	if err != nil || int64(len(body)) != a.Bytes {
		t.Fatalf("%s: got %d bytes, %v; want %d", a.Location, len(body), err, a.Bytes)
	}
	return body
}

func checkPicture(t *testing.T, a runs.Artefact) {
	t.Helper()
	body := read(t, a)
	if out := os.Getenv("LASTMILE_PICTURES"); out != "" {
		_ = os.WriteFile(filepath.Join(out, "e2e.jpg"), body, 0o600)
	}
	if no, yes := colours(t, body); no > 0 || yes < 500 || a.Kind != runs.ArtefactScreenshot || a.Step != "in-vain" || a.ContentType != "image/jpeg" {
		t.Errorf("%+v: got %d pixels of what must not show and %d of what may, want none and many", a, no, yes)
	}
}

// colours counts the magenta and the green pixels of a JPEG.
func colours(t *testing.T, body []byte) (no, yes int) {
	t.Helper()
	picture, err := jpeg.Decode(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for y := range picture.Bounds().Dy() {
		for x := range picture.Bounds().Dx() {
			switch r, g, b, _ := picture.At(x, y).RGBA(); {
			case r>>8 > 180 && g>>8 < 100 && b>>8 > 180:
				no++
			case r>>8 < 100 && g>>8 > 150 && b>>8 < 100:
				yes++
			}
		}
	}
	return no, yes
}

func checkHAR(t *testing.T, a runs.Artefact) {
	t.Helper()
	body := read(t, a)
	if out := os.Getenv("LASTMILE_PICTURES"); out != "" {
		_ = os.WriteFile(filepath.Join(out, "e2e.har"), body, 0o600)
	}
	if found := leaks(string(body)); len(found) > 0 {
		t.Errorf("got %q in the har %s", found, body)
	}
	archive := hartest.Check(t, body)
	var asked []string
	for _, e := range archive.Entries {
		u, err := neturl.Parse(e.Request.URL)
		if err != nil {
			t.Fatal(err)
		}
		asked = append(asked, e.Request.Method+" "+u.Path)
		if len(e.Request.Headers) == 0 || len(e.Response.Headers) == 0 || e.Response.Status == 0 || e.Time <= 0 || e.ServerIP != "127.0.0.1" {
			t.Errorf("got %+v, want headers, a time and an address", e)
		}
	}
	for _, want := range []string{"GET /", "POST /take", "GET /take"} {
		if !slices.Contains(asked, want) {
			t.Errorf("got %q, want %q among them", asked, want)
		}
	}
	if last := archive.Entries[len(archive.Entries)-2]; last.Step != "api" || last.Response.Redirect != "/take?back=<redacted>" || last.Response.Status != 302 {
		t.Errorf("got %+v, want the redirect of the http step, with its secret masked", last.Response)
	}
}

func checkFilm(t *testing.T, a runs.Artefact) {
	t.Helper()
	var film []struct {
		AtMS float64 `json:"at_ms"`
		Step string  `json:"step"`
		JPEG []byte  `json:"jpeg"`
	}
	if err := json.Unmarshal(read(t, a), &film); err != nil || len(film) == 0 {
		t.Fatalf("got %d pictures, %v; want some", len(film), err)
	}
	for i, p := range film {
		if no, _ := colours(t, p.JPEG); no > 0 || p.Step == "" || i > 0 && p.AtMS < film[i-1].AtMS {
			t.Errorf("picture %d at %v ms in step %s: got %d pixels of what must not show", i, p.AtMS, p.Step, no)
		}
	}
}

func TestRunSaysWhereArtefactsAre(t *testing.T) {
	file, dir := scenarioFile(t, gossip(t), "steps: [{id: api, type: http, url: \"${vars.base}/take\", assert: [{status: 500}]}]\n"), t.TempDir()
	code, out, errs := clitest.Run(t, Main, "run", allowLocal, file, "--artefacts-dir", dir)
	if code != 1 || !strings.Contains(out, "  har: "+filepath.Join(dir, "one")) {
		t.Errorf("got status %d, %q, %q; want the path of the har", code, out, errs)
	}
	code, out, _ = clitest.Run(t, Main, "run", allowLocal, file, "--artefacts", "off", "--output", "json")
	if code != 1 || strings.Contains(out, "artefact") {
		t.Errorf("got status %d, %q; want nothing kept", code, out)
	}
	code, _, errs = clitest.Run(t, Main, "run", allowLocal, file, "--artefacts-dir", filepath.Join(file, "x"))
	if code != 1 || !strings.Contains(errs, "open artefacts") {
		t.Errorf("got status %d, %q; want to hear of a directory that cannot be made", code, errs)
	}
}

func TestRunOutputs(t *testing.T) {
	base := gossip(t)
	file := scenarioFile(t, base, "steps: [{id: api, type: http, url: \"${vars.base}/take\", assert: [{status: 200}]}]\n")
	code, out, errs := clitest.Run(t, Main, "run", allowLocal, file, "--artefacts", "off", "--output", "har")
	if archive := hartest.Check(t, []byte(out)); code != 0 || len(archive.Entries) != 1 || archive.Entries[0].Request.URL != base+"/take" {
		t.Errorf("got status %d, %s, %q; want the har of a run that passed", code, out, errs)
	}
	code, out, _ = clitest.Run(t, Main, "run", allowLocal, file, "--output", "junit")
	if code != 0 || !strings.Contains(out, `<testcase name="api" classname="one.us.none"`) {
		t.Errorf("got status %d, %s, want junit", code, out)
	}
	code, out, errs = clitest.Run(t, Main, "run", file, "--output", "har") // may not reach loopback
	if archive := hartest.Check(t, []byte(out)); code != 1 || errs != "" || len(archive.Entries) != 1 {
		t.Errorf("got status %d, %s, %q; want the har of a run that failed", code, out, errs)
	}
}

// TestServeKeepsArtefacts: a failed run's requests are on the probe, or at the hub where it is told so, or nowhere.
func TestServeKeepsArtefacts(t *testing.T) {
	for place, flags := range map[string][]string{"dir": nil, "hub": {"--artefacts", "hub"}, "off": {"--artefacts", "off"}} {
		t.Run(place, func(t *testing.T) {
			h, data := newHall(t, "us"), t.TempDir()
			a := assignment(t, "http://127.0.0.1:1") // where nobody answers
			if _, err := h.bus.Dispatch(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			p := background(t, serveArgs(t, h.url, append([]string{"--data", data}, flags...)...)...)
			var results []runs.Result
			clitest.Eventually(t, "the result", func() bool {
				var err error
				results, err = h.bus.Results(t.Context(), a.RunID)
				return err == nil && len(results) == 1
			})
			r := results[0]
			if place == "off" {
				if len(r.Artefacts) != 0 || r.ArtefactError != "" || r.State != runs.StateFailed {
					t.Errorf("got %s, %+v, %q; want nothing kept of a failed run", r.State, r.Artefacts, r.ArtefactError)
				}
				return
			}
			if len(r.Artefacts) != 1 || r.ArtefactError != "" || r.Artefacts[0].Store != place {
				t.Fatalf("got %+v, %q; want a har, %s", r.Artefacts, r.ArtefactError, place)
			}
			var body []byte
			if place == "dir" {
				if want := filepath.Join(data, "artefacts", "one"); !strings.HasPrefix(r.Artefacts[0].Location, want) {
					t.Errorf("got it at %s, want it below %s", r.Artefacts[0].Location, want)
				}
				body = read(t, r.Artefacts[0])
				if got := p.metric(t, "lastmile_worker_artefact_bytes", `region="us"`, `probe="one"`); got != float64(len(body)) {
					t.Errorf("got %v bytes by the metrics, want %d", got, len(body))
				}
			} else {
				var err error
				if body, err = h.bus.Artefacts("us").Get(t.Context(), a.RunID, "run.har"); err != nil {
					t.Fatal(err)
				}
			}
			if archive := hartest.Check(t, body); len(archive.Entries) != 1 || archive.Entries[0].Error == "" {
				t.Errorf("got %s, want the request and why it failed", body)
			}
		})
	}
}
