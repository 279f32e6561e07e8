package evaluate_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"lastmile/internal/evaluate"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// many is 10,000 combinations, each with two objectives.
const many = 10_000

func fleet(t testing.TB) (*evaluate.Engine, []*runs.Result) { return fleetOf(t, many) }

func fleetOf(t testing.TB, combinations int) (*evaluate.Engine, []*runs.Result) {
	var scenarios []scenario.Scenario
	var results []*runs.Result
	for n := range combinations / 10 {
		s := checkout(t, "1m", 10)
		s.Name = fmt.Sprintf("checkout-%04d", n)
		s.SLOs = append(s.SLOs, scenario.SLO{Name: "fast", SLI: scenario.SLILatency, Objective: 0.95, Threshold: scenario.Duration(3 * time.Second), Window: slo.Window(7 * 24 * time.Hour)})
		scenarios = append(scenarios, s)
		for _, c := range s.Combinations() {
			results = append(results, &runs.Result{Scenario: c.Scenario, Region: c.Region, Network: c.Network, Trigger: runs.TriggerSchedule, State: runs.StatePassed, DurationMS: 900})
		}
	}
	e := evaluate.New(openBooks{})
	e.Define(scenarios)
	return e, results
}

// day enters the runs of so many minutes, of which one in a thousand fails.
func day(e *evaluate.Engine, results []*runs.Result, from time.Time, minutes int) time.Time {
	n := 0
	for m := range minutes {
		slot := from.Add(time.Duration(m) * time.Minute)
		for _, r := range results {
			r.Slot, r.State, r.DurationMS = slot, runs.StatePassed, 900
			if n++; n%997 == 0 {
				r.State = runs.StateFailed
			} else if n%53 == 0 {
				r.DurationMS = 5000
			}
			e.Result(r, slot.Add(takes))
		}
		e.Tick(slot.Add(30 * time.Second))
	}
	return from.Add(time.Duration(minutes) * time.Minute)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A combination with two objectives takes at most 3 kB, when of each there has been a run that failed, one that was slow and one that was invalid: a
// ring is as large with one count in it as with three days of them.
func TestMemory(t *testing.T) {
	const combinations = many / 4
	results := func() []*runs.Result { _, r := fleetOf(t, combinations); return r }()
	before := heap()
	e, _ := fleetOf(t, combinations)
	defined := heap()
	at := epoch
	for _, kind := range []string{"failed", "slow", "invalid"} {
		at = at.Add(time.Minute)
		for _, r := range results {
			r.Slot, r.State, r.DurationMS = at, runs.StatePassed, 900
			r.RunID = runs.NewID(r.Combination(), at)
			switch kind {
			case "failed":
				r.State = runs.StateFailed
			case "slow":
				r.DurationMS = 5000
			case "invalid":
				r.State = runs.StateInvalid
			}
			e.Result(r, at.Add(takes))
		}
	}
	for range 20 { // until all of them are well again, and nothing is left to be said
		at = day(e, results, at.Add(7*time.Minute), 1)
	}
	after := heap()
	t.Logf("%d B a combination, of which %d for what it is defined as", (after-before)/combinations, (defined-before)/combinations)
	if got := (after - before) / combinations; got > 3000 {
		t.Errorf("got %d B a combination, want at most 3000", got)
	}
	runtime.KeepAlive(e)
	runtime.KeepAlive(results)
}

// A good run is taken up without garbage.
func TestGoodRunsAllocateNothing(t *testing.T) {
	e, results := fleet(t)
	at := day(e, results, epoch, 3)
	r := results[0]
	r.State, r.DurationMS = runs.StatePassed, 900
	if n := testing.AllocsPerRun(1000, func() {
		at = at.Add(time.Minute)
		r.Slot = at
		e.Result(r, at.Add(takes))
	}); n != 0 {
		t.Errorf("got %v allocations for a good run, want none", n)
	}
}

// What a result costs.
func BenchmarkResult(b *testing.B) {
	e, results := fleet(b)
	at := day(e, results, epoch, 10)
	for _, r := range results {
		r.State, r.DurationMS = runs.StatePassed, 900
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		r := results[i%many]
		if i%many == 0 {
			at = at.Add(time.Minute)
		}
		r.Slot = at
		e.Result(r, at.Add(takes))
	}
}

// What a tick costs with 10,000 combinations: nothing going on, one run in a thousand failing, and all of them down.
func BenchmarkTick(b *testing.B) {
	for _, bad := range []string{"quiet", "noise", "all down"} {
		b.Run(bad, func(b *testing.B) {
			e, results := fleet(b)
			at := day(e, results, epoch, 10)
			at = at.Add(time.Hour)
			e.Tick(at)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				at = at.Add(time.Second)
				b.StopTimer()
				for k := range many / 60 {
					r := results[(i*(many/60)+k)%many]
					r.Slot, r.State, r.DurationMS = at, runs.StatePassed, 900
					if bad == "all down" || bad == "noise" && (i+k)%1000 == 0 {
						r.State = runs.StateFailed
					}
					e.Result(r, at.Add(takes))
				}
				b.StartTimer()
				e.Tick(at.Add(takes))
			}
		})
	}
}
