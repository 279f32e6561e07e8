package spool

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lastmile/internal/runs"
)

// typical is a result of 15 kB.
func typical(n int64) runs.Result {
	r := result("a", n)
	for range 60 {
		r.Requests = append(r.Requests, runs.Request{URL: strings.Repeat("u", 150)})
	}
	return r
}

// BenchmarkFloor is what the promise costs with nothing around it: 15 kB written to a file that is synced, renamed, and its folder synced.
// BenchmarkPut and BenchmarkClaim beside it are what a run waits for.
func BenchmarkFloor(b *testing.B) {
	dir := b.TempDir()
	body := make([]byte, 15<<10)
	for b.Loop() {
		f, err := os.Create(filepath.Join(dir, "temp"))
		if err != nil {
			b.Fatal(err)
		}
		_, err = f.Write(body)
		folder, openErr := os.Open(dir)
		if err != nil || openErr != nil || f.Sync() != nil || f.Close() != nil ||
			os.Rename(filepath.Join(dir, "temp"), filepath.Join(dir, "x")) != nil || folder.Sync() != nil || folder.Close() != nil {
			b.Fatal("not written", err, openErr)
		}
	}
}

func BenchmarkPut(b *testing.B) {
	s := open(b, b.TempDir())
	r := typical(1)
	b.ReportAllocs()
	for b.Loop() {
		put(b, s, r)
	}
}

// BenchmarkPutTogether is that of 16 runs that end at one time.
func BenchmarkPutTogether(b *testing.B) {
	s := open(b, b.TempDir())
	all := make(chan runs.Result, 16)
	for n := range int64(16) {
		all <- typical(n + 1)
	}
	b.SetParallelism(8)
	b.RunParallel(func(p *testing.PB) {
		r := <-all
		for p.Next() {
			put(b, s, r)
		}
		all <- r
	})
}

func BenchmarkClaim(b *testing.B) {
	s := open(b, b.TempDir())
	a := assignment("a", 1)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Claim(a); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPending is what the list costs while so many results wait: one more, the oldest read and removed. The disk is one that does not
// sync, so that nothing else is seen.
func BenchmarkPending(b *testing.B) {
	for _, waiting := range []int64{10, 10_000, 100_000} {
		b.Run(fmt.Sprint(waiting), func(b *testing.B) {
			s := filled(b, b.TempDir(), waiting)
			n := waiting
			for b.Loop() {
				n++
				put(b, s, result("a", n))
				r, err := s.Next(context.Background())
				if err != nil {
					b.Fatal(err)
				}
				if err := s.Remove(r.RunID); err != nil {
					b.Fatal(err)
				}
			}
			if s.Pending() != int(waiting) {
				b.Errorf("got %d pending, want %d", s.Pending(), waiting)
			}
		})
	}
}

// BenchmarkOpen is a start with 100,000 results that wait.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	filled(b, dir, 100_000).Close()
	for b.Loop() {
		s, err := openOn(unsynced{}, discard(), dir, Options{})
		if err != nil || s.Pending() != 100_000 {
			b.Fatal(err, s.Pending())
		}
		s.Close()
	}
}

// unsynced is the machine's disk without the syncing.
type unsynced struct{ machine }

func (unsynced) sync(string) error { return nil }

func (unsynced) create(path string) (file, error) {
	f, err := machine{}.create(path)
	return unsyncedFile{f}, err
}

type unsyncedFile struct{ file }

func (unsyncedFile) Sync() error { return nil }

// filled has results of that many minutes.
func filled(t testing.TB, dir string, waiting int64) *Spool {
	t.Helper()
	s, err := openOn(unsynced{}, discard(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for n := waiting; n > 0; n-- { // the newest first: each goes to the front
		put(t, s, result("a", n))
	}
	return s
}

// The order of many is that of their slots, whatever the order in which they came.
func TestManyPending(t *testing.T) {
	t.Parallel()
	const waiting = 500
	dir := t.TempDir()
	filled(t, dir, waiting).Close()
	s, err := openOn(unsynced{}, discard(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ids := drain(t, s)
	if len(ids) != waiting || ids[0] != result("a", 1).RunID || ids[waiting-1] != result("a", waiting).RunID {
		t.Errorf("got %d results, want %d in the order of their slots", len(ids), waiting)
	}
}
