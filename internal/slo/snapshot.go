package slo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// snapshotVersion is the first byte of a History's binary form. The form is:
// version; 1 if begun, else 0; the newest minute, 8 bytes; then for each ring,
// the finest first, and each counter in the order of the fields of Counts, the
// width of a cell in bytes and the cells. All integers are little-endian.
const snapshotVersion = 1

// snapshotHeader is the number of bytes before the rings.
const snapshotHeader = 10

// MarshalBinary gives a form from which UnmarshalBinary restores the History
// exactly. It never fails. It has no checksum: that belongs to the file around it.
func (h *History) MarshalBinary() ([]byte, error) {
	size := snapshotHeader
	for _, r := range h.rings {
		for _, c := range r {
			size += 1 + len(c.bytes)
		}
	}
	b := append(make([]byte, 0, size), snapshotVersion, 0)
	if h.begun {
		b[1] = 1
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(h.head))
	for _, r := range h.rings {
		for _, c := range r {
			b = append(b, byte(c.width))
			b = append(b, c.bytes...)
		}
	}
	return b, nil
}

// UnmarshalBinary restores what MarshalBinary gave. Data that it did not give
// is an error and leaves h unchanged. It keeps no reference to data.
func (h *History) UnmarshalBinary(data []byte) error {
	if len(data) < snapshotHeader {
		return fmt.Errorf("read history snapshot: got %d bytes, want at least %d", len(data), snapshotHeader)
	}
	if data[0] != snapshotVersion || data[1] > 1 {
		return fmt.Errorf("read history snapshot: got version %d and flag %d, want version %d and flag 0 or 1",
			data[0], data[1], snapshotVersion)
	}
	restored := History{begun: data[1] == 1, head: int64(binary.LittleEndian.Uint64(data[2:]))}
	// The minutes that a time.Time can have; more would overflow.
	const limit = math.MaxInt64/60 + 1
	if restored.head > limit || restored.head < -limit {
		return fmt.Errorf("read history snapshot: got newest minute %d, want -%d to %d", restored.head, limit, limit)
	}
	rest := data[snapshotHeader:]
	for level := range restored.rings {
		for i := range restored.rings[level] {
			n, err := restored.rings[level][i].restore(int(geometry(level).buckets), rest)
			if err != nil {
				return fmt.Errorf("read history snapshot: ring %d, counter %d: %w", level, i, err)
			}
			rest = rest[n:]
		}
	}
	if len(rest) > 0 {
		return fmt.Errorf("read history snapshot: got %d bytes after the end, want none", len(rest))
	}
	*h = restored
	return nil
}

// restore reads a column of n cells and returns the number of bytes it took.
func (c *column) restore(n int, data []byte) (int, error) {
	if len(data) == 0 {
		return 0, errors.New("got no bytes, want a cell width")
	}
	width := int(data[0])
	switch width {
	case 0, 1, 2, 4, 8:
	default:
		return 0, fmt.Errorf("got cell width %d, want 0, 1, 2, 4 or 8 bytes", width)
	}
	size := n * width
	if len(data)-1 < size {
		return 0, fmt.Errorf("got %d bytes of cells, want %d", len(data)-1, size)
	}
	if size > 0 {
		c.width, c.bytes = width, append(make([]byte, 0, size), data[1:1+size]...)
	}
	return 1 + size, nil
}
