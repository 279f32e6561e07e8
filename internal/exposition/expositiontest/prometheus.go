// Package expositiontest runs a real Prometheus, VictoriaMetrics and Alertmanager in tests and reads the queries of dashboards, so that a test can
// ask whether each of them returns data, and what pages. Only tests import it.
package expositiontest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Prometheus is a running Prometheus server that scrapes every second.
type Prometheus struct{ *Store }

// Options say what a Prometheus does.
type Options struct {
	Targets      []string      // host:port of what it scrapes: /metrics by plain HTTP
	Job          string        // job label of the targets; "" = lastmile
	Rules        string        // path of a file of rules; "" = none
	Alertmanager *Alertmanager // gets the alerts of the rules; nil = none
}

// StartPrometheus starts a Prometheus on a free port of 127.0.0.1 and waits until it is ready. The server and its data are gone when the
// test has ended.
func StartPrometheus(t testing.TB, opts Options) *Prometheus {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(config, []byte(configuration(t, opts)), 0o600); err != nil {
		t.Fatal(err)
	}
	path := Program(t, "prometheus")
	return &Prometheus{&Store{start(t, "prometheus", func(listen string) *exec.Cmd {
		return exec.Command(path,
			"--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+listen,
			"--rules.alert.resend-delay=1s") // what fires before it knows the Alertmanager is lost until it is sent again
	})}}
}

// configuration is Prometheus' configuration file.
func configuration(t testing.TB, opts Options) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("global: {scrape_interval: 1s, scrape_timeout: 1s}\n")
	if opts.Rules != "" {
		rules, err := filepath.Abs(opts.Rules)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "rule_files: [%q]\n", rules)
	}
	if opts.Alertmanager != nil {
		fmt.Fprintf(&b, "alerting: {alertmanagers: [{static_configs: [{targets: [%q]}]}]}\n", strings.TrimPrefix(opts.Alertmanager.URL, "http://"))
	}
	job := opts.Job
	if job == "" {
		job = "lastmile"
	}
	fmt.Fprintf(&b, "scrape_configs:\n- job_name: %s\n  static_configs:\n  - targets:\n", job)
	for _, target := range opts.Targets {
		fmt.Fprintf(&b, "    - %q\n", target)
	}
	return b.String()
}

// Rule is an alerting rule as Prometheus has read it.
type Rule struct {
	Name        string            `json:"name"`
	Query       string            `json:"query"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// Rules lists the rules of all groups.
func (p *Prometheus) Rules(t testing.TB) []Rule {
	t.Helper()
	var answer struct {
		Data struct {
			Groups []struct{ Rules []Rule }
		}
	}
	p.eventually(t, dataLimit, "list rules", func() error {
		body, err := p.get("/api/v1/rules")
		if err != nil {
			return err
		}
		return json.Unmarshal(body, &answer)
	})
	var rules []Rule
	for _, group := range answer.Data.Groups {
		rules = append(rules, group.Rules...)
	}
	return rules
}
