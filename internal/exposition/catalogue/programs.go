package catalogue

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

// loadMetrics are what the schedule asks of each region, and what is there for it.
func loadMetrics() []Metric {
	return metricsOf(FromCoordinator, [][4]string{
		{"lastmile_region_demand_places", "gauge", "region", "Places that the runs that are due need on average: for each combination its usual run time over its interval, added up."},
		{"lastmile_region_places", "gauge", "region", "Runs that the region's probes which are up can do at once. Below the demand, slots go missing."},
		{"lastmile_region_results_bytes", "gauge", "region", "What the stored results of the region take of their room, before compression."},
		{"lastmile_region_results_limit_bytes", "gauge", "region",
			"The room for the results of the region; absent where there is no limit. Once it is full new results stay with the probes, which at last take no more work."},
	})
}

// healthMetrics are those that every coordinator writes, the one that leads and those that stand by.
func healthMetrics() []Metric {
	return metricsOf(FromCoordinator, [][4]string{
		{"lastmile_coordinator_leader", "gauge", "",
			"1 where this coordinator leads: it orders the runs and writes the books' metrics. One that stands by writes what is about itself only, so that sums over coordinators hold."},
		{"lastmile_coordinator_term", "gauge", "", "Term of this coordinator's last leadership, 0 where it has not led. Each leader has a higher one than the one before."},
		{"lastmile_coordinator_clock_jumps_total", "counter", "", "Steps of this machine's clock that the coordinator noticed."},
		{"lastmile_coordinator_clock_offset_seconds", "gauge", "", "What the steps of this machine's clock have come to since the coordinator started: its wall clock less the time that passed."},
		{"lastmile_coordinator_snapshot_timestamp_seconds", "gauge", "", "When the snapshot of the books on disk was taken; absent where there is none."},
		{"lastmile_coordinator_snapshot_bytes", "gauge", "", "Size of the snapshot of the books on disk."},
		{"lastmile_coordinator_snapshot_errors_total", "counter", "", "Snapshots of the books that could not be written or read. The streams have all that is in one: it only saves time."},
		{"lastmile_coordinator_restore_seconds", "gauge", "", "Time from the start until the books were complete again, from the snapshot and the rest of the streams; absent until then."},
		{"lastmile_coordinator_results_lag_seconds", "gauge", "", "Age of the oldest message of the streams that is not in this coordinator's books yet; 0 where it has read them all."},
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
