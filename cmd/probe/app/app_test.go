package app

import (
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	neturl "net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"lastmile/internal/cli"
	"lastmile/internal/cli/clitest"
	"lastmile/internal/demosite"
	"lastmile/internal/runs"
)

// The scenarios that ship.
const (
	apiScenario      = "../../../scenarios/api.yaml"
	browseScenario   = "../../../scenarios/browse.yaml"
	checkoutScenario = "../../../scenarios/checkout.yaml"
)

// allowLocal lets runs reach the servers of a test, which are on this machine.
const allowLocal = "--allow-net=127.0.0.0/8"

// runJSON runs a scenario and returns its result as a program that reads it sees it.
func runJSON(t *testing.T, args ...string) (int, runs.Result) {
	t.Helper()
	code, out, errs := clitest.Run(t, Main, append([]string{"run", "--output", "json", allowLocal}, args...)...)
	decoder := json.NewDecoder(strings.NewReader(out))
	decoder.DisallowUnknownFields()
	var r runs.Result
	if err := decoder.Decode(&r); err != nil || decoder.More() {
		t.Fatalf("got status %d, %q, %q (%v), want one result", code, out, errs, err)
	}
	if err := r.Check(); err != nil {
		t.Error(err)
	}
	return code, r
}

// shop starts a shop with two regions.
func shop(t *testing.T) *demosite.Site {
	t.Helper()
	site, err := demosite.Start(t.Context(), slog.New(slog.DiscardHandler), demosite.Options{Regions: []string{"us", "eu"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = site.Close() })
	return site
}

func write(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// scenarioFile writes a scenario of region us with these steps and other keys.
func scenarioFile(t testing.TB, base, rest string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "regions.yaml"), "apiVersion: lastmile/v1\nregions:\n  us: {description: here}\n")
	return write(t, filepath.Join(dir, "one.yaml"), `apiVersion: lastmile/v1
scenario: one
schedule: "@every 1m"
timeout: 10s
regions: [us]
vars: {base: "`+base+`"}
`+rest)
}

func TestRunHTTPScenario(t *testing.T) {
	site := shop(t)
	code, r := runJSON(t, apiScenario, "--var", "base="+site.URL("us"), "--var", "eu:base="+site.URL("eu"), "--region", "eu")
	if code != 0 || r.State != runs.StatePassed || r.Cause != nil {
		t.Fatalf("got status %d and %s, %+v; want 0 and passed", code, r.State, r.Cause)
	}
	if r.Scenario != "api" || r.Region != "eu" || r.Network != "none" || r.Trigger != runs.TriggerManual || r.DurationMS <= 0 {
		t.Errorf("got %+v, want a manual run of api in eu over none", r)
	}
	if r.Link.Mode != "direct" || r.Link.Profile != "none" {
		t.Errorf("got link %+v, want the host's own", r.Link)
	}
	if len(r.Steps) != 2 || r.Steps[0].ID != "list" || r.Steps[1].State != runs.StepPassed || r.Steps[1].Requests != 1 {
		t.Errorf("got steps %+v, want two with a request each", r.Steps)
	}
	if len(r.Requests) != 2 {
		t.Fatalf("got %d requests, want 2", len(r.Requests))
	}
	first, second := r.Requests[0], r.Requests[1]
	if first.URL != site.URL("eu")+"/api/products" || first.Status != 200 || first.Step != "list" || first.Bytes == 0 {
		t.Errorf("got %+v, want the list from eu", first)
	}
	if p := first.Phases; p.Connect == nil || p.Wait == nil || p.Receive == nil || *p.Wait <= 0 {
		t.Errorf("got phases %+v, want those of a new connection", p)
	}
	if second.Phases.Connect != nil || second.Phases.Wait == nil {
		t.Errorf("got phases %+v, want those of a kept connection", second.Phases)
	}
	if len(r.Cache.ByState) == 0 || first.Cache.State == "" {
		t.Errorf("got cache %+v, want every answer classified", r.Cache)
	}
}

func TestRunPrintsWhatBecameOfIt(t *testing.T) {
	site := shop(t)
	code, out, errs := clitest.Run(t, Main, "run", allowLocal, apiScenario, "--var", "base="+site.URL("us"))
	if code != 0 || errs != "" {
		t.Errorf("got status %d and %q, want 0 and nothing to say", code, errs)
	}
	for _, want := range []string{"api in us over none: PASSED in", "list", "stock", "http", "2 requests", "link none (direct)"} {
		if !strings.Contains(out, want) {
			t.Errorf("text lacks %q:\n%s", want, out)
		}
	}
}

func TestRunBrowserScenario(t *testing.T) {
	site := shop(t)
	text, err := os.ReadFile(browseScenario)
	if err != nil {
		t.Fatal(err)
	}
	patient := filepath.Join(t.TempDir(), "browse.yaml") // the times of the one that ships are for machines that do nothing else
	write(t, patient, strings.NewReplacer("timeout: 15s", "timeout: 2m\nstepTimeout: 60s", `"@every 20s"`, `"@every 5m"`).Replace(string(text)))
	write(t, filepath.Join(filepath.Dir(patient), "regions.yaml"), "apiVersion: lastmile/v1\nregions: {us: {}, eu: {}, apac: {}, latam: {}}\n")
	code, r := runJSON(t, patient, "--var", "base="+site.URL("us"), "--no-sandbox")
	overBudget := r.State == runs.StateDegraded && r.Cause.Class == runs.ClassBudget // as on a busy machine
	if code != 0 || r.State != runs.StatePassed && !overBudget {
		t.Fatalf("got status %d and %s, %+v; want 0 and passed, or slow", code, r.State, r.Cause)
	}
	if v := r.Steps[0].Vitals; v == nil || v.LCP == nil || *v.LCP <= 0 {
		t.Errorf("got vitals %+v, want an LCP for the first page", v)
	}
	if r.Steps[2].Selector == "" {
		t.Errorf("got %+v, want the selector that found the link", r.Steps[2])
	}
	page := slices.IndexFunc(r.Requests, func(q runs.Request) bool { return q.URL == site.URL("us")+"/" })
	if page < 0 || r.Requests[page].Status != 200 || r.Requests[page].Phases.Wait == nil || len(r.Requests) < 5 {
		t.Errorf("got requests %+v, want the page and what belongs to it", r.Requests)
	}
	if all := r.Cache.Hits + r.Cache.Misses; all == 0 {
		t.Errorf("got cache %+v, want assets that count", r.Cache)
	}
}

func TestRunOfABrokenService(t *testing.T) {
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "overloaded", http.StatusServiceUnavailable)
	}))
	defer broken.Close()
	code, r := runJSON(t, apiScenario, "--var", "base="+broken.URL)
	if code != cli.ExitFailed || r.State != runs.StateFailed || r.Cause == nil || r.Cause.Class != runs.ClassHTTP5xx || r.Cause.Step != "list" {
		t.Errorf("got status %d, %s, %+v; want %d and http_5xx at the step list", code, r.State, r.Cause, cli.ExitFailed)
	}
	if len(r.Steps) != 2 || r.Steps[1].State != runs.StepSkipped {
		t.Errorf("got steps %+v, want the second skipped", r.Steps)
	}
	code, out, errs := clitest.Run(t, Main, "run", allowLocal, apiScenario, "--var", "base=http://127.0.0.1:1")
	if code != cli.ExitFailed || !strings.Contains(out, "FAILED") || !strings.Contains(out, "cause: connect: ") || errs != "" {
		t.Errorf("got status %d, %q, %q; want %d and the cause", code, out, errs, cli.ExitFailed)
	}
}

func TestRunOverBudgetIsNoFailure(t *testing.T) {
	site := shop(t)
	file := scenarioFile(t, site.URL("us"), "steps: [{type: http, url: \"${vars.base}/\", budget: {bytes: 10B}}]\n")
	code, out, errs := clitest.Run(t, Main, "run", allowLocal, file)
	if code != 0 || !strings.Contains(out, "DEGRADED") || !strings.Contains(out, "bytes: got ") || errs != "" {
		t.Errorf("got status %d, %q, %q; want 0 and the budget that was missed", code, out, errs)
	}
}

func TestRunStoppedInMidRunIsInvalid(t *testing.T) {
	reached := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(reached)
		<-r.Context().Done()
	}))
	defer slow.Close()
	p := background(t, "run", allowLocal, scenarioFile(t, slow.URL, "steps: [{type: http, url: \"${vars.base}/\"}]\n"))
	select {
	case <-reached:
	case <-p.Done():
		t.Fatalf("no request came: %s", p)
	}
	if code := p.Stop(); code != cli.ExitInvalid || !strings.Contains(p.String(), "INVALID") || !strings.Contains(p.String(), "cause: probe: ") {
		t.Errorf("got status %d and %s, want %d: who stops a run has not measured a failure", code, p, cli.ExitInvalid)
	}
}

// TestRunRefusesBadInput: each error says what was got and what would do.
func TestRunRefusesBadInput(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "regions.yaml"), "apiVersion: lastmile/v1\nregions:\n  us: {description: here}\n")
	bad := write(t, filepath.Join(dir, "bad.yaml"), `apiVersion: lastmile/v1
scenario: Bad_Name
schedule: "@every 5s"
timeout: 10s
regions: [us, mars]
steps:
  - {type: http, url: "http://127.0.0.1/", colour: red}
`)
	torn := write(t, filepath.Join(dir, "torn.yaml"), "apiVersion: lastmile/v1\nsteps: [{\n")
	for name, tc := range map[string]struct {
		args []string
		want []string
	}{
		"malformed": {[]string{bad}, []string{
			bad + ":2:11", "Bad_Name", bad + ":4:10", bad + ":5:15", "mars", bad + ":7:", "colour",
		}},
		"not YAML":         {[]string{torn}, []string{torn + ":"}},
		"no file":          {[]string{filepath.Join(dir, "none.yaml")}, []string{"none.yaml", "no such file"}},
		"a directory":      {[]string{dir}, []string{dir, "directory"}},
		"nothing":          {nil, []string{"<file>"}},
		"region":           {[]string{apiScenario, "--region", "mars"}, []string{"--region", `"mars"`, "us, eu, apac, latam"}},
		"network":          {[]string{apiScenario, "--network", "bogus"}, []string{"--network", `"bogus"`, "none, 2g", "satellite"}},
		"unknown variable": {[]string{apiScenario, "--var", "nobody=1"}, []string{"nobody"}},
		"no setting":       {[]string{apiScenario, "--var", "base"}, []string{`"base"`, "name=value"}},
		"variable's place": {[]string{apiScenario, "--var", "mars:base=x"}, []string{"mars"}},
		"output":           {[]string{apiScenario, "--output", "xml"}, []string{"--output", "xml", "json"}},
		"secrets":          {[]string{apiScenario, "--secrets-dir", filepath.Join(dir, "none")}, []string{"--secrets-dir", "no such file"}},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := clitest.Run(t, Main, append([]string{"run", allowLocal}, tc.args...)...)
			if code != cli.ExitUsage || out != "" {
				t.Errorf("got status %d and %q, want %d and nothing", code, out, cli.ExitUsage)
			}
			for _, want := range tc.want {
				if !strings.Contains(errs, want) {
					t.Errorf("errors lack %q:\n%s", want, errs)
				}
			}
			for line := range strings.Lines(errs) {
				if !strings.HasPrefix(line, "probe: ") {
					t.Errorf("got line %q, want it to begin with the program's name", line)
				}
			}
		})
	}
}

// noChromium are flags under which no Chromium is found.
func noChromium() []string {
	return []string{"--chromium-shell", "/nonexistent", "--chromium-full", "/nonexistent"}
}

func TestRunWithoutChromium(t *testing.T) {
	code, out, errs := clitest.Run(t, Main, append([]string{"run", allowLocal, browseScenario}, noChromium()...)...)
	if code != cli.ExitInvalid || out != "" || !strings.Contains(errs, "/nonexistent") || !strings.Contains(errs, "apt-get install -y chromium") {
		t.Errorf("got status %d, %q, %q; want %d and the install command", code, out, errs, cli.ExitInvalid)
	}
	site := shop(t)
	code, _, errs = clitest.Run(t, Main, append([]string{"run", allowLocal, apiScenario, "--var", "base=" + site.URL("us")}, noChromium()...)...)
	if code != 0 || errs != "" {
		t.Errorf("http scenario: got status %d and %q, want 0: it needs no Chromium", code, errs)
	}
}

func TestRootNeedsNoSandbox(t *testing.T) {
	if err := (Chromium{}).refusal(0); err == nil || !strings.Contains(err.Error(), "--no-sandbox") {
		t.Errorf("root: got %v, want an error that names --no-sandbox", err)
	}
	for name, err := range map[string]error{"root with --no-sandbox": Chromium{NoSandbox: true}.refusal(0), "user": Chromium{}.refusal(1000)} {
		if err != nil {
			t.Errorf("%s: got %v, want nil", name, err)
		}
	}
	if os.Geteuid() != 0 {
		return // the rest can only be seen as root
	}
	code, out, errs := clitest.Run(t, Main, "run", allowLocal, browseScenario)
	if code != cli.ExitInvalid || out != "" || !strings.Contains(errs, "--no-sandbox") {
		t.Errorf("got status %d, %q, %q; want %d and an error that names --no-sandbox", code, out, errs, cli.ExitInvalid)
	}
}

// secret has what breaks careless redaction: characters that are written differently in a URL, in JSON and in HTML.
const secret = `hunter2ä"<>`

// echo answers with all that it was sent, which a probe must not repeat. last returns the last token that it got.
func echo(t *testing.T) (base string, last func() string) {
	t.Helper()
	var mu sync.Mutex
	var token string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Token string }
		_ = json.NewDecoder(r.Body).Decode(&body) // what is not there is seen as an empty token
		mu.Lock()
		token = body.Token
		mu.Unlock()
		if to := r.FormValue("to"); to != "" {
			http.Redirect(w, r, "/there/"+neturl.PathEscape(to)+"?was="+neturl.QueryEscape(to), http.StatusFound)
			return
		}
		w.Header().Set("X-Echo", body.Token)
		_ = json.NewEncoder(w).Encode(map[string]string{"token": body.Token, "path": r.URL.Path})
	}))
	t.Cleanup(server.Close)
	return server.URL, func() string {
		mu.Lock()
		defer mu.Unlock()
		return token
	}
}

// secretive is the start of a scenario that does its best to have its secret told: the answer repeats it, under another name.
const secretive = `secrets: [TOKEN]
steps:
  - type: http
    method: POST
    url: ${vars.base}/login
    json: {token: "${secrets.TOKEN}"}
    extract: {told: {json: $.token}}
    assert: [{%s}]
`

func TestSecretsAreFoundAndNeverTold(t *testing.T) {
	base, last := echo(t)
	asserting := func(assertion string) string { return strings.Replace(secretive, "%s", assertion, 1) }
	passing := scenarioFile(t, base, asserting("status: 200"))
	t.Run("unset", func(t *testing.T) {
		code, r := runJSON(t, passing)
		if code != cli.ExitInvalid || r.State != runs.StateInvalid || !strings.Contains(r.Cause.Detail, "secret TOKEN") || len(r.Requests) != 0 {
			t.Errorf("got status %d, %+v; want %d and the name of the secret", code, r, cli.ExitInvalid)
		}
	})
	t.Run("file", func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "TOKEN"), secret+"\n")
		t.Setenv("LASTMILE_SECRET_TOKEN", "the file wins over the variable")
		if code, r := runJSON(t, passing, "--secrets-dir", dir); code != 0 || last() != secret {
			t.Errorf("got status %d, %+v, token %q; want 0 and the file's, without its line end", code, r.Cause, last())
		}
	})
	t.Run("variable", func(t *testing.T) {
		t.Setenv("LASTMILE_SECRET_TOKEN", secret)
		if code, r := runJSON(t, passing, "--secrets-dir", t.TempDir()); code != 0 || last() != secret {
			t.Errorf("got status %d, %+v, token %q; want 0 and the variable's", code, r.Cause, last())
		}
	})
	t.Setenv("LASTMILE_SECRET_TOKEN", secret)
	second := func(step string) string {
		return asserting("status: 200") + "  - {type: http, " + step + "}\n"
	}
	for name, rest := range map[string]string{
		"json value":        asserting("json: $.token, equals: other"),
		"json document":     asserting("json: $, equals: other"),
		"header":            asserting("header: X-Echo, equals: other"),
		"body":              asserting("body: other"),
		"extracted, wanted": second(`url: "${vars.base}/x", assert: [{json: $.path, equals: "${told}"}]`),
		"extracted, path":   second(`url: "${vars.base}/${told}/x", assert: [{json: $.path, equals: other}]`),
		"extracted, query":  second(`url: "${vars.base}/moved?to=${told}", assert: [{status: 500}]`),
	} {
		file := scenarioFile(t, base, rest)
		for _, form := range []string{"text", "json"} {
			t.Run(name+" "+form, func(t *testing.T) {
				code, out, errs := clitest.Run(t, Main, "run", allowLocal, file, "--output", form, "--log-level", "debug")
				if code != cli.ExitFailed {
					t.Errorf("got status %d, want %d, a run with much to tell: %s%s", code, cli.ExitFailed, out, errs)
				}
				if strings.Contains(out+errs, "hunter2") {
					t.Errorf("the secret was told:\n%s%s", out, errs)
				}
			})
		}
	}
	for _, step := range []string{`url: "${vars.base}/${secrets.TOKEN}"`, `url: "${vars.base}/", assert: [{body: "${secrets.TOKEN}"}]`} {
		code, _, errs := clitest.Run(t, Main, "run", allowLocal, scenarioFile(t, base, second(step)))
		if code != cli.ExitUsage || !strings.Contains(errs, "want no secret here") || strings.Contains(errs, "hunter2") {
			t.Errorf("%s: got status %d and %q, want %d: a secret has no business there", step, code, errs, cli.ExitUsage)
		}
	}
}

// TestCheckoutKeepsItsPassword runs the shipped journey with a secret, through browser and http steps.
func TestCheckoutKeepsItsPassword(t *testing.T) {
	site := shop(t)
	t.Setenv("LASTMILE_SECRET_SHOP_PASSWORD", demosite.DefaultPassword)
	code, out, errs := clitest.Run(t, Main, "run", allowLocal, checkoutScenario, "--var", "base="+site.URL("us"), "--no-sandbox", "--output", "json", "--log-level", "debug")
	if code != 0 {
		t.Errorf("got status %d, want 0:\n%s%s", code, out, errs)
	}
	if strings.Contains(out+errs, demosite.DefaultPassword) {
		t.Errorf("the password was told:\n%s%s", out, errs)
	}
}

func TestHelpAndVersion(t *testing.T) {
	for _, args := range [][]string{nil, {"--help"}, {"run", "--help"}, {"serve", "--help"}, {"--version"}} {
		if code, out, errs := clitest.Run(t, Main, args...); code != 0 || out == "" || errs != "" {
			t.Errorf("%v: got status %d, %q, %q; want 0 and text on standard output", args, code, out, errs)
		}
	}
}

// taken binds a port for the test and returns its address.
func taken(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}
