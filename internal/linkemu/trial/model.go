package trial

import (
	"math"
	"time"

	"lastmile/internal/linkemu/link"
	"lastmile/internal/netprofile"
)

// Path is what the model of a sender's speed needs to know.
type Path struct {
	Loss      netprofile.Ratio // chance of a packet to be lost where the one before it was not
	RTT       time.Duration
	RTO       time.Duration // first retransmission timeout
	PerACK    int           // packets that one acknowledgement is for
	MaxWindow int           // packets that may be under way
}

// PFTK is how many packets a second TCP Reno sends over a path that loses packets at random, by the full model of Padhye, Firoiu, Towsley
// and Kurose, "Modeling TCP Throughput: A Simple Model and its Empirical Validation", SIGCOMM 1998, sections 2.2 (timeouts) and 2.3
// (a bounded window). The window grows by a packet in PerACK round trips until a loss halves it; with probability q the loss is told
// by a timeout, and each further one doubles the timer, up to sixty-four times the first.
//
// A path without loss has no such limit: +Inf.
func PFTK(path Path) float64 {
	p, b, most := float64(path.Loss), float64(path.PerACK), float64(path.MaxWindow)
	if p <= 0 {
		return math.Inf(1)
	}
	if p >= 1 {
		return 0
	}
	k := (2 + b) / (3 * b)
	window := k + math.Sqrt(8*(1-p)/(3*b*p)+k*k) // E[W], unconstrained
	rounds := b/2*window + 1                     // of a period between two losses
	if window >= most {
		window, rounds = most, b/8*most+(1-p)/(p*most)+2
	}
	q := timeoutShare(p, window)
	packets := (1-p)/p + window + q/(1-p)
	seconds := path.RTT.Seconds()*rounds + q*path.RTO.Seconds()*backoff(p)/(1-p)
	return packets / seconds
}

// timeoutShare is the chance of a loss in a window of w packets to be told by a timeout: the paper's Q.
func timeoutShare(p, w float64) float64 {
	if w <= 3 {
		return 1
	}
	good := 1 - p
	cube := good * good * good
	return min(1, (1-cube)*(1+cube*(1-math.Pow(good, w-3)))/(1-math.Pow(good, w)))
}

// backoff is f(p): the mean length of a sequence of timeouts, in first timeouts, times 1 - p.
func backoff(p float64) float64 {
	return 1 + p*(1+p*(2+p*(4+p*(8+p*(16+p*32)))))
}

// expected is the goodput that the model gives a transfer over a link that loses packets, with what both our stacks do: one
// acknowledgement for each packet that comes alone, as on a slow link all do, and a timeout of at least the round trip and 200 ms. Of
// what is sent, the share that is not lost counts, and a link carries no more than its limit.
func expected(p netprofile.Profile, d Direction) netprofile.Rate {
	trip := p.RTT + link.Serialise(rate(p, d), 1, p.MTU)
	held := int(float64(rate(p, d)) / 8 * p.RTT.Seconds() / float64(p.MTU))
	packets := PFTK(Path{Loss: eventLoss(p), RTT: trip, RTO: trip + 200*time.Millisecond, PerACK: 1, MaxWindow: max(1, held+p.Queue)})
	goodput := packets * float64(payload(p)*8) * (1 - float64(p.MeanLoss()))
	return netprofile.Rate(min(goodput, float64(limit(p, d))))
}

// eventLoss is the model's p: the chance of a packet to be lost where the one before it was not. Losses in bursts are fewer events than
// packets. With the chain's states s of probability pi and loss l it is the sum of pi_s (1 - l_s) P(s, s') l_s' over the chance
// of a packet to get through.
func eventLoss(p netprofile.Profile) netprofile.Ratio {
	b := p.Burst
	mean := p.MeanLoss()
	if b == nil || b.PGoodToBad+b.PBadToGood == 0 || mean == 1 {
		return mean
	}
	lose := func(chain netprofile.Ratio) netprofile.Ratio { return p.Loss + chain - p.Loss*chain }
	good, bad := lose(b.LossGood), lose(b.LossBad)
	isBad := b.PGoodToBad / (b.PGoodToBad + b.PBadToGood)
	events := (1-isBad)*(1-good)*((1-b.PGoodToBad)*good+b.PGoodToBad*bad) + isBad*(1-bad)*((1-b.PBadToGood)*bad+b.PBadToGood*good)
	return events / (1 - mean)
}

// binomial returns the quantile q of how many of n packets a link loses that loses each with chance p.
func binomial(n int64, p, q float64) int64 {
	if p <= 0 || n == 0 {
		return 0
	}
	if p >= 1 {
		return n
	}
	all, _ := math.Lgamma(float64(n) + 1)
	var sum float64
	for k := range n {
		some, _ := math.Lgamma(float64(k) + 1)
		rest, _ := math.Lgamma(float64(n-k) + 1)
		sum += math.Exp(all - some - rest + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
		if sum >= q {
			return k
		}
	}
	return n
}
