package catalogue

// sloMetrics are how the objectives stand: of a scenario in a region over all of its networks, or, scope global, everywhere (region "").
func sloMetrics() []Metric {
	return metricsOf(FromCoordinator, [][4]string{
		{"lastmile_slo_info", "gauge", "slo scenario sli period", "Always 1; names what the objective counts, and the period of its budget: a rolling window, week or month."},
		{"lastmile_slo_objective_ratio", "gauge", "slo scenario scope region", "Share of slots, or of events, that must be good."},
		{"lastmile_slo_error_budget_remaining_ratio", "gauge", "slo scenario scope region",
			"Share of the period's error budget that is left, counted on the slots that the schedule has in all of it, or on the events that these have at the rate so far: 1 = all of it, below 0 = overspent. Late data is in it."},
		{"lastmile_slo_sli_ratio", "gauge", "slo scenario scope region window",
			"Share of good ones among what was measured, first attempts only; absent where nothing was. The window objective is the whole period of the budget."},
		{"lastmile_slo_sli_lower_ratio", "gauge", "slo scenario scope region window",
			"Share of good ones if all that is missing or invalid had been bad; absent where nothing was due."},
		{"lastmile_slo_sli_upper_ratio", "gauge", "slo scenario scope region window",
			"Share of good ones if all that is missing or invalid had been good; absent where nothing was due."},
		{"lastmile_slo_coverage_ratio", "gauge", "slo scenario scope region window", "Share of what was due that was measured; absent where nothing was due."},
		{"lastmile_slo_burn_rate", "gauge", "slo scenario scope region window",
			"How many times faster than the objective allows its budget was spent in the window: 1 = all of it would be gone at the end of the period, and no sooner."},
		{"lastmile_slo_evidence_log10_p", "gauge", "slo scenario region window",
			"Decimal logarithm of how likely as many bad ones as there were, or more, are in the window if all is well: 0 = no evidence, -5 and below pages where the budget burns too."},
	})
}

// alertMetrics are what the coordinator decided, and what came of telling it.
func alertMetrics() []Metric {
	return metricsOf(FromCoordinator, [][4]string{
		{"lastmile_alert_active", "gauge", "alertname severity scope scenario region network slo",
			"1 while the coordinator's alert is active, and 0 for 15 min after its end. Network is empty where it is not of one network only."},
		{"lastmile_alert_inhibited", "gauge", "alertname severity scope scenario region network slo",
			"1 where an active alert is not sent, since another one says it already; a rule that pages from lastmile_alert_active leaves these out."},
		{"lastmile_journey_state", "gauge", "scenario region state", "1 for the state that the scenario in the region is in: ok, blip, suspect, recovering, degraded or down; 0 for the others."},
		{"lastmile_journey_blind", "gauge", "scenario region", "1 while too few of the runs are measured to tell: alerts on them neither fire nor resolve."},
		{"lastmile_confirmation_runs_total", "counter", "scenario region state", "Confirmation runs that were done in the region, by state. They page or not, and are in no other count."},
		{"lastmile_notify_sent_total", "counter", "sink", "Notifications that the sink took."},
		{"lastmile_notify_failed_total", "counter", "sink", "Attempts to notify that failed; they are made again."},
		{"lastmile_notify_dropped_total", "counter", "sink", "Notifications given up: the sink refuses them, or the outbox was full."},
		{"lastmile_notify_pending", "gauge", "sink", "Notifications in the outbox that the sink has not taken yet."},
	})
}
