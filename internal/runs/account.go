package runs

import (
	"maps"
	"slices"
	"time"

	"lastmile/internal/cachestate"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// SlotRecord is one slot of a combination as the books have it.
type SlotRecord struct {
	RunID   ID        `json:"run_id"`
	Slot    time.Time `json:"slot"`
	State   State     `json:"state"`
	Reason  Reason    `json:"reason,omitempty"`  // of a missing or skipped one
	Cause   *Cause    `json:"cause,omitempty"`   // of an invalid, failed or degraded one, its detail cut to 200 bytes; nil where it is no longer kept
	Amended bool      `json:"amended,omitempty"` // it was missing or skipped, and reported after all
}

// StateCounts counts slots by state.
type StateCounts map[State]int64

// Planned is the sum of all states.
func (c StateCounts) Planned() int64 {
	var n int64
	for _, v := range c {
		n += v
	}
	return n
}

// Accounted is what has come to an end: planned less pending.
func (c StateCounts) Accounted() int64 { return c.Planned() - c[StatePending] }

// Account is what the ledger says of one combination. The caller owns it.
type Account struct {
	scenario.Combination
	Counts      StateCounts      // slots as they stand
	Reasons     map[Reason]int64 // of the missing and skipped ones
	Entered     StateCounts      // how often a slot entered a state; never falls. Pending = planned
	EverReasons map[Reason]int64 // likewise
	Classes     map[Class]int64  // of causes of entered results
	Duplicates  int64
	Unscheduled int64
	Amended     int64 // missing or skipped, then reported after all
	Tainted     int64 // measured on a machine or in a browser whose times are not to be trusted: not in Latency
	Cache       map[cachestate.State]int64
	Served      []Served
	Lookups     []Lookups
	Ages        []Ages
	Routed      Routed
	Recent      map[time.Duration][]Routed // by window, see LatencyWindows: one for each step
	Exposed     int64                      // answers that a shared cache ought not to have given
	Dropped     int64                      // requests that results left out: they are not in Served, Lookups, Ages, Routed, Exposed and Indicators
	Overflow    map[string]int64           // answers that are counted as other since there are too many names, by label: pop, served
	Indicators  []Indicator                // of objectives with sli cache-hit, routing or freshness
	Latency     map[time.Duration]Latency  // by window: see LatencyWindows
	Budget      *Budget                    // nil where the scenario has no availability objective
	Last        *Cause                     // of the newest run that did not simply pass
}

// Latency holds quantiles of the durations of successful runs in a window. A failed run has no duration worth the name: it ended
// early, or at its timeout.
type Latency struct {
	P50, P95 slo.Estimate
}

// LatencyWindows lists the windows for which accounts give a Latency.
func LatencyWindows() []time.Duration { return []time.Duration{time.Hour, 24 * time.Hour} }

// Served counts the requests that one region's backend answered.
type Served struct {
	Region   string
	Expected bool
	Requests int64
}

// Budget is the state of a combination's availability budget.
type Budget struct {
	Objective slo.Objective
	Window    slo.Window
	Planned   int64     // slots of the whole window
	Remaining slo.Ratio // 1 = all of it; below 0 = overspent
	Counts    slo.Counts
}

// CacheRatio returns the share of CDN answers that came from the cache, of those that could have; ok=false where there were none.
func (a *Account) CacheRatio() (ratio slo.Ratio, ok bool) {
	var hits, all int64
	for state, n := range a.Cache {
		if !state.Counts() {
			continue
		}
		all += n
		if state.Hit() {
			hits += n
		}
	}
	if all == 0 {
		return 0, false
	}
	return slo.Ratio(float64(hits) / float64(all)), true
}

// RegionTotal sums the books of one region.
type RegionTotal struct {
	Region    string
	Planned   int64
	Accounted int64
	Counts    StateCounts
}

// Totals sums accounts by region, in the order of their names.
func Totals(accounts []Account) []RegionTotal {
	byRegion := map[string]*RegionTotal{}
	for i := range accounts {
		a := &accounts[i]
		t, ok := byRegion[a.Region]
		if !ok {
			t = &RegionTotal{Region: a.Region, Counts: StateCounts{}}
			byRegion[a.Region] = t
		}
		for state, n := range a.Counts {
			t.Counts[state] += n
		}
	}
	var out []RegionTotal
	for _, region := range slices.Sorted(maps.Keys(byRegion)) {
		t := byRegion[region]
		t.Planned, t.Accounted = t.Counts.Planned(), t.Counts.Accounted()
		out = append(out, *t)
	}
	return out
}
