package evaluate_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// The replays: twelve regions, a run a minute in each, 99.9 %. Both judges see the same runs, since whether a run fails follows from seed, region and
// time alone; only the engine sees confirmations, for only it asks for them.
const (
	replayRegions = 12
	replayTarget  = slo.Objective(0.999)
	replayNoise   = 0.001         // share of runs that fail for no reason
	replayBefore  = 4 * time.Hour // of good runs, before what is replayed
	replayFor     = 2 * time.Hour
	struck        = 7 // the region that an outage of one is of
)

// The long form is for BENCHMARKS.md: -replays 30.
var replays = flag.Int("replays", 1, "how many times more replays than usual")

// variants is in how many variants each outage is replayed, and quiet for how long what is to page nobody.
func variants() int        { return 7 * *replays }
func quiet() time.Duration { return time.Duration(*replays) * 3 * 24 * time.Hour }

// tape says which runs fail.
type tape struct {
	seed  uint64
	share func(tp *tape, region int, at time.Time) float64
}

// draw is a number from 0 to 1 that follows from its arguments.
func (tp *tape) draw(region int, what int64) float64 {
	var source rand.PCG
	source.Seed(tp.seed<<32|uint64(region), uint64(what))
	return float64(source.Uint64()>>11) / (1 << 53)
}

func (tp *tape) failed(region int, at time.Time) bool {
	return tp.draw(region, at.Unix()) < tp.share(tp, region, at)
}

// blips is noise, and in each region once a day one to three minutes in which every run fails.
func blips(tp *tape, region int, at time.Time) float64 {
	const day = 24 * time.Hour
	today := at.Truncate(day)
	begins := today.Add(time.Duration(tp.draw(region, -today.Unix()) * float64(day-3*time.Minute)))
	ends := begins.Add(time.Duration((1 + 2*tp.draw(region, -today.Unix()-1)) * float64(time.Minute)))
	if !at.Before(begins) && at.Before(ends) {
		return 1
	}
	return replayNoise
}

// textbook are the workbook's two rules that page, on good and bad events as they come: in each region, or over all of them together.
type textbook struct {
	bad, all []int64 // up to a minute
	firing   bool
	began    []time.Time
}

// minute enters a minute and asks the rules at its end.
func (b *textbook) minute(end time.Time, bad, all int64) {
	if len(b.bad) == 0 {
		b.bad, b.all = []int64{0}, []int64{0}
	}
	last := len(b.bad) - 1
	b.bad, b.all = append(b.bad, b.bad[last]+bad), append(b.all, b.all[last]+all)
	burn := func(w slo.Window) slo.Burn {
		from := max(0, len(b.bad)-1-int(w.Duration()/time.Minute))
		last := len(b.bad) - 1
		return slo.BurnRate(b.bad[last]-b.bad[from], b.all[last]-b.all[from], replayTarget)
	}
	met := slices.ContainsFunc(slo.WorkbookRules(), func(r slo.BurnRule) bool {
		return r.Severity == slo.SeverityPage && r.Met(burn(r.Long), burn(r.Short))
	})
	if met && !b.firing {
		b.began = append(b.began, end)
	}
	b.firing = met
}

// verdicts are when each judge paged: the engine, also but for what is degraded, and the textbook, also for one region.
type verdicts struct{ engine, outages, byRegion, struck, pooled []time.Time }

// watch lets time go by from epoch on, and returns when the engine paged, and when for an outage, of regions or of one: of a journey that is not
// critical those are all of its pages, and what is degraded a ticket. An alert that rises to a page does so then, and not when it began.
func (w *world) watch(d time.Duration) (pages, outages []time.Time) {
	seen := 0
	for minute := epoch; minute.Before(epoch.Add(d)); minute = minute.Add(time.Minute) {
		for second := range time.Duration(60) {
			at := minute.Add(second * time.Second)
			w.confirm(at)
			for region, phase := range w.phase {
				if phase == second*time.Second {
					w.run(region, at, runs.TriggerSchedule, "one")
				}
			}
			for _, a := range w.began[seen:] {
				if a.Severity == slo.SeverityPage {
					pages = append(pages, at.Add(takes))
					if a.Name != runs.AlertDegraded {
						outages = append(outages, at.Add(takes))
					}
				}
			}
			seen = len(w.began)
		}
	}
	return pages, outages
}

// replay has all judges see a tape, for that long from epoch on. The journey is critical: a region that is
// degraded pages, as in the textbook.
func replay(t *testing.T, tp *tape, d time.Duration) verdicts {
	t.Helper()
	w := newWorld(t, replayRegions, replayTarget, tp.seed, func(region int, at time.Time) float64 {
		if tp.failed(region, at) {
			return 1
		}
		return 0
	})
	w.journey.Alerts.Critical = true
	w.engine.Define([]scenario.Scenario{w.journey})
	var v verdicts
	v.engine, v.outages = w.watch(d)
	var pooled textbook
	regions := make([]textbook, replayRegions)
	for minute := epoch; minute.Before(epoch.Add(d)); minute = minute.Add(time.Minute) {
		var bad int64
		for n := range regions {
			var failed int64
			if tp.failed(n, minute.Add(w.phase[n])) {
				failed = 1
			}
			regions[n].minute(minute.Add(time.Minute), failed, 1)
			bad += failed
		}
		pooled.minute(minute.Add(time.Minute), bad, replayRegions)
	}
	for n := range regions {
		v.byRegion = append(v.byRegion, regions[n].began...)
	}
	v.struck = regions[struck].began
	slices.SortFunc(v.byRegion, time.Time.Compare)
	v.pooled = pooled.began
	return v
}

// found is how a judge saw outages: how long it took to page, one for each in which it did, and how often it paged in all of them.
type found struct {
	delays []time.Duration
	pages  int
}

// add enters an outage: when somebody was paged for it, and all pages.
func (f *found) add(begins time.Time, pages, all []time.Time) {
	f.pages += len(all)
	if len(pages) > 0 {
		f.delays = append(f.delays, pages[0].Sub(begins))
		slices.Sort(f.delays)
	}
}

// all reports whether it paged in every replay.
func (f *found) all() bool { return len(f.delays) == variants() }

// median and most need one delay at least.
func (f *found) median() time.Duration { return f.delays[len(f.delays)/2] }
func (f *found) most() time.Duration   { return f.delays[len(f.delays)-1] }

// String is as a table has it.
func (f *found) String() string {
	if len(f.delays) == 0 {
		return "never"
	}
	text := fmt.Sprintf("%.1f min, at most %.1f; %.1f pages", f.median().Minutes(), f.most().Minutes(), float64(f.pages)/float64(variants()))
	if !f.all() {
		text += fmt.Sprintf("; in %d of %d only", len(f.delays), variants())
	}
	return text
}

// TestReplayedOutages has the shipped engine and the textbook judge the same outages. The textbook is sooner only by paging for each single failure,
// which the test below counts.
func TestReplayedOutages(t *testing.T) {
	t.Parallel()
	one := func(p float64) func(int) float64 {
		return func(region int) float64 {
			if region == struck {
				return p
			}
			return replayNoise
		}
	}
	all := func(p float64) func(int) float64 { return func(int) float64 { return p } }
	begins := epoch.Add(replayBefore + 17*time.Second)
	table := []string{"| outage | engine | textbook, by region | textbook, regions pooled |", "|---|---|---|---|"}
	for _, outage := range []struct {
		name         string
		region       bool // it is one region's: pages of the textbook on others are for noise
		bad          func(region int) float64
		median, most time.Duration // of the engine
		pages        float64       // and how often it may page, in the mean
	}{
		{"one region, all runs", true, one(1), 5 * time.Minute, 6 * time.Minute, 1.2},
		{"one region, 20 % of the runs", true, one(0.2), 30 * time.Minute, 90 * time.Minute, 2},
		{"all regions, all runs", false, all(1), time.Minute, 2 * time.Minute, 1.2},
		{"all regions, 10 % of the runs", false, all(0.1), 6 * time.Minute, 20 * time.Minute, 2},
		{"all regions, 3 % of the runs", false, all(0.03), 25 * time.Minute, 100 * time.Minute, 4},
	} {
		var engine, byRegion, pooled found
		for seed := range uint64(variants()) {
			v := replay(t, &tape{100 + seed, func(_ *tape, region int, at time.Time) float64 {
				if at.Before(begins) {
					return 0
				}
				return outage.bad(region)
			}}, replayBefore+replayFor)
			engine.add(begins, v.engine, v.engine)
			own := v.byRegion
			if outage.region {
				own = v.struck
			}
			byRegion.add(begins, own, v.byRegion)
			pooled.add(begins, v.pooled, v.pooled)
		}
		table = append(table, fmt.Sprintf("| %s | %s | %s | %s |", outage.name, &engine, &byRegion, &pooled))
		if !engine.all() || engine.median() > outage.median || engine.most() > outage.most {
			t.Errorf("%s: got the engine to page after %s, want in all %d replays, after %s in the median and %s at most", outage.name, &engine, variants(), outage.median, outage.most)
		}
		if engine.all() && pooled.all() && engine.median() > pooled.median() {
			t.Errorf("%s: got the engine to page after %s, later than burn over all regions, %s", outage.name, &engine, &pooled)
		}
		if most := outage.pages * float64(variants()); float64(engine.pages) > most {
			t.Errorf("%s: got %d pages in %d outages, want at most %.0f", outage.name, engine.pages, variants(), most)
		}
	}
	t.Logf("\n%s", strings.Join(table, "\n"))
}

// TestReplayedQuiet has them judge what nobody is to be woken for.
func TestReplayedQuiet(t *testing.T) {
	t.Parallel()
	months := float64(quiet()) / float64(month)
	table := []string{"| what is to page nobody, pages in 30 days | engine | engine, critical journey | textbook, by region | textbook, regions pooled |", "|---|---|---|---|---|"}
	for _, q := range []struct {
		name           string
		share          func(tp *tape, region int, at time.Time) float64
		most, critical float64 // pages of the engine in 30 days
		textbook       float64 // pages of the textbook at least: else the replay shows nothing
	}{
		{"one run in a thousand fails", func(*tape, int, time.Time) float64 { return replayNoise }, 0.05, 0.05, 300},
		{"and all runs of each region for 1 to 3 min a day", blips, 1.3, 3, 600},
	} {
		v := replay(t, &tape{7, q.share}, quiet())
		in30 := func(pages []time.Time) string { return fmt.Sprintf("%.1f", float64(len(pages))/months) }
		table = append(table, fmt.Sprintf("| %s | %s | %s | %s | %s |", q.name, in30(v.outages), in30(v.engine), in30(v.byRegion), in30(v.pooled)))
		if got, most := len(v.outages), least(q.most*months); got > most {
			t.Errorf("%s: got %d pages in %s, want at most %.2f in 30 days, which is %d for all but one in a thousand", q.name, got, quiet(), q.most, most)
		}
		if got, most := len(v.engine), least(q.critical*months); got > most {
			t.Errorf("%s, critical: got %d pages in %s, want at most %.2f in 30 days, which is %d for all but one in a thousand", q.name, got, quiet(), q.critical, most)
		}
		if got := float64(len(v.byRegion)) / months; got < q.textbook {
			t.Errorf("%s: got %.0f pages by the textbook in 30 days, want %.0f at least", q.name, got, q.textbook)
		}
	}
	t.Logf("%s\n%s", slo.Window(quiet()), strings.Join(table, "\n"))
}
