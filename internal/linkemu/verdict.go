package linkemu

import (
	"fmt"
	"math"
	"time"

	"lastmile/internal/linkemu/link"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
)

// tolerance is how late deliveries may be.
type tolerance struct {
	late    time.Duration // all but one in a hundred
	stalled float64       // the share of the time with packets under way in which one was overdue by more than that
}

func toleranceOf(p netprofile.Profile) tolerance {
	return tolerance{late: max(2*time.Millisecond, p.RTT/100), stalled: 0.02}
}

// rttTolerance is what the round trip of n pings may differ by: the timer's share, and four standard errors of what jitter and
// reordering do.
func rttTolerance(p netprofile.Profile, n int) time.Duration {
	jitter, half, r := p.Jitter.Seconds(), p.OneWay().Seconds(), float64(p.Reorder)
	oneWay := (1-r)*jitter*jitter/3 + r*(1-r)*half*half // variances of a uniform delay, and of one that is skipped
	spread := 4 * math.Sqrt(2*oneWay/float64(n))
	return max(2*time.Millisecond, p.RTT/100) + time.Duration(spread*float64(time.Second))
}

// rateTolerance is the share by which a measured rate may differ: what jitter and the timer do to the time between the packets that are
// compared, which is half of the train.
func rateTolerance(p netprofile.Profile, r netprofile.Rate) float64 {
	count, size := trainOf(p, r)
	base := time.Duration(count/2) * serialise(r, size)
	return 0.03 + (p.Jitter+time.Millisecond).Seconds()/base.Seconds()
}

// lossTolerance is how many of n packets more or fewer than the mean a link may lose: five standard deviations, and three for what the
// normal distribution does not know of small numbers.
func lossTolerance(p netprofile.Profile, n float64) float64 { return 5*lossDeviation(p, n) + 3 }

// lossDeviation is the standard deviation of the losses of n packets. The loss of one packet says something of the next in the
// Gilbert-Elliott model: its autocovariance at distance k is pi_g pi_b (loss_b - loss_g)^2 lambda^k with lambda = 1 - p - r.
func lossDeviation(p netprofile.Profile, n float64) float64 {
	mean := float64(p.MeanLoss())
	variance := n * mean * (1 - mean)
	if b := p.Burst; b != nil && b.PGoodToBad+b.PBadToGood > 0 {
		change := float64(b.PGoodToBad + b.PBadToGood)
		bad := float64(b.PGoodToBad) / change
		apart := float64(b.LossBad - b.LossGood)
		lambda := 1 - change
		variance += 2 * n * bad * (1 - bad) * apart * apart * lambda / (1 - lambda)
	}
	return math.Sqrt(variance)
}

// report writes what the link was into a run's result. The link must be closed.
func (e *emulation) report(out *runs.Link) {
	e.mu.Lock()
	out.Mode = e.mode
	e.mu.Unlock()
	down, up := e.down.Stats(), e.up.Stats()
	out.Down, out.Up = traffic(down), traffic(up)
	for _, stack := range []interface {
		Resent() (segments, timeouts uint64)
	}{e.device, e.gateway} {
		segments, timeouts := stack.Resent()
		out.Retransmits += int(segments)
		out.Timeouts += int(timeouts)
	}
	j := judge{profile: e.profile, tolerance: e.tolerance}
	j.rtt(out, e.proof)
	out.DownKbit = j.rate("down", e.profile.Down, e.proof.down)
	out.UpKbit = j.rate("up", e.profile.Up, e.proof.up)
	j.line("down", down)
	j.line("up", up)
	out.Misses, out.Verdict = j.misses, runs.OnProfile
	if len(j.misses) > 0 {
		out.Verdict = runs.OffProfile
	}
}

// judge holds what a link did against its profile.
type judge struct {
	profile   netprofile.Profile
	tolerance tolerance
	misses    []string
}

func (j *judge) miss(format string, args ...any) {
	j.misses = append(j.misses, fmt.Sprintf(format, args...))
}

func (j *judge) rtt(out *runs.Link, p proof) {
	if p.pings == 0 {
		j.miss("rtt: got no answer to the calibration exchange")
		return
	}
	out.RTTMS = new(ms(p.rtt))
	want := time.Duration(float64(j.profile.RTT) * (1 - float64(j.profile.Reorder)))
	if within := rttTolerance(j.profile, p.pings); (p.rtt - want).Abs() > within {
		j.miss("rtt: got %.1f ms, want %.1f ms +- %.1f ms", ms(p.rtt), ms(want), ms(within))
	}
}

func (j *judge) rate(direction string, want, got netprofile.Rate) *float64 {
	if count, _ := trainOf(j.profile, want); count == 0 {
		return nil // the queue is too short to measure it
	}
	if got == 0 {
		j.miss("%s: got no rate from the calibration exchange", direction)
		return nil
	}
	share, within := float64(got)/float64(want), rateTolerance(j.profile, want)
	if math.Abs(share-1) > within {
		j.miss("%s: got %s, want %s +- %.0f %%", direction, got, want, 100*within)
	}
	return new(float64(got) / float64(netprofile.KbitPerSecond))
}

func (j *judge) line(direction string, s link.Stats) {
	if late := s.Late; late.Over > max(1, late.Deliveries/100) {
		j.miss("%s: got %d of %d packets more than %.1f ms late, want at most 1 in 100", direction, late.Over, late.Deliveries, ms(j.tolerance.late))
	} else if share := late.Stalled.Seconds() / max(late.Active, 1).Seconds(); share > j.tolerance.stalled {
		j.miss("%s: got packets late for %.1f of %.0f ms, want at most %.0f %%", direction, ms(late.Stalled), ms(late.Active), 100*j.tolerance.stalled)
	}
	want := float64(j.profile.MeanLoss()) * float64(s.Sent)
	if within := lossTolerance(j.profile, float64(s.Sent)); math.Abs(float64(s.DroppedLoss)-want) > within {
		j.miss("%s: got %d of %d packets lost, want %.0f +- %.0f", direction, s.DroppedLoss, s.Sent, want, within)
	}
}

func traffic(s link.Stats) *runs.LinkTraffic {
	return &runs.LinkTraffic{
		Sent: s.Sent, Delivered: s.Delivered, DroppedLoss: s.DroppedLoss, DroppedQueue: s.DroppedQueue, UnderWay: s.UnderWay,
		Bytes: s.Bytes, BusyMS: ms(s.Busy), ActiveMS: ms(s.Late.Active),
		LateMeanMS: ms(s.Late.Mean), LateP99MS: ms(s.Late.P99), LateMaxMS: ms(s.Late.Max), StalledMS: ms(s.Late.Stalled),
	}
}

// ms converts to the unit of results, to the microsecond.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
