package console

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/slo"
)

func TestAlertLines(t *testing.T) {
	began := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	left, covered := slo.Ratio(0.4217), slo.Ratio(0.31)
	down := runs.Alert{
		AlertKey: runs.AlertKey{Name: runs.AlertDown, Scope: runs.ScopeRegion, Scenario: "checkout", Region: "eu", Network: "3g", SLO: "up"},
		Severity: slo.SeverityPage, StartsAt: began,
		Why: runs.Why{
			Rule: runs.RuleHard, Bad: 6, Of: 6, Log10P: -11.7, Remaining: &left,
			First: &runs.Failure{Cause: &runs.Cause{Class: runs.ClassHTTP5xx, Step: "pay", Detail: "got 503,\nwant 200"}},
		},
	}
	ended := down
	ended.EndsAt = began.Add(12*time.Minute + 3*time.Second)
	outage := runs.Alert{
		AlertKey: runs.AlertKey{Name: runs.AlertOutage, Scope: runs.ScopeGlobal, Scenario: "checkout"}, Severity: slo.SeverityPage, StartsAt: began,
		Why: runs.Why{Rule: runs.RuleQuorum, Bad: 5, Of: 9, Over: slo.Window(5 * time.Minute), Regions: []string{"eu", "us"}},
	}
	blind := runs.Alert{
		AlertKey: runs.AlertKey{Name: runs.AlertBlind, Scope: runs.ScopeRegion, Scenario: "checkout", Region: "ap"}, Severity: slo.SeverityTicket, StartsAt: began, Inhibited: true,
		Why: runs.Why{Rule: runs.RuleCoverage, Coverage: &covered, Bad: 9, Of: 13},
	}
	var out bytes.Buffer
	c := New(&out, func() []runs.Account { return nil }, Options{})
	for _, tc := range []struct {
		alert runs.Alert
		want  string
	}{
		{down, "PAGE  LastmileDown began: checkout in eu on 3g, up  6 of the last 6 bad; first http_5xx at pay: got 503, want 200; by chance once in 1e11; budget left 42.2%\n"},
		{down, "PAGE  LastmileDown goes on: checkout in eu"},
		{ended, "over  LastmileDown ended after 12m3s: checkout in eu"},
		{down, "PAGE  LastmileDown began: checkout in eu"},
		{outage, "PAGE  LastmileOutage began: checkout  5 of 9 bad within 5m; in eu, us\n"},
		{blind, "tick  LastmileMonitoringBlind began: checkout in ap  31.0% of the runs measured of late  (not sent: another alert says it)\n"},
	} {
		out.Reset()
		c.Alert(&tc.alert)
		if got := out.String(); !strings.Contains(got, tc.want) || strings.Count(got, "\n") != 1 {
			t.Errorf("got %q, want one line with %q", got, tc.want)
		}
	}
}

// On a terminal an alert takes one line of it, whatever it has to say.
func TestAlertLinesFitTheTerminal(t *testing.T) {
	var out bytes.Buffer
	c := New(&out, func() []runs.Account { return nil }, Options{Color: true, Size: func() Size { return Size{Width: 60} }})
	c.Alert(&runs.Alert{
		AlertKey: runs.AlertKey{Name: runs.AlertDown, Scenario: "checkout", Region: "eu"}, StartsAt: time.Now(), Severity: slo.SeverityPage,
		Why: runs.Why{Bad: 6, Of: 6, First: &runs.Failure{Cause: &runs.Cause{Class: runs.ClassAssertion, Detail: strings.Repeat("long ", 50)}}},
	})
	plain := out.String()
	for _, code := range []string{"\x1b[91m", "\x1b[0m"} {
		if !strings.Contains(plain, code) {
			t.Errorf("got %q, want it in red", plain)
		}
		plain = strings.ReplaceAll(plain, code, "")
	}
	if n := len([]rune(strings.TrimSuffix(plain, "\n"))); n > 60 {
		t.Errorf("got %d characters, want at most 60: %q", n, plain)
	}
}
