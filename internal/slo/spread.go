package slo

import "math"

// sliceAlpha is how likely a slice may be hit while all is well, at most, where a slice of so many runs can do with a higher count of bad ones.
const sliceAlpha LogProb = -2.302585092994046 // ln 0.1

// SliceTest says when a slice of time with n runs, each bad with probability p0, is to be called hit: when at least that many of them are bad. It
// is the least count, from 1 on, that chance alone gives in at most one slice of ten; q is how often it does. One bad run hits a slice of five
// at 99.9 %, but at 95 % it takes two: else every slice would be hit while all is well, and no spread of failures over slices would show.
func SliceTest(n int64, p0 Ratio) (count int64, q Ratio) {
	n = max(n, 1)
	low, high := int64(1), max(1, n) // the tail falls with the count
	for low < high {
		middle := (low + high) / 2
		if BinomialTail(middle, n, p0) <= sliceAlpha {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low, BinomialTail(low, n, p0).Probability()
}

// Spread is how likely it is that chance alone hits so many of the slices or more, each with probability q. A single burst of failures, however
// many, hits one or two, and is one event.
func Spread(hit, slices int64, q Ratio) LogProb {
	if q >= 1 || math.IsNaN(float64(q)) {
		return 0
	}
	return BinomialTail(hit, slices, q)
}
