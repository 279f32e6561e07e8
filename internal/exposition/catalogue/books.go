package catalogue

// slotMetrics are the ledger's: what was planned, and what came of it.
func slotMetrics() []Metric {
	return metricsOf(FromCoordinator, [][4]string{
		{"lastmile_ledger_slots", "gauge", "L state",
			"Slots as they stand. The sum over all states is the number planned: lastmile_slots_total{state=\"planned\"}."},
		{"lastmile_slots_total", "counter", "L state reason",
			"Slots planned, and how often one became missing or skipped. A late result amends a slot but takes nothing off this counter."},
		{"lastmile_slots_amended_total", "counter", "L", "Slots that were missing or skipped and for which a result came after all."},
		{"lastmile_results_duplicate_total", "counter", "L", "Results for a slot that had been decided before. They change nothing."},
		{"lastmile_results_unscheduled_total", "counter", "L", "Results without a slot. They stand outside the books."},
	})
}

// runMetrics are about what the runs saw.
func runMetrics() []Metric {
	return metricsOf(FromCoordinator, [][4]string{
		{"lastmile_runs_total", "counter", "L state", "Results entered in the ledger, by the state that they gave their slot."},
		{"lastmile_runs_tainted_total", "counter", "L",
			"Measured runs whose times are not to be trusted, since the machine was busy: they count for availability, and in no duration."},
		{"lastmile_run_late_seconds", "histogram", "region", "Time from a measured run's slot to its first step."},
		{"lastmile_run_errors_total", "counter", "L class", "Causes of runs that did not simply pass, by class."},
		{"lastmile_run_duration_seconds", "histogram", "L",
			"Duration of passed and degraded runs that are not tainted. The buckets follow the network and the scenario: add up over regions only."},
		{"lastmile_run_duration_quantile_seconds", "gauge", "L percentile window",
			"Exact quantile of the durations of passed and degraded runs in the window that are not tainted."},
		{"lastmile_run_duration_quantile_lower_seconds", "gauge", "L percentile window",
			"Lower bound of the quantile's 95 % confidence interval; absent where there are too few runs for one."},
		{"lastmile_run_duration_quantile_upper_seconds", "gauge", "L percentile window",
			"Upper bound of the quantile's 95 % confidence interval; absent where there are too few runs for one (72 for a P95)."},
		{"lastmile_run_duration_usual_seconds", "gauge", "L percentile",
			"How long such runs take at this hour of the week, over about four weeks. A second number beside the objective, which it never moves; absent until enough is known."},
		{"lastmile_run_duration_usual_samples", "gauge", "L", "Number of runs that the usual duration at this hour comes from; those of other regions stand in where they are few."},
		{"lastmile_run_slower_than_usual", "gauge", "L",
			"1 where the runs of the last hour are slower than usual: by a fifth and 0.1 s in the median, and more of them above the usual P95 than chance would have. It pages nobody."},
		{"lastmile_run_duration_samples", "gauge", "L window", "Number of runs that the quantiles of the window come from."},
		{"lastmile_phase_duration_seconds", "summary", "L phase",
			"Time that the requests of measured runs that are not tainted spent in a phase. A reused connection has no dns, connect or tls; connect includes tls."},
		{"lastmile_bytes_total", "counter", "L direction", "Bytes that the requests of measured runs moved over the network."},
		{"lastmile_cdn_responses_total", "counter", "L cache",
			"Responses of measured runs, to first attempts, by what the CDN did. Hit ratio = (hit + stale) / (hit + stale + revalidated + expired + miss)."},
		{"lastmile_cdn_tier_responses_total", "counter", "scenario region tier",
			"Responses of measured runs, to first attempts, by the cache that the verdict on them is about: edge, parent or shield; parent-hit and shield-hit are misses at the edge that the cache behind it answered; none where the headers do not tell."},
		{"lastmile_cache_leaks_total", "counter", "scenario region", "Runs that were shown what is another user's: lastmile_run_errors_total of class cache_leak, over all networks."},
		{"lastmile_routed_requests_total", "counter", "L expected",
			"Responses to first attempts that named the region that served them, by whether it was the expected one."},
		{"lastmile_served_region_total", "counter", "L served expected",
			"Responses to first attempts by the region that served them. A series begins with its first response: alert on lastmile_routed_requests_total."},
	})
}

// stepMetrics are about the steps of runs, and the pages that they show. What is called recent here is the newest 128 by slot, none older than a day.
func stepMetrics() []Metric {
	return metricsOf(FromCoordinator, [][4]string{
		{"lastmile_step_failures_total", "counter", "L step", "Failed steps. Steps that the coordinator does not know count as other."},
		{"lastmile_step_duration_seconds", "histogram", "L step",
			"Duration of passed and degraded steps of measured runs that are not tainted, for steps that a latency objective names. Its threshold is a bound."},
		{"lastmile_step_duration_quantile_seconds", "gauge", "L step percentile",
			"Exact quantile of the recent durations of the step (the newest 128, none older than a day), where it passed or was degraded and its run was measured and not tainted."},
		{"lastmile_step_duration_quantile_lower_seconds", "gauge", "L step percentile",
			"Lower bound of the quantile's 95 % confidence interval; absent where there are too few samples for one."},
		{"lastmile_step_duration_quantile_upper_seconds", "gauge", "L step percentile",
			"Upper bound of the quantile's 95 % confidence interval; absent where there are too few samples for one (72 for a P95)."},
		{"lastmile_step_duration_samples", "gauge", "L step", "Number of durations that the step's quantiles come from."},
		{"lastmile_web_vital_seconds", "gauge", "L vital",
			"75th percentile of the vital (ttfb, fcp, lcp, inp) over the recent documents (the newest 128, none older than a day) of measured runs that are not tainted, soft navigations left out."},
		{"lastmile_web_vital_lower_seconds", "gauge", "L vital", "Lower bound of the 95 % confidence interval; absent where there are too few documents for one."},
		{"lastmile_web_vital_upper_seconds", "gauge", "L vital", "Upper bound of the 95 % confidence interval; absent where there are too few documents for one."},
		{"lastmile_web_vital_cls", "gauge", "L", "75th percentile of the cumulative layout shift, which has no unit, over the recent documents of measured runs that are not tainted."},
		{"lastmile_web_vital_cls_lower", "gauge", "L", "Lower bound of its 95 % confidence interval; absent where there are too few documents for one."},
		{"lastmile_web_vital_cls_upper", "gauge", "L", "Upper bound of its 95 % confidence interval; absent where there are too few documents for one."},
		{"lastmile_web_vital_samples", "gauge", "L vital", "Number of documents that the vital (ttfb, fcp, lcp, inp, cls) comes from."},
	})
}

// linkMetrics are about the emulated access networks.
func linkMetrics() []Metric {
	return metricsOf(FromCoordinator, [][4]string{
		{"lastmile_link_off_profile_total", "counter", "region network", "Runs that are invalid because their link was not the network that it was to be."},
		{"lastmile_link_lateness_seconds", "histogram", "region network",
			"How late the emulated link delivered packets, for lack of a processor: one mean for each run, of the direction where it was worse. Runs off their profile are in it."},
	})
}

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

// replicationMetrics are about how long a write in one region takes to be visible in another: region is the one that reads.
func replicationMetrics() []Metric {
	return metricsOf(FromCoordinator, [][4]string{
		{"lastmile_replication_lag_seconds", "histogram", "L from",
			"Time from a write in region from until a read in region saw it, by the hub's clock, of measured runs that are not tainted. Lost writes are not in it."},
		{"lastmile_replication_lag_error_seconds", "summary", "L from",
			"How far off the lags may be: both clocks' errors, and the time from one read to the next."},
		{"lastmile_replication_reads_total", "counter", "L from", "Reads of measured runs that looked for a write, stale and backwards ones included."},
		{"lastmile_replication_stale_reads_total", "counter", "L from", "Reads that did not see the write yet."},
		{"lastmile_replication_backwards_reads_total", "counter", "L from", "Reads that no longer saw the write, after one had."},
		{"lastmile_replication_lost_writes_total", "counter", "L from", "Writes that no read saw while the run looked for them, although they were due."},
	})
}
