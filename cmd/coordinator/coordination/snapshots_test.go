package coordination

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"lastmile/internal/bus"
	"lastmile/internal/cli/clitest"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/scenariofile"
)

// lived is a unit that has run on a hub and was stopped; meanwhile is called while it leads.
func lived(t *testing.T, set scenariofile.Set, hub *bus.Bus, keep *Snapshots, meanwhile func(*Unit)) *Unit {
	t.Helper()
	u := New(slog.New(slog.DiscardHandler), set, hub, Options{Snapshots: keep, Holder: "one", Grace: time.Hour})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx, ctx) }()
	clitest.Eventually(t, "a unit that leads", u.leads)
	meanwhile(u)
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	return u
}

func newSnapshots(t *testing.T, dir string) *Snapshots {
	t.Helper()
	return NewSnapshots(slog.New(slog.DiscardHandler), filepath.Join(dir, "snapshot"), "test")
}

// passedIn is how many runs have passed in the books of a unit.
func passedIn(u *Unit) int64 { return u.ledger.Accounts(time.Now())[0].Counts[runs.StatePassed] }

// TestSnapshotAndTail stops a coordinator, lets results come in meanwhile, and starts another on the snapshot: it has what was in it and what came
// after, and so does one that reads the streams from their beginning.
func TestSnapshotAndTail(t *testing.T) {
	t.Parallel()
	set, hub, dir := tenSeconds(t), emptyHub(t), t.TempDir()
	slot := func(n time.Duration) time.Time {
		return set.Scenarios[0].Schedule.Next(apiInUS, time.Now().Add(-30*time.Minute+n*10*time.Second))
	}
	keep := newSnapshots(t, dir)
	if s := lived(t, set, hub, keep, func(u *Unit) {
		for i := range time.Duration(5) {
			passed(t, hub, slot(i))
		}
		clitest.Eventually(t, "results", func() bool { return passedIn(u) == 5 })
	}).health(); s.SnapshotErrors != 0 || s.SnapshotBytes == 0 || s.SnapshotAt.IsZero() || s.RestoreSeconds <= 0 || s.Term == 0 || s.Leading {
		t.Errorf("got %+v, want a snapshot, no error, a time of the start and a term", s)
	}
	for i := range time.Duration(3) {
		passed(t, hub, slot(10+i))
	}
	second := New(slog.New(slog.DiscardHandler), set, hub, Options{Snapshots: newSnapshots(t, dir)})
	if n := passedIn(second); n != 5 {
		t.Errorf("before the streams are read: got %d passed runs, want the 5 of the snapshot", n)
	}
	if at := second.positions["RESULTS_us"]; at.Sequence != 5 || at.Created.IsZero() {
		t.Errorf("got position %+v, want the one after 5 results", at)
	}
	var books [2][]runs.Account
	for i, keep := range []*Snapshots{newSnapshots(t, dir), nil} {
		u := lived(t, set, hub, keep, func(u *Unit) {
			clitest.Eventually(t, "all results", func() bool { return passedIn(u) == 8 })
		})
		books[i] = u.ledger.Accounts(time.Now().Truncate(24 * time.Hour))
		for j := range books[i] { // what was planned meanwhile is not of the streams
			books[i][j].Counts, books[i][j].Entered, books[i][j].Budget = nil, nil, nil
		}
	}
	if !reflect.DeepEqual(books[0], books[1]) {
		t.Errorf("got books from the snapshot\n%+v\nwant those from the streams alone\n%+v", books[0], books[1])
	}
}

// A coordinator without a snapshot reads back all that the hub keeps. Its own counters, which began anew, must not show that as runs of now: Prometheus would
// take a month of failures for those of the last minute.
func TestRunsOfBeforeAreNoNews(t *testing.T) {
	t.Parallel()
	set, hub := tenSeconds(t), emptyHub(t)
	slot := func(n time.Duration) time.Time {
		return set.Scenarios[0].Schedule.Next(apiInUS, time.Now().Add(-30*time.Minute+n*10*time.Second))
	}
	counted := func(u *Unit) string {
		var page bytes.Buffer
		u.metrics.WritePrometheus(&page)
		for line := range strings.Lines(page.String()) {
			if strings.HasPrefix(line, "lastmile_run_duration_seconds_count{") {
				return strings.TrimSpace(line[strings.LastIndexByte(line, ' '):])
			}
		}
		return "none"
	}
	for i := range time.Duration(5) {
		passed(t, hub, slot(i))
	}
	lived(t, set, hub, nil, func(u *Unit) {
		clitest.Eventually(t, "the results of before", func() bool { return passedIn(u) == 5 })
		if got := counted(u); got != "0" {
			t.Errorf("read back: got %s runs counted, want 0", got)
		}
		passed(t, hub, slot(10))
		clitest.Eventually(t, "a result of now", func() bool { return counted(u) == "1" })
	})
}

// A snapshot that is damaged is put aside and counted, and the books come from the streams.
func TestDamagedSnapshot(t *testing.T) {
	t.Parallel()
	set, hub, dir := tenSeconds(t), emptyHub(t), t.TempDir()
	passed(t, hub, set.Scenarios[0].Schedule.Next(apiInUS, time.Now().Add(-30*time.Minute)))
	lived(t, set, hub, newSnapshots(t, dir), func(u *Unit) {
		clitest.Eventually(t, "the result", func() bool { return passedIn(u) == 1 })
	})
	path := filepath.Join(dir, "snapshot")
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	body[len(body)/2] ^= 1
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
	u := lived(t, set, hub, newSnapshots(t, dir), func(u *Unit) {
		if n := u.health().SnapshotErrors; n != 1 {
			t.Errorf("got %d errors of snapshots, want 1", n)
		}
		clitest.Eventually(t, "the result", func() bool { return passedIn(u) == 1 })
	})
	if _, err := os.Stat(path + ".refused"); err != nil {
		t.Errorf("got %v, want the damaged one put aside", err)
	}
	if got := u.health(); got.SnapshotBytes == 0 {
		t.Errorf("got %+v, want a sound snapshot in its place", got)
	}
}

// A snapshot of other streams ends the unit, and the next one does without it.
func TestSnapshotOfOtherStreams(t *testing.T) {
	t.Parallel()
	set, dir := tenSeconds(t), t.TempDir()
	first := emptyHub(t)
	passed(t, first, set.Scenarios[0].Schedule.Next(apiInUS, time.Now().Add(-30*time.Minute)))
	lived(t, set, first, newSnapshots(t, dir), func(u *Unit) {
		clitest.Eventually(t, "the result", func() bool { return passedIn(u) == 1 })
	})
	lost := time.Now()
	hub := emptyHub(t)
	keep := newSnapshots(t, dir)
	u := New(slog.New(slog.DiscardHandler), set, hub, Options{Snapshots: keep})
	err := u.Run(t.Context(), t.Context())
	if !errors.Is(err, bus.ErrRewound) {
		t.Fatalf("got %v, want ErrRewound", err)
	}
	keep.Refuse(err)
	ask := func(u *Unit) time.Time { return u.reply(&leadership{}, &runs.Heartbeat{Region: "us"}).ResendBefore }
	u = lived(t, set, hub, keep, func(u *Unit) {
		clitest.Eventually(t, "probes to be asked for what the hub lost", func() bool { return ask(u).After(lost) })
	})
	cut := time.Now().Add(time.Hour)
	u.opts.Rewound = cut
	if got := ask(u); !got.Equal(cut) {
		t.Errorf("got %s asked for, want what was acknowledged before the streams were cut, at %s", got, cut)
	}
	if n := passedIn(u); n != 0 || u.health().SnapshotErrors != 1 {
		t.Errorf("got %d passed runs and %d errors, want none of the other streams, and one", n, u.health().SnapshotErrors)
	}
}

// A region is new to a coordinator, though not to the hub. What was in its books stays there, for the hub may not have it any more, and what another
// coordinator wrote of the region comes in.
func TestSnapshotBeforeARegion(t *testing.T) {
	t.Parallel()
	set, hub, dir := tenSeconds(t), emptyHub(t), t.TempDir()
	slot := set.Scenarios[0].Schedule.Next(apiInUS, time.Now().Add(-30*time.Minute))
	passed(t, hub, slot)
	apiInEU := scenario.Combination{Scenario: "api", Region: "eu", Network: "none"}
	for _, c := range []scenario.Combination{apiInEU, apiInUS} { // of the region's first, so that it lies before what has been read
		at := slot.Add(10 * time.Second)
		v := runs.Verdict{Schema: runs.Schema, Region: c.Region, Minute: at.Truncate(time.Minute), Slots: []runs.SlotVerdict{{
			RunID: runs.NewID(c, at), State: runs.StateMissing, Reason: runs.ReasonNoProbe,
		}}}
		if _, err := hub.PublishVerdict(t.Context(), v); err != nil {
			t.Fatal(err)
		}
	}
	has := func(u *Unit, c scenario.Combination, state runs.State) int64 {
		for _, a := range u.ledger.Accounts(time.Now()) {
			if a.Combination == c {
				return a.Counts[state]
			}
		}
		return 0
	}
	lived(t, set, hub, newSnapshots(t, dir), func(u *Unit) {
		clitest.Eventually(t, "result and verdict", func() bool { return passedIn(u) == 1 && has(u, apiInUS, runs.StateMissing) == 1 })
	})
	more := set
	more.Fleet.Regions = []string{"us", "eu"}
	if u := New(slog.New(slog.DiscardHandler), more, hub, Options{Snapshots: newSnapshots(t, dir)}); passedIn(u) != 1 || u.positions["RESULTS_us"].Sequence != 1 {
		t.Errorf("before the streams are read: got %d passed runs and positions %+v, want those of the snapshot", passedIn(u), u.positions)
	}
	keep := newSnapshots(t, dir)
	u := lived(t, more, hub, keep, func(u *Unit) {
		clitest.Eventually(t, "the region's verdict", func() bool { return has(u, apiInEU, runs.StateMissing) == 1 })
	})
	if p, m := has(u, apiInUS, runs.StatePassed), has(u, apiInUS, runs.StateMissing); p != 1 || m != 1 || keep.stats().errors != 0 {
		t.Errorf("got %d passed and %d missing in the books and %d errors, want 1 and 1 as before, and none", p, m, keep.stats().errors)
	}
}

// Snapshots are written when their time has come, and more seldom where they take long.
func TestSnapshotPace(t *testing.T) {
	t.Parallel()
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
	tests := map[string]struct {
		ended time.Time
		took  time.Duration
		want  bool
	}{
		"before the books are complete": {time.Time{}, 0, false},
		"just begun":                    {ago(30 * time.Second), 0, false},
		"a minute later":                {ago(61 * time.Second), 20 * time.Millisecond, true},
		"slow":                          {ago(61 * time.Second), 2 * time.Second, false},
		"slow, later":                   {ago(99 * time.Second), 2 * time.Second, true},
	}
	for name, test := range tests {
		if s := (&Snapshots{ended: test.ended, took: test.took}); s.due() != test.want {
			t.Errorf("%s: got due=%t, want %t", name, s.due(), test.want)
		}
	}
	s := newSnapshots(t, t.TempDir())
	s.ended = ago(time.Hour)
	if s.Refuse(errors.New("other streams")); s.due() {
		t.Error("while the streams are read back: got due, want nothing written that is not complete")
	}
}
