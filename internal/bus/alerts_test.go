package bus

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"lastmile/internal/bus/layout"
	"lastmile/internal/bus/orders"
	"lastmile/internal/runs"
)

// The state of the alerts changes by compare-and-swap only; one that nobody can read counts as rejected and can be replaced.
func TestAlertState(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	ctx := soon(t)
	if got, revision, err := b.Alerts(ctx); err != nil || revision != 0 || got.Schema != 0 {
		t.Fatalf("got %+v at %d, %v, want none", got, revision, err)
	}
	want := orders.AlertState{Schema: runs.Schema, Term: 3, State: []byte("{}"), Pending: []runs.Alert{{
		AlertKey: runs.AlertKey{Name: runs.AlertDown, Scenario: "shop", Region: "us"}, StartsAt: time.Now().UTC(),
	}}}
	revision, err := b.SaveAlerts(ctx, want, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got, at, err := b.Alerts(ctx); err != nil || at != revision || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v at %d, %v, want %+v at %d", got, at, err, want, revision)
	}
	for _, stale := range []uint64{0, revision - 1, revision + 1} {
		if _, err := b.SaveAlerts(ctx, want, stale); !errors.Is(err, ErrConflict) {
			t.Errorf("revision %d: got %v, want a conflict", stale, err)
		}
	}
	kv, err := b.js.KeyValue(ctx, layout.CoordBucket)
	if err != nil {
		t.Fatal(err)
	}
	damaged, err := kv.Put(ctx, "alerts", []byte("nonsense"))
	if err != nil {
		t.Fatal(err)
	}
	if got, at, err := b.Alerts(ctx); err != nil || at != damaged || got.Schema != 0 || b.Stats().Rejected[KindAlerts] != 1 {
		t.Errorf("got %+v at %d, %v, %d rejected, want nothing at %d, and 1 rejected", got, at, err, b.Stats().Rejected[KindAlerts], damaged)
	}
	if _, err := b.SaveAlerts(ctx, want, damaged); err != nil {
		t.Errorf("got %v, want it replaced", err)
	}
}
