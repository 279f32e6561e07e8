package ledger

import (
	"cmp"
	"math"
	"slices"
	"time"

	"lastmile/internal/cachestate"
	"lastmile/internal/ledger/causes"
	"lastmile/internal/ledger/codec"
	"lastmile/internal/ledger/edge"
	"lastmile/internal/ledger/indicators"
	"lastmile/internal/ledger/slots"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

func compare[T cmp.Ordered](a, b T) int { return cmp.Compare(a, b) }

// The bounds of what a combination keeps.
const (
	maxSamples = 10_000 // run durations, for exact quantiles
	maxServed  = 16     // distinct serving regions; more are counted as "other"

	maxCacheStates = 16 // likewise; there are nine, and what a probe of another version says
)

// account holds the books of one combination. What a snapshot keeps of it is the fold of results and verdicts alone: slots that were only
// planned are pending, and enter neither the history nor first.
type account struct {
	combination scenario.Combination
	region      *region
	definition  *definition // nil where it is not defined

	slots   slots.Slots
	open    []deadline // of the slots that are pending, or whose minute has not been closed; ascending by slot
	ahead   []deadline // of the slots that are planned and were not due when last looked at; ascending by slot
	first   int64      // the earliest slot that was ever reported or closed; never = none was
	newest  int64      // the latest slot that was reported; likewise
	planned int64      // the earliest slot that was planned, not read back; likewise
	reached int64      // the latest one; likewise

	forgottenBefore int64                       // slots before it have been forgotten; never = none has
	counts          [slots.NumStates]int64      // of the slots as they stand
	entered         [slots.NumStates]int64      // how often a slot entered a state: never falls, so it can be a counter
	reasons         [slots.NumReasons - 1]int64 // of the missing and skipped slots as they stand; without none
	everReasons     [slots.NumReasons - 1]int64 // likewise
	classes         codec.Tally[runs.Class]
	duplicates      int64
	unscheduled     int64
	amended         int64 // missing or skipped, then reported after all
	tainted         int64 // measured, with times that are not to be trusted
	book            indicators.Book
	samples         int // of the slots with a duration
	cache           codec.Tally[cachestate.State]
	served          codec.Tally[served]
	edge            edge.Edge
	causes          causes.Causes
	last            *runs.Cause
	lastSlot        int64
}

// served is a region that answered, and whether it was the one expected at that time.
type served struct {
	region   string
	expected bool
}

// never stands for no time at all.
const never = math.MinInt64

func newAccount(c scenario.Combination, r *region) *account {
	return &account{combination: c, region: r, first: never, newest: never, planned: never, reached: never, forgottenBefore: never, edge: edge.New()}
}

func timeOf(at int64) time.Time { return time.Unix(at, 0).UTC() }

// enter makes a new pending slot.
func (a *account) enter(at, end int64) slots.Ref {
	r := a.slots.Insert(at)
	a.counts[slots.Pending]++
	a.entered[slots.Pending]++
	a.await(at, end, true)
	return r
}

// plan notes a slot that is to be entered when it is due.
func (a *account) plan(at, end int64) {
	i, ok := searchDeadline(a.ahead, at)
	if ok {
		a.ahead[i].end = end
		return
	}
	a.ahead = slices.Insert(a.ahead, i, deadline{slot: at, end: end})
}

// known returns the slot, entered if it was not due: it has come to its end by another clock; ok=false where there is none, or none any
// more.
func (a *account) known(at int64) (r slots.Ref, ok bool) {
	if len(a.ahead) > 0 {
		if i, ok := searchDeadline(a.ahead, at); ok {
			end := a.ahead[i].end
			a.ahead = deleteDeadline(a.ahead, i)
			return a.enter(at, end), true
		}
	}
	if r, ok = a.slots.Find(at); ok && r.Cell().State() != slots.Pending && a.forgotten(at) {
		return slots.Ref{}, false
	}
	return r, ok
}

// forgotten reports whether a slot is from before what is kept.
func (a *account) forgotten(at int64) bool { return at < a.forgottenBefore }

// arrive enters the slots that are due by now.
func (a *account) arrive(now time.Time) {
	for len(a.ahead) > 0 && a.ahead[0].slot <= now.Unix() {
		due := a.ahead[0]
		a.ahead = deleteDeadline(a.ahead, 0)
		a.enter(due.slot, due.end)
	}
}

// raise moves a slot to a higher state, and its counts with it.
func (a *account) raise(at int64, r slots.Ref, to slots.Cell) {
	from := *r.Cell()
	a.counts[from.State()]--
	change := slots.States()[to.State()].Counts()
	if from.State() == slots.Pending {
		if a.first == never || at < a.first {
			a.first = at
		}
	} else {
		change = change.Sub(slots.States()[from.State()].Counts())
	}
	if why := from.Reason(); why != 0 {
		a.reasons[why-1]--
	}
	a.book.Slot(timeOf(at), change)
	r.Cell().Raise(to)
	a.counts[to.State()]++
	a.entered[to.State()]++
	if why := to.Reason(); why != 0 {
		a.reasons[why-1]++
		a.everReasons[why-1]++
	}
	a.settled(at)
}

// measure takes up what an entered result says beyond its state; replaced: it takes the place of another one.
func (a *account) measure(at int64, slot slots.Ref, r *runs.Result, replaced bool) {
	if r.Cause != nil {
		a.classes.Add(r.Cause.Class, 1)
		if at >= a.lastSlot || a.last == nil {
			a.last, a.lastSlot = r.Cause, at
		}
	}
	if r.Cause != nil || replaced {
		a.causes.Keep(at, r.Cause)
	}
	if !r.State.Measured() {
		return
	}
	if len(r.Tainted) > 0 { // its times are not the service's
		a.tainted++
	} else if r.State != runs.StateFailed {
		a.sample(slot, r.Duration())
	}
	for state, n := range r.Cache.ByState {
		if len(a.cache) >= maxCacheStates && !a.cache.Has(state) {
			state = runs.OtherLabel
		}
		a.cache.Add(state, int64(n))
	}
	for i := range r.Requests {
		region := r.Requests[i].ServedRegion
		if region == "" || r.Requests[i].Again {
			continue
		}
		by := served{region: region, expected: region == a.expectedRegion()}
		if len(a.served) >= maxServed && !a.served.Has(by) {
			by.region = runs.OtherLabel
			a.edge.Overflow("served")
		}
		a.served.Add(by, 1)
	}
	a.edge.Result(r, a.told(), a.expectedRegion())
	if a.definition != nil {
		a.book.Result(r, a.definition.objectives, a.expectedRegion(), a.edge.Events)
	}
}

// sample keeps a duration. The bound is enforced with slack, so that it costs little: the oldest go in bulk.
func (a *account) sample(slot slots.Ref, d time.Duration) {
	slot.Sample(d)
	a.samples++
	if a.samples > maxSamples+maxSamples/10 {
		if at, ok := a.slots.Oldest(a.samples - maxSamples); ok {
			a.samples -= a.slots.ForgetDurations(at)
		}
	}
}

const (
	minute = int64(60)
	hour   = 60 * minute
	day    = 24 * hour
)

// forget drops single slots that are older than the retention and settled, and durations and waits older than a day.
func (a *account) forget(now int64) {
	if limit := now - int64(Retention/time.Second); limit >= a.forgottenBefore+minute {
		a.forgetBefore(limit, now-day)
	}
}

// outgrown does what forget does by the time of results and verdicts, of which each kind may run ahead of the other when they are read
// back: it bounds what is kept then. The day more is for those that are ahead of their time.
func (a *account) outgrown() {
	if a.region.closed == nothing {
		return
	}
	latest := min(a.newest, a.region.closed*minute)
	if limit := latest - int64(Retention/time.Second) - day; limit >= a.forgottenBefore+hour {
		a.forgetBefore(limit, latest-2*day)
	}
}

func (a *account) forgetBefore(limit, young int64) {
	a.forgottenBefore = limit
	a.slots.Forget(limit)
	kept := a.open[:0]
	for _, d := range a.open {
		r, ok := a.slots.Find(d.slot)
		if ok && (d.slot >= limit || r.Cell().State() == slots.Pending) {
			kept = append(kept, d)
		}
	}
	a.open = kept
	a.causes.Forget(limit)
	a.samples -= a.slots.ForgetDurations(young)
	a.edge.Forget(young)
}

// precedes reports whether a slot is from before all that this ledger saw planned.
func (a *account) precedes(at int64) bool { return a.planned == never || at < a.planned }

// follows reports whether a slot is one of the schedule's that has not been planned yet.
func (a *account) follows(at int64) bool {
	return at > a.reached && a.definition != nil && a.definition.schedule.Next(a.combination, timeOf(at-1)).Equal(timeOf(at))
}

// durations adds the successful runs' durations since a time to out, in no order worth the name.
func (a *account) durations(since time.Time, out []time.Duration) []time.Duration {
	if a.samples == 0 {
		return out
	}
	return a.slots.Durations(since.Unix(), out)
}

// earliest returns the earliest slot that was ever in the books.
func (a *account) earliest() (at int64, ok bool) {
	at, ok = a.first, a.first != never
	for _, d := range a.open { // ascending: the first that is pending is the earliest
		if ok && d.slot >= at {
			break
		}
		if r, found := a.slots.Find(d.slot); found && r.Cell().State() == slots.Pending {
			return d.slot, true
		}
	}
	return at, ok
}

// searchDeadline finds a slot's.
func searchDeadline(list []deadline, slot int64) (int, bool) {
	if n := len(list); n == 0 || list[n-1].slot < slot {
		return n, false
	}
	return slices.BinarySearchFunc(list, slot, func(d deadline, slot int64) int { return compare(d.slot, slot) })
}

// deleteDeadline takes one out. The first, which is nearly always the one, goes without a copy.
func deleteDeadline(list []deadline, i int) []deadline {
	if i == 0 {
		if list = list[1:]; len(list) == 0 {
			return nil
		}
		return list
	}
	return slices.Delete(list, i, i+1)
}
