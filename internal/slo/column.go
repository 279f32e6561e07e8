package slo

import (
	"encoding/binary"
	"math"
	"slices"
)

// column holds one counter for all buckets of a ring, as little-endian signed
// integers of the least width that has fitted every value so far. A scenario
// that runs once a minute stays at one byte, where int64 would take eight.
//
// While few cells are not zero it is sparse: only those are there, each behind
// its number (2 bytes), ascending. That is how most counters stay, for most
// kinds of trouble are rare, and the coarse rings take months to fill. Once
// that would take more room than all cells do, it becomes dense for good.
type column struct {
	width uint8 // bytes of a cell: 1, 2, 4 or 8; 0 while there has been none but zeros
	dense bool
	bytes []byte
}

// indexBytes is what the number of a cell takes in a sparse column.
const indexBytes = 2

// entry is the bytes of one cell of a sparse column.
func (c *column) entry() int { return indexBytes + int(c.width) }

// add changes one cell of n.
func (c *column) add(n, cell int, change int64) {
	at, found := 0, c.dense
	if !c.dense {
		at, found = c.search(cell)
	}
	value := change
	if found {
		value += c.value(cell, at)
	}
	if w := widthOf(value); w > c.width {
		c.widen(w)
		if !c.dense {
			at, found = c.search(cell)
		}
	}
	switch {
	case c.dense:
		c.store(c.bytes[cell*int(c.width):], value)
	case found && value == 0:
		c.bytes = slices.Delete(c.bytes, at, at+c.entry())
	case found:
		c.store(c.bytes[at+indexBytes:], value)
	case value != 0:
		c.insert(n, cell, at, value)
	}
}

// value is that of a cell; at is where a sparse column has it.
func (c *column) value(cell, at int) int64 {
	if c.dense {
		return c.load(c.bytes[cell*int(c.width):])
	}
	return c.load(c.bytes[at+indexBytes:])
}

// search returns where a sparse column has a cell, or would have it.
func (c *column) search(cell int) (at int, found bool) {
	size := c.entry()
	low, high := 0, len(c.bytes)/size
	if high > 0 { // the newest is nearly always the one, or comes behind it
		last := (high - 1) * size
		switch number := c.number(last); {
		case number == cell:
			return last, true
		case number < cell:
			return high * size, false
		}
	}
	for low < high {
		middle := int(uint(low+high) / 2)
		if c.number(middle*size) < cell {
			low = middle + 1
		} else {
			high = middle
		}
	}
	at = low * size
	return at, at < len(c.bytes) && c.number(at) == cell
}

func (c *column) number(at int) int { return int(binary.LittleEndian.Uint16(c.bytes[at:])) }

// insert puts in a cell that was zero. It makes room for a few more at a time, not for as many again: most are never needed.
func (c *column) insert(n, cell, at int, value int64) {
	size := c.entry()
	if len(c.bytes)+size > n*int(c.width) {
		c.fill(n)
		c.store(c.bytes[cell*int(c.width):], value)
		return
	}
	if len(c.bytes)+size > cap(c.bytes) {
		more := min(len(c.bytes)+len(c.bytes)/8+4*size, n*int(c.width))
		c.bytes = append(make([]byte, 0, more), c.bytes...)
	}
	c.bytes = c.bytes[:len(c.bytes)+size]
	copy(c.bytes[at+size:], c.bytes[at:])
	binary.LittleEndian.PutUint16(c.bytes[at:], uint16(cell))
	c.store(c.bytes[at+indexBytes:], value)
}

// fill makes a sparse column dense.
func (c *column) fill(n int) {
	full := column{width: c.width, dense: true, bytes: make([]byte, n*int(c.width))}
	for at := 0; at < len(c.bytes); at += c.entry() {
		full.store(full.bytes[c.number(at)*int(c.width):], c.load(c.bytes[at+indexBytes:]))
	}
	*c = full
}

func (c *column) widen(width uint8) {
	wide := column{width: width, dense: c.dense}
	if c.dense {
		n := len(c.bytes) / int(c.width)
		wide.bytes = make([]byte, n*int(width))
		for cell := range n {
			wide.store(wide.bytes[cell*int(width):], c.load(c.bytes[cell*int(c.width):]))
		}
	} else if size := c.entry(); len(c.bytes) > 0 {
		wide.bytes = make([]byte, len(c.bytes)/size*wide.entry())
		for from, to := 0, 0; from < len(c.bytes); from, to = from+size, to+wide.entry() {
			copy(wide.bytes[to:], c.bytes[from:from+indexBytes])
			wide.store(wide.bytes[to+indexBytes:], c.load(c.bytes[from+indexBytes:]))
		}
	}
	*c = wide
}

// widthOf is the number of bytes that value needs.
func widthOf(value int64) uint8 {
	switch {
	case value == 0:
		return 0
	case math.MinInt8 <= value && value <= math.MaxInt8:
		return 1
	case math.MinInt16 <= value && value <= math.MaxInt16:
		return 2
	case math.MinInt32 <= value && value <= math.MaxInt32:
		return 4
	default:
		return 8
	}
}

// load reads the value that b begins with.
func (c *column) load(b []byte) int64 {
	switch c.width {
	case 1:
		return int64(int8(b[0]))
	case 2:
		return int64(int16(binary.LittleEndian.Uint16(b)))
	case 4:
		return int64(int32(binary.LittleEndian.Uint32(b)))
	case 8:
		return int64(binary.LittleEndian.Uint64(b))
	}
	return 0
}

// store writes a value that fits the width.
func (c *column) store(b []byte, value int64) {
	switch c.width {
	case 1:
		b[0] = byte(value)
	case 2:
		binary.LittleEndian.PutUint16(b, uint16(value))
	case 4:
		binary.LittleEndian.PutUint32(b, uint32(value))
	case 8:
		binary.LittleEndian.PutUint64(b, uint64(value))
	}
}

// sum adds up the cells [start, end).
func (c *column) sum(start, end int) int64 {
	var total int64
	if len(c.bytes) == 0 || start >= end {
		return 0
	}
	width := int(c.width)
	if c.dense {
		b := c.bytes[start*width : end*width]
		if width == 1 { // nearly all are
			for _, v := range b {
				total += int64(int8(v))
			}
			return total
		}
		for ; len(b) >= width; b = b[width:] {
			total += c.load(b)
		}
		return total
	}
	from, _ := c.search(start)
	to, _ := c.search(end)
	b := c.bytes[from:to]
	if width == 1 {
		for at := indexBytes; at < len(b); at += indexBytes + 1 {
			total += int64(int8(b[at]))
		}
		return total
	}
	for ; len(b) > 0; b = b[c.entry():] {
		total += c.load(b[indexBytes:])
	}
	return total
}

// clear sets the cells [start, end) to zero.
func (c *column) clear(start, end int) {
	switch {
	case len(c.bytes) == 0 || start >= end:
	case c.dense:
		clear(c.bytes[start*int(c.width) : end*int(c.width)])
	default:
		from, _ := c.search(start)
		to, _ := c.search(end)
		c.bytes = slices.Delete(c.bytes, from, to)
	}
}
