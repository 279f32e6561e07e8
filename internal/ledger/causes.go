package ledger

import (
	"encoding/binary"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"lastmile/internal/ledger/slots"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// The bounds of the causes that a combination keeps.
const (
	maxCauses     = 500
	maxCauseBytes = 16 << 10 // of all
	maxDetail     = 200      // bytes of one
	maxStepName   = 100      // likewise
)

// causes are why runs of single slots did not simply pass: those of the newest slots. They are packed, for there may be many and they are seldom
// asked for: slot (a varint), class, the lengths of step and detail, and these.
type causes struct {
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
func (c *causes) all(yield func(packedCause) bool) {
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

// keep enters the cause of a slot in place of the one it had; nil = it has none.
func (c *causes) keep(slot int64, cause *runs.Cause) {
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
		step, text := cut(cause.Step, maxStepName), cut(cause.Detail, maxDetail)
		entry = binary.AppendVarint(make([]byte, 0, 16+len(step)+len(text)), slot)
		entry = append(entry, byte(1+slices.Index(runs.Classes(), cause.Class)), byte(len(step)), byte(len(text)))
		entry = append(append(entry, step...), text...)
		c.n++
	}
	c.packed = slices.Replace(c.packed, from, to, entry...)
	over := 0
	for one := range c.all {
		if c.n <= maxCauses && len(c.packed)-over <= maxCauseBytes {
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

// forget drops the causes of slots before a time.
func (c *causes) forget(limit int64) {
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

// Slots lists the slots of a combination from since on, the oldest first, as far back as single slots are kept: see Retention. Those that are
// not due yet are not among them. Causes are kept of the newest 500 slots that have one, and of fewer where their texts are long.
func (l *Ledger) Slots(c scenario.Combination, since time.Time) []runs.SlotRecord {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, ok := l.accounts[c]
	if !ok {
		return nil
	}
	texts := map[int64]*runs.Cause{}
	for one := range a.causes.all {
		texts[one.slot] = one.cause()
	}
	var out []runs.SlotRecord
	why := slots.Reasons()
	for at, cell := range a.slots.Since(since.Unix()) {
		if timeOf(at).Before(since) || a.forgotten(at) && cell.State() != slots.Pending {
			continue
		}
		state := slots.States()[cell.State()]
		record := runs.SlotRecord{RunID: runs.NewID(c, timeOf(at)), Slot: timeOf(at), State: state, Reason: why[cell.Reason()], Amended: cell.Amended()}
		if state == runs.StateInvalid || state == runs.StateDegraded || state == runs.StateFailed {
			record.Cause = texts[at]
		}
		out = append(out, record)
	}
	return out
}
