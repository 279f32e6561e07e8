package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"lastmile/internal/faultpoint"
	"lastmile/internal/runs"
)

// ErrFull says that the spool claims nothing more, because results have reached its bound or its disk is full.
var ErrFull = errors.New("the spool is full")

// block is what the smallest file takes on most disks, in bytes; every file is counted in these.
const block = 4 << 10

// onDisk returns what so many bytes take on disk.
func onDisk(n int) int64 { return (int64(n) + block - 1) / block * block }

// piece is the size of a file of the reserve, in bytes.
const piece = 128 << 10

// lookEvery is how often a full disk is looked at for room.
const lookEvery = time.Second

// room is the state of the disk's room.
type room struct {
	short atomic.Bool // the disk was full, and has not been seen with room for the reserve since

	mu     sync.Mutex // for one call at a time to make room, or folders; taken before Spool.mu
	pieces []string   // files of the reserve that are there
	looked time.Time  // when the disk was looked at for room
}

// bytes returns what is counted against MaxBytes. It needs s.mu.
func (s *Spool) bytes() int64 { return s.results.bytes + s.claimBytes + s.stats.CorruptBytes }

// Bytes returns what results, claims and the files that were set aside take on disk.
func (s *Spool) Bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes()
}

// Stats returns the state of the spool.
func (s *Spool) Stats() Stats {
	full := s.Full()
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.stats
	out.Pending, out.Bytes, out.Limit, out.Full = len(s.results.queue), s.bytes(), s.opts.MaxBytes, full
	out.Sent, out.SentBytes = len(s.sent.order), s.sent.bytes
	return out
}

// Full reports whether the spool claims nothing more: results have reached the bound, or the disk is full. It is cheap to ask; a full disk
// is looked at again once a second.
func (s *Spool) Full() bool {
	s.mu.Lock()
	over, corrupt := s.bytes() >= s.opts.MaxBytes, s.stats.CorruptBytes > 0
	s.mu.Unlock()
	if !over && !s.room.short.Load() {
		return false
	}
	if !s.room.mu.TryLock() {
		return true // another call is making room
	}
	defer s.room.mu.Unlock()
	if now := time.Now(); now.Sub(s.room.looked) >= lookEvery {
		s.room.looked = now
		if over && corrupt {
			over = s.countCorrupt()
		}
		if s.room.short.Load() {
			s.refill()
		}
	}
	return over || s.room.short.Load()
}

// countCorrupt looks whether somebody has emptied the folder corrupt, and reports whether the bound is still reached.
func (s *Spool) countCorrupt() (over bool) {
	found, err := s.disk.list(s.folder(corruptFolder))
	if err != nil {
		return true
	}
	size := int64(0)
	for _, e := range found {
		size += onDisk(int(e.size))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.CorruptBytes = size
	return s.bytes() >= s.opts.MaxBytes
}

// fullness is the error of a full spool.
func (s *Spool) fullness() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes() < s.opts.MaxBytes {
		return fmt.Errorf("%w: no space left on the disk of %s", ErrFull, s.dir)
	}
	return fmt.Errorf("%w: got %d bytes in %s, %d of them in its folder %s, want less than %d", ErrFull, s.bytes(), s.dir,
		s.stats.CorruptBytes, corruptFolder, s.opts.MaxBytes)
}

// write makes a file of a run, which is whole and on disk under its name when it returns. It needs the run's hold. On a full disk it makes
// room, for a result out of the reserve too.
func (s *Spool) write(folder string, id runs.ID, body []byte) error {
	path := s.path(folder, id)
	err := writeFile(s.disk, path, body)
	if errors.Is(err, fs.ErrNotExist) {
		if err = s.restore(); err == nil {
			err = writeFile(s.disk, path, body)
		}
	}
	if !noSpace(err) {
		return err
	}
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	if !s.room.short.Swap(true) {
		s.log.Warn("the disk is full: nothing new is run until it has room", "folder", s.dir, "err", err)
	}
	need := onDisk(len(body)) + piece // a folder may have to grow
	if s.free(need) > 0 {
		if err = writeFile(s.disk, path, body); !noSpace(err) {
			return err
		}
	}
	if folder == claimsFolder {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	// A little more of the reserve at a time: what is not needed stays out of the hands of the other programs on a full disk.
	for noSpace(err) && s.giveUp(need) {
		err = writeFile(s.disk, path, body)
	}
	return err
}

// free deletes what is worth less than a result and returns the bytes.
func (s *Spool) free(need int64) (freed int64) {
	freed = s.freeSent(need)
	if freed < need {
		freed += s.shed(need - freed)
	}
	return freed
}

// shed deletes artefacts and returns the bytes.
func (s *Spool) shed(need int64) (freed int64) {
	if s.opts.Shed == nil {
		return 0
	}
	freed = s.opts.Shed(need)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.ShedBytes += freed
	return freed
}

// giveUp deletes so many bytes of the reserve, and reports whether there were any. It needs s.room.mu.
func (s *Spool) giveUp(need int64) (given bool) {
	for ; need > 0 && len(s.room.pieces) > 0; need -= piece {
		last := len(s.room.pieces) - 1
		if err := s.disk.remove(s.room.pieces[last]); err == nil {
			given = true
		}
		s.room.pieces = s.room.pieces[:last]
	}
	if given {
		s.mu.Lock()
		s.stats.ReserveTaken++
		s.mu.Unlock()
	}
	return given
}

// holdReserve takes the reserve at the start, where an earlier process has not left it.
func (s *Spool) holdReserve() {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	if err := s.fillReserve(); err != nil {
		s.room.short.Store(true)
		s.log.Warn("no reserve for results on the disk: nothing new is run until it has room", "folder", s.dir, "err", err)
	}
}

// refill takes the reserve again, and leaves as much free as that; what is worth less than a result makes room for both. It needs s.room.mu.
func (s *Spool) refill() {
	want := max(2*s.opts.Reserve-int64(len(s.room.pieces))*piece, piece)
	for range 2 {
		free, err := s.disk.free(s.dir)
		if err != nil {
			s.log.Warn("room on the disk not known", "folder", s.dir, "err", err)
			return
		}
		if free >= want {
			s.retake()
			return
		}
		if s.free(want-free) == 0 {
			return
		}
	}
}

// retake ends the state of a full disk. It needs s.room.mu.
func (s *Spool) retake() {
	if err := s.fillReserve(); err != nil {
		s.log.Warn("no reserve for results on the disk yet", "folder", s.dir, "err", err)
		return
	}
	s.room.short.Store(false)
	s.log.Info("the disk has room again", "folder", s.dir)
}

// fillReserve writes what is missing of the reserve. It is not synced: all it is for is to hold blocks of a disk while this process
// runs. It needs s.room.mu.
func (s *Spool) fillReserve() error {
	folder := s.folder(reserveFolder)
	found, err := s.disk.list(folder)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, e := range found {
		path := filepath.Join(folder, e.name)
		if whole := e.regular && e.size == piece; whole && int64(len(there)+1)*piece <= s.opts.Reserve {
			there[path] = true
		} else if err := s.disk.remove(path); err != nil {
			return err
		}
	}
	s.room.pieces = s.room.pieces[:0]
	for path := range there {
		s.room.pieces = append(s.room.pieces, path)
	}
	body := noise()
	for i := 0; int64(len(s.room.pieces)+1)*piece <= s.opts.Reserve; i++ {
		path := filepath.Join(folder, strconv.Itoa(i))
		if there[path] {
			continue
		}
		if err := writeFully(s.disk, path, body, false); err != nil {
			return errors.Join(err, s.disk.remove(path))
		}
		s.room.pieces = append(s.room.pieces, path)
	}
	return nil
}

// noise is a piece that a disk cannot store in less room by compressing it.
func noise() []byte {
	body := make([]byte, piece)
	_, _ = rand.NewChaCha8([32]byte{}).Read(body) // has no error
	return body
}

// writeFile makes a file that is either whole and on disk under its name, or not there under that name: fsync of the file, rename, fsync of
// the folder, in this order.
func writeFile(d disk, path string, body []byte) error {
	temp := path + tempEnding
	err := writeFully(d, temp, body, true)
	if errors.Is(err, fs.ErrExist) { // left by a call that failed
		if err = d.remove(temp); err == nil {
			err = writeFully(d, temp, body, true)
		}
	}
	if err == nil {
		faultpoint.Reached(faultpoint.FileSynced)
		err = d.rename(temp, path)
	}
	if err != nil {
		_ = d.remove(temp) // on a full disk, gives back what it took; the error is the first one
		return err
	}
	faultpoint.Reached(faultpoint.FileRenamed)
	if err := d.sync(filepath.Dir(path)); err != nil {
		return err
	}
	faultpoint.Reached(faultpoint.FolderSynced)
	return nil
}

// writeFully makes a file of the bytes, synced where asked for.
func writeFully(d disk, path string, body []byte, lasting bool) error {
	f, err := d.create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	if err == nil && lasting {
		faultpoint.Reached(faultpoint.FileWritten)
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}
