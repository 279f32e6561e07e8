package coordination

import (
	"context"
	"slices"
	"time"

	"lastmile/internal/fleet"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// pools says which pool the runs of each scenario need.
func pools(scenarios []scenario.Scenario) map[string]string {
	out := map[string]string{}
	for i := range scenarios {
		out[scenarios[i].Name] = scenarios[i].Pool()
	}
	return out
}

// listenEvery is how often it is noted that the probes are heard.
const listenEvery = time.Second

// listen tells the fleet for as long as heartbeats get here, until ctx ends.
func (u *Unit) listen(ctx context.Context) error {
	ticker := time.NewTicker(listenEvery)
	defer ticker.Stop()
	for {
		hears := u.hub.Hears(ctx)
		if u.deaf.Store(!hears); hears {
			u.fleet.Listening(u.clock.Now())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Reason implements ledger.Witness: it knows what was never ordered, and asks the fleet about the rest.
func (u *Unit) Reason(id runs.ID, _ string, slot, deadline time.Time) runs.Reason {
	c, _, err := id.Parse()
	if err != nil { // the ledger made it
		return runs.ReasonCoordinatorDown
	}
	pool, now := u.pools[c.Scenario], u.clock.Now()
	reason := u.fleet.Reason(id, pool, deadline, now)
	given, ok := u.givenUp(id)
	if !ok || reason == runs.ReasonLost { // what a probe took was ordered, whatever the answer was
		return reason
	}
	if until := slot.Add(fleet.Silence); given == runs.ReasonOverlap && until.Before(deadline) {
		reason = u.fleet.Reason(id, pool, until, now)
	}
	if given == runs.ReasonOverlap && reason != runs.ReasonExpired { // the word of a run under way was the last one before a silence: it is no witness
		return reason
	}
	return given
}

// busy reports whether a run of the combination, of a slot before this one, is under way: a probe's last heartbeat named it, and
// the books have no end of it. A confirmation holds nothing up. While nothing is heard there is nobody to say that it has ended.
func (u *Unit) busy(c scenario.Combination, slot time.Time) bool {
	return !u.deaf.Load() && slices.ContainsFunc(u.fleet.Running(c, slot, u.clock.Now()), func(id runs.ID) bool {
		_, at, err := id.Parse()
		return err == nil && u.isSlot(c, at) && !u.ledger.Ended(c, at)
	})
}
