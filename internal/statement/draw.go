package statement

import (
	"cmp"
	"slices"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// drawing draws up the row of one combination.
type drawing struct {
	source  Source
	account *runs.Account
	since   time.Time
}

// The times after which something is wrong that was on its way before.
const (
	enteringTime    = 10 * time.Second // a slot that is due is in the books by then
	closingTime     = 15 * time.Second // a minute that may be closed has been closed by then
	leavingTime     = time.Minute      // a slot that was kept for the longest time has left the books by then
	unknownDeadline = 15 * time.Minute // of a slot whose scenario is no longer defined
)

// row counts the combination's slots and lists those that were not measured.
func (d *drawing) row(list *entries) Row {
	a := d.account
	row := Row{Region: a.Region, Network: a.Network, Within: newTally(), InAll: newTally()}
	records := d.source.Books.Slots(a.Combination, d.since)
	records = slices.DeleteFunc(records, func(r runs.SlotRecord) bool { return r.Slot.Before(d.since) || r.Slot.After(d.source.Now) })
	for i := range records {
		row.Within.count(&records[i])
	}
	row.Within.settle()
	row.InAll.Planned = a.Entered[runs.StatePending]
	for state, n := range a.Counts {
		row.InAll.States[state] += n
	}
	for reason, n := range a.Reasons {
		if n != 0 {
			row.InAll.Reasons[reason] = n
		}
	}
	row.InAll.Amended, row.InAll.Duplicates, row.InAll.Unscheduled = a.Amended, &a.Duplicates, &a.Unscheduled
	row.InAll.Last = row.Within.Last
	first, ok := d.source.Books.First(a.Combination)
	if ok {
		row.InAll.First = &first
	}
	row.InAll.settle()
	d.list(records, list)
	if absent := d.unbooked(records, first); len(absent) > 0 {
		row.Within.Unbooked = int64(len(absent))
		list.interrupt()
		list.add(d.absence(absent))
	}
	return row
}

// unbooked are the slots that the schedule, as it is today, has since the first one in the books, and that are not in them.
func (d *drawing) unbooked(records []runs.SlotRecord, first time.Time) (out []time.Time) {
	s := d.definition()
	if s == nil || first.IsZero() {
		return nil
	}
	booked := make(map[int64]bool, len(records))
	for i := range records {
		booked[records[i].Slot.Unix()] = true
	}
	from := d.since.Add(-time.Second)
	if kept := d.source.Now.Add(leavingTime - time.Duration(Longest)); kept.After(from) {
		from = kept
	}
	if first.After(from) {
		from = first
	}
	for _, slot := range s.Timetable().Slots(d.account.Combination, from, d.source.Now.Add(-enteringTime), maxSlots) {
		if !booked[slot.Unix()] {
			out = append(out, slot)
		}
	}
	return out
}

// absence is one entry for all slots that the books do not have: where a schedule was changed they lie between those that they have, and would
// drown all else.
func (d *drawing) absence(slots []time.Time) Entry {
	e := Entry{
		RunID: runs.NewID(d.account.Combination, slots[0]), Region: d.account.Region, Network: d.account.Network,
		Slot: slots[0], Count: int64(len(slots)), State: Unbooked, Why: string(Unbooked),
	}
	if len(slots) > 1 {
		e.Last = &slots[len(slots)-1]
	}
	return e
}

// maxSlots bounds the slots that are derived from a schedule: one every second for as long as single slots are kept.
const maxSlots = int(time.Duration(Longest) / time.Second)

// definition is the scenario that makes the combination today, nil where none does.
func (d *drawing) definition() *scenario.Scenario {
	for i := range d.source.Scenarios {
		if s := &d.source.Scenarios[i]; s.Name == d.account.Scenario && slices.Contains(s.Combinations(), d.account.Combination) {
			return s
		}
	}
	return nil
}

// list enters the slots that were not measured, oldest first.
func (d *drawing) list(records []runs.SlotRecord, list *entries) {
	list.interrupt()
	overdue := d.source.Now.Add(-unknownDeadline)
	if s := d.definition(); s != nil {
		overdue = d.source.Now.Add(-s.StartWindow() - s.Timeout.D() - time.Minute - d.source.Grace - closingTime)
	}
	for i := range records {
		r := &records[i]
		if r.State.Measured() {
			list.interrupt()
			continue
		}
		if r.State == runs.StatePending && r.Slot.After(overdue) {
			continue // it may still be measured
		}
		list.add(d.entry(r))
	}
}

// entry is a slot that was not measured.
func (d *drawing) entry(r *runs.SlotRecord) Entry {
	e := Entry{RunID: r.RunID, Region: d.account.Region, Network: d.account.Network, Slot: r.Slot.UTC(), Count: 1, State: r.State, Reason: r.Reason}
	switch {
	case r.State == runs.StatePending:
		e.Why = whyOverdue
	case r.Reason != "":
		e.Why = string(r.Reason)
	case r.Cause != nil:
		e.Class, e.Step, e.Detail, e.Why = r.Cause.Class, r.Cause.Step, r.Cause.Detail, string(r.Cause.Class)
	default:
		e.Why = whyForgotten
	}
	return e
}

// entries are the slots that were not measured, combination by combination.
type entries struct {
	fold  bool
	limit int
	all   []Entry
	open  bool // whether the last one may take up the next slot
	cut   int64
	until time.Time // the newest slot that was cut
}

// interrupt says that what comes next does not follow on what came before.
func (l *entries) interrupt() { l.open = false }

// add enters a slot. Now and then it drops what will not be among the newest, so that a scenario of many combinations costs little.
func (l *entries) add(e Entry) {
	if l.fold && l.open {
		if last := &l.all[len(l.all)-1]; last.takes(&e) {
			slot := e.Slot
			last.Last, last.Detail = &slot, e.Detail
			last.Count++
			return
		}
	}
	if len(l.all) >= 4*l.limit { // not while one is open: it could be dropped
		l.trim()
	}
	l.all = append(l.all, e)
	l.open = true
}

// takes reports whether another slot of the same combination is of the same kind.
func (e *Entry) takes(o *Entry) bool {
	return e.State == o.State && e.Reason == o.Reason && e.Class == o.Class && e.Step == o.Step && e.Why == o.Why
}

// trim keeps the newest entries and counts the others.
func (l *entries) trim() {
	slices.SortFunc(l.all, byNewest)
	if len(l.all) <= l.limit {
		return
	}
	for i := range l.all[l.limit:] {
		if e := &l.all[l.limit+i]; e.latest().After(l.until) {
			l.until = e.latest()
		}
	}
	l.cut += int64(len(l.all) - l.limit)
	l.all = l.all[:l.limit]
}

// newest returns what the limit leaves, oldest first, and what it cut.
func (l *entries) newest() ([]Entry, *Cut) {
	l.trim()
	slices.SortFunc(l.all, func(a, b Entry) int {
		return cmp.Or(a.Slot.Compare(b.Slot), cmp.Compare(a.Region, b.Region), cmp.Compare(a.Network, b.Network))
	})
	out := l.all
	if out == nil {
		out = []Entry{}
	}
	if l.cut == 0 {
		return out, nil
	}
	return out, &Cut{Entries: l.cut, Before: l.until}
}
