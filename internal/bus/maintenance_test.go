package bus

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"lastmile/internal/bus/audit"
	"lastmile/internal/bus/layout"
	"lastmile/internal/bus/orders"
	"lastmile/internal/runs"
	"lastmile/internal/runs/notes"
)

// The windows are there for every coordinator, change by compare-and-swap only, and one that nobody can read can be replaced.
func TestMaintenance(t *testing.T) {
	b := newBus(t)
	ctx := t.Context()
	if list, revision, err := b.Maintenance(ctx); err != nil || revision != 0 || list != nil {
		t.Fatalf("nothing there: got %v at %d, %v", list, revision, err)
	}
	now := time.Now().UTC().Truncate(time.Second)
	m := runs.Maintenance{ID: "m-1", Scenario: "shop", From: now, To: now.Add(time.Hour), Why: "database", By: "ana", MadeAt: now}
	first, err := b.SaveMaintenance(ctx, []runs.Maintenance{m}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for what, revision := range map[string]uint64{"create twice": 0, "another revision": first + 1} {
		if _, err := b.SaveMaintenance(ctx, nil, revision); !errors.Is(err, ErrConflict) {
			t.Errorf("%s: got %v, want ErrConflict", what, err)
		}
	}
	if list, revision, err := b.Maintenance(ctx); err != nil || revision != first || !reflect.DeepEqual(list, []runs.Maintenance{m}) {
		t.Errorf("got %+v at %d, %v, want the window", list, revision, err)
	}
	kv, err := b.js.KeyValue(ctx, layout.CoordBucket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(ctx, orders.KindMaintenance, []byte("nonsense")); err != nil {
		t.Fatal(err)
	}
	_, revision, err := b.Maintenance(ctx)
	if !errors.Is(err, orders.ErrUnusable) || revision <= first {
		t.Fatalf("nonsense: got revision %d, %v, want ErrUnusable", revision, err)
	}
	if _, err := b.SaveMaintenance(ctx, nil, revision); err != nil {
		t.Fatal(err)
	}
	if list, _, err := b.Maintenance(ctx); err != nil || len(list) != 0 {
		t.Errorf("got %v, %v, want none", list, err)
	}
}

// What is planned follows from the records of beginnings, less what is in no plan any more.
func TestPlanned(t *testing.T) {
	b := newBus(t)
	ctx := t.Context()
	if planned, err := b.Planned(ctx); err != nil || len(planned) != 0 {
		t.Fatalf("nothing there: got %v, %v", planned, err)
	}
	for _, record := range []notes.Begun{
		{Schema: runs.Schema, Region: "us", First: map[string]int64{"shop.none": 1, "shop.3g": 1, "api.none": 1, "old.none": 1}, Left: map[string]int64{"old.none": 2}},
		{Schema: runs.Schema, Region: "eu-central", First: map[string]int64{"api.none": 1}},
	} {
		if _, err := b.SaveBegun(ctx, record, 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.AdvanceCursor(ctx, "us", time.Now(), 0); err != nil {
		t.Fatal(err)
	}
	planned, err := b.Planned(ctx)
	if want := map[string][]string{"us": {"api", "shop"}, "eu-central": {"api"}}; err != nil || !reflect.DeepEqual(planned, want) {
		t.Errorf("got %v, %v, want %v", planned, err, want)
	}
}

// The hub has an audit trail as soon as it has streams.
func TestAudit(t *testing.T) {
	b := newBus(t)
	e := audit.Entry{At: time.Now(), By: "ana", Object: "maintenance", Action: "add", ID: "m-1"}
	if err := b.Audit().Append(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if got, unusable, err := b.Audit().Read(t.Context(), time.Now().Add(-time.Hour), 10); err != nil || unusable != 0 || len(got) != 1 || got[0].ID != "m-1" {
		t.Errorf("got %+v, %d, %v, want the entry", got, unusable, err)
	}
}
