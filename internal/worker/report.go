package worker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"lastmile/internal/bus"
	"lastmile/internal/faultpoint"
	"lastmile/internal/runs"
)

// Stats are a worker's counts since it started.
type Stats struct {
	Results       map[runs.State]int64 // results put on disk
	Taken         int64                // jobs begun
	Expired       int64                // jobs that came after their start window
	Repeated      int64                // jobs that were done before
	Rejected      int64                // jobs that were unusable
	Fenced        int64                // jobs of a leader that had been replaced when it ordered them, and are not what is ordered now
	SpoolErrors   int64
	Full          bool // the spool is: nothing is taken
	Running       int
	LastHeartbeat time.Time     // the last one that was answered
	ClockOffset   time.Duration // our clock less the coordinator's
	ClockError    time.Duration // how far off that may be

	ClockCorrected bool // our clock is off by more than a second, and not gone by; or by more than five, and nobody knows better
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
	_, s.ClockCorrected = w.opts.Time.Corrected()
	s.ClockCorrected = s.ClockCorrected || w.skewed
	for _, under := range w.running {
		if under {
			s.Running++
		}
	}
	return s
}

// The publisher's pace when the hub cannot be reached.
const (
	publishTime  = 30 * time.Second
	firstPause   = 500 * time.Millisecond
	longestPause = 15 * time.Second
)

const (
	leaveTime     = time.Second     // for the last heartbeat
	leastPatience = 2 * time.Second // for the answer to any other
)

// publishAtOnce is how many results are on their way to the hub at once: to a far one each takes a round trip.
const publishAtOnce = 64

// publish brings results from the disk to the hub, the oldest first, until ctx ends.
func (w *Worker) publish(ctx context.Context) {
	pause := firstPause
	for {
		batch, err := w.spool.Batch(ctx, publishAtOnce)
		if ctx.Err() != nil {
			return
		}
		if err != nil { // for the moment: what is on disk stays there
			w.count(func(s *Stats) { s.SpoolErrors++ })
			w.log.Error("spool not read", "err", err)
		} else if w.send(ctx, batch) {
			pause = firstPause
			continue
		}
		rest(ctx, pause)
		pause = min(2*pause, longestPause)
	}
}

// send brings results to the hub, and reports whether none is left that has to be sent again.
func (w *Worker) send(ctx context.Context, batch []runs.Result) bool {
	limited, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	var again []error
	for i, err := range w.hub.PublishResults(limited, batch) {
		id := batch[i].RunID
		switch {
		case err == nil:
			faultpoint.Reached(faultpoint.ResultSent)
			w.remove(id)
			faultpoint.Reached(faultpoint.ResultGone)
		case !errors.Is(err, bus.ErrUnavailable) && limited.Err() == nil:
			w.spool.SetAside(id, err) // it will never go through and must not stand in the way of others
		default:
			again = append(again, err)
		}
	}
	if len(again) > 0 && ctx.Err() == nil {
		w.log.Warn("results not published, kept on disk", "results", len(again), "err", again[0])
	}
	return len(again) == 0
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
		w.heartbeat(ctx, max(w.opts.Heartbeat, leastPatience), false)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// heartbeat sends one; leaving = it is the last.
func (w *Worker) heartbeat(ctx context.Context, limit time.Duration, leaving bool) {
	taken, ended := w.news()
	hb := runs.Heartbeat{
		Schema: runs.Schema, Region: w.opts.Region, Probe: w.opts.Probe, Version: w.opts.Version,
		Slots: len(w.places), Running: taken, Ended: ended, Spooled: w.spool.Pending(), SpoolBytes: w.spool.Bytes(),
		Browser: w.opts.BrowserSlots > 0, Pools: w.opts.Pools(), Rejected: w.Stats().Rejected, Clock: w.clock(), Leaving: leaving,
	}
	if w.opts.Autonomy != nil {
		hb.Autonomous = w.opts.Autonomy.Alone()
	}
	if w.spool.Full() { // it takes nothing then
		hb.Slots = 0
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	sent := time.Now()
	hb.SentAt = sent.UTC()
	reply, err := w.hub.Heartbeat(limited, hb)
	if err != nil {
		w.log.Debug("heartbeat not answered", "err", err)
		return
	}
	w.answered(&hb, reply, sent, time.Now())
	if w.opts.Autonomy != nil && !leaving {
		w.opts.Autonomy.Answered(reply)
	}
	w.watchClock()
	w.resend(reply.ResendBefore)
}

// answered takes up the answer to a heartbeat.
func (w *Worker) answered(hb *runs.Heartbeat, reply runs.HeartbeatReply, sent, received time.Time) {
	trip := received.Sub(sent)
	w.mu.Lock()
	defer w.mu.Unlock()
	if reply.Refused != "" && reply.Refused != w.refused {
		w.log.Error("refused by the coordinator", "reason", reply.Refused)
	}
	w.refused = reply.Refused
	w.stats.LastHeartbeat = received
	// The coordinator's clock was read somewhere within the round trip; its middle is the best guess (RFC 5905 does the same).
	w.stats.ClockOffset = sent.Add(trip / 2).Sub(reply.ReceivedAt)
	w.stats.ClockError = trip / 2
	for _, id := range hb.Running { // what is done and has been told need not be told again
		if !w.running[id] {
			delete(w.running, id)
		}
	}
}

// resend sends again what the hub acknowledged before a time, and has lost; once.
func (w *Worker) resend(before time.Time) {
	w.mu.Lock()
	done := before.IsZero() || before.Equal(w.resent)
	if !done {
		w.resent = before
	}
	w.mu.Unlock()
	if done {
		return
	}
	n, err := w.spool.Resend(w.opts.Time.Local(before))
	if n > 0 {
		w.log.Warn("the hub has lost results that it had acknowledged: they are sent again", "results", n, "acknowledged_before", before)
	}
	if err != nil {
		w.count(func(s *Stats) { s.SpoolErrors++ })
		w.log.Error("results not sent again", "err", err)
	}
}

// skewLimit is how far off heartbeats may show our clock where nothing better is known of it: they are coarse.
const skewLimit = 5 * time.Second

// watchClock says once that this machine's clock is off.
func (w *Worker) watchClock() {
	by, corrected := w.opts.Time.Corrected()
	known := w.clock() != nil
	w.mu.Lock()
	defer w.mu.Unlock()
	off := !known && (w.stats.ClockOffset.Abs()-w.stats.ClockError) > skewLimit
	if (corrected || off) && !w.skewed {
		w.log.Warn("this machine's clock is wrong: run chrony or systemd-timesyncd on it", "gone_by_the_hubs", corrected, "to_add", by, "ahead_by_heartbeats", w.stats.ClockOffset)
	}
	w.skewed = corrected || off
}

// leave says that this probe stops in good order.
func (w *Worker) leave() { w.heartbeat(context.Background(), leaveTime, true) }

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

// news lists the runs under way and those begun and ended since the last answered heartbeat, and the latter once more by themselves.
func (w *Worker) news() (taken, ended []runs.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(w.running)) {
		if taken = append(taken, id); !w.running[id] {
			ended = append(ended, id)
		}
	}
	return taken, ended
}

// maxRecent is how many run ids are remembered against repeats: several times what a probe can run in a job's life.
const maxRecent = 10_000

// recent is a bounded set of run ids with the times at which they were begun, or ended; the oldest are forgotten first.
type recent struct {
	set   map[runs.ID]time.Time
	order []runs.ID
}

// add enters an id; false means that it was there.
func (r *recent) add(id runs.ID, at time.Time) bool {
	if r.has(id) {
		return false
	}
	if r.set == nil {
		r.set = map[runs.ID]time.Time{}
	}
	r.set[id] = at
	r.order = append(r.order, id)
	if len(r.order) > maxRecent {
		delete(r.set, r.order[0])
		r.order = r.order[1:]
	}
	return true
}

func (r *recent) has(id runs.ID) bool {
	_, ok := r.set[id]
	return ok
}

// touch notes that something became of an id.
func (r *recent) touch(id runs.ID, at time.Time) {
	if r.has(id) {
		r.set[id] = at
	}
}

// remove forgets an id.
func (r *recent) remove(id runs.ID) {
	if r.has(id) {
		delete(r.set, id)
		r.order = slices.DeleteFunc(r.order, func(other runs.ID) bool { return other == id })
	}
}
