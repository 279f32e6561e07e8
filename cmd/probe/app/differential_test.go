//go:build peers

package app

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lastmile/internal/runs"
)

// recordedSite serves the pages of the recordings under two names, and keeps what it was asked for.
type recordedSite struct {
	base, other string

	mu    sync.Mutex
	asked []string
}

func startRecordedSite(t *testing.T) *recordedSite {
	t.Helper()
	s := new(recordedSite)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.base, s.other = server.URL, strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	return s
}

// ServeHTTP implements http.Handler.
func (s *recordedSite) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, r.Method+" "+r.URL.String())
	s.mu.Unlock()
	page, err := os.ReadFile(filepath.Join("testdata/recordings/site", filepath.Base(r.URL.Path)))
	if err != nil {
		page = []byte("<!doctype html><title>Answer</title><link rel=icon href=data:,>")
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if r.URL.Path == "/missing.html" {
		w.WriteHeader(http.StatusNotFound)
	}
	_, _ = fmt.Fprint(w, strings.NewReplacer("{{base}}", s.base, "{{other}}", s.other).Replace(string(page))) // the browser may have gone
}

// take returns what was asked for since the last time, sorted: requests that run side by side come in any order.
func (s *recordedSite) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	slices.Sort(asked)
	return asked
}

// beyond are the recordings on which the two are meant to differ, what the reference makes of them, and why.
var beyond = map[string]struct {
	reference, ours runs.State
	why             string
}{
	"beyond-css-prefix":   {runs.StateFailed, runs.StatePassed, "the reference takes the prefix css/ for a part of the selector"},
	"beyond-frame-target": {runs.StateFailed, runs.StatePassed, "the reference finds a target that is a frame only where Chromium gives it a process of its own"},
	"beyond-visible":      {runs.StatePassed, runs.StateFailed, "the reference takes what is in the document for visible"},
	"beyond-invisible":    {runs.StateFailed, runs.StatePassed, "the same"},
	"beyond-covered":      {runs.StatePassed, runs.StateFailed, "the reference presses whatever lies above the element"},
	"beyond-error-page":   {runs.StatePassed, runs.StateFailed, "the reference does not look at the status of a page"},
}

// Each recording gives the same verdict, at the same step, and makes the same requests, as with Chrome DevTools' own runner.
func TestRecordingsAsTheReference(t *testing.T) {
	files, err := filepath.Glob("testdata/recordings/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("got %d recordings and %v, want some", len(files), err)
	}
	site := startRecordedSite(t)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			recording := fillIn(t, file, "{{base}}", site.base, "{{other}}", site.other)
			reference, failedAt := replayed(t, recording)
			wanted := site.take()
			args := []string{recording, "--network", "none", "--region", "us"}
			if os.Getuid() == 0 {
				args = append(args, "--no-sandbox")
			}
			_, ours := runJSON(t, args...)
			got := site.take()
			if want, ok := beyond[strings.TrimSuffix(filepath.Base(file), ".json")]; ok {
				if ours.State != want.ours || reference != want.reference {
					t.Errorf("got %s, %+v, and %s by the reference; want %s and %s, as %s", ours.State, ours.Cause, reference, want.ours, want.reference, want.why)
				}
				return
			}
			if ours.State != reference {
				t.Errorf("got %s, %+v; want %s as the reference", ours.State, ours.Cause, reference)
			}
			if at := failedStep(&ours); at != failedAt {
				t.Errorf("got a failure in step %d, want it in %d as the reference (0 = none)", at, failedAt)
			}
			if !slices.Equal(got, wanted) {
				t.Errorf("got requests %q, want %q as the reference", got, wanted)
			}
		})
	}
}

// replayed runs a recording by the reference runner, and returns how it ended and in which step it failed.
func replayed(t *testing.T, recording string) (state runs.State, failed int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "../../../tools/peers/replay.mjs", recording)
	cmd.Env = append(os.Environ(), "CHROMIUM="+shellPath(t), "CHROMIUM_FLAGS="+peerFlags+sandboxFlag())
	out, err := cmd.CombinedOutput()
	if err == nil {
		return runs.StatePassed, 0
	}
	if _, err := fmt.Sscanf(string(out), "step %d:", &failed); err != nil {
		t.Fatalf("reference: got %q, want the step that failed; make peers installs what it needs", out)
	}
	t.Logf("reference: %s", strings.TrimSpace(string(out)))
	return runs.StateFailed, failed
}

// failedStep is the number of the step that failed, from 1; 0 = none.
func failedStep(r *runs.Result) int {
	return 1 + slices.IndexFunc(r.Steps, func(s runs.Step) bool { return s.State == runs.StepFailed })
}
