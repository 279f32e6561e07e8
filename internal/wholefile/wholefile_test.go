package wholefile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// At each step there is a whole file under the name, and at the end nothing beside it.
func TestReplaceGoesByWholeFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "books")
	if err := os.WriteFile(path+ending, []byte("what a crash left: longer than all that follows"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Replace(path, text("old"), nil); err != nil {
		t.Fatal(err)
	}
	seen := map[Step]string{}
	if err := Replace(path, text("new"), func(s Step) { seen[s] = content(t, path) }); err != nil {
		t.Fatal(err)
	}
	if seen[Written] != "old" || seen[Renamed] != "new" || content(t, path) != "new" {
		t.Errorf("got %v and %q in the end, want the old one until it is renamed", seen, content(t, path))
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("got %v, %v, want one file", left, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v, want a file for its owner only", info, err)
	}
}

// What cannot be written leaves the old file, and nothing else.
func TestFailuresLeaveTheOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "books")
	if err := Replace(path, text("old"), nil); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	err := Replace(path, func(w io.Writer) error { return errors.Join(text("half")(w), broken) }, nil)
	if !errors.Is(err, broken) || content(t, path) != "old" {
		t.Errorf("got %v and %q, want the writer's error and the old file", err, content(t, path))
	}
	folder := filepath.Join(dir, "folder", "in it")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Replace(filepath.Dir(folder), text("a file where a folder is"), nil); err == nil {
		t.Error("in the place of a folder: got no error")
	}
	if err := Replace(filepath.Join(dir, "none", "books"), text("new"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("in a folder that is not there: got %v, want os.ErrNotExist", err)
	}
	left, err := os.ReadDir(dir)
	if names := slices.Collect(func(yield func(string) bool) {
		for _, e := range left {
			if !yield(e.Name()) {
				return
			}
		}
	}); err != nil || !slices.Equal(names, []string{"books", "folder"}) {
		t.Errorf("got %v, %v, want nothing beside what was there", names, err)
	}
}
