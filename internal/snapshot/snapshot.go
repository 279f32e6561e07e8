// Package snapshot keeps a state in one file, so that a program that starts again need not work it out anew. A file is either wholly what
// was written or an error: it is replaced in one step, and what it holds is believed only after its checksum has been compared.
//
// The file: the magic line, the length of the header (4 bytes, big-endian), the header as JSON, the content in gzip, and the SHA-256 of
// all before it.
package snapshot

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"lastmile/internal/faultpoint"
	"lastmile/internal/runs"
	"lastmile/internal/wholefile"
)

// Schema is the version of what callers write. A file of another one is refused: they start from the streams instead.
const Schema = 1

// Header says what a snapshot is of.
type Header struct {
	Schema    int             `json:"schema"`  // Schema; Write sets it where it is zero
	Program   string          `json:"program"` // that wrote it, with its version
	TakenAt   time.Time       `json:"taken_at"`
	Positions []runs.Position `json:"positions"` // how far each stream had been taken in
}

const (
	magic     = "lastmile snapshot 1\n"
	maxHeader = 1 << 20 // bytes
	buffer    = 1 << 18 // bytes
)

// Write replaces the file at path by one with this header and what body writes, as wholefile.Replace does.
func Write(path string, h Header, body func(io.Writer) error) error {
	if h.Schema == 0 {
		h.Schema = Schema
	}
	err := wholefile.Replace(path, func(w io.Writer) error { return write(w, h, body) }, func(step wholefile.Step) {
		switch step {
		case wholefile.Written:
			faultpoint.Reached(faultpoint.SnapshotTemp)
		case wholefile.Renamed:
			faultpoint.Reached(faultpoint.SnapshotDone)
		}
	})
	if err != nil {
		return fmt.Errorf("write snapshot %s: %w", path, err)
	}
	return nil
}

// write makes the whole file.
func write(f io.Writer, h Header, body func(io.Writer) error) error {
	head, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encode header: %w", err)
	}
	if len(head) > maxHeader {
		return fmt.Errorf("encode header: got %d bytes, want at most %d", len(head), maxHeader)
	}
	sum := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(f, sum), buffer)
	if _, err := out.Write(binary.BigEndian.AppendUint32([]byte(magic), uint32(len(head)))); err != nil {
		return err
	}
	if _, err := out.Write(head); err != nil {
		return err
	}
	packed, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err != nil {
		return err
	}
	in := bufio.NewWriterSize(packed, buffer)
	if err := body(in); err != nil {
		return err
	}
	if err := errors.Join(in.Flush(), packed.Close(), out.Flush()); err != nil {
		return err
	}
	_, err = f.Write(sum.Sum(nil))
	return err
}

// Read hands the header and the content of the file at path to body. Its checksum has been compared by then. A file that is not there
// is os.ErrNotExist; any other that is not a whole snapshot of this schema is an error that says what is wrong, and body is not called.
// What body leaves unread is not looked at.
func Read(path string, body func(Header, io.Reader) error) error {
	if err := read(path, body); err != nil {
		return fmt.Errorf("read snapshot %s: %w", path, err)
	}
	return nil
}

func read(path string, body func(Header, io.Reader) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() // it was only read
	size, err := verify(f, sha256.New())
	if err != nil {
		return err
	}
	in := bufio.NewReaderSize(io.NewSectionReader(f, int64(len(magic)), size-int64(len(magic))), buffer)
	h, err := header(in)
	if err != nil {
		return err
	}
	content, err := gzip.NewReader(in)
	if err != nil {
		return fmt.Errorf("open content: %w", err)
	}
	return body(h, bufio.NewReaderSize(content, buffer))
}

// verify compares magic and checksum, and returns the size of the file without the latter.
func verify(f *os.File, sum hash.Hash) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	size := info.Size() - int64(sum.Size())
	if least := int64(len(magic)) + 4; size < least || !info.Mode().IsRegular() {
		return 0, fmt.Errorf("got %d bytes, want a snapshot with %d at least", info.Size(), least+int64(sum.Size()))
	}
	start := make([]byte, len(magic))
	if _, err := f.ReadAt(start, 0); err != nil {
		return 0, err
	}
	if string(start) != magic {
		return 0, fmt.Errorf("got a file that begins with %q, want a snapshot with %q", start, magic)
	}
	if _, err := io.CopyBuffer(sum, io.NewSectionReader(f, 0, size), make([]byte, buffer)); err != nil {
		return 0, err
	}
	want := make([]byte, sum.Size())
	if _, err := f.ReadAt(want, size); err != nil {
		return 0, err
	}
	if got := sum.Sum(nil); !bytes.Equal(got, want) {
		return 0, fmt.Errorf("damaged: got checksum %x, want %x", got, want)
	}
	return size, nil
}

// header reads what stands before the content.
func header(in io.Reader) (Header, error) {
	var length [4]byte
	if _, err := io.ReadFull(in, length[:]); err != nil {
		return Header{}, fmt.Errorf("read header: %w", err)
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > maxHeader {
		return Header{}, fmt.Errorf("read header: got %d bytes, want at most %d", n, maxHeader)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(in, text); err != nil {
		return Header{}, fmt.Errorf("read header: %w", err)
	}
	var h Header
	if err := json.Unmarshal(text, &h); err != nil {
		return Header{}, fmt.Errorf("read header: %w", err)
	}
	if h.Schema != Schema {
		return Header{}, fmt.Errorf("read header: got schema %d, want %d", h.Schema, Schema)
	}
	return h, nil
}
