package expositiontest

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Query is one query of a dashboard with its variables replaced.
type Query struct {
	Panel string // title of the panel and name of the query in it, or the name of the variable or annotation
	Expr  string
	Range bool // drawn over time, and not asked for one moment
}

// Dashboard is what tests look at in a Grafana dashboard of the classic JSON model.
type Dashboard struct {
	UID           string   `json:"uid"`
	Title         string   `json:"title"`
	Tags          []string `json:"tags"`
	SchemaVersion int      `json:"schemaVersion"`
	Panels        []Panel  `json:"panels"`
	Templating    struct {
		List []Variable `json:"list"`
	} `json:"templating"`
	Annotations struct {
		List []Annotation `json:"list"`
	} `json:"annotations"`
	Links []DashboardLink `json:"links"`
}

// DashboardLink leads from every panel of a dashboard to those with its tags.
type DashboardLink struct {
	Title       string   `json:"title"`
	Type        string   `json:"type"`
	Tags        []string `json:"tags"`
	IncludeVars bool     `json:"includeVars"`
	KeepTime    bool     `json:"keepTime"`
}

// Panel is one panel; a collapsed row holds others.
type Panel struct {
	ID          int         `json:"id"`
	Type        string      `json:"type"`
	Title       string      `json:"title"`
	Description string      `json:"description"`
	Datasource  *Datasource `json:"datasource"`
	GridPos     GridPos     `json:"gridPos"`
	Repeat      string      `json:"repeat"`
	FieldConfig struct {
		Defaults struct {
			Unit   string `json:"unit"`
			Links  []Link `json:"links"`
			Custom struct {
				MinWidth int `json:"minWidth"`
			} `json:"custom"`
		} `json:"defaults"`
		Overrides []Override `json:"overrides"`
	} `json:"fieldConfig"`
	Options struct {
		Legend *struct {
			Placement   string `json:"placement"`
			DisplayMode string `json:"displayMode"`
		} `json:"legend"`
	} `json:"options"`
	Targets []Target `json:"targets"`
	Panels  []Panel  `json:"panels"`
}

// Override is what a panel changes for one field, named by what it shows.
type Override struct {
	Matcher struct {
		ID      string `json:"id"`
		Options string `json:"options"`
	} `json:"matcher"`
	Properties []struct {
		ID    string          `json:"id"`
		Value json.RawMessage `json:"value"`
	} `json:"properties"`
}

// Link leads from a value to somewhere.
type Link struct {
	Title string `json:"title"`
	URL   string `json:"url"`
}

// GridPos is a place on the grid of 24 columns.
type GridPos struct {
	X int `json:"x"`
	Y int `json:"y"`
	W int `json:"w"`
	H int `json:"h"`
}

// Datasource says where a panel's or query's data comes from.
type Datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

// Target is one query of a panel.
type Target struct {
	RefID        string      `json:"refId"`
	Expr         string      `json:"expr"`
	LegendFormat string      `json:"legendFormat"`
	Range        bool        `json:"range"`
	Datasource   *Datasource `json:"datasource"`
}

// Annotation marks moments in every graph; one that Grafana itself makes has no query.
type Annotation struct {
	Name       string      `json:"name"`
	Expr       string      `json:"expr"`
	Datasource *Datasource `json:"datasource"`
}

// Variable is a variable of a dashboard.
type Variable struct {
	Name       string          `json:"name"`
	Type       string          `json:"type"`
	Query      json.RawMessage `json:"query"`
	AllValue   string          `json:"allValue"`
	IncludeAll bool            `json:"includeAll"`
	Datasource *Datasource     `json:"datasource"`
	Current    struct {
		Value any `json:"value"`
	} `json:"current"`
}

// LoadDashboard reads a dashboard. A field with a value of the wrong type fails the test.
func LoadDashboard(t testing.TB, path string) *Dashboard {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var d Dashboard
	if err := json.Unmarshal(body, &d); err != nil {
		t.Fatalf("read %s: %v", path, err)
	}
	return &d
}

// AllPanels lists the panels, those inside rows too, without the rows themselves.
func (d *Dashboard) AllPanels() []Panel {
	var out []Panel
	for _, p := range d.Panels {
		if p.Type != "row" {
			out = append(out, p)
		}
		out = append(out, p.Panels...)
	}
	return out
}

// AllLinks lists the links of a panel's values, those of single fields too.
func (p *Panel) AllLinks(t testing.TB) []Link {
	t.Helper()
	out := slices.Clone(p.FieldConfig.Defaults.Links)
	for _, o := range p.FieldConfig.Overrides {
		for _, property := range o.Properties {
			if property.ID != "links" {
				continue
			}
			var links []Link
			if err := json.Unmarshal(property.Value, &links); err != nil {
				t.Fatalf("panel %q: links of %s: %v", p.Title, o.Matcher.Options, err)
			}
			out = append(out, links...)
		}
	}
	return out
}

// Queries lists every query of the dashboard at path, those of its variables and annotations first, with the variables replaced: scenario,
// region and the like by what stands for all, the others by their current values, and Grafana's own by what fits a scrape a second.
func Queries(t testing.TB, path string) []Query {
	t.Helper()
	d := LoadDashboard(t, path)
	replace := d.replacer(t)
	var out []Query
	for _, v := range d.Templating.List {
		if v.Type == "query" {
			out = append(out, Query{Panel: "variable " + v.Name, Expr: replace.Replace(v.selector(t))})
		}
	}
	for _, a := range d.Annotations.List {
		if a.Expr != "" {
			out = append(out, Query{Panel: "annotation " + a.Name, Expr: replace.Replace(a.Expr), Range: true})
		}
	}
	for _, p := range d.AllPanels() {
		for _, target := range p.Targets {
			out = append(out, Query{Panel: fmt.Sprintf("%s (%s)", p.Title, target.RefID), Expr: replace.Replace(target.Expr), Range: target.Range})
		}
	}
	for _, q := range out {
		if strings.Contains(q.Expr, "$") {
			t.Fatalf("%s of %s: got %s, want no variable that the dashboard does not define", q.Panel, path, q.Expr)
		}
	}
	return out
}

// replacer replaces variables, the longest names first, in both ways of writing them.
func (d *Dashboard) replacer(t testing.TB) *strings.Replacer {
	t.Helper()
	values := map[string]string{"__rate_interval": "1m", "__range": "5m", "__interval": "5s", "__range_s": "300"}
	for _, v := range d.Templating.List {
		text, _ := v.Current.Value.(string)
		switch {
		case v.Type == "datasource":
			continue
		case v.IncludeAll:
			text = v.AllValue
		case v.Type == "query": // of which Grafana chooses the first
			text = ".*"
		}
		if text == "" {
			t.Fatalf("variable %s: got no current value and no value for all", v.Name)
		}
		values[v.Name] = text
	}
	var names []string
	for name := range values {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, name := range names {
		pairs = append(pairs, "${"+name+"}", values[name], "$"+name, values[name])
	}
	return strings.NewReplacer(pairs...)
}

// selector returns the series that a variable takes its values from.
func (v *Variable) selector(t testing.TB) string {
	t.Helper()
	var query struct {
		Query string `json:"query"`
	}
	if err := json.Unmarshal(v.Query, &query); err != nil {
		t.Fatalf("variable %s: %v", v.Name, err)
	}
	m := regexp.MustCompile(`^label_values\((.+), *([a-z_]+)\)$`).FindStringSubmatch(query.Query)
	if m == nil {
		t.Fatalf("variable %s: got query %q, want label_values(series, label)", v.Name, query.Query)
	}
	return fmt.Sprintf("count by (%s) (%s)", m[2], m[1])
}
