package report_test

import (
	"strings"
	"testing"
	"time"

	"lastmile/internal/report"
	"lastmile/internal/runs"
)

func TestTextOfAReplication(t *testing.T) {
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for want, r := range map[string]runs.Replication{
		"  written in us, visible 730 ms later (± 105 ms); 9 reads, 8 stale, 0 backwards\n": {From: "us", WrittenAt: at, LagMS: new(730.2), ErrorMS: 105.4, Looks: 9, StaleReads: 8},
		"  written in us, and lost; 70 reads, 70 stale, 0 backwards\n":                      {From: "us", WrittenAt: at, Lost: true, Looks: 70, StaleReads: 70},
		"  written in us\n":         {From: "us", WrittenAt: at},
		"  nothing written in us\n": {From: "us"},
	} {
		var out strings.Builder
		report.Text(&out, &runs.Result{Replication: &r})
		if !strings.Contains(out.String(), want) {
			t.Errorf("got %q, want %q in it", out.String(), want)
		}
	}
}
