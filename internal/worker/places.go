package worker

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"lastmile/internal/bus"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

const (
	takeWait   = 10 * time.Second // how long one request for a job stays open, at most
	sharedWait = time.Second      // the same for a place that takes from several pools in turn
	fullPause  = time.Second      // between two looks at a full spool
)

// place is where one run at a time is done. What is not fixed is under the worker's lock.
type place struct {
	pools []string
	first int // of its pools, so that the places of a kind do not all ask for the same one

	wake context.CancelFunc // ends its wait for a job; nil = it does not wait
	own  *runs.Assignment   // what it was offered meanwhile
}

// placesFor makes the places.
func placesFor(o Options) []*place {
	var out []*place
	for i := range o.BrowserSlots {
		out = append(out, &place{pools: o.BrowserPools, first: i})
	}
	for range o.HTTPSlots {
		out = append(out, &place{pools: []string{scenario.PoolHTTP}})
	}
	return out
}

// Pools names the pools whose runs these options allow for, in the order of scenario.Pools.
func (o Options) Pools() []string {
	var out []string
	for _, pool := range scenario.Pools() {
		if pool == scenario.PoolHTTP || o.BrowserSlots > 0 && slices.Contains(o.BrowserPools, pool) {
			out = append(out, pool)
		}
	}
	return out
}

// serve has a place take and do one run after another.
func (w *Worker) serve(ctx, working context.Context, p *place) {
	wait := takeWait
	if len(p.pools) > 1 {
		wait = sharedWait
	}
	for turn := p.first; ctx.Err() == nil; turn++ {
		pool := p.pools[turn%len(p.pools)]
		if pool != scenario.PoolHTTP {
			w.opts.Room.Calm(ctx)
		}
		if w.full() {
			rest(ctx, fullPause)
			continue
		}
		// The server answers requests in the order in which they came. Were all open for the same time, they would always be asked anew in that
		// order, and of a region's idle probes the same one would get every run.
		job, own, err := w.next(ctx, p, pool, wait-rand.N(wait/2))
		if own != nil {
			if job != nil {
				w.handBack(working, job)
			}
			w.do(working, own, nil)
			continue
		}
		rejected, bad := errors.AsType[*bus.RejectedError](err)
		switch {
		case bad:
			w.count(func(s *Stats) { s.Rejected++ })
			w.log.Warn("job rejected", "err", rejected)
		case ctx.Err() != nil && job != nil:
			w.handBack(working, job)
		case errors.Is(err, bus.ErrNoJob) || errors.Is(err, bus.ErrUnavailable) || errors.Is(err, context.Canceled) || ctx.Err() != nil:
			// Nothing to do, nobody to ask, or to be asked anew: the bus itself waits and reconnects.
		case err != nil:
			w.log.Warn("no job taken", "pool", pool, "err", err)
		default:
			w.handle(working, job)
		}
	}
}

// next waits for a job, or until the place is offered a run of the probe's own. It may come to both.
func (w *Worker) next(ctx context.Context, p *place, pool string, wait time.Duration) (job *bus.Job, own *runs.Assignment, err error) {
	waiting, wake := context.WithCancel(ctx)
	defer wake()
	w.mu.Lock()
	p.wake = wake
	w.mu.Unlock()
	job, err = w.hub.Take(waiting, w.opts.Region, pool, wait)
	w.mu.Lock()
	defer w.mu.Unlock()
	own = p.own
	p.wake, p.own = nil, nil
	return job, own, err
}

// handBack leaves a job to another place, or another probe.
func (w *Worker) handBack(ctx context.Context, job *bus.Job) {
	if err := job.Nak(context.WithoutCancel(ctx)); err != nil { // then it comes again after its ack wait
		w.log.Debug("job not handed back", "run_id", job.Assignment.RunID, "err", err)
	}
}

// handOnDelay is how long a job that is handed on waits, so that our open requests are gone by then.
const handOnDelay = 500 * time.Millisecond

// handOn leaves a job to another probe of the region. The server serves requests in the order in which they came, and hands a job out a few times only:
// our places ask anew, so that they stand behind those of a sibling that is idle.
func (w *Worker) handOn(ctx context.Context, job *bus.Job) {
	if err := job.HandOn(context.WithoutCancel(ctx), handOnDelay); err != nil { // then it comes again after its ack wait
		w.log.Debug("job not handed on", "run_id", job.Assignment.RunID, "err", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.places {
		if p.wake != nil && slices.Contains(p.pools, job.Assignment.Scenario.Pool()) {
			p.wake()
		}
	}
}

// Offer begins a run that the probe ordered itself, at a place that waits for a job; false = there is none for it, or the spool is full. A
// run that was begun here before is not begun again, and that is no refusal.
func (w *Worker) Offer(a runs.Assignment) bool {
	if w.spool.Full() {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	free := slices.IndexFunc(w.places, func(p *place) bool {
		return p.wake != nil && p.own == nil && slices.Contains(p.pools, a.Scenario.Pool())
	})
	if free < 0 {
		return false
	}
	if w.enter(a.RunID) {
		w.places[free].own = &a
		w.places[free].wake()
	}
	return true
}

// Has reports whether the run is under way here, was, or is on disk here.
func (w *Worker) Has(id runs.ID) bool { return w.knows(id) || w.spool.Holds(id) }

// The bounds of what siblings are told, and the coordinator.
const (
	recently = 2 * time.Minute
	maxTold  = 2000 // runs; their ids take half a message at most
)

// Recent lists the runs that are under way here, or ended in the last two minutes: the newest of them where there are too many.
func (w *Worker) Recent() []runs.ID {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []runs.ID
	for id, under := range maps.All(w.running) {
		if under && len(out) < maxTold {
			out = append(out, id)
		}
	}
	since := time.Now().Add(-recently)
	for _, id := range slices.Backward(w.recent.order) {
		if len(out) >= maxTold {
			break
		}
		if !w.running[id] && w.recent.set[id].After(since) {
			out = append(out, id)
		}
	}
	return out
}

// full reports whether the spool takes no more claims, and says so when that changes.
func (w *Worker) full() bool {
	full := w.spool.Full()
	w.mu.Lock()
	defer w.mu.Unlock()
	if full != w.stats.Full {
		w.stats.Full = full
		if full {
			w.log.Error("the spool is full: no runs are taken", "results", w.spool.Pending(), "bytes", w.spool.Bytes())
		} else {
			w.log.Info("the spool has room again: runs are taken")
		}
	}
	return full
}
