package slo

import (
	"encoding/binary"
	"math"
)

// column holds one counter for all buckets of a ring, as little-endian signed
// integers of the least width that has fitted every value so far. A scenario
// that runs once a minute stays at one byte, where int64 would take eight.
type column struct {
	width int // bytes of a cell: 1, 2, 4 or 8; 0 while every cell is zero
	bytes []byte
}

// add changes one cell of n.
func (c *column) add(n, cell int, change int64) {
	value := c.at(cell) + change
	if w := widthOf(value); w > c.width {
		c.widen(n, w)
	}
	c.put(cell, value)
}

func (c *column) widen(n, width int) {
	wide := column{width: width, bytes: make([]byte, n*width)}
	for cell := range n {
		wide.put(cell, c.at(cell))
	}
	*c = wide
}

// widthOf is the number of bytes that value needs.
func widthOf(value int64) int {
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

func (c *column) at(cell int) int64 {
	return c.sum(cell, cell+1)
}

// put stores a value that fits the width.
func (c *column) put(cell int, value int64) {
	b := c.bytes[cell*c.width:]
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
	b := c.bytes[start*c.width : end*c.width]
	switch c.width {
	case 1:
		for _, v := range b {
			total += int64(int8(v))
		}
	case 2:
		for ; len(b) >= 2; b = b[2:] {
			total += int64(int16(binary.LittleEndian.Uint16(b)))
		}
	case 4:
		for ; len(b) >= 4; b = b[4:] {
			total += int64(int32(binary.LittleEndian.Uint32(b)))
		}
	case 8:
		for ; len(b) >= 8; b = b[8:] {
			total += int64(binary.LittleEndian.Uint64(b))
		}
	}
	return total
}

// clear sets the cells [start, end) to zero.
func (c *column) clear(start, end int) {
	clear(c.bytes[start*c.width : end*c.width])
}
