package ledger

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"

	"lastmile/internal/cachestate"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// fleet is a number of combinations in ten regions that run once a minute, and use all books: objectives of four kinds, two points of
// presence, answers of the right region and of a wrong one, and every state and a cause now and then.
type fleet struct {
	ledger       *Ledger
	combinations []scenario.Combination
	schedule     scenario.Schedule
	random       *rand.Rand
	next         []time.Time // slot of each combination
	before       int64       // bytes of the heap without the ledger
}

const fleetRegions = 10

func newFleet(tb testing.TB, n int) *fleet {
	tb.Helper()
	schedule, err := scenario.ParseSchedule("@every 1m")
	if err != nil {
		tb.Fatal(err)
	}
	f := &fleet{schedule: schedule, random: rand.New(rand.NewPCG(6, 6))}
	for _, s := range f.scenarios(n) {
		f.combinations = append(f.combinations, s.Combinations()...)
	}
	for _, c := range f.combinations {
		f.next = append(f.next, schedule.Next(c, start))
	}
	f.before = heap()
	f.ledger = New()
	f.ledger.Define(f.scenarios(n))
	return f
}

func (f *fleet) scenarios(n int) (out []scenario.Scenario) {
	expect, regions := map[string]string{}, []string{}
	for r := range fleetRegions {
		regions = append(regions, fmt.Sprintf("region-%d", r))
		expect[regions[r]] = regions[r] + "a"
	}
	for i := range n / fleetRegions {
		out = append(out, scenario.Scenario{
			Name: fmt.Sprintf("shop-%d", i), Schedule: f.schedule, Regions: regions, Networks: []string{"3g"},
			Routing: &scenario.Routing{Header: "X-Region", Expect: expect},
			SLOs: []scenario.SLO{
				{Name: "availability", Objective: 0.99, Window: slo.Window(30 * 24 * time.Hour)},
				{Name: "fast", SLI: scenario.SLILatency, Threshold: scenario.Duration(9 * time.Second), Objective: 0.9, Window: slo.Window(30 * 24 * time.Hour)},
				{Name: "assets", SLI: scenario.SLICacheHit, Match: "*/assets/*", Objective: 0.9, Calendar: scenario.CalendarMonth},
				{Name: "region", SLI: scenario.SLIRouting, Objective: 0.99, Window: slo.Window(24 * time.Hour)},
			},
		})
	}
	return out
}

// result is a run of a combination; nil = there is none.
func (f *fleet) result(c scenario.Combination, slot time.Time) *runs.Result {
	wait := 20 + f.random.Float64()*200
	r := &runs.Result{
		Schema: runs.Schema, RunID: runs.NewID(c, slot), Scenario: c.Scenario, Region: c.Region, Network: c.Network,
		Slot: slot, Trigger: runs.TriggerSchedule, State: runs.StatePassed, DurationMS: 400 + f.random.Float64()*9000,
		Requests: []runs.Request{
			{Step: "home", URL: "https://shop/assets/a.css", Status: 200, PoP: "FRA", Cache: cachestate.Result{State: cachestate.Hit, HasAge: true, Age: time.Minute}},
			{Step: "home", URL: "https://shop/assets/b.css", Status: 200, PoP: "AMS", Cache: cachestate.Result{State: cachestate.Miss}},
			{Step: "order", URL: "https://shop/api", Status: 200, ServedRegion: c.Region + "a", Phases: runs.Phases{Wait: &wait}},
		},
	}
	switch n := f.random.IntN(200); n {
	case 0, 1:
		return nil
	case 2, 3:
		r.State, r.Cause = runs.StateFailed, &runs.Cause{Class: runs.ClassHTTP5xx, Step: "order", Detail: fmt.Sprintf("got 503 after %d ms, want 200", f.random.IntN(9000))}
	case 4:
		r.State, r.Cause = runs.StateDegraded, &runs.Cause{Class: runs.ClassBudget, Step: "home", Detail: "lcp over budget"}
	case 5:
		r.State, r.Cause = runs.StateInvalid, &runs.Cause{Class: runs.ClassBrowserCrash, Detail: "browser crashed"}
	case 6:
		r.Requests[2].ServedRegion = "elsewhere"
	case 7:
		r.Tainted = []string{"busy"}
	}
	r.Summarise()
	return r
}

// minute lets a minute pass: all slots in it are planned, most are reported, and the minute before is closed.
func (f *fleet) minute(m int) (now time.Time) {
	for i, c := range f.combinations {
		slot := f.next[i]
		f.next[i] = slot.Add(time.Minute)
		f.ledger.Plan(c, slot, slot.Add(30*time.Second))
		if r := f.result(c, slot); r != nil {
			f.ledger.Result(r, false)
		}
	}
	now = start.Add(time.Duration(m+1) * time.Minute)
	f.close(now)
	return now
}

func (f *fleet) close(now time.Time) (verdicts int) {
	for _, v := range f.ledger.Closable(now, 10*time.Second, f) {
		f.ledger.Verdict(&v)
		verdicts++
	}
	return verdicts
}

// Reason implements Witness: every tenth slot was skipped.
func (f *fleet) Reason(runs.ID, string, time.Time, time.Time) runs.Reason {
	if f.random.IntN(10) == 0 {
		return runs.ReasonOverlap
	}
	return runs.ReasonLost
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A day of one run a minute, with all books in use and objectives of four kinds, has its bound.
func TestMemoryOfADay(t *testing.T) {
	const combinations, most = 20, 28_000
	f := newFleet(t, combinations)
	for m := range 24 * 60 {
		f.minute(m)
	}
	if got := (heap() - f.before) / combinations; got > most {
		t.Errorf("got %d bytes for a combination, want %d at most", got, most)
	}
	runtime.KeepAlive(f)
}

// BenchmarkMemory says what a combination takes after a day, and after three, of one run a minute with all books in use.
func BenchmarkMemory(b *testing.B) {
	const combinations = 500
	for b.Loop() {
		f := newFleet(b, combinations)
		for m := range 3 * 24 * 60 {
			f.minute(m)
			if m+1 == 24*60 {
				b.ReportMetric(float64(heap()-f.before)/combinations, "B/combination-1d")
			}
		}
		b.ReportMetric(float64(heap()-f.before)/combinations, "B/combination-3d")
		runtime.KeepAlive(f)
	}
}

// BenchmarkClosable is what a second costs at 10,000 combinations of one run a minute: most have nothing to close, one in sixty has the slots
// of a minute.
func BenchmarkClosable(b *testing.B) {
	f := newFleet(b, 10_000)
	for m := range 5 {
		f.minute(m)
	}
	b.ReportAllocs()
	second, m := 0, 5
	var now time.Time
	for b.Loop() {
		if second%60 == 0 {
			b.StopTimer()
			for i, c := range f.combinations {
				slot := f.next[i]
				f.next[i] = slot.Add(time.Minute)
				f.ledger.Plan(c, slot, slot.Add(30*time.Second))
				if r := f.result(c, slot); r != nil {
					f.ledger.Result(r, false)
				}
			}
			now = start.Add(time.Duration(m) * time.Minute)
			m++
			b.StartTimer()
		}
		second++
		now = now.Add(time.Second)
		f.close(now)
	}
}

// BenchmarkReport is what a planned slot and its result cost, with three requests in it.
func BenchmarkReport(b *testing.B) {
	f := newFleet(b, 1000)
	var results []*runs.Result
	for _, c := range f.combinations {
		if r := f.result(c, start); r != nil {
			results = append(results, r)
		}
	}
	b.ReportAllocs()
	for i, minute := 0, 0; b.Loop(); i++ {
		if i == len(results) {
			i = 0
			minute++
			b.StopTimer()
			f.close(start.Add(time.Duration(minute) * time.Minute))
			b.StartTimer()
		}
		r := results[i]
		r.Slot = start.Add(time.Duration(minute) * time.Minute)
		f.ledger.Plan(r.Combination(), r.Slot, r.Slot.Add(30*time.Second))
		f.ledger.Result(r, false)
	}
}

// BenchmarkSnapshot is what saving and loading 10,000 combinations with a day of one run a minute costs: it is done with a thousand.
func BenchmarkSnapshot(b *testing.B) {
	f := newFleet(b, 1000)
	for m := range 24 * 60 {
		f.minute(m)
	}
	var saved bytes.Buffer
	if err := f.ledger.Save(&saved); err != nil {
		b.Fatal(err)
	}
	b.Run("save", func(b *testing.B) {
		b.SetBytes(int64(saved.Len()))
		b.ReportAllocs()
		for b.Loop() {
			if err := f.ledger.Save(io.Discard); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("load", func(b *testing.B) {
		b.SetBytes(int64(saved.Len()))
		b.ReportAllocs()
		for b.Loop() {
			if err := New().Load(bytes.NewReader(saved.Bytes())); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("accounts", func(b *testing.B) { // one scrape of a thousand combinations
		for b.Loop() {
			f.ledger.Accounts(start.Add(24 * time.Hour))
		}
	})
}

// BenchmarkObjectives is what a scrape asks for at 10,000 combinations with four objectives each: how all of them stand, after a day of one run a
// minute.
func BenchmarkObjectives(b *testing.B) {
	f := newFleet(b, 1000) // as ten of them
	var now time.Time
	for m := range 24 * 60 {
		now = f.minute(m)
	}
	b.ReportAllocs()
	var n int
	before := processor(b)
	for b.Loop() {
		for range 10 {
			n = len(f.ledger.Objectives(now))
		}
	}
	b.ReportMetric(float64((processor(b)-before).Milliseconds())/float64(b.N), "cpu-ms/op")
	b.ReportMetric(float64(10*n), "objectives")
}

// processor is the time that this process has had on processors.
func processor(tb testing.TB) time.Duration {
	tb.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
