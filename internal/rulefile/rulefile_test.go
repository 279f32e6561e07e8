package rulefile

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"lastmile/internal/exposition/catalogue"
	"lastmile/internal/exposition/expositiontest"
	"lastmile/internal/notify/wording"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

const (
	day   = slo.Window(24 * time.Hour)
	month = 30 * day
)

// shop is a scenario like most.
func shop(t testing.TB) scenario.Scenario {
	t.Helper()
	return scenario.Scenario{
		Name: "shop", Schedule: every(t, "@every 1m"), Regions: scenario.Strings{"eu", "us"}, Networks: []string{"none", "4g"},
		Owner: "team-shop", Runbook: "https://runbooks.example.com/shop",
		SLOs:   []scenario.SLO{{Name: "availability", Objective: 0.999, Window: month}},
		Alerts: scenario.Alerts{Labels: map[string]string{"tier": "gold"}},
	}
}

// assortment is scenarios of all sorts, with texts that mean something to templates, to YAML and to neither.
func assortment(t testing.TB) []scenario.Scenario {
	t.Helper()
	return []scenario.Scenario{
		shop(t),
		{Name: "pages", Schedule: every(t, "@every 30s"), Regions: scenario.Strings{"eu"}, SLOs: []scenario.SLO{
			{Name: "fast", SLI: scenario.SLILatency, Step: "home", Threshold: scenario.Duration(time.Second), Objective: 0.95, Window: month},
			{Name: "cached", SLI: scenario.SLICacheHit, Objective: 0.9, Window: 7 * day},
			{Name: "routed", SLI: scenario.SLIRouting, Objective: 0.99, Window: 2 * day},
		}},
		{Name: "hourly", Schedule: every(t, "17 * * * *"), Regions: scenario.Strings{"eu"}, SLOs: []scenario.SLO{{Name: "up", Objective: 0.99, Calendar: scenario.CalendarMonth}}},
		{Name: "daily", Schedule: every(t, "0 3 * * *"), Regions: scenario.Strings{"eu"}, SLOs: []scenario.SLO{{Name: "up", Objective: 0.99, Calendar: scenario.CalendarWeek}}},
		{
			Name: "odd", Schedule: every(t, "@every 10s"), Regions: scenario.Strings{"eu"}, SLOs: []scenario.SLO{{Name: "up", Objective: 0.9995, Window: month}},
			Owner: "it's: {{ $labels.nobody }} # \"all\" \\ ours\n\x00- really", Runbook: "https://runbooks.example.com/{{odd}}?a='b'&c=%41",
			Alerts: scenario.Alerts{Labels: map[string]string{"pager": "{{ .Value }}: 'x' \ufeff", "_a": "yes"}},
		},
		{Name: "without", Schedule: every(t, "@every 1m"), Regions: scenario.Strings{"eu"}},
	}
}

func every(t testing.TB, text string) scenario.Schedule {
	t.Helper()
	s, err := scenario.ParseSchedule(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestGuardSetIsTheFileOfTheDashboards(t *testing.T) {
	file, err := os.ReadFile("../../dashboards/rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	if got := Compose(assortment(t), Options{}); got != string(file) {
		t.Errorf("got another text than dashboards/rules.yml")
	}
	alerts := func(text string) []string { return regexp.MustCompile(`(?m)^ +- alert: .*$`).FindAllString(text, -1) }
	want := slices.DeleteFunc(alerts(string(file)), func(line string) bool { return strings.HasSuffix(line, " LastmileCacheLeak") })
	if got := alerts(Compose(nil, Options{NoLeaks: true})); !slices.Equal(got, want) || len(want) == len(alerts(string(file))) {
		t.Errorf("without leaks: got %q, want %q", got, want)
	}
	if got := strings.Count(Compose(assortment(t)[:1], Options{Alerts: true}), "- alert: LastmileCacheLeak\n"); got != 1 {
		t.Errorf("with the coordinator's alerts: got %d rules on leaks, want its own only", got)
	}
}

func TestRulesThatSayNothingAreLeftOut(t *testing.T) {
	text := Compose(assortment(t), Options{BurnRate: true})
	for _, want := range []string{
		"# No rule page over 1h on cached: with 90% no burn exceeds 10.\n",
		"# No rule ticket over 3d on routed: its budget is for 2d.\n",
		"# No rule page over 1h on up: with a run each 1h there are too few in it.\n",
		"# No rule ticket over 3d on up: with a run each 1d there are too few in it.\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("got no line %q", want)
		}
	}
	if strings.Contains(text, "name: lastmile-burn-daily") || strings.Contains(text, "burn-without") {
		t.Error("got groups without rules, want none")
	}
	// Of six hours with a run an hour, half an hour says nothing about whether it still goes on: two hours do.
	if !strings.Contains(text, `lastmile:slo_burn_rate{scenario="hourly",slo="up",window="6h"} > 6`+"\n          and on (scenario, region)\n"+
		`          (lastmile:slo_burn_rate{scenario="hourly",slo="up",window="2h"}`) {
		t.Error("got no page on hourly over 6h and 2h")
	}
}

// TestRulesSpeakTheCatalogue looks for every metric of the queries in the catalogue, or among what the rules themselves record.
func TestRulesSpeakTheCatalogue(t *testing.T) {
	text := Compose(assortment(t), Options{BurnRate: true, Alerts: true})
	known := map[string]bool{}
	for _, m := range catalogue.All() {
		known[m.Name] = true
	}
	for _, m := range regexp.MustCompile(`(?m)^ +- record: (\S+)$`).FindAllStringSubmatch(text, -1) {
		known[m[1]] = true
	}
	asked := regexp.MustCompile(`lastmile[_:][a-z_:]+\b`).FindAllString(text, -1)
	if len(asked) < 100 {
		t.Fatalf("got %d metrics in the queries, want more", len(asked))
	}
	for _, name := range asked {
		if !known[name] {
			t.Errorf("got a query of %s, want a metric of the catalogue", name)
		}
	}
}

// TestRulesAreRead has both programs read all that there is.
func TestRulesAreRead(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]Options{
		"guard": {}, "no leaks": {NoLeaks: true}, "burn rate": {BurnRate: true}, "alerts": {Alerts: true}, "all": {BurnRate: true, Alerts: true},
	} {
		file := filepath.Join(t.TempDir(), "rules.yml")
		compose(t, file, assortment(t), opts)
		run(t, name, expositiontest.Program(t, "promtool"), "check", "rules", "--lint-fatal", file)
		run(t, name, vmalert(t), "-dryRun", "-rule="+file, "-rule.validateTemplates=true", "-rule.validateExpressions=true")
	}
}

// TestRulesInTime has promtool feed the rules with series. Rules that are not asked about are left out: each costs time.
func TestRulesInTime(t *testing.T) {
	t.Parallel()
	promtool, dir, all := expositiontest.Program(t, "promtool"), t.TempDir(), assortment(t)
	guard := Compose(nil, Options{})
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("guard.rules", guard)
	write("shop.rules", "groups:\n"+strings.TrimPrefix(Compose(all[:1], Options{BurnRate: true}), guard))
	write("pages.rules", "groups:\n"+strings.TrimPrefix(Compose(all[1:2], Options{BurnRate: true}), guard))
	write("alerts.rules", Compose(all[:1], Options{Alerts: true}))
	for _, name := range []string{"burn.yml", "pages.yml", "silent.yml", "alerts.yml"} {
		body, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		write(name, string(body))
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, name, promtool, "test", "rules", filepath.Join(dir, name))
		})
	}
}

// TestLabelsAreThoseThatTheCoordinatorSends asks an Alertmanager what a Prometheus made of labels and annotations with the users' texts in them:
// under other labels, it would be another alert. The alerts fire always.
func TestLabelsAreThoseThatTheCoordinatorSends(t *testing.T) {
	t.Parallel()
	odd := assortment(t)[4]
	alert := runs.Alert{
		AlertKey: runs.AlertKey{Name: runs.AlertDown, Scope: runs.ScopeRegion, Scenario: odd.Name, Region: "eu", SLO: "up"},
		Severity: slo.SeverityPage, Team: odd.Owner, Labels: odd.Alerts.Labels,
	}
	_, text, _ := strings.Cut(Compose([]scenario.Scenario{odd}, Options{Alerts: true}), "\n"+groupHead+"lastmile-alerts-odd\n")
	text = regexp.MustCompile(`(?m)^          (max by|unless).*\n`).ReplaceAllString(text, "") // the expressions
	always := "vector(1)"
	for label, value := range map[string]string{
		"severity": string(alert.Severity), "scope": string(alert.Scope), "scenario": alert.Scenario, "region": alert.Region, "network": alert.Network, "slo": alert.SLO,
	} {
		always = fmt.Sprintf("label_replace(%s, %q, %q, %q, %q)", always, label, value, "", "")
	}
	text = "groups:\n" + groupHead + "odd\n" + strings.ReplaceAll(strings.ReplaceAll(text, "expr: |", "expr: "+always), "interval: 15s", "interval: 1s")
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	am := expositiontest.StartAlertmanager(t)
	expositiontest.StartPrometheus(t, expositiontest.Options{Rules: file, Alertmanager: am})
	eventually(t, am, func(a expositiontest.Alert) bool {
		if a.Labels["alertname"] != alert.Name {
			return false
		}
		if want := wording.Labels(&alert); !maps.Equal(a.Labels, want) {
			t.Errorf("got labels %q, want %q", a.Labels, want)
		}
		if got := a.Annotations["runbook_url"]; got != odd.Runbook {
			t.Errorf("got runbook %q, want %q", got, odd.Runbook)
		}
		return true
	})
}

// eventually waits until there is an alert as wanted.
func eventually(t testing.TB, am *expositiontest.Alertmanager, wanted func(expositiontest.Alert) bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		alerts := am.Alerts(t)
		if slices.ContainsFunc(alerts, wanted) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("got alerts %+v in a minute, want another one", alerts)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// FuzzQuoted: nothing is lost, and nothing ends the line.
func FuzzQuoted(f *testing.F) {
	f.Add("it's \\ \"all\"")
	f.Add("a\nb{{c}}\x00\ufeff\u0085")
	f.Fuzz(func(t *testing.T, text string) {
		q := quoted(text)
		if strings.ContainsAny(q, "\n\r\u0085\u2028\u2029\ufeff\x00") {
			t.Errorf("got %q of %q", q, text)
		}
		if got, err := strconv.Unquote(q); err != nil || got != strings.ToValidUTF8(text, "\ufffd") {
			t.Errorf("got %q of %q, %v", got, text, err)
		}
	})
}

func compose(t testing.TB, file string, scenarios []scenario.Scenario, opts Options) {
	t.Helper()
	if err := os.WriteFile(file, []byte(Compose(scenarios, opts)), 0o600); err != nil {
		t.Fatal(err)
	}
}

func run(t testing.TB, what, program string, args ...string) {
	t.Helper()
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		t.Errorf("%s: %s %s: %v\n%.5000s", what, filepath.Base(program), strings.Join(args, " "), err, out)
	}
}

// vmalert is the path of vmalert.
func vmalert(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"vmalert", "vmalert-prod"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("vmalert is required: got none on PATH; install it: apt-get install -y --no-install-recommends victoria-metrics")
	return ""
}
