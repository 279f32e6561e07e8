package app

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lastmile/internal/bus"
	"lastmile/internal/bus/objects"
	"lastmile/internal/cli/clitest"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

var apiInUS = scenario.Combination{Scenario: "api", Region: "us", Network: "none"}

func TestArtefacts(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	server := startHub(t)
	hub, err := bus.Connect(t.Context(), log, bus.Options{Server: server, Name: "probe"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hub.Close() })
	if err := hub.EnsureStreams(t.Context(), []string{"us"}); err != nil {
		t.Fatal(err)
	}
	slot := time.Now().UTC().Truncate(time.Minute)
	id := runs.NewID(apiInUS, slot)
	bucket := hub.Artefacts("us")
	if err := bucket.Ensure(t.Context(), objects.Limits{Bytes: 8 << 20, Age: time.Hour}); err != nil {
		t.Fatal(err)
	}
	kept, err := bucket.Keep(t.Context(), &runs.Assignment{RunID: id}, []runs.File{{Kind: runs.ArtefactHAR, Name: "run.har", Data: []byte("{}")}})
	if err != nil {
		t.Fatal(err)
	}
	kept = append(kept,
		runs.Artefact{Kind: runs.ArtefactScreenshot, Step: "pay", Name: "pay.screenshot.jpg", Bytes: 12_300, Store: runs.StoreDir, Location: "/data/artefacts/api/x/pay.screenshot.jpg", ExpiresAt: time.Now().Add(time.Hour)},
		runs.Artefact{Kind: runs.ArtefactScreenshot, Step: "old", Name: "old.screenshot.jpg", Store: runs.StoreDir, ExpiresAt: time.Now().Add(-time.Hour)},
		runs.Artefact{Kind: runs.ArtefactFilmstrip, Name: "run.filmstrip.json", Store: runs.StoreHub, ExpiresAt: time.Now().Add(time.Hour)},
	)
	err = hub.PublishResult(t.Context(), runs.Result{
		Schema: runs.Schema, RunID: id, Scenario: "api", Region: "us", Network: "none", Slot: slot, Trigger: runs.TriggerSchedule, Probe: "p",
		State: runs.StateFailed, StartedAt: slot, DurationMS: 5, Artefacts: kept, ArtefactError: "one more: no room",
	})
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	code, got, errs := clitest.Run(t, Main, "artefacts", string(id), "--nats", server.URL(), "--out", out)
	for _, want := range []string{
		string(id) + ": failed, by probe p of us\n", "at the hub\n", "on probe p: /data/artefacts/api/x/pay.screenshot.jpg\n", "expired ",
		"no longer at the hub", "not kept: one more: no room\n", filepath.Join(out, "run.har") + "\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got status %d, %s, %s; want %q in it", code, got, errs, want)
		}
	}
	if body, err := os.ReadFile(filepath.Join(out, "run.har")); code != 0 || err != nil || string(body) != "{}" {
		t.Errorf("got status %d, %q, %v; want the har fetched", code, body, err)
	}
	for id, want := range map[string]string{"nonsense": "run id", string(runs.NewID(apiInUS, slot.Add(time.Minute))): "got no result of run"} {
		if code, _, errs := clitest.Run(t, Main, "artefacts", id, "--nats", server.URL()); code == 0 || !strings.Contains(errs, want) {
			t.Errorf("%s: got status %d, %q; want %q", id, code, errs, want)
		}
	}
}
