package exposition

import (
	"strconv"
	"time"

	"lastmile/internal/exposition/sheet"
	"lastmile/internal/runs"
)

// edge adds what an account says of shared caches and routing.
func (s *page) edge(l sheet.Labels, a *runs.Account) {
	for _, n := range a.Lookups {
		l := l.With("class", n.Class).With("pop", n.PoP).With("warm", strconv.FormatBool(n.Warm))
		s.Int("lastmile_cdn_requests_total", l.With("from", "cache"), n.Hits)
		s.Int("lastmile_cdn_requests_total", l.With("from", "stale"), n.Stale)
		s.Int("lastmile_cdn_requests_total", l.With("from", "origin"), n.Other)
	}
	for _, age := range a.Ages {
		s.Summary("lastmile_cdn_age_seconds", l.With("class", age.Class), age.Sum.Seconds(), age.Count)
	}
	s.Int("lastmile_exposed_answers_total", l, a.Exposed)
	s.Int("lastmile_requests_dropped_total", l, a.Dropped)
	for _, i := range a.Indicators {
		l := l.With("slo", i.Name).With("sli", string(i.SLI))
		s.Int("lastmile_sli_total", l, i.Total)
		s.Int("lastmile_sli_good_total", l, i.Good)
	}
	s.Summary("lastmile_routing_wait_seconds", l.With("expected", "true"), a.Routed.Right.Sum.Seconds(), a.Routed.Right.Count)
	s.Summary("lastmile_routing_wait_seconds", l.With("expected", "false"), a.Routed.Wrong.Sum.Seconds(), a.Routed.Wrong.Count)
	for _, window := range runs.LatencyWindows() {
		if cost, ok := runs.Cost(a.Recent[window]); ok {
			s.Seconds("lastmile_misroute_cost_seconds", l.With("window", windowName(window)), cost)
		}
	}
	for _, label := range []string{"pop", "served"} {
		s.Int("lastmile_label_overflow_total", l.With("label", label), a.Overflow[label])
	}
}

// windowName is a window as labels have it.
func windowName(window time.Duration) string { return strconv.Itoa(int(window/time.Hour)) + "h" }
