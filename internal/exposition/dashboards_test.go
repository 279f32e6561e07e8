package exposition

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"lastmile/internal/exposition/expositiontest"
)

// dashboardFiles lists the dashboards of the repository.
func dashboardFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../dashboards/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("list dashboards: got %v, %v, want at least one", files, err)
	}
	return files
}

func TestDashboardsAreWellFormed(t *testing.T) {
	for _, file := range dashboardFiles(t) {
		d := expositiontest.LoadDashboard(t, file)
		if !strings.HasPrefix(d.UID, "lastmile-") || len(d.UID) > 40 || d.Title == "" || d.SchemaVersion != 39 || len(d.Links) == 0 {
			t.Errorf("%s: got uid %q, title %q, schema version %d, %d links", file, d.UID, d.Title, d.SchemaVersion, len(d.Links))
		}
		if len(d.Templating.List) == 0 || d.Templating.List[0].Name != "datasource" || d.Templating.List[0].Type != "datasource" {
			t.Errorf("%s: want the variable datasource first", file)
		}
		for _, v := range d.Templating.List {
			if v.Type == "query" {
				usesDatasource(t, "variable "+v.Name, v.Datasource)
			}
		}
		for _, p := range d.AllPanels() {
			if p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
				t.Errorf("panel %q: got description %q, unit %q, %d queries, want all of them", p.Title, p.Description, p.FieldConfig.Defaults.Unit, len(p.Targets))
			}
			usesDatasource(t, p.Title, p.Datasource)
			refs := map[string]bool{}
			for _, target := range p.Targets {
				usesDatasource(t, p.Title, target.Datasource)
				if target.RefID == "" || refs[target.RefID] {
					t.Errorf("panel %q: got query %q, want a name of its own", p.Title, target.RefID)
				}
				refs[target.RefID] = true
			}
		}
		laidOut(t, d.Panels)
	}
}

func usesDatasource(t *testing.T, what string, ds *expositiontest.Datasource) {
	t.Helper()
	if ds == nil || ds.Type != "prometheus" || ds.UID != "${datasource}" {
		t.Errorf("%s: got data source %+v, want ${datasource}", what, ds)
	}
}

// laidOut checks that every panel is on the grid, has an id of its own and lies on no other.
func laidOut(t *testing.T, panels []expositiontest.Panel) {
	t.Helper()
	ids := map[int]bool{}
	for i, p := range panels {
		g := p.GridPos
		if p.ID <= 0 || ids[p.ID] {
			t.Errorf("panel %q: got id %d, want one of its own", p.Title, p.ID)
		}
		ids[p.ID] = true
		if g.X < 0 || g.Y < 0 || g.W <= 0 || g.H <= 0 || g.X+g.W > 24 {
			t.Errorf("panel %q: got place %+v, want it within 24 columns", p.Title, g)
		}
		for _, q := range panels[:i] {
			h := q.GridPos
			if g.X < h.X+h.W && h.X < g.X+g.W && g.Y < h.Y+h.H && h.Y < g.Y+g.H {
				t.Errorf("panels %q and %q overlap: %+v, %+v", p.Title, q.Title, g, h)
			}
		}
	}
}

// TestDashboardsSpeakTheCatalogue checks the names in queries.
func TestDashboardsSpeakTheCatalogue(t *testing.T) {
	for _, file := range dashboardFiles(t) {
		for _, q := range expositiontest.Queries(t, file) {
			speaksTheCatalogue(t, q)
		}
	}
}

// speaksTheCatalogue checks the names of metrics and labels in a query: a misspelt metric returns nothing, and a misspelt label in "by"
// adds up what should be apart. Labels that scraping adds may be named too.
func speaksTheCatalogue(t *testing.T, q expositiontest.Query) {
	t.Helper()
	metric := regexp.MustCompile(`\b(?:lastmile|process|go)_[a-z0-9_]+`)
	grouping := regexp.MustCompile(`\b(?:by|without|on|ignoring) \(([^)]*)\)`)
	matcher := regexp.MustCompile(`[{,]\s*([a-z_]+)\s*(?:=~|!~|!=|=)`)
	names, labelNames := map[string]bool{}, []string{"le", "job", "instance", "pod"}
	for _, m := range Catalogue() {
		names[m.Name] = true
		labelNames = append(labelNames, m.Labels...)
		for _, suffix := range map[Type][]string{Histogram: {"_bucket", "_sum", "_count"}, Summary: {"_sum", "_count"}}[m.Type] {
			names[m.Name+suffix] = true
		}
	}
	found := metric.FindAllString(q.Expr, -1)
	if len(found) == 0 {
		t.Errorf("%s: got %s, want a metric of ours in it", q.Panel, q.Expr)
	}
	for _, name := range found {
		if !names[name] {
			t.Errorf("%s: %s is not in the catalogue", q.Panel, name)
		}
	}
	var used []string
	for _, m := range grouping.FindAllStringSubmatch(q.Expr, -1) {
		for name := range strings.SplitSeq(m[1], ",") {
			used = append(used, strings.TrimSpace(name))
		}
	}
	for _, m := range matcher.FindAllStringSubmatch(q.Expr, -1) {
		used = append(used, m[1])
	}
	for _, name := range used {
		if !slices.Contains(labelNames, name) {
			t.Errorf("%s: no metric has a label %s", q.Panel, name)
		}
	}
}

// TestEveryQueryReturnsData runs all queries on a real Prometheus that scrapes a coordinator and a probe with fixed data.
func TestEveryQueryReturnsData(t *testing.T) {
	t.Parallel()
	ready := func() error { return nil }
	var targets []string
	coordinator := fixedCoordinator(fixedSources(true))
	scrape := func(w io.Writer) {
		coordinator.Observe(readResult(ms(730)))
		coordinator.WritePrometheus(w)
	}
	for _, h := range []http.Handler{Handler(scrape, ready), Handler(fixedProbe().WritePrometheus, ready)} {
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		targets = append(targets, strings.TrimPrefix(server.URL, "http://"))
	}
	prometheus := expositiontest.StartPrometheus(t, expositiontest.Options{Targets: targets})
	for _, file := range dashboardFiles(t) {
		for _, q := range expositiontest.Queries(t, file) {
			prometheus.EventuallyData(t, q)
		}
	}
	balance := expositiontest.Query{Panel: "the ledger's promise", Expr: `sum(lastmile_slots_total{state="planned"}) - sum(lastmile_ledger_slots)`}
	if got := prometheus.EventuallyData(t, balance); got[0].Value != 0 {
		t.Errorf("%s: got %v, want 0", balance.Expr, got[0].Value)
	}
	misrouted := expositiontest.Query{Panel: "misrouted", Expr: `lastmile_routed_requests_total{scenario="checkout",expected="false"} / ignoring (expected) sum without (expected) (lastmile_routed_requests_total{scenario="checkout"})`}
	if got := prometheus.EventuallyData(t, misrouted); got[0].Value != 0.05 {
		t.Errorf("%s: got %v, want 0.05", misrouted.Expr, got[0].Value)
	}
	cost := expositiontest.Query{Panel: "cost of a misroute", Expr: `lastmile_misroute_cost_seconds{scenario="checkout",window="1h"}`}
	if got := prometheus.EventuallyData(t, cost); got[0].Value != 0.25 {
		t.Errorf("%s: got %v, want 0.25", cost.Expr, got[0].Value)
	}
	hits := expositiontest.Query{Panel: "cache hits", Expr: `lastmile_sli_good_total{slo="edge-cache"} / lastmile_sli_total{slo="edge-cache"} - ignoring (class, slo, sli) ` +
		`sum without (pop, warm, from) (lastmile_cdn_requests_total{class="edge-cache",from!="origin"}) / ignoring (class, slo, sli) sum without (pop, warm, from) (lastmile_cdn_requests_total{class="edge-cache"})`}
	if got := prometheus.EventuallyData(t, hits); got[0].Value != 0 {
		t.Errorf("%s: got %v, want the same from both", hits.Expr, got[0].Value)
	}
}
