package ledger

import (
	"cmp"
	"slices"
	"time"

	"lastmile/internal/cachestate"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

func compare[T cmp.Ordered](a, b T) int { return cmp.Compare(a, b) }

// slot is one planned run.
type slot struct {
	state    runs.State
	reason   runs.Reason
	deadline time.Time
}

// The bounds of what a combination keeps.
const (
	maxSamples = 10_000 // run durations, for exact quantiles
	maxServed  = 16     // distinct serving regions; more are counted as "other"
)

// account holds the books of one combination.
type account struct {
	combination     scenario.Combination
	defined         bool
	budget          budget
	routing         *scenario.Routing
	schedule        scenario.Schedule
	slots           map[int64]*slot
	ahead           map[int64]time.Time // slots that are planned and were not due when last looked at: their deadlines
	first           time.Time           // the earliest slot that was ever opened
	planned         time.Time           // the earliest slot that was planned, not read back
	reached         time.Time           // the latest one
	forgottenBefore time.Time
	counts          runs.StateCounts      // of the slots as they stand
	reasons         map[runs.Reason]int64 // of the missing and skipped slots as they stand
	entered         runs.StateCounts      // how often a slot entered a state: never falls, so it can be a counter
	everReasons     map[runs.Reason]int64 // likewise
	classes         map[runs.Class]int64
	duplicates      int64
	unscheduled     int64
	amended         int64 // missing or skipped, then reported after all
	tainted         int64 // measured, with times that are not to be trusted
	history         slo.History
	samples         []sample
	cache           map[cachestate.State]int64
	served          map[served]int64
	edge            edge
	last            *runs.Cause
	lastSlot        time.Time
}

// served is a region that answered, and whether it was the one expected at that time.
type served struct {
	region   string
	expected bool
}

// sample is the duration of one successful run.
type sample struct {
	slot     time.Time
	duration time.Duration
}

func newAccount(c scenario.Combination) *account {
	return &account{
		combination: c,
		slots:       map[int64]*slot{},
		ahead:       map[int64]time.Time{},
		counts:      runs.StateCounts{},
		reasons:     map[runs.Reason]int64{},
		entered:     runs.StateCounts{},
		everReasons: map[runs.Reason]int64{},
		classes:     map[runs.Class]int64{},
		cache:       map[cachestate.State]int64{},
		served:      map[served]int64{},
		edge:        newEdge(),
	}
}

// open enters a new pending slot.
func (a *account) open(at, deadline time.Time) *slot {
	s := &slot{state: runs.StatePending, deadline: deadline}
	if a.first.IsZero() || at.Before(a.first) {
		a.first = at
	}
	a.slots[at.Unix()] = s
	a.counts[runs.StatePending]++
	a.entered[runs.StatePending]++
	a.history.Add(at, s.state.Counts())
	return s
}

// find returns the slot, opened if it was not due: it has come to its end by another clock; nil where there is none.
func (a *account) find(at time.Time) *slot {
	if deadline, ok := a.ahead[at.Unix()]; ok {
		delete(a.ahead, at.Unix())
		return a.open(at, deadline)
	}
	return a.slots[at.Unix()]
}

// arrive opens the slots that are due by now.
func (a *account) arrive(now time.Time) {
	for at, deadline := range a.ahead {
		if at <= now.Unix() {
			delete(a.ahead, at)
			a.open(time.Unix(at, 0).UTC(), deadline)
		}
	}
}

// raise moves a slot to a higher state, and its counts with it.
func (a *account) raise(at time.Time, s *slot, state runs.State, reason runs.Reason) {
	a.counts[s.state]--
	if s.reason != "" {
		a.reasons[s.reason]--
	}
	a.history.Add(at, state.Counts().Sub(s.state.Counts()))
	s.state, s.reason = state, reason
	a.counts[state]++
	a.entered[state]++
	if reason != "" {
		a.reasons[reason]++
		a.everReasons[reason]++
	}
}

// measure takes up what an entered result says beyond its state.
func (a *account) measure(r *runs.Result) {
	if r.Cause != nil {
		a.classes[r.Cause.Class]++
		if !r.Slot.Before(a.lastSlot) {
			a.last, a.lastSlot = r.Cause, r.Slot
		}
	}
	if !r.State.Measured() {
		return
	}
	if len(r.Tainted) > 0 { // its times are not the service's
		a.tainted++
	} else if r.State != runs.StateFailed {
		a.sample(sample{slot: r.Slot, duration: r.Duration()})
	}
	for state, n := range r.Cache.ByState {
		a.cache[state] += int64(n)
	}
	for i := range r.Requests {
		region := r.Requests[i].ServedRegion
		if region == "" || r.Requests[i].Again {
			continue
		}
		by := served{region: region, expected: region == a.expectedRegion()}
		if _, ok := a.served[by]; !ok && len(a.served) >= maxServed {
			by.region = runs.OtherLabel
			a.edge.overflow["served"]++
		}
		a.served[by]++
	}
	a.edge.result(r, a.expectedRegion())
}

// sample keeps a duration. The bound is enforced with slack, so that it costs little: the oldest go in bulk.
func (a *account) sample(s sample) {
	a.samples = append(a.samples, s)
	if len(a.samples) > maxSamples+maxSamples/10 {
		slices.SortFunc(a.samples, func(a, b sample) int { return a.slot.Compare(b.slot) })
		a.samples = slices.Delete(a.samples, 0, len(a.samples)-maxSamples)
	}
}

// forget drops single slots that are older than the retention and settled, and samples older than a day.
func (a *account) forget(now time.Time) {
	limit := now.Add(-retention)
	if limit.Sub(a.forgottenBefore) < time.Minute {
		return
	}
	a.forgottenBefore = limit
	for at, s := range a.slots {
		if at < limit.Unix() && s.state != runs.StatePending {
			delete(a.slots, at)
		}
	}
	a.edge.forget(now)
	day := now.Add(-24 * time.Hour)
	a.samples = slices.DeleteFunc(a.samples, func(s sample) bool { return s.slot.Before(day) })
}

// timedSlot is a slot with its time.
type timedSlot struct {
	time time.Time
	slot *slot
}

// precedes reports whether a slot is from before all that this ledger saw planned.
func (a *account) precedes(at time.Time) bool { return a.planned.IsZero() || at.Before(a.planned) }

// follows reports whether a slot is one of the schedule's that has not been planned yet.
func (a *account) follows(at time.Time) bool {
	return at.After(a.reached) && a.schedule.Next(a.combination, at.Add(-time.Second)).Equal(at)
}

// unsettled lists the slots with a deadline before limit whose minute has not been closed yet, or was closed without them.
func (a *account) unsettled(limit, lastClosed time.Time) []timedSlot {
	var out []timedSlot
	for at, s := range a.slots {
		open := s.state == runs.StatePending || s.deadline.Truncate(time.Minute).After(lastClosed)
		if open && s.deadline.Before(limit) {
			out = append(out, timedSlot{time: time.Unix(at, 0).UTC(), slot: s})
		}
	}
	return out
}

// durations returns the successful runs' durations since a time, ascending.
func (a *account) durations(since time.Time) []time.Duration {
	var out []time.Duration
	for _, s := range a.samples {
		if s.slot.After(since) {
			out = append(out, s.duration)
		}
	}
	slices.Sort(out)
	return out
}
