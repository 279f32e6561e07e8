// Package statement draws a statement of account from the ledger: for one scenario what was planned and what came of it, by region and
// network, in a window and in all, and each slot that was not measured with why. It answers for it over HTTP, and asks for it.
package statement

import (
	"cmp"
	"slices"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// Books is the ledger that a statement is drawn from.
type Books interface {
	// Accounts returns the books of all combinations as of now, ordered by scenario, region and network.
	Accounts(now time.Time) []runs.Account
	// Slots returns the slots of a combination since a time, oldest first, as far back as single slots are kept: see Longest.
	Slots(c scenario.Combination, since time.Time) []runs.SlotRecord
	// First returns the earliest slot of the combination that was ever in the books; ok=false where there was none.
	First(c scenario.Combination) (slot time.Time, ok bool)
}

// Source is what a statement is drawn from.
type Source struct {
	Books     Books
	Scenarios []scenario.Scenario // as they are defined now, with resolved regions
	Grace     time.Duration       // from a slot's deadline until its minute may be closed
	Now       time.Time           // by the clock that the books go by
}

// The bounds of a query.
const (
	Longest      = slo.Window(72 * time.Hour) // for as long the ledger keeps single slots
	DefaultSince = slo.Window(24 * time.Hour)
	DefaultLimit = 1000
	MaxLimit     = 20_000
)

// Query says what a statement is about. Since and Limit must be set.
type Query struct {
	Scenario string
	Region   string // "" = all
	Network  string // "" = all
	Since    slo.Window
	Fold     bool // whether slots in a row that were not measured for the same reason are one entry
	Limit    int  // of entries; the newest are kept
}

// Statement is a statement of account. It is the answer's JSON.
type Statement struct {
	Scenario   string                 `json:"scenario"`
	At         time.Time              `json:"at"`
	Since      time.Time              `json:"since"`
	Within     Tally                  `json:"within"` // since that time, over all combinations
	InAll      Tally                  `json:"in_all"` // since the first slot, likewise
	Rows       []Row                  `json:"combinations"`
	Unmeasured []Entry                `json:"unmeasured"` // in the window, oldest first
	Cut        *Cut                   `json:"cut,omitempty"`
	Words      map[string]Explanation `json:"words"` // what each Why of the entries means
}

// Row is the account of one region and network.
type Row struct {
	Region  string `json:"region"`
	Network string `json:"network"`
	Within  Tally  `json:"within"`
	InAll   Tally  `json:"in_all"`
}

// Tally counts slots. Planned is how many were entered in the books, Sum what their states add up to.
type Tally struct {
	Planned     int64                 `json:"planned"`
	States      runs.StateCounts      `json:"states"` // every one, zeros included
	Sum         int64                 `json:"sum"`
	Balanced    bool                  `json:"balanced"` // whether Planned = Sum: nothing lost, nothing twice
	Reasons     map[runs.Reason]int64 `json:"reasons"`  // of those missing or skipped
	Amended     int64                 `json:"amended"`  // missing or skipped at first, and reported after all
	Duplicates  *int64                `json:"duplicates,omitempty"`
	Unscheduled *int64                `json:"unscheduled,omitempty"` // results without a slot; like Duplicates known in all only
	Unbooked    int64                 `json:"unbooked"`              // slots of today's schedule that are not in the books; in a window only
	First       *time.Time            `json:"first,omitempty"`
	Last        *time.Time            `json:"last,omitempty"`
}

// Entry is a slot that was not measured, or several in a row.
type Entry struct {
	RunID   runs.ID     `json:"run_id"`
	Region  string      `json:"region"`
	Network string      `json:"network"`
	Slot    time.Time   `json:"slot"`
	Last    *time.Time  `json:"last,omitempty"` // slot of several
	Count   int64       `json:"count"`
	State   runs.State  `json:"state"`            // missing, skipped, invalid, pending; or Unbooked, which is one entry for all such slots of a combination
	Reason  runs.Reason `json:"reason,omitempty"` // of one missing or skipped
	Class   runs.Class  `json:"class,omitempty"`  // of an invalid one
	Step    string      `json:"step,omitempty"`
	Detail  string      `json:"detail,omitempty"` // of the newest of several
	Why     string      `json:"why"`              // key into Words
}

// Unbooked is the state of a slot that the schedule has and the books do not.
const Unbooked runs.State = "unbooked"

// Cut says what the limit left out of the entries.
type Cut struct {
	Entries int64     `json:"entries"` // left out
	Before  time.Time `json:"before"`  // they are of slots up to this one; the tallies count them all the same
}

// Draw draws a statement as of from.Now. The error is an *UnknownError where the books have no such scenario, region or network.
func Draw(from Source, q Query) (Statement, error) {
	now := from.Now
	accounts, err := chosen(from.Books.Accounts(now), q)
	if err != nil {
		return Statement{}, err
	}
	s := Statement{
		Scenario: q.Scenario, At: now.UTC().Truncate(time.Second), Since: now.Add(-q.Since.Duration()).UTC().Truncate(time.Second),
		Within: newTally(), InAll: newTally(), Rows: []Row{}, Unmeasured: []Entry{}, Words: map[string]Explanation{},
	}
	list := entries{fold: q.Fold, limit: q.Limit}
	for i := range accounts {
		d := drawing{source: from, account: &accounts[i], since: s.Since}
		row := d.row(&list)
		s.Within.add(&row.Within)
		s.InAll.add(&row.InAll)
		s.Rows = append(s.Rows, row)
	}
	s.Unmeasured, s.Cut = list.newest()
	for i := range s.Unmeasured {
		s.Words[s.Unmeasured[i].Why] = Explain(s.Unmeasured[i].Why)
	}
	return s, nil
}

// chosen are the accounts that the query is about.
func chosen(accounts []runs.Account, q Query) ([]runs.Account, error) {
	for _, by := range []struct {
		what, wanted string
		of           func(*runs.Account) string
	}{
		{"scenario", q.Scenario, func(a *runs.Account) string { return a.Scenario }},
		{"region", q.Region, func(a *runs.Account) string { return a.Region }},
		{"network", q.Network, func(a *runs.Account) string { return a.Network }},
	} {
		if by.wanted == "" {
			continue
		}
		var names []string
		for i := range accounts {
			names = append(names, by.of(&accounts[i]))
		}
		accounts = slices.DeleteFunc(accounts, func(a runs.Account) bool { return by.of(&a) != by.wanted })
		if len(accounts) == 0 {
			return nil, unknown(by.what, by.wanted, names)
		}
	}
	return accounts, nil
}

func newTally() Tally {
	t := Tally{States: runs.StateCounts{}, Reasons: map[runs.Reason]int64{}, Balanced: true}
	for _, state := range runs.States() {
		t.States[state] = 0
	}
	return t
}

// add adds the tally of a part.
func (t *Tally) add(part *Tally) {
	t.Planned += part.Planned
	t.Sum += part.Sum
	t.Balanced = t.Balanced && part.Balanced
	t.Amended += part.Amended
	t.Unbooked += part.Unbooked
	for state, n := range part.States {
		t.States[state] += n
	}
	for reason, n := range part.Reasons {
		t.Reasons[reason] += n
	}
	t.Duplicates, t.Unscheduled = plus(t.Duplicates, part.Duplicates), plus(t.Unscheduled, part.Unscheduled)
	if part.First != nil && (t.First == nil || part.First.Before(*t.First)) {
		t.First = part.First
	}
	if part.Last != nil && (t.Last == nil || part.Last.After(*t.Last)) {
		t.Last = part.Last
	}
}

// plus adds numbers of which either may not be known.
func plus(a, b *int64) *int64 {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	sum := *a + *b
	return &sum
}

// settle works out the sum. Only known states count: a slot in any other would be lost from sight.
func (t *Tally) settle() {
	t.Sum = 0
	for _, state := range runs.States() {
		t.Sum += t.States[state]
	}
	t.Balanced = t.Sum == t.Planned
}

// count takes up a slot.
func (t *Tally) count(r *runs.SlotRecord) {
	t.Planned++
	t.States[r.State]++
	if r.Reason != "" {
		t.Reasons[r.Reason]++
	}
	if r.Amended {
		t.Amended++
	}
	slot := r.Slot.UTC()
	if t.First == nil {
		t.First = &slot
	}
	t.Last = &slot
}

// byNewest orders entries by time, the newest first, and those of one time in a fixed order.
func byNewest(a, b Entry) int {
	return cmp.Or(b.latest().Compare(a.latest()), b.Slot.Compare(a.Slot), cmp.Compare(b.Region, a.Region), cmp.Compare(b.Network, a.Network))
}

// latest is the newest slot of an entry.
func (e *Entry) latest() time.Time {
	if e.Last != nil {
		return *e.Last
	}
	return e.Slot
}
