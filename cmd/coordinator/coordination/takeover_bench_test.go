package coordination

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"testing"
	"time"
)

// BenchmarkTakeover kills the process of the coordinator that leads, with SIGKILL, and measures the time until a worker has taken the first job that
// another one ordered. Three coordinators, the lease at its default; a killed one is replaced by one with an id of its own. Each kill is at
// another time within the 2 s between two renewals.
func BenchmarkTakeover(b *testing.B) {
	_, url := child(b, childHub, b.TempDir()+" "+freeAddress(b))
	dir := many(b, 10, "1s")
	processes := map[string]*exec.Cmd{}
	recruit := func(i int) {
		name := fmt.Sprintf("c%d", i)
		processes[name], _ = child(b, childCoordinator, url+" "+dir+" "+name)
	}
	for i := range 3 {
		recruit(i)
	}
	hub := connect(b, url)
	taking, dismiss := context.WithCancel(b.Context())
	workers := hire(taking, b, hub, 4)
	defer func() {
		dismiss()
		workers.done.Wait()
	}()
	newest := func() (term uint64, at time.Time) {
		workers.mu.Lock()
		defer workers.mu.Unlock()
		for t, first := range workers.terms {
			if t > term {
				term, at = t, first
			}
		}
		return term, at
	}
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		old, _ := newest()
		for deadline := time.Now().Add(time.Minute); old == 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			old, _ = newest()
		}
		time.Sleep(2*time.Second + time.Duration(i%10)*200*time.Millisecond)
		leader, err := hub.Leader(b.Context())
		if err != nil || processes[leader] == nil {
			b.Fatalf("got leader %q, %v, want one of ours", leader, err)
		}
		kill(processes[leader])
		killed := time.Now()
		term, at := newest()
		for deadline := killed.Add(time.Minute); term <= old; term, at = newest() {
			if time.Now().After(deadline) {
				b.Fatal("nobody took over within a minute")
			}
			time.Sleep(time.Millisecond)
		}
		took = append(took, at.Sub(killed))
		recruit(3 + i)
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds(), "s-median")
	b.ReportMetric(took[len(took)-1].Seconds(), "s-max")
	b.ReportMetric(0, "ns/op")
}
