package baseline

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"slices"

	"lastmile/internal/scenario"
)

// saved is the form of an entry on disk.
type saved struct {
	Combination  scenario.Combination
	Hour         int64
	At           []uint8 // hours of the week of which anything is known
	Median, MAD  []int16
	Runs         []uint16
	Recent, Old  []int16
	N, Over, Gap [2]uint32 // of recent and old
}

// Save writes all that it knows.
func (b *Baseline) Save(w io.Writer) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	to := gob.NewEncoder(w)
	if err := to.Encode(len(b.all)); err != nil {
		return fmt.Errorf("save baseline: %w", err)
	}
	for _, e := range b.all {
		if err := to.Encode(e.pack()); err != nil {
			return fmt.Errorf("save baseline: %w", err)
		}
	}
	return nil
}

func (e *entry) pack() *saved {
	s := &saved{Combination: e.combination, Hour: e.hour}
	for at := range e.usual {
		if f := e.usual[at]; f.runs > 0 {
			s.At = append(s.At, uint8(at))
			s.Median, s.MAD, s.Runs = append(s.Median, int16(f.median)), append(s.MAD, int16(f.mad)), append(s.Runs, f.runs)
		}
	}
	for i, from := range []*sample{&e.recent, &e.old} {
		s.N[i], s.Over[i], s.Gap[i] = from.n, from.over, from.stride
	}
	s.Recent, s.Old = plain(e.recent.values), plain(e.old.values)
	return s
}

func plain(values []logarithm) []int16 {
	out := make([]int16, len(values))
	for i, v := range values {
		out[i] = int16(v)
	}
	return out
}

// Load reads what Save wrote into a new baseline. It may read further than Save wrote. An error says what is wrong, and leaves it empty.
func (b *Baseline) Load(r io.Reader) error {
	from := gob.NewDecoder(r)
	var n int
	if err := from.Decode(&n); err != nil {
		return fmt.Errorf("load baseline: %w", err)
	}
	loaded := New()
	for range n {
		var s saved
		err := from.Decode(&s)
		if err == nil {
			err = loaded.unpack(&s)
		}
		if err != nil {
			return fmt.Errorf("load baseline: %w", err)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all, b.siblings, b.places = loaded.all, loaded.siblings, loaded.places
	return nil
}

func (b *Baseline) unpack(s *saved) error {
	if _, twice := b.all[s.Combination]; twice {
		return fmt.Errorf("got %+v twice", s.Combination)
	}
	if len(s.Median) != len(s.At) || len(s.MAD) != len(s.At) || len(s.Runs) != len(s.At) {
		return fmt.Errorf("got %d hours of %+v with %d medians, %d deviations and %d counts, want as many", len(s.At), s.Combination, len(s.Median), len(s.MAD), len(s.Runs))
	}
	e := &entry{combination: s.Combination, hour: s.Hour}
	for i, at := range s.At {
		if at >= hours {
			return fmt.Errorf("got hour %d of the week, want 0 to %d", at, hours-1)
		}
		e.usual[at] = figures{median: logarithm(s.Median[i]), mad: logarithm(s.MAD[i]), runs: s.Runs[i]}
	}
	for i, to := range []struct {
		*sample
		values []int16
	}{{&e.recent, s.Recent}, {&e.old, s.Old}} {
		if len(to.values) > maxSample || uint32(len(to.values)) > s.N[i] || s.Over[i] > s.N[i] || (s.N[i] > 0) != (len(to.values) > 0) {
			return errors.New("got an hour whose counts do not go with its durations")
		}
		*to.sample = sample{n: s.N[i], over: s.Over[i], stride: s.Gap[i]}
		for _, v := range to.values {
			to.sample.values = append(to.sample.values, logarithm(v))
		}
	}
	e.recent.values, e.old.values = slices.Clip(e.recent.values), slices.Clip(e.old.values)
	b.insert(e)
	return nil
}
