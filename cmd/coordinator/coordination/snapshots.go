package coordination

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"lastmile/internal/bus"
	"lastmile/internal/runs"
	"lastmile/internal/snapshot"
)

// Snapshots keeps a coordinator's books on its disk, and what it decides alerts on, so that its next start need not read the streams from their beginning. All that is in
// one is in the streams too, for as long as they keep it: one that is no good is put aside, and costs time only.
type Snapshots struct {
	log     *slog.Logger
	path    string
	program string // with its version

	mu    sync.Mutex
	state snapshotState
	took  time.Duration // by the last one that was written
	ended time.Time     // when that was
}

// snapshotState is what there is to be known of them.
type snapshotState struct {
	at     time.Time // when the one on disk was taken; zero = there is none
	bytes  int64     // of that one
	errors int64
}

// The pace of the snapshots: one each minute, or more seldom where writing would take more than a fiftieth of the time.
const (
	snapshotEvery = time.Minute
	snapshotShare = 50
)

// NewSnapshots keeps them at a path; program names what writes them, with its version.
func NewSnapshots(log *slog.Logger, path, program string) *Snapshots {
	return &Snapshots{log: log, path: path, program: program}
}

// restore reads the books back, and how far each stream is in them: nothing where there is no snapshot, or none that can be used. Of a region of which
// the snapshot knows nothing all is read, verdicts of other coordinators included; what the books have of the verdicts, they do not change again. To begin
// anew from the streams would lose what the hub no longer keeps: see makeRoom.
func (s *Snapshots) restore(regions []string) (memory, map[string]runs.Position) {
	m := newMemory()
	var from map[string]runs.Position
	var taken time.Time
	err := snapshot.Read(s.path, func(h snapshot.Header, body io.Reader) error {
		from = map[string]runs.Position{}
		for _, p := range h.Positions {
			from[p.Stream] = p
		}
		for _, stream := range bus.Streams(regions) {
			if _, ok := from[stream]; !ok {
				s.log.Info("region that is new to the snapshot of the books, reading all verdicts", "stream", stream)
				for _, common := range bus.Streams(nil) {
					delete(from, common)
				}
			}
		}
		taken = h.TakenAt
		return m.load(s.log, body)
	})
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		s.Refuse(err)
	}
	if err != nil {
		return newMemory(), nil
	}
	s.note(taken)
	s.log.Info("snapshot of the books read", "taken_at", taken)
	return m, from
}

// Refuse takes note of a snapshot that is no good, and puts it aside: the next start must not meet it again, but somebody may want to look at it. There is
// no other until the books have been read back.
func (s *Snapshots) Refuse(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.errors++
	s.state.at, s.state.bytes, s.ended = time.Time{}, 0, time.Time{}
	s.log.Error("snapshot of the books not usable, beginning anew from the streams", "path", s.path, "err", err)
	if err := os.Rename(s.path, s.path+".refused"); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log.Error("snapshot of the books not put aside", "path", s.path, "err", err)
	}
}

// begin starts the wait for the next one.
func (s *Snapshots) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = time.Now()
}

// due reports whether it is time for the next one.
func (s *Snapshots) due() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.ended.IsZero() && time.Since(s.ended) >= max(snapshotEvery, (snapshotShare-1)*s.took)
}

// write replaces the snapshot. Nothing may enter the memory meanwhile; alerts may be decided.
func (s *Snapshots) write(m memory, positions map[string]runs.Position) {
	began := time.Now()
	h := snapshot.Header{Program: s.program, TakenAt: began.UTC()}
	for _, p := range positions {
		h.Positions = append(h.Positions, p)
	}
	err := snapshot.Write(s.path, h, m.save)
	s.mu.Lock()
	s.ended = time.Now()
	s.took = s.ended.Sub(began)
	if err != nil {
		s.state.errors++
	}
	took := s.took
	s.mu.Unlock()
	if err != nil {
		s.log.Error("snapshot of the books not written", "err", err)
		return
	}
	s.note(h.TakenAt)
	s.log.Debug("snapshot of the books written", "path", s.path, "took", took)
}

// note remembers the snapshot on disk.
func (s *Snapshots) note(taken time.Time) {
	info, err := os.Stat(s.path)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.at = taken
	if err == nil {
		s.state.bytes = info.Size()
	}
}

// stats returns what there is to be known of the snapshots; there may be none.
func (s *Snapshots) stats() snapshotState {
	if s == nil {
		return snapshotState{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}
