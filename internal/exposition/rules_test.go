package exposition

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"lastmile/internal/exposition/expositiontest"
)

const rulesFile = "../../dashboards/rules.yml"

// TestRules has promtool check what dashboards/ gives a Prometheus to read, and try the rules on series that it makes up: what pages, when,
// for how long, and what does not.
func TestRules(t *testing.T) {
	t.Parallel() // some seconds of promtool, beside a Prometheus that waits for its scrapes
	promtool := expositiontest.Program(t, "promtool")
	for _, args := range [][]string{
		{"check", "config", "../../dashboards/prometheus.yml"},
		{"check", "rules", rulesFile},
		{"test", "rules", "testdata/rules.yml", "testdata/rules_books.yml"},
	} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// TestRulesSpeakTheCatalogue asks a Prometheus that has read the rules for their queries, and checks the names in them, and that each has
// its words here and in the text for those who run it.
func TestRulesSpeakTheCatalogue(t *testing.T) {
	t.Parallel()
	prometheus := expositiontest.StartPrometheus(t, expositiontest.Options{Rules: rulesFile})
	text, err := os.ReadFile("../../dashboards/README.md")
	if err != nil {
		t.Fatal(err)
	}
	rules := prometheus.Rules(t)
	if len(rules) == 0 {
		t.Fatal("got no rules")
	}
	for _, r := range rules {
		if r.Name != "LastmileWatchdog" { // which asks for nothing
			speaksTheCatalogue(t, expositiontest.Query{Panel: r.Name, Expr: r.Query})
		}
		if severity := r.Labels["severity"]; severity != "page" && severity != "ticket" && severity != "info" && severity != "none" {
			t.Errorf("%s: got severity %q, want page, ticket, info or none", r.Name, severity)
		}
		for _, name := range []string{"summary", "description", "action"} {
			if r.Annotations[name] == "" {
				t.Errorf("%s: got no %s", r.Name, name)
			}
		}
		if !strings.Contains(string(text), "| "+r.Name+" | "+r.Labels["severity"]+" |") {
			t.Errorf("dashboards/README.md: got no row on %s, severity %s", r.Name, r.Labels["severity"])
		}
	}
}
