package schedule

import (
	"slices"
	"strings"
	"time"

	"lastmile/internal/scenario"
)

// Forecast is what the plan asks of one region.
type Forecast struct {
	Region         string     `json:"region"`
	RunsPerMinute  float64    `json:"runs_per_minute"`
	BrowserRuns    float64    `json:"browser_runs_per_minute"`
	WorstCaseSlots float64    `json:"worst_case_slots"` // runs under way at once if every run took its whole timeout, those that wait for their slot included
	PeakStarts     int        `json:"peak_starts"`      // most runs that start within one second of the horizon
	Next           []Upcoming `json:"next"`
}

// Upcoming is a planned run.
type Upcoming struct {
	Slot time.Time `json:"slot"`
	scenario.Combination
	Pool string `json:"pool"`
}

// maxForecast bounds the slots that are looked at for each combination.
const maxForecast = 10_000

// Forecasts looks at the slots after from and within the horizon. Each region's list has at most limit entries; the load is
// that of all.
func Forecasts(scenarios []scenario.Scenario, from time.Time, horizon time.Duration, limit int) []Forecast {
	byRegion := map[string]*Forecast{}
	starts := map[string]map[time.Time]int{}
	for i := range scenarios {
		s := &scenarios[i]
		for _, c := range s.Combinations() {
			f, ok := byRegion[c.Region]
			if !ok {
				f = &Forecast{Region: c.Region}
				byRegion[c.Region], starts[c.Region] = f, map[time.Time]int{}
			}
			f.add(s, c, from, horizon, starts[c.Region])
		}
	}
	var out []Forecast
	for region, f := range byRegion {
		slices.SortFunc(f.Next, func(a, b Upcoming) int {
			if d := a.Slot.Compare(b.Slot); d != 0 {
				return d
			}
			return strings.Compare(a.Scenario+a.Network, b.Scenario+b.Network)
		})
		f.Next = f.Next[:min(limit, len(f.Next))]
		for _, n := range starts[region] {
			f.PeakStarts = max(f.PeakStarts, n)
		}
		out = append(out, *f)
	}
	slices.SortFunc(out, func(a, b Forecast) int { return strings.Compare(a.Region, b.Region) })
	return out
}

func (f *Forecast) add(s *scenario.Scenario, c scenario.Combination, from time.Time, horizon time.Duration, starts map[time.Time]int) {
	slots := s.Timetable().Slots(c, from, from.Add(horizon), maxForecast)
	perMinute := float64(len(slots)) / horizon.Minutes()
	f.RunsPerMinute += perMinute
	if s.NeedsBrowser() {
		f.BrowserRuns += perMinute
	}
	f.WorstCaseSlots += perMinute * (s.Lead() + s.Timeout.D()).Minutes()
	for _, slot := range slots {
		starts[slot]++
		f.Next = append(f.Next, Upcoming{Slot: slot, Combination: c, Pool: s.Pool()})
	}
}
