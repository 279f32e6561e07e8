package indicators

import (
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// BenchmarkBook is what a combination with an availability and a latency objective takes after 90 days of one run a minute, when every ring is full, and what
// it costs to ask how they stand: each of 10,000 of them is asked at every scrape.
func BenchmarkBook(b *testing.B) {
	const books, minutes = 20, 90 * 24 * 60
	schedule, err := scenario.ParseSchedule("@every 1m")
	if err != nil {
		b.Fatal(err)
	}
	const month = slo.Window(30 * 24 * time.Hour)
	d := NewDefinition(&scenario.Scenario{Name: "shop", Schedule: schedule, SLOs: []scenario.SLO{
		{Name: "up", Objective: 0.99, Window: month},
		{Name: "fast", SLI: scenario.SLILatency, Threshold: scenario.Duration(time.Second), Objective: 0.95, Window: month},
	}})
	start, random := time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC), rand.New(rand.NewPCG(1, 1))
	before, all := heap(), make([]*Book, books)
	for i := range all {
		all[i] = &Book{}
		all[i].Define(d)
		for m := range minutes {
			r := runs.Result{State: runs.StatePassed, Slot: start.Add(time.Duration(m) * time.Minute), DurationMS: random.Float64() * 1050}
			switch random.IntN(200) {
			case 0, 1:
				r.State = runs.StateFailed
			case 2:
				r.State = runs.StateInvalid
			case 3:
				r.Tainted = []string{"busy"}
			case 4, 5:
				all[i].Slot(r.Slot, slo.Counts{Missing: 1})
				continue
			}
			all[i].Slot(r.Slot, r.State.Counts())
			if r.State.Measured() {
				all[i].Result(&r, d, "", nil)
			}
		}
	}
	size := float64(heap()-before) / books
	now := start.Add(minutes * time.Minute)
	b.ReportAllocs()
	sums := d.Sums(now)
	for i := 0; b.Loop(); i++ {
		sums.Add(all[i%books], nil)
	}
	b.ReportMetric(size, "B/book")
	runtime.KeepAlive(all)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
