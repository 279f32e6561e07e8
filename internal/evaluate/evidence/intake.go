package evidence

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"time"

	"lastmile/internal/evaluate/tally"
	"lastmile/internal/runs"
	"lastmile/internal/runs/sli"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// News is what a report came to.
type News int

// The kinds of news, ascending.
const (
	Nothing News = iota // it was late, or known, or of something else
	Fine                // one more good run
	Trouble             // something to decide on
)

// Result takes up a result that was stored at the hub at that time: of the schedule, or a confirmation. A confirmation counts among the last runs of its
// region, and in no budget.
func (u *Unit) Result(r *runs.Result, at time.Time) (news News) {
	slot := r.Slot.Unix()
	n := u.network(r.Network)
	if n == nil || !u.Plan.timely(slot, at.Unix()) {
		return Nothing
	}
	switch r.Trigger {
	case runs.TriggerSchedule:
		news = u.scheduled(n, r, slot, at)
	case runs.TriggerConfirm:
		news = u.confirmed(n, r, slot, at)
	default:
		return Nothing
	}
	if r.Cause != nil && r.Cause.Class == runs.ClassCacheLeak {
		u.LeakAt, u.Leak, news = max(u.LeakAt, at.UnixNano()), failureOf(r, nil), Trouble
	}
	return news
}

// Close takes up that a slot was closed as missing or skipped, by what was stored at the hub at that time. A slot that was measured stays so.
func (u *Unit) Close(network string, when time.Time, state runs.State, at time.Time) News {
	n, slot := u.network(network), when.Unix()
	if n == nil || !u.Plan.timely(slot, at.Unix()) {
		return Nothing
	}
	kind, count := tally.Unmeasured, &u.unmeasured
	if state == runs.StateSkipped {
		kind, count = tally.Skipped, &u.skipped
	}
	if was, news := n.Recent.Enter(tally.Run{Slot: uint32(slot), Kind: kind}); !news || was != 0 {
		return Nothing
	}
	u.advance(slot / 60)
	tally.Add(count, u.head.Place(slot/60), 1)
	return Trouble
}

// timely reports whether a report of a slot that was stored at that time may change anything: it is neither late nor of the future.
func (p *Plan) timely(slot, at int64) bool {
	return slot > 0 && at-slot <= p.late && slot-at <= 60
}

func (u *Unit) network(name string) *Network {
	for i := range u.Networks {
		if u.Networks[i].Name == name {
			return &u.Networks[i]
		}
	}
	return nil
}

// scheduled takes up the run of a slot.
func (u *Unit) scheduled(n *Network, r *runs.Result, slot int64, at time.Time) News {
	kind := tally.Unmeasured
	switch {
	case r.State == runs.StateFailed:
		kind = tally.Bad
	case r.State.Measured():
		kind = tally.Good
	}
	was, news := n.Recent.Enter(tally.Run{Slot: uint32(slot), Kind: kind})
	if !news {
		return Nothing
	}
	minute := slot / 60
	u.advance(minute)
	place := u.head.Place(minute)
	switch was { // what a verdict, or an invalid run, said of the slot before
	case tally.Unmeasured:
		tally.Add(&u.unmeasured, place, -1)
	case tally.Skipped:
		tally.Add(&u.skipped, place, -1)
	}
	if kind == tally.Unmeasured {
		tally.Add(&u.unmeasured, place, 1)
		return Trouble
	}
	tally.Add(&u.measured, place, 1)
	if u.Plan.Avail >= 0 {
		u.Plan.Drift.enter(&u.share, minute, kind == tally.Bad, kind == tally.Bad && u.Hard(slot-u.Plan.Horizon) != nil)
	}
	if kind == tally.Bad {
		u.BadAt = max(u.BadAt, at.UnixNano())
		n.failedOn(r.Probe)
	}
	lost := false
	for i := range u.Tracks {
		if u.Tracks[i].enter(u, r, place) {
			lost = true
		}
	}
	if lost {
		u.LostAt = max(u.LostAt, at.UnixNano())
	}
	if lost || kind == tally.Bad {
		return Trouble
	}
	return Fine
}

func (n *Network) failedOn(probe string) {
	if n.Probe != probe {
		n.Probe = strings.Clone(probe)
	}
}

// confirmed takes up a run that was asked for because another one had failed.
func (u *Unit) confirmed(n *Network, r *runs.Result, slot int64, at time.Time) News {
	if !r.State.Measured() {
		return Fine
	}
	kind := tally.Good
	if r.State == runs.StateFailed {
		kind = tally.Bad
	}
	if _, news := n.Recent.Enter(tally.Run{Slot: uint32(slot), Kind: kind, Confirm: true}); !news {
		return Nothing
	}
	for i := range u.Tracks {
		u.Tracks[i].again(u.Plan, r)
	}
	if kind == tally.Good {
		return Fine
	}
	u.BadAt = max(u.BadAt, at.UnixNano())
	n.failedOn(r.Probe)
	if u.Plan.Avail >= 0 {
		u.Tracks[u.Plan.Avail].fails(u.Plan, failureOf(r, nil))
	}
	return Trouble
}

// enter counts a measured run for the objective, and reports whether it spends budget.
func (t *Track) enter(u *Unit, r *runs.Result, place tally.Place) (lost bool) {
	o := t.Objective
	if o.events() {
		return t.happened(u, r, place)
	}
	var why *runs.Cause
	switch n := sli.Counts(&o.SLO, r); {
	case n.Skipped > 0: // it was not to run what the objective is about
		tally.Add(&t.idle, place, 1)
		fallthrough
	case n.Invalid > 0:
		tally.Add(&t.left, place, 1)
		return false
	case n.Slow > 0:
		ms, _, _ := sli.Took(&o.SLO, r)
		took := time.Duration(ms * float64(time.Millisecond)).Round(time.Millisecond)
		lost, why = true, &runs.Cause{Class: runs.ClassBudget, Step: o.Step, Detail: fmt.Sprintf("took %v, want at most %v", took, o.Threshold.D())}
	case n.Bad > 0:
		lost = true
		if r.State != runs.StateFailed { // an optional step did
			_, _, why = sli.Took(&o.SLO, r)
		}
	}
	if !lost {
		t.Streak = min(t.Streak+1, 1000)
		return false
	}
	t.Streak = 0
	tally.Add(&t.lost, place, 1)
	t.fails(u.Plan, failureOf(r, why))
	return true
}

// again enters a confirmation: it is in no count, and tells as well as a run of the schedule whether what was bad is so still.
func (t *Track) again(p *Plan, r *runs.Result) {
	n := sli.Counts(&t.Objective.SLO, r)
	if t.Objective.events() {
		n = t.Objective.happened(p, r)
	}
	switch all, bad := n.Measured(), n.Lost(); {
	case all == 0:
	case float64(bad) <= float64(all)*float64(t.Objective.budget):
		t.Streak = min(t.Streak+1, 1000)
	default:
		t.Streak = 0
	}
}

// happened is the events of a measured run.
func (o *Objective) happened(p *Plan, r *runs.Result) slo.Counts {
	var within time.Duration
	if p.Scenario.Replication != nil {
		within = p.Scenario.Replication.VisibleWithin.D()
	}
	return sli.Events(&o.SLO, r, p.Scenario.ExpectedRegion(r.Region), within)
}

// happened counts the events of a measured run.
func (t *Track) happened(u *Unit, r *runs.Result, place tally.Place) (lost bool) {
	o := t.Objective
	n := o.happened(u.Plan, r)
	all, bad := int(n.Measured()), int(n.Lost())
	if all == 0 {
		return false
	}
	tally.Add(&t.events, place, all)
	tally.Add(&t.ran, place, 1)
	if bad > 0 {
		tally.Add(&t.badEvents, place, bad)
	}
	if float64(bad) <= float64(all)*float64(o.budget) {
		t.Streak = min(t.Streak+1, 1000)
		return bad > 0
	}
	t.Streak = 0
	t.fails(u.Plan, failureOf(r, &runs.Cause{Class: runs.ClassBudget, Detail: fmt.Sprintf("%s: %d of %d", o.badEvents(), bad, all)}))
	return true
}

// badEvents says in words what a bad event of the objective is.
func (o *Objective) badEvents() string {
	switch o.sli {
	case scenario.SLICacheHit:
		return "answers not from the cache"
	case scenario.SLIRouting:
		return "answers from another region than expected"
	}
	return "writes not visible in time"
}

// failureOf keeps of a failed run what an alert tells, and nothing that would keep the whole result alive. Its cause is why, or else its own.
func failureOf(r *runs.Result, why *runs.Cause) *runs.Failure {
	const longest = 200 // bytes, as in the books
	f := &runs.Failure{RunID: runs.ID(strings.Clone(string(r.RunID))), At: r.Slot.UTC()}
	why = cmp.Or(why, r.Cause)
	if why == nil {
		return f
	}
	detail := why.Detail
	if len(detail) > longest {
		detail = strings.ToValidUTF8(detail[:longest], "")
	}
	f.Cause = &runs.Cause{Class: runs.Class(strings.Clone(string(why.Class))), Step: strings.Clone(why.Step), Detail: strings.Clone(detail)}
	return f
}

// fails notes a failure. It is the first of a new stretch where none came before it for as long as the last few runs reach back.
func (t *Track) fails(p *Plan, f *runs.Failure) {
	if t.Failed == nil || f.At.Unix()-t.Failed.Latest.At.Unix() > p.Horizon {
		t.Failed = &Failed{First: *f, Latest: *f}
		return
	}
	if f.At.Before(t.Failed.First.At) {
		t.Failed.First = *f
	}
	if !f.At.Before(t.Failed.Latest.At) {
		t.Failed.Latest = *f
	}
}

// Hard is rule S1: the network with at least five of its last six measured runs bad; nil = none. Runs from before since are too old.
func (u *Unit) Hard(since int64) *Network {
	for i := range u.Networks {
		if bad, _ := u.Networks[i].Recent.Last(HardRuns, since); bad >= hardBad {
			return &u.Networks[i]
		}
	}
	return nil
}

// Failing is a unit's part in rule Q: at least two of the last three measured runs of a network bad.
func (n *Network) Failing(since int64) bool {
	bad, _ := n.Recent.Last(QuorumRuns, since)
	return bad >= quorumBad
}

// The rules S1 and Q.
const (
	HardRuns, hardBad     = 6, 5
	QuorumRuns, quorumBad = 3, 2
)

// advance moves the rings on to a minute, and learns from the hour that is over.
func (u *Unit) advance(minute int64) {
	if minute <= int64(u.head) {
		return
	}
	if u.head != 0 && minute/60 != int64(u.head)/60 && !u.Busy {
		for i := range u.Tracks {
			t := &u.Tracks[i]
			t.learn(u)
			if t.Failed != nil && minute*60-t.Failed.Latest.At.Unix() > u.Plan.Horizon { // the next failure begins anew
				t.Failed = nil
			}
		}
	}
	stale, _ := u.head.Advance(minute)
	u.measured.Clear(&stale)
	u.unmeasured.Clear(&stale)
	u.skipped.Clear(&stale)
	for i := range u.Tracks {
		t := &u.Tracks[i]
		t.lost.Clear(&stale)
		t.left.Clear(&stale)
		t.idle.Clear(&stale)
		t.events.Clear(&stale)
		t.badEvents.Clear(&stale)
		t.ran.Clear(&stale)
	}
}

// What is usual in a region is learned from hours in which all was well, each counting half as much a week later. An hour at the end of six
// that chance hardly explains is not one of them: a failure that goes on must not become usual.
const (
	learnDecay = 0.99588 // an hour: 2^(-1/168)
	learnAbove = -3      // decimal logarithm of the least probability
	maxBase    = slo.Ratio(0.05)
)

// learn takes up the hour that the head is in.
func (t *Track) learn(u *Unit) {
	head := int64(u.head)
	p0 := t.Expected()
	bad, all := t.Evidence(u, u.head.Window(head, 6*60, tally.Five))
	if all == 0 || slo.BinomialTail(bad, all, p0).Log10() <= learnAbove {
		return
	}
	bad, all = t.Evidence(u, u.head.Window(head, 60, tally.Hour))
	t.baseBad, t.baseAll = t.baseBad*learnDecay+float64(bad), t.baseAll*learnDecay+float64(all)
}

// Expected is the share of bad runs that is to be expected while all is well: the objective's budget, or what is usual in the region where that
// is more, to 5 %. What is usual counts as far as it is sure, by two standard deviations: a few failures more than the budget would otherwise blunt the rules.
func (t *Track) Expected() slo.Ratio {
	budget := t.Objective.budget
	if t.baseAll <= 0 {
		return budget
	}
	usual := (t.baseBad - 2*math.Sqrt(t.baseBad)) / t.baseAll
	return max(budget, min(slo.Ratio(usual), maxBase))
}

// Evidence counts the runs of a span that say something about the objective, and how many of them were bad. Where events are counted, those of one
// run are taken for one: what hits one of them often hits all.
func (t *Track) Evidence(u *Unit, s tally.Span) (bad, all int64) {
	if !t.Objective.events() {
		return t.lost.Sum(s), u.measured.Sum(s) - t.left.Sum(s)
	}
	events, ran := t.events.Sum(s), t.ran.Sum(s)
	if events == 0 {
		return 0, 0
	}
	return t.badEvents.Sum(s) * ran / events, ran
}
