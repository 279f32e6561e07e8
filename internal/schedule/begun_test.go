package schedule

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/runs/notes"
	"lastmile/internal/scenario"
)

// beginnings is a store of records in memory, whose writes can fail.
type beginnings struct {
	mu        sync.Mutex
	records   map[string]notes.Begun
	revisions map[string]uint64
	before    func(region string) error // is called before a write; nil = nothing
	writes    int
}

func newBeginnings() *beginnings {
	return &beginnings{records: map[string]notes.Begun{}, revisions: map[string]uint64{}}
}

func (b *beginnings) Begun(_ context.Context, region string) (notes.Begun, uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	record, ok := b.records[region]
	if !ok {
		record = notes.Begun{Schema: runs.Schema, Region: region}
	}
	record.First, record.Left = maps.Clone(record.First), maps.Clone(record.Left)
	return record, b.revisions[region], nil
}

func (b *beginnings) SaveBegun(_ context.Context, record notes.Begun, revision uint64) (uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.before != nil {
		if err := b.before(record.Region); err != nil {
			return 0, err
		}
	}
	if revision != b.revisions[record.Region] {
		return 0, errors.New("changed by another coordinator")
	}
	b.put(record)
	return b.revisions[record.Region], nil
}

func (b *beginnings) put(record notes.Begun) {
	b.records[record.Region] = notes.Begun{Schema: record.Schema, Region: record.Region, First: maps.Clone(record.First), Left: maps.Clone(record.Left)}
	b.revisions[record.Region]++
	b.writes++
}

// first is a recorded first slot of the test scenario.
func (b *beginnings) first(region string) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.records[region].First["shop.none"]
}

// recorded is a hub that fails the test when a slot is entered whose combination has no recorded beginning, or one after it.
type recorded struct {
	*hub
	*beginnings
}

func (r recorded) Plan(c scenario.Combination, slot, deadline time.Time) {
	r.beginnings.mu.Lock()
	if at, ok := r.records[c.Region].First[notes.BegunKey(c)]; !ok || at > slot.Unix() {
		r.t.Errorf("%v at %s: entered with the beginning recorded as %d, want that first", c, slot, at)
	}
	r.beginnings.mu.Unlock()
	r.hub.Plan(c, slot, deadline)
}

// What was due before the first result or verdict is accounted for, whenever the coordinator died: the next one, with books that are empty,
// has all slots since the first one.
func TestBeginningsOutliveTheCoordinator(t *testing.T) {
	for _, tc := range []struct{ lives, absent time.Duration }{
		{time.Second, 45 * time.Second}, {11 * time.Second, time.Second}, {11 * time.Second, 45 * time.Second}, {25 * time.Second, 30 * time.Hour},
	} {
		synctest.Test(t, func(t *testing.T) {
			h, kept := newHub(t), newBeginnings()
			opts := Options{Beginnings: kept}
			live := func(d time.Duration) *Scheduler {
				s := New(slog.New(slog.DiscardHandler), plan(t, "us", "eu"), h, h, recorded{h, kept}, opts)
				ctx, cancel := context.WithTimeout(t.Context(), d)
				defer cancel()
				if err := s.Run(ctx); err != nil {
					t.Fatal(err)
				}
				return s
			}
			began := time.Now()
			live(tc.lives)
			h.plan = map[runs.ID]bool{} // what a new ledger reads back: nothing has ended
			time.Sleep(tc.absent)
			back := time.Now()
			s := live(30 * time.Second)
			from := began
			if limit := back.Add(-maxCatchUp); from.Before(limit) {
				from = limit
			}
			complete(t, h, plan(t, "us", "eu"), from, time.Now(), func(id runs.ID) bool {
				return h.plan[id] && (!h.jobs[id].IsZero() || unasked(s, id))
			})
			for id := range h.plan {
				if _, slot, _ := id.Parse(); slot.Before(began) {
					t.Errorf("got slot %s, want none before the beginning at %s", id, began)
				}
			}
		})
	}
}

// A record that cannot be written holds the runs up for a moment only, and is written when that is possible: with the beginning as it was.
func TestBeginningsThatCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, kept := newHub(t), newBeginnings()
		began := time.Now()
		kept.before = func(region string) error {
			if region == "us" && time.Since(began) < 32*time.Second {
				return errors.New("no room")
			}
			return nil
		}
		var log bytes.Buffer
		s := New(slog.New(slog.NewTextHandler(&log, nil)), plan(t, "us", "eu"), h, h, h, Options{Beginnings: kept})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		complete(t, h, plan(t, "us", "eu"), began, time.Now(), func(id runs.ID) bool { return h.plan[id] && !h.jobs[id].IsZero() })
		if got, want := kept.first("us"), slotAfter(t, began).Unix(); got != want {
			t.Errorf("got the beginning recorded as %d, want %d", got, want)
		}
		if n := strings.Count(log.String(), "beginnings not recorded yet"); n != 1 || !strings.Contains(log.String(), "beginnings recorded") {
			t.Errorf("got log\n%s\nwant one warning, and word of its end", &log)
		}
	})
}

// Where another coordinator was faster, what it recorded stays.
func TestBeginningsOfTwoCoordinators(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, kept := newHub(t), newBeginnings()
		earlier := slotAfter(t, time.Now().Add(-40*time.Second))
		kept.before = func(string) error {
			kept.before = nil
			kept.put(notes.Begun{Schema: runs.Schema, Region: "us", First: map[string]int64{"shop.none": earlier.Unix()}})
			return nil // and the write that follows finds another revision
		}
		run(t, h, plan(t, "us"), Options{Beginnings: kept}, 10*time.Second)
		if got := kept.first("us"); got != earlier.Unix() || !h.plan[runs.NewID(shopIn("us"), earlier)] {
			t.Errorf("got the beginning recorded as %d, want the other's, %d, and its slot entered", got, earlier.Unix())
		}
		if kept.writes != 1 {
			t.Errorf("got %d writes, want the other's only", kept.writes)
		}
	})
}

// A record changes with the plan only. What is in no plan any more is remembered for three days; what comes back after that begins anew.
func TestExtend(t *testing.T) {
	at := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	first := slotAfter(t, at).Unix()
	days := func(n int) int64 { return at.AddDate(0, 0, -n).Unix() }
	type m = map[string]int64
	for _, tc := range []struct {
		name        string
		first, left m
		book        time.Time // a slot in it
		want        m
		wantLeft    m
		same        bool
	}{
		{name: "new", want: m{"shop.none": first}},
		{name: "known to the books", book: at.Add(-time.Hour), want: m{"shop.none": at.Add(-time.Hour).Unix()}},
		{name: "recorded", first: m{"shop.none": days(9)}, want: m{"shop.none": days(9)}, same: true},
		{name: "still to begin", first: m{"shop.none": first}, want: m{"shop.none": first}, same: true},
		{name: "to begin by another schedule", first: m{"shop.none": first + 3600}, want: m{"shop.none": first}},
		{name: "another left", first: m{"shop.none": days(9), "old.3g": days(5)}, want: m{"shop.none": days(9), "old.3g": days(5)}, wantLeft: m{"old.3g": days(0)}},
		{name: "another has left", first: m{"shop.none": days(9), "old.3g": days(5)}, left: m{"old.3g": days(3)}, want: m{"shop.none": days(9), "old.3g": days(5)}, wantLeft: m{"old.3g": days(3)}, same: true},
		{name: "another left long ago", first: m{"shop.none": days(9), "old.3g": days(5)}, left: m{"old.3g": days(4)}, want: m{"shop.none": days(9)}},
		{name: "back", first: m{"shop.none": days(9)}, left: m{"shop.none": days(3)}, want: m{"shop.none": days(9)}},
		{name: "back after long", first: m{"shop.none": days(9)}, left: m{"shop.none": days(4)}, want: m{"shop.none": first}},
	} {
		h := newHub(t)
		if !tc.book.IsZero() {
			h.known(tc.book)
		}
		s := New(slog.New(slog.DiscardHandler), plan(t, "us", "eu"), h, h, h, Options{})
		s.began = at
		record := notes.Begun{Schema: runs.Schema, Region: "us", First: tc.first, Left: tc.left}
		changed := s.extend(&record)
		if changed == tc.same || !maps.Equal(record.First, tc.want) || !maps.Equal(record.Left, tc.wantLeft) {
			t.Errorf("%s: got %v, gone %v, changed: %t; want %v, gone %v", tc.name, record.First, record.Left, changed, tc.want, tc.wantLeft)
		}
		if err := record.Check(); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}
