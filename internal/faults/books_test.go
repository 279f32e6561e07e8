package faults

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lastmile/internal/bus"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// record is all that the streams say of one run.
type record struct {
	results []report
	verdict *runs.SlotVerdict
}

// report is a result as far as the suite looks at it.
type report struct {
	state      runs.State
	class      runs.Class
	detail     string
	probe      string
	started    time.Time
	autonomous bool
	tainted    bool // the machine was too busy for its times to be trusted
}

// fold says what has become of a run. It is the ledger's rule, written once more: the highest state counts, and of those that are equal the
// first in the stream.
func (r *record) fold() (state runs.State, reason runs.Reason, by *report) {
	state = runs.StatePending
	if r.verdict != nil {
		state, reason = r.verdict.State, r.verdict.Reason
	}
	for i := range r.results {
		if r.results[i].state.Outranks(state) {
			state, reason, by = r.results[i].state, "", &r.results[i]
		}
	}
	return state, reason, by
}

// reader reads the streams from their beginning, and goes on with what comes.
type reader struct {
	mu      sync.Mutex
	records map[runs.ID]*record
	broken  error // why it reads no more
	bad     []string
}

// readStreams begins to read, until the test ends.
func readStreams(t testing.TB, url string, regions []string) *reader {
	r := &reader{records: map[runs.ID]*record{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		err := r.follow(ctx, url, regions)
		r.mu.Lock()
		defer r.mu.Unlock()
		if ctx.Err() == nil {
			r.broken = fmt.Errorf("read the streams: %w", err)
		}
	}()
	return r
}

func (r *reader) follow(ctx context.Context, url string, regions []string) error {
	hub, err := bus.Connect(ctx, slog.New(slog.DiscardHandler), bus.Options{URL: url, Name: "fault-suite"})
	if err != nil {
		return err
	}
	defer func() { _ = hub.Close() }()
	return hub.Follow(ctx, regions, nil, bus.Handler{
		Result: func(result runs.Result, _ bus.Meta) {
			r.mu.Lock()
			defer r.mu.Unlock()
			one := report{state: result.State, probe: result.Probe, started: result.StartedAt, autonomous: result.Autonomous, tainted: len(result.Tainted) > 0}
			if result.Cause != nil {
				one.class, one.detail = result.Cause.Class, result.Cause.Detail
			}
			of := r.record(result.RunID)
			of.results = append(of.results, one)
		},
		Verdict: func(v runs.Verdict, _ bus.Meta) {
			r.mu.Lock()
			defer r.mu.Unlock()
			for i := range v.Slots {
				of := r.record(v.Slots[i].RunID)
				if of.verdict != nil {
					r.bad = append(r.bad, fmt.Sprintf("%s: got a second verdict, %s %s", v.Slots[i].RunID, v.Slots[i].State, v.Slots[i].Reason))
				}
				of.verdict = &v.Slots[i]
			}
		},
		Rejected: func(err *bus.RejectedError) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.bad = append(r.bad, err.Error())
		},
	})
}

// record needs r.mu.
func (r *reader) record(id runs.ID) *record {
	if r.records[id] == nil {
		r.records[id] = &record{}
	}
	return r.records[id]
}

// decided reports whether a run has come to its end.
func (r *reader) decided(id runs.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.records[id] != nil
}

// outage is a fault as the books may show it: slots whose time, from the slot to its deadline, touches that of the fault.
type outage struct {
	what     string
	region   string // empty = all
	from, to time.Time
	reasons  []runs.Reason // what they may be missing for
	invalid  bool          // whether they may be invalid, since a probe died in mid-run
	twice    bool          // whether the target may be asked twice
}

func (o *outage) touches(region string, from, to time.Time) bool {
	return (o.region == "" || o.region == region) && !o.from.After(to) && (o.to.IsZero() || !o.to.Before(from))
}

// tally is what the books come to.
type tally struct {
	planned    int
	states     map[runs.State]int
	reasons    map[runs.Reason]int
	doubles    int // runs for which the target was asked more than once
	repeats    int // results beyond the first of their run
	amended    int // slots that were missing, and measured after all
	autonomous int // slots that a probe ordered itself
	busy       int // slots that nobody took though no fault concerned them: this machine had no time for them
	unfit      int // runs that say of themselves that this machine had too little time for them
	absent     int // slots of which the streams say nothing
	problems   []string
}

func (c *tally) String() string {
	var states, reasons []string
	for _, s := range runs.States() {
		if c.states[s] > 0 {
			states = append(states, fmt.Sprintf("%d %s", c.states[s], s))
		}
	}
	for _, r := range slices.Sorted(maps.Keys(c.reasons)) {
		reasons = append(reasons, fmt.Sprintf("%d %s", c.reasons[r], r))
	}
	return fmt.Sprintf("%d planned = %s (%s); %d unaccounted, %d asked twice, %d repeated results, %d amended, %d autonomous, %d for lack of a processor",
		c.planned, strings.Join(states, " + "), strings.Join(reasons, ", "), c.absent, c.doubles, c.repeats, c.amended, c.autonomous, c.busy+c.unfit)
}

func (c *tally) problem(format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

// audit holds all slots in (from, to] against what is promised.
func audit(scenarios []scenario.Scenario, r *reader, g *target, outages []outage, from, to time.Time) *tally {
	sums := &tally{states: map[runs.State]int{}, reasons: map[runs.Reason]int{}}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range scenarios {
		s := &scenarios[i]
		for _, c := range s.Combinations() {
			for _, slot := range s.Timetable().Slots(c, from, to, 1<<20) {
				sums.slot(s, runs.NewID(c, slot), slot, r.records[runs.NewID(c, slot)], g, outages)
			}
		}
	}
	sums.strangers(scenarios, r)
	for _, bad := range r.bad {
		sums.problem("%s", bad)
	}
	if r.broken != nil {
		sums.problem("%v", r.broken)
	}
	if limit := 2 + sums.planned/20; sums.busy > limit {
		sums.problem("got %d of %d slots not taken that no fault concerns, want at most %d", sums.busy, sums.planned, limit)
	}
	return sums
}

// verdictTime is how long after it is due a verdict may take to be written, and read.
const verdictTime = 10 * time.Second

// slot takes up one slot. It may be pending for as long as no verdict on its minute is due.
func (c *tally) slot(s *scenario.Scenario, id runs.ID, slot time.Time, of *record, g *target, outages []outage) {
	c.planned++
	deadline := slot.Add(s.StartWindow() + s.Timeout.D())
	if closed := deadline.Truncate(time.Minute).Add(time.Minute + grace + verdictTime); of == nil && time.Now().Before(closed) {
		c.states[runs.StatePending]++
		return
	}
	if of == nil {
		c.absent++
		c.problem("%s (%s): got nothing in the streams, want it in one state", id, slot.Format("15:04:05"))
		return
	}
	var concerned outage
	var faults []string
	combination, _, _ := id.Parse() // made by us
	for _, o := range outages {
		if o.touches(combination.Region, slot, deadline) {
			concerned.reasons = append(concerned.reasons, o.reasons...)
			concerned.invalid = concerned.invalid || o.invalid
			concerned.twice = concerned.twice || o.twice
			faults = append(faults, o.what)
		}
	}
	state, reason, by := of.fold()
	asked := len(g.times(id))
	where := fmt.Sprintf("%s (%s, touched by %q)", id, slot.Format("15:04:05"), faults)
	c.states[state]++
	if asked > 1 {
		c.doubles++
		if !concerned.twice {
			c.problem("%s: got the target asked %d times at %v, want once; %+v", where, asked, g.times(id), of.results)
		}
	}
	c.repeats += max(0, len(of.results)-1)
	switch {
	case state.Measured():
		if of.verdict != nil {
			c.amended++
		}
		if by.autonomous {
			c.autonomous++
		}
		if asked == 0 {
			c.problem("%s: got it %s, want the target asked at least once", where, state)
		}
		if state != runs.StatePassed && (!by.tainted || by.class != runs.ClassTimeout) {
			c.problem("%s: got it %s %s %q, want it passed", where, state, by.class, by.detail)
		}
	case state == runs.StateInvalid:
		switch {
		case by.class == runs.ClassOverloaded || by.class == runs.ClassLinkOffProfile:
			c.unfit++
		case !concerned.invalid:
			c.problem("%s: got it invalid, %s %q, want it measured", where, by.class, by.detail)
		}
	default:
		c.reasons[reason]++
		switch {
		case slices.Contains(concerned.reasons, reason):
		case reason == runs.ReasonExpired && asked == 0:
			c.busy++
		default:
			c.problem("%s: got it %s %s, asked %d times, want it measured, or %v", where, state, reason, asked, concerned.reasons)
		}
	}
}

// strangers reports runs in the streams that no schedule makes.
func (c *tally) strangers(scenarios []scenario.Scenario, r *reader) {
	for id := range r.records {
		combination, slot, err := id.Parse()
		known := slices.ContainsFunc(scenarios, func(s scenario.Scenario) bool {
			return s.Name == combination.Scenario && s.Timetable().Next(combination, slot.Add(-time.Second)).Equal(slot)
		})
		if err != nil || !known {
			c.problem("%s: got it in the streams, want runs of the schedule only", id)
		}
	}
}

// counts are the decided slots of the whole history, by combination and state.
func (r *reader) counts() map[scenario.Combination]map[runs.State]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[scenario.Combination]map[runs.State]int{}
	for id, of := range r.records {
		c, _, err := id.Parse()
		if err != nil {
			continue
		}
		if out[c] == nil {
			out[c] = map[runs.State]int{}
		}
		state, _, _ := of.fold()
		out[c][state]++
	}
	return out
}
