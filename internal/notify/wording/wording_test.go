package wording

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"lastmile/internal/runs"
	"lastmile/internal/slo"
)

var update = flag.Bool("update", false, "write the golden files anew")

var began = time.Date(2026, 11, 21, 12, 0, 7, 0, time.UTC)

func ratio(r slo.Ratio) *slo.Ratio { return &r }

// alerts has one of each kind, the first with all that can be known.
func alerts() []runs.Alert {
	exhausted := 31*time.Hour + 12*time.Minute
	first := &runs.Failure{RunID: "checkout.eu.4g.1795262280", At: began.Add(-5 * time.Minute), Cause: &runs.Cause{Class: runs.ClassHTTP5xx, Step: "log in", Detail: `got status 503, want 200`}}
	latest := &runs.Failure{RunID: "checkout.eu.4g.1795262580", At: began, Cause: &runs.Cause{Class: runs.ClassTimeout, Detail: "got nothing after 10s"}}
	hour, five := slo.Window(time.Hour), slo.Window(5*time.Minute)
	down := runs.Alert{
		AlertKey: runs.AlertKey{Name: runs.AlertDown, Scope: runs.ScopeRegion, Scenario: "checkout", Region: "eu", Network: "4g", SLO: "availability"},
		Severity: slo.SeverityPage, Team: "payments", Labels: map[string]string{"service": "shop", "region": "not ours", "empty": ""},
		Runbook: "https://runbooks.example/checkout", StartsAt: began, Flapping: true,
		Why: runs.Why{
			Rule: runs.RuleHard, Bad: 6, Of: 6, Expected: 0.001, Log10P: -18, Slices: 3, Burn: []runs.WindowBurn{{Window: five, Burn: 1000}, {Window: hour, Burn: 83.3333}},
			Remaining: ratio(0.8321), Exhaustion: &exhausted, Coverage: ratio(0.98), Regions: []string{"eu"}, Healthy: []string{"ap", "us"}, Networks: []string{"4g"},
			First: first, Latest: latest, Usual: "Here, at this hour, 0.2 % are bad as a rule",
			Confirmations: []runs.Confirmation{{RunID: "a", Region: "eu", Probe: "eu-2", Sibling: true, State: runs.StateFailed}, {RunID: "b", Region: "us", State: runs.StatePending}},
		},
	}
	regions := strings.Split("ap br ca de eu fr", " ")
	key := func(name string, scope runs.Scope, region, objective string) runs.AlertKey {
		return runs.AlertKey{Name: name, Scope: scope, Scenario: "checkout", Region: region, SLO: objective}
	}
	return []runs.Alert{
		down,
		{
			AlertKey: key(runs.AlertOutage, runs.ScopeGlobal, "", ""), Severity: slo.SeverityPage, StartsAt: began,
			Why: runs.Why{Rule: runs.RuleQuorum, Bad: 18, Of: 18, Expected: 0.001, Log10P: -54, Regions: regions, Healthy: []string{"us"}, First: first},
		},
		{
			AlertKey: key(runs.AlertDegraded, runs.ScopeRegion, "eu", "availability"), Severity: slo.SeverityTicket, StartsAt: began,
			Why: runs.Why{
				Rule: runs.RuleBurn, Bad: 12, Of: 60, Over: hour, Expected: 0.01, Log10P: -11.26, Slices: 7, Burn: []runs.WindowBurn{{Window: five, Burn: 24}, {Window: hour, Burn: 20}},
				Remaining: ratio(0.5), First: first, Latest: first,
			},
		},
		{
			AlertKey: key(runs.AlertSlowBurn, runs.ScopeRegion, "eu", "latency"), Severity: slo.SeverityTicket, StartsAt: began,
			Why: runs.Why{Rule: runs.RuleBurn, Bad: 90, Of: 1440, Over: slo.Window(24 * time.Hour), Expected: 0.01, Log10P: -40, Remaining: ratio(-0.25)},
		},
		{
			AlertKey: key(runs.AlertBlind, runs.ScopeRegion, "eu", ""), Severity: slo.SeverityTicket, StartsAt: began,
			Why: runs.Why{Rule: runs.RuleCoverage, Bad: 23, Of: 40, Over: slo.Window(40 * time.Minute), Coverage: ratio(0.425), Regions: []string{"eu"}},
		},
		{
			AlertKey: key(runs.AlertCacheLeak, runs.ScopeRegion, "eu", ""), Severity: slo.SeverityPage, StartsAt: began, EndsAt: began.Add(40 * time.Minute),
			Why: runs.Why{Rule: runs.RuleLeak, First: &runs.Failure{RunID: first.RunID, At: began, Cause: &runs.Cause{Class: runs.ClassCacheLeak, Step: "account", Detail: "got the mark of user b\x1b[2J"}}},
		},
	}
}

// Labels and annotations as people and their routes see them.
func TestWords(t *testing.T) {
	words := Words{External: "https://lastmile.example", Grafana: "https://grafana.example"}
	var b strings.Builder
	for _, a := range alerts() {
		b.WriteString(words.Text(&a, "pagerduty:events.pagerduty.com"))
	}
	path := filepath.Join("testdata", "words.golden")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != string(want) {
		t.Errorf("got\n%s\nwant what is in %s; where it is right, run the test with -update", got, path)
	}
}

// Nothing that changes while an alert is open may be a part of who it is.
func TestIdentity(t *testing.T) {
	a := alerts()[0]
	same := a
	same.Severity, same.StartsAt, same.EndsAt, same.Why, same.Flapping = slo.SeverityTicket, began.Add(1), began.Add(2), runs.Why{}, false
	if Identity(&a) != Identity(&same) {
		t.Error("got another identity for other values, want the same")
	}
	seen := map[string]bool{Identity(&a): true}
	for _, spoil := range []func(*runs.Alert){
		func(a *runs.Alert) { a.Name = runs.AlertBlind },
		func(a *runs.Alert) { a.Scope = runs.ScopeGlobal },
		func(a *runs.Alert) { a.Scenario = "search" },
		func(a *runs.Alert) { a.Region = "us" },
		func(a *runs.Alert) { a.Network = "" },
		func(a *runs.Alert) { a.SLO = "latency" },
		func(a *runs.Alert) { a.Labels = map[string]string{"service": "pay"} },
		func(a *runs.Alert) { a.Labels = map[string]string{"service": "shop\"\nteam=\"x"} },
	} {
		other := a
		spoil(&other)
		id := Identity(&other)
		if seen[id] {
			t.Errorf("got identity %s twice, the second time for %+v", id, other.AlertKey)
		}
		seen[id] = true
	}
}

// A scenario's own labels never replace ours, and an alert that lacks one of ours does not get it from there.
func TestOurLabelsStand(t *testing.T) {
	a := alerts()[1]
	a.Labels = map[string]string{"severity": "info", "scope": "x", "region": "moon", "slo": "y", "env": "prod"}
	want := map[string]string{"alertname": runs.AlertOutage, "severity": "page", "scope": "global", "scenario": "checkout", "env": "prod"}
	if got := Labels(&a); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Without addresses there are no links, and no empty annotation is made: Alertmanager would show it.
func TestNothingIsEmpty(t *testing.T) {
	for _, a := range alerts() {
		a.Runbook = ""
		for name, value := range (Words{}).Annotations(&a) {
			if value == "" || strings.HasSuffix(name, "_url") {
				t.Errorf("%s: got %s %q", a.Name, name, value)
			}
		}
	}
}

func TestClip(t *testing.T) {
	for _, tc := range []struct {
		text string
		most int
		want string
	}{{"short", 5, "short"}, {"shorter", 6, "sho..."}, {"äöü", 5, "ä..."}, {"a\xff", 5, "a?"}} {
		if got := Clip(tc.text, tc.most); got != tc.want || !utf8.ValidString(got) {
			t.Errorf("%q to %d: got %q, want %q", tc.text, tc.most, got, tc.want)
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{-1: "0 min", 59 * time.Minute: "59 min", 90 * time.Minute: "1 h 30 min", 50 * time.Hour: "2 d 2 h"} {
		if got := span(d); got != want {
			t.Errorf("%s: got %s, want %s", d, got, want)
		}
	}
}
