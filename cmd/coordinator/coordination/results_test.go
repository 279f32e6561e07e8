package coordination

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lastmile/internal/runs"
)

// The results of a run are answered by any coordinator, whether it leads or not, and by none that has no hub yet.
func TestRunAnswers(t *testing.T) {
	t.Parallel()
	set, hub := tenSeconds(t), emptyHub(t)
	slot := set.Scenarios[0].Schedule.Next(apiInUS, time.Now().Add(-time.Minute))
	passed(t, hub, slot)
	passed(t, hub, slot.Add(10*time.Second))
	again := runs.Result{
		Schema: runs.Schema, RunID: runs.NewID(apiInUS, slot), Scenario: "api", Region: "us", Network: "none", Slot: slot,
		Trigger: runs.TriggerSchedule, Probe: "q", State: runs.StateFailed, StartedAt: slot.Add(time.Second), DurationMS: 7,
	}
	if err := hub.PublishResult(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	var f Front
	server := httptest.NewServer(f.Handler())
	defer server.Close()
	ask := func(id string) (status int, answer RunAnswer) {
		t.Helper()
		resp, err := http.Get(server.URL + "/api/v1/runs/" + id)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, answer
	}
	id := string(runs.NewID(apiInUS, slot))
	if status, got := ask(id); status != http.StatusServiceUnavailable || got.Error == "" {
		t.Errorf("without a hub: got %d %+v, want 503", status, got)
	}
	f.Show(New(slog.New(slog.DiscardHandler), set, hub, Options{}))
	status, got := ask(id)
	if status != http.StatusOK || len(got.Results) != 2 || got.Results[0].Probe != "p" || got.Results[1].Probe != "q" || got.Error != "" {
		t.Errorf("got %d %+v, want both results of the run, that of p first", status, got)
	}
	for id, want := range map[string]struct {
		status int
		text   string
	}{
		string(runs.NewID(apiInUS, slot.Add(time.Hour))): {http.StatusNotFound, "no result of this run is stored"},
		strings.Replace(id, ".us.", ".mars.", 1):         {http.StatusNotFound, "unknown region: got mars"},
		"api.us.none.9223372036854775807":                {http.StatusNotFound, "no result of this run is stored"},
		"api.us.none.1":                                  {http.StatusNotFound, "no result of this run is stored"},
		"nonsense":                                       {http.StatusBadRequest, "want scenario.region.network.unixtime"},
		"%00%ff%0a.us.%2e%2e%2f.1":                       {http.StatusBadRequest, "parse run id"},
		"a.us.*.1":                                       {http.StatusBadRequest, "parse run id"},
		strings.Repeat("x", 2000):                        {http.StatusBadRequest, "parse run id"},
	} {
		if status, got := ask(id); status != want.status || !strings.Contains(got.Error, want.text) {
			t.Errorf("%.100s: got %d %q, want %d and %q", id, status, got.Error, want.status, want.text)
		}
	}
	resp, err := http.Post(server.URL+"/api/v1/runs/"+id, "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusOK {
		t.Errorf("POST: got %d, want a refusal", resp.StatusCode)
	}
}
