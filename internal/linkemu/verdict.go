package linkemu

import (
	"fmt"
	"math"
	"slices"
	"time"

	"lastmile/internal/linkemu/gauge"
	"lastmile/internal/linkemu/link"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
)

// tolerance is how far a network may stand still for lack of a processor: for so long that it could be what a step's time is wrong by.
type tolerance struct {
	late  time.Duration // no standing still yet
	share float64       // of a step's time
	floor time.Duration // where that is less
}

func toleranceOf(p netprofile.Profile) tolerance {
	return tolerance{late: max(2*time.Millisecond, p.RTT/100), share: 0.03, floor: 10 * time.Millisecond}
}

// of is what a time measured may be wrong by.
func (t tolerance) of(measured time.Duration) time.Duration {
	return max(t.floor, time.Duration(t.share*float64(measured)))
}

// judge holds what the network did between two instants, in which something was measured, against the tolerance.
func (e *emulation) judge(what string, from, to time.Time) {
	stalled, within := e.watch.Stalled(from, to), e.tolerance.of(to.Sub(from))
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stalled += stalled
	if stalled > within {
		e.misses = append(e.misses, fmt.Sprintf("%s: got the link standing still for %.1f of %.0f ms, want at most %.1f ms: the machine is too busy",
			what, runs.Milliseconds(stalled), runs.Milliseconds(to.Sub(from)), runs.Milliseconds(within)))
	}
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
	return 0.03 + (p.Jitter+time.Millisecond).Seconds()/gauge.Compared(p, r).Seconds()
}

// lossTolerance is how many of n packets more or fewer than the mean a link may lose: five standard deviations, and three, or three
// bad spells, for what the normal distribution does not know of small numbers.
func lossTolerance(p netprofile.Profile, n float64) float64 {
	within := 5*lossDeviation(p, n) + 3
	if b := p.Burst; b != nil && b.PBadToGood > 0 {
		within += 3 / float64(b.PBadToGood) // three spells
	}
	return within
}

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
	out.Mode, out.StalledMS = e.mode, runs.Milliseconds(e.stalled)
	j := judge{profile: e.profile, misses: slices.Clone(e.misses)}
	if e.inside != nil && e.inside.lost.Load() > 0 {
		j.miss("namespace: got %d packets that the browser's side did not take, want none", e.inside.lost.Load())
	}
	e.mu.Unlock()
	down, up := e.down.Stats(), e.up.Stats()
	out.Down, out.Up = traffic(down, e.gauged.down), traffic(up, e.gauged.up)
	for _, stack := range []interface {
		Resent() (segments, timeouts uint64)
	}{e.device, e.gateway} {
		segments, timeouts := stack.Resent()
		out.Retransmits += int(segments)
		out.Timeouts += int(timeouts)
	}
	j.rtt(out, e.proof)
	out.DownKbit = j.rate("down", e.profile.Down, e.proof.Down)
	out.UpKbit = j.rate("up", e.profile.Up, e.proof.Up)
	j.line("down", down)
	j.line("up", up)
	out.Misses, out.Verdict = j.misses, runs.OnProfile
	if len(j.misses) > 0 {
		out.Verdict = runs.OffProfile
	}
}

// judge holds what a link did against its profile.
type judge struct {
	profile netprofile.Profile
	misses  []string
}

func (j *judge) miss(format string, args ...any) {
	j.misses = append(j.misses, fmt.Sprintf(format, args...))
}

func (j *judge) rtt(out *runs.Link, p gauge.Proof) {
	if p.Pings == 0 {
		j.miss("rtt: got no answer to the calibration exchange")
		return
	}
	out.RTTMS = new(runs.Milliseconds(p.RTT))
	want := j.profile.RTT
	if r := j.profile.Reorder; r >= gauge.MeanFrom {
		want = time.Duration(float64(want) * (1 - float64(r)))
	}
	if within := rttTolerance(j.profile, p.Pings); (p.RTT - want).Abs() > within {
		j.miss("rtt: got %.1f ms, want %.1f ms +- %.1f ms", runs.Milliseconds(p.RTT), runs.Milliseconds(want), runs.Milliseconds(within))
	}
}

func (j *judge) rate(direction string, want, got netprofile.Rate) *float64 {
	if gauge.Compared(j.profile, want) == 0 {
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

// meanLate is what may be added to every packet's way: half a percent of the round trip each way, or half a millisecond.
func meanLate(p netprofile.Profile) time.Duration { return max(500*time.Microsecond, p.RTT/200) }

func (j *judge) line(direction string, s link.Stats) {
	if within := meanLate(j.profile); s.Late.Mean > within {
		j.miss("%s: got packets %.2f ms late on average, want at most %.2f ms: the machine is too busy", direction, runs.Milliseconds(s.Late.Mean), runs.Milliseconds(within))
	}
	want := float64(j.profile.MeanLoss()) * float64(s.Sent)
	if within := lossTolerance(j.profile, float64(s.Sent)); math.Abs(float64(s.DroppedLoss)-want) > within {
		j.miss("%s: got %d of %d packets lost, want %.0f +- %.0f", direction, s.DroppedLoss, s.Sent, want, within)
	}
}

func traffic(s link.Stats, gauged int64) *runs.LinkTraffic {
	return &runs.LinkTraffic{
		Sent: s.Sent, Delivered: s.Delivered, DroppedLoss: s.DroppedLoss, DroppedQueue: s.DroppedQueue, UnderWay: s.UnderWay,
		Bytes: s.Bytes, CalibrationBytes: gauged, BusyMS: runs.Milliseconds(s.Busy), LateMeanMS: runs.Milliseconds(s.Late.Mean), LateP99MS: runs.Milliseconds(s.Late.P99), LateMaxMS: runs.Milliseconds(s.Late.Max),
	}
}
