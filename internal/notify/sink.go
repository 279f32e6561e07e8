package notify

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"lastmile/internal/notify/delivery"
	"lastmile/internal/runs"
)

// sender tells one sink. It returns nil when the sink has accepted all of the notices; a *delivery.Refusal where it will never accept them, and it may have accepted
// some; a *delivery.Busy where it takes nothing now; any other error where it may accept them later.
type sender interface {
	Send(ctx context.Context, notices []delivery.Notice) error
}

// The bounds of what waits for a sink.
const (
	perAlert   = 8
	perSink    = 10_000
	batchSize  = 64
	longestNap = 5 * time.Minute // whatever a sink wants
)

// sink is one that is told. Its fields down to wake are set by whoever makes it.
type sink struct {
	log      *slog.Logger
	name     string // for people: kind and host
	id       string // in the outbox
	to       sender
	times    timing
	pages    bool // it is told of pages only
	labelled bool // it knows alerts by all of their labels
	repeats  bool // it is told again and again
	wake     chan struct{}

	mu       sync.Mutex
	told     map[string]delivery.Notice // the last one about each alert
	queues   map[string][]*errand       // by alert, in their order
	waiting  int                        // in all queues
	standing map[string]runs.Alert      // what it is told again
	refused  map[string]uint64          // sequence of the last notice about an alert that it did not want
	full     bool                       // it has been logged that there is no room
	stats    SinkStats

	// Of run alone.
	fails    int       // in a row that kept the sink from taking anything
	rest     time.Time // until then it is left alone
	repeated time.Time // when it was last told again
}

// errand is a notice on its way.
type errand struct {
	delivery.Notice
	tries   int
	notYet  time.Time // when it may be tried again
	taken   bool      // run has it in hand
	settled bool      // the sink has it or will not get it; only the outbox does not know yet
}

// forget makes the sink as it was before anything was told; what was counted stays.
func (s *sink) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told, s.queues, s.standing, s.refused = map[string]delivery.Notice{}, map[string][]*errand{}, map[string]runs.Alert{}, map[string]uint64{}
	s.waiting, s.full = 0, false
}

func (s *sink) statistics() SinkStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.stats
	out.Sink, out.Pending = s.name, int64(s.waiting)
	return out
}

// count changes the counters.
func (s *sink) count(change func(*SinkStats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.stats)
}

// believes returns what the sink was told last about an alert; nil = nothing.
func (s *sink) believes(id string) *delivery.Notice {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, ok := s.told[id]; ok {
		return &last
	}
	return nil
}

// active returns what the sink believes to be active.
func (s *sink) active() map[string]delivery.Notice {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]delivery.Notice{}
	for id, last := range s.told {
		if last.Firing() {
			out[id] = last
		}
	}
	return out
}

// room reports whether more may wait, and complains once where not.
func (s *sink) room() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting < perSink {
		s.full = false
		return true
	}
	if !s.full {
		s.log.Error("too much waits for a sink: what comes is kept back until there is room", "sink", s.name, "waiting", s.waiting)
	}
	s.full = true
	return false
}

// accept notes what is in the outbox, and has it delivered unless that has been done.
func (s *sink) accept(one delivery.Notice, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told[one.Identity] = one
	if done {
		return
	}
	queue := s.queues[one.Identity]
	before := len(queue)
	if s.repeats { // it wants to know what is, not what was
		queue = slices.DeleteFunc(queue, func(e *errand) bool { return !e.taken && !e.settled && e.Alert.Severity == one.Alert.Severity })
	}
	queue = append(queue, &errand{Notice: one})
	if len(queue) > perAlert {
		at := 0
		if queue[0].taken || queue[0].settled {
			at = 1
		}
		queue = slices.Delete(queue, at, at+1)
		s.stats.Dropped++
	}
	s.queues[one.Identity] = queue
	s.waiting += len(queue) - before
	s.poke()
}

// refuse counts what cannot be told at all; what the sink believes then is that it was.
func (s *sink) refuse(one *delivery.Notice, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told[one.Identity] = *one
	s.stats.Dropped++
	s.log.Error("notification lost", "sink", s.name, "alert", one.Alert.Name, "scenario", one.Alert.Scenario, "region", one.Alert.Region, "err", err)
}

// repeat says what the sink is told again: what it has been told and what is still so, in the latest words.
func (s *sink) repeat(all map[string]runs.Alert, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	had := len(s.standing)
	s.standing = map[string]runs.Alert{}
	for id, a := range all {
		last, ok := s.told[id]
		if !ok || last.Firing() != a.Active() || s.refused[id] == last.Sequence || !a.Active() && now.Sub(a.EndsAt) > s.times.resolved {
			continue
		}
		a.Severity = last.Alert.Severity
		s.standing[id] = a
	}
	if had == 0 && len(s.standing) > 0 {
		s.poke()
	}
}

func (s *sink) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run delivers until ctx ends.
func (s *sink) run(ctx context.Context, outbox Outbox) {
	s.fails, s.rest, s.repeated = 0, time.Time{}, time.Time{}
	for ctx.Err() == nil {
		e, again, wait := s.next(time.Now())
		switch {
		case e != nil && e.settled:
			s.settle(ctx, outbox, e)
		case e != nil:
			s.deliver(ctx, e)
		case again != nil:
			s.say(ctx, again)
		default:
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
			case <-s.wake:
			case <-timer.C:
			}
			timer.Stop()
		}
	}
}

// next returns what is to be done now: an errand, or what the sink is told again, or nothing until something comes or a time has passed.
func (s *sink) next(now time.Time) (e *errand, again []delivery.Notice, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	soonest := now.Add(time.Hour)
	for _, queue := range s.queues {
		head := queue[0]
		due := head.notYet
		if !head.settled && s.rest.After(due) {
			due = s.rest
		}
		switch {
		case due.After(now):
			soonest = earlier(soonest, due)
		case e == nil || head.Sequence < e.Sequence:
			e = head
		}
	}
	if e != nil {
		e.taken = true
		return e, nil, 0
	}
	if s.repeats && len(s.standing) > 0 {
		due := s.repeated.Add(s.times.resend)
		if s.rest.After(due) {
			due = s.rest
		}
		if !due.After(now) {
			if again = s.again(); len(again) > 0 {
				return nil, again, 0
			}
			due = now.Add(s.times.first) // all of them have something under way
		}
		soonest = earlier(soonest, due)
	}
	return nil, nil, soonest.Sub(now)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// again is what the sink is told again, but for what has an errand under way, which comes first.
func (s *sink) again() []delivery.Notice {
	var out []delivery.Notice
	for _, id := range slices.Sorted(maps.Keys(s.standing)) {
		if len(s.queues[id]) == 0 {
			out = append(out, delivery.Notice{Alert: delivery.Tidy(s.standing[id]), Identity: id, Sequence: s.told[id].Sequence})
		}
	}
	return out
}

// deliver tells the sink.
func (s *sink) deliver(ctx context.Context, e *errand) {
	err := s.attempt(ctx, []delivery.Notice{e.Notice})
	if ctx.Err() != nil && err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e.taken = false
	var no *delivery.Refusal
	switch {
	case err == nil:
		s.stats.Sent++
		e.settled = true
	case errors.As(err, &no):
		s.stats.Dropped++
		e.settled = true
		s.refused[e.Identity] = e.Sequence
		s.log.Error("notification refused", "sink", s.name, "alert", e.Alert.Name, "scenario", e.Alert.Scenario, "region", e.Alert.Region, "err", err)
	default:
		s.stats.Failed++
		e.tries++
		e.notYet = time.Now().Add(s.backoff(e.tries))
		if age := time.Since(e.At); age > s.times.giveUp {
			s.stats.Dropped++
			e.settled, e.notYet = true, time.Time{}
			if s.told[e.Identity].Sequence == e.Sequence { // where it is still so, it is put there anew
				delete(s.told, e.Identity)
			}
			s.log.Error("notification given up", "sink", s.name, "alert", e.Alert.Name, "scenario", e.Alert.Scenario, "region", e.Alert.Region,
				"age", age.Round(time.Second), "tries", e.tries, "err", err)
		} else if e.tries == 1 {
			s.log.Warn("notification not delivered, trying on", "sink", s.name, "alert", e.Alert.Name, "scenario", e.Alert.Scenario, "region", e.Alert.Region, "err", err)
		}
	}
}

// attempt sends, and remembers whether the sink is to be left alone for a while. That one goes on is not the fault of a single notice.
func (s *sink) attempt(ctx context.Context, notices []delivery.Notice) error {
	limited, cancel := context.WithTimeout(ctx, s.times.attempt)
	defer cancel()
	err := s.to.Send(limited, notices)
	var no *delivery.Busy
	if !errors.As(err, &no) {
		s.fails = 0
		return err
	}
	s.fails++
	s.rest = time.Now().Add(max(s.backoff(s.fails), min(no.After, longestNap)))
	return err
}

// backoff is how long to wait after so many failures in a row: twice as long each time, and at random between half of that and all of it.
func (s *sink) backoff(failures int) time.Duration {
	most := s.times.first
	for range failures - 1 {
		if most *= 2; most >= s.times.most {
			most = s.times.most
			break
		}
	}
	return most/2 + rand.N(most/2)
}

// settle has the outbox know that an errand is done, and makes way for the next one about the same alert.
func (s *sink) settle(ctx context.Context, outbox Outbox, e *errand) {
	err := outbox.Done(ctx, s.id, e.Identity, e.Sequence)
	s.mu.Lock()
	defer s.mu.Unlock()
	e.taken = false
	if err != nil {
		e.notYet = time.Now().Add(s.times.again)
		return
	}
	queue := s.queues[e.Identity]
	if len(queue) > 0 && queue[0] == e {
		queue = queue[1:]
		s.waiting--
	}
	if s.queues[e.Identity] = queue; len(queue) == 0 {
		delete(s.queues, e.Identity)
	}
}

// say tells the sink again. Where it does not want some of a batch, it is told one by one, and that is told no more.
func (s *sink) say(ctx context.Context, all []delivery.Notice) {
	s.repeated = time.Now()
	for batch := range slices.Chunk(all, batchSize) {
		err := s.attempt(ctx, batch)
		if no := new(delivery.Refusal); errors.As(err, &no) {
			err = s.single(ctx, batch)
		} else if err == nil {
			s.count(func(c *SinkStats) { c.Sent += int64(len(batch)) })
		}
		if err != nil && ctx.Err() == nil {
			s.count(func(c *SinkStats) { c.Failed++ })
			if s.fails > 0 {
				s.repeated = time.Time{} // as soon as it has rested
			}
			if s.fails <= 1 {
				s.log.Warn("alerts not told again, trying on", "sink", s.name, "err", err)
			}
			return
		}
	}
}

// single tells the sink one by one.
func (s *sink) single(ctx context.Context, batch []delivery.Notice) error {
	for _, one := range batch {
		err := s.attempt(ctx, []delivery.Notice{one})
		var no *delivery.Refusal
		switch {
		case err == nil:
			s.count(func(c *SinkStats) { c.Sent++ })
		case errors.As(err, &no):
			s.mu.Lock()
			s.stats.Dropped++
			s.refused[one.Identity] = one.Sequence
			delete(s.standing, one.Identity)
			s.mu.Unlock()
			s.log.Error("alert refused", "sink", s.name, "alert", one.Alert.Name, "scenario", one.Alert.Scenario, "region", one.Alert.Region, "err", err)
		default:
			return err
		}
	}
	return nil
}
