package edge

import (
	"slices"

	"lastmile/internal/ledger/codec"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// Save writes the counts that results have made. Those of objectives without any come from the definition.
func (e *Edge) Save(to *codec.Encoder) {
	lookups := e.lookups
	to.Number(int64(len(lookups)))
	for _, n := range lookups {
		to.Text(n.Class)
		to.Text(n.PoP)
		to.Flag(n.Warm)
		to.Number(n.Hits)
		to.Number(n.Stale)
		to.Number(n.Other)
	}
	to.Number(int64(len(e.pops)))
	for _, name := range e.pops {
		to.Text(name)
	}
	ages := slices.DeleteFunc(slices.Clone(e.ages), func(a runs.Ages) bool { return a.Count == 0 })
	to.Number(int64(len(ages)))
	for _, a := range ages {
		to.Text(a.Class)
		to.Duration(a.Sum)
		to.Number(a.Count)
	}
	indicators := slices.DeleteFunc(slices.Clone(e.indicators), func(i runs.Indicator) bool { return i.Total == 0 })
	to.Number(int64(len(indicators)))
	for _, i := range indicators {
		to.Text(i.Name)
		to.Text(string(i.SLI))
		to.Number(i.Good)
		to.Number(i.Total)
	}
	saveWaits(to, e.routed.Right)
	saveWaits(to, e.routed.Wrong)
	to.Number(e.exposed)
	to.Number(e.dropped)
	codec.EncodeTally(to, e.overflow)
	e.recent.save(to)
}

func (w *waits) save(e *codec.Encoder) {
	e.Number(int64(len(w.names)))
	for _, name := range w.names {
		e.Text(name)
	}
	n := int64(0)
	for range w.all {
		n++
	}
	e.Number(n)
	for s := range w.all {
		e.Signed(s.at)
		e.Number(int64(s.name))
		saveWaits(e, s.routed.Right)
		saveWaits(e, s.routed.Wrong)
	}
}

// Load reads what Save wrote.
func (e *Edge) Load(d *codec.Decoder) {
	for range d.Each {
		e.lookups = append(e.lookups, runs.Lookups{Class: d.Text(), PoP: d.Text(), Warm: d.Flag(), Hits: d.Number(), Stale: d.Number(), Other: d.Number()})
	}
	e.pops = nil
	for range d.Each {
		e.pops = append(e.pops, d.Text())
	}
	for range d.Each {
		e.ages = append(e.ages, runs.Ages{Class: d.Text(), Sum: d.Duration(), Count: d.Number()})
	}
	for range d.Each {
		e.indicators = append(e.indicators, runs.Indicator{Name: d.Text(), SLI: scenario.SLI(d.Text()), Good: d.Number(), Total: d.Number()})
	}
	e.routed = runs.Routed{Right: loadWaits(d), Wrong: loadWaits(d)}
	e.exposed, e.dropped = d.Number(), d.Number()
	e.overflow = codec.DecodeTally[string](d)
	e.recent.load(d)
}

func (w *waits) load(d *codec.Decoder) {
	for range d.Each {
		w.names = append(w.names, d.Text())
	}
	for i := range d.Each {
		s := stepOfTime{at: d.Signed()}
		name := d.Number()
		if name >= int64(len(w.names)) {
			d.Fail("read waits: got step %d, want one of %d", name, len(w.names))
			return
		}
		s.name = int(name)
		s.routed = runs.Routed{Right: loadWaits(d), Wrong: loadWaits(d)}
		if i == 0 || s.at < w.oldest {
			w.oldest = s.at
		}
		w.append(s)
	}
}

func saveWaits(e *codec.Encoder, w runs.Waits) {
	e.Number(w.Count)
	e.Duration(w.Sum)
}

func loadWaits(d *codec.Decoder) runs.Waits { return runs.Waits{Count: d.Number(), Sum: d.Duration()} }
