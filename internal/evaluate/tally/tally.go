// Package tally counts what happened of late in little room: by minute for an hour, by five minutes for six hours, by hour for three days.
package tally

import (
	"encoding/binary"
	"errors"
)

// The rings lie one after another in the cells of a counter.
const (
	minutes = 60 // of 1 min
	fives   = 72 // of 5 min
	hours   = 72 // of 1 h
	cells   = minutes + fives + hours
)

// Level is the resolution of a ring.
type Level int

// The levels, the finest first.
const (
	Minute Level = iota
	Five
	Hour
	levels
)

type shape struct{ minutes, size, base int64 }

func (l Level) shape() shape {
	switch l {
	case Minute:
		return shape{minutes: 1, size: minutes, base: 0}
	case Five:
		return shape{minutes: 5, size: fives, base: minutes}
	default:
		return shape{minutes: 60, size: hours, base: minutes + fives}
	}
}

// Minutes is how long a cell of the level lasts.
func (l Level) Minutes() int64 { return l.shape().minutes }

// For is the finest level that reaches back so many minutes.
func For(window int64) Level {
	switch {
	case window <= minutes:
		return Minute
	case window <= fives*5:
		return Five
	}
	return Hour
}

// Head is the newest minute that counters of one owner have seen, since the Unix epoch; 0 = none yet.
type Head int64

// Place is where a minute is counted, by level; below 0 = it is further back than the ring reaches.
type Place [levels]int16

// Place finds a minute that is not after the head, and not below 0.
func (h Head) Place(minute int64) (p Place) {
	// Spelt out by level, for every result comes through here, and a division by a constant costs a fraction of one by a variable.
	m, head := uint64(minute), uint64(h)
	p = Place{int16(m % minutes), int16(minutes + m/5%fives), int16(minutes + fives + m/60%hours)}
	if head-m >= minutes {
		p[Minute] = -1
		if head/5-m/5 >= fives {
			p[Five] = -1
		}
		if head/60-m/60 >= hours {
			p[Hour] = -1
		}
	}
	return p
}

// Span is one or two stretches of cells.
type Span struct{ from, to, from2, to2 int16 }

// stretch is the cells of n buckets, the last of which is end.
func (g shape) stretch(end, n int64) Span {
	n = min(n, g.size)
	if n <= 0 {
		return Span{}
	}
	first := (end - n + 1) % g.size
	if first+n <= g.size {
		return Span{from: int16(g.base + first), to: int16(g.base + first + n)}
	}
	return Span{from: int16(g.base + first), to: int16(g.base + g.size), from2: int16(g.base), to2: int16(g.base + first + n - g.size)}
}

// Advance moves the head on to a minute, and returns the cells that are to be cleared, by level; ok=false where it is there already.
func (h *Head) Advance(minute int64) (stale [levels]Span, ok bool) {
	was := int64(*h)
	if minute <= was {
		return stale, false
	}
	*h = Head(minute)
	if minute == was+1 { // as a rule
		p := h.Place(minute)
		stale[Minute] = Span{from: p[Minute], to: p[Minute] + 1}
		if uint64(minute)%5 == 0 {
			stale[Five] = Span{from: p[Five], to: p[Five] + 1}
		}
		if uint64(minute)%60 == 0 {
			stale[Hour] = Span{from: p[Hour], to: p[Hour] + 1}
		}
		return stale, true
	}
	for l := range levels {
		g := l.shape()
		if end := minute / g.minutes; was == 0 {
			stale[l] = g.stretch(end, g.size)
		} else {
			stale[l] = g.stretch(end, end-was/g.minutes)
		}
	}
	return stale, true
}

// Window is the cells of the last so many minutes up to now, that one included, at a level. The oldest cell is in it as a whole or not at all: of the
// coarser levels up to a cell less than was asked for.
func (h Head) Window(now, window int64, l Level) Span {
	g := l.shape()
	end, head := now/g.minutes, int64(h)/g.minutes
	first := max(end-max(window/g.minutes, 1)+1, head-g.size+1, 0)
	end = min(end, head)
	return g.stretch(end, end-first+1)
}

// Count is what a cell can hold.
type Count interface{ uint16 | uint32 }

// Counter counts one thing. The nil counter has counted nothing.
type Counter[T Count] struct{ cells [cells]T }

// Add counts n more at a place. A cell that is full stays so, and one that is empty likewise.
func Add[T Count](c **Counter[T], p Place, n int) {
	if *c == nil {
		if n <= 0 {
			return
		}
		*c = new(Counter[T])
	}
	for _, cell := range p {
		if cell < 0 {
			continue
		}
		v := &(*c).cells[cell]
		sum := int64(*v) + int64(n)
		*v = T(min(max(sum, 0), int64(^T(0))))
	}
}

// Clear empties cells.
func (c *Counter[T]) Clear(stale *[levels]Span) {
	if c == nil {
		return
	}
	for _, s := range stale {
		if s.to-s.from <= 1 { // a minute has passed, as a rule
			if s.to > s.from {
				c.cells[s.from] = 0
			}
			if s.to2 == 0 {
				continue
			}
		}
		clear(c.cells[s.from:s.to])
		clear(c.cells[s.from2:s.to2])
	}
}

// Sum adds up cells.
func (c *Counter[T]) Sum(s Span) (total int64) {
	if c == nil {
		return 0
	}
	for _, v := range c.cells[s.from:s.to] {
		total += int64(v)
	}
	for _, v := range c.cells[s.from2:s.to2] {
		total += int64(v)
	}
	return total
}

// Bursts is how often a cell of a span has a count of n or more, where such a cell and those that follow it, reach in all, are one burst: with a reach of
// 1 the number of such cells.
func (c *Counter[T]) Bursts(s Span, n int64, reach int16) (hit int64) {
	if c == nil {
		return 0
	}
	return s.bursts(reach, func(cell int16) bool { return int64(c.cells[cell]) >= n })
}

// bursts counts the cells that are hit, each with those that it takes in.
func (s Span) bursts(reach int16, isHit func(cell int16) bool) (hit int64) {
	taken := int16(0) // cells that the burst under way takes in still
	for _, part := range [2][2]int16{{s.from, s.to}, {s.from2, s.to2}} {
		for cell := part[0]; cell < part[1]; cell++ {
			if taken > 0 {
				taken--
			} else if isHit(cell) {
				hit, taken = hit+1, reach-1
			}
		}
	}
	return hit
}

// Append appends a form from which Read restores the counter: a number for each cell, and one for each stretch of empty ones.
func (c *Counter[T]) Append(out []byte) []byte {
	if c == nil {
		return append(out, 0)
	}
	out = append(out, 1)
	for i := 0; i < cells; {
		out = binary.AppendUvarint(out, uint64(c.cells[i]))
		if c.cells[i] != 0 {
			i++
			continue
		}
		n := 1
		for i+n < cells && c.cells[i+n] == 0 {
			n++
		}
		out = binary.AppendUvarint(out, uint64(n))
		i += n
	}
	return out
}

var errCounter = errors.New("read counter: got an end, or a count that is too large")

// Read restores what Append appended, and returns what follows.
func Read[T Count](c **Counter[T], in []byte) (rest []byte, err error) {
	if len(in) == 0 || in[0] > 1 {
		return nil, errCounter
	}
	*c, rest = nil, in[1:]
	if in[0] == 0 {
		return rest, nil
	}
	read := new(Counter[T])
	for i := 0; i < cells; {
		v, size := binary.Uvarint(rest)
		if size <= 0 || v > uint64(^T(0)) {
			return nil, errCounter
		}
		rest = rest[size:]
		read.cells[i] = T(v)
		if v != 0 {
			i++
			continue
		}
		n, size := binary.Uvarint(rest)
		if size <= 0 || n == 0 || n > uint64(cells-i) {
			return nil, errCounter
		}
		rest, i = rest[size:], i+int(n)
	}
	*c = read
	return rest, nil
}

// HitShares is the same for cells in which the share of lost events, in whole runs, is n runs or more.
func HitShares(events, lost *Counter[uint32], ran *Counter[uint16], s Span, n int64, reach int16) (hit int64) {
	if events == nil || lost == nil || ran == nil {
		return 0
	}
	return s.bursts(reach, func(cell int16) bool {
		all := int64(events.cells[cell])
		return all > 0 && int64(lost.cells[cell])*int64(ran.cells[cell]) >= n*all
	})
}
