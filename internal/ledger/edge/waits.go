package edge

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"

	"lastmile/internal/runs"
)

// recentStep is how finely waits are kept by time.
const recentStep = 5 * time.Minute

// MaxSteps bounds the steps of a scenario whose waits are kept apart.
const MaxSteps = 100

// maxStepName bounds their names, in bytes.
const maxStepName = 100

// waits are how long answers took in the last day, by steps of time and of the scenario. The newest step of time is at hand, the others are
// packed, about eight bytes each: what comes for one of them makes one more entry, since they are only ever added up.
type waits struct {
	names  []string // of the scenario's steps
	at     int64    // of the newest: its time since the Unix epoch, in steps of time
	newest []stepWaits
	packed []byte // entries of varints: name with two flags for the two Waits and one for a step of time of its own; its change; number and sum of each of the Waits
	last   int64  // time of the last entry
	oldest int64  // of all, where there is one
}

// packedEntry is as much as an entry may take: a varint that is small, and five of any size.
const packedEntry = binary.MaxVarintLen32 + 5*binary.MaxVarintLen64

// stepWaits are the waits of one of the scenario's steps.
type stepWaits struct {
	name   int
	routed runs.Routed
}

// stepOfTime is what an entry says.
type stepOfTime struct {
	at int64
	stepWaits
}

// add takes up waits of a step.
func (w *waits) add(slot time.Time, step string, routed runs.Routed) {
	at := slot.Truncate(recentStep).Unix() / int64(recentStep/time.Second)
	if at != w.at {
		w.pack()
		w.at = at
	}
	if len(w.newest) == 0 && len(w.packed) == 0 || at < w.oldest {
		w.oldest = at
	}
	name := w.name(step)
	for i := range w.newest {
		if s := &w.newest[i]; s.name == name {
			s.routed.Right.Add(routed.Right)
			s.routed.Wrong.Add(routed.Wrong)
			return
		}
	}
	w.newest = append(w.newest, stepWaits{name: name, routed: routed})
}

// name returns the number of a step's name.
func (w *waits) name(step string) int {
	step = step[:min(len(step), maxStepName)]
	i := slices.Index(w.names, step)
	if i < 0 && len(w.names) >= MaxSteps {
		step = runs.OtherLabel
		i = slices.Index(w.names, step)
	}
	if i < 0 {
		w.names = append(w.names, step)
		i = len(w.names) - 1
	}
	return i
}

// pack puts the newest away.
func (w *waits) pack() {
	for _, s := range w.newest {
		w.append(stepOfTime{at: w.at, stepWaits: s})
	}
	w.newest = w.newest[:0]
}

func (w *waits) append(s stepOfTime) {
	if len(w.packed) == 0 {
		w.last = 0
	}
	if n := len(w.packed); cap(w.packed)-n < packedEntry { // in steps, for there is one of these for each combination
		w.packed = append(make([]byte, 0, n+2*packedEntry), w.packed...)
	}
	kinds := uint64(s.name) << 3
	if s.at != w.last+1 {
		kinds |= 4
	}
	two := [...]runs.Waits{s.routed.Right, s.routed.Wrong}
	for i, n := range two {
		if n.Count != 0 {
			kinds |= 1 << i
		}
	}
	w.packed = binary.AppendUvarint(w.packed, kinds)
	if kinds&4 != 0 {
		w.packed = binary.AppendVarint(w.packed, s.at-w.last)
	}
	for _, n := range two {
		if n.Count != 0 {
			w.packed = binary.AppendUvarint(w.packed, uint64(n.Count))
			w.packed = binary.AppendUvarint(w.packed, uint64(n.Sum))
		}
	}
	w.last = s.at
}

// all calls yield with every entry.
func (w *waits) all(yield func(stepOfTime) bool) {
	at, rest := int64(0), w.packed
	number := func() uint64 {
		v, n := binary.Uvarint(rest)
		rest = rest[n:]
		return v
	}
	for len(rest) > 0 {
		kinds, delta, n := number(), int64(1), 0
		if kinds&4 != 0 {
			delta, n = binary.Varint(rest)
			rest = rest[n:]
		}
		at += delta
		s := stepOfTime{at: at, stepWaits: stepWaits{name: int(kinds >> 3)}}
		if kinds&1 != 0 {
			s.routed.Right = runs.Waits{Count: int64(number()), Sum: time.Duration(number())}
		}
		if kinds&2 != 0 {
			s.routed.Wrong = runs.Waits{Count: int64(number()), Sum: time.Duration(number())}
		}
		if !yield(s) {
			return
		}
	}
	for _, s := range w.newest {
		if !yield(stepOfTime{at: w.at, stepWaits: s}) {
			return
		}
	}
}

// since adds up the waits of the steps of time that began after a time, for each of the scenario's steps, in the order of their names.
func (w *waits) since(limit time.Time) (out []runs.Routed) {
	if len(w.names) == 0 {
		return nil
	}
	sums := make([]runs.Routed, len(w.names))
	for s := range w.all {
		if s.at*int64(recentStep/time.Second) > limit.Unix() {
			sums[s.name].Right.Add(s.routed.Right)
			sums[s.name].Wrong.Add(s.routed.Wrong)
		}
	}
	order := make([]int, len(w.names))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(w.names[a], w.names[b]) })
	for _, i := range order {
		if sums[i] != (runs.Routed{}) {
			out = append(out, sums[i])
		}
	}
	return out
}

// forget drops the steps of time that began before a time, in Unix seconds, and the names that none of the others needs.
func (w *waits) forget(limit int64) {
	if len(w.newest) == 0 && len(w.packed) == 0 || w.oldest*int64(recentStep/time.Second) >= limit {
		return
	}
	kept := waits{at: w.at}
	for s := range w.all {
		if s.at*int64(recentStep/time.Second) >= limit {
			kept.add(time.Unix(s.at*int64(recentStep/time.Second), 0), w.names[s.name], s.routed)
		}
	}
	*w = kept
}
