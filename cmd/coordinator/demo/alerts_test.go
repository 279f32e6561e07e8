package demo

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"lastmile/internal/runs"
)

// The summary has each alert once, as it was last, in the order in which they began; one that begins anew is another one. Without any it has an empty list.
func TestAlertsOfTheSummary(t *testing.T) {
	began := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	at := func(region string, minutes int) runs.Alert {
		return runs.Alert{AlertKey: runs.AlertKey{Name: runs.AlertDown, Scenario: "api", Region: region}, StartsAt: began.Add(time.Duration(minutes) * time.Minute)}
	}
	ended := at("us", 1)
	ended.EndsAt = began.Add(5 * time.Minute)
	var l alerts
	text, err := json.Marshal(summary{Alerts: l.list()})
	if err != nil || !strings.Contains(string(text), `"alerts":[]`) {
		t.Errorf("got %s, %v, want an empty list", text, err)
	}
	for _, a := range []runs.Alert{at("us", 1), at("us", 6), at("eu", 0), ended} {
		l.note(&a)
	}
	got := l.list()
	if len(got) != 3 || got[0].Region != "eu" || !got[1].EndsAt.Equal(ended.EndsAt) || !got[2].Active() {
		t.Errorf("got %+v, want eu, us with its end, and us anew", got)
	}
}
