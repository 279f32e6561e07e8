package resultjson

import "lastmile/internal/runs"

func (d *decoder) link(l *runs.Link) {
	d.object(func(key []byte) {
		switch string(key) {
		case "profile":
			text(d, &l.Profile, "")
		case "version":
			text(d, &l.Version, "")
		case "mode":
			text(d, &l.Mode, runs.LinkProxy)
		case "verdict":
			text(d, &l.Verdict, runs.OnProfile)
		case "misses":
			d.texts(&l.Misses)
		case "rtt_ms":
			d.floatIfAny(&l.RTTMS)
		case "down_kbit":
			d.floatIfAny(&l.DownKbit)
		case "up_kbit":
			d.floatIfAny(&l.UpKbit)
		case "down":
			pointed(d, &l.Down, d.traffic)
		case "up":
			pointed(d, &l.Up, d.traffic)
		case "stalled_ms":
			d.float(&l.StalledMS)
		case "retransmits":
			integer(d, &l.Retransmits)
		case "timeouts":
			integer(d, &l.Timeouts)
		case "blocked":
			integer(d, &l.Blocked)
		case "blocked_hosts":
			d.texts(&l.BlockedHosts)
		default:
			d.unknown(key)
		}
	})
}

func (d *decoder) traffic(t *runs.LinkTraffic) {
	d.object(func(key []byte) {
		switch string(key) {
		case "sent":
			integer(d, &t.Sent)
		case "delivered":
			integer(d, &t.Delivered)
		case "dropped_loss":
			integer(d, &t.DroppedLoss)
		case "dropped_queue":
			integer(d, &t.DroppedQueue)
		case "under_way":
			integer(d, &t.UnderWay)
		case "bytes":
			integer(d, &t.Bytes)
		case "calibration_bytes":
			integer(d, &t.CalibrationBytes)
		case "busy_ms":
			d.float(&t.BusyMS)
		case "late_mean_ms":
			d.float(&t.LateMeanMS)
		case "late_p99_ms":
			d.float(&t.LateP99MS)
		case "late_max_ms":
			d.float(&t.LateMaxMS)
		default:
			d.unknown(key)
		}
	})
}

func (d *decoder) clock(c *runs.Clock) {
	d.object(func(key []byte) {
		switch string(key) {
		case "offset_ms":
			d.float(&c.OffsetMS)
		case "error_ms":
			d.float(&c.ErrorMS)
		default:
			d.unknown(key)
		}
	})
}

func (d *decoder) navigation(n, before *runs.Navigation) {
	var vitals bool
	d.object(func(key []byte) {
		switch string(key) {
		case "step":
			text(d, &n.Step, before.Step)
		case "url":
			text(d, &n.URL, "")
		case "soft":
			d.boolean(&n.Soft)
		case "started_ms":
			d.float(&n.StartedMS)
		case "vitals":
			d.once(&vitals)
			d.vitals(&n.Vitals)
		default:
			d.unknown(key)
		}
	})
}

func (d *decoder) load(l *runs.Load) {
	d.object(func(key []byte) {
		switch string(key) {
		case "cores":
			d.float(&l.Cores)
		case "weight":
			d.float(&l.Weight)
		case "busy":
			d.float(&l.Busy)
		case "late_ms":
			d.float(&l.LateMS)
		case "waited_ms":
			d.float(&l.WaitedMS)
		case "launch_ms":
			d.float(&l.LaunchMS)
		case "cpu_s":
			d.float(&l.CPUSeconds)
		case "launch_cpu_s":
			d.float(&l.LaunchCPU)
		case "others_cpu_s":
			d.float(&l.OthersCPU)
		case "peak_memory":
			integer(d, &l.PeakMemory)
		case "cpu_pressure_ms":
			d.floatIfAny(&l.PressureCPU)
		default:
			d.unknown(key)
		}
	})
}
