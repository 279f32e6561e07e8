package artefact

import (
	"fmt"
	"os"
	"syscall"
)

// Shed deletes runs, the oldest first, until at least need bytes are free that were not, or nothing is left, and returns how many bytes that
// were. It is for what is worth more than artefacts on a disk that is full.
func (s *Store) Shed(need int64) (freed int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	freed, files := s.shed(need)
	s.stats.Shed += files
	if files > 0 {
		s.log.Warn("artefacts deleted to make room for results", "files", files, "bytes", freed)
	}
	return freed
}

// shed needs s.mu.
func (s *Store) shed(need int64) (freed, files int64) {
	for len(s.kept) > 0 && freed < need {
		bytes := s.kept[0].bytes
		dropped := s.drop()
		if dropped > 0 { // not where the disk refuses to delete
			freed += bytes
		}
		files += dropped
	}
	return freed, files
}

// spare sees to it that the disk has enough left when size more bytes are stored. It drops as many bytes of the oldest runs as are lacking,
// and none where that cannot be enough: when something else fills the disk, what there is stays. It needs s.mu.
func (s *Store) spare(size int64) error {
	if s.opts.Spare == 0 {
		return nil
	}
	var st syscall.Statfs_t
	if err := syscall.Statfs(s.opts.Dir, &st); err != nil {
		return fmt.Errorf("look for room on the disk of %s: %w", s.opts.Dir, err)
	}
	free := int64(st.Bavail) * st.Bsize
	lacking := size + s.opts.Spare - free
	if lacking <= 0 {
		return nil
	}
	if lacking > s.stats.Bytes {
		return fmt.Errorf("got %d bytes free on the disk of %s, want %d and %d more left for results", free, s.opts.Dir, size, s.opts.Spare)
	}
	_, files := s.shed(lacking)
	s.stats.Dropped += files
	return nil
}

// shares reports whether the store is on the disk that dir is on.
func (s *Store) shares(dir string) bool {
	here, err := s.root.Stat(".")
	if err != nil {
		return false
	}
	there, err := os.Stat(dir)
	if err != nil {
		return false
	}
	a, okA := here.Sys().(*syscall.Stat_t)
	b, okB := there.Sys().(*syscall.Stat_t)
	return okA && okB && a.Dev == b.Dev
}
