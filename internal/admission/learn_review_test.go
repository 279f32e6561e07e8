package admission

import (
	"testing"
	"testing/synctest"
	"time"

	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// A service that is down makes runs long and light. When it is back they are what they were, and no more of them may be let in at once.
func TestAnOutageMakesNoRunLighter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(memory(4000), 4)
		learn(t, r, "a", 0.8, 0)
		before := r.costs["a"].weight
		for range 5 {
			ticket := acquire(t, r, page("a"))
			if err := ticket.Start(t.Context(), time.Now()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(30 * time.Second) // until its timeout
			ticket.Stamp(&runs.Result{State: runs.StateFailed, Load: &runs.Load{CPUSeconds: 0.5}})
			ticket.Release()
		}
		if got := r.costs["a"].weight; got < before-1e-9 {
			t.Errorf("after an outage: got a weight of %v, want %v as before", got, before)
		}
	})
}

// A page that takes a second of CPU takes it at once on a fast network and bit by bit on a slow one: one says nothing of the other.
func TestWeightsOfNetworksAreTheirOwn(t *testing.T) {
	a := &runs.Assignment{Scenario: scenario.Scenario{Name: "shop", Steps: []scenario.Step{{Type: scenario.StepNavigate}}}}
	fast := NeedOf(a)
	a.Network = netprofile.Profile{Name: "3g"}
	if slow := NeedOf(a); slow.Key == fast.Key || !slow.Browser {
		t.Errorf("got %+v and %+v, want two kinds of browser runs", fast, slow)
	}
}
