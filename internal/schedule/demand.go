package schedule

import (
	"time"

	"lastmile/internal/scenario"
)

// Demand returns, for each region, how many runs what is due has under way at once on average: the places that it needs. Of
// each combination that is the time that a run holds a place over its period, the shortest one of a cron expression. What holds
// a place is the lead and the run: as long as typical says, the median of the runs that went well, and half the timeout where it knows
// none. Runs that fail may take longer, up to their timeout; slots are spread, but not evenly: a fleet needs some places more than this.
func (s *Scheduler) Demand(typical func(c scenario.Combination) (time.Duration, bool)) map[string]float64 {
	out := map[string]float64{}
	for i := range s.programs {
		p := &s.programs[i]
		if p.period <= 0 {
			continue
		}
		for _, c := range p.combinations {
			held, ok := typical(c)
			if !ok {
				held = p.timeout / 2
			}
			out[c.Region] += (p.lead + held).Seconds() / p.period.Seconds()
		}
	}
	return out
}
