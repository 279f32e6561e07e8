// Package baseline knows what is usual: how long the runs of each combination take at each hour of the week, over about the last four weeks.
// It is a second number beside an objective ("slower than usual here"), and never moves one.
//
// It is a fold over results alone: what it says after a replay is what it said before.
package baseline

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

const (
	hours      = 7 * 24
	fourWeeks  = 4      // occurrences of an hour that its figures come from, in the mean
	thin       = 200    // k: of a figure of so many runs half is the region's own, and half that of all regions
	leastUsual = 30     // runs of an hour of the week before anything is said of it
	leastNow   = 20     // runs of late before they are compared
	maxSample  = 64     // durations of an hour that its median comes from
	toSigma    = 1.4826 // the median absolute deviation of a normal distribution is sigma / 1.4826
	to95       = 1.6449 // its 95 % quantile is so many sigmas above its median
	leastMAD   = 0.01   // of the logarithm: what is always the same would make any change evidence

	leastEffect = 0.2                    // share by which runs must be slower to be worth a word
	leastLag    = 100 * time.Millisecond // likewise
	evidence    = -5                     // log10 of how likely it may be by chance
)

// Baseline is safe for concurrent use.
type Baseline struct {
	mu       sync.Mutex
	all      map[scenario.Combination]*entry
	siblings map[sibling][]*entry // of all regions
	places   map[place][]*entry   // of all networks
}

// sibling is what the regions of a combination share.
type sibling struct{ scenario, network string }

// place is what the networks of a combination share.
type place struct{ scenario, region string }

// entry is one combination's. Durations are kept as logarithms.
type entry struct {
	combination scenario.Combination
	usual       [hours]figures
	hour        int64 // since the Unix epoch, that recent is of
	recent, old sample
}

// figures are of one hour of the week.
type figures struct {
	median logarithm
	mad    logarithm // median absolute deviation
	runs   uint16    // that they come from, less those that have been forgotten
}

// New returns a baseline that knows nothing.
func New() *Baseline {
	return &Baseline{all: map[scenario.Combination]*entry{}, siblings: map[sibling][]*entry{}, places: map[place][]*entry{}}
}

// Result takes up a run of the schedule that entered the books. Others, and runs that failed or are tainted, have no duration worth the name.
func (b *Baseline) Result(r *runs.Result) {
	if r.Trigger != runs.TriggerSchedule || r.State != runs.StatePassed && r.State != runs.StateDegraded || len(r.Tainted) > 0 || r.DurationMS <= 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entry(r.Combination())
	hour := hourOf(r.Slot)
	if hour < e.hour { // too late: that hour has been summed up
		return
	}
	if hour > e.hour {
		e.turn(hour)
	}
	x := logarithmOf(r.Duration())
	e.recent.add(x)
	if limit, ok := b.limit(e, hour); ok && float64(x) > limit {
		e.recent.over++
	}
}

func (b *Baseline) entry(c scenario.Combination) *entry {
	e, ok := b.all[c]
	if !ok {
		e = &entry{combination: c}
		b.insert(e)
	}
	return e
}

func (b *Baseline) insert(e *entry) {
	key := sibling{e.combination.Scenario, e.combination.Network}
	b.all[e.combination] = e
	b.siblings[key] = append(b.siblings[key], e)
	slices.SortFunc(b.siblings[key], func(x, y *entry) int { return cmp.Compare(x.combination.Region, y.combination.Region) })
	there := place{e.combination.Scenario, e.combination.Region}
	b.places[there] = append(b.places[there], e)
	slices.SortFunc(b.places[there], func(x, y *entry) int { return cmp.Compare(x.combination.Network, y.combination.Network) })
}

// turn sums up the hour that is over, and begins another.
func (e *entry) turn(hour int64) {
	if e.recent.n > 0 {
		e.usual[ofWeek(e.hour)].learn(&e.recent)
	}
	e.old = sample{}
	if hour == e.hour+1 {
		e.old = e.recent
	}
	e.hour, e.recent = hour, sample{}
}

// learn takes up one occurrence of the hour. Each weighs by its runs, those of weeks ago less and less.
func (f *figures) learn(s *sample) {
	median, mad := s.figures()
	known := float64(f.runs) * (fourWeeks - 1) / fourWeeks
	if f.runs <= uint16(min(s.n, maxRuns)) { // few weeks are known yet: all of them weigh the same
		known = float64(f.runs)
	}
	share := float64(s.n) / (known + float64(s.n))
	f.median += logarithm(math.Round(share * (float64(median) - float64(f.median)))) // which may be further apart than a logarithm reaches
	f.mad += logarithm(math.Round(share * (float64(mad) - float64(f.mad))))
	f.runs = uint16(min(known+float64(s.n), maxRuns))
}

// maxRuns is what figures count to.
const maxRuns = math.MaxUint16

// ofWeek is which hour of the week an hour since the epoch is.
func ofWeek(hour int64) int { return int(hour % hours) }

// shrunk are a combination's figures at an hour of the week: its own as far as they are of many runs, else those of all regions; ok=false where
// too little is known.
func (b *Baseline) shrunk(e *entry, hour int64) (median, mad float64, n int, ok bool) {
	at := ofWeek(hour)
	var all, sumMedian, sumMAD float64
	for _, s := range b.siblings[sibling{e.combination.Scenario, e.combination.Network}] {
		f := &s.usual[at]
		all += float64(f.runs)
		sumMedian += float64(f.runs) * float64(f.median)
		sumMAD += float64(f.runs) * float64(f.mad)
	}
	own := &e.usual[at]
	if own.runs < leastUsual {
		return 0, 0, 0, false
	}
	weight := float64(own.runs)
	median = (weight*float64(own.median) + thin*sumMedian/all) / (weight + thin)
	mad = (weight*float64(own.mad) + thin*sumMAD/all) / (weight + thin)
	return median, max(mad, leastMAD*perUnit), int(own.runs), true
}

// limit is the logarithm that one run in twenty exceeds at an hour of the week.
func (b *Baseline) limit(e *entry, hour int64) (limit float64, ok bool) {
	median, mad, _, ok := b.shrunk(e, hour)
	return median + to95*toSigma*mad, ok
}

// Comparison is how a combination's runs of late compare with what is usual at this hour of the week.
type Comparison struct {
	scenario.Combination
	Median time.Duration // usual
	P95    time.Duration // usual: as an objective's threshold it would ask for nothing but that all stay as it is
	Runs   int           // that these come from

	Now    time.Duration // median of late
	Of     int           // runs of late: of this hour, and of the one before where this one has few; 0 = too few to compare
	Over   int           // of those, the ones slower than P95
	Log10P float64       // how likely so many are by chance
	Slower bool          // on evidence, and enough to matter
}

// Compare says how a combination stands; ok=false where too little is known of it at that hour, or of late.
func (b *Baseline) Compare(c scenario.Combination, now time.Time) (out Comparison, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e, known := b.all[c]; known {
		return b.compare(e, now)
	}
	return out, false
}

func (b *Baseline) compare(e *entry, now time.Time) (out Comparison, ok bool) {
	if hour := hourOf(now); hour < e.hour || hour > e.hour+1 {
		return out, false
	}
	if out, ok = b.known(e, e.hour); !ok {
		return out, false
	}
	late := e.recent
	if late.n < leastNow {
		late.merge(&e.old)
	}
	if late.n < leastNow {
		return out, false
	}
	median, _ := late.figures()
	out.Now, out.Of, out.Over = median.duration(), int(late.n), int(late.over)
	out.Log10P = slo.BinomialTail(int64(out.Over), int64(out.Of), 0.05).Log10()
	more := out.Now - out.Median
	out.Slower = out.Log10P <= evidence && more >= leastLag && float64(more) >= leastEffect*float64(out.Median)
	return out, true
}

// known is what is usual at an hour of the week; ok=false where too little is known of it.
func (b *Baseline) known(e *entry, hour int64) (out Comparison, ok bool) {
	median, mad, n, ok := b.shrunk(e, hour)
	if !ok {
		return out, false
	}
	return Comparison{Combination: e.combination, Median: logarithm(median).duration(), P95: logarithm(median + to95*toSigma*mad).duration(), Runs: n}, true
}

func hourOf(t time.Time) int64 { return t.Unix() / int64(time.Hour/time.Second) }

// All says what is usual at this hour for every combination of which enough is known and that has run in the last day, and compares those that have run often enough
// of late; ordered by scenario, region and network.
func (b *Baseline) All(now time.Time) []Comparison {
	b.mu.Lock()
	defer b.mu.Unlock()
	names := slices.SortedFunc(maps.Keys(b.all), func(x, y scenario.Combination) int {
		return cmp.Or(cmp.Compare(x.Scenario, y.Scenario), cmp.Compare(x.Region, y.Region), cmp.Compare(x.Network, y.Network))
	})
	var out []Comparison
	for _, c := range names {
		e := b.all[c]
		hour := hourOf(now)
		one, ok := b.known(e, hour)
		if hour < e.hour || hour > e.hour+24 {
			ok = false
		} else if late, compared := b.compare(e, now); ok && compared {
			late.Median, late.P95, late.Runs = one.Median, one.P95, one.Runs
			one = late
		}
		if ok {
			out = append(out, one)
		}
	}
	return out
}

// Describe says in a sentence how a scenario compares in a region, for each network of which enough is known; "" where none is.
func (b *Baseline) Describe(name, region string, now time.Time) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for _, e := range b.places[place{name, region}] {
		c, ok := b.compare(e, now)
		if !ok {
			continue
		}
		word := "as usual"
		if c.Slower {
			word = "slower than usual"
		}
		out = append(out, fmt.Sprintf("%s: %s here at this hour: median %s, usually %s (P95 %s, %d runs)",
			c.Network, word, round(c.Now), round(c.Median), round(c.P95), c.Runs))
	}
	return strings.Join(out, "; ")
}

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
