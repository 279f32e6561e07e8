package rulefile

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lastmile/internal/exposition/expositiontest"
	"lastmile/internal/runs"
)

// books are what two coordinators show, of which one leads. Each second a slot is planned; a run of it fails while the journey is broken.
type books struct {
	mu      sync.Mutex
	begun   time.Time
	leader  int
	earlier int       // how often the second one is still asked as the leader that it was before the first
	broken  time.Time // zero = it is not
	servers []*httptest.Server
}

func startBooks(t testing.TB) *books {
	b := &books{begun: time.Now(), leader: 1, earlier: 2}
	for n := range 2 {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, b.show(n)) }))
		t.Cleanup(s.Close)
		b.servers = append(b.servers, s)
	}
	return b
}

// show is what a coordinator has to say. There are failures in the books from before.
func (b *books) show(n int) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.earlier > 0 && n == 1 {
		b.earlier--
	} else if b.earlier == 0 {
		b.leader, b.earlier = 0, -1
	}
	if n != b.leader {
		return "lastmile_coordinator_info{version=\"v1\"} 1\n"
	}
	planned, failed := 43000+int(time.Since(b.begun).Seconds()), 5
	if !b.broken.IsZero() {
		failed += int(time.Since(b.broken).Seconds())
	}
	const who = `scenario="shop",region="eu",network="none"`
	return fmt.Sprintf("lastmile_coordinator_info{version=\"v1\"} 1\nlastmile_slots_total{%s,state=\"planned\",reason=\"\"} %d\nlastmile_slots_total{%s,state=\"skipped\",reason=\"overlap\"} 7\n"+
		"lastmile_slots_amended_total{%s} 3\nlastmile_runs_total{%s,state=\"failed\"} %d\n", who, planned, who, who, who, failed)
}

func (b *books) change(how func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	how()
}

func (b *books) targets() []string {
	return []string{strings.TrimPrefix(b.servers[0].URL, "http://"), strings.TrimPrefix(b.servers[1].URL, "http://")}
}

// TestRulesAtWork has a Prometheus, and a VictoriaMetrics with vmalert, work by the burn-rate set: what is in the books from before, and a new
// leader with all of it, are no failures to either; what fails then is.
func TestRulesAtWork(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "rules.yml")
	text := strings.TrimPrefix(Compose(assortment(t)[:1], Options{BurnRate: true}), Compose(nil, Options{}))
	text = "groups:\n" + strings.ReplaceAll(strings.ReplaceAll(text, "interval: 15s", "interval: 1s"), "interval: 2m", "interval: 1s")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, start := range map[string]func(*testing.T, *books, *expositiontest.Alertmanager) *expositiontest.Store{
		"prometheus": func(t *testing.T, b *books, am *expositiontest.Alertmanager) *expositiontest.Store {
			return expositiontest.StartPrometheus(t, expositiontest.Options{Targets: b.targets(), Rules: file, Alertmanager: am}).Store
		},
		"vmalert": func(t *testing.T, b *books, am *expositiontest.Alertmanager) *expositiontest.Store {
			vm := expositiontest.StartVictoriaMetrics(t, expositiontest.Options{Targets: b.targets()})
			remember(t, vm.URL)
			startVMAlert(t, file, vm.URL, am.URL)
			return vm.Store
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, am := startBooks(t), expositiontest.StartAlertmanager(t)
			watch(t, b, start(t, b, am), am)
		})
	}
}

func watch(t *testing.T, b *books, store *expositiontest.Store, am *expositiontest.Alertmanager) {
	const burn = `lastmile:slo_burn_rate{scenario="shop",region="eu",slo="availability",scope="region",window="1h"}`
	due := func(more float64) float64 {
		return store.EventuallyData(t, expositiontest.Query{Panel: "slots due", Expr: fmt.Sprintf("lastmile:slots_due:sum > %g", more)})[0].Value
	}
	due(0)
	b.change(func() { b.leader = 1 })
	store.EventuallyData(t, expositiontest.Query{Panel: "books of the next leader", Expr: fmt.Sprintf("lastmile_runs_total{instance=%q}", b.targets()[1])})
	due(due(0) + 3)
	if got := store.EventuallyData(t, expositiontest.Query{Panel: "burn", Expr: burn}); len(got) != 1 || got[0].Value != 0 {
		t.Errorf("after a takeover: got burn %+v, want 0", got)
	}
	if got := am.Alerts(t); len(got) != 0 {
		t.Errorf("after a takeover: got alerts %+v, want none", got)
	}
	b.change(func() { b.broken = time.Now() })
	eventually(t, am, func(a expositiontest.Alert) bool {
		l := a.Labels
		return l["alertname"] == AlertBurn && l["severity"] == "page" && l["region"] == "eu" && l["window"] == "1h" && l["team"] == "team-shop" && l["tier"] == "gold" &&
			strings.HasPrefix(a.Annotations["summary"], "shop in eu: availability burns its error budget ")
	})
}

// remember gives a VictoriaMetrics what the rules would have recorded before: it may take ten seconds to show a new series, and some come of others.
func remember(t testing.TB, store string) {
	t.Helper()
	const unit = `scenario="shop",region="eu"`
	text := fmt.Sprintf("%s{%s} 42993\n%s{%s} 3\n%s{%s,slo=\"availability\"} 5\n", seriesDue, unit, seriesLate, unit, seriesBad, unit)
	for _, w := range runs.BurnWindows() {
		text += fmt.Sprintf("%s{%s,window=\"%s\"} 0\n%s{%s,slo=\"availability\",scope=\"region\",window=\"%s\"} 0\n", seriesShare, unit, w, seriesBurn, unit, w)
	}
	resp, err := http.Post(store+"/api/v1/import/prometheus", "text/plain", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Fatalf("import: got status %s, want 204", resp.Status)
	}
}

// startVMAlert starts a vmalert that works by the rules until the test has ended.
func startVMAlert(t testing.TB, rules, store, alertmanager string) {
	t.Helper()
	log := &strings.Builder{}
	cmd := exec.Command(vmalert(t), "-rule="+rules, "-datasource.url="+store, "-remoteWrite.url="+store, "-remoteWrite.flushInterval=200ms", "-notifier.url="+alertmanager,
		"-httpListenAddr=127.0.0.1:0")
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Errorf("kill vmalert: %v", err)
		}
		_ = cmd.Wait() // always "signal: killed"
		if t.Failed() {
			t.Logf("vmalert:\n%.8000s", log)
		}
	})
}
