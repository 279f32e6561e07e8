package schedule

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// nothing is a bus and a book that do nothing: what is left is the scheduler.
type nothing struct{ orders atomic.Int64 }

func (n *nothing) Dispatch(context.Context, runs.Assignment) (bool, error) {
	n.orders.Add(1)
	return true, nil
}

func (n *nothing) Cursor(context.Context, string) (time.Time, uint64, error) {
	return time.Time{}, 0, nil
}

func (n *nothing) AdvanceCursor(context.Context, string, time.Time, uint64) (uint64, error) {
	return 0, nil
}

func (n *nothing) Plan(scenario.Combination, time.Time, time.Time) {}

func (n *nothing) ClosedUntil(string) time.Time { return time.Time{} }

func (n *nothing) First(scenario.Combination) (time.Time, bool) { return time.Time{}, false }

// large is a plan of 10,000 combinations: 250 scenarios of ten steps in ten regions over four networks, each once a minute.
func large(t testing.TB) Plan {
	schedule, err := scenario.ParseSchedule("@every 1m")
	if err != nil {
		t.Fatal(err)
	}
	var regions []string
	for r := range 10 {
		regions = append(regions, fmt.Sprintf("region-%d", r))
	}
	plan := Plan{Networks: netprofile.Presets()}
	for n := range 250 {
		sc := scenario.Scenario{
			Name: fmt.Sprintf("journey-%d", n), Schedule: schedule, Timeout: scenario.Duration(45 * time.Second), Regions: regions,
			Networks: []string{"none", "3g", "4g", "cable"}, AllowHosts: []string{"shop.example.com"},
		}
		for k := range 10 {
			sc.Steps = append(sc.Steps, scenario.Step{
				ID: fmt.Sprintf("step-%d", k), Type: scenario.StepHTTP, URL: fmt.Sprintf("https://shop.example.com/api/%d", k),
				Headers: map[string]string{"Authorization": "Bearer ${token}"},
			})
		}
		plan.Scenarios = append(plan.Scenarios, sc)
	}
	return plan
}

// BenchmarkOrder is what one slot costs the scheduler, from the agenda to the dispatcher and out of the lane, with 10,000 combinations at one run
// a minute, which make 167 slots a second.
func BenchmarkOrder(b *testing.B) {
	n := &nothing{}
	now := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	s := New(slog.New(slog.DiscardHandler), large(b), n, n, n, Options{Now: func() time.Time { return now }})
	if err := s.loadCursors(b.Context()); err != nil {
		b.Fatal(err)
	}
	queue := s.queue(now)
	if got := len(*queue); got != 10_000 {
		b.Fatalf("got %d combinations, want 10,000", got)
	}
	crew := &crew{stopping: b.Context(), final: b.Context()}
	b.ReportAllocs()
	b.ResetTimer()
	entered := 0
	for entered < b.N {
		now = (*queue)[0].orderAt
		for queue.due(now) {
			s.handle(crew, queue.pop())
			s.proceed(queue)
			entered++
		}
		crew.work.Wait()
	}
	b.StopTimer()
	if got := n.orders.Load(); got != int64(entered) {
		b.Fatalf("got %d orders, want the %d slots that were entered", got, entered)
	}
}

// BenchmarkQueue is what the start of a scheduler costs, and what it keeps for each combination.
func BenchmarkQueue(b *testing.B) {
	n, plan := &nothing{}, large(b)
	now := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		s := New(slog.New(slog.DiscardHandler), plan, n, n, n, Options{Now: func() time.Time { return now }})
		if err := s.loadCursors(b.Context()); err != nil {
			b.Fatal(err)
		}
		queue := s.queue(now)
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(queue)
		runtime.KeepAlive(s)
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/10_000, "B/combination")
}

// BenchmarkMarshal is what the bus does with each order: its JSON.
func BenchmarkMarshal(b *testing.B) {
	p := programs(slog.New(slog.DiscardHandler), large(b))
	o := &order{entry: entry{program: &p[0], combination: p[0].combinations[0], network: p[0].networks[0]}}
	b.ReportAllocs()
	for b.Loop() {
		a := o.assignment()
		body, err := json.Marshal(&a)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(body)))
	}
}
