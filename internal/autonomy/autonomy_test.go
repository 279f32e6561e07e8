package autonomy

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lastmile/internal/bus"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// air is what the probes of a region hear each other through, and where their plan is.
type air struct {
	mu    sync.Mutex
	plan  *runs.Plan
	asked int
	cut   bool   // nobody hears anybody
	dead  string // it is killed: nobody hears it
	ears  map[int]func(runs.PeerBeat)
	beats []runs.PeerBeat
}

func (a *air) Plan(context.Context, string) (runs.Plan, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	if a.plan == nil || a.cut {
		return runs.Plan{}, bus.ErrUnavailable
	}
	return *a.plan, nil
}

func (a *air) SendPeerBeat(b runs.PeerBeat) error {
	a.mu.Lock()
	if a.cut || a.dead == b.Probe {
		a.mu.Unlock()
		return bus.ErrUnavailable
	}
	a.beats = append(a.beats, b)
	ears := slices.Collect(maps.Values(a.ears))
	a.mu.Unlock()
	for _, hear := range ears {
		hear(b)
	}
	return nil
}

func (a *air) FollowPeers(ctx context.Context, _ string, heard func(runs.PeerBeat)) error {
	a.mu.Lock()
	if a.ears == nil {
		a.ears = map[int]func(runs.PeerBeat){}
	}
	at := len(a.beats)*1000 + len(a.ears)
	a.ears[at] = heard
	a.mu.Unlock()
	<-ctx.Done()
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.ears, at)
	return nil
}

// places is a worker with so many of them; its runs last a while.
type places struct {
	mu    sync.Mutex
	free  int
	takes time.Duration
	had   map[runs.ID]time.Time
	order []runs.Assignment
	at    []time.Time
}

func newPlaces(free int, takes time.Duration) *places {
	return &places{free: free, takes: takes, had: map[runs.ID]time.Time{}}
}

func (p *places) Offer(a runs.Assignment) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.free == 0 {
		return false
	}
	p.free--
	p.had[a.RunID] = time.Now()
	p.order, p.at = append(p.order, a), append(p.at, time.Now())
	time.AfterFunc(p.takes, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.free++
	})
	return true
}

func (p *places) Has(id runs.ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.had[id]
	return ok
}

func (p *places) Recent() []runs.ID {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.had))
}

func (p *places) ran() []runs.Assignment {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.order)
}

// planOf makes a plan of scenarios that run at these schedules, in region us and elsewhere.
func planOf(t testing.TB, revision string, schedules ...string) *runs.Plan {
	t.Helper()
	none, _ := netprofile.Lookup(netprofile.None)
	p := &runs.Plan{Schema: runs.Schema, Region: "us", Revision: revision, Term: 7, MadeAt: time.Unix(1e9, 0).UTC(), Networks: []netprofile.Profile{none}}
	for i, text := range schedules {
		schedule, err := scenario.ParseSchedule(text)
		if err != nil {
			t.Fatal(err)
		}
		p.Scenarios = append(p.Scenarios, scenario.Scenario{
			APIVersion: scenario.APIVersion, Name: fmt.Sprintf("shop-%d", i), Schedule: schedule, Timeout: scenario.Duration(10 * time.Second),
			Regions: scenario.Strings{"us", "eu"}, Steps: []scenario.Step{{Type: scenario.StepHTTP, URL: "http://shop/"}},
		})
	}
	return p
}

// slots lists the slots that a plan has after a time and up to another one.
func slots(p *runs.Plan, after, until time.Time) []runs.ID {
	var out []runs.ID
	for i := range p.Scenarios {
		s := &p.Scenarios[i]
		c := scenario.Combination{Scenario: s.Name, Region: "us", Network: netprofile.None}
		for at := s.Timetable().Next(c, after); !at.After(until); at = s.Timetable().Next(c, at) {
			out = append(out, runs.NewID(c, at))
		}
	}
	slices.Sort(out)
	return out
}

func ids(all ...[]runs.Assignment) []runs.ID {
	var out []runs.ID
	for _, some := range all {
		for _, a := range some {
			out = append(out, a.RunID)
		}
	}
	slices.Sort(out)
	return out
}

// probe is a pilot at work. Within synctest its log must be out of the way.
type probe struct {
	*Pilot
	*places
	stop func()
}

func start(t *testing.T, hub Hub, at *places, o Options) probe {
	t.Helper()
	o.Region = "us"
	if o.Probe == "" {
		o.Probe = "one"
	}
	if o.Pools == nil {
		o.Pools = scenario.Pools()
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	p := New(slog.New(slog.DiscardHandler), hub, o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx, at) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	return probe{Pilot: p, places: at, stop: stop}
}

// answers has a coordinator answer every five seconds for so long, the first time at once.
func answers(p probe, plan string, times int) {
	for i := range times {
		if i > 0 {
			time.Sleep(5 * time.Second)
		}
		p.Answered(runs.HeartbeatReply{ReceivedAt: time.Now(), Plan: plan})
	}
}

func TestOnItsOwn(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		plan := planOf(t, "r1", "@every 1m", "@every 2m", "@every 7m")
		hub := &air{plan: plan}
		p := start(t, hub, newPlaces(10, 5*time.Second), Options{Dir: dir})
		defer p.stop()
		answers(p, "r1", 20)
		last := time.Now()
		time.Sleep(29 * time.Second)
		if p.Alone() || len(p.ran()) > 0 {
			t.Fatalf("got alone %v with %d runs after 29 s of silence, want nothing before 30 s", p.Alone(), len(p.ran()))
		}
		time.Sleep(20 * time.Minute)
		if !p.Alone() {
			t.Fatal("got not alone after 20 min of silence")
		}
		until := time.Now()
		p.Answered(runs.HeartbeatReply{Plan: "r1"})
		got, want := ids(p.ran()), slots(plan, last, until.Add(-time.Second))
		if !slices.Equal(got, want) {
			t.Errorf("got runs %v, want every slot since the last answer once: %v", got, want)
		}
		for i, a := range p.ran() {
			late := p.at[i].Sub(a.Slot)
			if err := a.Check(); err != nil || !a.Autonomous || a.Trigger != runs.TriggerSchedule || a.Term != 7 || late < 0 || p.at[i].After(a.StartBy) {
				t.Errorf("got %+v ordered %s after its slot (%v), want it autonomous, sound and within its start window", a, late, err)
			}
			if a.Slot.After(last.Add(31*time.Second)) && late > time.Second {
				t.Errorf("got %s ordered %s late, want it at its slot", a.RunID, late)
			}
		}
		count := len(p.ran())
		time.Sleep(25 * time.Second)
		if s := p.Stats(); s.Alone || len(p.ran()) != count || s.Runs != int64(count) || s.Missed != 0 || s.Plan != "r1" {
			t.Errorf("got %+v and %d runs after an answer, want an end at once with %d", s, len(p.ran()), count)
		}
	})
}

// As long as two hear each other they share the slots, and none is run twice. When one dies the other takes its slots, and those whose start
// window is open.
func TestSiblingsShare(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		var schedules []string
		for range 40 {
			schedules = append(schedules, "@every 1m")
		}
		plan := planOf(t, "r1", schedules...)
		hub := &air{plan: plan}
		a := start(t, hub, newPlaces(50, 5*time.Second), Options{Probe: "one", Dir: dirs[0]})
		b := start(t, hub, newPlaces(50, 5*time.Second), Options{Probe: "two", Dir: dirs[1]})
		defer a.stop()
		a.Answered(runs.HeartbeatReply{Plan: "r1"})
		time.Sleep(3 * time.Second)
		b.Answered(runs.HeartbeatReply{Plan: "r1"})
		last := time.Now()
		time.Sleep(31 * time.Second)
		if a.Alone() && len(a.ran()) > 0 && !b.Alone() {
			t.Errorf("got %d runs while a coordinator answered the sibling, want none", len(a.ran()))
		}
		time.Sleep(10*time.Minute - 31*time.Second)
		died := time.Now()
		hub.mu.Lock()
		hub.dead = "two"
		hub.mu.Unlock()
		b.stop()
		time.Sleep(5 * time.Minute)
		until := time.Now().Add(-30 * time.Second) // what is due later may wait for the sibling that is gone
		var got []runs.ID
		for i, all := 0, ids(a.ran(), b.ran()); i < len(all); i++ {
			_, slot, _ := all[i].Parse()
			if open := slot.After(died.Add(-40*time.Second)) && !slot.After(died); i > 0 && all[i] == all[i-1] && open {
				continue // nobody can know whether the one that died had done it
			}
			if !slot.After(until) {
				got = append(got, all[i])
			}
		}
		if want := slots(plan, last, until); !slices.Equal(got, want) {
			t.Errorf("got %d runs, want each of %d slots once", len(got), len(want))
		}
		if ofA, ofB := len(a.ran()), len(b.ran()); ofB < 100 || ofA < 100 {
			t.Errorf("got %d and %d runs of 400 while both were there, want about half each", ofA, ofB)
		}
		if s := a.Stats(); s.Siblings != 0 || s.Missed != 0 {
			t.Errorf("got %+v %s after its sibling died, want no sibling and nothing missed", s, time.Since(died))
		}
	})
}

// Who hears nobody runs everything.
func TestSiblingsApart(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		plan := planOf(t, "r1", "@every 1m", "@every 1m", "@every 1m", "@every 1m")
		hub := &air{plan: plan}
		a := start(t, hub, newPlaces(50, time.Second), Options{Probe: "one", Dir: dirs[0]})
		b := start(t, hub, newPlaces(50, time.Second), Options{Probe: "two", Dir: dirs[1]})
		defer a.stop()
		defer b.stop()
		for _, p := range []probe{a, b} {
			p.Answered(runs.HeartbeatReply{Plan: "r1"})
		}
		last := time.Now()
		time.Sleep(time.Second)
		hub.mu.Lock()
		hub.cut = true
		hub.mu.Unlock()
		time.Sleep(5 * time.Minute)
		for _, p := range []probe{a, b} {
			if got, want := ids(p.ran()), slots(plan, last, time.Now()); !slices.Equal(got, want) {
				t.Errorf("%s: got %v, want every slot: %v", p.opts.Probe, got, want)
			}
		}
	})
}

// A coordinator that answers a sibling orders the runs: nobody else does.
func TestACoordinatorAnswersASibling(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		plan := planOf(t, "r1", "@every 1m", "@every 1m")
		hub := &air{plan: plan}
		p := start(t, hub, newPlaces(50, time.Second), Options{Dir: dir})
		defer p.stop()
		p.Answered(runs.HeartbeatReply{Plan: "r1"})
		for range 60 {
			time.Sleep(2 * time.Second)
			if err := hub.SendPeerBeat(runs.PeerBeat{Schema: 1, Region: "us", Probe: "two", Plan: "r1", Answered: true, Pools: scenario.Pools()}); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(p.ran()); n != 0 {
			t.Errorf("got %d runs, want none", n)
		}
		time.Sleep(3 * time.Minute)
		if n := len(p.ran()); n < 4 || p.Stats().Missed != 0 {
			t.Errorf("got %d runs and %d missed when the sibling was gone, want them all", n, p.Stats().Missed)
		}
	})
}

// What finds no place is counted, and not kept: when places are free again, only open slots are run.
func TestMoreThanThereIsRoomFor(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var schedules []string
		for range 20 {
			schedules = append(schedules, "@every 1m")
		}
		plan := planOf(t, "r1", schedules...)
		p := start(t, &air{plan: plan}, newPlaces(1, time.Minute), Options{Dir: dir})
		defer p.stop()
		p.Answered(runs.HeartbeatReply{Plan: "r1"})
		last := time.Now()
		time.Sleep(10 * time.Minute)
		s, all := p.Stats(), len(slots(plan, last, time.Now().Add(-30*time.Second)))
		if s.Runs < 8 || s.Runs > 11 || s.Missed < int64(all)-s.Runs-1 || s.Missed+s.Runs > int64(all)+20 {
			t.Errorf("got %d runs and %d missed of %d slots, want one a minute, and the others missed", s.Runs, s.Missed, all)
		}
		for i, a := range p.ran() {
			if p.at[i].After(a.StartBy) {
				t.Errorf("got %s begun %s after its start window", a.RunID, p.at[i].Sub(a.StartBy))
			}
		}
	})
}

// A browser run is ordered before its slot, so that its browser is up when it is due.
func TestLeadOfBrowserRuns(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		plan := planOf(t, "r1", "@every 1m", "@every 1m")
		plan.Scenarios[0].Steps[0].Type = scenario.StepNavigate
		plan.Scenarios[1].Steps[0].Type, plan.Scenarios[1].Engine = scenario.StepNavigate, scenario.EngineFull
		p := start(t, &air{plan: plan}, newPlaces(5, time.Second), Options{Dir: dir, Pools: []string{scenario.PoolBrowser, scenario.PoolHTTP}})
		defer p.stop()
		p.Answered(runs.HeartbeatReply{Plan: "r1"})
		began := time.Now()
		time.Sleep(5 * time.Minute)
		if len(p.ran()) < 4 {
			t.Fatalf("got %d runs, want at least 4", len(p.ran()))
		}
		for i, a := range p.ran() {
			lead := a.Slot.Sub(p.at[i])
			if a.Scenario.Name != "shop-0" || a.Slot.After(began.Add(40*time.Second)) && (lead < 4800*time.Millisecond || lead > 5*time.Second) {
				t.Errorf("got %s ordered %s before its slot, want shop-0 only, and 5s", a.RunID, lead)
			}
		}
	})
}

// The clock is set forth and back while the probe is on its own: no slot is run twice, and none is left out whose start window was open for a
// time between.
func TestTheClockJumps(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		plan := planOf(t, "r1", "@every 1m", "@every 3m")
		var mu sync.Mutex
		var off time.Duration
		now := func() time.Time { mu.Lock(); defer mu.Unlock(); return time.Now().Add(off) }
		set := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); off = d }
		p := start(t, &air{plan: plan}, newPlaces(50, time.Second), Options{Dir: dir, Now: now})
		defer p.stop()
		p.Answered(runs.HeartbeatReply{Plan: "r1"})
		last := now()
		for _, d := range []time.Duration{0, 10 * time.Second, 0, -10 * time.Second, 0, 25 * time.Second, -20 * time.Second, 0} {
			set(d)
			time.Sleep(3 * time.Minute)
		}
		got, want := ids(p.ran()), slots(plan, last, now())
		if !slices.Equal(got, want) {
			t.Errorf("got %d runs\n%v\nwant each of %d slots once\n%v", len(got), got, len(want), want)
		}
		// An hour at once: what was jumped over is counted, not run, and what comes then is.
		set(time.Hour)
		before := len(p.ran())
		time.Sleep(5 * time.Minute)
		if n, missed := len(p.ran())-before, p.Stats().Missed; n < 6 || n > 8 || missed < 60 {
			t.Errorf("got %d runs in the 5 min after a jump of an hour, and %d missed, want 6 to 8, and at least 60", n, missed)
		}
		set(0) // back by an hour: the slots that were jumped over come after all
		before = len(p.ran())
		time.Sleep(5 * time.Minute)
		if n := len(p.ran()) - before; n < 6 || n > 8 {
			t.Errorf("got %d runs in the 5 min after the clock was set back by an hour, want 6 to 8", n)
		}
		if got := ids(p.ran()); len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Error("got a slot run twice")
		}
	})
}

// A probe that starts while nobody answers goes on from the plan on its disk. If its process before was on its own it does so soon.
func TestAStartWhileCutOff(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		plan := planOf(t, "r1", "@every 20s", "@every 20s")
		hub := &air{plan: plan}
		first := start(t, hub, newPlaces(5, time.Second), Options{Dir: dir})
		first.Answered(runs.HeartbeatReply{Plan: "r1"})
		time.Sleep(time.Second)
		hub.mu.Lock()
		hub.cut = true
		hub.mu.Unlock()
		time.Sleep(2 * time.Minute)
		first.stop()
		at := time.Now()
		second := start(t, hub, newPlaces(5, time.Second), Options{Dir: dir})
		time.Sleep(time.Minute)
		if got, want := ids(second.ran()), slots(plan, at, time.Now()); len(got) < len(want) {
			t.Errorf("got %v, want at least every slot since: %v", got, want)
		}
		second.Answered(runs.HeartbeatReply{Plan: "r1"})
		second.stop()
		third := start(t, hub, newPlaces(5, time.Second), Options{Dir: dir})
		defer third.stop()
		time.Sleep(28 * time.Second)
		if third.Alone() {
			t.Error("got a probe on its own after 28 s, want it to wait: the process before was not")
		}
		time.Sleep(30 * time.Second)
		if !third.Alone() || len(third.ran()) == 0 {
			t.Errorf("got alone %v and %d runs after a minute, want it to go on from its disk", third.Alone(), len(third.ran()))
		}
	})
}

// A plan is fetched when a coordinator names another one, and only then.
func TestPlansAreFetchedWhenTheyChange(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		hub := &air{plan: planOf(t, "r1", "@every 1m")}
		p := start(t, hub, newPlaces(5, time.Second), Options{Dir: dir})
		defer p.stop()
		answers(p, "r1", 20)
		if got := p.Stats().Plan; got != "r1" || hub.asked != 1 {
			t.Errorf("got plan %q after %d questions, want r1 after one", got, hub.asked)
		}
		hub.mu.Lock()
		hub.plan = planOf(t, "r2", "@every 2m")
		hub.mu.Unlock()
		answers(p, "r2", 10)
		kept, err := store{dir}.load("us")
		if got := p.Stats().Plan; got != "r2" || hub.asked != 2 || err != nil || kept.Revision != "r2" {
			t.Errorf("got plan %q after %d questions, and %+v on disk (%v), want r2 after two", got, hub.asked, kept, err)
		}
	})
}

// Runs are spread over those that can run them, and when one goes only its runs move.
func TestOwners(t *testing.T) {
	now := time.Now()
	s := newSiblings("a", time.Second)
	for _, name := range []string{"b", "c", "d"} {
		s.heard(&runs.PeerBeat{Probe: name, Autonomous: true, Plan: "r1", Pools: []string{"http"}}, now)
	}
	s.heard(&runs.PeerBeat{Probe: "other-plan", Autonomous: true, Plan: "r0", Pools: []string{"http"}}, now)
	s.heard(&runs.PeerBeat{Probe: "answered", Answered: true, Plan: "r1", Pools: []string{"http"}}, now)
	before, count := map[runs.ID]string{}, map[string]int{}
	for i := range 4000 {
		id := runs.ID(fmt.Sprintf("shop.us.none.%d", 1_000_000+60*i))
		before[id] = s.owner(id, "http", "r1")
		count[before[id]]++
		if got := s.owner(id, "browser", "r1"); got != "a" {
			t.Fatalf("got %s for a browser run, want the only one that could", got)
		}
	}
	for _, name := range []string{"a", "b", "c", "d"} {
		if count[name] < 850 || count[name] > 1150 {
			t.Errorf("got %v, want a quarter of 4000 each", count)
		}
	}
	delete(s.known, "c")
	for id, was := range before {
		if now := s.owner(id, "http", "r1"); was != "c" && now != was {
			t.Fatalf("%s: got it moved from %s to %s when c went", id, was, now)
		}
	}
	for i := range 2 * maxSiblings {
		s.heard(&runs.PeerBeat{Probe: fmt.Sprint("flood-", i)}, now)
	}
	if len(s.known) > maxSiblings {
		t.Errorf("got %d siblings kept, want at most %d", len(s.known), maxSiblings)
	}
	s.forget(now.Add(3 * time.Second))
	if len(s.known) == 0 {
		t.Error("got siblings forgotten after three beats' time, want them kept")
	}
	if s.forget(now.Add(4 * time.Second)); len(s.known) != 0 {
		t.Errorf("got %d siblings after four, want none", len(s.known))
	}
}

// A probe that stops while it is on its own says so: its turns are its siblings' at once, not when it has been silent for long.
func TestAProbeThatStopsGivesItsTurns(t *testing.T) {
	dirs := [2]string{t.TempDir(), t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		plan := planOf(t, "r1", "@every 10s", "@every 10s", "@every 10s", "@every 10s")
		hub := &air{plan: plan}
		one := start(t, hub, newPlaces(50, time.Second), Options{Dir: dirs[0], Probe: "one"})
		two := start(t, hub, newPlaces(50, time.Second), Options{Dir: dirs[1], Probe: "two"})
		defer two.stop()
		time.Sleep(2 * time.Minute)
		if len(one.ran()) == 0 || len(two.ran()) == 0 {
			t.Fatalf("got %d and %d runs, want both to have some", len(one.ran()), len(two.ran()))
		}
		one.stop()
		stopped := time.Now()
		time.Sleep(6 * time.Second) // it is still remembered
		want := slots(plan, stopped, time.Now().Add(-200*time.Millisecond))
		for _, id := range want {
			if !slices.Contains(ids(two.ran()), id) {
				t.Errorf("got %s not begun yet by the one that is left", id)
			}
		}
		if len(want) == 0 || two.Stats().Siblings != 1 {
			t.Errorf("got %d slots and %d siblings, want some slots, and the other one not forgotten yet", len(want), two.Stats().Siblings)
		}
	})
}
