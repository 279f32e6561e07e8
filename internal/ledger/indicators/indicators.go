// Package indicators keeps what the objectives of a scenario count, by the time of the slots that it belongs to: for one combination each, and
// added up over any number of them.
package indicators

import (
	"fmt"
	"math"
	"slices"
	"time"

	"lastmile/internal/ledger/codec"
	"lastmile/internal/runs"
	"lastmile/internal/runs/sli"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// maxSeries bounds the objectives of which a combination keeps counts, those that are gone included. A scenario has 20 at most.
const maxSeries = 60

// Book is what the objectives of one combination count. It is a fold over the changes of slots and over results, whose order does not matter.
//
// The slots as they ended are kept once, for they are what availability counts. Of a latency objective it is only what differs from
// them that is kept beside, and of one that counts events the events. A Book that is saved and read back counts on from what it had. An
// objective is told of results from the day on which it was defined, or defined again; of those before nobody kept how long they took.
type Book struct {
	history slo.History // the first layer: slots as they ended
	series  []series    // the layers behind it
}

// series is the objective whose counts a layer has. It may be one that is gone: then it waits for its return.
type series struct {
	name  string
	sli   scenario.SLI
	since int64 // the first minute that it is told of, since the Unix epoch; always = all
	gone  int64 // the newest minute of the book when the objective was no longer defined; never = it is
}

const (
	always = math.MinInt64
	never  = math.MinInt64
)

// Define says what objectives there are. One that has become another kind under its old name begins anew; one with another threshold, step or
// match counts on. So does one that was gone, unless there were slots meanwhile: nothing is known of these but how they ended, which is less than it asks.
func (b *Book) Define(d *Definition) {
	var newest int64
	at, begun := b.history.Newest()
	if begun {
		newest = at.Unix() / 60
	}
	for i := range d.objectives {
		o := &d.objectives[i]
		if !o.layered() {
			continue
		}
		k := slices.IndexFunc(b.series, func(s series) bool { return s.name == o.slo.Name })
		if k < 0 && len(b.series) >= maxSeries {
			k = slices.IndexFunc(b.series, func(s series) bool { return d.objective(s.name) == nil })
		}
		if k < 0 {
			b.series = append(slices.Clip(b.series), series{})
			k = len(b.series) - 1
		}
		if s := &b.series[k]; s.name != o.slo.Name || s.sli != o.slo.SLI {
			*s = series{name: o.slo.Name, sli: o.slo.SLI, since: always, gone: never}
			if begun {
				s.since = newest + 1
			}
			b.history.Drop(k + 1)
		} else if s.gone != never {
			if s.gone != newest {
				s.since = newest + 1
			}
			s.gone = never
		}
	}
	for k := range b.series {
		s := &b.series[k]
		if o := d.objective(s.name); s.gone == never && (o == nil || o.slo.SLI != s.sli) {
			s.gone = newest
		}
	}
}

// layer is where the counts of an objective are; 0 = it is one of the slots as they ended, or not defined.
func (b *Book) layer(o *objective) int {
	if !o.layered() {
		return 0
	}
	for k := range b.series {
		if b.series[k].name == o.slo.Name && b.series[k].sli == o.slo.SLI {
			return k + 1
		}
	}
	return 0
}

// Slot enters what has changed about the slot of a time.
func (b *Book) Slot(at time.Time, change slo.Counts) { b.history.Add(at, change) }

// Result enters what a measured result, the first of its slot, says beyond its state. events is told how many there were for each objective that
// counts some.
func (b *Book) Result(r *runs.Result, d *Definition, expected string, events func(*scenario.SLO, slo.Counts)) {
	for i := range d.objectives {
		o := &d.objectives[i]
		k := b.layer(o)
		if k == 0 {
			continue
		}
		var n slo.Counts
		if o.slo.SLI == scenario.SLILatency {
			n = sli.Counts(&o.slo, r).Sub(r.State.Counts())
			n.Good = 0 // it is what the others leave: see Sums
		} else if n = sli.Events(&o.slo, r, expected, d.within); n != (slo.Counts{}) {
			events(&o.slo, n)
		}
		if n != (slo.Counts{}) {
			b.history.AddTo(k, r.Slot, n)
		}
	}
}

// Save writes the counts.
func (b *Book) Save(e *codec.Encoder) error {
	e.Number(int64(len(b.series)))
	for _, s := range b.series {
		e.Text(s.name)
		e.Text(string(s.sli))
		e.Signed(s.since)
		e.Signed(s.gone)
	}
	return b.saveHistory(e)
}

func (b *Book) saveHistory(e *codec.Encoder) error {
	data, err := b.history.MarshalBinary()
	if err != nil {
		return fmt.Errorf("save history: %w", err)
	}
	e.Number(int64(len(data)))
	e.Bytes(data)
	return nil
}

// Load reads what Save wrote into an empty book.
func (b *Book) Load(d *codec.Decoder) {
	for i := range d.Each {
		s := series{name: d.Text(), sli: scenario.SLI(d.Text()), since: d.Signed(), gone: d.Signed()}
		if i >= maxSeries || slices.ContainsFunc(b.series, func(was series) bool { return was.name == s.name }) || !scenario.ValidName(s.name) {
			d.Fail("read objectives: got %.100q after %d others, want labels, each once, %d at most", s.name, i, maxSeries)
			return
		}
		for _, at := range []int64{s.since, s.gone} {
			if limit := int64(1) << 40; at != always && (at > limit || at < -limit) {
				d.Fail("read objective %s: got minute %d, want -%d to %d", s.name, at, limit, limit)
				return
			}
		}
		b.series = append(b.series, s)
	}
	b.LoadHistory(d)
}

// LoadHistory reads what was saved before objectives other than availability had counts of their own: how the slots ended.
func (b *Book) LoadHistory(d *codec.Decoder) {
	if data := d.Bytes(d.Count()); d.Err == nil {
		if err := b.history.UnmarshalBinary(data); err != nil {
			d.Fail("%w", err)
		}
	}
}
