package notify

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lastmile/internal/notify/delivery"
	"lastmile/internal/runs"
)

// story is a run of the whole with all that can go wrong, at random: alerts come and go, leaders change, the hub and the sinks are away for a while.
type story struct {
	*world
	random   *rand.Rand
	open     map[string]runs.Alert // by region
	ended    []runs.Alert
	pending  []runs.Alert // not announced yet, as the coordinators keep it among themselves
	episodes map[string]int
	events   []string
}

func (s *story) note(format string, args ...any) {
	s.events = append(s.events, fmt.Sprintf(format, args...))
}

// announcePending announces what is pending, again and again.
func (s *story) announcePending() {
	if len(s.pending) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Second)
	defer cancel()
	if s.n.Announce(ctx, s.pending) == nil {
		s.pending = nil
	}
}

// listed is what the engine lists.
func (s *story) listed() []runs.Alert {
	var out []runs.Alert
	for _, a := range s.open {
		out = append(out, a)
	}
	for _, a := range s.ended {
		if time.Since(a.EndsAt) < 15*time.Minute {
			out = append(out, a)
		}
	}
	s.random.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// step does one thing.
func (s *story) step() {
	region := fmt.Sprint("r", s.random.IntN(3))
	switch s.random.IntN(7) {
	case 0, 1, 2:
		if a, ok := s.open[region]; ok {
			s.note("%s ends", region)
			delete(s.open, region)
			a = ended(a)
			s.ended = append(s.ended, a)
			s.pending = append(s.pending, a)
		} else if s.episodes[region] < perAlert/2 { // beyond that some of it may be dropped
			s.note("%s begins", region)
			s.episodes[region]++
			s.open[region] = down(region)
			s.pending = append(s.pending, s.open[region])
		}
	case 3:
		s.note("the next leader")
		s.lead()
	case 4:
		how := s.random.IntN(4)
		s.note("hub %d", how)
		s.box.fail(how == 1, how == 2)
		s.box.mu.Lock()
		s.box.failNote = how == 3
		s.box.mu.Unlock()
	case 5:
		s.note("pager away")
		s.receivers[pager].set(away)
		s.receivers[hook].set(func(*delivery.Notice) error { return fmt.Errorf("got status 500") })
	case 6:
		s.note("pager back")
		s.receivers[pager].set(nil)
		s.receivers[hook].set(nil)
	}
	for range 1 + s.random.IntN(4) {
		s.announcePending()
		s.refresh(time.Second, s.listed()...)
		time.Sleep(time.Duration(s.random.IntN(8)) * time.Second)
	}
}

// TestEveryEpisodeIsToldOnce: whatever goes wrong meanwhile, when all is well again each sink that keeps messages has been told of every episode, in order,
// and of none twice but under the same key.
func TestEveryEpisodeIsToldOnce(t *testing.T) {
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			s := &story{world: newWorld(t), random: rand.New(rand.NewPCG(seed, 7)), open: map[string]runs.Alert{}, episodes: map[string]int{}}
			s.lead()
			defer func() { s.stop() }()
			for range 60 {
				s.step()
			}
			s.box.fail(false, false)
			s.receivers[pager].set(nil)
			s.receivers[hook].set(nil)
			for range 20 {
				s.announcePending()
				s.refresh(time.Second, s.listed()...)
				time.Sleep(10 * time.Second)
			}
			for _, which := range []int{pager, hook} {
				s.judge(t, which)
			}
			if t.Failed() {
				t.Fatalf("seed %d: %s", seed, strings.Join(s.events, "; "))
			}
		})
	}
}

// judge compares what a receiver accepted with what was.
func (s *story) judge(t *testing.T, which int) {
	t.Helper()
	r := s.receivers[which]
	told := map[string][]string{}
	seen := map[string]bool{}
	for i, what := range r.accepted {
		region := strings.Fields(what)[1]
		if repeat := seen[r.keys[i]]; repeat {
			if last := told[region]; last[len(last)-1] != what {
				t.Errorf("receiver %d: got %q again after %q", which, what, last[len(last)-1])
			}
			continue
		}
		seen[r.keys[i]] = true
		told[region] = append(told[region], what)
	}
	for region, episodes := range s.episodes {
		var want []string
		for range episodes {
			want = append(want, "page "+region+" fires", "page "+region+" ended")
		}
		if _, open := s.open[region]; open {
			want = want[:len(want)-1]
		}
		if !slices.Equal(told[region], want) {
			t.Errorf("receiver %d: got %q of %s, want %q", which, told[region], region, want)
		}
	}
}
