package exposition

import (
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"

	"lastmile/internal/ledger"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// BenchmarkWritePrometheus is one scrape of a coordinator whose combinations have seen everything there is to see: every class, reason and
// cache state, histograms, latencies, budgets and points of presence. cpu-ms/scrape is the processor time that it took, garbage collection
// included; live-MB is what the coordinator holds between two scrapes for its metrics, and peak-MB what it holds within one.
func BenchmarkWritePrometheus(b *testing.B) {
	for _, combinations := range []int{2_000, 10_000} {
		b.Run(fmt.Sprint(combinations), func(b *testing.B) { benchmarkWrite(b, combinations) })
	}
}

func benchmarkWrite(b *testing.B, combinations int) {
	before := liveBytes()
	sources := fixedSources(false)
	var books []runs.Account
	scenarios := manyScenarios(combinations)
	for i := range scenarios {
		for _, combination := range scenarios[i].Combinations() {
			a := accounts(1)[0]
			a.Combination = combination
			books = append(books, a)
		}
	}
	given := liveBytes() - before
	sources.Accounts = func() []runs.Account { return books }
	c := NewCoordinator(sources)
	c.Define(scenarios)
	for _, a := range books {
		r := result(runs.StateFailed, time.Second)
		r.Scenario, r.Region, r.Network = a.Scenario, a.Region, a.Network
		c.Observe(r)
		r.State = runs.StatePassed
		c.Observe(r)
	}
	text := written(c.WritePrometheus)
	got := series(b, text)
	want(b, got, map[string]float64{"lastmile_series_dropped_total": 0})
	count, size := len(got), len(text)
	clear(got)
	within := peak{}
	c.WritePrometheus(&within)
	spent := processorTime(b)
	b.ReportAllocs()
	for b.Loop() {
		c.WritePrometheus(io.Discard)
	}
	b.ReportMetric(float64((processorTime(b)-spent).Microseconds())/1e3/float64(b.N), "cpu-ms/scrape")
	b.ReportMetric(float64(count), "series")
	b.ReportMetric(float64(size)/1e6, "MB/scrape")
	b.ReportMetric(float64(liveBytes()-before-given)/1e6, "live-MB")
	b.ReportMetric(float64(within.bytes-before-given)/1e6, "peak-MB")
	runtime.KeepAlive(c)
}

// manyScenarios makes as many combinations, in ten regions and on two networks each.
func manyScenarios(combinations int) (out []scenario.Scenario) {
	for i := range combinations / 20 {
		s := checkoutScenario()
		s.Name, s.Regions, s.Networks = fmt.Sprintf("scenario-%03d", i), nil, []string{"3g", "none"}
		for region := range 10 {
			s.Regions = append(s.Regions, fmt.Sprintf("region-%d", region))
		}
		out = append(out, s)
	}
	return out
}

// peak looks at the heap when the first byte is written: all else is there by then.
type peak struct{ bytes int64 }

func (p *peak) Write(text []byte) (int, error) {
	if p.bytes == 0 {
		p.bytes = liveBytes()
	}
	return len(text), nil
}

// liveBytes is what the heap holds after two collections: what is pooled goes with the second.
func liveBytes() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// processorTime is what this process has used.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkScrape is one whole scrape of a coordinator with 10,000 combinations at one run a minute: a real ledger with a day of results works out
// its accounts, quantiles over the last hour and day among them, and they are written. The numbers are as in BenchmarkWritePrometheus; the
// books are not in live-MB.
func BenchmarkScrape(b *testing.B) {
	const combinations, minutes = 10_000, 24 * 60
	scenarios := manyScenarios(combinations)
	books := ledger.New()
	books.Define(scenarios)
	r := result(runs.StatePassed, time.Second)
	r.Requests, r.Steps = nil, nil
	random := rand.New(rand.NewPCG(1, 2)) // what is sorted must not be in a pattern: durations are not
	for i := range scenarios {
		for _, c := range scenarios[i].Combinations() {
			r.Scenario, r.Region, r.Network = c.Scenario, c.Region, c.Network
			slot := at.Add(-minutes * time.Minute)
			for range minutes {
				slot = scenarios[i].Timetable().Next(c, slot)
				r.Slot, r.RunID, r.DurationMS = slot, "", 500+1000*random.Float64()
				books.Result(r, true)
			}
		}
	}
	before := liveBytes()
	sources := fixedSources(false)
	sources.Accounts = func() []runs.Account { return books.Accounts(at) }
	c := NewCoordinator(sources)
	c.Define(scenarios)
	within := peak{}
	c.WritePrometheus(&within)
	spent := processorTime(b)
	b.ReportAllocs()
	for b.Loop() {
		c.WritePrometheus(io.Discard)
	}
	b.ReportMetric(float64((processorTime(b)-spent).Microseconds())/1e3/float64(b.N), "cpu-ms/scrape")
	b.ReportMetric(float64(liveBytes()-before)/1e6, "live-MB")
	b.ReportMetric(float64(within.bytes-before)/1e6, "peak-MB")
	runtime.KeepAlive(c)
	runtime.KeepAlive(books)
}
