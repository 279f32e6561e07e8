package exposition

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lastmile/internal/exposition/catalogue"
	"lastmile/internal/exposition/expositiontest"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
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

// loadDashboards reads all of them, by uid, and checks that the text for those who run them knows each.
func loadDashboards(t *testing.T) map[string]*expositiontest.Dashboard {
	t.Helper()
	text, err := os.ReadFile("../../dashboards/README.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*expositiontest.Dashboard{}
	for _, file := range dashboardFiles(t) {
		d := expositiontest.LoadDashboard(t, file)
		if out[d.UID] != nil {
			t.Errorf("%s: uid %s is there twice", file, d.UID)
		}
		if row := "| `" + filepath.Base(file) + "` | `" + d.UID + "` |"; !strings.Contains(string(text), row) {
			t.Errorf("dashboards/README.md: got no row %s", row)
		}
		out[d.UID] = d
	}
	return out
}

func TestDashboardsAreWellFormed(t *testing.T) {
	all := loadDashboards(t)
	for _, uid := range []string{"fleet", "scenario", "steps", "slo", "cdn", "replication", "health", "ledger"} {
		if all["lastmile-"+uid] == nil {
			t.Errorf("got no dashboard lastmile-%s", uid)
		}
	}
	for uid, d := range all {
		if !strings.HasPrefix(uid, "lastmile-") || len(uid) > 40 || d.Title == "" || d.SchemaVersion != 39 {
			t.Errorf("%s: got title %q, schema version %d", uid, d.Title, d.SchemaVersion)
		}
		if len(d.Templating.List) == 0 || d.Templating.List[0].Name != "datasource" || d.Templating.List[0].Type != "datasource" {
			t.Errorf("%s: want the variable datasource first", uid)
		}
		for _, v := range d.Templating.List {
			if v.Type == "query" {
				usesDatasource(t, "variable "+v.Name, v.Datasource)
			}
		}
		for _, a := range d.Annotations.List {
			if a.Expr != "" {
				usesDatasource(t, "annotation "+a.Name, a.Datasource)
			}
		}
		for _, p := range d.AllPanels() {
			wellFormed(t, uid, p)
		}
		laidOut(t, d.Panels)
	}
}

// wellFormed checks one panel.
func wellFormed(t *testing.T, uid string, p expositiontest.Panel) {
	t.Helper()
	if p.Title == "" || len(p.Description) < 20 || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
		t.Errorf("%s: panel %q: got description %q, unit %q, %d queries, want all of them", uid, p.Title, p.Description, p.FieldConfig.Defaults.Unit, len(p.Targets))
	}
	usesDatasource(t, p.Title, p.Datasource)
	refs := map[string]bool{}
	for _, target := range p.Targets {
		usesDatasource(t, p.Title, target.Datasource)
		if target.RefID == "" || refs[target.RefID] {
			t.Errorf("%s: panel %q: got query %q, want a name of its own", uid, p.Title, target.RefID)
		}
		refs[target.RefID] = true
		labels := grouped(target.Expr)
		for _, m := range regexp.MustCompile(`{{(\w+)}}`).FindAllStringSubmatch(target.LegendFormat, -1) {
			if m[1] != "instance" && !slices.Contains(labels, m[1]) {
				t.Errorf("%s: panel %q: its legend has %s, which the query does not keep: %s", uid, p.Title, m[0], target.Expr)
			}
		}
	}
	if len(p.Targets) > 1 { // fields are named by the legend, or by the query's letter in a table
		fieldsExist(t, uid, p)
	}
}

// fieldsExist checks that what a panel says about single fields is about fields that it has.
func fieldsExist(t *testing.T, uid string, p expositiontest.Panel) {
	t.Helper()
	var names []string
	for _, target := range p.Targets {
		names = append(names, "Value #"+target.RefID, target.LegendFormat)
		names = append(names, grouped(target.Expr)...)
	}
	for _, o := range p.FieldConfig.Overrides {
		for _, property := range o.Properties {
			if property.ID == "displayName" {
				names = append(names, strings.Trim(string(property.Value), `"`))
			}
		}
		templated := slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, "{{") })
		if o.Matcher.ID == "byName" && !templated && !slices.Contains(names, o.Matcher.Options) {
			t.Errorf("%s: panel %q: it says something of %q, want one of %q", uid, p.Title, o.Matcher.Options, names)
		}
	}
}

// grouped lists the labels that a query's groupings name.
func grouped(expr string) []string {
	var out []string
	for _, m := range regexp.MustCompile(`\bby \(([^)]*)\)`).FindAllStringSubmatch(expr, -1) {
		for name := range strings.SplitSeq(m[1], ",") {
			out = append(out, strings.TrimSpace(name))
		}
	}
	return out
}

// TestDashboardLinksLead follows every link: to a dashboard that is there, with variables that both sides have and labels that are there.
func TestDashboardLinksLead(t *testing.T) {
	all := loadDashboards(t)
	reached := map[string]bool{}
	for uid, d := range all {
		if !slices.Contains(d.Tags, "lastmile") || len(d.Links) != 1 || d.Links[0].Type != "dashboards" || !slices.Equal(d.Links[0].Tags, d.Tags) || !d.Links[0].IncludeVars || !d.Links[0].KeepTime {
			t.Errorf("%s: got tags %q and links %+v, want one link to all that have the tag, with variables and time", uid, d.Tags, d.Links)
		}
		for _, p := range d.AllPanels() {
			for _, l := range p.AllLinks(t) {
				reached[leads(t, all, d, p, l)] = true
			}
		}
	}
	for _, uid := range []string{"lastmile-scenario", "lastmile-steps", "lastmile-slo"} {
		if !reached[uid] {
			t.Errorf("no value leads to %s", uid)
		}
	}
}

// leads checks a link of a panel of a dashboard, and returns the uid of the dashboard that it leads to.
func leads(t *testing.T, all map[string]*expositiontest.Dashboard, from *expositiontest.Dashboard, p expositiontest.Panel, l expositiontest.Link) string {
	t.Helper()
	where := from.UID + ", panel " + p.Title + ", link " + l.Title
	uid, query, _ := strings.Cut(strings.TrimPrefix(l.URL, "/d/"), "?")
	to := all[uid]
	if to == nil || l.Title == "" || !strings.Contains(query, "${datasource:queryparam}") || !strings.HasSuffix(query, "${__url_time_range}") {
		t.Errorf("%s: got %s, want a dashboard that is there, with data source and time", where, l.URL)
		return uid
	}
	for part := range strings.SplitSeq(query, "&") {
		name, value, given := strings.Cut(part, "=")
		if m := regexp.MustCompile(`^\${(\w+):queryparam}$`).FindStringSubmatch(part); m != nil {
			name, value = "var-"+m[1], "$"+m[1]
		} else if !given {
			continue // the time
		}
		if !defines(to, strings.TrimPrefix(name, "var-")) {
			t.Errorf("%s: %s has no variable %s", where, uid, name)
		}
		switch label := regexp.MustCompile(`^\${__(?:data\.fields|field\.labels)\.(\w+)}$`).FindStringSubmatch(value); {
		case value == "All" || value == "${__field.name}" || value == "${__data.fields[0]}": // the column and the row of a matrix
		case label != nil:
			if !slices.Contains(grouped(p.Targets[0].Expr), label[1]) {
				t.Errorf("%s: %s is no label of %s", where, label[1], p.Targets[0].Expr)
			}
		case !defines(from, strings.TrimPrefix(value, "$")):
			t.Errorf("%s: got %s, which %s does not define", where, value, from.UID)
		}
	}
	return uid
}

// defines reports whether a dashboard has a variable.
func defines(d *expositiontest.Dashboard, name string) bool {
	return slices.ContainsFunc(d.Templating.List, func(v expositiontest.Variable) bool { return v.Name == name })
}

// TestDashboardVariables holds variables against their use: each is used, and none is named that is not there.
func TestDashboardVariables(t *testing.T) {
	variable := regexp.MustCompile(`\$(?:(\w+)|{(\w+))`)
	for uid, d := range loadDashboards(t) {
		used := map[string]bool{"datasource": true}
		for _, p := range d.Panels {
			texts := []string{p.Title, p.Description}
			for _, target := range p.Targets {
				texts = append(texts, target.Expr)
			}
			if p.Repeat != "" {
				texts = append(texts, "$"+p.Repeat)
			}
			for _, m := range variable.FindAllStringSubmatch(strings.Join(texts, " "), -1) {
				name := m[1] + m[2]
				used[name] = true
				if !strings.HasPrefix(name, "__") && !defines(d, name) {
					t.Errorf("%s: panel %q names $%s, which is not defined", uid, p.Title, name)
				}
			}
		}
		for _, v := range d.Templating.List {
			if !used[v.Name] {
				t.Errorf("%s: nothing uses the variable %s", uid, v.Name)
			}
		}
	}
}

// TestDashboardsFitScreens checks what makes them readable on a phone, where panels lie below each other and each is as wide as the screen, in
// the light and in the dark: colours are named, so that each theme has its own; legends take no width, and columns no more than they need.
func TestDashboardsFitScreens(t *testing.T) {
	for uid, d := range loadDashboards(t) {
		for _, p := range d.AllPanels() {
			if l := p.Options.Legend; l != nil && l.Placement != "bottom" {
				t.Errorf("%s: panel %q: got a legend at the %s, want it at the bottom", uid, p.Title, l.Placement)
			}
			if width := p.FieldConfig.Defaults.Custom.MinWidth; p.Type == "table" && (width <= 0 || width > 80) {
				t.Errorf("%s: panel %q: got columns of %d pixels at least, want 1 to 80", uid, p.Title, width)
			}
			if p.GridPos.W < 8 || p.GridPos.H < 3 {
				t.Errorf("%s: panel %q: got %d by %d, want at least 8 by 3", uid, p.Title, p.GridPos.W, p.GridPos.H)
			}
		}
	}
	colour := regexp.MustCompile(`"(?:color|fixedColor)": "([^"]*)"`)
	named := regexp.MustCompile(`^(?:(?:super-light-|light-|semi-dark-|dark-)?(?:green|yellow|red|blue|orange|purple)|text|transparent)$`)
	for _, file := range dashboardFiles(t) {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range colour.FindAllStringSubmatch(string(body), -1) {
			if !named.MatchString(m[1]) {
				t.Errorf("%s: got colour %q, want one that has a name", file, m[1])
			}
		}
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
	grouping := regexp.MustCompile(`\b(?:by|without|on|ignoring|group_left|group_right) \(([^)]*)\)`)
	matcher := regexp.MustCompile(`[{,]\s*([a-z_]+)\s*(?:=~|!~|!=|=)`)
	names, labelNames := map[string]bool{}, []string{"le", "job", "instance", "pod"}
	for _, m := range catalogue.All() {
		names[m.Name] = true
		labelNames = append(labelNames, m.Labels...)
		for _, suffix := range map[catalogue.Type][]string{catalogue.Histogram: {"_bucket", "_sum", "_count"}, catalogue.Summary: {"_sum", "_count"}}[m.Type] {
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
			if name = strings.TrimSpace(name); name != "" { // group_left () names none
				used = append(used, name)
			}
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

// TestEveryQueryReturnsData runs all queries on a real Prometheus and a real VictoriaMetrics that scrape a coordinator and a probe with fixed
// data. What is asked of both must have an answer from both: there is one text of each query.
func TestEveryQueryReturnsData(t *testing.T) {
	t.Parallel()
	ready := func() error { return nil }
	var targets []string
	sources := fixedSources(true)
	objectives := sources.Objectives
	sources.Objectives = func() []runs.ObjectiveStatus { // with some that count events
		return append(objectives(), runs.ObjectiveStatus{Scenario: "checkout", Remaining: 0.5, SLO: scenario.SLO{Name: "edge-cache", SLI: scenario.SLICacheHit, Objective: 0.9, Window: slo.Window(24 * time.Hour)}},
			runs.ObjectiveStatus{Scenario: "copied", Remaining: 0.25, SLO: scenario.SLO{Name: "fresh", SLI: scenario.SLIFreshness, Objective: 0.9, Window: slo.Window(24 * time.Hour)}})
	}
	coordinator := fixedCoordinator(sources)
	var one sync.Mutex // the sources do not expect two that scrape
	scrape := func(w io.Writer) {
		one.Lock()
		defer one.Unlock()
		coordinator.Observe(readResult(ms(730)))
		late := result(runs.StatePassed, 3*time.Second)
		late.Load = &runs.Load{LateMS: 40}
		coordinator.Observe(late)
		coordinator.Observe(result(runs.StateDegraded, 4*time.Second))
		coordinator.DispatchLag("eu-central", 20*time.Millisecond)
		coordinator.WritePrometheus(w)
	}
	for _, h := range []http.Handler{Handler(scrape, ready), Handler(fixedProbe().WritePrometheus, ready)} {
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		targets = append(targets, strings.TrimPrefix(server.URL, "http://"))
	}
	var queries []expositiontest.Query
	for _, file := range dashboardFiles(t) {
		queries = append(queries, expositiontest.Queries(t, file)...)
	}
	opts := expositiontest.Options{Targets: targets}
	prometheus, victoria := expositiontest.StartPrometheus(t, opts).Store, expositiontest.StartVictoriaMetrics(t, opts).Store
	t.Run("each", func(t *testing.T) {
		for name, store := range map[string]*expositiontest.Store{"Prometheus": prometheus, "VictoriaMetrics": victoria} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				store.EventuallyAll(t, queries)
				for _, c := range hand() {
					if got := store.EventuallyData(t, c.query); got[0].Value != c.want {
						t.Errorf("%s: %s: got %v, want %v", c.query.Panel, c.query.Expr, got[0].Value, c.want)
					}
				}
				readsMatrix(t, store)
			})
		}
	})
	for _, q := range queries {
		if one, other := seriesOf(t, prometheus, q), seriesOf(t, victoria, q); !slices.Equal(one, other) {
			t.Errorf("%s: %s:\n got %q from Prometheus\n and %q from VictoriaMetrics", q.Panel, q.Expr, one, other)
		}
	}
}

// seriesOf lists the series that answer a query, by their labels.
func seriesOf(t *testing.T, store *expositiontest.Store, q expositiontest.Query) []string {
	t.Helper()
	var out []string
	for _, s := range store.EventuallyData(t, q) {
		out = append(out, fmt.Sprint(s.Labels))
	}
	slices.Sort(out)
	return out
}

// readsMatrix checks what the overview makes of the fixed journeys and alerts.
func readsMatrix(t *testing.T, store *expositiontest.Store) {
	t.Helper()
	const fleet = "../../dashboards/fleet.json"
	find := func(panel, letter string) expositiontest.Query {
		for _, q := range expositiontest.Queries(t, fleet) {
			if q.Panel == panel+" ("+letter+")" {
				return q
			}
		}
		t.Fatalf("%s: got no query %s of a panel %s", fleet, letter, panel)
		return expositiontest.Query{}
	}
	const elsewhere, unrated, blind, down = -2, -1, 6, 7
	for region, want := range map[string]map[string]float64{
		".*":      {"checkout": down, "search": blind, "copied": unrated},
		"us-east": {"checkout": elsewhere, "search": blind, "copied": elsewhere},
	} {
		q, got := find("$region", "A"), map[string]float64{}
		q.Expr = strings.ReplaceAll(q.Expr, `region=~".*"`, `region=~"`+region+`"`)
		for _, s := range store.EventuallyData(t, q) {
			got[s.Labels["scenario"]] = s.Value
		}
		if !maps.Equal(got, want) {
			t.Errorf("matrix, region %s: got %v, want %v", region, got, want)
		}
	}
	for letter, want := range map[string]float64{"A": 1, "B": 0, "C": 1, "E": 1, "H": 1} { // pages, tickets (there is one, inhibited), down, blind, leaders
		if q := find("Now", letter); store.EventuallyData(t, q)[0].Value != want {
			t.Errorf("%s: got %v, want %v", q.Expr, store.EventuallyData(t, q)[0].Value, want)
		}
	}
}

// reckoned is a query about the fixed data, and its value by hand.
type reckoned struct {
	query expositiontest.Query
	want  float64
}

func hand() []reckoned {
	return []reckoned{
		{expositiontest.Query{Panel: "the ledger's promise", Expr: `sum(lastmile_slots_total{state="planned"}) - sum(lastmile_ledger_slots)`}, 0},
		{expositiontest.Query{Panel: "misrouted", Expr: `lastmile_routed_requests_total{scenario="checkout",expected="false"} / ignoring (expected) sum without (expected) (lastmile_routed_requests_total{scenario="checkout"})`}, 0.05},
		{expositiontest.Query{Panel: "cost of a misroute", Expr: `lastmile_misroute_cost_seconds{scenario="checkout",window="1h"}`}, 0.25},
		{expositiontest.Query{Panel: "cache hits", Expr: `lastmile_sli_good_total{slo="edge-cache"} / lastmile_sli_total{slo="edge-cache"} - ignoring (class, slo, sli) ` +
			`sum without (pop, warm, from) (lastmile_cdn_requests_total{class="edge-cache",from!="origin"}) / ignoring (class, slo, sli) sum without (pop, warm, from) (lastmile_cdn_requests_total{class="edge-cache"})`}, 0},
	}
}
