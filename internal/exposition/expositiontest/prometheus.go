// Package expositiontest runs a real Prometheus and a real Alertmanager in tests and reads the queries of dashboards, so that a test can
// ask whether each of them returns data, and what pages. Only tests import it.
package expositiontest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Prometheus is a running Prometheus server that scrapes every second.
type Prometheus struct{ *server }

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
	return &Prometheus{start(t, "prometheus", exec.Command(Program(t, "prometheus"),
		"--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0",
		"--rules.alert.resend-delay=1s"))} // what fires before it knows the Alertmanager is lost until it is sent again
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

// Sample is one series of a query's answer.
type Sample struct {
	Labels map[string]string
	Value  float64
}

// EventuallyData asks the query until it returns at least one series, and fails the test where it does not in time.
func (p *Prometheus) EventuallyData(t testing.TB, q Query) []Sample {
	t.Helper()
	var samples []Sample
	p.eventually(t, dataLimit, q.Panel+": "+q.Expr, func() error {
		var err error
		samples, err = p.data(q)
		return err
	})
	return samples
}

// HasData asks the query for as long as EventuallyData would, and reports whether it has returned any series.
func (p *Prometheus) HasData(t testing.TB, q Query) bool {
	t.Helper()
	return p.within(dataLimit, func() error {
		_, err := p.data(q)
		return err
	}) == nil
}

// data asks the query; no series is an error.
func (p *Prometheus) data(q Query) ([]Sample, error) {
	samples, err := p.query(q.Expr)
	if err == nil && len(samples) == 0 {
		err = errors.New("got no series, want at least one")
	}
	return samples, err
}

// query asks an instant query.
func (p *Prometheus) query(expr string) ([]Sample, error) {
	body, err := p.get("/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string `json:"metric"`
				Value  [2]any            `json:"value"`
			} `json:"result"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("read answer of prometheus: %w", err)
	}
	samples := make([]Sample, len(answer.Data.Result))
	for i, r := range answer.Data.Result {
		text, _ := r.Value[1].(string)
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("read answer of prometheus: got value %v, want a number as text", r.Value[1])
		}
		samples[i] = Sample{Labels: r.Metric, Value: value}
	}
	return samples, nil
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
