package exposition

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"lastmile/internal/cachestate"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// at is when the fixed data was taken.
var at = time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)

var checkout = scenario.Combination{Scenario: "checkout", Region: "eu-central", Network: "3g"}

// checkoutScenario is the definition behind the fixed data.
func checkoutScenario() scenario.Scenario {
	schedule, err := scenario.ParseSchedule("@every 1m")
	if err != nil {
		panic(err)
	}
	return scenario.Scenario{
		Name: "checkout", Schedule: schedule, Timeout: scenario.Duration(45 * time.Second), Regions: scenario.Strings{"eu-central"}, Networks: []string{"3g"},
		Steps: []scenario.Step{{ID: "home"}, {}, {ID: "pay"}},
		SLOs: []scenario.SLO{
			{Name: "fast", SLI: scenario.SLILatency, Threshold: scenario.Duration(4 * time.Second), Objective: 0.95, Window: slo.Window(24 * time.Hour)},
			{Name: "quick-pay", SLI: scenario.SLILatency, Step: "pay", Threshold: scenario.Duration(120 * time.Millisecond), Objective: 0.95, Window: slo.Window(24 * time.Hour)},
			{Name: "edge-cache", SLI: scenario.SLICacheHit, Match: "*/assets/*", Objective: 0.9, Window: slo.Window(24 * time.Hour)},
		},
	}
}

// accounts are the books of one combination that has seen everything, n times over, and of one that has seen nothing.
func accounts(n int64) []runs.Account {
	durations := make([]time.Duration, 100)
	for i := range durations {
		durations[i] = time.Duration(i+1) * 50 * time.Millisecond
	}
	few := durations[:10]
	return []runs.Account{
		{
			Combination: checkout,
			Counts: runs.StateCounts{
				runs.StatePassed: 80 * n, runs.StateDegraded: 10 * n, runs.StateFailed: 5 * n, runs.StateInvalid: n,
				runs.StateMissing: 3 * n, runs.StateSkipped: n, runs.StatePending: 2,
			},
			Entered: runs.StateCounts{
				runs.StatePassed: 80 * n, runs.StateDegraded: 10 * n, runs.StateFailed: 5 * n, runs.StateInvalid: 2 * n,
				runs.StateMissing: 7 * n, runs.StateSkipped: n, runs.StatePending: 100*n + 2,
			},
			EverReasons: map[runs.Reason]int64{runs.ReasonNoProbe: 4 * n, runs.ReasonLost: 2 * n, "new_reason": n, runs.ReasonMaintenance: n},
			Classes:     map[runs.Class]int64{runs.ClassTimeout: 3 * n, runs.ClassHTTP5xx: 2 * n, runs.ClassBudget: 10 * n, "new_class": n},
			Duplicates:  2 * n, Unscheduled: n, Amended: 4 * n, Tainted: 3 * n,
			Cache:  map[cachestate.State]int64{cachestate.Hit: 300 * n, cachestate.Miss: 50 * n, cachestate.Unknown: 7 * n, cachestate.Uncacheable: 20 * n},
			Served: []runs.Served{{Region: "eu", Expected: true, Requests: 95 * n}, {Region: "us", Requests: 5 * n}},
			Lookups: []runs.Lookups{
				{Class: "edge-cache", PoP: "FRA", Hits: 80 * n, Stale: 4 * n, Other: 36 * n},
				{Class: "edge-cache", PoP: "FRA", Warm: true, Hits: 190 * n, Other: 10 * n},
				{Class: "other", PoP: "unknown", Hits: 30 * n, Other: 4 * n},
			},
			Ages:   []runs.Ages{{Class: "edge-cache", Sum: time.Duration(n) * 270 * time.Minute, Count: 270 * n}, {Class: "other"}},
			Routed: runs.Routed{Right: runs.Waits{Sum: time.Duration(n) * 95 * 100 * time.Millisecond, Count: 95 * n}, Wrong: runs.Waits{Sum: time.Duration(n) * 5 * 350 * time.Millisecond, Count: 5 * n}},
			Recent: map[time.Duration][]runs.Routed{
				time.Hour:      {{Right: runs.Waits{Sum: time.Second, Count: 10}, Wrong: runs.Waits{Sum: 700 * time.Millisecond, Count: 2}}},
				24 * time.Hour: {{Right: runs.Waits{Sum: time.Second, Count: 10}}},
			},
			Exposed:    2 * n,
			Dropped:    6 * n,
			Overflow:   map[string]int64{"pop": n},
			Indicators: []runs.Indicator{{Name: "edge-cache", SLI: scenario.SLICacheHit, Good: 274 * n, Total: 320 * n}, {Name: "routing", SLI: scenario.SLIRouting, Good: 95 * n, Total: 100 * n}},
			Latency: map[time.Duration]runs.Latency{
				time.Hour:      {P50: slo.QuantileSorted(few, 0.5), P95: slo.QuantileSorted(few, 0.95)},
				24 * time.Hour: {P50: slo.QuantileSorted(durations, 0.5), P95: slo.QuantileSorted(durations, 0.95)},
			},
		},
		{
			Combination: copied, Indicators: []runs.Indicator{{Name: "fresh", SLI: scenario.SLIFreshness, Good: 9 * n, Total: 10 * n}},
		},
		{Combination: search},
	}
}

// fixedSources are sources whose counters grow with every scrape where grow is set.
func fixedSources(grow bool) CoordinatorSources {
	n := int64(1)
	return CoordinatorSources{
		Version: "v1.2.3",
		Accounts: func() []runs.Account {
			if grow {
				n++
			}
			return accounts(n)
		},
		Probes: func() []runs.ProbeStatus {
			return []runs.ProbeStatus{
				{Region: "eu-central", Name: "a", Version: "v1.2.3", Up: true, LastSeen: at, ClockOffset: 1500 * time.Microsecond, ClockError: 250 * time.Microsecond, Slots: 4, Running: 3, Spooled: 2, Browser: true, Rejected: 1, SpoolBytes: 4096},
				{Region: "us-east", Name: "b", Version: `v"0\9`, LastSeen: at.Add(-time.Hour), ClockOffset: -2 * time.Second, Slots: 1, Autonomous: true, Left: true},
			}
		},
		Bus: func() BusState {
			return BusState{Connected: true, Reconnects: 2, Rejected: map[string]int64{"result": 1, "heartbeat": 0}}
		},
		DispatchFailures:  func() int64 { return 3 },
		HeartbeatsRefused: func() int64 { return 0 },
		Health:            fixedHealth,
		Objectives:        fixedObjectives,
		Journeys:          fixedJourneys,
		Alerts:            fixedAlerts,
		Sinks:             func() []Sink { return fixedSinks(n) },
		Usual: func() []Usual {
			return []Usual{{Combination: checkout, Median: 3 * time.Second, P95: 4500 * time.Millisecond, Runs: 240, Slower: true}}
		},
		Now:      func() time.Time { return at },
		Networks: netprofile.Presets(),
	}
}

// fixedHealth is that of a coordinator that leads.
func fixedHealth() CoordinatorHealth {
	return CoordinatorHealth{
		Leading: true, Term: 7, ClockJumps: 1, ClockOffset: -1500 * time.Millisecond,
		SnapshotAt: at.Add(-time.Minute), SnapshotErrors: 2, SnapshotBytes: 3 << 20, RestoreSeconds: 4.5, ResultsLag: 20 * time.Millisecond,
		Regions: []RegionLoad{{Region: "eu-central", Demand: 2.5, Places: 4, ResultsBytes: 123_456, ResultsLimit: 1 << 30}, {Region: "us-east", Demand: 0.25}},
	}
}

// ms is a phase's length.
func ms(v float64) *float64 { return &v }

// result is a result of the checkout scenario.
func result(state runs.State, duration time.Duration) *runs.Result {
	r := &runs.Result{
		Schema: runs.Schema, RunID: runs.NewID(checkout, at), Scenario: checkout.Scenario, Region: checkout.Region, Network: checkout.Network,
		Slot: at, Trigger: runs.TriggerSchedule, State: state, DurationMS: float64(duration) / float64(time.Millisecond),
		Steps: []runs.Step{{ID: "home", State: runs.StepPassed, DurationMS: 250.5}},
		Navigations: []runs.Navigation{
			{Step: "home", Vitals: runs.Vitals{TTFB: ms(600), FCP: ms(1100), LCP: ms(1800.25), CLS: ms(0.08), INP: ms(40)}},
			{Step: "2", Soft: true, Vitals: runs.Vitals{CLS: ms(0.01)}},
		},
		Link: runs.Link{Down: &runs.LinkTraffic{Delivered: 9, LateMeanMS: 0.04}, Up: &runs.LinkTraffic{Delivered: 7, LateMeanMS: 0.15}},
		Requests: []runs.Request{
			{Status: 200, Cache: cachestate.Result{Tier: cachestate.ShieldHit}, Bytes: 2000, Phases: runs.Phases{DNS: ms(10), Connect: ms(300), TLS: ms(150), Wait: ms(400), Receive: ms(20)}},
			{Status: 200, Bytes: 500, Phases: runs.Phases{Wait: ms(100), Receive: ms(5)}},
			{Status: 200, Bytes: 9999, BrowserCache: "disk", Phases: runs.Phases{Wait: ms(9999)}},
		},
	}
	switch state {
	case runs.StateInvalid:
		r.Cause = &runs.Cause{Class: runs.ClassLinkOffProfile}
	case runs.StateDegraded:
		r.Steps = append(r.Steps, runs.Step{ID: "pay", State: runs.StepDegraded, DurationMS: 120})
	case runs.StateFailed:
		r.Steps = append(r.Steps, runs.Step{ID: "2", State: runs.StepFailed}, runs.Step{ID: "unheard-of", State: runs.StepFailed}, runs.Step{ID: "pay", State: runs.StepSkipped})
	}
	return r
}

// copied is what reads in eu-central what is written in us-east.
var copied = scenario.Combination{Scenario: "copied", Region: "eu-central", Network: "none"}

// copiedScenario is the definition behind it.
func copiedScenario() scenario.Scenario {
	s := checkoutScenario()
	s.Name, s.Kind, s.Regions, s.Networks, s.SLOs = copied.Scenario, scenario.KindReplication, scenario.Strings{"us-east", "eu-central"}, nil, nil
	s.Timeout = scenario.Duration(10 * time.Second)
	s.Replication = &scenario.Replication{From: "us-east", VisibleWithin: scenario.Duration(2 * time.Second)}
	return s
}

// readResult is a result of a run that read; lag is nil where it never saw the write.
func readResult(lag *float64) *runs.Result {
	r := result(runs.StatePassed, 20*time.Millisecond)
	r.Scenario, r.Region, r.Network, r.RunID, r.Requests, r.Steps, r.Navigations = copied.Scenario, copied.Region, copied.Network, runs.NewID(copied, at), nil, nil, nil
	r.Replication = &runs.Replication{From: "us-east", LagMS: lag, ErrorMS: 110, Looks: 8, StaleReads: 3, Backwards: 1}
	if lag == nil {
		r.State, r.Replication.Lost, r.Replication.StaleReads = runs.StateFailed, true, 8
	}
	return r
}

var search = scenario.Combination{Scenario: "search", Region: "us-east", Network: "none"}

// searchScenario has one step.
func searchScenario() scenario.Scenario {
	s := checkoutScenario()
	s.Name, s.Regions, s.Networks, s.SLOs, s.Timeout = search.Scenario, scenario.Strings{search.Region}, []string{search.Network}, nil, scenario.Duration(5*time.Second)
	s.Steps = []scenario.Step{{ID: "open"}}
	return s
}

// searchResult is the i-th of the scenario's, each 10 ms slower than the one before.
func searchResult(i int) *runs.Result {
	slot := at.Add(time.Duration(i-80) * time.Minute)
	took := 100 + 10*float64(i)
	return &runs.Result{
		Schema: runs.Schema, RunID: runs.NewID(search, slot), Scenario: search.Scenario, Region: search.Region, Network: search.Network,
		Slot: slot, Trigger: runs.TriggerSchedule, State: runs.StatePassed, DurationMS: took,
		Steps:       []runs.Step{{ID: "open", State: runs.StepPassed, DurationMS: took}},
		Navigations: []runs.Navigation{{Step: "open", Vitals: runs.Vitals{LCP: ms(took), CLS: ms(float64(i) / 1000)}}},
	}
}

// fixedCoordinator has seen a few results.
func fixedCoordinator(sources CoordinatorSources) *Coordinator {
	c := NewCoordinator(sources)
	c.Define([]scenario.Scenario{checkoutScenario(), copiedScenario(), searchScenario()})
	for i := range 80 {
		c.Observe(searchResult(i))
	}
	c.Observe(readResult(ms(730)))
	c.Observe(readResult(nil))
	c.Observe(result(runs.StatePassed, 3*time.Second))
	busy := result(runs.StatePassed, 40*time.Second)
	busy.Tainted, busy.Load = []string{"machine busy"}, &runs.Load{LateMS: 1500}
	c.Observe(busy)
	c.Observe(result(runs.StateDegraded, 4*time.Second))
	c.Observe(result(runs.StateFailed, time.Second))
	c.Observe(result(runs.StateInvalid, time.Second))
	again := result(runs.StateFailed, time.Second)
	again.Trigger = runs.TriggerConfirm
	c.Observe(again)
	c.DispatchLag("eu-central", 20*time.Millisecond)
	c.DispatchLag("eu-central", -time.Millisecond)
	return c
}

func fixedProbe() *Probe {
	return NewProbe(ProbeSources{Region: "eu-central", Name: "a", Version: "v1.2.3", Stats: func() ProbeStats {
		return ProbeStats{
			Results: map[runs.State]int64{runs.StatePassed: 7, runs.StateFailed: 1}, Taken: 9, Expired: 1, Rejected: 2, Repeated: 3,
			Running: 1, Slots: 4, Spooled: 5, SpoolCorrupt: 6, SpoolErrors: 7, HubConnected: true, Reconnects: 8,
			ArtefactBytes: 1 << 20, ArtefactFiles: 11, ArtefactsDropped: 12, ArtefactsExpired: 13, ArtefactErrors: 14,
			SpoolBytes: 1 << 16, SpoolLimit: 1 << 30, SpoolFull: true, SpoolShed: 15, SpoolResent: 18, Autonomous: true, AutonomousRuns: 16, AutonomousMissed: 19, Peers: 2, Fenced: 17, ClockCorrected: true,
			BoundCores: 1, BusyCores: 1.25, Waiting: 2, Refused: 3,
			LastHeartbeat: at.Add(250 * time.Millisecond), ClockOffset: -1500 * time.Microsecond, ClockError: 300 * time.Microsecond, BrowserAvailable: true,
		}
	}})
}

// written returns what write gives.
func written(write func(io.Writer)) string {
	var b bytes.Buffer
	write(&b)
	return b.String()
}

// series reads an exposition into values by series, and fails where one is there twice.
func series(t testing.TB, text string) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "#") {
			continue
		}
		space := strings.LastIndexByte(line, ' ')
		if space < 0 {
			t.Fatalf("got line %q, want a series and a value", line)
		}
		value, err := strconv.ParseFloat(line[space+1:], 64)
		if err != nil {
			t.Fatalf("got line %q: %v", line, err)
		}
		if _, twice := out[line[:space]]; twice {
			t.Errorf("series %s is there twice", line[:space])
		}
		out[line[:space]] = value
	}
	return out
}

// want checks values of series.
func want(t testing.TB, got map[string]float64, wanted map[string]float64) {
	t.Helper()
	for name, value := range wanted {
		if v, ok := got[name]; !ok || v != value {
			t.Errorf("%s: got %v (there: %t), want %v", name, v, ok, value)
		}
	}
}

const labelsOfCheckout = `scenario="checkout",region="eu-central",network="3g"`

// named makes a series of the checkout combination.
func named(metric, more string) string {
	if more != "" {
		more = "," + more
	}
	return fmt.Sprintf("%s{%s%s}", metric, labelsOfCheckout, more)
}
