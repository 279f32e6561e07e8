package evidence

import (
	"slices"
	"time"

	"lastmile/internal/evaluate/tally"
	"lastmile/internal/slo"
)

// Coverage is how many of the slots were measured of late, and how many were to be.
func (u *Unit) Coverage(now time.Time) (measured, due int64) {
	span := u.head.Window(now.Unix()/60, u.Plan.Cover, tally.For(u.Plan.Cover))
	measured = u.measured.Sum(span)
	return measured, measured + u.unmeasured.Sum(span)
}

// Unknown reports whether nothing has come of any slot of late, not even that it was skipped.
func (u *Unit) Unknown(now time.Time) bool {
	_, due := u.Coverage(now)
	return due == 0 && u.skipped.Sum(u.head.Window(now.Unix()/60, u.Plan.Cover, tally.For(u.Plan.Cover))) == 0
}

// Unmeasured reports whether of the newest slots of a network most were not measured, and the newest of all not either; those before since are left out.
func (u *Unit) Unmeasured(since int64) bool {
	return slices.ContainsFunc(u.Networks, func(n Network) bool {
		return n.Recent.Unmeasured(NewestSlots, since) >= unmeasuredOf && n.Recent.Unmeasured(1, since) > 0
	})
}

// NewestSlots are those by which a network is said to be measured: it is not where as many as unmeasuredOf of them are not.
const NewestSlots, unmeasuredOf = 3, 2

// Recovered reports whether each network that failed since a slot has had so many good runs after its last failure.
func (u *Unit) Recovered(runs int, since int64) bool {
	for i := range u.Networks {
		r := &u.Networks[i].Recent
		if last := r.LastBad(); last != 0 && last >= since && r.GoodSince(last) < runs {
			return false
		}
	}
	return true
}

// LastBad is the network that failed last, and the slot; nil = none did.
func (u *Unit) LastBad() (n *Network, slot int64) {
	for i := range u.Networks {
		if last := u.Networks[i].Recent.LastBad(); last > slot {
			n, slot = &u.Networks[i], last
		}
	}
	return n, slot
}

// Streak is the number of good runs since the last bad one.
func (u *Unit) Streak() (n int) {
	_, last := u.LastBad()
	for i := range u.Networks {
		n += u.Networks[i].Recent.GoodSince(last)
	}
	return n
}

// Failing lists the networks of which most of the last runs are bad.
func (u *Unit) Failing(since int64) (names []string) {
	for i := range u.Networks {
		if n := &u.Networks[i]; n.Failing(since) {
			names = append(names, n.Name)
		}
	}
	return names
}

// Strength is how likely what was bad of late is while all is well, as a decimal logarithm, for an objective over a window.
func (u *Unit) Strength(t *Track, w slo.Window, now time.Time) float64 {
	length := int64(w.Duration() / time.Minute)
	return t.Log10(t.Evidence(u, u.head.Window(now.Unix()/60, length, tally.For(length))))
}

// Lately counts the bad runs, and the measured ones, of the last minutes, up to an hour.
func (u *Unit) Lately(t *Track, minutes int64, now time.Time) (bad, of int64) {
	return t.Evidence(u, u.head.Window(now.Unix()/60, minutes, tally.Minute))
}

// Drifted is the minute of the newest failure that the unit has added to the drift; 0 = none.
func (u *Unit) Drifted() int64 { return u.share.last }

// Heard reports whether anything has ever come of the unit.
func (u *Unit) Heard() bool { return u.head != 0 || u.BadAt != 0 || u.LeakAt != 0 }

// Incomplete reports whether a slot was not measured in the last three days.
func (u *Unit) Incomplete() bool { return u.unmeasured != nil }

// Usual is how many runs were bad, of how many, in the quiet hours of the last weeks, older ones counting less.
func (t *Track) Usual() (bad, of float64) { return t.baseBad, t.baseAll }
