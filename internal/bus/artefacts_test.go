package bus

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"lastmile/internal/bus/objects"
	"lastmile/internal/runs"
)

func TestArtefacts(t *testing.T) {
	b := newBus(t)
	a := assignment(t, "shop", "us")
	bucket := b.Artefacts("us")
	har := runs.File{Kind: runs.ArtefactHAR, Name: "run.har", ContentType: "application/json", Data: bytes.Repeat([]byte("x"), 300_000), Truncated: true}
	shot := runs.File{Kind: runs.ArtefactScreenshot, Step: "pay", Name: "pay.screenshot.jpg", ContentType: "image/jpeg", Data: []byte("picture")}
	if listed, err := bucket.List(soon(t), a.RunID); err != nil || len(listed) != 0 {
		t.Fatalf("without a bucket: got %v and %v, want nothing", listed, err)
	}
	if _, err := bucket.Keep(soon(t), &a, []runs.File{har}); err == nil {
		t.Fatal("got an artefact kept in no bucket, want an error")
	}
	limits := objects.Limits{Bytes: 8 << 20, Age: time.Hour}
	for range 2 { // as after a restart
		if err := bucket.Ensure(soon(t), limits); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := bucket.Keep(soon(t), &a, []runs.File{har, shot})
	if err != nil || len(kept) != 2 {
		t.Fatalf("got %+v and %v, want both kept", kept, err)
	}
	if k := kept[0]; k.Store != runs.StoreHub || k.Bytes != 300_000 || !k.Truncated || len(k.SHA256) != 64 || time.Until(k.ExpiresAt) > limits.Age || time.Until(k.ExpiresAt) < limits.Age/2 {
		t.Errorf("got %+v, want 300,000 bytes at the hub, for an hour", k)
	}
	listed, err := bucket.List(soon(t), a.RunID)
	if err != nil || len(listed) != 2 || listed[0].Name != shot.Name || listed[0].Step != "pay" || listed[1].Kind != runs.ArtefactHAR {
		t.Errorf("got %+v and %v, want the screenshot and the har", listed, err)
	}
	for _, f := range []runs.File{har, shot} {
		if body, err := bucket.Get(soon(t), a.RunID, f.Name); err != nil || !bytes.Equal(body, f.Data) {
			t.Errorf("%s: got %d bytes and %v, want it back as it was", f.Name, len(body), err)
		}
	}
	if other, err := bucket.List(soon(t), "shop.us.none.1"); err != nil || len(other) != 0 {
		t.Errorf("got %v and %v for another run, want nothing", other, err)
	}
	if body, err := bucket.Get(soon(t), a.RunID, "absent"); err == nil {
		t.Errorf("got %q, want an error", body)
	}
}

// A bucket that is full makes room by itself, the oldest first.
func TestArtefactsMakeRoom(t *testing.T) {
	b := newBus(t)
	bucket := b.Artefacts("us")
	if err := bucket.Ensure(soon(t), objects.Limits{Bytes: 4 << 20, Age: time.Hour}); err != nil {
		t.Fatal(err)
	}
	a := assignment(t, "shop", "us")
	for i := range 12 {
		if _, err := bucket.Keep(soon(t), &a, []runs.File{{Name: fmt.Sprintf("%02d.har", i), Data: bytes.Repeat([]byte("y"), 1<<20)}}); err != nil {
			t.Fatalf("file %d: %v", i, err)
		}
	}
	listed, err := bucket.List(soon(t), a.RunID)
	if err != nil || len(listed) < 2 || len(listed) > 4 || listed[len(listed)-1].Name != "11.har" {
		t.Errorf("got %+v and %v, want the last few", listed, err)
	}
}

// What cannot fit at all takes nothing of the room of others.
func TestArtefactsTooLarge(t *testing.T) {
	b := newBus(t)
	bucket := b.Artefacts("us")
	if err := bucket.Ensure(soon(t), objects.Limits{Bytes: 2 << 20, Age: time.Hour}); err != nil {
		t.Fatal(err)
	}
	a := assignment(t, "shop", "us")
	if _, err := bucket.Keep(soon(t), &a, []runs.File{{Name: "small.har", Data: []byte("{}")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.Keep(soon(t), &a, []runs.File{{Name: "large.har", Data: bytes.Repeat([]byte("y"), 3<<20)}}); err == nil || !strings.Contains(err.Error(), "holds") {
		t.Errorf("got %v, want an error that says that it is too large", err)
	}
	if listed, err := bucket.List(soon(t), a.RunID); err != nil || len(listed) != 1 {
		t.Errorf("got %v and %v, want the small one still there", listed, err)
	}
}

// A hub that has lost its store gets a new place for artefacts with the next run; one that is gone keeps no run waiting.
func TestArtefactsOfAHubThatFails(t *testing.T) {
	b := newBus(t)
	bucket := b.Artefacts("us")
	if err := bucket.Ensure(soon(t), objects.Limits{Bytes: 2 << 20, Age: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if err := b.js.DeleteObjectStore(soon(t), "ARTEFACTS_us"); err != nil {
		t.Fatal(err)
	}
	a := assignment(t, "shop", "us")
	files := []runs.File{{Name: "run.har", Data: []byte("{}")}}
	if kept, err := bucket.Keep(soon(t), &a, files); err != nil || len(kept) != 1 {
		t.Errorf("got %v and %v, want it kept", kept, err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if kept, err := bucket.Keep(t.Context(), &a, files); err == nil || time.Since(began) > 2*time.Second {
		t.Errorf("got %v after %s, want an error at once", kept, time.Since(began))
	}
}

func TestResultsOfARun(t *testing.T) {
	b := newBus(t)
	var want runs.Result
	for i := range 3 {
		a := assignment(t, "shop", "us")
		a.Slot = a.Slot.Add(time.Duration(i) * time.Minute)
		a.RunID = runs.NewID(a.Combination(), a.Slot)
		r := resultOf(a, "p")
		r.Artefacts = []runs.Artefact{{Name: "run.har", Store: runs.StoreDir, Location: "/x"}}
		if err := b.PublishResult(soon(t), r); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			want = r
		}
	}
	got, err := b.Results(soon(t), want.RunID)
	if err != nil || len(got) != 1 || got[0].RunID != want.RunID || len(got[0].Artefacts) != 1 {
		t.Errorf("got %+v and %v, want the one result of %s", got, err, want.RunID)
	}
	if got, err := b.Results(soon(t), "shop.us.none.1"); err != nil || len(got) != 0 {
		t.Errorf("got %v and %v, want none", got, err)
	}
	if stream, err := b.js.Stream(soon(t), "RESULTS_us"); err != nil || stream.CachedInfo().State.Consumers != 0 {
		t.Errorf("got %d consumers left behind, %v, want none", stream.CachedInfo().State.Consumers, err)
	}
	for id, wrong := range map[runs.ID]string{"nonsense": "run id", "shop.mars.none.1700000000": "find results"} {
		if _, err := b.Results(soon(t), id); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%s: got %v, want an error with %q", id, err, wrong)
		}
	}
}
