package slots

import (
	"encoding/binary"

	"lastmile/internal/ledger/codec"
)

// Save writes the slots that have come to an end.
func (s *Slots) Save(e *codec.Encoder) {
	e.Number(int64(len(s.pages)))
	for k := range s.pages {
		p := s.pages[k].ended()
		e.Signed(int64(p.number))
		e.Number(int64(len(p.cells)))
		e.Flag(p.offsets != nil)
		if p.offsets == nil {
			e.Number(int64(p.first))
			e.Number(int64(p.stride))
		}
		before := uint16(0)
		for _, offset := range p.offsets {
			e.Number(int64(offset - before))
			before = offset
		}
		for _, c := range p.cells {
			e.Out = append(e.Out, byte(c))
		}
		e.Flag(p.took != nil)
		e.Bytes(p.took)
	}
}

// ended returns the page without its pending slots.
func (p *page) ended() *page {
	if !p.has(Pending) {
		return p
	}
	out := &page{number: p.number}
	if p.took != nil {
		out.took = []byte{}
	}
	for i, c := range p.cells {
		if c.State() == Pending {
			continue
		}
		k := out.insert(uint16(p.offset(i)))
		out.cells[k] = c
		if p.took != nil {
			copy(out.took[k*tookBytes:], p.took[i*tookBytes:][:tookBytes])
		}
	}
	return out
}

// Load reads what Save wrote, and returns how many slots of each state there are, and how many have a duration.
func (s *Slots) Load(d *codec.Decoder) (kept [NumStates]int64, samples int) {
	for range d.Each {
		number := d.Signed()
		p := page{number: int32(number)}
		if k := len(s.pages); k > 0 && p.number <= s.pages[k-1].number || number > maxPage || number < -maxPage {
			d.Fail("read slots: got page %d, want it after the one before and within %d", number, int64(maxPage))
		}
		p.load(d)
		if d.Err != nil {
			return kept, samples
		}
		for i, c := range p.cells {
			if !c.ended() {
				d.Fail("read slots: got %#x, want a slot that has ended", byte(c))
				return kept, samples
			}
			kept[c.State()]++
			if p.check(d, i); d.Err != nil {
				return kept, samples
			}
			if p.took == nil {
				continue
			}
			if _, ok := p.duration(i); ok {
				samples++
			}
		}
		if len(p.cells) > 0 {
			s.pages = append(s.pages, p)
		}
	}
	return kept, samples
}

// check sees to it that only a slot with a duration has bits of one.
func (p *page) check(d *codec.Decoder, i int) {
	switch s := p.cells[i].State(); {
	case s != Passed && s != Degraded:
		if p.took != nil && binary.LittleEndian.Uint32(p.took[i*tookBytes:]) != 0 {
			d.Fail("read slots: got a duration of one that is %s, want none", States()[s])
		}
	case p.took == nil && p.cells[i]>>3&15 != 0:
		d.Fail("read slots: got a part of a duration, want the other one too")
	}
}

// load reads the slots of a page.
func (p *page) load(d *codec.Decoder) {
	n := d.Count()
	if d.Flag() {
		p.offsets = make([]uint16, 0, n)
		offset := int64(0)
		for i := range n {
			step := d.Number()
			offset += min(step, pageSeconds)
			if offset >= pageSeconds || i > 0 && step == 0 {
				d.Fail("read page: got offset %d, want them ascending and within %d s", offset, pageSeconds)
				return
			}
			p.offsets = append(p.offsets, uint16(offset))
		}
	} else {
		first, stride := d.Number(), d.Number()
		if first >= pageSeconds || stride >= pageSeconds || n > 1 && (stride == 0 || first+int64(n-1)*stride >= pageSeconds) {
			d.Fail("read page: got %d slots from %d, %d s apart, want them within %d s", n, first, stride, pageSeconds)
			return
		}
		p.first, p.stride = uint16(first), uint16(stride)
	}
	for _, c := range d.Bytes(n) {
		p.cells = append(p.cells, Cell(c))
	}
	if d.Flag() {
		p.took = append([]byte(nil), d.Bytes(n*tookBytes)...)
	}
}
