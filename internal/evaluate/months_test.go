package evaluate_test

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"lastmile/internal/evaluate"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// The long form is for BENCHMARKS.md: -months 300 -outages 200.
var (
	months = flag.Int("months", 1, "journey-months of noise to simulate for false pages")
	seeds  = flag.Int("outages", 5, "times that each outage is simulated")
)

const month = 30 * 24 * time.Hour

// world is twelve regions that run one journey a minute each, in simulated time, with the shipped engine.
type world struct {
	engine  *evaluate.Engine
	journey scenario.Scenario
	phase   []time.Duration // of each region's slots within the minute
	source  *rand.PCG
	random  *rand.Rand
	bad     func(region int, at time.Time) float64 // the chance that a run fails
	result  runs.Result                            // used again and again
	cause   runs.Cause
	asked   []evaluate.ConfirmRequest
	began   []runs.Alert // alerts that were to be sent, by their beginnings
}

// noBooks know nothing: what they say is in alerts, and decides none.
type noBooks struct{}

func (noBooks) Objective(string, string, string, time.Time) (runs.ObjectiveStatus, bool) {
	return runs.ObjectiveStatus{}, false
}

var epoch = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)

// takes is from a slot to its result at the hub.
const takes = 2 * time.Second

func newWorld(t testing.TB, regions int, objective slo.Objective, seed uint64, bad func(int, time.Time) float64) *world {
	t.Helper()
	schedule, err := scenario.ParseSchedule("@every 1m")
	if err != nil {
		t.Fatal(err)
	}
	source := rand.NewPCG(seed, 1)
	w := &world{engine: evaluate.New(noBooks{}), source: source, random: rand.New(source), bad: bad, cause: runs.Cause{Class: runs.ClassTimeout, Step: "pay", Detail: "no answer"}}
	w.journey = scenario.Scenario{
		Name: "pay", Schedule: schedule, Timeout: scenario.Duration(20 * time.Second),
		SLOs: []scenario.SLO{{Name: "availability", Objective: objective, Window: slo.Window(month)}},
	}
	for n := range regions {
		w.journey.Regions = append(w.journey.Regions, fmt.Sprintf("region-%02d", n))
	}
	for _, c := range w.journey.Combinations() {
		w.phase = append(w.phase, schedule.Next(c, epoch.Add(-time.Second)).Sub(epoch))
	}
	w.engine.Define([]scenario.Scenario{w.journey})
	w.result = runs.Result{Schema: runs.Schema, Scenario: w.journey.Name, Network: "none", Revision: w.journey.Revision(), DurationMS: 900}
	return w
}

// run carries out one run, and enters its result.
func (w *world) run(region int, at time.Time, trigger runs.Trigger, probe string) {
	r := &w.result
	r.Region, r.Slot, r.Trigger, r.Probe, r.State, r.Cause = w.journey.Regions[region], at, trigger, probe, runs.StatePassed, nil
	r.StartedAt = at
	if w.random.Float64() < w.bad(region, at) {
		r.State, r.Cause = runs.StateFailed, &w.cause
	}
	r.RunID = runs.NewID(r.Combination(), at)
	w.engine.Result(r, at.Add(takes))
	w.tick(at.Add(takes))
}

func (w *world) tick(now time.Time) {
	d := w.engine.Tick(now)
	w.asked = append(w.asked, d.Confirm...)
	for _, a := range d.Changed {
		if a.Active() && !a.Inhibited && !slices.ContainsFunc(w.began, func(b runs.Alert) bool {
			return b.AlertKey == a.AlertKey && b.StartsAt.Equal(a.StartsAt) && b.Severity == a.Severity
		}) {
			w.began = append(w.began, a)
		}
	}
}

// pass lets time go by, in the order of the regions' slots within each minute.
func (w *world) pass(from time.Time, d time.Duration) {
	order := make([]int, len(w.phase))
	for n := range order {
		order[n] = n
	}
	slices.SortFunc(order, func(a, b int) int { return int(w.phase[a] - w.phase[b]) })
	for minute := from.Truncate(time.Minute); minute.Before(from.Add(d)); minute = minute.Add(time.Minute) {
		for _, region := range order {
			at := minute.Add(w.phase[region])
			w.confirm(at)
			w.run(region, at, runs.TriggerSchedule, "one")
		}
	}
}

// after lets time go by from epoch on, and returns what makes a world of its own that goes on from there.
func (w *world) after(t testing.TB, d time.Duration) func(bad func(int, time.Time) float64) *world {
	w.pass(epoch, d)
	var saved bytes.Buffer
	if err := w.engine.Save(&saved); err != nil {
		t.Fatal(err)
	}
	return func(bad func(int, time.Time) float64) *world {
		other, source := *w, *w.source
		other.engine, other.source, other.random, other.bad = evaluate.New(noBooks{}), &source, rand.New(&source), bad
		other.asked, other.began = slices.Clone(w.asked), slices.Clone(w.began)
		other.engine.Define([]scenario.Scenario{w.journey})
		if err := other.engine.Load(bytes.NewReader(saved.Bytes())); err != nil {
			t.Fatal(err)
		}
		return &other
	}
}

// confirm carries out the confirmations that were asked for before a time.
func (w *world) confirm(before time.Time) {
	for len(w.asked) > 0 && !w.asked[0].At.After(before) {
		c := w.asked[0]
		w.asked = w.asked[1:]
		w.run(slices.Index(w.journey.Regions, c.Combination.Region), c.At, runs.TriggerConfirm, "two")
	}
}

func (w *world) pages() (out []runs.Alert) {
	for _, a := range w.began {
		if a.Severity == slo.SeverityPage {
			out = append(out, a)
		}
	}
	return out
}

// least is the count that a Poisson variable with this mean exceeds once in a thousand times.
func least(mean float64) int {
	below, p := 0.0, math.Exp(-mean)
	for k := 0; ; k++ {
		if below += p; below > 0.999 {
			return k
		}
		p *= mean / float64(k+1)
	}
}

// Nobody is woken for chance: 99.9 %, twelve regions, a run a minute, one in a thousand failing for no reason.
func TestChanceDoesNotPage(t *testing.T) {
	t.Parallel()
	noise := func(int, time.Time) float64 { return 0.001 }
	pages, tickets := 0, 0
	for n := range *months {
		w := newWorld(t, 12, 0.999, uint64(n), noise)
		w.pass(epoch, month)
		pages += len(w.pages())
		tickets += len(w.began) - len(w.pages())
	}
	t.Logf("%d journey-months: %d false pages (%.3f in 30 days), %d tickets", *months, pages, float64(pages)/float64(*months), tickets)
	if most := least(0.05 * float64(*months)); pages > most {
		t.Errorf("got %d false pages in %d journey-months, want at most 0.05 in each, which is %d for all but one in a thousand", pages, *months, most)
	}
}

// outage is something that goes wrong, and how soon somebody is to be woken for it.
type outage struct {
	name   string
	bad    func(region int) float64
	scope  runs.Scope
	page   bool          // a page, not a ticket
	median time.Duration // until it begins
	most   time.Duration
}

func outages() []outage {
	one := func(p float64) func(int) float64 {
		return func(region int) float64 {
			if region == 4 {
				return p
			}
			return 0.001
		}
	}
	all := func(p float64) func(int) float64 { return func(int) float64 { return p } }
	return []outage{
		{"one region down", one(1), runs.ScopeRegion, true, 5 * time.Minute, 5 * time.Minute},
		{"one region 20 % bad", one(0.2), runs.ScopeRegion, false, 21 * time.Minute, 90 * time.Minute},
		{"all regions down", all(1), runs.ScopeGlobal, true, time.Minute, time.Minute},
		{"all regions 10 % bad", all(0.1), runs.ScopeGlobal, true, 4 * time.Minute, 30 * time.Minute},
		{"all regions 3 % bad", all(0.03), runs.ScopeGlobal, true, 18 * time.Minute, 2 * time.Hour},
	}
}

// Whatever is wrong is found in time, and said to be where it is.
func TestOutagesAreFoundInTime(t *testing.T) {
	t.Parallel()
	warm := map[uint64]func(bad func(int, time.Time) float64) *world{} // by seed: twelve hours in which all is well, which the outages have in common
	for seed := range uint64(*seeds) {
		warm[seed] = newWorld(t, 12, 0.999, 1000+seed, func(int, time.Time) float64 { return 0.001 }).after(t, 12*time.Hour)
	}
	for _, o := range outages() {
		t.Run(o.name, func(t *testing.T) {
			var delays []time.Duration
			for seed := range uint64(*seeds) {
				begins := epoch.Add(12*time.Hour + time.Duration(seed)*7*time.Second)
				w := warm[seed](func(region int, at time.Time) float64 {
					if at.Before(begins) {
						return 0.001
					}
					return o.bad(region)
				})
				before := len(w.began)
				w.pass(epoch.Add(12*time.Hour), 3*time.Hour)
				i := slices.IndexFunc(w.began[before:], func(a runs.Alert) bool {
					return a.Scope == o.scope && (!o.page || a.Severity == slo.SeverityPage) && (o.scope == runs.ScopeGlobal || a.Region == w.journey.Regions[4])
				})
				if i < 0 {
					t.Fatalf("seed %d: got %+v, want an alert of scope %s", seed, w.began[before:], o.scope)
				}
				delays = append(delays, w.began[before+i].StartsAt.Sub(begins))
			}
			slices.Sort(delays)
			median, most := delays[len(delays)/2], delays[len(delays)-1]
			t.Logf("| %s | %s | %s |", o.name, median.Round(time.Second), most.Round(time.Second))
			chance := time.Duration(2 * float64(o.median) / math.Sqrt(float64(*seeds))) // the median of few is anywhere near that of many
			if median > o.median+chance || most > o.most {
				t.Errorf("got it found after %s in the median, %s at most, want %s (%s more by chance) and %s: %v", median, most, o.median, chance, o.most, delays)
			}
		})
	}
}
