package artefact_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lastmile/internal/artefact"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

func open(t *testing.T, o artefact.Options) *artefact.Store {
	t.Helper()
	s, err := artefact.Open(slog.New(slog.DiscardHandler), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// of is the order of the run of a scenario at a minute.
func of(name string, minute int) *runs.Assignment {
	slot := time.Unix(1_700_000_000+int64(minute)*60, 0)
	id := runs.NewID(scenario.Combination{Scenario: name, Region: "us", Network: "none"}, slot)
	return &runs.Assignment{RunID: id, Scenario: scenario.Scenario{Name: name}}
}

func file(name string, size int) runs.File {
	return runs.File{Kind: runs.ArtefactHAR, Step: "pay", Name: name, ContentType: "application/json", Data: bytes.Repeat([]byte("x"), size), Truncated: true}
}

// tree lists the files below a directory.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			out = append(out, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, " ")
}

func TestKeep(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s := open(t, artefact.Options{Dir: dir})
	a := of("shop", 0)
	kept, err := s.Keep(t.Context(), a, []runs.File{file("run.har", 10), file("pay.screenshot.jpg", 20)})
	if err != nil || len(kept) != 2 {
		t.Fatalf("got %+v and %v, want two files", kept, err)
	}
	k := kept[0]
	if want := filepath.Join(dir, "shop", string(a.RunID), "run.har"); k.Location != want || k.Store != runs.StoreDir || k.Bytes != 10 || !k.Truncated || k.Step != "pay" {
		t.Errorf("got %+v, want it at %s", k, want)
	}
	if got := time.Until(k.ExpiresAt); got < 6*24*time.Hour || got > 7*24*time.Hour {
		t.Errorf("got an end in %s, want in 7 days", got)
	}
	if info, err := os.Stat(k.Location); err != nil || info.Mode().Perm() != 0o600 || info.Size() != 10 {
		t.Errorf("got %v and %v, want 10 bytes for this user only", info, err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("got %v and %v, want a directory for this user only", info, err)
	}
	if got, want := s.Stats(), (artefact.Stats{Bytes: 30, Files: 2}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestKeepRefuses(t *testing.T) {
	outside := t.TempDir()
	dir := filepath.Join(outside, "in")
	s := open(t, artefact.Options{Dir: dir})
	for _, name := range []string{"", ".", "..", "../out", "/etc/x", "a/b", ".hidden", "x.tmp", "a\x00b", strings.Repeat("n", 200)} {
		kept, err := s.Keep(t.Context(), of("shop", 0), []runs.File{file(name, 1), file("good.har", 1)})
		if err == nil || len(kept) != 1 || kept[0].Name != "good.har" {
			t.Errorf("name %q: got %+v and %v, want an error and the good file", name, kept, err)
		}
	}
	for _, a := range []*runs.Assignment{{RunID: "../../x", Scenario: scenario.Scenario{Name: "shop"}}, {RunID: of("shop", 0).RunID, Scenario: scenario.Scenario{Name: ".."}}} {
		if kept, err := s.Keep(t.Context(), a, []runs.File{file("x", 1)}); err == nil {
			t.Errorf("%s of %s: got %+v, want an error", a.RunID, a.Scenario.Name, kept)
		}
	}
	// A link in the way is not followed out of the directory.
	if err := os.Symlink(outside, filepath.Join(dir, "linked")); err != nil {
		t.Fatal(err)
	}
	if kept, err := s.Keep(t.Context(), of("linked", 0), []runs.File{file("x", 1)}); err == nil {
		t.Errorf("got %+v through a link, want an error", kept)
	}
	if got, want := tree(t, outside), "in/linked in/shop/"+string(of("shop", 0).RunID)+"/good.har"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// What is too much goes, the oldest first; a store remembers what it has over a restart.
func TestBoundedSize(t *testing.T) {
	dir := t.TempDir()
	o := artefact.Options{Dir: dir, Bytes: 100}
	s := open(t, o)
	for i := range 6 {
		if _, err := s.Keep(t.Context(), of("shop", i), []runs.File{file("run.har", 15), file("b", 15)}); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Duration(i-10) * time.Minute)
		if err := os.Chtimes(filepath.Join(dir, "shop", string(of("shop", i).RunID)), at, at); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := s.Stats(), (artefact.Stats{Bytes: 90, Files: 6, Dropped: 6}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if kept, err := s.Keep(t.Context(), of("shop", 9), []runs.File{file("x", 101)}); err == nil {
		t.Errorf("got %v, want an error for more than the whole store may have", kept)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(dir, "shop", string(of("shop", 5).RunID), "half.har.tmp")
	foreign := filepath.Join(dir, "notes", "README")
	for _, path := range []string{half, foreign} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("not ours"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hourAgo := time.Now().Add(-time.Hour)
	if err := os.Chtimes(half, hourAgo, hourAgo); err != nil {
		t.Fatal(err)
	}
	o.Bytes = 60
	s = open(t, o)
	if got, want := s.Stats(), (artefact.Stats{Bytes: 60, Files: 4, Dropped: 2}); got != want {
		t.Errorf("after a restart with less room: got %+v, want %+v", got, want)
	}
	want := "notes/README"
	for _, i := range []int{4, 5} {
		id := of("shop", i).RunID
		want += fmt.Sprintf(" shop/%s/b shop/%s/run.har", id, id)
	}
	if got := tree(t, dir); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// The same run again takes the place of its files.
func TestKeepAgain(t *testing.T) {
	dir := t.TempDir()
	s := open(t, artefact.Options{Dir: dir})
	for _, name := range []string{"first.har", "second.har"} {
		if _, err := s.Keep(t.Context(), of("shop", 0), []runs.File{file(name, 10)}); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := tree(t, dir), "shop/"+string(of("shop", 0).RunID)+"/second.har"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := s.Stats(); got.Bytes != 10 || got.Files != 1 {
		t.Errorf("got %+v, want one file of 10 bytes", got)
	}
}

func TestExpiry(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, artefact.Options{Dir: dir, Age: 150 * time.Minute})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		for i := range 2 {
			if _, err := s.Keep(t.Context(), of("shop", i), []runs.File{file("run.har", 10)}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Minute)
			synctest.Wait()
		}
		if got, want := s.Stats(), (artefact.Stats{Bytes: 10, Files: 1, Expired: 1}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if got, want := tree(t, dir), "shop/"+string(of("shop", 1).RunID)+"/run.har"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if got := tree(t, dir); got != "" {
			t.Errorf("got %s, want nothing left", got)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
			t.Errorf("got %v and %v, want no folder left", entries, err)
		}
		stop()
		if err := <-done; err != nil {
			t.Errorf("run: got %v, want a clean end", err)
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := artefact.Open(slog.New(slog.DiscardHandler), artefact.Options{Dir: path}); err == nil {
		t.Error("got a store in a file, want an error")
	}
}

// Small files take more of a disk than their size says, and a run of which nothing could be stored takes nothing.
func TestBoundedNumber(t *testing.T) {
	dir := t.TempDir()
	s := open(t, artefact.Options{Dir: dir, Runs: 3})
	for i := range 10 {
		if _, err := s.Keep(t.Context(), of("shop", i), []runs.File{file("run.har", 1)}); err != nil {
			t.Fatal(err)
		}
		if kept, err := s.Keep(t.Context(), of("other", i), []runs.File{file("../x", 1)}); err == nil {
			t.Fatalf("got %v kept, want an error", kept)
		}
	}
	if got, want := s.Stats(), (artefact.Stats{Bytes: 2, Files: 2, Dropped: 8, Errors: 10}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	folders, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil || len(folders) != 2 {
		t.Errorf("got %v and %v, want the folders of the last two runs", folders, err)
	}
}
