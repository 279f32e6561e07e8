package slo

import "math"

// LogProb is the natural logarithm of a probability: 0 is certain, -Inf is
// impossible. It keeps its meaning where a float64 probability would be 0.
type LogProb float64

// Log10 is the decimal logarithm: -5 is one in a hundred thousand.
func (l LogProb) Log10() float64 { return float64(l) / math.Ln10 }

// Probability is the probability itself, 0 where it is too small for a float64
// (below about 1e-308).
func (l LogProb) Probability() Ratio { return Ratio(math.Exp(float64(l))) }

// BinomialTail is P(X >= k) for X ~ Bin(n, p): how likely k or more bad runs of
// n are if each is bad with probability p. The smaller, the stronger the
// evidence that p no longer holds.
//
// The relative error of the probability is below 1e-9 for n to 100,000; the
// time grows with the standard deviation of X. Outside its domain it shows no
// evidence rather than false evidence: k <= 0 and a p that is NaN give 0
// (certain). With k > n, or p <= 0 and k > 0, it is -Inf.
func BinomialTail(k, n int64, p Ratio) LogProb {
	switch {
	case k <= 0 || math.IsNaN(float64(p)) || (p >= 1 && k <= n):
		return 0
	case k > n || p <= 0:
		return LogProb(math.Inf(-1))
	}
	lnP, lnQ := math.Log(float64(p)), math.Log1p(-float64(p))
	if float64(k) > float64(n)*float64(p) {
		return LogProb(min(0, logTailSum(k, n, lnP, lnQ)))
	}
	// Left of the mean the terms first grow, so sum the other tail, which is
	// the same sum with success and failure exchanged.
	below := math.Exp(logTailSum(n-k+1, n, lnQ, lnP))
	return LogProb(min(0, math.Log1p(-below)))
}

// logTailSum is ln of the sum over i = k..n of C(n,i) p^i q^(n-i), for k at or
// right of the mean, where each term is smaller than the one before it. The
// first term comes from log-gamma, the others from the ratio of neighbours.
func logTailSum(k, n int64, lnP, lnQ float64) float64 {
	first := lnGamma(n+1) - lnGamma(k+1) - lnGamma(n-k+1) + float64(k)*lnP + float64(n-k)*lnQ
	odds := math.Exp(lnP - lnQ)
	sum, term := 1.0, 1.0
	for i := k; i < n && term > sum*1e-17; i++ {
		term *= float64(n-i) / float64(i+1) * odds
		sum += term
	}
	return first + math.Log(sum)
}

// lnGamma is ln((x-1)!) for x >= 1, where the sign is always positive.
func lnGamma(x int64) float64 {
	v, _ := math.Lgamma(float64(x))
	return v
}

// ConfidenceInterval is the Clopper-Pearson interval (Biometrika 26, 1934) for
// the share behind k of n, at a two-sided confidence such as 0.95. It is exact:
// it never covers less than it says. Wilson's is narrower on average, but its
// coverage falls short where shares lie near 0 or 1 and n is small (Brown, Cai
// and DasGupta, Statistical Science 16, 2001), and that is just where
// objectives live. It speaks of chance only; Counts.Bounds speaks of lost data.
//
// It is false, with the interval 0 to 1, when n <= 0, k is not in 0..n, or
// confidence is not between 0 and 1.
func ConfidenceInterval(k, n int64, confidence Ratio) (lower, upper Ratio, ok bool) {
	if n <= 0 || k < 0 || k > n || !(confidence > 0 && confidence < 1) {
		return 0, 1, false
	}
	tail := LogProb(math.Log(float64(1-confidence) / 2))
	return clopperPearsonLower(k, n, tail), 1 - clopperPearsonLower(n-k, n, tail), true
}

// clopperPearsonLower finds the p at which k or more of n has the given
// probability, by bisection: the tail grows with p, and at p = k/n it is at
// least a half (k is then the median).
func clopperPearsonLower(k, n int64, tail LogProb) Ratio {
	if k == 0 {
		return 0
	}
	low, high := Ratio(0), Ratio(float64(k)/float64(n))
	const halvings = 64 // to the last bits of a float64
	for range halvings {
		middle := (low + high) / 2
		if BinomialTail(k, n, middle) > tail {
			high = middle
		} else {
			low = middle
		}
	}
	return low
}
