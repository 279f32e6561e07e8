package exposition

import (
	"strconv"
	"time"

	"lastmile/internal/runs"
)

// edgeMetrics are about shared caches and routing.
func edgeMetrics() []Metric {
	return metricsOf(FromCoordinator, [][4]string{
		{"lastmile_cdn_requests_total", "counter", "L class pop warm from",
			"Answers of measured runs, to first attempts, that a CDN had or could have had, by class (name of the first cache-hit objective that matches, else other), point of presence, " +
				"whether the run had asked before, and where the answer is from: cache, stale (cache, too old) or origin. A series begins with its point of presence's first answer: alert on lastmile_sli_total."},
		{"lastmile_cdn_age_seconds", "summary", "L class", "Age of the answers that came from a CDN's cache, fresh or stale, where they say it."},
		{"lastmile_exposed_answers_total", "counter", "L",
			"Answers of measured runs that a shared cache ought not to have given, by what their headers and those of the request say: a sign of a leak, no proof."},
		{"lastmile_requests_dropped_total", "counter", "L",
			"Requests of measured runs that results left out, for there were too many of them: the last of a run, which are in no count by class, point of presence or region, nor in lastmile_sli_total. While it grows, those are of the runs' beginnings."},
		{"lastmile_routing_wait_seconds", "summary", "L expected",
			"Time to the first byte of the answers that named the region that served them, by whether it was the expected one; those of tainted runs are left out."},
		{"lastmile_misroute_cost_seconds", "gauge", "L window",
			"How much longer to the first byte an answer of a wrong region took in the mean, in the window, than the right region's answers to the same step; absent where no step had both."},
		{"lastmile_sli_total", "counter", "L slo sli", "Events of an objective whose events are answers (cache-hit, routing) or readers' runs (freshness). Measured runs of the schedule only, " +
			"and of a step that polls or retries the first attempt only. A tainted reader's run counts only where the write was lost."},
		{"lastmile_sli_good_total", "counter", "L slo sli", "Of lastmile_sli_total, the good ones."},
		{"lastmile_label_overflow_total", "counter", "L label",
			"Answers counted under the value other, or with it, since the label has too many values already: pop, served."},
	})
}

// edge adds what an account says of shared caches and routing.
func (s *sheet) edge(l labels, a *runs.Account) {
	for _, n := range a.Lookups {
		l := l.with("class", n.Class).with("pop", n.PoP).with("warm", strconv.FormatBool(n.Warm))
		s.int("lastmile_cdn_requests_total", l.with("from", "cache"), n.Hits)
		s.int("lastmile_cdn_requests_total", l.with("from", "stale"), n.Stale)
		s.int("lastmile_cdn_requests_total", l.with("from", "origin"), n.Other)
	}
	for _, age := range a.Ages {
		s.summary("lastmile_cdn_age_seconds", l.with("class", age.Class), age.Sum, age.Count)
	}
	s.int("lastmile_exposed_answers_total", l, a.Exposed)
	s.int("lastmile_requests_dropped_total", l, a.Dropped)
	for _, i := range a.Indicators {
		l := l.with("slo", i.Name).with("sli", string(i.SLI))
		s.int("lastmile_sli_total", l, i.Total)
		s.int("lastmile_sli_good_total", l, i.Good)
	}
	s.summary("lastmile_routing_wait_seconds", l.with("expected", "true"), a.Routed.Right.Sum, a.Routed.Right.Count)
	s.summary("lastmile_routing_wait_seconds", l.with("expected", "false"), a.Routed.Wrong.Sum, a.Routed.Wrong.Count)
	for _, window := range runs.LatencyWindows() {
		if cost, ok := runs.Cost(a.Recent[window]); ok {
			s.seconds("lastmile_misroute_cost_seconds", l.with("window", windowName(window)), cost)
		}
	}
	for _, label := range []string{"pop", "served"} {
		s.int("lastmile_label_overflow_total", l.with("label", label), a.Overflow[label])
	}
}

// windowName is a window as labels have it.
func windowName(window time.Duration) string { return strconv.Itoa(int(window/time.Hour)) + "h" }
