package admission

import (
	"context"
	"fmt"
	"time"

	"lastmile/internal/runs"
)

// Ticket is one run's place on the machine. It belongs to one goroutine at a time.
type Ticket struct {
	room   *Room
	need   Need
	weight float64 // cores
	memory int64   // bytes reserved
	waited time.Duration

	// Under the room's lock.
	resting  bool
	launched bool
	slot     time.Time // until when it rests
	busy     float64   // cores that others had been given when it was granted

	begun    time.Time
	cpu      cpu
	pressure reading
	delay    reading
}

// reading is a counter of time lost at one moment; nil functions and kernels without it are not ok.
type reading struct {
	total time.Duration
	ok    bool
}

// Rest gives the share of the cores back while a browser that is up waits for the run's slot; its memory stays reserved. Start ends
// the rest.
func (t *Ticket) Rest(slot time.Time) {
	t.room.mu.Lock()
	defer t.room.mu.Unlock()
	t.resting, t.launched, t.slot = t.need.Browser, true, slot
	t.room.serve()
}

// Start is called right before the run's first step. It takes back what Rest gave, and begins to watch the machine. The errors are
// those of Acquire; a run that got ready only after until is overloaded too.
func (t *Ticket) Start(ctx context.Context, until time.Time) error {
	if t.resting {
		if err := t.room.wait(ctx, t, &t.room.starting, until); err != nil {
			return err
		}
	}
	if late := time.Since(until); late > 0 {
		return &runs.Fault{Class: runs.ClassOverloaded, Err: fmt.Errorf(
			"got ready %s after the start window closed, want it before: %s of the time was spent on waiting for room",
			late.Round(time.Millisecond), t.waited.Round(time.Millisecond))}
	}
	t.room.mu.Lock()
	t.launched = true
	t.room.serve()
	t.room.mu.Unlock()
	t.begun = time.Now()
	t.pressure.total, t.pressure.ok = t.room.machine.Pressure()
	t.delay.total, t.delay.ok = t.room.machine.Delay()
	t.cpu = t.room.machine.cpu()
	return nil
}

// Release gives everything back. It may be called again.
func (t *Ticket) Release() {
	t.room.mu.Lock()
	defer t.room.mu.Unlock()
	delete(t.room.held, t)
	t.room.serve()
}

// The shares of a run's time that may be lost to a busy machine before its numbers are no longer the service's. A browser's threads wait for
// each other too, on an idle machine of two cores for 10 to 45 % of a journey's time: what is lost counts only where others took their
// share of the machine and little was left, see crowded.
const (
	// pressureLimit bounds the time in which work waited for a processor. With another program on 0.4 of a core it was 44 % of a
	// journey's time, and the page half as slow again.
	pressureLimit = 0.3
	// delayLimit bounds the time for which the probe's own threads waited, all together; less than delayFloor is never too much.
	delayLimit = 0.1
	delayFloor = 10 * time.Millisecond
	// othersLimit and idleLimit are shares of all processors' time: what others may take, and what is to be left over.
	othersLimit = 0.1
	idleLimit   = 0.25
)

// Stamp enters in the result of a run that has ended what the machine was busy with, learns from what the run cost, and says where its
// times are not to be trusted. What others entered there stays.
func (t *Ticket) Stamp(r *runs.Result) {
	if r.Load == nil {
		r.Load = &runs.Load{}
	}
	load := r.Load
	load.Cores, load.Weight, load.Busy = t.room.cores, round(t.weight), round(t.busy)
	if r.Trigger == runs.TriggerSchedule && !t.begun.IsZero() {
		load.LateMS = max(runs.Milliseconds(r.StartedAt.Sub(r.Slot)), 0)
		load.WaitedMS = min(runs.Milliseconds(t.waited), load.LateMS)
	}
	if t.begun.IsZero() {
		return
	}
	took, busy := time.Since(t.begun), len(r.Tainted)
	crowded := t.crowded(load)
	if lost, ok := t.pressure.since(t.room.machine.Pressure()); ok {
		ms := runs.Milliseconds(lost)
		load.PressureCPU = &ms
		if crowded && t.need.Browser && float64(lost) > pressureLimit*float64(took) {
			taint(r, "work waited for a processor", lost, took, pressureLimit)
		}
	}
	if lost, ok := t.delay.since(t.room.machine.Delay()); ok && crowded && lost > delayFloor && float64(lost) > delayLimit*float64(took) {
		taint(r, "the probe waited for a processor", lost, took, delayLimit)
	}
	t.learn(r, took, len(r.Tainted) > busy)
}

// crowded reports whether others left the run too little of the machine since it began, and notes what they took. Where nobody can say,
// it is taken for crowded.
func (t *Ticket) crowded(load *runs.Load) bool {
	did := t.room.machine.cpu().since(t.cpu)
	if !did.ok {
		return true
	}
	browser := time.Duration((load.CPUSeconds - load.LaunchCPU) * float64(time.Second))
	others := max(did.used-did.probe-browser, 0)
	load.OthersCPU = round(others.Seconds())
	all := float64(did.all)
	return float64(others) > othersLimit*all && float64(did.all-did.used) < idleLimit*all
}

// since is what was lost between two readings. Threads that end take their part of a total with them.
func (r reading) since(total time.Duration, ok bool) (lost time.Duration, both bool) {
	return max(total-r.total, 0), ok && r.ok
}

func taint(r *runs.Result, what string, lost, took time.Duration, limit float64) {
	r.Tainted = append(r.Tainted, fmt.Sprintf("machine busy: %s: got %d ms of the run's %d ms, want at most %.0f %%",
		what, lost.Milliseconds(), took.Milliseconds(), limit*100))
}

// learn keeps what a browser run cost: the CPU time over the time in which it was at work, from its launch to its end without its
// rest. On a busy machine that time is longer than the run needs, and in a run that failed it may be that of waiting for a service that
// is down: a weight from it would be too small, and by it too many would be admitted. Then only more than was reckoned with counts.
func (t *Ticket) learn(r *runs.Result, took time.Duration, busy bool) {
	if !t.need.Browser || r.Load.CPUSeconds <= 0 || !r.State.Measured() {
		return
	}
	t.room.mu.Lock()
	defer t.room.mu.Unlock()
	known := t.room.costs[t.need.Key]
	weight := r.Load.CPUSeconds / (took.Seconds() + r.Load.LaunchMS/1000)
	if busy || r.State == runs.StateFailed {
		weight = max(weight, known.weightFor(t.room.cores))
	}
	t.room.costs[t.need.Key] = known.learn(weight, r.Load.PeakMemory)
}

func round(cores float64) float64 { return float64(int64(cores*1000+0.5)) / 1000 }
