package artefact_test

import (
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"lastmile/internal/artefact"
	"lastmile/internal/runs"
)

// Results get room from artefacts, the oldest first, and only as much as they need.
func TestShed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, artefact.Options{Dir: dir})
	for i := range 4 {
		if _, err := s.Keep(t.Context(), of("shop", i), []runs.File{file("run.har", 60), file("b", 40)}); err != nil {
			t.Fatal(err)
		}
	}
	if freed := s.Shed(0); freed != 0 {
		t.Errorf("got %d bytes freed, want none where none are needed", freed)
	}
	if freed := s.Shed(101); freed != 200 {
		t.Errorf("got %d bytes freed, want those of two runs", freed)
	}
	want := "shop/" + string(of("shop", 2).RunID) + "/b shop/" + string(of("shop", 2).RunID) + "/run.har shop/" +
		string(of("shop", 3).RunID) + "/b shop/" + string(of("shop", 3).RunID) + "/run.har"
	if got := tree(t, dir); got != want {
		t.Errorf("got %s, want the files of the last two runs", got)
	}
	if got, want := s.Stats(), (artefact.Stats{Bytes: 200, Files: 4, Shed: 4}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if freed := s.Shed(math.MaxInt64); freed != 200 || tree(t, dir) != "" {
		t.Errorf("got %d bytes freed, want all", freed)
	}
}

// A disk that something else has nearly filled takes no new artefacts, and those that are there stay.
func TestSpare(t *testing.T) {
	dir := t.TempDir()
	if _, err := open(t, artefact.Options{Dir: dir}).Keep(t.Context(), of("shop", 0), []runs.File{file("run.har", 10)}); err != nil {
		t.Fatal(err)
	}
	s := open(t, artefact.Options{Dir: dir, Spare: 1 << 60}) // more than there is
	if kept, err := s.Keep(t.Context(), of("shop", 1), []runs.File{file("run.har", 10), file("b", 10)}); err == nil || len(kept) != 0 {
		t.Errorf("got %v and %v, want that the disk is nearly full", kept, err)
	}
	if got, want := s.Stats(), (artefact.Stats{Bytes: 10, Files: 1, Refused: 2}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// Where artefacts themselves fill the disk, the oldest make room for the next. What they take is a hole here: it is free on the disk, and so the
// test says how much that must leave.
func TestSpareMakesRoom(t *testing.T) {
	dir := t.TempDir()
	o := artefact.Options{Dir: dir, Bytes: 1 << 60}
	s := open(t, o)
	for i := range 3 {
		if _, err := s.Keep(t.Context(), of("shop", i), []runs.File{file("run.har", 10)}); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(dir, "shop", string(of("shop", i).RunID), "run.har"), 1<<42); err != nil {
			t.Fatal(err)
		}
	}
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	free := int64(st.Bavail) * st.Bsize
	o.Spare = free + 1<<41 // half of a hole is lacking
	s = open(t, o)
	if kept, err := s.Keep(t.Context(), of("shop", 3), []runs.File{file("run.har", 10)}); err != nil || len(kept) != 1 {
		t.Errorf("got %v and %v, want it stored", kept, err)
	}
	if got := s.Stats(); got.Files != 3 || got.Dropped != 1 || got.Refused != 0 {
		t.Errorf("got %+v, want one dropped for it", got)
	}
}

// A place gives room only on the disk that is full.
func TestPlaceSheds(t *testing.T) {
	dir := t.TempDir()
	p, err := artefact.OpenPlace(slog.New(slog.DiscardHandler), artefact.InDir, artefact.Options{Dir: filepath.Join(dir, "artefacts")})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Keep(t.Context(), of("shop", 0), []runs.File{file("run.har", 10)}); err != nil {
		t.Fatal(err)
	}
	for _, elsewhere := range []string{"/proc", filepath.Join(dir, "nowhere")} {
		if freed := p.Shed(elsewhere, 5); freed != 0 {
			t.Errorf("got %d bytes freed for %s, want none", freed, elsewhere)
		}
	}
	if freed := p.Shed(dir, 5); freed != 10 || p.Stats().Shed != 1 {
		t.Errorf("got %d bytes freed and %+v, want those of the run", freed, p.Stats())
	}
	for _, kind := range []string{artefact.AtHub, artefact.Nowhere} {
		other, err := artefact.OpenPlace(slog.New(slog.DiscardHandler), kind, artefact.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if freed := other.Shed(dir, 5); freed != 0 {
			t.Errorf("%s: got %d bytes freed, want none", kind, freed)
		}
		other.Close()
	}
}
