package ledger

import (
	"maps"
	"math"
	"slices"
	"time"

	"lastmile/internal/ledger/slots"
	"lastmile/internal/runs"
)

// nothing stands for no minute at all.
const nothing = math.MinInt64

// region knows which slots of a region are to be closed, by the minute of their deadline, so that closing costs what is due and not
// what there is. Its lists may name slots that have got another deadline since: those are passed over.
type region struct {
	closed int64 // the last minute that was closed, since the Unix epoch; nothing = none was
	due    map[int64][]awaited
	late   []awaited // pending slots whose minute was closed without them
}

// awaited is a slot of which an end is awaited.
type awaited struct {
	account *account
	slot    int64
}

// deadline is the time by which a slot's run must have ended: Unix seconds of the slot, Unix nanoseconds of the end.
type deadline struct{ slot, end int64 }

func (d deadline) minute() int64 { return minuteOf(floorDiv(d.end, int64(time.Second))) }

func minuteOf(at int64) int64 { return floorDiv(at, 60) }

// floorDiv rounds down, also below zero; b is positive.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// nanosOf turns Unix seconds into nanoseconds, of times so far away as nanoseconds reach.
func nanosOf(at int64) int64 {
	const limit = math.MaxInt64 / int64(time.Second)
	return max(min(at, limit), -limit) * int64(time.Second)
}

func newRegion() *region { return &region{closed: nothing, due: map[int64][]awaited{}} }

// await says when a slot is to have ended. It is awaited while it is pending, and until the minute of its deadline has been closed.
func (a *account) await(slot, end int64, isPending bool) {
	d := deadline{slot: slot, end: end}
	i, ok := searchDeadline(a.open, slot)
	late := d.minute() <= a.region.closed
	if late && !isPending {
		if ok {
			a.open = deleteDeadline(a.open, i)
		}
		return
	}
	if ok {
		was := a.open[i]
		if a.open[i] = d; was.minute() == d.minute() {
			return // it is in that list
		}
	} else {
		a.open = slices.Insert(a.open, i, d)
	}
	if late {
		a.region.late = append(a.region.late, awaited{account: a, slot: slot})
	} else {
		a.region.due[d.minute()] = append(a.region.due[d.minute()], awaited{account: a, slot: slot})
	}
}

// settled takes note that a slot is not pending any more.
func (a *account) settled(slot int64) {
	if i, ok := searchDeadline(a.open, slot); ok && a.open[i].minute() <= a.region.closed {
		a.open = deleteDeadline(a.open, i)
	}
}

// look returns the deadline of an awaited slot and whether it is pending; ok=false where it is not awaited any more.
func (w awaited) look() (d deadline, isPending, ok bool) {
	i, ok := searchDeadline(w.account.open, w.slot)
	if !ok {
		return d, false, false
	}
	r, ok := w.account.slots.Find(w.slot)
	return w.account.open[i], ok && r.Cell().State() == slots.Pending, ok
}

// close takes note that a minute and all before it are closed.
func (r *region) close(minute int64) {
	if minute <= r.closed {
		return
	}
	from := r.closed
	r.closed = minute
	if from == nothing || minute-from > int64(len(r.due)) {
		for m := range r.due {
			if m <= minute {
				r.closeOne(m)
			}
		}
		return
	}
	for m := from + 1; m <= minute; m++ {
		r.closeOne(m)
	}
}

// closeOne no longer awaits the settled slots of a minute.
func (r *region) closeOne(minute int64) {
	list := r.due[minute]
	delete(r.due, minute)
	for _, w := range list {
		d, isPending, ok := w.look()
		switch {
		case !ok || d.minute() != minute:
		case isPending:
			r.late = append(r.late, w)
		default:
			w.account.settled(w.slot)
		}
	}
}

// maxClosing is about how many slots of a region are closed at once. After a day without a coordinator there are millions: to list all of them would
// take gigabytes, and hold up all else for as long.
const maxClosing = 50_000

// verdicts lists what is to be closed of the minutes before limit: their slots that are pending, by minute. Where they are too many, it is the oldest
// minutes; the others are for the next time.
func (r *region) verdicts(name string, limit int64, witness Witness) (out []runs.Verdict) {
	closing := 0
	for _, minute := range slices.Sorted(maps.Keys(r.due)) {
		if minute >= limit {
			break
		}
		if closing >= maxClosing { // those that are late are closed with the last minute, which would close this one too
			return out
		}
		list := r.due[minute]
		v := runs.Verdict{Schema: runs.Schema, Region: name, Minute: timeOf(minute * 60)}
		kept := list[:0]
		for _, w := range list {
			d, isPending, ok := w.look()
			if !ok || d.minute() != minute {
				continue
			}
			kept = append(kept, w)
			if isPending {
				v.Slots = append(v.Slots, w.verdict(d, witness))
			}
		}
		if len(kept) == 0 {
			delete(r.due, minute)
			continue
		}
		r.due[minute] = kept
		closing += len(v.Slots)
		out = append(out, v)
	}
	if late := r.lateVerdicts(limit, witness); len(late) > 0 {
		last := timeOf((limit - 1) * 60)
		i := slices.IndexFunc(out, func(v runs.Verdict) bool { return v.Minute.Equal(last) })
		if i < 0 {
			out = append(out, runs.Verdict{Schema: runs.Schema, Region: name, Minute: last})
			i = len(out) - 1
		}
		out[i].Slots = append(out[i].Slots, late...)
	}
	return out
}

// lateVerdicts closes the slots whose minute was closed without them.
func (r *region) lateVerdicts(limit int64, witness Witness) (out []runs.SlotVerdict) {
	kept := r.late[:0]
	for _, w := range r.late {
		d, isPending, ok := w.look()
		if !ok || !isPending || d.minute() > r.closed {
			continue
		}
		kept = append(kept, w)
		if d.minute() < limit {
			out = append(out, w.verdict(d, witness))
		}
	}
	r.late = kept
	return out
}

func (w awaited) verdict(d deadline, witness Witness) runs.SlotVerdict {
	c, slot := w.account.combination, timeOf(w.slot)
	id := runs.NewID(c, slot)
	v := runs.SlotVerdict{RunID: id, State: runs.StateMissing, Reason: witness.Reason(id, c.Region, slot, time.Unix(0, d.end).UTC())}
	if v.Reason == runs.ReasonOverlap || v.Reason == runs.ReasonMaintenance {
		v.State = runs.StateSkipped
	}
	return v
}
