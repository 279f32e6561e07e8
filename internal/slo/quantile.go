package slo

import (
	"math"
	"slices"
	"sort"
	"time"
)

// Estimate is a quantile with its distribution-free 95 % confidence interval.
// Lower and Upper mean something only where HasLower and HasUpper say that the
// bound exists: with few values not even the largest is a safe upper bound. For
// a P95 that takes 72 values (SamplesForUpper(0.95, 0.025)).
type Estimate struct {
	Value    time.Duration // always one of the values; 0 when N is 0
	Lower    time.Duration
	Upper    time.Duration
	HasLower bool
	HasUpper bool
	N        int // number of values
}

// quantileTail is the chance of error on each side of an Estimate's interval.
const quantileTail Ratio = 0.025

// Quantile is the q-quantile of values in any order, which it leaves as they
// are (it sorts a copy). See QuantileSorted.
func Quantile(values []time.Duration, q Ratio) Estimate {
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	return QuantileSorted(sorted, q)
}

// QuantileSorted is the q-quantile of values in ascending order; several
// quantiles of the same values then share one sort. It does not change or keep
// the slice. Unsorted values give a wrong answer.
//
// The quantile is the smallest value that at least q of the values do not
// exceed, rank ceil(q n): nothing is interpolated (definition 1 of Hyndman and
// Fan, The American Statistician 50, 1996). The interval lies between order
// statistics whose ranks come from the binomial distribution and holds for any
// distribution of independent values (David and Nagaraja, Order Statistics,
// 3rd ed., section 7.1). Q is limited to 0..1.
func QuantileSorted(sorted []time.Duration, q Ratio) Estimate {
	n := len(sorted)
	if n == 0 {
		return Estimate{}
	}
	q = limit(q)
	e := Estimate{N: n, Value: sorted[rank(q, n)-1]}
	if r, ok := upperRank(n, q); ok {
		e.Upper, e.HasUpper = sorted[r-1], true
	}
	// The same question asked from the other end.
	if r, ok := upperRank(n, 1-q); ok {
		e.Lower, e.HasLower = sorted[n-r], true
	}
	return e
}

// SamplesForUpper is the least number of values for which the q-quantile has an
// upper confidence bound that is wrong with probability alpha at most: 72 for a
// P95 in a two-sided 95 % interval (alpha 0.025), 59 one-sided (0.05). It is
// the least n with q^n <= alpha. It is 0, for "no number is enough", when q or
// alpha is not between 0 and 1.
func SamplesForUpper(q, alpha Ratio) int {
	if !(q > 0 && q < 1 && alpha > 0 && alpha < 1) {
		return 0
	}
	return int(math.Ceil(math.Log(float64(alpha)) / math.Log(float64(q))))
}

// limit brings q into 0..1, and NaN to 0.
func limit(q Ratio) Ratio {
	if !(q > 0) {
		return 0
	}
	return min(q, 1)
}

// rank is ceil(q n), within 1..n. A product that only rounding lifted above a
// whole number, as in 0.07 x 100 = 7.000000000000001, is that whole number.
func rank(q Ratio, n int) int {
	x := float64(q) * float64(n)
	if whole := math.Round(x); math.Abs(x-whole) < 1e-12*x {
		x = whole
	}
	return max(1, min(n, int(math.Ceil(x))))
}

// upperRank is the least rank whose order statistic is below the q-quantile
// with probability quantileTail at most. Order statistic r is below it just
// when r or more of n values are, each with probability q. False when even the
// greatest value is not a bound.
func upperRank(n int, q Ratio) (int, bool) {
	tail := LogProb(math.Log(float64(quantileTail)))
	r := 1 + sort.Search(n, func(i int) bool {
		return BinomialTail(int64(i+1), int64(n), q) <= tail
	})
	return r, r <= n
}
