package tally

import (
	"encoding/binary"
	"errors"
)

// Kind is what became of a run.
type Kind uint8

// The kinds. A measured one replaces one that is not.
const (
	Good Kind = iota + 1
	Bad
	Unmeasured
	Skipped
)

// Measured reports whether it says something about the service.
func (k Kind) Measured() bool { return k == Good || k == Bad }

// Run is one that ended.
type Run struct {
	Slot    uint32 // Unix seconds
	Kind    Kind
	Confirm bool // it was asked for because another one had failed
}

// Recent holds the newest runs of a combination, ascending by slot.
type Recent struct {
	slots [keep]uint32
	kinds [keep]mark
	n     uint8
}

const keep = 16

// mark is the kind of a run, and whether it is a confirmation.
type mark uint8

const confirmBit mark = 1 << 7

func (m mark) kind() Kind    { return Kind(m &^ confirmBit) }
func (m mark) confirm() bool { return m&confirmBit != 0 }

// Enter takes up a run. Where there is one at its slot, the one that is measured stands: was is what it took the place of, and news tells
// whether anything changed. What is older than all that are kept is not kept.
func (r *Recent) Enter(run Run) (was Kind, news bool) {
	m := mark(run.Kind)
	if run.Confirm {
		m |= confirmBit
	}
	i := int(r.n)
	for i > 0 && r.slots[i-1] > run.Slot {
		i--
	}
	for k := i - 1; k >= 0 && r.slots[k] == run.Slot; k-- {
		if r.kinds[k].confirm() == run.Confirm {
			if was = r.kinds[k].kind(); was.Measured() || !run.Kind.Measured() {
				return was, false
			}
			r.kinds[k] = m
			return was, true
		}
	}
	switch {
	case r.n < keep:
		copy(r.slots[i+1:], r.slots[i:r.n])
		copy(r.kinds[i+1:], r.kinds[i:r.n])
		r.n++
	case i == 0:
		return 0, true
	default:
		i--
		copy(r.slots[:i], r.slots[1:i+1])
		copy(r.kinds[:i], r.kinds[1:i+1])
	}
	r.slots[i], r.kinds[i] = run.Slot, m
	return 0, true
}

// Refuted reports whether the newest confirmation since a slot failed.
func (r *Recent) Refuted(since int64) bool {
	for i := int(r.n) - 1; i >= 0 && int64(r.slots[i]) >= since; i-- {
		if r.kinds[i].confirm() {
			return r.kinds[i].kind() == Bad
		}
	}
	return false
}

// Last counts the bad ones among the last n measured runs since a slot, and how many there are.
func (r *Recent) Last(n int, since int64) (bad, of int) {
	for i := int(r.n) - 1; i >= 0 && of < n && int64(r.slots[i]) >= since; i-- {
		if k := r.kinds[i].kind(); k.Measured() {
			of++
			if k == Bad {
				bad++
			}
		}
	}
	return bad, of
}

// Unmeasured counts those among the last n scheduled runs since a slot, skipped ones left out, that were not measured.
func (r *Recent) Unmeasured(n int, since int64) (count int) {
	for i := int(r.n) - 1; i >= 0 && n > 0 && int64(r.slots[i]) >= since; i-- {
		if k := r.kinds[i]; !k.confirm() && k.kind() != Skipped {
			n--
			if k.kind() == Unmeasured {
				count++
			}
		}
	}
	return count
}

// LastBad is the slot of the newest bad run; 0 = none.
func (r *Recent) LastBad() int64 {
	for i := int(r.n) - 1; i >= 0; i-- {
		if r.kinds[i].kind() == Bad {
			return int64(r.slots[i])
		}
	}
	return 0
}

// GoodSince counts the good runs after a slot.
func (r *Recent) GoodSince(slot int64) (n int) {
	for i := int(r.n) - 1; i >= 0 && int64(r.slots[i]) > slot; i-- {
		if r.kinds[i].kind() == Good {
			n++
		}
	}
	return n
}

// Append appends a form from which Read restores the runs.
func (r *Recent) Append(out []byte) []byte {
	out = append(out, r.n)
	for i := range r.n {
		out = append(binary.BigEndian.AppendUint32(out, r.slots[i]), byte(r.kinds[i]))
	}
	return out
}

// Read restores what Append appended, and returns what follows.
func (r *Recent) Read(in []byte) (rest []byte, err error) {
	const size = 5
	if len(in) == 0 || in[0] > keep || len(in) < 1+size*int(in[0]) {
		return nil, errors.New("read recent runs: got an end, or too many")
	}
	*r = Recent{n: in[0]}
	in = in[1:]
	for i := range r.n {
		r.slots[i], r.kinds[i] = binary.BigEndian.Uint32(in), mark(in[4])
		if k := r.kinds[i].kind(); k < Good || k > Skipped || i > 0 && r.slots[i] < r.slots[i-1] {
			return nil, errors.New("read recent runs: got one of no kind, or out of order")
		}
		in = in[size:]
	}
	return in, nil
}
