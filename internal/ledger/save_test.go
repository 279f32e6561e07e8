package ledger

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"strings"
	"testing"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

func saved(tb interface{ Fatal(...any) }, l *Ledger) []byte {
	var out bytes.Buffer
	if err := l.Save(&out); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func loaded(tb testing.TB, data []byte) *Ledger {
	tb.Helper()
	l, r := New(), bytes.NewReader(append(bytes.Clone(data), "what follows"...))
	if err := l.Load(r); err != nil {
		tb.Fatal(err)
	}
	if r.Len() != len("what follows") {
		tb.Fatalf("got %d bytes left, want what follows untouched", r.Len())
	}
	return l
}

// same asserts that two ledgers say the same of everything.
func same(tb testing.TB, what string, got, want *Ledger, now time.Time) {
	tb.Helper()
	a, b := got.Accounts(now), want.Accounts(now)
	if len(a) != len(b) {
		tb.Fatalf("%s: got %d combinations, want %d", what, len(a), len(b))
	}
	for i := range b {
		if !reflect.DeepEqual(a[i], b[i]) {
			tb.Fatalf("%s:\n got %+v\nwant %+v", what, a[i], b[i])
		}
		c := b[i].Combination
		if s, want := got.Slots(c, time.Time{}), want.Slots(c, time.Time{}); !reflect.DeepEqual(s, want) {
			tb.Fatalf("%s, slots of %+v:\n got %+v\nwant %+v", what, c, s, want)
		}
		first, ok := got.First(c)
		if wantFirst, wantOK := want.First(c); ok != wantOK || !first.Equal(wantFirst) {
			tb.Fatalf("%s: got first slot %s, want %s", what, first, wantFirst)
		}
		if g, w := got.ClosedUntil(c.Region), want.ClosedUntil(c.Region); !g.Equal(w) {
			tb.Fatalf("%s: got %s closed until %s, want %s", what, c.Region, g, w)
		}
	}
	if g, w := got.Objectives(now), want.Objectives(now); !reflect.DeepEqual(g, w) {
		tb.Fatalf("%s: got objectives %+v, want %+v", what, g, w)
	}
	if g, w := got.Pending(), want.Pending(); g != w {
		tb.Fatalf("%s: got %d pending, want %d", what, g, w)
	}
}

// tape is what came over the streams, in the order in which a coordinator took it in.
type tape []func(*Ledger)

func (t tape) play(l *Ledger) *Ledger {
	for _, event := range t {
		event(l)
	}
	return l
}

// A ledger that is loaded and reads the rest of the streams is the one that read all of them, at whatever point it was saved by a
// coordinator that was planning.
func TestLoadedBooksAndTheTailAreAllOfIt(t *testing.T) {
	const minutes = 80
	f := newFleet(t, 20)
	var events tape
	var snapshots [][]byte
	var at []int
	now := start
	for m := range minutes {
		for i, c := range f.combinations {
			slot := f.next[i]
			f.next[i] = slot.Add(time.Minute)
			f.ledger.Plan(c, slot, slot.Add(90*time.Second))
			r := f.result(c, slot)
			if r == nil {
				continue
			}
			again := 1
			if f.random.IntN(20) == 0 {
				again = 3
			}
			for range again {
				f.ledger.Result(r, false)
				events = append(events, func(l *Ledger) { l.Result(r, true) })
			}
			if m == 30 && r.Cause != nil && r.State == runs.StateInvalid { // then it was measured after all
				better := f.result(c, slot)
				if better != nil {
					f.ledger.Result(better, false)
					events = append(events, func(l *Ledger) { l.Result(better, true) })
				}
			}
		}
		now = start.Add(time.Duration(m+1) * time.Minute)
		for _, v := range f.ledger.Closable(now, 10*time.Second, f) {
			f.ledger.Verdict(&v)
			events = append(events, func(l *Ledger) { l.Verdict(&v) })
			for _, s := range v.Slots { // some come late
				c, slot, err := s.RunID.Parse()
				if err != nil {
					t.Fatal(err)
				}
				if r := f.result(c, slot); r != nil && f.random.IntN(3) == 0 {
					f.ledger.Result(r, false)
					events = append(events, func(l *Ledger) { l.Result(r, true) })
				}
			}
		}
		if m%9 == 0 {
			snapshots, at = append(snapshots, saved(t, f.ledger)), append(at, len(events))
		}
	}
	scenarios := f.scenarios(20)
	all := New()
	all.Define(scenarios)
	events.play(all)
	for i, data := range snapshots {
		l := loaded(t, data)
		l.Define(scenarios)
		events[at[i]:].play(l)
		same(t, "loaded and read on", l, all, now)
		var sum runs.Account
		for _, a := range l.Accounts(now) {
			sum.Amended, sum.Duplicates = sum.Amended+a.Amended, sum.Duplicates+a.Duplicates
		}
		if sum.Amended == 0 || sum.Duplicates == 0 {
			t.Fatalf("got %d amended and %d duplicates, want some of both", sum.Amended, sum.Duplicates)
		}
		for k, c := range f.combinations { // both go on as coordinators
			for s := f.next[k].Add(-3 * time.Minute); s.Before(now.Add(time.Minute)); s = s.Add(time.Minute) {
				l.Plan(c, s, s.Add(90*time.Second))
				all.Plan(c, s, s.Add(90*time.Second))
			}
		}
		same(t, "planned again", l, all, now)
		g, w := l.Closable(now.Add(5*time.Minute), time.Second, lost{}), all.Closable(now.Add(5*time.Minute), time.Second, lost{})
		if len(w) == 0 || !reflect.DeepEqual(g, w) {
			t.Fatalf("got verdicts %+v, want %+v", g, w)
		}
		all = New()
		all.Define(scenarios)
		events.play(all)
	}
	f.close(now.Add(10 * time.Minute))
	same(t, "saved with everything ended", loadedDefined(t, saved(t, f.ledger), scenarios), f.ledger, now)
}

func loadedDefined(tb testing.TB, data []byte, scenarios []scenario.Scenario) *Ledger {
	tb.Helper()
	l := loaded(tb, data)
	l.Define(scenarios)
	return l
}

// What has been forgotten stays so, and what is kept of old slots is what was kept.
func TestLoadedBooksHaveForgottenTheSame(t *testing.T) {
	f := newFleet(t, fleetRegions)
	now := start
	for m := range 74 * 60 {
		now = f.minute(m)
	}
	now = now.Add(time.Minute)
	f.close(now)
	f.close(now.Add(2 * time.Minute))
	now = now.Add(2 * time.Minute)
	l := loadedDefined(t, saved(t, f.ledger), f.scenarios(10))
	same(t, "loaded", l, f.ledger, now)
	c := f.combinations[0]
	records := l.Slots(c, time.Time{})
	if n := len(records); n < 71*60 || n > 73*60 {
		t.Errorf("got %d single slots, want those of three days", n)
	}
	old := f.result(c, records[0].Slot.Add(-time.Minute))
	for old == nil {
		old = f.result(c, records[0].Slot.Add(-time.Minute))
	}
	for _, l := range []*Ledger{l, f.ledger} {
		if got := l.Result(old, true); got != Unscheduled {
			t.Errorf("result of a slot that has been forgotten: got outcome %d, want it to change nothing", got)
		}
	}
	same(t, "after a late result", l, f.ledger, now)
	if n := l.Accounts(now)[0].Latency[24*time.Hour].P95.N; n < 24*60*9/10 {
		t.Errorf("got %d durations, want those of a day", n)
	}
}

func TestLoadRefusesWhatSaveDidNotWrite(t *testing.T) {
	f := newFleet(t, 10)
	for m := range 5 {
		f.minute(m)
	}
	data := saved(t, f.ledger)
	if err := f.ledger.Load(bytes.NewReader(data)); err == nil {
		t.Error("into books with something in them: got no error")
	}
	change := func(at int, b byte) []byte {
		out := bytes.Clone(data)
		out[at] ^= b
		return out
	}
	long := bytes.Clone(data)
	binary.BigEndian.PutUint32(long[len(savedMagic):], 1<<31)
	for what, bad := range map[string][]byte{
		"nothing": {}, "another file": []byte(strings.Repeat("x", 100)), "another version": change(len(savedMagic)-2, 4),
		"cut": data[:len(data)-1], "a block that is too long": long, "a region twice": bytes.Replace(data, []byte("region-1"), []byte("region-2"), 1),
	} {
		l := New()
		if err := l.Load(bytes.NewReader(bad)); err == nil {
			t.Errorf("%s: got no error", what)
		}
		if len(l.Accounts(start)) != 0 {
			t.Errorf("%s: got books with something in them after the error", what)
		}
	}
	for n := 0; n < len(data); n += 1 + n/50 {
		if err := New().Load(bytes.NewReader(data[:n])); err == nil {
			t.Errorf("cut after %d bytes: got no error", n)
		}
	}
}

func FuzzLoad(f *testing.F) {
	empty := defined(f)
	f.Add(saved(f, empty))
	small := newFleet(f, 10)
	for m := range 3 {
		small.minute(m)
	}
	f.Add(saved(f, small.ledger))
	l := defined(f)
	plan(l, 5)
	for n, state := range []runs.State{runs.StatePassed, runs.StateFailed, runs.StateInvalid} {
		l.Result(result(n, state), false)
	}
	f.Add(saved(f, l))
	f.Fuzz(func(t *testing.T, data []byte) {
		l := New()
		if l.Load(bytes.NewReader(data)) != nil {
			return
		}
		now := start.Add(time.Hour)
		for _, a := range l.Accounts(now) {
			if a.Counts.Planned() != a.Entered[runs.StatePending] {
				t.Fatalf("got books that do not add up: %+v", a)
			}
			l.Slots(a.Combination, time.Time{})
			l.First(a.Combination)
		}
		first := saved(t, l)
		again := New()
		if err := again.Load(bytes.NewReader(first)); err != nil {
			t.Fatalf("got what was loaded saved so that it cannot be loaded: %v", err)
		}
		if second := again.Accounts(now); !reflect.DeepEqual(second, l.Accounts(now)) {
			t.Fatalf("got other books after loading again:\n%+v\n%+v", second, l.Accounts(now))
		}
		scenarios := small.scenarios(10)
		l.Define(scenarios)
		again.Define(scenarios)
		if g, w := again.Objectives(now), l.Objectives(now); !reflect.DeepEqual(g, w) {
			t.Fatalf("got other objectives after loading again:\n%+v\n%+v", g, w)
		}
		for n := range 20 { // and they can be worked with
			l.Plan(shop, slotAt(n), slotAt(n).Add(time.Second))
			l.Result(result(n, runs.StatePassed), true)
		}
		l.Closable(now, 0, lost{})
		l.Closable(now.Add(200*time.Hour), 0, lost{})
		l.Accounts(now)
		l.Objectives(now.Add(200 * time.Hour))
	})
}
