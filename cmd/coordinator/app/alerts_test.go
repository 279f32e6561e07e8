package app

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lastmile/cmd/coordinator/coordination"
	"lastmile/internal/cli/clitest"
	"lastmile/internal/demosite"
	"lastmile/internal/exposition/expositiontest"
	"lastmile/internal/runs"
)

// grafana is where the dashboards would be.
const grafana = "https://grafana.example.com"

// TestFaultBecomesPage breaks one region of the shop, mends it again, and follows the page from the runs to whoever is told, by both ways: the
// coordinator sends it to an Alertmanager and a webhook, and Prometheus delivers it by the rules that `coordinator rules --alerts` prints, to an
// Alertmanager of its own. Meanwhile every one of them is killed or stopped and started again: nobody is told twice.
func TestFaultBecomesPage(t *testing.T) {
	w := startWatch(t)
	w.allWell(t)
	w.breakEU(t, true)
	began := w.paged(t)
	w.outlivesMonitoring(t, began)
	w.outlivesCoordinator(t, began)
	w.breakEU(t, false)
	w.resolved(t, began)
}

// watch is a shop, the fleet that watches it, and whoever is told.
type watch struct {
	site        *demosite.Site
	serve       []string // arguments of the coordinator, but for its directory
	data        string   // its directory
	coordinator *clitest.Process
	front       *ingress
	sent        *expositiontest.Alertmanager // told by the coordinator
	ruled       *expositiontest.Alertmanager // told by Prometheus
	prometheus  *expositiontest.Store
	victoria    *expositiontest.Store
	pager       *receiver // told by the coordinator
	person      *receiver // told by the Alertmanager that the coordinator tells
}

// startWatch starts everything, as its users do.
func startWatch(t *testing.T) *watch {
	t.Helper()
	w := &watch{site: shop(t, "us", "eu"), front: startIngress(t), pager: startReceiver(t), person: startReceiver(t)}
	server := startHub(t)
	w.sent = expositiontest.StartNotifyingAlertmanager(t, w.person.URL)
	w.ruled = expositiontest.StartAlertmanager(t)
	dir := w.scenarios(t)
	w.serve = []string{
		"serve", "--scenarios", dir, "--listen", "127.0.0.1:0", "--nats", server.URL(), "--grace", "1s", "--alertmanager", w.sent.URL,
		"--webhook", w.pager.URL, "--external-url", w.front.URL, "--grafana-url", grafana,
	}
	t.Cleanup(func() {
		if t.Failed() {
			log := w.coordinator.String()
			t.Logf("the end of the coordinator's log:\n%s", log[max(0, len(log)-16<<10):])
		}
	})
	w.data = t.TempDir()
	w.startCoordinator(t, w.data)
	for _, region := range w.site.Regions() {
		startProbe(t, region, server.URL())
	}
	target := []string{strings.TrimPrefix(w.front.URL, "http://")}
	w.victoria = expositiontest.StartVictoriaMetrics(t, expositiontest.Options{Targets: target, Job: "lastmile-coordinator"}).Store
	w.prometheus = expositiontest.StartPrometheus(t, expositiontest.Options{
		Targets: target, Job: "lastmile-coordinator", Rules: ruleFile(t, dir), Alertmanager: w.ruled,
	}).Store
	return w
}

// scenarios writes two: one that sees which region answers, and one that does not care.
func (w *watch) scenarios(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	write(t, dir, "regions.yaml", "apiVersion: lastmile/v1\nregions:\n  us: {description: one}\n  eu: {description: two}\n")
	head := "apiVersion: lastmile/v1\nscenario: %s\nowner: team-edge\nrunbook: https://runbooks.example.com/%[1]s\nschedule: \"@every 2s\"\ntimeout: 2s\n" +
		"regions: all\nvars: {base: %q}\nregionVars: {eu: {base: %q}}\nslos: [{name: up, objective: 99%%, window: 30d}]\n" +
		"alerts: {recovery: 10s, labels: {shop: demo}}\nsteps:\n  - {id: list, type: http, url: \"${vars.base}/api/products\", assert: [{status: 200}]}\n"
	write(t, dir, "catalogue.yaml", fmt.Sprintf(head, "catalogue", w.site.URL("us"), w.site.URL("eu")))
	write(t, dir, "region.yaml", fmt.Sprintf(head, "region", w.site.URL("us"), w.site.URL("eu"))+
		"  - {id: where, type: http, url: \"${vars.base}/healthz\", assert: [{header: X-Served-Region, equals: \"${region}\"}]}\n")
	return dir
}

// ruleFile prints the rules on the scenarios. They are looked at each second here, and not at each of their own intervals.
func ruleFile(t *testing.T, scenarios string) (file string) {
	t.Helper()
	code, rules, errs := clitest.Run(t, Main, "rules", "--alerts", "--scenarios", scenarios)
	if code != 0 || strings.Count(rules, "alert: "+runs.AlertDown+"\n") != 2 {
		t.Fatalf("rules: got status %d and\n%s%s\nwant one on each scenario's %s", code, rules, errs, runs.AlertDown)
	}
	dir := t.TempDir()
	write(t, dir, "rules.yml", strings.ReplaceAll(rules, "interval: 15s", "interval: 1s"))
	return filepath.Join(dir, "rules.yml")
}

// startCoordinator starts it on a directory of its own, and has it reached where it was reached before.
func (w *watch) startCoordinator(t *testing.T, data string) {
	t.Helper()
	w.coordinator = clitest.Start(t, Main, append(slices.Clone(w.serve), "--data", data)...)
	clitest.Eventually(t, "the coordinator's address", func() bool {
		select {
		case <-w.coordinator.Done():
			t.Fatal("coordinator: it ended early")
		default:
		}
		return strings.Contains(w.coordinator.String(), "/metrics")
	})
	w.front.lead(t, strings.TrimSuffix(metricsURL(t, w.coordinator.String), "/metrics"))
}

// breakEU sends eu's visitors to us, or no more.
func (w *watch) breakEU(t *testing.T, on bool) {
	t.Helper()
	if err := w.site.Faults().Set(demosite.Misroute, "eu", on); err != nil {
		t.Fatal(err)
	}
}

// allWell waits until everything has passed, and checks that nobody is told of anything.
func (w *watch) allWell(t *testing.T) {
	t.Helper()
	clitest.Eventually(t, "runs of both scenarios in both regions", func() bool {
		s := scrape(t, w.front.URL+"/metrics")
		for _, scenario := range []string{"catalogue", "region"} {
			for _, region := range w.site.Regions() {
				if s.sum("lastmile_runs_total", `scenario="`+scenario+`"`, `region="`+region+`"`, `state="passed"`) < 1 {
					return false
				}
			}
		}
		return true
	})
	for _, m := range []*expositiontest.Alertmanager{w.sent, w.ruled} {
		if got := pages(t, m); len(got) > 0 {
			t.Errorf("got %v while all is well, want no page", got)
		}
	}
	if told := w.pager.all(); len(told) > 0 {
		t.Errorf("got %v while all is well, want no notification", told)
	}
}

// pages lists what would wake somebody about the shop. That too little is measured is what a machine that is too busy rightly says of itself.
func pages(t *testing.T, m *expositiontest.Alertmanager) []expositiontest.Alert {
	t.Helper()
	return slices.DeleteFunc(m.Alerts(t), func(a expositiontest.Alert) bool {
		return a.Labels["severity"] != "page" || a.Labels["alertname"] == runs.AlertBlind
	})
}

// wanted are the labels of the page, all of them.
func wanted() map[string]string {
	return map[string]string{
		"alertname": "LastmileDown", "severity": "page", "scope": "region", "scenario": "region", "region": "eu", "slo": "up", "team": "team-edge", "shop": "demo",
	}
}

// page waits until an Alertmanager that was told of something after a time holds the page, and checks that it is the only one.
func page(t *testing.T, what string, m *expositiontest.Alertmanager, after time.Time) expositiontest.Alert {
	t.Helper()
	var got []expositiontest.Alert
	clitest.Eventually(t, what, func() bool {
		got = pages(t, m)
		return len(got) > 0 && got[0].UpdatedAt.After(after)
	})
	if len(got) != 1 || !maps.Equal(got[0].Labels, wanted()) {
		t.Fatalf("%s: got %+v, want one with labels %v", what, got, wanted())
	}
	return got[0]
}

// paged waits for the page, and checks that it says all that whoever is woken wants to know. It returns when it began.
func (w *watch) paged(t *testing.T) (began time.Time) {
	t.Helper()
	a := page(t, "a page from the coordinator", w.sent, time.Time{})
	for name, want := range map[string]string{
		"summary":         "region in eu is down: ",
		"bad":             " of the last 6",
		"p0":              "1 %",
		"rule":            "S1",
		"burn":            " over 5m, ",
		"regions":         "eu",
		"healthy_regions": "us",
		"first_failure":   `, step "where", assertion: `,
		"runbook_url":     "https://runbooks.example.com/region",
		"dashboard_url":   grafana + "/d/lastmile-scenario?var-scenario=region&var-region=eu",
		"run_url":         w.front.URL + "/api/v1/runs/",
	} {
		if got := a.Annotations[name]; !strings.Contains(got, want) {
			t.Errorf("annotation %s: got %q, want %q in it", name, got, want)
		}
	}
	w.checkRun(t, a.Annotations["run_url"])
	return a.StartsAt
}

// checkRun follows the link of the alert.
func (w *watch) checkRun(t *testing.T, link string) {
	t.Helper()
	response, err := http.Get(link)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var answer coordination.RunAnswer
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err == nil {
		err = json.Unmarshal(body, &answer)
	}
	if err != nil || response.StatusCode != http.StatusOK || len(answer.Results) != 1 {
		t.Fatalf("run at %s: got status %d, error %v and %s, want the run", link, response.StatusCode, err, body)
	}
	if r := &answer.Results[0]; r.State != runs.StateFailed || r.Scenario != "region" || r.Region != "eu" || r.Cause == nil || r.Cause.Step != "where" {
		t.Errorf("run at %s: got %s, want the failed run of the page", link, body)
	}
}

// outlivesMonitoring checks that each of those who watch the coordinator holds the page, also after having been killed and started again.
func (w *watch) outlivesMonitoring(t *testing.T, began time.Time) {
	t.Helper()
	clitest.Eventually(t, "the first repetition", func() bool { // from here on the page is told again each minute
		return scrape(t, w.front.URL+"/metrics").sum("lastmile_notify_sent_total", `sink="alertmanager`) >= 2
	})
	forgotten := time.Now()
	w.sent.Restart(t) // which makes it forget; what comes next goes on while it is not told
	page(t, "the page by Prometheus' rules", w.ruled, time.Time{})
	w.active(t, 1, time.Time{})
	w.prometheus.Restart(t)
	w.victoria.Restart(t)
	restarted := time.Now()
	w.active(t, 1, restarted)
	page(t, "the page by Prometheus' rules after a restart", w.ruled, restarted)
	if a := page(t, "the page after Alertmanager had forgotten it", w.sent, forgotten); !a.StartsAt.Equal(began) {
		t.Errorf("after a restart of Alertmanager: got a page that began at %s, want %s", a.StartsAt, began)
	}
}

// active waits until Prometheus and VictoriaMetrics have the page at 0 or 1, in a sample from after a time.
func (w *watch) active(t *testing.T, value int, after time.Time) {
	t.Helper()
	const series = `lastmile_alert_active{alertname="LastmileDown",scenario="region",region="eu",severity="page"}`
	query := fmt.Sprintf("%s == %d and timestamp(%[1]s) > %.3[3]f", series, value, float64(max(after.UnixMilli(), 0))/1000)
	for name, store := range map[string]*expositiontest.Store{"Prometheus": w.prometheus, "VictoriaMetrics": w.victoria} {
		clitest.Eventually(t, name+": "+query, func() bool {
			samples, err := store.Now(query)
			return err == nil && len(samples) == 1
		})
	}
}

// outlivesCoordinator restarts the coordinator, and then has one with nothing of its own take its place: each goes on with the same page.
func (w *watch) outlivesCoordinator(t *testing.T, began time.Time) {
	t.Helper()
	delivered := page(t, "the page by Prometheus' rules", w.ruled, time.Time{}).StartsAt
	for i, what := range []string{"a restart of the coordinator", "another coordinator's turn"} {
		if code := w.coordinator.Stop(); code != 0 {
			t.Errorf("coordinator: got status %d at SIGTERM, want 0", code)
		}
		stopped := time.Now()
		w.startCoordinator(t, []string{w.data, t.TempDir()}[i])
		if a := page(t, "the page after "+what, w.sent, stopped); !a.StartsAt.Equal(began) {
			t.Errorf("after %s: got a page that began at %s, want %s", what, a.StartsAt, began)
		}
		w.active(t, 1, stopped)
		if a := page(t, "the page by Prometheus' rules after "+what, w.ruled, time.Now()); !a.StartsAt.Equal(delivered) {
			t.Errorf("after %s: got a page by Prometheus' rules that began at %s, want %s", what, a.StartsAt, delivered)
		}
		if firing, resolved := w.pager.count("firing"), w.pager.count("resolved"); firing != 1 || resolved != 0 {
			t.Errorf("after %s: got %d notifications that it fires and %d that it ended, want 1 and 0", what, firing, resolved)
		}
	}
}

// resolved waits until everybody has been told of the end, and checks that everybody was told once.
func (w *watch) resolved(t *testing.T, began time.Time) {
	t.Helper()
	mended := time.Now()
	clitest.Eventually(t, "the end by the webhook", func() bool { return w.pager.count("resolved") > 0 })
	clitest.Eventually(t, "the end by Alertmanager", func() bool { return w.person.count("resolved") > 0 })
	for _, m := range []*expositiontest.Alertmanager{w.sent, w.ruled} {
		clitest.Eventually(t, "an Alertmanager without pages", func() bool { return len(pages(t, m)) == 0 })
	}
	w.active(t, 0, mended)
	if firing, resolved := w.pager.count("firing"), w.pager.count("resolved"); firing != 1 || resolved != 1 {
		t.Errorf("got %d notifications that it fires and %d that it ended, want one each:\n%+v", firing, resolved, w.pager.all())
	}
	for name, r := range map[string]*receiver{"webhook": w.pager, "Alertmanager": w.person} {
		for _, a := range r.all() {
			begun := a.StartsAt.Truncate(time.Millisecond) // as Alertmanager's API tells times
			ended := a.Status == "resolved"
			if !maps.Equal(a.Labels, wanted()) || !begun.Equal(began) || ended && (a.EndsAt.Before(mended) || a.EndsAt.After(time.Now())) {
				t.Errorf("%s: got %+v, want %v, begun at %s, ended after %s and before now", name, a, wanted(), began, mended)
			}
		}
	}
}

// ingress is the address at which people reach the coordinator, wherever that listens.
type ingress struct {
	*httptest.Server
	target atomic.Pointer[url.URL]
}

func startIngress(t *testing.T) *ingress {
	i := &ingress{}
	proxy := &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(i.target.Load()) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }, // it is not there now
	}
	i.Server = httptest.NewServer(proxy)
	t.Cleanup(i.Close)
	return i
}

// lead says where the coordinator listens.
func (i *ingress) lead(t *testing.T, address string) {
	t.Helper()
	target, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	i.target.Store(target)
}

// receiver is told of alerts as Alertmanager tells webhooks.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	heard []told
}

// told is what a notification says of an alert.
type told struct {
	Status           string
	Labels           map[string]string
	StartsAt, EndsAt time.Time
}

func startReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		var notification struct{ Alerts []told }
		if err := json.NewDecoder(io.LimitReader(request.Body, 1<<20)).Decode(&notification); err != nil {
			t.Errorf("read notification: %v", err)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.heard = append(r.heard, notification.Alerts...)
	}))
	t.Cleanup(r.Close)
	return r
}

// all returns what it was told so far about the shop; see pages.
func (r *receiver) all() []told {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.heard), func(n told) bool { return n.Labels["alertname"] == runs.AlertBlind })
}

// count counts what it was told of a status.
func (r *receiver) count(status string) (n int) {
	for _, one := range r.all() {
		if one.Status == status {
			n++
		}
	}
	return n
}
