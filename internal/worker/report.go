package worker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"lastmile/internal/bus"
	"lastmile/internal/runs"
)

// Stats are a worker's counts since it started.
type Stats struct {
	Results       map[runs.State]int64 // results put on disk
	Taken         int64                // jobs begun
	Expired       int64                // jobs that came after their start window
	Repeated      int64                // jobs that were done before
	Rejected      int64                // jobs that were unusable
	SpoolErrors   int64
	Running       int
	LastHeartbeat time.Time     // the last one that was answered
	ClockOffset   time.Duration // our clock less the coordinator's
	ClockError    time.Duration // how far off that may be
}

// Stats returns a copy.
func (w *Worker) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.stats
	s.Results = maps.Clone(s.Results)
	if clock := w.clock(); clock != nil {
		s.ClockOffset, s.ClockError = -clock.Offset(), clock.Uncertainty()
	}
	for _, under := range w.running {
		if under {
			s.Running++
		}
	}
	return s
}

// The publisher's pace when the hub cannot be reached.
const (
	publishTime  = 10 * time.Second
	firstPause   = 500 * time.Millisecond
	longestPause = 15 * time.Second
)

// publish brings results from the disk to the hub, oldest first, until ctx ends.
func (w *Worker) publish(ctx context.Context) {
	pause := firstPause
	for {
		r, err := w.spool.Next(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil { // for the moment: what is on disk stays there
			w.count(func(s *Stats) { s.SpoolErrors++ })
			w.log.Error("spool not read", "err", err)
			rest(ctx, pause)
			pause = min(2*pause, longestPause)
			continue
		}
		limited, cancel := context.WithTimeout(ctx, publishTime)
		err = w.hub.PublishResult(limited, r)
		cancel()
		switch {
		case err == nil:
			pause = firstPause
			w.remove(r.RunID)
			continue
		case !errors.Is(err, bus.ErrUnavailable) && ctx.Err() == nil && limited.Err() == nil:
			w.spool.SetAside(r.RunID, err) // it will never go through and must not stand in the way of others
			continue
		case ctx.Err() == nil:
			w.log.Warn("result not published, kept on disk", "run_id", r.RunID, "err", err)
		}
		rest(ctx, pause)
		pause = min(2*pause, longestPause)
	}
}

// rest waits, or until ctx ends.
func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// remove forgets a result that is safe at the hub.
func (w *Worker) remove(id runs.ID) {
	if err := w.spool.Remove(id); err != nil {
		w.count(func(s *Stats) { s.SpoolErrors++ })
		w.log.Error("published result not removed", "run_id", id, "err", err)
	}
}

// beat sends heartbeats until ctx ends.
func (w *Worker) beat(ctx context.Context) {
	ticker := time.NewTicker(w.opts.Heartbeat)
	defer ticker.Stop()
	for {
		w.heartbeat(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (w *Worker) heartbeat(ctx context.Context) {
	hb := runs.Heartbeat{
		Schema: runs.Schema, Region: w.opts.Region, Probe: w.opts.Probe, Version: w.opts.Version,
		Slots: w.opts.BrowserSlots + w.opts.HTTPSlots, Running: w.news(), Spooled: w.spool.Pending(),
		Browser: w.opts.BrowserSlots > 0, Rejected: w.Stats().Rejected, Clock: w.clock(),
	}
	limited, cancel := context.WithTimeout(ctx, w.opts.Heartbeat)
	defer cancel()
	hb.SentAt = time.Now().UTC()
	reply, err := w.hub.Heartbeat(limited, hb)
	if err != nil {
		w.log.Debug("heartbeat not answered", "err", err)
		return
	}
	received := time.Now()
	trip := received.Sub(hb.SentAt)
	w.mu.Lock()
	defer w.mu.Unlock()
	if reply.Refused != "" && reply.Refused != w.refused {
		w.log.Error("refused by the coordinator", "reason", reply.Refused)
	}
	w.refused = reply.Refused
	w.stats.LastHeartbeat = received
	// The coordinator's clock was read somewhere within the round trip; its middle is the best guess (RFC 5905 does the same).
	w.stats.ClockOffset = hb.SentAt.Add(trip / 2).Sub(reply.ReceivedAt)
	w.stats.ClockError = trip / 2
	for _, id := range hb.Running { // what is done and has been told need not be told again
		if !w.running[id] {
			delete(w.running, id)
		}
	}
}

// clock is how our clock compares with the hub's; nil where that is not known but from heartbeats.
func (w *Worker) clock() *runs.Clock {
	if w.opts.Clock == nil {
		return nil
	}
	clock, ok := w.opts.Clock()
	if !ok {
		return nil
	}
	return &clock
}

// news lists the runs under way and those begun and ended since the last answered heartbeat.
func (w *Worker) news() []runs.ID {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.running))
}

// maxRecent is how many run ids are remembered against repeats: several times what a probe can run in a job's life.
const maxRecent = 10_000

// recent is a bounded set of run ids, the oldest forgotten first.
type recent struct {
	set   map[runs.ID]struct{}
	order []runs.ID
}

// add enters an id; false means that it was there.
func (r *recent) add(id runs.ID) bool {
	if _, ok := r.set[id]; ok {
		return false
	}
	if r.set == nil {
		r.set = map[runs.ID]struct{}{}
	}
	r.set[id] = struct{}{}
	r.order = append(r.order, id)
	if len(r.order) > maxRecent {
		delete(r.set, r.order[0])
		r.order = r.order[1:]
	}
	return true
}
