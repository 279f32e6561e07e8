package admission

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"lastmile/internal/runs"
)

// memory is a machine with so many MiB left.
func memory(mib int) Machine {
	return Machine{Files: fstest.MapFS{"proc/meminfo": {Data: fmt.Appendf(nil, "MemTotal: 1 kB\nMemAvailable:  %d kB\n", mib*1024)}}}
}

func page(key string) Need { return Need{Key: key, Browser: true} }

// acquire takes a ticket that must be granted within a minute.
func acquire(t *testing.T, r *Room, need Need) *Ticket {
	t.Helper()
	ticket, err := r.Acquire(t.Context(), need, time.Now().Add(time.Minute))
	if err != nil {
		t.Fatalf("acquire %+v: %v", need, err)
	}
	return ticket
}

// ended is what a browser run's result says of its cost.
func ended(cpu float64, peak int64) *runs.Result {
	return &runs.Result{State: runs.StatePassed, Load: &runs.Load{CPUSeconds: cpu, PeakMemory: peak}}
}

// learn lets a run of a second take so much CPU time.
func learn(t *testing.T, r *Room, key string, cpu float64, peak int64) {
	t.Helper()
	ticket := acquire(t, r, page(key))
	if err := ticket.Start(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	ticket.Stamp(ended(cpu, peak))
	ticket.Release()
}

func refused(t *testing.T, err error, want string) {
	t.Helper()
	var fault *runs.Fault
	if !errors.As(err, &fault) || fault.Class != runs.ClassOverloaded || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want overloaded: ... %s", err, want)
	}
}

// Whatever comes and however long it stays: browsers at work stay within half of the cores, or there is one; all get their turn, those
// without a browser in the order in which they came.
func TestNeverOverTheBound(t *testing.T) {
	for seed := range uint64(8) {
		synctest.Test(t, func(t *testing.T) { storm(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func storm(t *testing.T, random *rand.Rand) {
	cores := float64(1 + random.IntN(8))
	r := New(memory(64<<10), cores)
	keys := []string{"light", "middle", "heavy", "huge"}
	for i, key := range keys {
		learn(t, r, key, []float64{0.01, 0.3, 1.2, 20}[i], 0)
	}
	var mu sync.Mutex
	var arrived []int // browser runs in the order in which they came
	served := map[int]time.Time{}
	check := func() { // is called whenever something has changed
		r.mu.Lock()
		defer r.mu.Unlock()
		launching := 0
		for ticket := range r.held {
			if ticket.need.Browser && !ticket.launched {
				launching++
			}
		}
		if most := max(1, int(0.5*cores)); launching > most {
			t.Errorf("%v cores: got %d browsers starting, want at most %d", cores, launching, most)
		}
		for browser, share := range map[bool]float64{true: 0.5, false: 0.25} {
			if sum, n := r.taken(browser), r.working(browser); n > 1 && sum > share*cores+1e-6 {
				t.Errorf("%v cores: got %d runs with %.2f cores at work, want at most %.2f", cores, n, sum, share*cores)
			}
		}
	}
	var all sync.WaitGroup
	for i := range 150 {
		need := Need{Browser: random.IntN(3) > 0, Key: keys[random.IntN(len(keys))]}
		lead, length := time.Duration(random.IntN(6))*time.Second, time.Duration(1+random.IntN(4000))*time.Millisecond
		all.Go(func() {
			mu.Lock()
			if need.Browser {
				arrived = append(arrived, i)
			}
			mu.Unlock()
			slot := time.Now().Add(lead)
			ticket, err := r.Acquire(t.Context(), need, time.Now().Add(24*time.Hour))
			if err != nil {
				t.Errorf("run %d: %v", i, err)
				return
			}
			defer ticket.Release()
			mu.Lock()
			if need.Browser {
				served[i] = time.Now()
			}
			mu.Unlock()
			check()
			time.Sleep(length / 4) // the launch
			if wait := time.Until(slot); wait > 0 {
				ticket.Rest(slot)
				time.Sleep(wait)
			}
			if err := ticket.Start(t.Context(), time.Now().Add(24*time.Hour)); err != nil {
				t.Errorf("run %d: %v", i, err)
			}
			check()
			time.Sleep(length)
		})
		time.Sleep(time.Duration(1+random.IntN(500)) * time.Millisecond)
		synctest.Wait()
		check()
	}
	all.Wait()
	if !slices.IsSortedFunc(arrived, func(a, b int) int { return served[a].Compare(served[b]) }) {
		t.Errorf("got served %v, want them as they came: %v", served, arrived)
	}
	if s := r.State(); s.Busy != 0 || s.Waiting != 0 || s.Refused != 0 {
		t.Errorf("got %+v after all, want nothing taken and nobody refused", s)
	}
}

// A run that is up and due comes before those that have no browser yet, and none of those is admitted shortly before.
func TestARestingRunStartsAtItsSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(memory(64<<10), 2) // one run at a time
		first := acquire(t, r, page("a"))
		slot := time.Now().Add(5 * time.Second)
		first.Rest(slot)
		second := acquire(t, r, page("b")) // at once: the first one rests for long enough
		if !time.Now().Add(5 * time.Second).Equal(slot) {
			t.Error("got the second run to wait, want it launched while the first rests")
		}
		time.Sleep(3500 * time.Millisecond)
		second.Rest(slot.Add(time.Minute))
		var third *Ticket
		var got sync.WaitGroup
		got.Go(func() { third = acquire(t, r, page("c")) })
		time.Sleep(time.Until(slot))
		if err := first.Start(t.Context(), slot.Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if late := time.Since(slot); late != 0 {
			t.Errorf("got the run started %s after its slot, want at it", late)
		}
		synctest.Wait()
		if r.State().Waiting != 1 {
			t.Error("got a launch shortly before or in a run's time, want it to wait")
		}
		time.Sleep(2 * time.Second)
		first.Release()
		got.Wait()
		third.Release()
		second.Release()
	})
}

func TestNoRoomInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(memory(64<<10), 2)
		holder := acquire(t, r, page("a"))
		began := time.Now()
		_, err := r.Acquire(t.Context(), page("b"), began.Add(3*time.Second))
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("got an answer after %s, want it at the time given", took)
		}
		refused(t, err, "behind 0 others: got 1.00 of 1.00 cores taken by 1 runs, want 1.00 more")

		holder.Rest(began.Add(10 * time.Second))
		other := acquire(t, r, page("b"))
		refused(t, holder.Start(t.Context(), time.Now().Add(time.Second)), "cores taken by 1 runs")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Acquire(ctx, page("c"), time.Now().Add(time.Minute)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("stopped while waiting: got %v, want the context's error", err)
		}
		other.Release()
		late := acquire(t, r, page("d"))
		until := time.Now()
		time.Sleep(time.Second)
		refused(t, late.Start(t.Context(), until), "got ready 1s after the start window closed, want it before: 0s")
		if s := r.State(); s.Refused != 2 || s.Waiting != 0 {
			t.Errorf("got %+v, want two refused and nobody waiting", s)
		}
	})
}

// HTTP runs and browser runs do not wait for each other; many HTTP runs do.
func TestHTTPRunsHaveTheirOwnShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(memory(64<<10), 2)
		browser := acquire(t, r, page("a"))
		began := time.Now()
		for range 5 { // a quarter of two cores
			acquire(t, r, Need{})
		}
		if _, err := r.Acquire(t.Context(), Need{}, began.Add(time.Second)); err == nil {
			t.Error("got a sixth HTTP run admitted, want it refused")
		}
		if s := r.State(); s.Busy < 1.49 || s.Busy > 1.51 {
			t.Errorf("got %.2f cores busy, want 1 of a browser and 0.5 of five HTTP runs", s.Busy)
		}
		browser.Release()
		acquire(t, r, page("b"))
		if took := time.Since(began); took != time.Second {
			t.Errorf("got the next browser run to wait for HTTP runs, %s, want it at once", took)
		}
	})
}

// What a run took decides how many of its kind may run at once.
func TestWeightsAreLearnt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(memory(64<<10), 2)
		learn(t, r, "idle", 0.25, 100<<20)
		for range 4 {
			up := acquire(t, r, page("idle"))
			_, err := r.Acquire(t.Context(), page("idle"), time.Now().Add(time.Second))
			if err == nil {
				t.Fatal("got a second browser launched while one starts, on two cores; want it to wait")
			}
			if err := up.Start(t.Context(), time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		_, err := r.Acquire(t.Context(), page("idle"), time.Now().Add(time.Second))
		refused(t, err, "got 1.00 of 1.00 cores taken by 4 runs, want 0.25 more")

		heavy := New(memory(64<<10), 2)
		learn(t, heavy, "heavy", 1.9, 0)
		alone := acquire(t, heavy, page("heavy")) // though it is over the bound
		_, err = heavy.Acquire(t.Context(), page("unheard-of"), time.Now().Add(time.Second))
		refused(t, err, "got 1.90 of 1.00 cores")
		alone.Release()
	})
}

func TestMemoryIsReserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := memory(1000).Files.(fstest.MapFS)
		r := New(Machine{Files: files}, 16)
		first := acquire(t, r, page("a")) // 600 MiB
		_, err := r.Acquire(t.Context(), page("b"), time.Now().Add(time.Second))
		refused(t, err, "got 400 MiB of memory, want 600 MiB")
		first.Rest(time.Now().Add(time.Hour)) // its browser is up: what it uses is no longer among what is available
		second := acquire(t, r, page("b"))
		first.Release()
		second.Release()

		learn(t, r, "small", 0.1, 300<<20)
		small := []*Ticket{acquire(t, r, page("small")), acquire(t, r, page("small"))} // 390 MiB each
		began := time.Now()
		var third sync.WaitGroup
		third.Go(func() { acquire(t, r, page("small")).Release() })
		time.Sleep(3 * time.Second)
		synctest.Wait()
		r.mu.Lock()
		files["proc/meminfo"] = memory(2000).Files.(fstest.MapFS)["proc/meminfo"] // somebody else has gone: nobody tells
		r.mu.Unlock()
		third.Wait()
		if took := time.Since(began); took < 3*time.Second || took > 4*time.Second {
			t.Errorf("got the third run admitted after %s, want soon after there was memory", took)
		}
		for _, ticket := range small {
			ticket.Release()
		}
		poor := New(memory(50), 2)
		acquire(t, poor, page("a")).Release() // alone it may try
	})
}

// A probe does not ask for runs while one waits here.
func TestCalm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(memory(64<<10), 2)
		r.Calm(t.Context())
		holder := acquire(t, r, page("a"))
		r.Calm(t.Context()) // busy, but nobody waits
		began := time.Now()
		var waiting sync.WaitGroup
		waiting.Go(func() { acquire(t, r, page("b")).Release() })
		synctest.Wait()
		time.AfterFunc(2*time.Second, holder.Release)
		r.Calm(t.Context())
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("got calm after %s, want it when the run that waited was admitted, after 2s", took)
		}
		waiting.Wait()
	})
}
