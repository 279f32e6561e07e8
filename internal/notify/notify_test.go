package notify

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lastmile/internal/notify/delivery"
	"lastmile/internal/runs"
	"lastmile/internal/slo"
)

// away is a sink that takes nothing.
func away(*delivery.Notice) error { return &delivery.Busy{Err: errors.New("got no answer")} }

// Pages go everywhere, tickets to no pager; an alert that rises to a page reaches it then, and its end reaches whoever was told of its beginning.
func TestWhoIsToldOfWhat(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		ticket := degraded("eu")
		w.announce(ticket)
		w.receivers[manager].want(t, "ticket", "ticket eu fires")
		w.receivers[hook].want(t, "ticket", "ticket eu fires")
		w.receivers[pager].want(t, "ticket", "")
		time.Sleep(time.Minute)
		page := ticket
		page.Severity = slo.SeverityPage
		w.announce(page)
		w.receivers[manager].want(t, "page", "ticket eu fires, ticket eu ended, page eu fires")
		w.receivers[hook].want(t, "page", "ticket eu fires, ticket eu ended, page eu fires")
		w.receivers[pager].want(t, "page", "page eu fires")
		time.Sleep(time.Minute)
		w.announce(ended(page))
		w.receivers[manager].want(t, "end", "ticket eu fires, ticket eu ended, page eu fires, page eu ended")
		w.receivers[pager].want(t, "end", "page eu fires, page eu ended")
	})
}

// An inhibited alert reaches nobody until it is not inhibited any more, nor does its end; what was told before stands.
func TestInhibitedAlerts(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := down("eu"), down("us")
		a.Inhibited = true
		w.announce(a)
		w.refresh(5*time.Second, a)
		w.announce(ended(a))
		for _, r := range w.receivers {
			r.want(t, "inhibited", "")
		}
		w.announce(b)
		b.Inhibited = true
		w.refresh(3*time.Second, b)
		b.Inhibited = false
		a = down("ap")
		a.Inhibited = true
		w.announce(a)
		a.Inhibited = false
		w.refresh(3*time.Second, a, b)
		w.receivers[pager].want(t, "not inhibited any more", "page us fires, page ap fires")
	})
}

// However often and in whatever order the same is said, each sink hears it once.
func TestNothingIsSaidTwice(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := down("eu")
		w.announce(a)
		w.announce(a, a)
		w.refresh(30*time.Second, a)
		later := a
		later.Why.Bad, later.Why.Of = 12, 12
		w.announce(later)
		time.Sleep(time.Minute)
		end := ended(a)
		w.announce(a, end)
		w.announce(end)
		w.announce(a, end) // as the next leader does that does not know what was announced
		w.refresh(30*time.Second, end)
		w.receivers[pager].want(t, "one outage", "page eu fires, page eu ended")
		time.Sleep(time.Minute)
		again := down("eu")
		w.announce(again)
		w.refresh(5*time.Second, end, again) // the one that ended a while ago is still listed
		w.announce(a, end, again)
		w.receivers[pager].want(t, "another outage", "page eu fires, page eu ended, page eu fires")
		if n := len(w.receivers[hook].keys); n != 3 || w.receivers[hook].keys[0] == w.receivers[hook].keys[2] {
			t.Errorf("got keys %v, want three unlike ones", w.receivers[hook].keys)
		}
	})
}

// Alertmanager is told each minute of what is active, and for a quarter of an hour of what has ended; nobody else is.
func TestAlertmanagerIsToldAgain(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := down("eu")
		w.announce(a)
		w.receivers[manager].forget()
		w.refresh(10*time.Minute, a)
		if got := strings.Count(w.receivers[manager].got(), "page eu fires"); got < 10 || got > 11 {
			t.Errorf("active for 10 min: got it told %d times, want each minute", got)
		}
		end := ended(a)
		w.announce(end)
		w.receivers[manager].forget()
		w.refresh(20*time.Minute, end) // the engine would not list it for so long
		if got := strings.Count(w.receivers[manager].got(), "page eu ended"); got < 14 || got > 15 || strings.Contains(w.receivers[manager].got(), "fires") {
			t.Errorf("ended 20 min ago: got %s, want its end 15 times at most, 14 at least", w.receivers[manager].got())
		}
		w.receivers[pager].want(t, "meanwhile", "page eu fires, page eu ended")
		w.receivers[hook].want(t, "meanwhile", "page eu fires, page eu ended")
	})
}

// An Alertmanager that was away hears what is, not what was, as soon as it is back.
func TestAlertmanagerThatWasAway(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.receivers[manager].set(away)
		a, b := down("eu"), down("us")
		w.announce(a, b)
		w.refresh(10*time.Minute, a, b)
		end := ended(a)
		w.announce(end)
		w.refresh(time.Minute, end, b)
		w.receivers[manager].set(nil)
		w.refresh(61*time.Second, end, b)
		got := w.receivers[manager].got()
		if strings.Contains(got, "page eu fires") || !strings.Contains(got, "page eu ended") || !strings.Contains(got, "page us fires") {
			t.Errorf("got %s, want the end of eu and the beginning of us", got)
		}
	})
}

// A sink that was away hears of everything when it is back, each alert's messages in their order.
func TestSinkThatWasAway(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.receivers[pager].set(away)
		a := down("eu")
		w.announce(a)
		time.Sleep(20 * time.Minute)
		w.announce(ended(a))
		time.Sleep(time.Hour)
		w.receivers[pager].want(t, "away", "")
		if got := w.n.Stats()[pager]; got.Pending != 2 || got.Failed < 60 || got.Sent != 0 || got.Sink != "pagerduty:events.pagerduty.com" {
			t.Errorf("away: got %+v, want 2 pending and at least one attempt a minute", got)
		}
		w.receivers[hook].want(t, "meanwhile", "page eu fires, page eu ended")
		w.receivers[pager].set(nil)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		w.receivers[pager].want(t, "back", "page eu fires, page eu ended")
		if got := w.n.Stats()[pager]; got.Pending != 0 || got.Sent != 2 || got.Dropped != 0 {
			t.Errorf("back: got %+v, want 2 sent", got)
		}
	})
}

// The pauses between attempts double up to a minute, and each is at random between half of that and all of it.
func TestBackoff(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.receivers[pager].set(away)
		w.announce(down("eu"))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		at := w.receivers[pager].attempts
		for i, most := 1, time.Second; i < len(at); i, most = i+1, min(2*most, time.Minute) {
			if pause := at[i].Sub(at[i-1]); pause < most/2 || pause > most {
				t.Errorf("pause %d: got %s, want %s to %s", i, pause, most/2, most)
			}
		}
		if len(at) < 12 {
			t.Errorf("got %d attempts in 10 min, want 12 at least", len(at))
		}
	})
}

// A sink that asks to be left alone is, for as long as is reasonable.
func TestRetryAfterIsHeeded(t *testing.T) {
	for asked, want := range map[time.Duration]time.Duration{90 * time.Second: 90 * time.Second, 24 * time.Hour: longestNap} {
		bubble(t, func(t *testing.T, w *world) {
			w.receivers[pager].set(func(*delivery.Notice) error { return &delivery.Busy{Err: errors.New("got status 429"), After: asked} })
			w.announce(down("eu"), down("us"))
			time.Sleep(10 * time.Minute)
			synctest.Wait()
			at := w.receivers[pager].attempts
			for i := 1; i < len(at); i++ {
				if pause := at[i].Sub(at[i-1]); pause < want || pause > want+time.Second {
					t.Errorf("asked for %s: got an attempt after %s, want one after %s", asked, pause, want)
				}
			}
			if len(at) < 2 {
				t.Errorf("asked for %s: got %d attempts, want more", asked, len(at))
			}
		})
	}
}

// What a sink has trouble with holds up no other alert; what it refuses is not tried again, and does not keep the next about the same alert from it.
func TestOneBadAlertHoldsUpNoOther(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for _, r := range w.receivers {
			r.set(func(n *delivery.Notice) error {
				switch n.Alert.Region {
				case "trouble":
					return errors.New("got status 500")
				case "refused":
					return &delivery.Refusal{Err: errors.New("got status 400")}
				}
				return nil
			})
		}
		all := []runs.Alert{down("trouble"), down("refused"), down("eu")}
		w.announce(all...)
		for _, r := range w.receivers {
			r.want(t, "at once", "page eu fires")
		}
		w.refresh(10*time.Minute, all...)
		if got := w.receivers[manager].got(); strings.Count(got, "page eu fires") < 11 || strings.Contains(got, "trouble") || strings.Contains(got, "refused") {
			t.Errorf("got alertmanager told of %s, want eu only, each minute", got)
		}
		for i, r := range w.receivers {
			if got := w.n.Stats()[i]; got.Dropped != 1 || got.Pending != 1 || got.Failed < 5 {
				t.Errorf("got %+v, want one dropped, one pending, and attempts that failed", got)
			}
			r.forget()
			r.set(nil)
		}
		w.announce(ended(all[0]), ended(all[1]))
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		w.receivers[pager].want(t, "mended", "page refused ended, page trouble fires, page trouble ended")
	})
}

// Of a batch in which Alertmanager does not want one, the others are told, and that one no more.
func TestBadAlertInABatch(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var all []runs.Alert
		for n := range 3 {
			all = append(all, down(fmt.Sprint("r", n)))
		}
		w.announce(all...)
		w.receivers[manager].forget()
		w.receivers[manager].set(func(n *delivery.Notice) error {
			if n.Alert.Region == "r1" {
				return &delivery.Refusal{Err: errors.New("got status 400")}
			}
			return nil
		})
		w.refresh(5*time.Minute, all...)
		got := w.receivers[manager].got()
		if strings.Count(got, "r0") < 5 || strings.Count(got, "r2") < 5 || strings.Contains(got, "r1") || w.n.Stats()[manager].Dropped != 1 {
			t.Errorf("got %s and %+v, want r0 and r2 each minute, and one dropped", got, w.n.Stats()[manager])
		}
	})
}

// After a day a message is given up; what is still so then is told as something new.
func TestGivingUp(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.receivers[hook].set(away)
		a, b := down("eu"), down("us")
		w.announce(a, b)
		end := ended(b)
		w.announce(end)
		for range 25 {
			time.Sleep(time.Hour)
			w.refresh(2*time.Second, a)
		}
		if got := w.n.Stats()[hook]; got.Dropped != 3 || got.Pending != 1 {
			t.Errorf("after 25 h: got %+v, want three dropped and one pending", got)
		}
		w.receivers[hook].set(nil)
		w.refresh(2*time.Minute, a)
		w.receivers[hook].want(t, "back", "page eu fires")
		w.receivers[pager].want(t, "all the time", "page eu fires, page us fires, page us ended")
	})
}

// An alert that is not known any more ends after a quarter of an hour, and not at all where it comes back before.
func TestOrphans(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := down("eu"), down("us")
		w.announce(a, b)
		w.refresh(10*time.Minute, a)
		w.receivers[pager].want(t, "gone for 10 min", "page eu fires, page us fires")
		w.refresh(time.Second, a, b)
		w.refresh(14*time.Minute, a)
		w.receivers[pager].want(t, "gone for 14 min", "page eu fires, page us fires")
		w.refresh(2*time.Minute, a)
		w.receivers[pager].want(t, "gone for 16 min", "page eu fires, page us fires, page us ended")
	})
}

// While the outbox does not work, what is announced is not lost, and comes in its order when it does.
func TestOutboxThatIsAway(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.box.fail(true, true)
		a := down("eu")
		began := time.Now()
		if err := w.n.Announce(t.Context(), []runs.Alert{a}); err == nil || time.Since(began) > 2*time.Second {
			t.Errorf("got %v after %s, want an error after 2 s", err, time.Since(began))
		}
		w.refresh(time.Minute, a)
		if err := w.n.Announce(t.Context(), []runs.Alert{ended(a)}); err == nil {
			t.Error("got no error")
		}
		w.receivers[pager].want(t, "away", "")
		w.box.fail(false, false)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		w.receivers[pager].want(t, "back", "page eu fires, page eu ended")
	})
}

// Who announces again what waits for the outbox already, with more behind it, takes no more room for it, and is answered when all of it is there.
func TestAnnouncedAgainWhileTheOutboxIsAway(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.box.fail(true, true)
		all := []runs.Alert{down("eu")}
		for range 50 {
			if err := w.n.Announce(t.Context(), all); err == nil {
				t.Fatal("got no error")
			}
			time.Sleep(15 * time.Second)
		}
		all = append(all, down("us"), ended(all[0]))
		for range 50 {
			if err := w.n.Announce(t.Context(), all); err == nil {
				t.Fatal("got no error")
			}
		}
		held := 0
		for _, a := range w.n.announced {
			held += len(a.alerts)
		}
		if held != len(all) || len(w.n.announced) != 2 {
			t.Errorf("got %d changes held in %d announcements, want %d in 2", held, len(w.n.announced), len(all))
		}
		if got := w.n.Stats(); got[hook].Pending != 3 || got[pager].Pending != 3 {
			t.Errorf("got %+v, want what waits for the outbox pending", got)
		}
		time.AfterFunc(time.Second, func() { w.box.fail(false, false) })
		for range 3 { // the outbox is tried once a second
			if err := w.n.Announce(t.Context(), all); err == nil {
				break
			}
		}
		w.announce(all...)
		w.receivers[pager].want(t, "back", "page eu fires, page us fires, page eu ended")
		if got := w.n.Stats(); got[hook].Pending != 0 || got[pager].Pending != 0 {
			t.Errorf("got %+v, want nothing pending", got)
		}
	})
}

// A leader that finds no outbox waits for it; what was announced meanwhile is told.
func TestOutboxThatIsAwayAtFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.box.fail(true, true)
		w.lead()
		defer func() { w.stop() }()
		a := down("eu")
		if err := w.n.Announce(t.Context(), []runs.Alert{a}); err == nil {
			t.Error("got no error")
		}
		w.box.fail(false, false)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		w.receivers[pager].want(t, "back", "page eu fires")
		if log := w.log.String(); strings.Count(log, "does not work") != 1 || strings.Count(log, "works again") != 1 {
			t.Errorf("got log\n%swant one line for each change", log)
		}
	})
}

// The next leader says nothing again, and says what was not said yet.
func TestLeaderChange(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.receivers[hook].set(away)
		a := down("eu")
		w.announce(a)
		w.lead()
		w.announce(a) // which the last leader may not have noted
		w.receivers[hook].set(nil)
		w.refresh(2*time.Minute, a)
		w.receivers[pager].want(t, "second leader", "page eu fires")
		w.receivers[hook].want(t, "second leader", "page eu fires")
		decidedAnew := a
		decidedAnew.StartsAt = a.StartsAt.Add(7 * time.Second) // the first leader's decision was lost
		w.lead()
		w.announce(decidedAnew)
		w.refresh(time.Minute, decidedAnew)
		w.receivers[pager].want(t, "third leader", "page eu fires")
		end := ended(decidedAnew)
		w.lead() // the end was decided and never announced
		w.refresh(time.Second, end)
		w.lead()
		w.announce(a, end)
		w.receivers[pager].want(t, "fourth and fifth leader", "page eu fires, page eu ended")
		w.receivers[hook].want(t, "fourth and fifth leader", "page eu fires, page eu ended")
	})
}

// A coordinator that dies when the sink has a message and the outbox does not know it yet has the next one send it again, under the same key, before
// anything else about that alert.
func TestDeathBetweenDeliveryAndNote(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := down("eu")
		w.box.mu.Lock()
		w.box.failNote = true
		w.box.mu.Unlock()
		w.announce(a)
		time.Sleep(time.Minute)
		w.announce(ended(a))
		w.receivers[pager].want(t, "before", "page eu fires") // its end waits until the outbox knows that much
		w.stop()
		w.box.fail(false, false)
		w.lead()
		w.receivers[pager].want(t, "after", "page eu fires, page eu fires, page eu ended")
		if keys := w.receivers[pager].keys; len(keys) != 3 || keys[0] != keys[1] || keys[1] == keys[2] {
			t.Errorf("got keys %v, want the first two the same", keys)
		}
	})
}

// Messages that nobody can read, and those for sinks that are no longer configured, stop nothing.
func TestForeignMessagesInTheOutbox(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for _, body := range []string{"", "{", `{"key":"x"}`, strings.Repeat("[", 10_000)} {
			if _, err := w.box.Put(t.Context(), w.n.sinks[pager].id, "foreign", body, []byte(body)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.box.Put(t.Context(), "pagerduty-gone", "x", "gone", []byte("x")); err != nil {
			t.Fatal(err)
		}
		w.lead()
		w.announce(down("eu"))
		w.receivers[pager].want(t, "all the same", "page eu fires")
		if n := strings.Count(w.log.String(), "not usable"); n != 4 {
			t.Errorf("got %d lines about messages that are not usable, want 4", n)
		}
	})
}

// An alert that comes and goes while its sink is away keeps the last eight messages there, and the sink hears them in their order.
func TestQueueOfAnAlertIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.receivers[pager].set(away)
		for range 3 * perAlert {
			a := down("eu")
			time.Sleep(10 * time.Second)
			w.announce(a)
			time.Sleep(10 * time.Second)
			w.announce(ended(a))
		}
		if got := w.n.Stats()[pager]; got.Pending != perAlert || got.Dropped != 5*perAlert {
			t.Errorf("got %+v, want %d pending and the others dropped", got, perAlert)
		}
		w.receivers[pager].set(nil)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		w.receivers[pager].want(t, "back", strings.TrimSuffix(strings.Repeat("page eu fires, page eu ended, ", perAlert/2), ", "))
	})
}

// What is more than is kept for a sink is told when there is room again, if it is so then.
func TestAllThatWaitsIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.n.sinks[pager].mu.Lock()
		w.n.sinks[pager].waiting = perSink
		w.n.sinks[pager].mu.Unlock()
		a := down("eu")
		w.announce(a)
		w.refresh(5*time.Second, a)
		w.receivers[pager].want(t, "full", "")
		w.receivers[hook].want(t, "full", "page eu fires")
		w.n.sinks[pager].mu.Lock()
		w.n.sinks[pager].waiting = 0
		w.n.sinks[pager].mu.Unlock()
		w.refresh(2*time.Second, a)
		w.receivers[pager].want(t, "room again", "page eu fires")
		if n := strings.Count(w.log.String(), "too much waits"); n != 1 {
			t.Errorf("got %d lines about it, want 1", n)
		}
	})
}
