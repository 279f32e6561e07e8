package snapshot_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/snapshot"
)

var header = snapshot.Header{
	Schema: snapshot.Schema, Program: "coordinator test", TakenAt: time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC),
	Positions: []runs.Position{{Stream: "results-eu", Created: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), Sequence: 42}},
}

func content(data []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}
}

// read returns what the file holds, and whether body was called at all.
func read(path string) (h snapshot.Header, data []byte, called bool, err error) {
	err = snapshot.Read(path, func(got snapshot.Header, r io.Reader) error {
		h, called = got, true
		data, err = io.ReadAll(r)
		return err
	})
	return h, data, called, err
}

func TestReadGivesWhatWasWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	for _, data := range [][]byte{[]byte("the books"), {}, bytes.Repeat([]byte("0123456789"), 1<<18)} { // each replaces the one before
		if err := snapshot.Write(path, header, content(data)); err != nil {
			t.Fatal(err)
		}
		h, got, _, err := read(path)
		if err != nil || !bytes.Equal(got, data) || !reflect.DeepEqual(h, header) {
			t.Fatalf("got %d bytes, header %+v, error %v, want %d and %+v", len(got), h, err, len(data), header)
		}
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("got files %v, error %v, want the snapshot only", files, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v, error %v, want it readable by its owner only", info.Mode(), err)
	}
}

// Whatever byte is wrong or missing, the content is not handed over.
func TestADamagedFileIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	if err := snapshot.Write(path, header, content([]byte("the books of three days"))); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, at int, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, called, err := read(path); err == nil || called || errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s %d: got error %v, content handed over: %t, want an error only", what, at, err, called)
		}
	}
	for at := range good {
		bad := bytes.Clone(good)
		bad[at] ^= 0x10
		try("byte changed at", at, bad)
		try("cut at", at, good[:at])
	}
	try("longer by", 1, append(bytes.Clone(good), 0))
}

func TestAFileOfAnotherSchemaIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	other := header
	other.Schema++
	if err := snapshot.Write(path, other, content([]byte("x"))); err != nil {
		t.Fatal(err)
	}
	if _, _, called, err := read(path); err == nil || called {
		t.Errorf("got error %v, content handed over: %t, want an error only", err, called)
	}
	if _, _, _, err := read(path + "-none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: got %v, want that it does not exist", err)
	}
}

// A writer that fails, and one that is killed in the middle, leave the last good file.
func TestAFailedWriteKeepsTheOldFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	if err := snapshot.Write(path, header, content([]byte("old"))); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	err := snapshot.Write(path, header, func(w io.Writer) error { return errors.Join(content(bytes.Repeat([]byte("new"), 1<<20))(w), broken) })
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want the error of the writer", err)
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("got files %v, error %v, want the old one only", files, err)
	}
	if err := os.WriteFile(path+".new", []byte("half"), 0o600); err != nil { // what a kill leaves
		t.Fatal(err)
	}
	if _, data, _, err := read(path); err != nil || string(data) != "old" {
		t.Errorf("got %q, error %v, want the old content", data, err)
	}
	if err := snapshot.Write(path, header, content([]byte("newer"))); err != nil {
		t.Fatal(err)
	}
	if _, data, _, err := read(path); err != nil || string(data) != "newer" {
		t.Errorf("got %q, error %v, want the new content", data, err)
	}
	if err := snapshot.Write(filepath.Join(path, "under", "a", "file"), header, content(nil)); err == nil {
		t.Error("no such folder: got no error")
	}
}

func TestTheErrorOfBodyIsHandedOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	if err := snapshot.Write(path, header, content([]byte("x"))); err != nil {
		t.Fatal(err)
	}
	refused := errors.New("refused")
	if err := snapshot.Read(path, func(snapshot.Header, io.Reader) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("got %v, want what body said", err)
	}
}

func FuzzRead(f *testing.F) {
	path := filepath.Join(f.TempDir(), "ledger")
	if err := snapshot.Write(path, header, content([]byte("the books"))); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "ledger")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, got, called, err := read(path); called && err == nil && !bytes.Equal(data, good) {
			t.Errorf("got %d bytes of a file that nobody wrote", len(got))
		}
	})
}
