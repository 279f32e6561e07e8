// Package causes keeps why single slots of a combination did not simply pass, in little room.
package causes

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"lastmile/internal/ledger/codec"
	"lastmile/internal/runs"
)

// The bounds of the causes that a combination keeps.
const (
	Max         = 500
	MaxBytes    = 16 << 10 // of all
	MaxDetail   = 200      // bytes of one
	maxStepName = 100      // likewise
)

// Causes are why runs of single slots did not simply pass: those of the newest slots. They are packed, for there may be many and they are seldom
// asked for: slot (a varint), class, the lengths of step and detail, and these.
type Causes struct {
	packed []byte // ascending by slot
	n      int
}

// packedCause is one of them, and the bytes that it takes.
type packedCause struct {
	slot       int64
	class      byte // its number in runs.Classes, from 1; 0 = one that is not there
	step, text []byte
	from, to   int
}

// all calls yield with each, the oldest first.
func (c *Causes) all(yield func(packedCause) bool) {
	for at := 0; at < len(c.packed); {
		slot, n := binary.Varint(c.packed[at:])
		head := c.packed[at+n:]
		step, text := int(head[1]), int(head[2])
		one := packedCause{slot: slot, class: head[0], step: head[3 : 3+step], text: head[3+step : 3+step+text], from: at, to: at + n + 3 + step + text}
		at = one.to
		if !yield(one) {
			return
		}
	}
}

func (p packedCause) cause() *runs.Cause {
	out := &runs.Cause{Class: runs.OtherLabel, Step: string(p.step), Detail: string(p.text)}
	if known := runs.Classes(); p.class > 0 && int(p.class) <= len(known) {
		out.Class = known[p.class-1]
	}
	return out
}

// Keep enters the cause of a slot in place of the one it had; nil = it has none.
func (c *Causes) Keep(slot int64, cause *runs.Cause) {
	from, to := len(c.packed), len(c.packed)
	for one := range c.all {
		if one.slot >= slot {
			from, to = one.from, one.from
			if one.slot == slot {
				to = one.to
				c.n--
			}
			break
		}
	}
	var entry []byte
	if cause != nil {
		step, text := cut(cause.Step, maxStepName), cut(cause.Detail, MaxDetail)
		entry = binary.AppendVarint(make([]byte, 0, 16+len(step)+len(text)), slot)
		entry = append(entry, byte(1+slices.Index(runs.Classes(), cause.Class)), byte(len(step)), byte(len(text)))
		entry = append(append(entry, step...), text...)
		c.n++
	}
	c.packed = slices.Replace(c.packed, from, to, entry...)
	over := 0
	for one := range c.all {
		if c.n <= Max && len(c.packed)-over <= MaxBytes {
			break
		}
		over = one.to
		c.n--
	}
	c.packed = slices.Delete(c.packed, 0, over)
}

// cut shortens a text to n bytes at most, between characters. What is kept does not hold on to the rest.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return strings.Clone(text[:n])
}

// Forget drops the causes of slots before a time.
func (c *Causes) Forget(limit int64) {
	over := 0
	for one := range c.all {
		if one.slot >= limit {
			break
		}
		over = one.to
		c.n--
	}
	c.packed = slices.Delete(c.packed, 0, over)
}

// BySlot returns all of them, by slot.
func (c *Causes) BySlot() map[int64]*runs.Cause {
	out := make(map[int64]*runs.Cause, c.n)
	for one := range c.all {
		out[one.slot] = one.cause()
	}
	return out
}

// Save writes them.
func (c *Causes) Save(e *codec.Encoder) {
	e.Number(int64(c.n))
	for one := range c.all {
		e.Signed(one.slot)
		SaveOne(e, one.cause())
	}
}

// Load reads what Save wrote.
func (c *Causes) Load(d *codec.Decoder) {
	before := int64(math.MinInt64)
	for i := range d.Each {
		slot, cause := d.Signed(), LoadOne(d)
		if d.Err == nil && (slot <= before || i >= Max) {
			d.Fail("read causes: got slot %d after %d, want them ascending, and at most %d", slot, before, Max)
		}
		if d.Err != nil {
			return
		}
		c.Keep(slot, cause)
		before = slot
	}
}

// SaveOne writes a single cause.
func SaveOne(e *codec.Encoder, c *runs.Cause) {
	e.Text(string(c.Class))
	e.Text(c.Step)
	e.Text(c.Detail)
}

// LoadOne reads what SaveOne wrote.
func LoadOne(d *codec.Decoder) *runs.Cause {
	return &runs.Cause{Class: runs.Class(d.Text()), Step: d.Text(), Detail: d.Text()}
}
