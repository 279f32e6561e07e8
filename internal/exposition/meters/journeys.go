package meters

import (
	"slices"

	"github.com/VictoriaMetrics/metrics"

	"lastmile/internal/cachestate"
	"lastmile/internal/exposition/sheet"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// journey is a scenario in a region, over all networks.
type journey struct{ scenario, region string }

// journeyCounters are what is counted of it.
type journeyCounters struct {
	confirmations [confirmedKinds]metrics.Counter // as in confirmed
	tiers         [tierKinds]metrics.Counter      // as in tiers
}

// How many there are of each.
const (
	confirmedKinds = 4
	tierKinds      = 6
)

// confirmed lists the states that a confirmation can end in.
func confirmed() [confirmedKinds]runs.State {
	return [...]runs.State{runs.StatePassed, runs.StateDegraded, runs.StateFailed, runs.StateInvalid}
}

// tiers lists the caches that a verdict can be about. The last stands for answers whose headers do not tell.
func tiers() [tierKinds]cachestate.Tier {
	return [...]cachestate.Tier{cachestate.Edge, cachestate.Parent, cachestate.Shield, cachestate.ParentHit, cachestate.ShieldHit, "none"}
}

// journey returns the counters of a combination's scenario and region, or nil where the limit does not allow new ones. The caller holds the lock.
func (m *Meters) journey(c scenario.Combination) *journeyCounters {
	of := journey{c.Scenario, c.Region}
	if known := m.journeys.get(of); known != nil {
		return known
	}
	if !m.reserve(confirmedKinds + tierKinds) {
		return nil
	}
	return m.journeys.add(of, &journeyCounters{})
}

// observe takes up a result, or a confirmation's.
func (j *journeyCounters) observe(r *runs.Result) {
	if r.Trigger == runs.TriggerConfirm {
		for i, state := range confirmed() {
			if r.State == state {
				j.confirmations[i].Inc()
			}
		}
		return
	}
	if !r.State.Measured() {
		return
	}
	for i := range r.Requests {
		q := &r.Requests[i]
		if q.BrowserCache != "" || q.Status == 0 || q.Again { // as in runs.Result.Summarise
			continue
		}
		known := tiers()
		at := slices.Index(known[:], q.Cache.Tier)
		if at < 0 {
			at = len(known) - 1
		}
		j.tiers[at].Inc()
	}
}

func (j *journeyCounters) write(s *sheet.Sheet, of journey) {
	l := s.Labels().With("scenario", of.scenario).With("region", of.region)
	for i, state := range confirmed() {
		s.Int("lastmile_confirmation_runs_total", l.With("state", string(state)), int64(j.confirmations[i].Get()))
	}
	for i, tier := range tiers() {
		s.Int("lastmile_cdn_tier_responses_total", l.With("tier", string(tier)), int64(j.tiers[i].Get()))
	}
}

// link is a network in a region.
type link struct{ region, network string }

// linkInstruments are what is counted of it.
type linkInstruments struct {
	offProfile metrics.Counter
	histograms histograms
	lateness   *metrics.PrometheusHistogram
}

// link returns the instruments of a combination's link, or nil where nothing is emulated, or the limit does not allow new ones. The caller holds
// the lock.
func (m *Meters) link(c scenario.Combination) *linkInstruments {
	of := link{c.Region, c.Network}
	if known := m.links.get(of); known != nil {
		return known
	}
	if of.network == netprofile.None {
		return nil
	}
	b := m.shaped(shape{lateness: true})
	if !m.reserve(histogramSeries(b) + 1) {
		return nil
	}
	in := m.links.add(of, &linkInstruments{histograms: newHistograms()})
	in.lateness = in.histograms.open("lastmile_link_lateness_seconds", nil, b)
	return in
}

// observe takes up what a run's link did.
func (in *linkInstruments) observe(r *runs.Result) {
	if r.Cause != nil && r.Cause.Class == runs.ClassLinkOffProfile {
		in.offProfile.Inc()
	}
	worse := -1.0
	for _, direction := range []*runs.LinkTraffic{r.Link.Down, r.Link.Up} {
		if direction != nil && direction.Delivered > 0 && direction.LateMeanMS < maxPhaseMS { // false for NaN
			worse = max(worse, direction.LateMeanMS)
		}
	}
	in.histograms.add(in.lateness, worse/1000) // which leaves out what is negative
}

func (in *linkInstruments) write(s *sheet.Sheet, of link, known *memo) {
	l := s.Labels().With("region", of.region).With("network", of.network)
	s.Int("lastmile_link_off_profile_total", l, int64(in.offProfile.Get()))
	in.histograms.write(s, l, known)
}
