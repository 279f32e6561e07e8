package coordination

import (
	"context"
	"fmt"
	"slices"
	"time"

	"lastmile/cmd/coordinator/pager"
	"lastmile/internal/evaluate"
	"lastmile/internal/exposition"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// newPager returns what looks after the alerts in a term.
func (u *Unit) newPager(term uint64) *pager.Pager {
	return pager.New(u.log, u.hub, u.engine, pager.Options{
		Term: term, Now: u.clock.Now, Notifier: u.opts.Notifier, Told: u.opts.Alerted, Usual: u.usual.Describe,
		Order: func(ctx context.Context, r *evaluate.ConfirmRequest) error { return u.order(ctx, term, r) },
	})
}

// decides reports whether this coordinator decides on alerts, on top of what the last leader left.
func (u *Unit) decides() bool {
	l := u.leading.Load()
	return l != nil && l.pager.Adopted()
}

// alerts are those of this leader, as of now; none where another coordinator decides, or nobody.
func (u *Unit) alerts() []runs.Alert {
	if !u.decides() {
		return nil
	}
	return u.engine.Alerts(u.clock.Now())
}

// journeys are how the journeys stand with the pager, for the same.
func (u *Unit) journeys() []runs.JourneyStatus {
	if !u.decides() {
		return nil
	}
	return u.engine.Journeys(u.clock.Now())
}

// usually says what is usual, for the metrics.
func (u *Unit) usually() (out []exposition.Usual) {
	for _, c := range u.usual.All(u.clock.Now()) {
		out = append(out, exposition.Usual{Combination: c.Combination, Median: c.Median, P95: c.P95, Runs: c.Runs, Slower: c.Slower})
	}
	return out
}

// order puts a confirmation on the bus.
func (u *Unit) order(ctx context.Context, term uint64, r *evaluate.ConfirmRequest) error {
	c := r.Combination
	s := u.scenario(c.Scenario)
	if s == nil || !slices.Contains(s.Combinations(), c) {
		return fmt.Errorf("confirm %+v: got a combination that is not in the plan", c)
	}
	if u.underMaintenance(c, r.At) {
		return nil
	}
	network, ok := u.set.Fleet.Networks.Lookup(c.Network)
	if !ok {
		return fmt.Errorf("confirm %+v: got an unknown network", c)
	}
	a := runs.NewConfirmation(*s, c.Region, network, r.At, r.Avoid)
	ctx, cancel := context.WithTimeout(ctx, a.StartBy.Sub(u.clock.Now()))
	defer cancel()
	created, err := termed{hub: u.hub, term: term}.Dispatch(ctx, a)
	if err == nil {
		u.log.Info("confirmation ordered", "run_id", a.RunID, "avoid", a.Avoid, "created", created)
	}
	return err
}

// scenario returns one of the plan by its name, nil where there is none.
func (u *Unit) scenario(name string) *scenario.Scenario {
	i := slices.IndexFunc(u.set.Scenarios, func(s scenario.Scenario) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return &u.set.Scenarios[i]
}

// isSlot reports whether a combination has a slot at a time. A confirmation is of none: it is at a second that the schedule passes over.
func (u *Unit) isSlot(c scenario.Combination, at time.Time) bool {
	s := u.scenario(c.Scenario)
	return s != nil && s.Timetable().Next(c, at.Add(-time.Second)).Equal(at)
}
