package ledger

import (
	"math"

	"lastmile/internal/cachestate"
	"lastmile/internal/ledger/causes"
	"lastmile/internal/ledger/codec"
	"lastmile/internal/ledger/slots"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// loadAccount reads the books of one combination; old: in the form of the version before.
func (l *Ledger) loadAccount(d *codec.Decoder, old bool) {
	c := scenario.Combination{Scenario: d.Text(), Region: d.Text(), Network: d.Text()}
	if d.Err != nil {
		return
	}
	if !scenario.ValidName(c.Scenario) || !scenario.ValidName(c.Region) || !scenario.ValidName(c.Network) || l.accounts[c] != nil {
		d.Fail("read combination: got %.300q, want three labels, once", c)
		return
	}
	a := l.account(c)
	a.first, a.newest, a.forgottenBefore = d.Signed(), d.Signed(), d.Signed()
	a.loadCounts(d)
	for _, n := range []*int64{&a.duplicates, &a.unscheduled, &a.amended, &a.tainted} {
		*n = d.Number()
	}
	a.classes = codec.DecodeTally[runs.Class](d)
	a.cache = codec.DecodeTally[cachestate.State](d)
	for range d.Each {
		a.served = append(a.served, codec.Tallied[served]{Key: served{region: d.Text(), expected: d.Flag()}, N: d.Number()})
	}
	if old {
		a.book.LoadHistory(d)
	} else {
		a.book.Load(d)
	}
	a.edge.Load(d)
	a.causes.Load(d)
	if d.Flag() {
		a.last, a.lastSlot = causes.LoadOne(d), d.Signed()
	}
	a.loadSlots(d)
	if d.Err == nil {
		a.awaitVerdicts()
	}
}

// loadCounts reads the numbers of slots, and checks that they add up.
func (a *account) loadCounts(d *codec.Decoder) {
	var sum int64
	for i := range slots.NumStates {
		a.counts[i], a.entered[i] = d.Number(), d.Number()
		if a.counts[i] > a.entered[i] || i == slots.Pending && a.counts[i] != 0 {
			d.Fail("read counts of %+v: got %d slots %s, want at most the %d that ever were, and none pending", a.combination, a.counts[i], slots.States()[i], a.entered[i])
		}
		sum += a.counts[i]
	}
	if sum != a.entered[slots.Pending] {
		d.Fail("read counts of %+v: got a sum of %d over all states, want the %d planned", a.combination, sum, a.entered[slots.Pending])
	}
	for i := range a.reasons {
		a.reasons[i], a.everReasons[i] = d.Number(), d.Number()
	}
}

// loadSlots reads the single slots. There may be fewer than the counts say, for old ones are forgotten, and never more.
func (a *account) loadSlots(d *codec.Decoder) {
	var kept [slots.NumStates]int64
	kept, a.samples = a.slots.Load(d)
	for i, n := range kept {
		if n > a.counts[i] {
			d.Fail("read slots of %+v: got %d %s, want at most the %d that are counted", a.combination, n, slots.States()[i], a.counts[i])
		}
	}
}

// awaitVerdicts awaits the closing of the minutes that the slots fall into, as it was when they were reported.
func (a *account) awaitVerdicts() {
	for at := range a.slots.Since(math.MinInt64) {
		if minuteOf(at) > a.region.closed {
			a.await(at, nanosOf(at), false)
		}
	}
}
