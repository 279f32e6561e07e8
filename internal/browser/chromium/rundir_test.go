package chromium

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"lastmile/internal/scenario"
)

func limited() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	context.AfterFunc(ctx, cancel)
	return ctx
}

func install(t *testing.T, opts Options) *Installation {
	t.Helper()
	opts.NoSandbox = os.Getuid() == 0
	in, err := New(slog.New(slog.DiscardHandler), opts)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// A probe that is killed cannot tidy up. Its Chromium dies with it, and the directory goes at the next start.
func TestKilledProbe(t *testing.T) {
	for _, engine := range []scenario.Engine{scenario.EngineShell, scenario.EngineFull} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			dir := tempDir(t)
			v := startVictim(t, engine, dir)
			leader := leaderOf(t, dir)
			v.kill()
			eventually(t, "end of the browser", func() bool { s, ok := statOf(leader); return !ok || s.state == "Z" })
			install(t, Options{TempDir: dir})
			for _, pid := range members(leader) {
				t.Errorf("process after the next start: got %d, a %s, want none", pid, kindOf(pid))
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("directories after the next start: got %v, %v, want none", left, err)
			}
		})
	}
}

// What is stuck of a Chromium that was killed too goes at the next start.
func TestKilledProbeAndBrowser(t *testing.T) {
	for _, engine := range []scenario.Engine{scenario.EngineShell, scenario.EngineFull} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			dir := tempDir(t)
			v := startVictim(t, engine, dir)
			leader := leaderOf(t, dir)
			stopped := 0
			for _, pid := range members(leader) {
				if kindOf(pid) == "renderer" && syscall.Kill(pid, syscall.SIGSTOP) == nil { // cannot notice that its browser is gone
					stopped++
				}
			}
			signal := func(s syscall.Signal) {
				if err := syscall.Kill(leader, s); err != nil {
					t.Fatal(err)
				}
			}
			signal(syscall.SIGSTOP) // neither ends its renderers when its probe is gone, nor does the probe when it is
			v.kill()
			signal(syscall.SIGKILL)
			eventually(t, "end of the browser", func() bool { s, ok := statOf(leader); return !ok || s.state == "Z" })
			if left := members(leader); stopped == 0 || len(left) == 0 {
				t.Errorf("processes after the death of probe and browser: got %d, want the %d renderers that were stopped", len(left), stopped)
			}
			install(t, Options{TempDir: dir})
			for _, pid := range members(leader) {
				t.Errorf("process after the next start: got %d, a %s, want none", pid, kindOf(pid))
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("directories after the next start: got %v, %v, want none", left, err)
			}
		})
	}
}

// What looks like a leftover and is none stays: a living probe's, another user's, somebody's link or file.
func TestSweepSparesOthers(t *testing.T) {
	dir := tempDir(t)
	v := startVictim(t, scenario.EngineShell, dir)
	precious := t.TempDir()
	keep := func(path string) string {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	others := []string{keep(filepath.Join(precious, "file")), keep(filepath.Join(dir, runPrefix+"file"))}
	if err := os.Symlink(precious, filepath.Join(dir, runPrefix+"link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lastmile-demo-1", "x-" + runPrefix} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		others = append(others, filepath.Join(dir, name))
	}
	if os.Getuid() == 0 { // nobody else may give directories away
		foreign := filepath.Join(dir, runPrefix+"foreign")
		if err := os.Mkdir(foreign, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(foreign, 12345, 12345); err != nil {
			t.Fatal(err)
		}
		others = append(others, foreign)
	}
	stale := filepath.Join(dir, runPrefix+"stale")
	if err := os.MkdirAll(filepath.Join(stale, "profile"), 0o700); err != nil {
		t.Fatal(err)
	}
	install(t, Options{TempDir: dir})
	v.lives()
	for _, path := range others {
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("after a sweep: %v, want it left alone", err)
		}
	}
	if _, err := os.Lstat(stale); !os.IsNotExist(err) {
		t.Errorf("directory without a lock after a sweep: got %v, want it gone", err)
	}
}

// Probes start and sweep at any time: no sweep may take a directory that is just being made.
func TestSweepsRaceWithLaunches(t *testing.T) {
	dir := t.TempDir()
	var tasks sync.WaitGroup
	for range 4 {
		tasks.Go(func() {
			for range 100 {
				sweep(slog.New(slog.DiscardHandler), dir)
			}
		})
		tasks.Go(func() {
			for range 200 {
				d, err := makeRunDir(dir)
				if err != nil {
					t.Errorf("make run directory: %v", err)
					return
				}
				if _, err := os.Stat(filepath.Join(d.path, "profile/Default/Preferences")); err != nil {
					t.Errorf("a run directory in use was swept: %v", err)
				}
				if err := d.remove(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	tasks.Wait()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v, want nothing", left, err)
	}
}
