package slo_test

import (
	"math"
	"math/big"
	"testing"

	"lastmile/internal/slo"
)

// referenceTail is ln P(X >= k) in 300-bit arithmetic, the terms summed in order
// until they are past the greatest and below 2^-150 of the sum.
func referenceTail(k, n int64, p float64) float64 {
	number := func(v float64) *big.Float { return new(big.Float).SetPrec(300).SetFloat64(v) }
	power := func(base *big.Float, exponent int64) *big.Float {
		result, square := number(1), number(0).Set(base)
		for ; exponent > 0; exponent >>= 1 {
			if exponent&1 == 1 {
				result.Mul(result, square)
			}
			square.Mul(square, square)
		}
		return result
	}
	success := number(p)
	failure := number(0).Sub(number(1), success)
	odds := number(0).Quo(success, failure)
	term := number(0).SetInt(new(big.Int).Binomial(n, k))
	term.Mul(term, power(success, k)).Mul(term, power(failure, n-k))
	sum := number(0).Set(term)
	for i := k; i < n; i++ {
		term.Mul(term, odds).Mul(term, number(float64(n-i))).Quo(term, number(float64(i+1)))
		sum.Add(sum, term)
		if float64(i) > float64(n)*p && term.MantExp(nil) < sum.MantExp(nil)-150 {
			break
		}
	}
	mantissa := new(big.Float)
	exponent := sum.MantExp(mantissa)
	m, _ := mantissa.Float64()
	return math.Log(m) + float64(exponent)*math.Ln2
}

func TestBinomialTailKnownValues(t *testing.T) {
	const p = 0.001
	for name, test := range map[string]struct {
		k, n int64
		p    slo.Ratio
		want float64 // natural logarithm
	}{
		"certain":                         {0, 60, p, 0},
		"below zero is certain":           {-3, 60, p, 0},
		"one failed run of 60":            {1, 60, p, math.Log(1 - math.Pow(0.999, 60))},
		"five of the last six":            {5, 6, p, math.Log(6*math.Pow(p, 5)*(1-p) + math.Pow(p, 6))},
		"all of 1000, beyond any float64": {1000, 1000, p, 1000 * math.Log(p)},
		"fair coin":                       {2, 3, 0.5, math.Log(0.5)},
		"three heads of four":             {3, 4, 0.5, math.Log(5.0 / 16)},
		"more than there are":             {7, 6, p, math.Inf(-1)},
		"impossible":                      {1, 6, 0, math.Inf(-1)},
		"negative p":                      {1, 6, -1, math.Inf(-1)},
		"sure":                            {6, 6, 1, 0},
		"more than sure":                  {7, 6, 1, math.Inf(-1)},
		"no p, no evidence":               {7, 6, slo.Ratio(math.NaN()), 0},
		"no runs":                         {1, 0, p, math.Inf(-1)},
	} {
		t.Run(name, func(t *testing.T) {
			if got := float64(slo.BinomialTail(test.k, test.n, test.p)); !near(got, test.want, 1e-11) {
				t.Errorf("BinomialTail(%d, %d, %v) = %v, want %v", test.k, test.n, test.p, got, test.want)
			}
		})
	}
}

func TestBinomialTailAgreesWithLongArithmetic(t *testing.T) {
	for _, n := range []int64{1, 2, 7, 20, 60, 120} {
		for _, p := range []float64{1e-9, 0.001, 0.05, 0.3, 0.5, 0.95, 0.999} {
			for k := int64(1); k <= n; k += 1 + n/11 {
				got, want := float64(slo.BinomialTail(k, n, slo.Ratio(p))), referenceTail(k, n, p)
				// An error in the logarithm is a relative one in the probability.
				if math.Abs(got-want) > 1e-11*max(1, math.Abs(want)) {
					t.Errorf("BinomialTail(%d, %d, %v) = %v, exactly %v", k, n, p, got, want)
				}
			}
		}
	}
}

// A 30-day window and more, where log-gamma loses the most digits.
func TestBinomialTailOfManyRuns(t *testing.T) {
	for _, n := range []int64{1440, 43_200, 100_000} {
		for _, p := range []float64{0.001, 0.05, 0.5} {
			mean := int64(float64(n) * p)
			for _, k := range []int64{mean / 2, mean - 1, mean, mean + 1, mean + mean/10, 2 * mean, n - 1, n} {
				if k < 1 {
					continue
				}
				got, want := float64(slo.BinomialTail(k, n, slo.Ratio(p))), referenceTail(k, n, p)
				if math.Abs(got-want) > 1e-9 {
					t.Errorf("BinomialTail(%d, %d, %v) = %v, exactly %v", k, n, p, got, want)
				}
			}
		}
	}
}

func TestLogProbForms(t *testing.T) {
	p := slo.BinomialTail(5, 6, 0.001)
	if got := p.Log10(); !near(got, -14.2220, 1e-4) {
		t.Errorf("log10 = %v, want about -14.222", got)
	}
	if got := p.Probability(); !near(float64(got), 5.995e-15, 1e-9) {
		t.Errorf("probability = %v, want 5.995e-15", got)
	}
	tiny := slo.BinomialTail(1000, 1000, 0.001)
	if got := tiny.Log10(); !near(got, -3000, 1e-12) {
		t.Errorf("log10 = %v, want -3000", got)
	}
	if got := tiny.Probability(); got != 0 {
		t.Errorf("probability = %v, want 0", got)
	}
}

func FuzzBinomialTailFallsInK(f *testing.F) {
	f.Add(uint16(60), 0.001)
	f.Add(uint16(6), 0.05)
	f.Add(uint16(1440), 0.95)
	f.Add(uint16(300), 5e-324)
	f.Add(uint16(300), math.Nextafter(1, 0))
	f.Fuzz(func(t *testing.T, runs uint16, p float64) {
		n := int64(runs) % 2000
		before := slo.BinomialTail(0, n, slo.Ratio(p))
		for k := int64(1); k <= n+1; k++ {
			got := slo.BinomialTail(k, n, slo.Ratio(p))
			if math.IsNaN(float64(got)) || got > 0 {
				t.Fatalf("BinomialTail(%d, %d, %v) = %v, want 0 or below", k, n, p, got)
			}
			if float64(got) > float64(before)+1e-9 {
				t.Fatalf("BinomialTail(%d, %d, %v) = %v, above %v for one less", k, n, p, got, before)
			}
			before = got
		}
	})
}

func TestConfidenceInterval(t *testing.T) {
	for _, test := range []struct {
		k, n         int64
		lower, upper float64
		within       float64
	}{
		{0, 60, 0, 1 - math.Pow(0.025, 1.0/60), 1e-9}, // closed form
		{60, 60, math.Pow(0.025, 1.0/60), 1, 1e-9},
		{1, 1, 0.025, 1, 1e-9},
		{5, 10, 0.1870860284, 0.8129139716, 1e-9}, // beta quantiles (5, 6) and (6, 5)
		{1, 10, 0.0025285785, 0.4450161170, 1e-8},
		{81, 263, 0.2527, 0.3676, 5e-4}, // Newcombe, Statistics in Medicine 17, 1998, table I
		{15, 148, 0.0578, 0.1617, 5e-4},
		{1, 29, 0.0009, 0.1776, 5e-4},
	} {
		lower, upper, ok := slo.ConfidenceInterval(test.k, test.n, 0.95)
		if !ok || math.Abs(float64(lower)-test.lower) > test.within || math.Abs(float64(upper)-test.upper) > test.within {
			t.Errorf("%d of %d: %v to %v, %v, want %v to %v", test.k, test.n, lower, upper, ok, test.lower, test.upper)
		}
	}
	for _, test := range []struct {
		k, n       int64
		confidence slo.Ratio
	}{{0, 0, 0.95}, {-1, 5, 0.95}, {6, 5, 0.95}, {1, 5, 0}, {1, 5, 1}, {1, 5, slo.Ratio(math.NaN())}} {
		if lower, upper, ok := slo.ConfidenceInterval(test.k, test.n, test.confidence); ok || lower != 0 || upper != 1 {
			t.Errorf("%+v: %v to %v, %v, want 0 to 1, false", test, lower, upper, ok)
		}
	}
}

// The promise of the exact interval: for any true share it misses at most 5 %
// of the time. Summed over every outcome, not sampled.
func TestConfidenceIntervalCovers(t *testing.T) {
	const n = 60
	var lower, upper [n + 1]slo.Ratio
	for k := range int64(n + 1) {
		lower[k], upper[k], _ = slo.ConfidenceInterval(k, n, 0.95)
	}
	for _, p := range []slo.Ratio{0.001, 0.003, 0.01, 0.04, 0.2, 0.5, 0.9, 0.99, 0.999} {
		missed := 0.0
		for k := range int64(n + 1) {
			if p < lower[k] || p > upper[k] {
				missed += float64(slo.BinomialTail(k, n, p).Probability() - slo.BinomialTail(k+1, n, p).Probability())
			}
		}
		if missed > 0.05 {
			t.Errorf("true share %v: missed with probability %v, want 0.05 at most", p, missed)
		}
	}
}

func BenchmarkBinomialTail(b *testing.B) {
	for name, test := range map[string]struct {
		k, n int64
		p    slo.Ratio
	}{
		"5_of_60":        {5, 60, 0.001},
		"20_of_1440":     {20, 1440, 0.001},
		"21600_of_43200": {21600, 43200, 0.5},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				slo.BinomialTail(test.k, test.n, test.p)
			}
		})
	}
}

func BenchmarkConfidenceInterval(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		slo.ConfidenceInterval(1437, 1440, 0.95)
	}
}
