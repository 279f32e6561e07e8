package spool

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// sea is a disk in memory that forgets, when power fails, what was not synced. Of the changes to names that were not synced, any may have
// reached the disk and any not; a rename happens or does not, as on a file system with a journal. A file that was not synced can be
// empty, cut at a block, zeros, or whole.
type sea struct {
	names    map[string]*inode // as the process sees them
	lasting  map[string]*inode // those that last
	unsynced []change
	log      []string
	after    func() // called after each change
	capacity int64  // in bytes, 0 = no end
	noSync   string // what sync does not do: "file" or "folder"
}

// inode is a file or a folder.
type inode struct {
	folder bool
	data   []byte
	synced []byte // the bytes at the last sync
	at     time.Time
}

// change is one to names that was not synced in all its folders yet.
type change struct {
	set, del string
	node     *inode
	folders  []string
}

func (c change) apply(names map[string]*inode) {
	if c.del != "" {
		delete(names, c.del)
	}
	if c.set != "" {
		names[c.set] = c.node
	}
}

// touches reports whether two changes have a name in common.
func (c change) touches(d change) bool {
	for _, name := range []string{c.set, c.del} {
		if name != "" && (name == d.set || name == d.del) {
			return true
		}
	}
	return false
}

// seaBlock is where files of the sea are cut, in bytes.
const seaBlock = 64

func newSea() *sea {
	root := map[string]*inode{"/": {folder: true}, "/data": {folder: true}}
	return &sea{names: root, lasting: maps.Clone(root)}
}

func (s *sea) did(what, path string) {
	s.log = append(s.log, what+" "+strings.TrimPrefix(path, "/data/spool/"))
	if s.after != nil {
		s.after()
	}
}

func (s *sea) enter(c change) {
	for _, path := range []string{c.set, c.del} {
		if folder := filepath.Dir(path); path != "" && !slices.Contains(c.folders, folder) {
			c.folders = append(c.folders, folder)
		}
	}
	c.apply(s.names)
	s.unsynced = append(s.unsynced, c)
}

func (s *sea) lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

func (s *sea) mkdir(path string) error {
	if s.names[path] != nil {
		return fs.ErrExist
	}
	if s.names[filepath.Dir(path)] == nil {
		return fs.ErrNotExist
	}
	s.enter(change{set: path, node: &inode{folder: true}})
	s.did("mkdir", path)
	return nil
}

func (s *sea) list(folder string) ([]entry, error) {
	if s.names[folder] == nil {
		return nil, fs.ErrNotExist
	}
	var all []entry
	for path, node := range s.names {
		if filepath.Dir(path) == folder && path != folder {
			all = append(all, entry{name: filepath.Base(path), regular: !node.folder, size: int64(len(node.data)), at: node.at})
		}
	}
	return all, nil
}

func (s *sea) read(path string) ([]byte, error) {
	node := s.names[path]
	if node == nil {
		return nil, fs.ErrNotExist
	}
	return slices.Clone(node.data), nil
}

func (s *sea) create(path string) (file, error) {
	if s.names[path] != nil {
		return nil, fs.ErrExist
	}
	if s.names[filepath.Dir(path)] == nil {
		return nil, fs.ErrNotExist
	}
	node := &inode{at: time.Now()}
	s.enter(change{set: path, node: node})
	s.did("create", path)
	return &seaFile{sea: s, node: node, path: path}, nil
}

func (s *sea) rename(from, to string) error {
	node := s.names[from]
	if node == nil {
		return fs.ErrNotExist
	}
	s.enter(change{del: from, set: to, node: node})
	s.did("rename", from+" "+strings.TrimPrefix(to, "/data/spool/"))
	return nil
}

func (s *sea) remove(path string) error {
	if s.names[path] == nil {
		return fs.ErrNotExist
	}
	s.enter(change{del: path})
	s.did("remove", path)
	return nil
}

func (s *sea) touch(path string, at time.Time) error {
	if s.names[path] == nil {
		return fs.ErrNotExist
	}
	s.names[path].at = at
	return nil
}

func (s *sea) sync(folder string) error {
	if s.names[folder] == nil {
		return fs.ErrNotExist
	}
	if s.noSync != "folder" {
		for i, c := range s.unsynced {
			s.unsynced[i].folders = slices.DeleteFunc(slices.Clone(c.folders), func(f string) bool { return f == folder })
		}
		left := s.unsynced[:0:0]
		for i, c := range s.unsynced {
			// What was done to the same name before cannot come after.
			later := slices.ContainsFunc(s.unsynced[i:], func(l change) bool { return len(l.folders) == 0 && l.touches(c) })
			if len(c.folders) == 0 || later {
				c.apply(s.lasting)
			} else {
				left = append(left, c)
			}
		}
		s.unsynced = left
	}
	s.did("sync", folder)
	return nil
}

func (s *sea) used() (n int64) {
	for _, node := range s.names {
		n += onDisk(len(node.data))
	}
	return n
}

func (s *sea) free(string) (int64, error) {
	if s.capacity == 0 {
		return 1 << 40, nil
	}
	return s.capacity - s.used(), nil
}

type seaFile struct {
	sea  *sea
	node *inode
	path string
}

func (f *seaFile) Write(b []byte) (n int, err error) {
	if s := f.sea; s.capacity > 0 {
		room := s.capacity - s.used() + onDisk(len(f.node.data)) - int64(len(f.node.data))
		if int64(len(b)) > room {
			b, err = b[:max(room, 0)], syscall.ENOSPC
		}
	}
	f.node.data = append(f.node.data, b...)
	f.sea.did("write", f.path)
	return len(b), err
}

func (f *seaFile) Sync() error {
	if f.sea.noSync != "file" {
		f.node.synced = slices.Clone(f.node.data)
	}
	f.sea.did("fsync", f.path)
	return nil
}

func (f *seaFile) Close() error { return nil }

// afterPowerCut returns what the disk may be when power fails now, each state once.
func (s *sea) afterPowerCut(seen map[string]bool, note string) []*sea {
	var all []*sea
	varied := s.unsynced[:min(len(s.unsynced), seaVaried)]
	for mask := range 1 << len(varied) {
		names := maps.Clone(s.lasting)
		for i, c := range varied {
			if mask&(1<<i) != 0 {
				c.apply(names)
			}
		}
		for tear := range 4 {
			left, torn := &sea{names: map[string]*inode{}}, false
			for path, node := range names {
				if names[filepath.Dir(path)] == nil {
					continue // its folder is gone
				}
				data := node.synced
				if !node.folder && !bytes.Equal(node.data, node.synced) {
					data, torn = tearOff(node.data, tear), true
				}
				left.names[path] = &inode{folder: node.folder, data: data, synced: data, at: node.at}
			}
			left.lasting = maps.Clone(left.names)
			if key := note + left.print(); !seen[key] {
				seen[key] = true
				all = append(all, left)
			}
			if !torn {
				break
			}
		}
	}
	return all
}

// afterKill returns the disk as the next process finds it when only this one dies: with all that it did, and nothing more of it synced.
func (s *sea) afterKill() *sea {
	copies := map[*inode]*inode{}
	of := func(node *inode) *inode {
		if node != nil && copies[node] == nil {
			again := *node
			again.data = slices.Clone(node.data)
			copies[node] = &again
		}
		return copies[node]
	}
	left := &sea{names: map[string]*inode{}, lasting: map[string]*inode{}, unsynced: slices.Clone(s.unsynced)}
	for path, node := range s.names {
		left.names[path] = of(node)
	}
	for path, node := range s.lasting {
		left.lasting[path] = of(node)
	}
	for i, c := range left.unsynced {
		left.unsynced[i].node = of(c.node)
	}
	return left
}

// seaVaried is how many changes are varied at most: of more, the later ones have not reached the disk.
const seaVaried = 7

// tearOff is what can be left of bytes that were never synced.
func tearOff(data []byte, how int) []byte {
	switch how {
	case 0:
		return nil
	case 1:
		return data[:len(data)/2/seaBlock*seaBlock]
	case 2:
		return make([]byte, len(data))
	}
	return data
}

// print names everything on the disk.
func (s *sea) print() string {
	var b strings.Builder
	for _, path := range slices.Sorted(maps.Keys(s.names)) {
		fmt.Fprintf(&b, "%s %s\n", path, s.names[path].data)
	}
	return b.String()
}
