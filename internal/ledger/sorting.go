package ledger

import (
	"slices"
	"time"
)

// sorting has room for the durations of a combination, which is used again for the next one: with thousands of combinations, each with a day of
// runs, most of what it takes to draw up their accounts would be making and clearing that room.
type sorting struct{ values, spare []time.Duration }

const (
	digitBits = 8
	digits    = 64 / digitBits
	fewValues = 256 // below which counting digits does not pay
)

// sort brings durations, none of them below zero, into ascending order: by one digit after another, for those digits in which they differ.
func (s *sorting) sort(values []time.Duration) {
	if len(values) < fewValues {
		slices.Sort(values)
		return
	}
	var differ time.Duration
	for _, v := range values {
		differ |= v ^ values[0]
	}
	s.spare = slices.Grow(s.spare[:0], len(values))[:len(values)]
	from, to := values, s.spare
	for digit := range digits {
		shift := digit * digitBits
		if differ>>shift&(1<<digitBits-1) == 0 {
			continue
		}
		var places [1 << digitBits]int
		for _, v := range from {
			places[v>>shift&(1<<digitBits-1)]++
		}
		next := 0
		for i, n := range places {
			places[i] = next
			next += n
		}
		for _, v := range from {
			at := &places[v>>shift&(1<<digitBits-1)]
			to[*at] = v
			*at++
		}
		from, to = to, from
	}
	if &from[0] != &values[0] {
		copy(values, from)
	}
}
