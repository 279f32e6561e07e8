// Package slots keeps the single slots of a combination in little room: what has become of each, and how long its run took.
package slots

import (
	"cmp"
	"encoding/binary"
	"iter"
	"math"
	"slices"
	"time"

	"lastmile/internal/runs"
)

// The states and reasons as numbers, for arrays and for the bytes of cells. A snapshot has them in it: the order is for good.
const (
	Pending = iota
	Missing
	Skipped
	Invalid
	Passed
	Degraded
	Failed
	NumStates
	NumReasons = 8 // the first is none
)

// States lists the states by their numbers.
func States() [NumStates]runs.State {
	return [NumStates]runs.State{
		runs.StatePending, runs.StateMissing, runs.StateSkipped, runs.StateInvalid, runs.StatePassed, runs.StateDegraded, runs.StateFailed,
	}
}

// Reasons lists the reasons by their numbers.
func Reasons() [NumReasons]runs.Reason {
	return [NumReasons]runs.Reason{
		"", runs.ReasonNoProbe, runs.ReasonExpired, runs.ReasonLost, runs.ReasonCutOff, runs.ReasonCoordinatorDown,
		runs.ReasonMaintenance, runs.ReasonOverlap,
	}
}

// Cell is one slot: its state in the lowest three bits; in the next four its reason where it is missing or skipped, or the highest bits of its
// duration where it has one; and whether it was missing or skipped and reported after all.
type Cell byte

const amended Cell = 1 << 7

// NewCell makes the cell of a slot in a state, for a reason where it has one.
func NewCell(state runs.State, reason runs.Reason) Cell {
	known := States()
	c := Cell(max(0, slices.Index(known[:], state)))
	if reason != "" {
		why := Reasons()
		c |= Cell(max(0, slices.Index(why[:], reason))) << 3
	}
	return c
}

// State is the number of its state.
func (c Cell) State() int { return int(c & 7) }

// Reason is the number of its reason; 0 = none.
func (c Cell) Reason() int {
	if s := c.State(); s == Missing || s == Skipped {
		return int(c >> 3 & 15)
	}
	return 0
}

// Amended reports whether it was missing or skipped, and reported after all.
func (c Cell) Amended() bool { return c&amended != 0 }

// Raise moves the cell to another one's state and reason. It is amended where it was missing or skipped and that is not.
func (c *Cell) Raise(to Cell) {
	was := *c
	*c = to | was&amended
	if from := was.State(); (from == Missing || from == Skipped) && to.State() != Missing && to.State() != Skipped {
		*c |= amended
	}
}

// ended reports whether the cell is one of a slot that has come to an end.
func (c Cell) ended() bool {
	switch c.State() {
	case Missing, Skipped:
		return c.Reason() < NumReasons
	case Passed, Degraded:
		return true
	case Invalid, Failed:
		return c>>3&15 == 0
	}
	return false
}

// The span of time of a page, and what the duration of a run takes in it. With a run a minute both lists of a page fill what Go allocates
// for them: 256 and 1,024 bytes.
const (
	pageSeconds = 256 * 60
	tookBytes   = 4
)

// A duration takes 36 bits: up to 34 s it is exact, beyond that to 32 ns, up to 18 min, which is more than any run may take.
const (
	exactTook = 1 << 35
	coarse    = 5 // bits
)

// page holds the slots of some four hours. Slots at even distances, which is nearly all of them, need no times of their own; the others have
// one each: so a slot costs a byte, three at most, and four more where runs have durations.
type page struct {
	number  int32    // its time since the Unix epoch, in pages
	first   uint16   // seconds into the page, where offsets is nil
	stride  uint16   // seconds from slot to slot, likewise; 0 = there is one slot only
	offsets []uint16 // ascending, of slots at uneven distances
	cells   []Cell
	took    []byte // of each slot, the lower bits of the duration of its run, see Sample; nil where there is none
}

// Slots are single slots by their time, in seconds since the Unix epoch.
type Slots struct{ pages []page } // ascending

// Ref is where a slot is, until the next one is entered.
type Ref struct {
	page *page
	i    int
}

// maxPage bounds the pages: the years from -978,000 to 982,000.
const maxPage = math.MaxInt32 - 1

// split gives the page of a time, and the seconds into it. All times beyond the last page are in that one.
func split(at int64) (number int32, offset uint16) {
	n := max(min(floorDiv(at, pageSeconds), maxPage), -maxPage)
	return int32(n), uint16(max(min(at-n*pageSeconds, pageSeconds-1), 0))
}

// Find returns the slot at a time; ok=false where there is none.
func (s *Slots) Find(at int64) (r Ref, ok bool) {
	number, offset := split(at)
	k, ok := s.search(number)
	if !ok {
		return Ref{}, false
	}
	p := &s.pages[k]
	i, ok := p.search(offset)
	return Ref{page: p, i: i}, ok
}

func (s *Slots) search(number int32) (int, bool) {
	if n := len(s.pages); n > 0 && s.pages[n-1].number == number {
		return n - 1, true
	}
	return slices.BinarySearchFunc(s.pages, number, func(p page, number int32) int { return cmp.Compare(p.number, number) })
}

// Insert makes a pending slot at a time at which there is none.
func (s *Slots) Insert(at int64) Ref {
	number, offset := split(at)
	k, ok := s.search(number)
	if !ok {
		if k > 0 {
			s.pages[k-1].fit()
		}
		s.pages = slices.Insert(s.pages, k, page{number: number})
	}
	p := &s.pages[k]
	return Ref{page: p, i: p.insert(offset)}
}

// search returns where a slot is, or would be.
func (p *page) search(offset uint16) (i int, ok bool) {
	n := len(p.cells)
	switch {
	case p.offsets != nil:
		return slices.BinarySearch(p.offsets, offset)
	case n == 0 || offset < p.first:
		return 0, false
	case offset == p.first:
		return 0, true
	case p.stride == 0:
		return 1, false
	}
	past := int(offset - p.first)
	i = past / int(p.stride)
	switch {
	case i >= n:
		return n, false
	case past%int(p.stride) == 0:
		return i, true
	}
	return i + 1, false
}

// insert makes room for a slot.
func (p *page) insert(offset uint16) int {
	i, _ := p.search(offset)
	n := len(p.cells)
	switch {
	case p.offsets != nil:
		p.offsets = slices.Insert(p.offsets, i, offset)
		p.even()
	case n == 0:
		p.first = offset
	case n == 1 && i == 1:
		p.stride = offset - p.first
	case n == 1:
		p.first, p.stride = offset, p.first-offset
	case i == n && int(offset) == p.offset(n):
	case i == 0 && int(offset)+int(p.stride) == int(p.first):
		p.first = offset
	default:
		offsets := make([]uint16, 0, n+n/4+1)
		for k := range n {
			offsets = append(offsets, uint16(p.offset(k)))
		}
		p.offsets = slices.Insert(offsets, i, offset)
	}
	p.cells = slices.Insert(p.cells, i, 0)
	if p.took != nil {
		p.took = slices.Insert(p.took, i*tookBytes, make([]byte, tookBytes)...)
	}
	return i
}

// even drops the offsets where the distances have become even: what was missing has come.
func (p *page) even() {
	n := len(p.offsets)
	stride := p.offsets[1] - p.offsets[0]
	if int(p.offsets[n-1]-p.offsets[0]) != (n-1)*int(stride) {
		return
	}
	for k := 1; k < n; k++ {
		if p.offsets[k]-p.offsets[k-1] != stride {
			return
		}
	}
	p.first, p.stride, p.offsets = p.offsets[0], stride, nil
}

// fit gives back the room that is not needed any more when the next page has begun.
func (p *page) fit() {
	const worth = 64
	if cap(p.took)-len(p.took) > worth {
		p.took = append(make([]byte, 0, len(p.took)), p.took...)
	}
	if cap(p.cells)-len(p.cells) > worth {
		p.cells = append(make([]Cell, 0, len(p.cells)), p.cells...)
	}
}

// offset is the time of a slot within the page.
func (p *page) offset(i int) int {
	if p.offsets != nil {
		return int(p.offsets[i])
	}
	return int(p.first) + i*int(p.stride)
}

// at is the time of a slot.
func (p *page) at(i int) int64 { return p.start() + int64(p.offset(i)) }

// start and end are the times at which the page begins and ends.
func (p *page) start() int64 { return int64(p.number) * pageSeconds }
func (p *page) end() int64   { return p.start() + pageSeconds }

func (p *page) has(state int) bool {
	return slices.ContainsFunc(p.cells, func(c Cell) bool { return c.State() == state })
}

// Cell is the slot itself.
func (r Ref) Cell() *Cell { return &r.page.cells[r.i] }

// Sample enters the duration of a slot's run that passed, or was degraded, of which there is none yet.
func (r Ref) Sample(d time.Duration) {
	p := r.page
	if p.took == nil {
		p.took = make([]byte, len(p.cells)*tookBytes)
	}
	code := uint64(max(d, 0))
	if code >= exactTook {
		code = exactTook + min(code>>coarse, exactTook-2)
	}
	code++ // 0 = none
	binary.LittleEndian.PutUint32(p.took[r.i*tookBytes:], uint32(code))
	*r.Cell() |= Cell(code>>32) << 3
}

// duration returns what Sample entered, of a page that has durations.
func (p *page) duration(i int) (d time.Duration, ok bool) {
	c := p.cells[i]
	if s := c.State(); s != Passed && s != Degraded {
		return 0, false
	}
	code := uint64(binary.LittleEndian.Uint32(p.took[i*tookBytes:])) | uint64(c>>3&15)<<32
	if code == 0 {
		return 0, false
	}
	if code--; code >= exactTook {
		code = (code - exactTook) << coarse
	}
	return time.Duration(code), true
}

// drop takes back what Sample entered.
func (p *page) drop(i int) {
	clear(p.took[i*tookBytes:][:tookBytes])
	p.cells[i] &^= 15 << 3
}

// Durations adds the durations of the slots after a time to out, in no order worth the name.
func (s *Slots) Durations(since int64, out []time.Duration) []time.Duration {
	for k := len(s.pages) - 1; k >= 0 && s.pages[k].end() > since; k-- {
		p := &s.pages[k]
		if p.took == nil {
			continue
		}
		from := 0
		if p.start() <= since {
			i, ok := p.search(uint16(since - p.start()))
			if from = i; ok {
				from++
			}
		}
		for i := from; i < len(p.cells); i++ {
			if d, ok := p.duration(i); ok {
				out = append(out, d)
			}
		}
	}
	return out
}

// Forget drops the pages that end before a time, unless a slot in them is still pending.
func (s *Slots) Forget(limit int64) {
	if len(s.pages) > 0 && s.pages[0].end() <= limit {
		s.pages = slices.DeleteFunc(s.pages, func(p page) bool { return p.end() <= limit && !p.has(Pending) })
	}
}

// ForgetDurations drops the durations of the slots before a time, and returns how many those were.
func (s *Slots) ForgetDurations(limit int64) (dropped int) {
	for k := range s.pages {
		p := &s.pages[k]
		if p.start() >= limit {
			break
		}
		if p.took == nil {
			continue
		}
		end := len(p.cells)
		if p.end() > limit {
			end, _ = p.search(uint16(limit - p.start()))
		}
		for i := range end {
			if _, ok := p.duration(i); ok {
				p.drop(i)
				dropped++
			}
		}
		if end == len(p.cells) {
			p.took = nil
		}
	}
	return dropped
}

// Oldest returns the time of the n-th oldest slot with a duration, from 0; ok=false where there are fewer.
func (s *Slots) Oldest(n int) (at int64, ok bool) {
	for k := range s.pages {
		p := &s.pages[k]
		if p.took == nil {
			continue
		}
		for i := range p.cells {
			if _, ok := p.duration(i); !ok {
				continue
			}
			if n == 0 {
				return p.at(i), true
			}
			n--
		}
	}
	return 0, false
}

// Since lists the time and the cell of every slot from a time on, the earliest first.
func (s *Slots) Since(since int64) iter.Seq2[int64, Cell] {
	return func(yield func(at int64, c Cell) bool) {
		for k := range s.pages {
			p := &s.pages[k]
			if p.end() <= since {
				continue
			}
			for i, c := range p.cells {
				if at := p.at(i); at >= since && !yield(at, c) {
					return
				}
			}
		}
	}
}

// floorDiv rounds down, also below zero; b is positive.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
