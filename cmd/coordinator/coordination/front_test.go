package coordination

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lastmile/internal/cli/clitest"
	"lastmile/internal/ledger"
	"lastmile/internal/slo"
	"lastmile/internal/statement"
)

// TestLedgerIsTheLeadersToShow has two coordinators on one hub: the one that leads answers for its books, the other one says who leads, and
// shows no metrics but those about itself.
func TestLedgerIsTheLeadersToShow(t *testing.T) {
	set, hub := tenSeconds(t), emptyHub(t)
	passed(t, hub, set.Scenarios[0].Schedule.Next(apiInUS, time.Now().Add(-time.Minute)))
	fronts := map[string]*Front{"127.0.0.1:1001": {}, "127.0.0.1:1002": {}}
	urls := map[string]string{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, len(fronts))
	for address, f := range fronts {
		server := httptest.NewServer(f.Handler())
		t.Cleanup(server.Close)
		urls[address] = server.URL
		if _, err := statement.Ask(t.Context(), server.Client(), server.URL, oneHour()); err == nil || !strings.Contains(err.Error(), "the hub has not been reached yet") {
			t.Errorf("got %v, want it said that there are no books yet", err)
		}
		u := New(slog.New(slog.DiscardHandler), set, hub, Options{Address: address})
		f.Show(u)
		go func() { done <- u.Run(ctx, ctx) }()
	}
	var s statement.Statement
	var leader string
	clitest.Eventually(t, "the leader's books", func() bool {
		for address, url := range urls {
			got, err := statement.Ask(t.Context(), http.DefaultClient, url, oneHour())
			if err == nil && got.Within.Planned > 1 {
				s, leader = got, address
				return true
			}
		}
		return false
	})
	if !s.Within.Balanced || !s.InAll.Balanced || len(s.Rows) != 1 || s.Within.States["passed"] != 1 || s.Within.Unbooked != 0 {
		t.Errorf("got %+v, want one row that adds up, with the passed run", s.Within)
	}
	for address, url := range urls {
		if address == leader {
			if text := get(t, url+"/metrics"); !strings.Contains(text, "\nlastmile_coordinator_leader 1\n") || !strings.Contains(text, "lastmile_ledger_slots{") {
				t.Errorf("leader's metrics: got %.300q, want books", text)
			}
			continue
		}
		clitest.Eventually(t, "the other one's word on who leads", func() bool {
			var answer struct{ Error, Leader string }
			err := json.Unmarshal([]byte(get(t, url+statement.Path+"?scenario=api")), &answer)
			return err == nil && answer.Leader == leader && strings.Contains(answer.Error, "stands by: ask "+leader)
		})
		if text := get(t, url+"/metrics"); !strings.Contains(text, "\nlastmile_coordinator_leader 0\n") || strings.Contains(text, "lastmile_ledger_slots{") {
			t.Errorf("metrics of one that stands by: got %.300q, want no books", text)
		}
	}
	cancel()
	for range fronts {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestStatementsReachAsFarBackAsTheLedger holds the one bound against the other: of older slots the ledger keeps counts only.
func TestStatementsReachAsFarBackAsTheLedger(t *testing.T) {
	if got := statement.Longest.Duration(); got != ledger.Retention {
		t.Errorf("statements: got %s, want the %s for which the ledger keeps single slots", got, ledger.Retention)
	}
}

// oneHour asks for the books of the last hour.
func oneHour() statement.Query {
	return statement.Query{Scenario: "api", Since: slo.Window(time.Hour), Limit: 10}
}

// get reads a page, whatever its status.
func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
