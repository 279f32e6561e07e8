package embedded

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestDiskIsTried(t *testing.T) {
	dir := t.TempDir()
	s, err := Start(slog.New(slog.DiscardHandler), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Stop(context.WithoutCancel(t.Context())) }()
	if s.SyncTime() <= 0 {
		t.Errorf("got a sync of %s, want it measured", s.SyncTime())
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 { // the lock, and jetstream
		t.Errorf("got %v, %v, want nothing left of the trial", left, err)
	}
	if _, err := syncTime(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("no folder: got no error, want one")
	}
}

// heard is a log that somebody waits for.
type heard chan string

func (h heard) Write(line []byte) (int, error) {
	select {
	case h <- string(line):
	default:
	}
	return len(line), nil
}

func TestSlowStartIsSaid(t *testing.T) {
	lines := make(heard, 10)
	stop := tell(slog.New(slog.NewTextHandler(lines, nil)), time.Millisecond)
	for range 2 {
		if line := <-lines; !strings.Contains(line, "still reading back") {
			t.Errorf("got %q, want it to say what takes its time", line)
		}
	}
	stop()
	for len(lines) > 0 {
		<-lines
	}
	time.Sleep(5 * time.Millisecond)
	if len(lines) > 0 {
		t.Errorf("got %q after the start, want nothing more", <-lines)
	}
}

func TestSlowDiskIsSaid(t *testing.T) {
	for took, want := range map[time.Duration]string{
		time.Millisecond:      "",
		20 * time.Millisecond: "sync=20ms messages_per_second=50 runs_per_minute=1500",
	} {
		var out bytes.Buffer
		warnSlow(slog.New(slog.NewTextHandler(&out, nil)), "/data", took)
		if got := out.String(); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q in it", took, got, want)
		}
	}
}
