package edge

import (
	"slices"

	"lastmile/internal/ledger/codec"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// Save writes the counts that results have made. Those of objectives without any come from the definition.
func (g *Edge) Save(e *codec.Encoder) {
	lookups := g.lookups
	e.Number(int64(len(lookups)))
	for _, n := range lookups {
		e.Text(n.Class)
		e.Text(n.PoP)
		e.Flag(n.Warm)
		e.Number(n.Hits)
		e.Number(n.Stale)
		e.Number(n.Other)
	}
	e.Number(int64(len(g.pops)))
	for _, name := range g.pops {
		e.Text(name)
	}
	ages := slices.DeleteFunc(slices.Clone(g.ages), func(a runs.Ages) bool { return a.Count == 0 })
	e.Number(int64(len(ages)))
	for _, a := range ages {
		e.Text(a.Class)
		e.Duration(a.Sum)
		e.Number(a.Count)
	}
	indicators := slices.DeleteFunc(slices.Clone(g.indicators), func(i runs.Indicator) bool { return i.Total == 0 })
	e.Number(int64(len(indicators)))
	for _, i := range indicators {
		e.Text(i.Name)
		e.Text(string(i.SLI))
		e.Number(i.Good)
		e.Number(i.Total)
	}
	saveWaits(e, g.routed.Right)
	saveWaits(e, g.routed.Wrong)
	e.Number(g.exposed)
	e.Number(g.dropped)
	codec.EncodeTally(e, g.overflow)
	g.recent.save(e)
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
func (g *Edge) Load(d *codec.Decoder) {
	for range d.Each {
		g.lookups = append(g.lookups, runs.Lookups{Class: d.Text(), PoP: d.Text(), Warm: d.Flag(), Hits: d.Number(), Stale: d.Number(), Other: d.Number()})
	}
	g.pops = nil
	for range d.Each {
		g.pops = append(g.pops, d.Text())
	}
	for range d.Each {
		g.ages = append(g.ages, runs.Ages{Class: d.Text(), Sum: d.Duration(), Count: d.Number()})
	}
	for range d.Each {
		g.indicators = append(g.indicators, runs.Indicator{Name: d.Text(), SLI: scenario.SLI(d.Text()), Good: d.Number(), Total: d.Number()})
	}
	g.routed = runs.Routed{Right: loadWaits(d), Wrong: loadWaits(d)}
	g.exposed, g.dropped = d.Number(), d.Number()
	g.overflow = codec.DecodeTally[string](d)
	g.recent.load(d)
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
