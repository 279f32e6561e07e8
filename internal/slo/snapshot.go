package slo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// snapshotVersion is the first byte of a History's binary form. The form is:
// version; 1 if begun, else 0; the newest minute, 8 bytes; the number of layers,
// 1 byte. Then for each layer which counters it has: a byte with a bit for each,
// in the order of the fields of Counts, the first lowest. For each of these, and
// each ring, the finest first, comes the width of a cell in bytes, and 128 more
// where the column is dense; then its cells, or where it is sparse and has a
// width, their number, 2 bytes, and each behind where it lies, 2 bytes. All
// integers are little-endian.
const snapshotVersion = 2

// oldVersion is that of the form before: it had one layer, and of each ring and
// each counter, in this order, the width and all cells.
const oldVersion = 1

const (
	// snapshotHeader is the number of bytes before the layers.
	snapshotHeader = 10
	denseFlag      = 1 << 7
)

// MarshalBinary gives a form from which UnmarshalBinary restores the History
// exactly. It never fails. It has no checksum: that belongs to the file around it.
func (h *History) MarshalBinary() ([]byte, error) {
	size := snapshotHeader + 1 + len(h.layers)
	for _, l := range h.layers {
		for _, rings := range l {
			for level := range levels {
				if rings != nil {
					size += 3 + len(rings[level].bytes)
				}
			}
		}
	}
	b := append(make([]byte, 0, size), snapshotVersion, 0)
	if h.begun {
		b[1] = 1
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(h.head))
	b = append(b, byte(len(h.layers)))
	for _, l := range h.layers {
		has := len(b)
		b = append(b, 0)
		for i, rings := range l {
			if rings == nil {
				continue
			}
			b[has] |= 1 << i
			for level := range rings {
				b = rings[level].save(b)
			}
		}
	}
	return b, nil
}

// save appends a column.
func (c *column) save(b []byte) []byte {
	switch {
	case c.dense:
		b = append(b, c.width|denseFlag)
	case c.width == 0:
		return append(b, 0)
	default:
		b = binary.LittleEndian.AppendUint16(append(b, c.width), uint16(len(c.bytes)/c.entry()))
	}
	return append(b, c.bytes...)
}

// UnmarshalBinary restores what MarshalBinary gave, also that of the version
// before. Data that neither gave is an error and leaves h unchanged. It keeps no
// reference to data.
func (h *History) UnmarshalBinary(data []byte) error {
	if len(data) < snapshotHeader {
		return fmt.Errorf("read history snapshot: got %d bytes, want at least %d", len(data), snapshotHeader)
	}
	if data[0] != snapshotVersion && data[0] != oldVersion || data[1] > 1 {
		return fmt.Errorf("read history snapshot: got version %d and flag %d, want version %d or %d and flag 0 or 1",
			data[0], data[1], oldVersion, snapshotVersion)
	}
	restored := History{begun: data[1] == 1, head: int64(binary.LittleEndian.Uint64(data[2:]))}
	// The minutes that a time.Time can have; more would overflow.
	const limit = math.MaxInt64/60 + 1
	if restored.head > limit || restored.head < -limit {
		return fmt.Errorf("read history snapshot: got newest minute %d, want -%d to %d", restored.head, limit, limit)
	}
	read := restored.restore
	if data[0] == oldVersion {
		read = restored.restoreOld
	}
	rest, err := read(data[snapshotHeader:])
	if err != nil {
		return fmt.Errorf("read history snapshot: %w", err)
	}
	if len(rest) > 0 {
		return fmt.Errorf("read history snapshot: got %d bytes after the end, want none", len(rest))
	}
	*h = restored
	return nil
}

// restore reads the layers, and returns what is behind them.
func (h *History) restore(data []byte) (rest []byte, err error) {
	if len(data) == 0 {
		return nil, errors.New("got no bytes, want the number of layers")
	}
	n, rest := int(data[0]), data[1:]
	if n > len(rest) {
		return nil, fmt.Errorf("got %d bytes, want %d layers", len(rest), n)
	}
	h.layers = make([]layer, n)
	for k := range h.layers {
		if len(rest) == 0 || rest[0]>>counters != 0 {
			return nil, fmt.Errorf("layer %d: got no byte that says which counters it has, want one", k)
		}
		has := rest[0]
		rest = rest[1:]
		for i := range counters {
			if has>>i&1 == 0 {
				continue
			}
			rings := new([levels]column)
			h.layers[k][i] = rings
			for level := range rings {
				if rest, err = rings[level].restore(int(geometry(level).buckets), rest); err != nil {
					return nil, fmt.Errorf("layer %d, counter %d, ring %d: %w", k, i, level, err)
				}
			}
		}
	}
	if n == 0 {
		h.layers = nil
	}
	return rest, nil
}

// restore reads a column of n cells, and returns what is behind it.
func (c *column) restore(n int, data []byte) (rest []byte, err error) {
	if len(data) == 0 {
		return nil, errors.New("got no bytes, want a cell width")
	}
	c.width, c.dense, rest = data[0]&^denseFlag, data[0]&denseFlag != 0, data[1:]
	if err := checkWidth(c.width, !c.dense); err != nil || c.width == 0 {
		return rest, err
	}
	size := n * int(c.width)
	if !c.dense {
		if len(rest) < indexBytes {
			return nil, fmt.Errorf("got %d bytes, want the number of cells", len(rest))
		}
		most := size
		size = int(binary.LittleEndian.Uint16(rest)) * c.entry()
		if rest = rest[indexBytes:]; size > most {
			return nil, fmt.Errorf("got %d bytes of sparse cells, want at most the %d of all", size, most)
		}
	}
	if len(rest) < size {
		return nil, fmt.Errorf("got %d bytes of cells, want %d", len(rest), size)
	}
	if size > 0 {
		c.bytes = append(make([]byte, 0, size), rest[:size]...)
	}
	if c.dense {
		return rest[size:], nil
	}
	before := -1
	for at := 0; at < size; at += c.entry() {
		cell := c.number(at)
		if cell <= before || cell >= n || c.load(c.bytes[at+indexBytes:]) == 0 {
			return nil, fmt.Errorf("got cell %d behind %d, want them ascending, below %d and not zero", cell, before, n)
		}
		before = cell
	}
	return rest[size:], nil
}

func checkWidth(width uint8, orNone bool) error {
	switch width {
	case 1, 2, 4, 8:
		return nil
	case 0:
		if orNone {
			return nil
		}
	}
	return fmt.Errorf("got cell width %d, want 1, 2, 4 or 8 bytes, or 0 where it is sparse", width)
}

// restoreOld reads the rings of the version before, and returns what is behind them.
func (h *History) restoreOld(rest []byte) ([]byte, error) {
	h.layers = make([]layer, 1)
	for level := range levels {
		n := int(geometry(level).buckets)
		for i := range counters {
			if len(rest) == 0 {
				return nil, fmt.Errorf("ring %d, counter %d: got no bytes, want a cell width", level, i)
			}
			old := column{width: rest[0], dense: true}
			if err := checkWidth(old.width, true); err != nil {
				return nil, fmt.Errorf("ring %d, counter %d: %w", level, i, err)
			}
			size := n * int(old.width)
			if rest = rest[1:]; len(rest) < size {
				return nil, fmt.Errorf("ring %d, counter %d: got %d bytes of cells, want %d", level, i, len(rest), size)
			}
			old.bytes, rest = rest[:size], rest[size:]
			for cell := range n {
				value := int64(0)
				if size > 0 {
					value = old.value(cell, 0)
				}
				if value == 0 {
					continue
				}
				if h.layers[0][i] == nil {
					h.layers[0][i] = new([levels]column)
				}
				h.layers[0][i][level].add(n, cell, value)
			}
		}
	}
	return rest, nil
}
