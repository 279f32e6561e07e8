package baseline

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

var start = time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC) // a Monday

func shop(region string) scenario.Combination {
	return scenario.Combination{Scenario: "shop", Region: region, Network: "3g"}
}

func result(c scenario.Combination, at time.Time, took time.Duration) *runs.Result {
	return &runs.Result{
		Scenario: c.Scenario, Region: c.Region, Network: c.Network, Slot: at, State: runs.StatePassed, Trigger: runs.TriggerSchedule,
		DurationMS: float64(took) / float64(time.Millisecond),
	}
}

// feed enters a run a minute from one time to another. Durations are log-normal: median as given, sigma 0.1.
func feed(b *Baseline, c scenario.Combination, random *rand.Rand, from, to time.Time, median func(time.Time) time.Duration) {
	for at := from; at.Before(to); at = at.Add(time.Minute) {
		b.Result(result(c, at, time.Duration(float64(median(at))*math.Exp(0.1*random.NormFloat64()))))
	}
}

// evenings is twice as slow from 18 to 22 as at other times.
func evenings(at time.Time) time.Duration {
	if h := at.Hour(); h >= 18 && h < 22 {
		return 2 * time.Second
	}
	return time.Second
}

func near(got, want time.Duration, by float64) bool {
	return math.Abs(float64(got)-float64(want)) <= by*float64(want)
}

func TestEachHourHasItsOwnUsual(t *testing.T) {
	b, random := New(), rand.New(rand.NewPCG(1, 2))
	now := start.Add(14*24*time.Hour + 20*time.Hour + 50*time.Minute)
	feed(b, shop("us"), random, start, now, evenings)
	got, ok := b.Compare(shop("us"), now)
	if !ok || !near(got.Median, 2*time.Second, 0.05) || !near(got.P95, time.Duration(float64(2*time.Second)*math.Exp(1.645*0.1)), 0.06) || got.Runs != 120 {
		t.Errorf("in the evening: got %+v, %t, want a median of 2 s from 120 runs", got, ok)
	}
	if got.Slower || !near(got.Now, 2*time.Second, 0.1) {
		t.Errorf("in the evening: got %+v, want it as slow as usual", got)
	}
	feed(b, shop("us"), random, now, now.Add(3*time.Hour), evenings)
	if got, ok := b.Compare(shop("us"), now.Add(3*time.Hour-time.Minute)); !ok || !near(got.Median, time.Second, 0.05) || got.Slower {
		t.Errorf("at night: got %+v, %t, want a median of 1 s", got, ok)
	}
}

func TestSlowerNeedsEffectAndEvidence(t *testing.T) {
	for _, tc := range []struct {
		name   string
		usual  time.Duration
		factor float64
		want   bool
	}{
		{"half as slow again", time.Second, 1.5, true},
		{"a little slower", time.Second, 1.1, false},
		{"much slower, by next to nothing", 50 * time.Millisecond, 2, false},
		{"the same", time.Second, 1, false},
	} {
		b, random := New(), rand.New(rand.NewPCG(3, 4))
		now := start.Add(14 * 24 * time.Hour)
		feed(b, shop("us"), random, start, now, func(time.Time) time.Duration { return tc.usual })
		feed(b, shop("us"), random, now, now.Add(40*time.Minute), func(time.Time) time.Duration { return time.Duration(tc.factor * float64(tc.usual)) })
		got, ok := b.Compare(shop("us"), now.Add(40*time.Minute))
		if !ok || got.Slower != tc.want || got.Of != 40 {
			t.Errorf("%s: got %+v, %t, want slower=%t of 40 runs", tc.name, got, ok, tc.want)
		}
	}
}

// In weeks of nothing but chance hardly ever is an hour called slower.
func TestChanceIsNotCalledSlower(t *testing.T) {
	b, random := New(), rand.New(rand.NewPCG(5, 6))
	slower := 0
	for at := start; at.Before(start.Add(28 * 24 * time.Hour)); at = at.Add(time.Hour) {
		feed(b, shop("us"), random, at, at.Add(time.Hour), func(time.Time) time.Duration { return time.Second })
		if got, ok := b.Compare(shop("us"), at.Add(59*time.Minute)); ok && got.Slower {
			slower++
		}
	}
	if slower > 0 {
		t.Errorf("got %d hours of 504 called slower, want none", slower)
	}
}

// A region of which little is known leans on the others, and nothing is said before there is something of its own.
func TestThinRegionsLeanOnTheOthers(t *testing.T) {
	b, random := New(), rand.New(rand.NewPCG(7, 8))
	two := start.Add(14 * 24 * time.Hour)
	for _, region := range []string{"eu", "us", "apac"} {
		feed(b, shop(region), random, start, two, func(time.Time) time.Duration { return time.Second })
	}
	week := start.Add(7 * 24 * time.Hour)
	feed(b, shop("new"), random, week, week.Add(40*time.Minute), func(time.Time) time.Duration { return 4 * time.Second })
	if got, ok := b.Compare(shop("new"), week.Add(40*time.Minute)); ok {
		t.Errorf("before its first hour was over: got %+v, want nothing", got)
	}
	feed(b, shop("new"), random, two, two.Add(40*time.Minute), func(time.Time) time.Duration { return 4 * time.Second })
	got, ok := b.Compare(shop("new"), two.Add(40*time.Minute))
	if !ok || got.Runs != 40 || got.Median > 2*time.Second || got.Median < time.Second {
		t.Errorf("after 40 runs: got %+v, %t, want between its own 4 s and the others' second, nearer to these", got, ok)
	}
}

// What is usual does not come and go with the runs of late: a scenario that runs every five minutes has few of them early in each hour. One that runs no
// more has none.
func TestUsualIsThereAllTheTime(t *testing.T) {
	b := New()
	at := start
	for ; at.Before(start.Add(28 * 24 * time.Hour)); at = at.Add(5 * time.Minute) {
		b.Result(result(shop("us"), at, evenings(at)))
	}
	for ; at.Before(start.Add(28*24*time.Hour + 20*time.Hour)); at = at.Add(5 * time.Minute) {
		b.Result(result(shop("us"), at, evenings(at)))
		got := b.All(at)
		if len(got) != 1 || !near(got[0].Median, evenings(at), 0.01) || got[0].Runs < leastUsual || got[0].Slower || got[0].Of != 0 && got[0].Of < leastNow {
			t.Fatalf("at %s: got %+v, want a median of %s", at, got, evenings(at))
		}
	}
	if got := b.All(at.Add(3 * time.Hour)); len(got) != 1 || got[0].Of != 0 || got[0].Median != time.Second {
		t.Errorf("after three silent hours: got %+v, want what is usual at 23 h, and nothing of late", got)
	}
	if got := b.All(at.Add(26 * time.Hour)); len(got) != 0 {
		t.Errorf("after a silent day: got %+v, want none", got)
	}
}

func TestWhatDoesNotCount(t *testing.T) {
	b := New()
	at := start.Add(time.Hour)
	for name, spoil := range map[string]func(*runs.Result){
		"failed":       func(r *runs.Result) { r.State = runs.StateFailed },
		"invalid":      func(r *runs.Result) { r.State = runs.StateInvalid },
		"tainted":      func(r *runs.Result) { r.Tainted = []string{"busy"} },
		"confirmation": func(r *runs.Result) { r.Trigger = runs.TriggerConfirm },
		"no duration":  func(r *runs.Result) { r.DurationMS = 0 },
	} {
		r := result(shop("us"), at, time.Second)
		spoil(r)
		if b.Result(r); len(b.all) != 0 {
			t.Errorf("%s: got it counted", name)
		}
	}
	b.Result(result(shop("us"), at, time.Second))
	b.Result(result(shop("us"), at.Add(-time.Minute), time.Hour)) // of an hour that is over
	if e := b.all[shop("us")]; e.recent.n != 1 {
		t.Errorf("got %d runs, want the late one left out", e.recent.n)
	}
}

func TestSavedAndLoadedSaysTheSame(t *testing.T) {
	b, random := New(), rand.New(rand.NewPCG(9, 10))
	now := start.Add(9*24*time.Hour + 30*time.Minute)
	for _, region := range []string{"eu", "us"} {
		feed(b, shop(region), random, start, now, evenings)
	}
	var file bytes.Buffer
	if err := b.Save(&file); err != nil {
		t.Fatal(err)
	}
	c := New()
	if err := c.Load(&file); err != nil {
		t.Fatal(err)
	}
	for _, one := range []*Baseline{b, c} {
		feed(one, shop("us"), rand.New(rand.NewPCG(11, 12)), now, now.Add(3*time.Hour), evenings)
	}
	at := now.Add(3 * time.Hour)
	if got, want := c.All(at.Add(-time.Minute)), b.All(at.Add(-time.Minute)); len(want) == 0 || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := c.Describe("shop", "us", at.Add(-time.Minute)); !strings.HasPrefix(got, "3g: as usual here at this hour: median ") || c.Describe("shop", "mars", at) != "" {
		t.Errorf("got %q", got)
	}
}

// What took milliseconds and takes minutes is far apart, also as logarithms.
func TestUsualOfFarApart(t *testing.T) {
	var f figures
	for _, took := range []time.Duration{2 * time.Millisecond, 30 * time.Minute} {
		var s sample
		for range 60 {
			s.add(logarithmOf(took))
		}
		f.learn(&s)
	}
	if got := f.median.duration(); got < 1800*time.Millisecond || got > 2*time.Second { // the geometric mean
		t.Errorf("got a median of %s, want 1.9 s", got)
	}
}

func FuzzLoad(f *testing.F) {
	b := New()
	feed(b, shop("us"), rand.New(rand.NewPCG(1, 1)), start, start.Add(70*time.Minute), evenings)
	var file bytes.Buffer
	if err := b.Save(&file); err != nil {
		f.Fatal(err)
	}
	f.Add(file.Bytes())
	f.Add(file.Bytes()[:file.Len()/2])
	f.Fuzz(func(t *testing.T, body []byte) {
		b := New()
		if err := b.Load(bytes.NewReader(body)); err != nil {
			if len(b.all) != 0 {
				t.Fatalf("refused with %v, and kept %d", err, len(b.all))
			}
			return
		}
		for c, e := range b.all { // what was accepted can be gone on with
			at := time.Unix(min(max(e.hour, 0), 1<<30)*3600, 0)
			b.Result(result(c, at, time.Second))
			b.Result(result(c, at.Add(time.Hour), time.Second))
			b.All(at.Add(time.Hour))
		}
	})
}

// BenchmarkResult: an ns/op is a result; B/combination is what a combination takes after four weeks of one a minute.
func BenchmarkResult(b *testing.B) {
	const combinations = 100
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	base, random := New(), rand.New(rand.NewPCG(1, 2))
	for n := range combinations {
		feed(base, shop(fmt.Sprint("r", n)), random, start, start.Add(8*24*time.Hour), evenings)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	r := result(shop("r1"), start.Add(8*24*time.Hour), time.Second)
	b.ReportAllocs()
	for b.Loop() {
		base.Result(r)
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/combinations, "B/combination")
	runtime.KeepAlive(base)
}
