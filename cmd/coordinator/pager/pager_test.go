package pager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lastmile/internal/bus"
	"lastmile/internal/bus/orders"
	"lastmile/internal/evaluate"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// store is a hub's record, changed by compare-and-swap only.
type store struct {
	mu       sync.Mutex
	packed   []byte
	revision uint64
	fail     error // of every write, if it is set
	lost     int   // so many writes succeed, and their answers are lost
	saves    int
}

func (s *store) Alerts(context.Context) (state orders.AlertState, revision uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.revision > 0 {
		state, err = orders.DecodeAlerts(s.packed)
	}
	return state, s.revision, err
}

func (s *store) SaveAlerts(_ context.Context, state orders.AlertState, revision uint64) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.fail != nil:
		return 0, s.fail
	case revision != s.revision:
		return 0, bus.ErrConflict
	}
	packed, err := orders.EncodeAlerts(&state)
	if err != nil {
		return 0, err
	}
	s.packed, s.revision, s.saves = packed, s.revision+1, s.saves+1
	if s.lost > 0 {
		s.lost--
		return 0, bus.ErrUnavailable
	}
	return s.revision, nil
}

func (s *store) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// judge is an engine with one alert, which is there for as long as it is down.
type judge struct {
	mu      sync.Mutex
	down    bool
	alert   *runs.Alert
	ticks   int
	confirm []evaluate.ConfirmRequest
}

func (j *judge) Tick(now time.Time) (d evaluate.Decisions) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ticks++
	d.Confirm, j.confirm = j.confirm, nil
	switch {
	case j.down && j.alert == nil:
		j.alert = &runs.Alert{AlertKey: runs.AlertKey{Name: runs.AlertDown, Scenario: "api", Region: "us"}, StartsAt: now}
	case !j.down && j.alert != nil:
		ended := *j.alert
		ended.EndsAt, j.alert = now, nil
		d.Changed = append(d.Changed, ended)
		return d
	default:
		return d
	}
	d.Changed = append(d.Changed, *j.alert)
	return d
}

func (j *judge) Alerts(time.Time) []runs.Alert {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.alert == nil {
		return nil
	}
	return []runs.Alert{*j.alert}
}

func (j *judge) State() ([]byte, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return json.Marshal(j.alert)
}

func (j *judge) Adopt(state []byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var alert *runs.Alert
	if err := json.Unmarshal(state, &alert); err != nil {
		return err
	}
	j.alert = alert
	return nil
}

func (j *judge) set(down bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.down = down
}

func (j *judge) ticked() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.ticks
}

// ear is told. Nothing may be announced that does not stand at the hub.
type ear struct {
	t         *testing.T
	hub       *store
	unkept    bool // it may, in this test
	mu        sync.Mutex
	told      []runs.Alert
	refreshed []runs.Alert
	answer    func(context.Context) error // of Announce; nil = it is heard
}

func (e *ear) Run(ctx context.Context) error { <-ctx.Done(); return nil }

func (e *ear) Announce(ctx context.Context, changed []runs.Alert) error {
	stands, _, err := e.hub.Alerts(ctx)
	for _, a := range changed {
		same := func(b runs.Alert) bool {
			return b.AlertKey == a.AlertKey && b.StartsAt.Equal(a.StartsAt) && b.EndsAt.Equal(a.EndsAt)
		}
		if !e.unkept && (err != nil || !slices.ContainsFunc(stands.Pending, same)) {
			e.t.Errorf("announced %+v before it was kept: there stands %+v, %v", a.AlertKey, stands.Pending, err)
		}
	}
	if e.answer != nil {
		if err := e.answer(ctx); err != nil {
			return err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.told = append(e.told, changed...)
	return nil
}

func (e *ear) Refresh(_ context.Context, all []runs.Alert) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.refreshed = all
	return nil
}

func (e *ear) heard() []runs.Alert {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.told)
}

// leads has a pager lead for so many seconds; meanwhile is called when it has begun.
func leads(t *testing.T, hub Hub, engine Engine, e *ear, term uint64, seconds int, meanwhile func()) *Pager {
	t.Helper()
	p := New(slog.New(slog.DiscardHandler), hub, engine, Options{
		Term: term, Now: time.Now, Notifier: e, Order: func(context.Context, *evaluate.ConfirmRequest) error { return nil },
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	synctest.Wait()
	if meanwhile != nil {
		meanwhile()
	}
	time.Sleep(time.Duration(seconds)*time.Second + 500*time.Millisecond)
	synctest.Wait()
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	return p
}

// A leader's alert is the next one's too: it is not announced again, began when it did, and its end is announced by whoever leads then.
func TestTheNextLeaderGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := &store{}
		e := &ear{t: t, hub: hub}
		first := &judge{down: true}
		leads(t, hub, first, e, 1, 5, nil)
		if got := e.heard(); len(got) != 1 {
			t.Fatalf("got %+v, want one alert", got)
		}
		began := e.heard()[0].StartsAt
		time.Sleep(time.Minute)
		second := &judge{down: true}
		if p := leads(t, hub, second, e, 2, 5, nil); !p.Adopted() {
			t.Error("got a leader that has not adopted anything")
		}
		if got := e.heard(); len(got) != 1 {
			t.Errorf("got %+v, want nothing new of the second leader", got)
		}
		if got := e.refreshed; len(got) != 1 || !got[0].StartsAt.Equal(began) {
			t.Errorf("got %+v refreshed, want the alert from %s", got, began)
		}
		leads(t, hub, &judge{}, e, 3, 5, nil)
		if got := e.heard(); len(got) != 2 || got[1].Active() || !got[1].StartsAt.Equal(began) {
			t.Errorf("got %+v, want the end of the alert from %s", got, began)
		}
		if stands, _, err := hub.Alerts(t.Context()); err != nil || len(stands.Pending) > 0 || stands.Term != 3 {
			t.Errorf("got %+v, %v, want nothing pending, of term 3", stands, err)
		}
	})
}

// A leader that dies between keeping an alert and announcing it leaves it to the next one, which announces it as begun when it was, once.
func TestALeaderDiesBeforeItAnnounces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := &store{}
		silent := &ear{t: t, hub: hub, answer: func(context.Context) error { return errors.New("gone") }}
		begin := time.Now()
		leads(t, hub, &judge{down: true}, silent, 1, 5, nil)
		e := &ear{t: t, hub: hub}
		leads(t, hub, &judge{down: true}, e, 2, 5, nil)
		leads(t, hub, &judge{down: true}, e, 3, 5, nil)
		if got := e.heard(); len(got) != 1 || got[0].StartsAt.Sub(begin) > 2*time.Second {
			t.Errorf("got %+v, want one alert, begun when the first leader decided", got)
		}
	})
}

// While the hub takes nothing, nothing is announced, and everything is decided: what comes of it is told in its order when the hub is back.
func TestAHubThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := &store{fail: fmt.Errorf("no leader: %w", bus.ErrUnavailable)}
		e, j := &ear{t: t, hub: hub}, &judge{down: true}
		leads(t, hub, j, e, 1, 30, func() {
			time.Sleep(10 * time.Second)
			j.set(false)
			time.Sleep(5 * time.Second)
			if got := e.heard(); len(got) > 0 {
				t.Errorf("got %+v announced, want nothing that is not kept", got)
			}
			hub.set(func() { hub.fail = nil })
		})
		if got := e.heard(); len(got) != 2 || !got[0].Active() || got[1].Active() || !got[0].StartsAt.Equal(got[1].StartsAt) {
			t.Errorf("got %+v, want a beginning and its end", got)
		}
		if j.ticked() < 40 {
			t.Errorf("got %d ticks in 45 s, want one a second", j.ticked())
		}
	})
}

// A sink that takes nothing, or an outbox that hangs, holds up nothing but itself.
func TestANotifierThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := &store{}
		e := &ear{t: t, hub: hub, answer: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		j := &judge{down: true}
		leads(t, hub, j, e, 1, 60, nil)
		if j.ticked() < 60 {
			t.Errorf("got %d ticks in a minute, want one a second", j.ticked())
		}
		if stands, _, err := hub.Alerts(t.Context()); err != nil || len(stands.Pending) != 1 {
			t.Errorf("got %+v, %v, want the alert still to be announced", stands, err)
		}
	})
}

// A leader that does not know yet that another leads announces nothing.
func TestAStaleLeaderIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := &store{}
		e, j := &ear{t: t, hub: hub}, &judge{}
		leads(t, hub, j, e, 1, 20, func() {
			time.Sleep(3 * time.Second)
			_, revision, err := hub.Alerts(t.Context())
			if err == nil {
				_, err = hub.SaveAlerts(t.Context(), orders.AlertState{Schema: runs.Schema, Term: 2, State: []byte("null")}, revision)
			}
			if err != nil {
				t.Error(err)
			}
			j.set(true)
		})
		if got := e.heard(); len(got) > 0 {
			t.Errorf("got %+v of a leader whose term is over, want nothing", got)
		}
		if stands, _, err := hub.Alerts(t.Context()); err != nil || stands.Term != 2 {
			t.Errorf("got %+v, %v, want what the leader of term 2 kept", stands, err)
		}
	})
}

// A write whose answer is lost is no other leader's.
func TestALostAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := &store{lost: 1}
		e := &ear{t: t, hub: hub}
		leads(t, hub, &judge{down: true}, e, 1, 5, nil)
		if got := e.heard(); len(got) != 1 {
			t.Errorf("got %+v, want the alert once", got)
		}
	})
}

// What can never be kept is announced all the same.
func TestAStateThatIsTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := &store{fail: errors.New("got 2000000 bytes packed, want at most 1000000")}
		e := &ear{t: t, hub: hub, unkept: true}
		leads(t, hub, &judge{down: true}, e, 1, 5, nil)
		if got := e.heard(); len(got) != 1 {
			t.Errorf("got %+v, want the alert, once", got)
		}
	})
}

// A state that nobody can read does not keep a leader from alerting.
func TestAnUnusableState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := &store{}
		if _, err := hub.SaveAlerts(t.Context(), orders.AlertState{Schema: runs.Schema, Term: 1, State: []byte(`"no alert"`)}, 0); err != nil {
			t.Fatal(err)
		}
		e := &ear{t: t, hub: hub}
		leads(t, hub, &judge{down: true}, e, 2, 3, nil)
		if got := e.heard(); len(got) != 1 {
			t.Errorf("got %+v, want the alert", got)
		}
	})
}

// Nothing is written while nothing happens.
func TestAQuietLeaderWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := &store{}
		leads(t, hub, &judge{}, &ear{t: t, hub: hub}, 1, 300, nil)
		if hub.saves > 1 {
			t.Errorf("got %d writes in five quiet minutes, want one at most", hub.saves)
		}
	})
}

// Confirmations are ordered beside everything else: a region whose orders hang keeps neither the others nor the ticks waiting, and what is too much is dropped.
func TestConfirmations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, j := &store{}, &judge{}
		for _, region := range []string{"us", "eu"} {
			for range 3 {
				j.confirm = append(j.confirm, evaluate.ConfirmRequest{Combination: scenario.Combination{Scenario: "api", Region: region}})
			}
		}
		var mu sync.Mutex
		ordered := map[string]int{}
		p := New(slog.New(slog.DiscardHandler), hub, j, Options{Term: 1, Now: time.Now, Order: func(ctx context.Context, r *evaluate.ConfirmRequest) error {
			if r.Combination.Region == "us" {
				<-ctx.Done()
				return ctx.Err()
			}
			mu.Lock()
			defer mu.Unlock()
			ordered[r.Combination.Region]++
			return nil
		}})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if ordered["eu"] != 3 || j.ticked() < 29 {
			t.Errorf("got %d ordered in eu, %d ticks, want 3 and one a second", ordered["eu"], j.ticked())
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// What is usual is what the engine has learned of failures and what is known of how long runs take: neither takes the other's place.
func TestBothThatIsUsualIsTold(t *testing.T) {
	for _, tc := range []struct{ failures, took, want string }{
		{"few fail", "eu: as usual", "few fail; eu: as usual"}, {"few fail", "", "few fail"}, {"", "eu: as usual", "eu: as usual"}, {"", "", ""},
	} {
		p := New(slog.New(slog.DiscardHandler), &store{}, &judge{}, Options{Usual: func(string, string, time.Time) string { return tc.took }})
		alert := runs.Alert{AlertKey: runs.AlertKey{Name: runs.AlertDown, Scenario: "api", Region: "us"}, Why: runs.Why{Usual: tc.failures}}
		everywhere := alert
		everywhere.Region = ""
		got := p.compared([]runs.Alert{alert, everywhere}, time.Now())
		if got[0].Why.Usual != tc.want || got[1].Why.Usual != tc.failures {
			t.Errorf("%+v: got %q, and %q of everywhere, want %q and %q", tc, got[0].Why.Usual, got[1].Why.Usual, tc.want, tc.failures)
		}
	}
}

// Word of a stand that has been taken already is not word that there are no alerts.
func TestAStandIsTakenOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := &store{}
		e := &ear{t: t, hub: hub}
		p := New(slog.New(slog.DiscardHandler), hub, &judge{}, Options{Term: 1, Now: time.Now, Notifier: e})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); p.tell(ctx, kept{settled: true}) }()
		p.leave(stand{alerts: []runs.Alert{{AlertKey: runs.AlertKey{Name: runs.AlertDown}}}})
		synctest.Wait()
		p.wake <- struct{}{} // as where a stand is left just before the one before is taken
		synctest.Wait()
		if len(e.refreshed) != 1 {
			t.Errorf("got %d alerts refreshed, want the one", len(e.refreshed))
		}
		stop()
		<-done
	})
}

// What waits while there is no hub is bounded, and what nobody would be told of goes first.
func TestUntoldIsBounded(t *testing.T) {
	var k kept
	page := runs.Alert{AlertKey: runs.AlertKey{Name: runs.AlertOutage}}
	hidden := runs.Alert{AlertKey: runs.AlertKey{Name: runs.AlertDown}, Inhibited: true}
	if lost := k.enter(&stand{changed: append([]runs.Alert{page}, slices.Repeat([]runs.Alert{hidden}, maxUntold)...)}); lost != maxUntold || len(k.pending) != 1 || k.pending[0].Name != page.Name {
		t.Errorf("got %d given up and %d left, want all that is inhibited given up, and the page left", lost, len(k.pending))
	}
	if lost := k.enter(&stand{changed: slices.Repeat([]runs.Alert{page}, maxUntold)}); lost != 1 || len(k.pending) != maxUntold {
		t.Errorf("got %d given up and %d left, want the oldest given up", lost, len(k.pending))
	}
}
