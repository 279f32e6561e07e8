package exposition

import (
	"slices"
	"strings"
)

// Type is a metric's type in the words of the text exposition format.
type Type string

// The types. A summary here has a sum and a count, and no quantiles.
const (
	Counter   Type = "counter"
	Gauge     Type = "gauge"
	Histogram Type = "histogram"
	Summary   Type = "summary"
)

// Origin says which of the two programs writes a metric.
type Origin string

// The origins.
const (
	FromCoordinator Origin = "coordinator"
	FromProbe       Origin = "probe"
	FromBoth        Origin = "both"
)

// Metric describes one metric. Labels are in the order in which they are written; the le of a histogram is not among them.
type Metric struct {
	Name   string
	Type   Type
	Help   string
	Labels []string
	Origin Origin
}

// Catalogue lists every metric of both programs by name. It is what HELP and TYPE are written from. The caller owns it.
func Catalogue() []Metric {
	all := slices.Concat(slotMetrics(), runMetrics(), edgeMetrics(), replicationMetrics(), sloMetrics(), fleetMetrics(), loadMetrics(), healthMetrics(), hubMetrics(), workerMetrics(), processMetrics())
	slices.SortFunc(all, func(a, b Metric) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// metricsOf makes the metrics of one origin from rows of name, type, labels and help. "L" among the labels stands for the three
// names of a combination.
func metricsOf(origin Origin, rows [][4]string) []Metric {
	out := make([]Metric, len(rows))
	for i, row := range rows {
		out[i] = Metric{Name: row[0], Type: Type(row[1]), Help: row[3], Origin: origin}
		for _, label := range strings.Fields(row[2]) {
			if label == "L" {
				out[i].Labels = append(out[i].Labels, "scenario", "region", "network")
				continue
			}
			out[i].Labels = append(out[i].Labels, label)
		}
	}
	return out
}

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
		{"lastmile_step_failures_total", "counter", "L step", "Failed steps. Steps that the coordinator does not know count as other."},
		{"lastmile_run_duration_seconds", "histogram", "L",
			"Duration of passed and degraded runs that are not tainted. The buckets follow the network and the scenario: add up over regions only."},
		{"lastmile_run_duration_quantile_seconds", "gauge", "L percentile window",
			"Exact quantile of the durations of passed and degraded runs in the window that are not tainted."},
		{"lastmile_run_duration_quantile_lower_seconds", "gauge", "L percentile window",
			"Lower bound of the quantile's 95 % confidence interval; absent where there are too few runs for one."},
		{"lastmile_run_duration_quantile_upper_seconds", "gauge", "L percentile window",
			"Upper bound of the quantile's 95 % confidence interval; absent where there are too few runs for one (72 for a P95)."},
		{"lastmile_run_duration_samples", "gauge", "L window", "Number of runs that the quantiles of the window come from."},
		{"lastmile_phase_duration_seconds", "summary", "L phase",
			"Time that the requests of measured runs that are not tainted spent in a phase. A reused connection has no dns, connect or tls; connect includes tls."},
		{"lastmile_bytes_total", "counter", "L direction", "Bytes that the requests of measured runs moved over the network."},
		{"lastmile_cdn_responses_total", "counter", "L cache",
			"Responses of measured runs, to first attempts, by what the CDN did. Hit ratio = (hit + stale) / (hit + stale + revalidated + expired + miss)."},
		{"lastmile_routed_requests_total", "counter", "L expected",
			"Responses to first attempts that named the region that served them, by whether it was the expected one."},
		{"lastmile_served_region_total", "counter", "L served expected",
			"Responses to first attempts by the region that served them. A series begins with its first response: alert on lastmile_routed_requests_total."},
	})
}

func sloMetrics() []Metric {
	return metricsOf(FromCoordinator, [][4]string{
		{"lastmile_slo_objective_ratio", "gauge", "L slo window", "Share of slots that must be good."},
		{"lastmile_slo_error_budget_remaining_ratio", "gauge", "L slo window",
			"Share of the window's error budget that is left, counted on the slots of the schedule: 1 = all of it, below 0 = overspent."},
		{"lastmile_slo_sli_lower_ratio", "gauge", "L slo window",
			"Share of good slots if every missing or invalid one had been bad; absent where nothing was due."},
		{"lastmile_slo_sli_upper_ratio", "gauge", "L slo window",
			"Share of good slots if every missing or invalid one had been good; absent where nothing was due."},
		{"lastmile_slo_coverage_ratio", "gauge", "L slo window", "Share of the due slots that were measured; absent where nothing was due."},
	})
}

// fleetMetrics are the probes as the coordinator sees them, by their heartbeats.
func fleetMetrics() []Metric {
	return metricsOf(FromCoordinator, [][4]string{
		{"lastmile_probe_up", "gauge", "region probe", "1 where the probe's last heartbeat is recent, 0 where it has fallen silent."},
		{"lastmile_probe_info", "gauge", "region probe version", "Always 1; names the version that the probe reported."},
		{"lastmile_probe_last_seen_timestamp_seconds", "gauge", "region probe", "When the last heartbeat came, by the coordinator's clock."},
		{"lastmile_probe_clock_offset_seconds", "gauge", "region probe",
			"The probe's clock less the coordinator's. While there is no lastmile_probe_clock_error_seconds, one way of the network is in it."},
		{"lastmile_probe_clock_error_seconds", "gauge", "region probe",
			"How far off lastmile_probe_clock_offset_seconds may be; absent until the probe has compared its clock."},
		{"lastmile_probe_slots", "gauge", "region probe", "Runs that the probe can do at once."},
		{"lastmile_probe_busy_slots", "gauge", "region probe", "Runs that the probe was doing at its last heartbeat."},
		{"lastmile_probe_spool_results", "gauge", "region probe", "Results that the probe holds until the hub acknowledges them."},
		{"lastmile_probe_spool_bytes", "gauge", "region probe", "What the probe's spool takes on its disk."},
		{"lastmile_probe_autonomous", "gauge", "region probe",
			"1 where the probe said in its last heartbeat that it had been ordering its own runs until then. While it is cut off, lastmile_worker_autonomous says so."},
		{"lastmile_probe_left", "gauge", "region probe", "1 where the probe has stopped in good order: that it is silent is no failure."},
		{"lastmile_probe_browser_available", "gauge", "region probe", "1 where the probe has a Chromium."},
		{"lastmile_probe_rejected_total", "counter", "region probe", "Assignments that the probe could not use, as it reported them."},
	})
}

// hubMetrics are about the coordinator itself.
func hubMetrics() []Metric {
	return metricsOf(FromCoordinator, [][4]string{
		{"lastmile_coordinator_info", "gauge", "version", "Always 1; names the coordinator's version."},
		{"lastmile_bus_connected", "gauge", "", "1 while the coordinator is connected to the bus."},
		{"lastmile_nats_reconnects_total", "counter", "", "Times the coordinator's connection to NATS was made anew."},
		{"lastmile_bus_rejected_total", "counter", "kind", "Messages that the coordinator could not use, by kind."},
		{"lastmile_dispatch_lag_seconds", "histogram", "region", "Time from the moment at which a run was to be ordered, some seconds before its slot where it needs a browser, to that at which it was on the bus."},
		{"lastmile_dispatch_failures_total", "counter", "", "Assignments that could not be put on the bus."},
		{"lastmile_heartbeats_refused_total", "counter", "", "Heartbeats of probes beyond the number that the coordinator keeps."},
		{"lastmile_series", "gauge", "", "Series of this scrape, without those about the process."},
		{"lastmile_series_dropped_total", "counter", "", "Series that the cap kept out, counted anew in each scrape."},
	})
}

// workerMetrics are a probe as it sees itself.
func workerMetrics() []Metric {
	return metricsOf(FromProbe, [][4]string{
		{"lastmile_worker_info", "gauge", "region probe version", "Always 1; names the probe's version."},
		{"lastmile_worker_results_total", "counter", "region probe state", "Runs that this probe finished, by state."},
		{"lastmile_worker_assignments_taken_total", "counter", "region probe", "Assignments taken from the bus."},
		{"lastmile_worker_assignments_expired_total", "counter", "region probe", "Assignments given up because it was too late to start."},
		{"lastmile_worker_assignments_rejected_total", "counter", "region probe", "Assignments that did not pass their checks."},
		{"lastmile_worker_assignments_repeated_total", "counter", "region probe", "Assignments that came again after their run, and were not run twice."},
		{"lastmile_worker_slots", "gauge", "region probe", "Runs that this probe can do at once."},
		{"lastmile_worker_busy_slots", "gauge", "region probe", "Runs that are going on."},
		{"lastmile_worker_admission_bound_cores", "gauge", "region probe", "Cores that browser runs on this machine may take together; a single one may take more."},
		{"lastmile_worker_admission_busy_cores", "gauge", "region probe", "Cores that the runs at work on this machine are reckoned to take, HTTP runs included."},
		{"lastmile_worker_admission_waiting_runs", "gauge", "region probe", "Runs that wait for room on this machine."},
		{"lastmile_worker_admission_refused_total", "counter", "region probe", "Runs that found no room on this machine before their start window closed."},
		{"lastmile_worker_artefact_bytes", "gauge", "region probe", "Size of the artefacts (screenshots, HARs, filmstrips) that this probe keeps in its directory."},
		{"lastmile_worker_artefact_files", "gauge", "region probe", "Artefacts that this probe keeps in its directory."},
		{"lastmile_worker_artefacts_deleted_total", "counter", "region probe reason", "Artefacts deleted from the directory for their age, or to make room."},
		{"lastmile_worker_artefact_errors_total", "counter", "region probe", "Artefacts that could not be stored in the directory or deleted from it."},
		{"lastmile_worker_spool_results", "gauge", "region probe", "Results on disk that the hub has not acknowledged."},
		{"lastmile_worker_spool_corrupt_total", "counter", "region probe", "Spooled results that could not be read back and were set aside."},
		{"lastmile_worker_spool_errors_total", "counter", "region probe", "Failed attempts to write to the spool or to read it."},
		{"lastmile_worker_spool_bytes", "gauge", "region probe", "What results, claims and files set aside take on disk in the spool."},
		{"lastmile_worker_spool_limit_bytes", "gauge", "region probe", "What the spool may take on disk; 0 = no limit."},
		{"lastmile_worker_spool_full", "gauge", "region probe", "1 while this probe takes no more runs, since its spool has reached its limit or its disk is full."},
		{"lastmile_worker_spool_shed_total", "counter", "region probe", "Artefacts deleted to make room for results. Results never are."},
		{"lastmile_worker_spool_resent_total", "counter", "region probe", "Results sent again to a hub that had lost them after it had acknowledged them."},
		{"lastmile_worker_autonomous", "gauge", "region probe", "1 while this probe orders its own runs from the last plan that it was given, since the hub or a coordinator is not there."},
		{"lastmile_worker_autonomous_runs_total", "counter", "region probe", "Runs that this probe ordered itself."},
		{"lastmile_worker_autonomous_missed_total", "counter", "region probe", "Runs that were this probe's turn to order, and found no free place before their start windows closed."},
		{"lastmile_worker_peers", "gauge", "region probe", "Other probes of the region that this one hears from: they share the slots while no coordinator orders them."},
		{"lastmile_worker_fenced_total", "counter", "region probe", "Assignments refused since a coordinator of a newer term had been heard of."},
		{"lastmile_worker_hub_connected", "gauge", "region probe", "1 while the probe is connected to the hub."},
		{"lastmile_worker_hub_reconnects_total", "counter", "region probe", "Times the probe's connection to the hub was made anew."},
		{"lastmile_worker_last_heartbeat_timestamp_seconds", "gauge", "region probe",
			"When the hub last answered a heartbeat, by the probe's clock; absent before the first answer."},
		{"lastmile_worker_clock_offset_seconds", "gauge", "region probe", "This probe's clock less the coordinator's."},
		{"lastmile_worker_clock_error_seconds", "gauge", "region probe", "How far off lastmile_worker_clock_offset_seconds may be."},
		{"lastmile_worker_clock_corrected", "gauge", "region probe", "1 where this probe goes by its own clock corrected by lastmile_worker_clock_offset_seconds."},
		{"lastmile_worker_browser_available", "gauge", "region probe", "1 where this probe has a Chromium."},
	})
}

// processMetrics are those of the library's process metrics that we vouch for; the rest of them is left out.
func processMetrics() []Metric {
	return metricsOf(FromBoth, [][4]string{
		{"go_goroutines", "gauge", "", "Goroutines."},
		{"go_gc_cpu_seconds_total", "counter", "", "CPU time spent on garbage collection, as the runtime estimates it."},
		{"go_memstats_heap_inuse_bytes", "gauge", "", "Heap memory in use."},
		{"go_memstats_sys_bytes", "gauge", "", "Memory obtained from the operating system by the Go runtime."},
		{"process_cpu_seconds_total", "counter", "", "CPU time of this process, its children not included."},
		{"process_resident_memory_bytes", "gauge", "", "Resident memory of this process, its children not included."},
		{"process_num_threads", "gauge", "", "Threads."},
		{"process_open_fds", "gauge", "", "Open file descriptors."},
		{"process_max_fds", "gauge", "", "Limit on open file descriptors."},
		{"process_start_time_seconds", "gauge", "", "When the process started, in seconds since 1970."},
	})
}
