package exposition

import (
	"bytes"
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
	"lastmile/internal/slo"
)

// BenchmarkWritePrometheus is one scrape of a coordinator whose combinations have seen everything there is to see: every class, reason and
// cache state, histograms, latencies, budgets and points of presence. A quarter of them have run since the scrape before, as at one run a minute
// and a scrape each 15 s. cpu-ms/scrape is the processor time that it took, garbage collection included, and cpu-ms/all-new where all have run;
// live-MB is what the coordinator holds between two scrapes for its metrics, and peak-MB what it holds within one.
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
	sources.Accounts = func() []runs.Account { return books }
	objectives, journeys := manyObjectives(scenarios)
	sources.Objectives = func() []runs.ObjectiveStatus { return objectives }
	sources.Journeys = func() []runs.JourneyStatus { return journeys }
	given := liveBytes() - before
	c := NewCoordinator(sources)
	c.Define(scenarios)
	for _, a := range books {
		r := result(runs.StateFailed, time.Second)
		r.Scenario, r.Region, r.Network = a.Scenario, a.Region, a.Network
		c.Observe(r)
		r.State = runs.StatePassed
		manySteps(c, r)
	}
	text := written(c.WritePrometheus)
	got := series(b, text)
	want(b, got, map[string]float64{"lastmile_series_dropped_total": 0})
	count, size := len(got), len(text)
	clear(got)
	within := peak{}
	c.WritePrometheus(&within)
	scrapes(b, c, scenarios)
	b.ReportMetric(float64(count), "series")
	b.ReportMetric(float64(size)/1e6, "MB/scrape")
	b.ReportMetric(float64(liveBytes()-before-given)/1e6, "live-MB")
	b.ReportMetric(float64(within.bytes-before-given)/1e6, "peak-MB")
	runtime.KeepAlive(c)
}

// scrapes are as far apart as those of a Prometheus: what the one before had in pools is gone.
func scrapes(b *testing.B, c *Coordinator, scenarios []scenario.Scenario) {
	b.Helper()
	scrape := func() time.Duration {
		liveBytes()
		began := processorTime(b)
		b.StartTimer()
		c.WritePrometheus(io.Discard)
		b.StopTimer()
		return processorTime(b) - began
	}
	var spent time.Duration
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		runOnce(c, scenarios, n%4, 4)
		spent += scrape()
		n++
		b.StartTimer()
	}
	b.ReportMetric(float64(spent.Microseconds())/1e3/float64(n), "cpu-ms/scrape")
	b.StopTimer()
	runOnce(c, scenarios, 0, 1)
	b.ReportMetric(float64(scrape().Microseconds())/1e3, "cpu-ms/all-new")
}

// runOnce has one more run of each combination in the first, second, ... of so many parts of all.
func runOnce(c *Coordinator, scenarios []scenario.Scenario, part, of int) {
	r := result(runs.StatePassed, time.Second)
	n := 0
	for i := range scenarios {
		for _, combination := range scenarios[i].Combinations() {
			if n++; n%of == part {
				r.Scenario, r.Region, r.Network = combination.Scenario, combination.Region, combination.Network
				c.Observe(r)
			}
		}
	}
}

// manySteps has so many results of a combination that no quantile of its steps and documents can have more to come from.
func manySteps(c *Coordinator, r *runs.Result) {
	r.Navigations = r.Navigations[:1]
	for i := range 128 {
		if i == 1 {
			r.Requests = nil
		}
		r.Slot = at.Add(time.Duration(i-128) * time.Minute)
		r.Steps = []runs.Step{
			{ID: "home", State: runs.StepPassed, DurationMS: float64(1000 + 37*i%128)}, {ID: "2", State: runs.StepPassed, DurationMS: float64(500 + 53*i%128)},
			{ID: "pay", State: runs.StepDegraded, DurationMS: float64(250 + 71*i%128)},
		}
		c.Observe(r)
	}
}

// manyObjectives are those of the scenarios in each region and everywhere, and how the scenarios stand there.
func manyObjectives(scenarios []scenario.Scenario) (objectives []runs.ObjectiveStatus, journeys []runs.JourneyStatus) {
	for i := range scenarios {
		s := &scenarios[i]
		for _, o := range s.SLOs {
			for _, region := range append([]string{""}, s.Regions...) {
				objectives = append(objectives, status(s.Name, region, o, 3))
			}
		}
		for _, region := range s.Regions {
			j := runs.JourneyStatus{Scenario: s.Name, Region: region, State: runs.JourneyOK}
			for _, o := range s.SLOs {
				for _, w := range []time.Duration{time.Hour, 6 * time.Hour, 24 * time.Hour, 72 * time.Hour} {
					j.Evidence = append(j.Evidence, runs.EvidenceStatus{SLO: o.Name, Window: slo.Window(w), Log10P: -1.25})
				}
			}
			journeys = append(journeys, j)
		}
	}
	return objectives, journeys
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

// counter counts what is written; a line of which the beginning is in another piece counts once.
type counter struct{ series, bytes int }

func (c *counter) Write(text []byte) (int, error) {
	c.bytes += len(text)
	c.series += bytes.Count(text, []byte("\n")) - 2*bytes.Count(text, []byte("# HELP "))
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
// its accounts, quantiles over the last hour and day among them, and its objectives, and they are written, with what the results came to beside the
// books. The numbers are as in BenchmarkWritePrometheus; the books are not in live-MB.
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
	sources.Objectives = func() []runs.ObjectiveStatus { return books.Objectives(at) }
	_, journeys := manyObjectives(scenarios)
	sources.Journeys = func() []runs.JourneyStatus { return journeys }
	c := NewCoordinator(sources)
	c.Define(scenarios)
	for i := range scenarios {
		for _, of := range scenarios[i].Combinations() {
			r := result(runs.StatePassed, time.Second)
			r.Scenario, r.Region, r.Network = of.Scenario, of.Region, of.Network
			manySteps(c, r)
		}
	}
	within := peak{}
	c.WritePrometheus(&within)
	scrapes(b, c, scenarios)
	b.ReportMetric(float64(liveBytes()-before)/1e6, "live-MB")
	b.ReportMetric(float64(within.bytes-before)/1e6, "peak-MB")
	text := counter{}
	c.WritePrometheus(&text)
	b.ReportMetric(float64(text.series), "series")
	b.ReportMetric(float64(text.bytes)/1e6, "MB/scrape")
	runtime.KeepAlive(c)
	runtime.KeepAlive(books)
}
